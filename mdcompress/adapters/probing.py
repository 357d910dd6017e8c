"""The probe: a user's own neuron beside its canonical description on hard input; one differing spike is an error."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mdcompress.adapters.advice import ADAPTED, reset_advice
from mdcompress.adapters.base import Adapter, class_and_version, fresh_copy
from mdcompress.adapters.lookup import adapter_of, library_of
from mdcompress.adapters.own import takes_one_step
from mdcompress.adapters.protocol import method_of
from mdcompress.adapters.recurrence import input_layer, recurrence_of, recurrent_layer, with_recurrence
from mdcompress.adapters.simulation import Simulation, simulate
from mdcompress.adapters.weights import OneToOne
from mdcompress.errors import MdcompressError, TraceError
from mdcompress.graph import NeuronModel, Numbers, TensorShape, channel_values

PROBE_STEPS, PROBE_NEURONS = 100, 256
_LARGEST_COUNT = 2**24  # a library's spikes may be float32, which holds no larger ones exactly
_NEAR_TIE = 1e-9  # in thresholds: as near, the order of float64 operations decides on which side a potential lies
_OWN_DESCRIPTION = "a subclass with its own forward, or another version of the library, needs its own description"
_ONE_STEP = 'a neuron that takes one step, [N, ...], and keeps its state needs step_mode = "s" and reset_state()'
_WRONG_AT_TIES = 0.75  # of exact ties: rounding turns some of them, another comparison turns them all


def probe(
    name: str, module: nn.Module, model: NeuronModel, *, adapter: Adapter, shape: TensorShape | None = None
) -> None:
    """Run `module` and its canonical model on hard input; TraceError at the first differing spike.

    The input, [100, N, *shape] in float64, holds ties (h = threshold on a dyadic grid), drives of many thresholds and
    negative drives. Equality of spikes is exact, with one exception: where float64 rounds, and the two orders of
    operations round differently, a potential that equals the threshold to 1e-9 may fall on either side.

    Args:
        name: the neuron's name in the network.
        module: left as it is; a copy runs.
        model: its description.
        adapter: the one that gave the description; it knows how the module is run.
        shape: of one sample and step, (C, ...); by default the smallest that the model's channels allow.
    """
    shape = _default_shape(module, model) if shape is None else shape
    currents = hard_currents(model, shape)
    what = f"neuron {name!r} ({class_and_version(module)})"
    with torch.no_grad():
        found = _run(what, adapter, module, currents)
        recurrence = recurrence_of(module, model)
    if found.shape != currents.shape:
        raise TraceError(
            f"{what} must keep the shape {list(currents.shape)} (it returned {list(found.shape)})",
            hints=["a neuron layer gives one spike for every current: [T, N, ...] to [T, N, ...]"],
        )
    with torch.no_grad():
        expected = simulate(model, with_recurrence(currents, found, recurrence))
    if model.output == "membrane":
        _compare_membranes(what, model, currents, found, expected)
        return
    differing = _differing(model, found, expected)
    if differing.any():
        message = _difference(what, model, currents, found, expected, differing)
        raise TraceError(message, hints=[_OWN_DESCRIPTION, *_on_state(module)])


def _compare_membranes(what: str, model: NeuronModel, currents: Tensor, found: Tensor, expected: Simulation) -> None:
    """TraceError at the first membrane that differs by more than float64 rounds."""
    differing = (found - expected.membranes).abs() > _NEAR_TIE * expected.membranes.abs().max()
    if not differing.any():
        return
    place = tuple(differing.nonzero()[0].tolist())
    current, gives, should = (float(values[place]) for values in (currents, found, expected.membranes))
    raise TraceError(
        f"{what} does not follow its description {summary(model)}: at step {place[0]} with current {current:.6g} its "
        f"membrane is {gives:.6g}, that of the canonical neuron {should:.6g}",
        hints=[_OWN_DESCRIPTION],
    )


def hard_currents(model: NeuronModel, shape: TensorShape) -> Tensor:
    """Currents [100, N, *shape] in float64: smooth and on a dyadic grid, in thresholds and in thresholds per gain.

    The gain is rounded to a power of two, so that the grid stays dyadic.
    """
    generator = torch.Generator().manual_seed(0)
    samples = max(1, PROBE_NEURONS // (4 * math.prod(shape)))
    size = (PROBE_STEPS, samples, *shape)
    threshold = _broadcast(model.threshold, shape)
    gain = _broadcast(model.input_gain, shape) * _broadcast(model.synapse_gain, shape)
    scale = torch.where(threshold.isfinite() & (threshold != 0), threshold.abs(), 1.0)
    strong = scale / torch.where(gain.isfinite() & (gain != 0), gain.abs(), 1.0).log2().round().exp2()
    parts = []
    for unit, spread in ((scale, 1.2), (strong, 3.0)):
        parts.append(unit * torch.normal(0.5, spread, size, generator=generator, dtype=torch.float64))
        parts.append(unit * torch.randint(-8, 17, size, generator=generator).double() / 8)
    return torch.cat(parts, dim=1)


def _broadcast(value: Numbers, shape: TensorShape) -> Tensor:
    return torch.tensor(channel_values(value), dtype=torch.float64).reshape(-1, *(1 for _ in shape[1:]))


def _default_shape(module: nn.Module, model: NeuronModel) -> TensorShape:
    held = input_layer(module)
    if held is not None:
        return (held.out_features,)
    parts = () if model.recurrent is None else recurrent_layer(module, model).modules()
    for part in parts:
        match part:
            case nn.Linear(in_features=features):
                return (features,)
            case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
                return (part.in_channels, *(5 for _ in part.kernel_size))
            case OneToOne(weights=weights):
                return (max(model.channels, len(channel_values(weights))),)
    return (model.channels,)


def _run(what: str, adapter: Adapter, module: nn.Module, currents: Tensor) -> Tensor:
    try:
        duplicate = fresh_copy(module)
        adapter_of(duplicate, (adapter,)).reset(duplicate)  # the pass that found the neuron has left its state in it
        return adapter.run(duplicate, currents).double()
    except MdcompressError:
        raise
    except Exception as error:
        raise TraceError(
            f"{what} fails on currents of shape {list(currents.shape)}: {type(error).__name__}: {error}",
            hints=[
                "a neuron must run on any batch of currents, in evaluation mode and in float64",
                *([_ONE_STEP] if method_of(module, "neuron_model") and not takes_one_step(module) else []),
                *_on_state(module),
            ],
        ) from error


def _differing(model: NeuronModel, found: Tensor, expected: Simulation) -> Tensor:
    """Where the spikes differ, [T, N, ...], but for a rounding at a tie and what follows it in the same neuron.

    At an exact tie the comparison itself shows: where nearly all of those differ, nothing is left out.
    """
    differing = found != expected.spikes
    if not differing.any():
        return differing
    first = differing & (differing.cumsum(0) == 1)
    gap = _distance_from_tie(model, expected.potentials)
    before = differing.cumsum(0) - first.long() == 0  # up to and including the first difference
    ties = (gap == 0) & before
    if int((ties & first).sum()) > _WRONG_AT_TIES * int(ties.sum()):
        return differing
    levels = (expected.potentials / _broadcast(model.threshold, tuple(expected.potentials.shape[2:]))).abs()
    # counts that feed on themselves may grow without end: float64 rounds a potential by a share of its size
    rounded = (gap <= _NEAR_TIE * levels.clamp_min(1.0)) | ~(levels < _LARGEST_COUNT)
    return differing & ~(first & rounded).any(0)


def _distance_from_tie(model: NeuronModel, potentials: Tensor) -> Tensor:
    """How far potentials are from where the number of spikes changes, in thresholds."""
    levels = potentials / _broadcast(model.threshold, tuple(potentials.shape[2:]))
    match model.spike:
        case "binary":
            return (levels - 1.0).abs()
        case "floor":
            return (levels - levels.round().clamp_min(1.0)).abs()
        case "round":
            return (levels - (levels - 0.5).round().clamp_min(0.0) - 0.5).abs()


def _difference(
    what: str, model: NeuronModel, currents: Tensor, found: Tensor, expected: Simulation, differing: Tensor
) -> str:
    step = int(differing.flatten(1).any(1).nonzero()[0])
    index = int(differing[step].flatten().nonzero()[0])
    current, gives, should, h = (
        tensor[step].flatten()[index].item() for tensor in (currents, found, expected.spikes, expected.potentials)
    )
    return (
        f"{what} does not follow its description {summary(model)}: at step {step} with current {current:.6g} it gives "
        f"{gives:g} spikes, the canonical neuron {should:g} (its potential is {h:.6g})"
    )


def _on_state(module: nn.Module) -> list[str]:
    """What to do where it is state of an earlier call that shows; nothing of a library, whose reset is known."""
    if library_of(module).library or method_of(module, "reset_state") is not None:
        return []
    return [f"where it keeps state from call to call, {advice}" for advice in (*reset_advice(module), ADAPTED)]


def summary(model: NeuronModel) -> str:
    """The model's parameters in one line, those left out that say nothing."""
    plain = NeuronModel(1.0, 1.0, 0.0, 1.0, "greater_equal", "none", 0.0, 0.0, 0.0)
    always = ("decay", "threshold", "comparator", "reset")
    shown = {name: value for name, value in vars(model).items() if name in always or value != getattr(plain, name)}
    return ", ".join(f"{name}={_short(value)}" for name, value in shown.items())


def _short(value: object) -> str:
    match value:
        case tuple():
            return f"{min(value):g}..{max(value):g} in {len(value)} channels"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
