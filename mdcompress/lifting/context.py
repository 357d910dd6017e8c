"""What an analysis of a tape shares: cells, nodes found so far, modules, and the user's parameters by their tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import CONSTANT, REDUCED, STILL, UNKNOWN, Arrangement, Cells, Pattern, digest
from mdcompress.lifting.moving import Gathering, gathering
from mdcompress.lifting.network import Building, Finding, LiftedNode
from mdcompress.lifting.tape import Op, Operand, Place

MIXED = -7  # of a sample: more than one


class MixedError(TraceError):
    """Samples meet, or steps: where another way of calling fits, the network was called wrongly."""


class Parameters:
    """The user's parameters and buffers, found by the storage of those of the copy that ran."""

    def __init__(self, network: nn.Module, copy: nn.Module) -> None:
        own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self._own = own
        floats = (tensor.dtype for tensor in own.values() if tensor.is_floating_point())
        self.dtype = next(floats, torch.float32)
        self._names: dict[tuple[int, int], str] = {}
        for name, tensor in [*copy.named_parameters(), *copy.named_buffers()]:
            self._names.setdefault((tensor.untyped_storage()._cdata, tensor.numel()), name)

    def name(self, operand: Operand) -> str | None:
        """The qualified name of a parameter that an operator read, whole; None where it is none."""
        origin = operand.origin
        if origin is None or not isinstance(origin, Tensor):
            return None
        name = self._names.get((origin.untyped_storage()._cdata, origin.numel()))
        return name if name in self._own else None

    def key(self, operand: Operand | None) -> str | bytes | None:
        """Equal for the same parameter, or the same constants; None where there is none."""
        return None if operand is None else self.name(operand) or digest(operand.value)

    def settle(self, network: nn.Module) -> None:
        """Give what is not the user's own, and was kept in float64 for the proof, the type of the user's weights."""
        own = {id(tensor) for tensor in self._own.values()}
        for module in network.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None and id(tensor) not in own and tensor.dtype is torch.float64:
                    tensor.data = tensor.data.to(self.dtype)

    def tensor(self, operand: Operand, shape: tuple[int, ...] | None = None) -> Tensor:
        """The user's own parameter, where it has this shape; else the values that were read, in float64 (`settle`)."""
        name = self.name(operand)
        if name is not None and (shape is None or tuple(self._own[name].shape) == shape):
            return self._own[name]
        assert operand.value is not None
        return nn.Parameter(operand.value.detach().to(torch.float64, copy=True), requires_grad=False)


