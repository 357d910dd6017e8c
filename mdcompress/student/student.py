"""The student: a traced network rebuilt from integer layers. It runs its SnnGraph node by node.

In train mode currents ride in float32 with batch statistics; in eval mode every value is an exact integer (float64
carries currents), so that `intsnn` and onnxruntime, given the lowered graph, agree on each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

from intsnn.errors import InputError
from intsnn.execution.interpreter import Trace
from mdcompress.adapters.simulation import membranes_after_reset
from mdcompress.graph import (
    ActivationSpec,
    AffineSpec,
    Carries,
    Finding,
    InputSpec,
    LayerSpec,
    NeuronModel,
    ReadoutMode,
    RecurrentSpec,
    SnnGraph,
    SnnNode,
    SynapseSpec,
    count_limit,
)
from mdcompress.layers.activation import ActivationQuantizer
from mdcompress.layers.affine import QuantAffine
from mdcompress.layers.constants import constant
from mdcompress.layers.firing import after_reset
from mdcompress.layers.input import QuantInput
from mdcompress.layers.integer_ops import Firing
from mdcompress.layers.neuron import QuantNeuron
from mdcompress.layers.rearranging import rearrange
from mdcompress.layers.recurrence import RecurrentIntegers
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.modes import evaluating
from mdcompress.planning import QuantPlan
from mdcompress.planning.formats import format_plan
from mdcompress.planning.units import assign_units
from mdcompress.student.observed import Computed, Observation
from mdcompress.student.streams import layer_key, make_streams

_LARGEST_CURRENT = 2**22  # what an affine layer takes for the bound of currents; lowering proves the real one

Fire = Callable[[QuantNeuron, Tensor, Tensor, RecurrentIntegers | None], Firing]
QuantizeActivation = Callable[[ActivationQuantizer, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Pass:
    """One run of the student: the readout's integers, every neuron layer's firing, every tensor of currents' unit.

    digits: what the activation quantizers gave, as the counting neurons that they are in the integer graph.
    """

    readout: Tensor
    steps: Tensor
    firings: Mapping[str, Firing]
    units: Mapping[str, Tensor]
    currents: Mapping[str, Tensor]
    digits: Mapping[str, Firing]


@dataclass(frozen=True)
class NodeValue:
    """What a node wrote, None for a recurrent synapse; how it fired, where it is a neuron or counts levels."""

    value: Tensor | None
    firing: Firing | None = None


def _fire(neuron: QuantNeuron, current: Tensor, fine_scale: Tensor, recurrence: RecurrentIntegers | None) -> Firing:
    firing: Firing = neuron(current, fine_scale, recurrence=recurrence)
    return firing


def _quantize_activation(activation_quantizer: ActivationQuantizer, current: Tensor, unit: Tensor) -> Tensor:
    values: Tensor = activation_quantizer(current, unit)
    return values


class Student(nn.Module):
    """A quantized spiking network with the call signature of the float network it was traced from.

    value_units: of every tensor of spikes, counts, input or quantized currents; streams: of the other currents.

    Args:
        graph: the trace of the float network.
        plan: a policy for each of its nodes.
    """

    def __init__(self, graph: SnnGraph, plan: QuantPlan) -> None:
        super().__init__()
        self.graph, self.plan = graph, plan
        units = assign_units(graph, plan)
        self.value_units = units.values
        guard_bits = {name: unit.guard_bits for stream in units.streams for name, unit in stream.readers.items()}
        policy = plan.node(graph.input.name).input
        assert policy is not None
        self.input = QuantInput(policy.bit_width)
        self.layers = nn.ModuleDict()
        self._synapses: dict[str, QuantSynapse] = {}
        self._affines: dict[str, QuantAffine] = {}
        self._activation_quantizers: dict[str, ActivationQuantizer] = {}
        self._neurons: dict[str, QuantNeuron] = {}
        self._norm_owners: dict[tuple[str | None, tuple[str, ...]], QuantSynapse | QuantAffine] = {}
        for node in graph:
            if isinstance(node.spec, LayerSpec):
                self.layers[layer_key(node.name)] = self._make_layer(node, node.spec, guard_bits)
        self.streams = make_streams(graph, units, self._neurons)
        self.units = nn.ModuleDict({layer_key(stream.name): stream.unit for stream in self.streams})
        self._stream_of = {name: stream for stream in self.streams for name in stream.currents}
        self._readers = {reader.name: reader for stream in self.streams for reader in stream.readers}

    def __repr__(self) -> str:
        """A row for each node: its shape and the bits that it has."""
        counts = {name: math.prod(layer.spec.weight_shape) for name, layer in self._synapses.items()}
        stored = sum(counts[name] for name in counts if self.graph.places(self.graph.node(name))[0].name == name)
        rows = [
            (row.node, row.kind, row.shape, f"{counts[row.node]:,}" if row.node in counts else "", row.policy)
            for row in format_plan(self.plan, self.graph)
        ]
        header = ("node", "kind", "shape", "weights", "bits")
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (header, *rows)
        ]
        title = f"Student of {len(rows)} nodes and {stored:,} weights, T = {self.graph.time_steps}"
        return "\n".join([title, *(f"  {line}" for line in lines)])

    def _make_layer(self, node: SnnNode, spec: LayerSpec, guard_bits: Mapping[str, int]) -> nn.Module:
        match spec:
            case SynapseSpec():
                return self._make_synapse(node, spec, largest_input=self.value_units[node.inputs[0]].largest)
            case RecurrentSpec(synapse):  # it reads the spikes of the neuron behind
                behind = self.graph.neuron_behind(node).spec
                return self._make_synapse(node, synapse, largest_input=count_limit(behind))
            case AffineSpec():
                return self._make_affine(node, spec)
            case ActivationSpec():
                return self._make_activation_quantizer(node)
            case NeuronModel():
                return self._make_neuron(node, spec, guard_bits[node.name])
            case _:
                assert_never(spec)

    def _make_synapse(self, node: SnnNode, spec: SynapseSpec, *, largest_input: int) -> QuantSynapse:
        planned = self.plan.node(node.name)
        assert planned.weight is not None and planned.batch_norm is not None
        owner = self.graph.places(node)[0]
        layer = QuantSynapse(
            spec,
            weight=planned.weight,
            batch_norm=planned.batch_norm,
            largest_input=largest_input,
            sharing=None if owner is node else self.synapse(owner.name),
            norm_of=self._norm_owners.get((spec.batch_norm, spec.step_norms)),
        )
        self._synapses[node.name] = layer
        self._note_norm(layer)
        return layer

    def _note_norm(self, layer: QuantSynapse | QuantAffine) -> None:
        """Layers made later that hold the same norm of the network share it with the first."""
        if layer.norm is not None:
            self._norm_owners.setdefault((layer.spec.batch_norm, layer.spec.step_norms), layer)

    def _make_affine(self, node: SnnNode, spec: AffineSpec) -> QuantAffine:
        policy, source = self.plan.node(node.name).batch_norm, self.value_units.get(node.inputs[0])
        assert policy is not None
        largest = _LARGEST_CURRENT if source is None else source.largest
        owner = self._norm_owners.get((spec.batch_norm, spec.step_norms))
        layer = QuantAffine(spec, node.shape[0], batch_norm=policy, largest_input=largest, norm_of=owner)
        self._affines[node.name] = layer
        self._note_norm(layer)
        return layer

    def _make_activation_quantizer(self, node: SnnNode) -> ActivationQuantizer:
        policy = self.plan.node(node.name).input
        assert policy is not None
        layer = ActivationQuantizer(policy.bit_width)
        self._activation_quantizers[node.name] = layer
        return layer

    def _make_neuron(self, node: SnnNode, model: NeuronModel, guard_bits: int) -> QuantNeuron:
        membrane = self.plan.node(node.name).membrane
        assert membrane is not None
        layer = QuantNeuron(model, membrane, guard_bits=guard_bits)
        self._neurons[node.name] = layer
        return layer

    # ------------------------------------------------------------------ parts

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was read off the float network's code, where no class said it: neuron, line, equation."""
        return self.plan.findings

    def synapse(self, name: str) -> QuantSynapse:
        """The synapse layer of that node."""
        return self._synapses[name]

    def affine(self, name: str) -> QuantAffine:
        """The affine layer of that node."""
        return self._affines[name]

    def activation_quantizer(self, name: str) -> ActivationQuantizer:
        """The activation quantizer of that node."""
        return self._activation_quantizers[name]

    def neuron(self, name: str) -> QuantNeuron:
        """The neuron layer of that node."""
        return self._neurons[name]

    def input_scale(self, name: str, streams: Mapping[str, Tensor]) -> float | Tensor:
        """Real value of one integer of a tensor of spikes, counts, input or quantized currents."""
        unit = self.value_units[name]
        if unit.activation_quantizer is not None:
            source = self.graph.node(unit.activation_quantizer).inputs[0]
            scale = self.activation_quantizer(unit.activation_quantizer).scale(self.current_unit(source, streams))
            return (unit.scale * scale).float()
        return unit.scale * (self.input.real_scale() if unit.from_input else 1.0)

    def stream_units(self) -> dict[str, Tensor]:
        """The real value of one integer of each stream of currents; differentiable where learned."""
        return {stream.name: stream.unit() for stream in self.streams}

    def current_unit(self, name: str, streams: Mapping[str, Tensor]) -> Tensor:
        """Real value of one integer of the tensor of currents `name`."""
        stream = self._stream_of[name]
        return _times(streams[stream.name], stream.currents[name])

    def real_unit(self, name: str, streams: Mapping[str, Tensor]) -> Tensor:
        """Real value of one integer of any tensor: values or currents."""
        if name in self._stream_of:
            return self.current_unit(name, streams)
        scale, device = self.input_scale(name, streams), self.input.scale.device
        return scale if isinstance(scale, Tensor) else torch.full((), scale, device=device)

    def fine_scale(self, name: str, streams: Mapping[str, Tensor]) -> Tensor:
        """Real value of one unit of s_f of a neuron."""
        reader = self._readers[name]
        return _times(streams[reader.stream], reader.factor)

    # ------------------------------------------------------------------ running

    def forward(self, x: Tensor) -> Tensor:
        """Real x [T, N, ...] to real logits, shaped as the float network's."""
        result = self.run(x)
        return self._real_output(result, x.shape[0])

    def observe(self, x: Tensor) -> Observation:
        """Forward, with per-step logits, spikes and potentials before reset in real units; gradients flow."""
        result = self.run(x)

        def real_potentials(name: str) -> Tensor:
            integers = result.firings[name].potentials
            scale = self.fine_scale(name, result.units).to(integers.dtype)
            return (integers - constant(self.neuron(name).rounding_offset, integers)) * scale

        potentials = Computed(result.firings, real_potentials)
        spikes = {name: firing.spikes for name, firing in result.firings.items()}
        membranes = Computed(
            spikes, lambda name: membranes_after_reset(self.neuron(name).model, potentials[name], spikes[name])
        )
        logits = (result.steps - self._readout_offset(result.steps)) * self._readout_scale(result.units)
        return Observation(self._real_output(result, x.shape[0]), logits, potentials, spikes, membranes)

    def quantize_input(self, x: Tensor) -> Tensor:
        """The integers [T, N, ...] (int64) that the integer graph takes for real x."""
        with torch.no_grad():
            integers: Tensor = self.input(x)
        return integers.to(torch.int64)

    def trace(self, x: Tensor) -> Trace:
        """Evaluate on real x [T, N, ...] and return every spike, membrane and output integer."""
        with evaluating(self), torch.no_grad():
            result = self.run(x)
        counting = {**result.firings, **result.digits}
        spikes = {name: _integers(firing.spikes) for name, firing in counting.items()}
        membranes = {name: _integers(firing.membranes) for name, firing in counting.items()}
        return Trace(_integers(result.readout), spikes, membranes)

    def run(
        self, x: Tensor, *, fire: Fire = _fire, quantize_activation: QuantizeActivation = _quantize_activation
    ) -> Pass:
        """Run every node.

        fire: runs a neuron layer on integer currents (calibration puts the float neuron there).
        quantize_activation: an activation quantizer (calibration fits it first).
        """
        streams = self.stream_units()
        values: dict[str, Tensor] = {}
        firings: dict[str, Firing] = {}
        digits: dict[str, Firing] = {}
        for node in self.graph:
            sources = [values[name] for name in node.inputs if name in values]
            found = self.node_value(node, sources, x, streams, fire=fire, quantize_activation=quantize_activation)
            if found.value is not None:
                values[node.name] = found.value
            if found.firing is not None:
                (firings if isinstance(node.spec, NeuronModel) else digits)[node.name] = found.firing
        currents = {name: values[name] for name in self._stream_of if name in values}
        readout = self.graph.readout
        return Pass(values[readout.name], values[readout.inputs[0]], firings, streams, currents, digits)

    def node_value(
        self,
        node: SnnNode,
        sources: Sequence[Tensor],
        x: Tensor,
        streams: Mapping[str, Tensor],
        *,
        fire: Fire = _fire,
        quantize_activation: QuantizeActivation = _quantize_activation,
    ) -> NodeValue:
        """Run one node.

        Args:
            node: of the graph.
            sources: the integers that it reads; those of a recurrent synapse are not among them.
            x: the network's input, which the graph's input node reads.
            streams: `stream_units()`.
            fire: as in `run`.
            quantize_activation: as in `run`.
        """
        match node.spec:
            case RecurrentSpec():
                return NodeValue(None)  # its neuron runs it, step by step
            case InputSpec():
                self.require_shape(x)
                self._require_steps(x)
                return NodeValue(self.input(x))
            case SynapseSpec():
                unit, scale = self.current_unit(node.name, streams), self.input_scale(node.inputs[0], streams)
                return NodeValue(self.synapse(node.name)(sources[0], scale, unit))
            case AffineSpec():
                units = (self.real_unit(name, streams) for name in (node.inputs[0], node.name))
                return NodeValue(self.affine(node.name)(sources[0], *units))
            case ActivationSpec():
                unit = self.current_unit(node.inputs[0], streams)
                values = quantize_activation(self.activation_quantizer(node.name), sources[0], unit)
                return NodeValue(values, self._counted(node.name, values, sources[0], unit))
            case NeuronModel():
                fine_scale = self.fine_scale(node.name, streams)
                firing = fire(self.neuron(node.name), sources[0], fine_scale, self._recurrence(node, streams))
                return NodeValue(self._written(node, firing, fine_scale), firing)
            case _:
                return NodeValue(rearrange(node.spec, node.shape, sources))

    def _recurrence(self, node: SnnNode, streams: Mapping[str, Tensor]) -> RecurrentIntegers | None:
        """What a recurrent neuron's spikes add to its next currents; None for the others."""
        if len(node.inputs) == 1:
            return None
        name = node.inputs[1]
        return self.synapse(name).recurrence(self.current_unit(name, streams))

    def _written(self, node: SnnNode, firing: Firing, fine_scale: Tensor) -> Tensor:
        """What a neuron layer writes: its spikes, or the potential after the reset for a readout of membranes."""
        if node.carries is Carries.SPIKES:
            return firing.spikes
        return after_reset(self.neuron(node.name).integers(fine_scale), firing.potentials, firing.spikes)

    def _counted(self, name: str, values: Tensor, current: Tensor, unit: Tensor) -> Firing:
        """A activation quantizer as the neuron that the integer graph has for it."""
        layer = self.activation_quantizer(name)
        membranes = layer.membranes(current, unit)
        return Firing(values + layer.offset, membranes, membranes)

    def require_shape(self, x: Tensor) -> None:
        """InputError unless x is [T, N, ...] with samples of the input's shape."""
        shape = self.graph.input.shape
        if tuple(x.shape[2:]) != shape or x.dim() != 2 + len(shape) or 0 in x.shape:
            still = tuple(x.shape[1:]) == shape
            expected = ", ".join(["T", "N", *map(str, shape)])
            raise InputError(
                f"the student's input must have shape [{expected}] (got {list(x.shape)})",
                hints=[
                    "put time first, then the batch: x.unsqueeze(0) is one step of a batch of samples",
                    *(
                        ["images without time: give time_steps=T, or x.unsqueeze(0).expand(T, *x.shape)"]
                        if still
                        else []
                    ),
                ],
            )

    def _require_steps(self, x: Tensor) -> None:
        fixed = self.graph.fixed_steps
        if fixed not in (None, len(x)):
            raise InputError(
                f"the student's input must have {fixed} steps, for each of which its norms differ (got {len(x)})",
                hints=["give as many steps as the network was traced with, and leave distill.time_steps out"],
            )

    @property
    def _mode(self) -> ReadoutMode:
        return self.graph.readout.spec.mode

    def _readout_scale(self, streams: Mapping[str, Tensor]) -> Tensor:
        return self.real_unit(self.graph.readout.inputs[0], streams)

    def _readout_offset(self, like: Tensor) -> Tensor:
        """What every step of a readout of membranes carries for the rounding of storage, in units of s_f, [*shape]."""
        neuron = self.graph.membrane_readout
        if neuron is None:
            return torch.zeros_like(like[0, 0])
        offset = torch.full((1, 1, *neuron.shape), float(self.neuron(neuron.name).rounding_offset)).to(like)
        for node in self.graph.answer[1]:
            offset = rearrange(node.spec, node.shape, [offset])
        return offset[0, 0]

    def readout_scale(self) -> float:
        """Real value of one integer of the readout. A mean over T is left as the sum: T belongs to the run."""
        with torch.no_grad():
            return float(self._readout_scale(self.stream_units()))

    def _real_output(self, result: Pass, time_steps: int) -> Tensor:
        steps = time_steps if self._mode in ("mean", "sum") else 1
        output = (result.readout - self._readout_offset(result.steps) * steps) * self._readout_scale(result.units)
        output = output / time_steps if self._mode == "mean" else output
        return output.float()


def _times(unit: Tensor, factor: float) -> Tensor:
    return unit if factor == 1.0 else unit * constant(factor, unit)


def _integers(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return values.to(torch.int64).cpu().numpy()
