"""An integer graph -> the float nodes and edges of a NIR graph: what any reader of NIR can run.

A current's unit in floats is a power of two (that next to its real value), so that weights, q_w*M*2^-S in that unit,
are exact in float32; only what reads the input carries the input's scale, rounded. Floors lose half a unit on average,
which biases and thresholds make good: a neuron fires at theta - 1/2 - 2^(R-1) units of s_f, between two integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, assert_never

import numpy as np

from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntMatMul,
    IntMultiply,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRecurrentNeuron,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
)
from intsnn.graph.bounds import TensorRole, carries
from mdcompress.errors import ExportError
from mdcompress.nir.files import nir_package
from mdcompress.nir.rounding import Floats, drive_of, feedback_of, lost_half, offset_of, synapse_drive_of
from mdcompress.recipe.nir import ReaderReset, ReaderStep

STEPS: Mapping[ReaderStep, float] = {"euler": 1e-4, "jump": 1.0}  # dt: what snnTorch fixes; sinabs counts in steps


@dataclass(frozen=True)
class Reader:
    """What will run the floats: how it discretizes LIF (`step`), and what it does at a spike.

    euler: dt = 1e-4, as snnTorch, SpikingJelly and, told that dt, Norse. jump: tau in steps, as sinabs.
    """

    step: ReaderStep
    reset: ReaderReset

    @property
    def dt(self) -> float:
        """Length of a step in the unit of tau, rounded as the file's arrays are."""
        return float(np.float32(STEPS[self.step]))


@dataclass(frozen=True)
class _Tensor:
    """An integer tensor in floats: the sum of these NIR nodes is integer * unit."""

    sources: tuple[str, ...]
    unit: float