@dataclass
class Context:
    """The state of an analysis. nodes: by number; shapes: of a sample of each. keys: of nodes that may be met again."""

    cells: Cells
    steps: int
    parameters: Parameters
    building: Building = field(default_factory=Building)
    nodes: dict[int, LiftedNode] = field(default_factory=dict)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    keys: dict[object, int] = field(default_factory=dict)
    reduced: set[int] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)
    spiking: set[int] = field(default_factory=set)  # nodes that write spikes: 0, 1 or counts
    states: dict[int, int] = field(default_factory=dict)  # operators that hold a neuron's potential, by number
    scales: dict[int, tuple[int, Tensor]] = field(default_factory=dict)  # spikes times factors [P]: node, factors
    norm_runs: dict[bytes, list[int]] = field(default_factory=dict)  # nodes of norms that may differ by step
    spikes: dict[int, int] = field(default_factory=dict)  # operators that are a neuron's spikes: its node
    passed: set[int] = field(default_factory=set)  # operators that are part of a layer before them
    noisy: set[int] = field(default_factory=set)  # operators that compute with random numbers
    encoded: dict[Place, int] = field(default_factory=dict)  # how often an encoder ran, by its place
    findings: list[Finding] = field(default_factory=list)
    holding: dict[str, bool] = field(default_factory=dict)  # by module: whether it holds layers, and is no neuron
    _readers: dict[int, list[Op]] = field(default_factory=dict)
    made: dict[object, str] = field(default_factory=dict)  # modules that were built, by what they are

    def makers(self, operand: Operand) -> list[int]:
        """The operators that made what one read, each once, in order; none of a constant."""
        return [] if operand.labels is None else self.cells.owning(operand.labels)

    def readers(self, number: int) -> list[Op]:
        """The operators of the pass that read what one made, in order."""
        if not self._readers:
            for op in self.cells.tape.ops:
                for owner in {k for operand in op.tracked for k in self.makers(operand)}:
                    self._readers.setdefault(owner, []).append(op)
        return self._readers.get(number, [])

    def try_out(self) -> Callable[[], None]:
        """A function that takes back the nodes and modules that were written since; cells are the caller's."""
        kept = (dict(self.keys), dict(self.made), dict(self.building.modules), len(self.shapes), list(self.findings))

        def take_back() -> None:
            keys, made, modules, count, findings = kept
            self.keys, self.made, self.building.modules, self.findings = keys, made, modules, findings
            for number in range(count, len(self.shapes)):
                del self.shapes[number]
                self.nodes.pop(number, None)
                self.names.pop(number, None)

        return take_back

    def new_node(self, key: object, node: LiftedNode, shape: tuple[int, ...], name: str = "") -> int:
        """Write a node down, and return its number."""
        number = len(self.shapes)
        self.nodes[number], self.shapes[number], self.names[number] = node, shape, name
        self.keys[key] = number
        return number

    def is_leaf(self, number: int) -> bool:
        """Whether the cells of an operator belong to a node, or are a neuron's potential."""
        return self.is_resolved(number) or number in self.states

    def is_resolved(self, number: int) -> bool:
        """Whether the cells of an operator belong to a node."""
        return int(self.cells.node[self.cells.ops[number].base]) >= 0

    def gathered(self, pattern: Pattern, place: Place) -> Gathering:
        """The moves that give a pattern.

        Raises:
            TraceError: constants stand in it, or its places are picked in no regular way.
        """
        if bool((pattern.nodes < 0).any()):
            raise TraceError(
                f"constants are joined with what comes from the input ({place})",
                hints=["let layers read whole tensors; zeros around a map can be the padding of the next layer"],
            )
        found = gathering(pattern, self.shapes)
        if found is None:
            raise TraceError(
                f"elements are picked in a way that no reshape, transpose, slice or cat gives ({place})",
                hints=["take regular parts: x[:, a:b], chunk, permute"],
            )
        return found

    def unscaled(self, pattern: Pattern) -> tuple[Pattern, Tensor | None]:
        """A pattern of spikes that have heights as one of the spikes themselves; and the heights [P].

        None in place of heights: all are 1.
        """
        if not any(source in self.scales for source in pattern.sources):
            return pattern, None
        nodes, heights = pattern.nodes.clone(), torch.ones(len(pattern.nodes), dtype=torch.float64)
        for source in pattern.sources:
            if source in self.scales:
                base, factors = self.scales[source]
                own = pattern.nodes == source
                nodes[own] = base
                heights[own] = factors[pattern.places[own]]
        return Pattern(nodes, pattern.places, pattern.constants, pattern.shape), heights

    def rows(
        self, labels: Tensor, place: Place, what: str, *, first: int | None = None, keep: Collection[int] = ()
    ) -> Arrangement:
        """A tensor as rows of one step and sample each.

        Raises:
            TraceError: they are mixed.
        """
        cells = labels[labels >= 0]
        if bool((self.cells.sample[cells] == MIXED).any()):
            raise MixedError(
                f"{what} reads a value computed from several samples of the batch ({place})",
                hints=["a graph computes each sample alone: statistics of a batch belong to batch norm"],
            )
        found = self.cells.rows(labels, first=first, keep=keep)
        if found is None:
            raise MixedError(
                f"{what} reads steps and samples mixed, {list(labels.shape)} ({place})",
                hints=["let every row be one step of one sample; only a neuron's state goes from step to step"],
            )
        return found

    def follow_elements(self, op: Op) -> None:
        """Step and sample of the cells of an operator on elements: the last step, and the one sample, that it reads."""
        if any(operand.random for operand in op.operands) or any(
            number in self.noisy for operand in op.tracked for number in self.makers(operand)
        ):
            self.noisy.add(op.number)
        step = torch.full(op.shape, CONSTANT, dtype=torch.int64)
        sample = torch.full(op.shape, -1, dtype=torch.int64)
        sign = torch.full(op.shape, sum(map(ord, op.name)), dtype=torch.int64)
        for operand in op.operands:
            if operand.labels is None:
                if operand.value is not None and operand.value.numel() > 1:
                    sign = sign * 31 + operand.value.double().contiguous().view(torch.int64).expand(op.shape)
                continue
            labels = operand.labels.expand(op.shape)
            held, own = labels >= 0, labels.clamp(min=0)
            steps = torch.where(held, self.cells.step[own], CONSTANT)
            samples = torch.where(held, self.cells.sample[own], -1)
            step = _later(step, steps)
            sign = sign * 1000003 + torch.where(held, self.cells.sign[own], 1)
            clash = (sample >= 0) & (samples >= 0) & (sample != samples)
            sample = torch.where(clash | (sample == MIXED) | (samples == MIXED), MIXED, torch.maximum(sample, samples))
        self.cells.step[op.span], self.cells.sample[op.span] = step.reshape(-1), sample.reshape(-1)
        self.cells.sign[op.span] = sign.reshape(-1)


def _later(one: Tensor, other: Tensor) -> Tensor:
    """The later of two steps; what is reduced over time is later than what is still."""
    both = torch.maximum(one, other)
    reduced = ((one == REDUCED) | (other == REDUCED)) & (both <= STILL)
    return torch.where(reduced, REDUCED, torch.where(both == UNKNOWN, UNKNOWN, both))
