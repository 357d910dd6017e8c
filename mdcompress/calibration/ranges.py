"""Values from calibration -> the range that a word of few integers shall cover: of the input, of membranes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

import torch
from torch import Tensor

from intsnn.arithmetic import IntType
from mdcompress.layers.neuron import QuantNeuron
from mdcompress.recipe import CalibrateSpec
from mdcompress.student import Reader

_VALUES = 1_000_000  # that a percentile or an error is taken over, spread evenly
_REACHES = 64  # fractions of the largest input, tried by the least-squares search
_SMALLEST = 0.1  # the last of them
_RANGES = tuple(2.0 ** (step / 8) for step in range(-12, 25))  # stored range in thresholds: 0.35 to 8
_WIDER = tuple(2.0 ** (step / 2) for step in range(7, 25))  # 11 to 4096, for membranes that are read out
_FRACTIONS = tuple(2.0 ** (step / 8) for step in range(-24, 5))  # of the largest membrane of one that never fires
_FAR_BELOW = 0.03  # what an error below -threshold counts in the range search, beside 1 of one above it


def input_reach(inputs: Sequence[Tensor], spec: CalibrateSpec, *, bit_width: int) -> float | None:
    """The largest input that gets an integer of its own; None: the largest seen.

    Every scale has an integer for 0. Where most inputs are 0, so that this would be the reach, the others alone say it.

    Args:
        inputs: real x [T, N, ...] each.
        spec: `input` says how it is found.
        bit_width: of the input's word.
    """
    if reach := _reach(inputs, spec, bit_width=bit_width):
        return reach
    others = [x[x != 0] for x in inputs]
    return _reach(others, spec, bit_width=bit_width) if any(x.numel() for x in others) else None


def _reach(inputs: Sequence[Tensor], spec: CalibrateSpec, *, bit_width: int) -> float | None:
    match spec.input:
        case "max":
            return None
        case "percentile":
            return percentile_of(inputs, spec.percentile)
        case "mse":
            signed = any(bool((x < 0).any()) for x in inputs)
            return best_reach(inputs, high=IntType(bit_width, signed).high)
        case _:
            assert_never(spec.input)


def percentile_of(batches: Sequence[Tensor], percentile: float) -> float:
    """The percentile of |x| over all values; 100: the largest."""
    values, _ = _sampled(batches).abs().sort()
    position = max(0, min(len(values) - 1, round(percentile / 100.0 * (len(values) - 1))))
    return float(values[position])


def best_reach(batches: Sequence[Tensor], *, high: int) -> float:
    """The reach r for which the integers r/high * clip(round(x*high/r)) lose least of x in squares.

    Args:
        batches: values of any shape.
        high: the largest integer; the smallest is -high, or 0 where no value is negative.
    """
    values = _sampled(batches).double()
    largest = float(values.abs().max())
    candidates = (largest * float(fraction) for fraction in torch.linspace(1.0, _SMALLEST, _REACHES))

    def loss(reach: float) -> float:
        step = reach / high
        if not step > 0.0:
            return 0.0
        return float((values - (values / step).round().clamp(-high, high) * step).square().sum())

    return min(candidates, key=loss)


def stored_range(readers: Sequence[Reader], membranes: Mapping[QuantNeuron, Tensor], spec: CalibrateSpec) -> float:
    """The range that the first reader of a stream stores, in real units; it sets those of all readers.

    Args:
        readers: of one stream, at least one.
        membranes: what each reader would store, real, of any shape.
        spec: `membrane` says how the range is found.
    """
    if spec.membrane == "percentile":
        return _percentile_range(readers, membranes, percentile=spec.percentile)
    best, least = readers[0].threshold, float("inf")
    for candidate in _candidates(readers, membranes):
        loss = _loss(readers, membranes, candidate)
        if loss < least:
            best, least = candidate, loss
    return best


def _candidates(readers: Sequence[Reader], membranes: Mapping[QuantNeuron, Tensor]) -> Iterator[float]:
    """Ranges to try, most of them around the threshold; for a membrane that is read out up to the largest seen."""
    reference, threshold = readers[0], readers[0].threshold
    answers = [membranes[reader.layer] for reader in readers if reader.answers]
    reach = max((float(values.abs().max()) / threshold for values in answers), default=0.0)
    if reference.never_fires and reach > 0.0:
        yield from (reach * fraction * threshold for fraction in _FRACTIONS)
        return
    yield from (ratio * threshold for ratio in _RANGES)
    yield from (ratio * threshold for ratio in _WIDER if ratio <= 2.0 * reach)


def _loss(readers: Sequence[Reader], membranes: Mapping[QuantNeuron, Tensor], stored: float) -> float:
    """What all readers of a stream lose where the first stores [-stored, stored).

    Loss of a neuron: mean (e+^2 + 0.03 e^2) with e = (v - quantized v) / threshold and e+ the same of both clipped
    below at -threshold: how far below that a silent membrane lies matters less than resolution near the threshold, but
    one that clips there fires too early, and 8 bits can hold both. A membrane that is the network's answer is not
    clipped. The factor: docs/results/calibration.md.
    """
    reference = readers[0]
    scale = stored / 2.0 ** (reference.layer.policy.bit_width - 1)
    unit, loss = scale / 2.0**reference.guard_bits / reference.factor, 0.0
    for reader in readers:
        own_scale = unit * reader.factor * 2.0**reader.guard_bits
        floor = -math.inf if reader.answers else -reader.threshold
        loss += _storage_loss(reader, membranes[reader.layer], own_scale, floor)
    return loss


def _storage_loss(reader: Reader, values: Tensor, scale: float, floor: float) -> float:
    half = 2 ** (reader.layer.policy.bit_width - 1)
    stored = (values / scale + 0.5).floor().clamp(-half, half - 1) * scale
    near = (values.clamp_min(floor) - stored.clamp_min(floor)) / reader.threshold
    whole = (values - stored) / reader.threshold
    return float(near.square().mean() + _FAR_BELOW * whole.square().mean())


def _percentile_range(
    readers: Sequence[Reader], membranes: Mapping[QuantNeuron, Tensor], *, percentile: float
) -> float:
    """The range of the first reader at which no neuron's percentile of |v| is clipped.

    The largest integer, 2^(N-1) - 1, stands for at least the percentile; silent layers leave it at the threshold.
    """
    reference = readers[0]
    step = 2.0 ** -(reference.layer.policy.bit_width - 1 + reference.guard_bits) / reference.factor
    needed = []
    for reader in readers:
        largest = 2 ** (reader.layer.policy.bit_width - 1) - 1
        per_range = step * reader.factor * 2.0**reader.guard_bits * largest  # of a range of 1
        needed.append(percentile_of([membranes[reader.layer]], percentile) / per_range)
    return max(needed) or reference.threshold


def _sampled(batches: Sequence[Tensor]) -> Tensor:
    total = sum(batch.numel() for batch in batches)
    return torch.cat([batch.detach().flatten()[:: max(1, total // _VALUES)] for batch in batches])