def dequantized(graph: IntGraph, reader: Reader) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes by name, and edges.

    Raises:
        ExportError: NIR cannot hold some nodes; all are named.
    """
    writing = _Writing(graph, reader)
    refused: list[ExportError] = []
    for node in graph:
        try:
            writing.write(node)
        except ExportError as error:
            refused.append(error)
            writing.tensors[node.name] = _Tensor((), 1.0)  # so that later nodes are looked at too
    if refused:
        hints = list(dict.fromkeys(hint for error in refused for hint in error.hints))
        raise ExportError("\n".join(error.message for error in refused), hints=hints)
    return writing.nodes, writing.edges


@dataclass
class _Writing:
    """The NIR graph as far as it is written."""

    graph: IntGraph
    reader: Reader
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    tensors: dict[str, _Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._nir = nir_package()
        self._units = _current_units(self.graph)

    def write(self, node: IntNode) -> None:
        """Write the NIR node of an integer node, where it has one of its own."""
        if "/" in node.name:
            raise _refused(node, "its name has a `/`, which parts groups in an HDF5 file", "rename the layer")
        match node:
            case IntInput():
                self.nodes[node.name] = self._nir.Input({"input": np.array(node.shape)})
                self.tensors[node.name] = _Tensor((node.name,), node.scale)
            case IntConv() | IntLinear():
                self._check_synapse(node)
            case IntRequant():
                self._write_weights(node)
            case IntRecurrentNeuron():
                self._write_neuron(node)
                self._write_loop(node)
            case IntNeuron():
                self._write_neuron(node)
            case IntPool() if node.mode == "sum" and len(node.kernel) == 2:
                windows = (np.array(sizes) for sizes in (node.kernel, node.stride, node.padding))
                self._add(node, self._nir.SumPool2d(*windows))
            case IntFlatten():
                shape = self.graph.node(node.inputs[0]).shape
                self._add(node, self._nir.Flatten({"input": np.array(shape)}, 0, len(shape) - 1))
            case IntAdd():
                self._write_add(node)
            case IntReadout():
                self._add(node, self._nir.Output({"output": np.array(node.shape)}))
            case IntPool():
                raise _refused(node, f"NIR has no {node.mode} pooling over {len(node.kernel)} axes", _POOL_HINT)
            case IntConvTranspose() | IntConcat() | IntMultiply() | IntMatMul() | IntSum():
                raise _refused(node, "NIR has no such node", _NO_NODE)
            case IntTranspose() | IntReshape() | IntSlice():
                raise _refused(node, "NIR has no such node", _NO_NODE)
            case _:
                assert_never(node)

    def _add(self, node: IntNode, written: Any, *, inputs: str | None = None, unit: float | None = None) -> None:
        """Put a NIR node under an integer node's name, behind what that reads."""
        read = self.tensors[node.inputs[0] if inputs is None else inputs]
        self.nodes[node.name] = written
        self.edges += [(source, node.name) for source in read.sources]
        self.tensors[node.name] = _Tensor((node.name,), read.unit if unit is None else unit)

    # --- weights -----------------------------------------------------------------------------------------------------

    def _check_synapse(self, node: IntConv | IntLinear) -> None:
        readers = self.graph.readers(node.name)
        if len(readers) != 1:
            raise _refused(node, f"{len(readers)} requants read it", "give each a synapse of its own")
        _require_form(node)

    def _write_weights(self, node: IntRequant) -> None:
        """Weights under the name of their layer; b = (B*2^-S - 1/2)*unit(j), the floor of the shift loses the half."""
        synapse = self.graph.node(node.inputs[0])
        if not isinstance(synapse, IntConv | IntLinear):
            raise _refused(node, "NIR has no batch norm without a synapse", "put the norm behind a synapse")
        if node.multiplier.ndim > 1 or node.bias.ndim > 1:
            raise _refused(node, "NIR has no batch norm that differs from step to step", "use one norm for all steps")
        unit = self._units[node.name]
        written = self._weights(synapse, node, unit=unit, offset=offset_of(node) + self._drive_behind(node))
        self._add(synapse, written, inputs=synapse.inputs[0], unit=unit)
        self.tensors[node.name] = self.tensors[synapse.name]

    def _weights(
        self, node: IntConv | IntLinear, requant: IntRequant, *, unit: float, offset: Floats | float = 0.0
    ) -> Any:
        """w = q_w*M*2^-S*unit(j)/unit(x), b = offset*unit(j)."""
        channels = node.weight.shape[0]
        gain = np.broadcast_to(requant.multiplier * 2.0**-requant.shift, channels) * (
            unit / self.tensors[node.inputs[0]].unit
        )
        weight = _single(node.weight * gain.reshape(-1, *(1 for _ in node.weight.shape[1:])))
        bias = _single(np.broadcast_to(offset * unit, channels))
        match node:
            case IntLinear():
                return self._nir.Affine(weight, bias)
            case IntConv():
                return self._convolution(node, weight, bias)
            case _:
                assert_never(node)

    def _convolution(self, node: IntConv, weight: Any, bias: Any) -> Any:
        shape, one = self.graph.node(node.inputs[0]).shape[1:], len(node.stride) == 1
        make = self._nir.Conv1d if one else self._nir.Conv2d
        geometry = [sizes[0] if one else sizes for sizes in (node.stride, node.padding, node.dilation)]
        return make(shape[0] if one else shape, weight, *geometry, node.groups, bias)

    def _drive_behind(self, node: IntRequant) -> Floats | float:
        """What the one neuron that reads these currents adds to them at every step."""
        for reader in self.graph.of_type(IntNeuron):
            if node.name == reader.inputs[0] and self._is_fed_alone(reader):
                return feedback_of(reader) + (0.0 if reader.has_synapse else drive_of(reader))
        return 0.0

    # --- neurons -----------------------------------------------------------------------------------------------------

    def _write_neuron(self, node: IntNeuron) -> None:
        """IF, LIF or CubaLIF; I, LI or CubaLI where the potential is the answer."""
        _require_plain(node, self.reader)
        unit = self.tensors[node.inputs[0]].unit
        alone, drive = self._is_fed_alone(node), np.any(drive_of(node))
        if (drive and node.has_synapse) or ((drive or np.any(feedback_of(node))) and not alone):
            raise _refused(node, "it has a drive of its own, and shares its currents or keeps a synaptic state", _DRIVE)
        if np.any(synapse_drive_of(node)):
            raise _refused(node, "its synaptic state has a drive of its own", _DRIVE)
        full = _filler(node)
        decay = node.leak * 2.0**-node.guard_bits
        fires = node.output == "spikes"
        level = self._levels(node, unit) if fires else {}
        parameters: dict[str, Any] = {}
        if (decay == 1.0).all() and not node.has_synapse:
            parameters["r"] = full(1.0 / self.reader.dt if self.reader.step == "euler" else 1.0)
            scale: Floats | float = 1.0
        else:
            parameters, scale = self._leak(node, decay)
        parameters |= {name: full(value * scale) for name, value in level.items()}
        kind = ("Cuba" if node.has_synapse else "") + ("L" if "v_leak" in parameters else "") + ("IF" if fires else "I")
        self._add(node, self._neuron(node, kind, parameters), unit=1.0 if fires else unit)

    def _write_loop(self, node: IntRecurrentNeuron) -> None:
        """The recurrent weights, between the neuron and itself; their bias is in that of the weights before."""
        synapse, unit = node.recurrent_synapse, self.tensors[node.inputs[0]].unit
        _require_form(synapse)
        self.nodes[synapse.name] = self._weights(synapse, node.recurrent_requant, unit=unit)
        self.edges += [(node.name, synapse.name), (synapse.name, node.name)]

    def _neuron(self, node: IntNeuron, kind: str, parameters: dict[str, Any]) -> Any:
        """A neuron of NIR; older versions of nir know fewer classes, and 0 as the only v_reset."""
        make = getattr(self._nir, kind, None)
        known = {} if make is None else {name: parameters[name] for name in parameters if name in _fields(make)}
        if make is None or any(np.any(parameters[name]) for name in set(parameters) - set(known)):
            raise _refused(node, f"the installed nir has no such {kind}", "install nir>=1.0.7")
        return make(**known)

    def _is_fed_alone(self, node: IntNeuron) -> bool:
        """Whether weights feed this neuron and nothing else: their bias can hold what it adds to its currents."""
        source = self.graph.node(node.inputs[0])
        return isinstance(source, IntRequant) and len(self.graph.readers(source.name)) == 1

    def _levels(self, node: IntNeuron, unit: float) -> dict[str, Floats]:
        """Threshold and reset value in float units, without the half that rounding carries."""
        half, word = lost_half(node.guard_bits), 2 ** (node.bit_width - 1)
        threshold = node.threshold - half - 0.5
        reset = np.clip(node.reset_value >> node.guard_bits, -word, word - 1) * 2.0**node.guard_bits
        if node.reset == "soft":
            if (abs(node.soft_amount - (node.threshold - half)) > 1).any():
                raise _refused(node, "it subtracts another amount than its threshold", "let both be one number")
            threshold, reset = node.soft_amount.astype(np.float64), np.zeros(1)
        return {"v_threshold": threshold * unit, "v_reset": reset * unit}

    def _leak(self, node: IntNeuron, decay: Floats) -> tuple[dict[str, Any], Floats | float]:
        """Time constants and gains, and what the membrane is scaled by: with euler, r = 1 gives a LIF the gain dt/tau.

        r = 1 because Norse and sinabs do not read it.
        """
        full, synapse_decay = _filler(node), node.synapse_leak * 2.0**-node.synapse_shift
        tau = self._time_constant(node, decay)
        if self.reader.step == "jump":
            if node.has_synapse:
                raise _refused(node, "sinabs reads no CubaLIF", "export for `euler` readers")
            return {"tau": full(tau), "r": full(1.0), "v_leak": full(0.0)}, 1.0
        if node.has_synapse:
            tau_syn = self._time_constant(node, synapse_decay)
            gains = {"r": full(tau / self.reader.dt), "w_in": full(tau_syn / self.reader.dt)}
            return {"tau_syn": full(tau_syn), "tau_mem": full(tau), **gains, "v_leak": full(0.0)}, 1.0
        if node.output == "potential":
            return {"tau": full(tau), "r": full(tau / self.reader.dt), "v_leak": full(0.0)}, 1.0
        return {"tau": full(tau), "r": full(1.0), "v_leak": full(0.0)}, 1.0 - decay

    def _time_constant(self, node: IntNeuron, decay: Floats) -> Floats:
        if (decay >= 1.0).any() or (self.reader.step == "jump" and (decay <= 0.0).any()):
            raise _refused(
                node, "a decay of 1 or 0 in a neuron with a synaptic state, or in some of its channels, has no time "
                "constant", "let all channels leak, or none",
            )  # fmt: skip
        tau: Floats = self.reader.dt / (1.0 - decay if self.reader.step == "euler" else -np.log(decay))
        return tau

    # --- sums --------------------------------------------------------------------------------------------------------

    def _write_add(self, node: IntAdd) -> None:
        """NIR sums the edges into a node: whatever reads the sum reads its terms."""
        terms = [self.tensors[name] for name in node.inputs]
        sources = tuple(source for term in terms for source in term.sources)
        if len({term.unit for term in terms}) > 1 or len(set(sources)) != len(sources):
            raise _refused(node, "its terms have different units, or one stands in it twice", "add each tensor once")
        self.tensors[node.name] = _Tensor(sources, terms[0].unit)


