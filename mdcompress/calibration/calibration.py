"""calibrate(student, batches): scales from data, then batch-norm statistics, without any training.

1. the input's scale from its values; 2. each stream's unit, so that the stored membranes of its neurons lose least,
found on potentials of the canonical float neuron; 3. where asked, weights rounded for the membrane (`reconstruction`);
4. batch-norm statistics of the quantized network; 5. where asked, offsets (`offset_correction`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import assert_never

import torch
from torch import Tensor, nn

from intsnn.arithmetic import IntType
from mdcompress.adapters import simulate
from mdcompress.calibration.norm_statistics import measure_statistics
from mdcompress.calibration.offset_correction import correct_offsets
from mdcompress.calibration.ranges import best_reach, percentile_of
from mdcompress.calibration.reconstruction import reconstruct_weights
from mdcompress.data.inputs import Batch, inputs_of
from mdcompress.errors import CalibrationError
from mdcompress.graph import AffineSpec, Carries, SynapseSpec, typical
from mdcompress.layers.digitizing import QuantDigitizer
from mdcompress.layers.integer_ops import Firing
from mdcompress.layers.neuron import MembraneUnit, QuantNeuron, ReadoutUnit
from mdcompress.layers.recurrence import Recurrence
from mdcompress.modes import evaluating
from mdcompress.recipe import CalibrateSpec
from mdcompress.student import Student, layer_key

DEFAULT_SPEC = CalibrateSpec(offsets="keep")  # what needs no teacher of a recipe's defaults

_SAMPLES_PER_NEURON_LAYER = 100_000  # membrane values kept for the range search, spread evenly
_RANGES = tuple(2.0 ** (step / 8) for step in range(-12, 25))  # stored range in thresholds: 0.35 to 8
_WIDER = tuple(2.0 ** (step / 2) for step in range(7, 25))  # 11 to 4096, for membranes that are read out
_FRACTIONS = tuple(2.0 ** (step / 8) for step in range(-24, 5))  # of the largest membrane of one that never fires
_FAR_BELOW = 0.03  # what an error below -threshold counts in the range search, beside 1 of one above it
_SMALLEST_READOUT = 1e-6  # a head of zeros still has a unit
_READOUT_BITS = 15  # the largest readout current of calibration takes this many bits, unless
_PROVED_READOUT_BITS = 18  # the largest that the weights allow would take more than this many


def calibrate(
    student: Student,
    batches: Iterable[Batch],
    *,
    spec: CalibrateSpec = DEFAULT_SPEC,
    teacher: nn.Module | None = None,
) -> Student:
    """Find scales and batch-norm statistics; returns the student.

    Args:
        student: as `quantize` made it.
        batches: x [T, N, ...], or (x, y).
        spec: the recipe's `calibrate` section; without one its defaults, but for the offsets, which are kept.
        teacher: the float network, which `offsets: correct` compares with.

    Errors: CalibrationError where the data are empty or not finite, or the teacher is missing; InputError where the
    data are of another shape.
    """
    if spec.offsets == "correct" and teacher is None:
        raise CalibrationError(
            "calibrate.offsets: correct compares with the float network (none is given)",
            hints=["give teacher=, the float network", "or set offsets to keep"],
        )
    device = student.input.scale.device
    inputs = inputs_of(batches, device)
    if not sum(x.numel() for x in inputs):
        raise CalibrationError(
            f"calibration needs at least one sample (got {len(inputs)} batches, empty)",
            hints=["give some training data"],
        )
    student.input.fit(torch.cat([torch.unique(x) for x in inputs]), reach=_input_reach(student, inputs, spec))
    with torch.no_grad(), evaluating(student):
        _fit_units(student, inputs, spec, least_readout_units=_fit_readouts_to_bounds(student))
        if spec.weights == "reconstruct":
            reconstruct_weights(student, inputs)
        if spec.statistics == "recompute":
            measure_statistics(student, inputs)
        if teacher is not None and spec.offsets == "correct":
            correct_offsets(student, teacher, inputs)
    return student


def _input_reach(student: Student, inputs: Sequence[Tensor], spec: CalibrateSpec) -> float | None:
    """The largest input that gets an integer of its own; None: the largest seen."""
    match spec.input:
        case "max":
            return None
        case "percentile":
            return percentile_of(inputs, spec.percentile)
        case "mse":
            signed = any(bool((x < 0).any()) for x in inputs)
            return best_reach(inputs, high=IntType(student.input.largest_bit_width, signed).high)
        case _:
            assert_never(spec.input)


def _fit_readouts_to_bounds(student: Student) -> dict[str, float]:
    """A first unit for each readout stream, from the largest current its synapses can send; the data refine it.

    So has a stream that a neuron reads which never fires: no threshold says how large its membrane is.
    Returns the least unit of each: bound / 2^18, which leaves 2^3 for growth in training and 2^10 for steps in int32.
    """
    silent = _silent_streams(student)
    bounds = dict.fromkeys((*_readout_units(student), *silent), _SMALLEST_READOUT)
    for node in student.graph.of(SynapseSpec):
        unit = student.assigned.currents[node.name]
        if unit.stream in bounds:
            bound = student.synapse(node.name).current_bound(student.input_scale(node.inputs[0]))
            bounds[unit.stream] += bound / unit.factor
    streams = student.stream_units()
    for affine in student.graph.of(AffineSpec):
        unit = student.assigned.currents[affine.name]
        if unit.stream in bounds:
            bound = student.affine(affine.name).current_bound(float(student.real_unit(affine.inputs[0], streams)))
            bounds[unit.stream] += bound / unit.factor
    least = {stream: bound / 2.0**_PROVED_READOUT_BITS for stream, bound in bounds.items()}
    for stream, readout in _readout_units(student).items():
        readout.value.fill_(least[stream])
    for stream, name in silent.items():
        reader, bits = student.assigned.neurons[name], student.neuron(name).policy.bit_width
        stored = least[stream] * reader.factor * 2.0 ** (reader.guard_bits + bits - 1)
        student.membrane_unit(stream).quantizer.set_range(stored)
    return least


def _silent_streams(student: Student) -> dict[str, str]:
    """The streams whose unit is set by a neuron that never fires, with its name."""
    references = {stream: name for stream, name in student.assigned.references.items() if name is not None}
    return {stream: name for stream, name in references.items() if student.neuron(name).model.output == "membrane"}


def _readout_units(student: Student) -> dict[str, ReadoutUnit]:
    """The units of the streams that no neuron reads."""
    modules = {stream: student.units[layer_key(stream)] for stream in student.assigned.references}
    return {stream: module for stream, module in modules.items() if isinstance(module, ReadoutUnit)}


def _fit_units(
    student: Student, inputs: Sequence[Tensor], spec: CalibrateSpec, *, least_readout_units: dict[str, float]
) -> None:
    stored: dict[str, list[Tensor]] = {}
    largest: dict[str, float] = {}
    synapses: dict[str, list[Tensor]] = {}
    neuron_names = {id(student.neuron(name)): name for name in student.assigned.neurons}

    def fire(neuron: QuantNeuron, current: Tensor, lsb: Tensor, recurrence: Recurrence | None) -> Firing:
        # current*lsb holds the mean gain already: lsb counts in units of the gained current
        def added(spikes: Tensor) -> Tensor:
            assert recurrence is not None
            return recurrence.to(spikes.dtype)(spikes) * lsb.double()

        recurrent = None if recurrence is None else added
        simulation = simulate(neuron.gained_model, current * lsb.double(), recurrent=recurrent)
        name = neuron_names[id(neuron)]
        stored.setdefault(name, []).append(_sampled(simulation.membranes, len(inputs)))
        synapses.setdefault(name, []).append(_sampled(simulation.synapses, len(inputs)))
        return Firing(simulation.spikes, simulation.potentials, simulation.membranes)

    def digitize(digitizer: QuantDigitizer, current: Tensor, unit: Tensor) -> Tensor:
        digitizer.fit(current, unit)
        values: Tensor = digitizer(current, unit)
        return values

    for x in inputs:
        result = student.run(x, fire=fire, digitize=digitize)
        for name, current in result.currents.items():
            unit = student.assigned.currents[name]
            real = float((current * student.current_unit(name, result.units)).abs().max())
            largest[unit.stream] = max(largest.get(unit.stream, 0.0), real)
    for stream, readout in _readout_units(student).items():
        readout.value.fill_(max(largest[stream] / 2.0**_READOUT_BITS, least_readout_units[stream]))
    for stream, reference in student.assigned.references.items():
        unit_module = student.units[layer_key(stream)]
        if isinstance(unit_module, MembraneUnit) and reference is not None:
            members = {
                name: torch.cat(stored[name])
                for name, unit in student.assigned.neurons.items()
                if unit.stream == stream
            }
            if spec.membrane == "percentile":
                found = _percentile_range(student, reference, members, percentile=spec.percentile)
            else:
                found = _best_range(student, reference, members)
            unit_module.quantizer.set_range(found)
    units = student.stream_units()
    for name in student.assigned.neurons:
        neuron = student.neuron(name)
        if neuron.has_synapse:
            neuron.fit_synapse(torch.cat(synapses[name]), float(student.neuron_lsb(name, units)))


def _sampled(values: Tensor, parts: int) -> Tensor:
    flat = values.flatten()
    step = max(1, flat.numel() * parts // _SAMPLES_PER_NEURON_LAYER)
    return flat[::step]


def _best_range(student: Student, reference: str, members: dict[str, Tensor]) -> float:
    """The stored range of the reference neuron that loses least over all neurons of its stream, in real units.

    Loss of a neuron: mean (e+^2 + 0.03 e^2) with e = (v - quantized v) / threshold and e+ the same of both clipped
    below at -threshold: how far below that a silent membrane lies matters less than resolution near the threshold, but
    one that clips there fires too early, and 8 bits can hold both. A membrane that is the network's answer is not
    clipped, and the ranges tried go up to the largest that was seen. The factor: docs/results/calibration.md.
    """
    units, anchor = student.assigned.neurons, student.neuron(reference)
    threshold = typical(anchor.model.threshold)
    best, least = threshold, float("inf")
    answers = {name for name in members if student.graph.node(name).carries is Carries.CURRENT}
    reach = max((float(members[name].abs().max()) / threshold for name in answers), default=0.0)
    candidates = (*_RANGES, *(ratio for ratio in _WIDER if ratio <= 2.0 * reach))
    if anchor.model.output == "membrane" and reach > 0.0:
        candidates = tuple(reach * fraction for fraction in _FRACTIONS)
    for candidate in candidates:
        stored_range = candidate * threshold
        scale = stored_range / 2.0 ** (anchor.policy.bit_width - 1)
        lsb = scale / 2.0 ** units[reference].guard_bits / units[reference].factor
        loss = 0.0
        for name, values in members.items():
            own_scale = lsb * units[name].factor * 2.0 ** units[name].guard_bits
            floor = -math.inf if name in answers else -typical(student.neuron(name).model.threshold)
            loss += _storage_loss(student.neuron(name), values, own_scale, floor)
        if loss < least:
            best, least = stored_range, loss
    return best


def _percentile_range(student: Student, reference: str, members: dict[str, Tensor], *, percentile: float) -> float:
    """The stored range of the reference neuron at which no neuron's percentile of |v| is clipped, in real units.

    The largest integer, 2^(N-1) - 1, stands for at least the percentile; silent layers leave it at the threshold.
    """
    units, anchor = student.assigned.neurons, student.neuron(reference)
    step = 2.0 ** -(anchor.policy.bit_width - 1 + units[reference].guard_bits) / units[reference].factor
    needed = []
    for name, values in members.items():
        largest = 2 ** (student.neuron(name).policy.bit_width - 1) - 1
        per_range = step * units[name].factor * 2.0 ** units[name].guard_bits * largest  # of a range of 1
        needed.append(percentile_of([values], percentile) / per_range)
    return max(needed) or typical(anchor.model.threshold)


def _storage_loss(neuron: QuantNeuron, values: Tensor, scale: float, floor: float) -> float:
    half = 2 ** (neuron.policy.bit_width - 1)
    stored = (values / scale + 0.5).floor().clamp(-half, half - 1) * scale
    threshold = typical(neuron.model.threshold)
    near = (values.clamp_min(floor) - stored.clamp_min(floor)) / threshold
    whole = (values - stored) / threshold
    return float(near.square().mean() + _FAR_BELOW * whole.square().mean())
