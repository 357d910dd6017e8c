"""Real currents and potentials -> each stream's unit: a readout's from its largest current, the others' by membranes.

A unit that a neuron sets is chosen so that the stored membranes of all readers of its stream lose least. They are those
of the canonical float neuron, which stands in a student's run where the integer neuron would.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import torch
from torch import Tensor

from mdcompress.adapters import simulate
from mdcompress.calibration.ranges import stored_range
from mdcompress.graph import AffineSpec, RecurrentSpec, SynapseSpec
from mdcompress.layers.activation import ActivationQuantizer
from mdcompress.layers.integer_ops import Firing
from mdcompress.layers.neuron import MembraneUnit, QuantNeuron, ReadoutUnit
from mdcompress.layers.recurrence import RecurrentIntegers
from mdcompress.recipe import CalibrateSpec
from mdcompress.student import Stream, Student

_SAMPLES_PER_NEURON_LAYER = 100_000  # membrane values kept for the range search, spread evenly
_SMALLEST_READOUT = 1e-6  # a head of zeros still has a unit
_READOUT_BITS = 15  # the largest readout current of calibration takes this many bits, unless
_PROVED_READOUT_BITS = 18  # the largest that the weights allow would take more than this many
_PROVED_CURRENT_BITS = 28  # the largest current that a neuron can be sent takes no more: sums stay below 2^30
_ROUNDED = 0.999  # what float32 makes of a unit is no other unit


def fit_units(student: Student, inputs: Sequence[Tensor], spec: CalibrateSpec) -> None:
    """Set every stream's unit, every activation quantizer's range, and the shift of every synaptic state.

    Args:
        student: in evaluation mode; its input has a scale.
        inputs: x [T, N, ...] each.
        spec: how ranges of membranes are found.

    Raises:
        InputError: the data are of another shape.
        CalibrationError: the range of an activation quantizer is not known.
    """
    least = fit_to_bounds(student)
    seen = _run_float_neurons(student, inputs)
    for stream in student.streams:
        match stream.unit:
            case ReadoutUnit():
                stream.unit.set(max(seen.largest[stream.name] / 2.0**_READOUT_BITS, least[stream.name]))
            case MembraneUnit():
                _fit_to_membranes(stream, stream.unit, seen, spec)
            case _:
                assert_never(stream.unit)


def fit_to_bounds(student: Student) -> dict[str, float]:
    """A first unit for each readout stream, from the largest current its layers can send; the data refine it.

    So has a stream whose reference neuron never fires: no threshold says how large its membrane is.
    Returns the least unit of each: bound / 2^18, which leaves 2^3 for growth in training and 2^10 for steps in int32.
    """
    units = student.stream_units()
    streams = [stream for stream in student.streams if stream.reference is None or stream.reference.never_fires]
    least = {stream.name: _bound(student, stream, units) / 2.0**_PROVED_READOUT_BITS for stream in streams}
    for stream in streams:
        stream.unit.set(least[stream.name])
    return least


def _bound(student: Student, stream: Stream, units: Mapping[str, Tensor]) -> float:
    """What all layers that write the stream can send together, as a real value at factor 1."""
    bound = _SMALLEST_READOUT
    for node in student.graph.of(SynapseSpec):
        if node.name in stream.currents:
            largest = student.synapse(node.name).current_bound(student.input_scale(node.inputs[0]))
            bound += largest / stream.currents[node.name]
    for affine in student.graph.of(AffineSpec):
        if affine.name in stream.currents:
            scale = float(student.real_unit(affine.inputs[0], units))
            bound += student.affine(affine.name).current_bound(scale) / stream.currents[affine.name]
    return bound


@torch.no_grad()
def widen_to_bounds(student: Student) -> None:
    """A coarser unit for neurons that can be sent more than their sums hold; others keep theirs.

    It is for wide words and for networks far out of range: a word of 16 bits, whose currents reach 2^12 times further,
    stays as it is. 2^2 is left for growth in training. A unit that rounds to powers of two may round down: then twice.
    """
    for stream in student.streams:
        if isinstance(stream.unit, MembraneUnit):
            bound = max([_bound(student, stream, student.stream_units()), *_recurrent_bounds(student, stream)])
            least = bound / 2.0**_PROVED_CURRENT_BITS
            for widened in (least, 2.0 * least):
                if float(stream.unit()) < _ROUNDED * least:
                    stream.unit.set(widened)


def _recurrent_bounds(student: Student, stream: Stream) -> Iterator[float]:
    """What the recurrent synapse of each reader can send it, as a real value at factor 1."""
    neurons = {reader.name: reader.factor for reader in stream.readers}
    for node in student.graph.of(RecurrentSpec):
        factor = neurons.get(student.graph.neuron_behind(node).name)
        if factor is not None:
            yield student.synapse(node.name).current_bound(1.0) / factor


@dataclass(frozen=True)
class _Seen:
    """What float neurons showed in a student's run; they are called as its own are.

    membranes: what each neuron layer would store, real, [n] of each batch; synapses: its synaptic currents, likewise;
    largest: the largest real current of each readout stream.
    """

    batches: int
    membranes: dict[QuantNeuron, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    synapses: dict[QuantNeuron, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    largest: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def fire(
        self, neuron: QuantNeuron, current: Tensor, fine_scale: Tensor, recurrence: RecurrentIntegers | None
    ) -> Firing:
        """The float neuron on current*s_f, which holds the mean gain: s_f counts in units of the gained current."""

        def added(spikes: Tensor) -> Tensor:
            assert recurrence is not None
            return recurrence.to(spikes.dtype)(spikes) * fine_scale.double()

        recurrent = None if recurrence is None else added
        simulation = simulate(neuron.gained_model, current * fine_scale.double(), recurrent=recurrent)
        self.membranes[neuron].append(self._sampled(simulation.membranes))
        self.synapses[neuron].append(self._sampled(simulation.synapses))
        return Firing(simulation.spikes, simulation.potentials, simulation.membranes)

    def _sampled(self, values: Tensor) -> Tensor:
        flat = values.flatten()
        return flat[:: max(1, flat.numel() * self.batches // _SAMPLES_PER_NEURON_LAYER)]


def _run_float_neurons(student: Student, inputs: Sequence[Tensor]) -> _Seen:
    """Run the student with float neurons; each activation quantizer is fitted to what it reads before it runs."""
    seen = _Seen(len(inputs))
    readouts = [stream for stream in student.streams if stream.reference is None]
    for x in inputs:
        result = student.run(x, fire=seen.fire, quantize_activation=_fit_and_quantize)
        for stream in readouts:
            for name in stream.currents:
                real = float((result.currents[name] * student.current_unit(name, result.units)).abs().max())
                seen.largest[stream.name] = max(seen.largest[stream.name], real)
    return seen


def _fit_and_quantize(activation_quantizer: ActivationQuantizer, current: Tensor, unit: Tensor) -> Tensor:
    activation_quantizer.fit(current, unit)
    values: Tensor = activation_quantizer(current, unit)
    return values


def _fit_to_membranes(stream: Stream, unit: MembraneUnit, seen: _Seen, spec: CalibrateSpec) -> None:
    membranes = {reader.layer: torch.cat(seen.membranes[reader.layer]) for reader in stream.readers}
    unit.quantizer.set_range(stored_range(stream.readers, membranes, spec))
    for reader in stream.readers:
        if reader.layer.has_synapse:
            reader.layer.fit_synapse(torch.cat(seen.synapses[reader.layer]), float(unit() * reader.factor))