_NO_NODE = "give hardware the model.onnx, which holds everything"
_POOL_HINT = "use average pooling over maps of height and width"
_DRIVE = "give it a synapse of its own"


def _require_plain(node: IntNeuron, reader: Reader) -> None:
    """ExportError where the neuron has an option that no neuron of NIR has."""
    spiking, other_reset = node.output == "spikes", f"its reset is {node.reset}, and these readers' is {reader.reset}"
    wrong = {
        f"it fires counts of spikes ({node.spike})": node.spike != "binary",
        f"its reset comes late ({node.timing})": node.timing != "same_step",
        f"it has a floor ({node.floor})": node.floor != "none",
        "its threshold doubles": node.rearm != "plain",
        "it does not start from 0": node.initial != 0,
        other_reset: spiking and node.reset != reader.reset,
        "its potential is read after a reset": not spiking and node.reset != "none",
    }
    for reason, holds in wrong.items():
        if holds:
            hint = _SOFT if reason == other_reset and node.reset == "soft" else _PLAIN
            raise _refused(node, f"NIR's neurons are plain: {reason}", hint)


_SOFT = (
    "export with reset='soft' (--nir-reset soft) for readers that subtract, as sinabs does: "
    "NIR itself has no soft reset"
)
_PLAIN = "use model.onnx, which holds everything, or train with plain neurons: binary spikes and a reset to v_reset"


def _require_form(node: IntConv | IntLinear) -> None:
    """ExportError where NIR has no such weights."""
    rank = len(node.shape) - 1
    match node:
        case IntLinear():
            kind, axes, plain = "a linear layer", 0, True
        case IntConv():
            kind, axes = "a convolution", len(node.stride)
            plain = node.groups == 1 and len(set(node.weight.shape[2:])) == 1
        case _:
            assert_never(node)
    if rank != axes or rank > 2:
        raise _refused(node, f"NIR has no {kind} over {rank} axes of a map", "use Conv1d, Conv2d or flat features")
    if not plain:
        raise _refused(
            node, "nir's own check of shapes knows convolutions of one group with square kernels only, and every "
            "reader runs it", "use square kernels in one group",
        )  # fmt: skip


def _filler(node: IntNode) -> Callable[[Any], Any]:
    """One number, or one per channel [C], as an array of the node's whole shape: NIR asks for that."""

    def full(value: Any) -> Any:
        values = np.asarray(value, dtype=np.float64).reshape(-1, *(1 for _ in node.shape[1:]))
        return _single(np.broadcast_to(values, node.shape))

    return full


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind))


def _single(values: Any) -> Any:
    return np.ascontiguousarray(values, dtype=np.float32)


def _current_units(graph: IntGraph) -> dict[str, float]:
    """By tensor of currents, a power of two: one for all that are summed, near the real value of their integers."""
    kinds = carries(graph)
    units: dict[str, float] = {}
    groups: dict[str, str] = {}  # a tensor's root

    def root(name: str) -> str:
        return name if groups.setdefault(name, name) == name else root(groups[name])

    for node in graph:
        if kinds[node.name] is TensorRole.CURRENT and not isinstance(node, IntRequant | IntNeuron):
            for source in node.inputs:
                groups[root(source)] = root(node.name)
    for requant in graph.of_type(IntRequant):
        units.setdefault(root(requant.name), 2.0 ** round(math.log2(requant.scale)))
    return {name: units[root(name)] for name in kinds if root(name) in units}


def _refused(node: IntNode, reason: str, hint: str) -> ExportError:
    return ExportError(f"node {node.name!r} ({node.kind}) has no form in NIR: {reason}", hints=[hint])
