"""What a pass has shown so far: nodes by name, and for every tensor of the pass the node that wrote it, and when.

Time loops are folded back here. A call on the tensors of step t is the node that another step has made already: the
same module or function on the same nodes with the same options. A module that reads another node at another step is
refused. What only some steps do can be the last step's answer; all steps together need every one of them (`timewise`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mdcompress.adapters.axes import Axes
from mdcompress.errors import TraceError
from mdcompress.graph import (
    AffineSpec,
    Carries,
    MovingSpec,
    NodeSpec,
    SnnGraph,
    SnnNode,
    SynapseSpec,
    TensorShape,
)
from mdcompress.tracing.positions import Extent, Position

_FEEDBACK = (
    "spikes of the step before belong into a recurrent neuron: snnTorch's RLeaky, Norse's or sinabs' LIFRecurrent, "
    "SpikingJelly's LinearRecurrentContainer, or one of your own (NeuronModel.recurrent)"
)


@dataclass(frozen=True)
class Tracked:
    """A tensor of the pass. It is kept alive, so that its id stays its own; `version` counts changes in place.

    state: which of a neuron's states it is, counted from the last that the neuron returns; None: it is the output.
    complement: whether it is 1 - the node's output.
    """

    tensor: Tensor
    node: str
    position: Position
    version: int
    before_norm: bool = False
    state: int | None = None
    complement: bool = False


class Ledger:
    """Writes nodes and follows tensors.

    Args:
        time_steps: T of the sample.
        batch: N of the sample, at least 2: then [T, N, ...] and [T*N, ...] can be told apart by shape alone.
        reserved: the names of the network's modules; no other node may have one of them.
        norm_lists: the names of its lists of a batch norm for every step.
        unknown: the names of its modules that may be neurons that nobody described.
    """

    def __init__(
        self,
        time_steps: int,
        batch: int,
        *,
        reserved: Collection[str],
        norm_lists: frozenset[str] = frozenset(),
        unknown: frozenset[str] = frozenset(),
    ) -> None:
        self.extent = Extent(time_steps, batch)
        self._unknown = unknown
        self.norm_lists = norm_lists
        self._reserved = frozenset(reserved)
        self._nodes: dict[str, SnnNode] = {}
        self._places: dict[str, list[str]] = {}  # of a module that makes a node wherever it stands
        self._written: dict[SnnNode, str] = {}  # a call, under the name it asked for: the node it made
        self._tensors: dict[int, Tracked] = {}
        self._axes: dict[str, Axes] = {}  # under which a node's module last wrote
        self._filled: dict[int, tuple[Tensor, list[Tracked]]] = {}  # the tensor is kept, so that its id stays its own
        self.place = ""

    @property
    def time_steps(self) -> int:
        """T of the sample."""
        return self.extent.time_steps

    # ------------------------------------------------------------------ nodes

    def write(self, name: str, spec: NodeSpec, inputs: tuple[str, ...], *, shape: TensorShape, carries: Carries) -> str:
        """Write a node down and return its name."""
        self._nodes[name] = SnnNode(name, spec, inputs, shape, carries)
        return name

    def write_module(
        self, name: str, spec: NodeSpec, sources: Sequence[Tracked], output: Tensor, *, carries: Carries
    ) -> Tracked:
        """The node of a module at one place: it reads the same there at every step. Its places are name, name_2, …

        `output` keeps the position of its source.
        """
        wanted = self._wanted(name, spec, sources, output, carries)
        place = self.place_of(name, wanted.inputs) or self.new_place(name, sources)
        found = self._nodes.get(place)
        if found is None:
            self._nodes[place] = replace(wanted, name=place, of=None if place == name else name)
            self._places.setdefault(name, []).append(place)
        elif _as_called(found) != wanted:
            raise self._difference(found, wanted)
        before_norm = found is not None and isinstance(found.spec, SynapseSpec) and found.spec.batch_norm is not None
        return self.follow(output, place, self.position_of(sources), before_norm=before_norm)

    def place_of(self, name: str, inputs: tuple[str, ...]) -> str | None:
        """The node of a module that reads these nodes; None where it was not called on them before."""
        return next((place for place in self._places.get(name, ()) if self._nodes[place].inputs == inputs), None)

    def new_place(self, name: str, sources: Sequence[Tracked]) -> str:
        """The name of a module's next node; TraceError where an earlier step has not made it already."""
        places = self._places.get(name, [])
        position = self.position_of(sources)
        if places and position.span == "step" and position.step > 0:
            now = " and ".join(repr(source.node) for source in sources)
            was = " and ".join(map(repr, self._nodes[places[0]].inputs))
            raise self.error(
                f"{name!r} reads {now} at step {position.step}, and read {was} before",
                "let every step make the same calls; a graph has one form for all steps",
            )
        return self.free(name) if places else name

    def write_function(
        self,
        base: str,
        spec: NodeSpec,
        sources: Sequence[Tracked],
        output: Tensor,
        *,
        carries: Carries,
        position: Position | None = None,
    ) -> Tracked:
        """The node of a function call; the same call on the same nodes is the same node."""
        wanted = self._wanted(base, spec, sources, output, carries, position)
        return self._write_once(wanted, sources, output, position)

    def write_moving(
        self, source: Tracked, spec: MovingSpec, output: Tensor, *, position: Position | None = None
    ) -> Tracked:
        """The node of a function that moves, sums or scales one tensor; it is named after both: `conv.reshape`."""
        carries = self.node(source.node).carries
        return self.write_function(
            f"{source.node}.{spec.kind}", spec, [source], output, carries=carries, position=position
        )

    def write_reusable(
        self, name: str, spec: NodeSpec, source: Tracked, output: Tensor, *, carries: Carries
    ) -> Tracked:
        """The node of a module without parameters, which may stand in several places: name, name_2, name_3, …"""
        wanted = self._wanted(name, spec, (source,), output, carries)
        return self._write_once(wanted, (source,), output, None, own_name=name)

    def _write_once(
        self,
        wanted: SnnNode,
        sources: Sequence[Tracked],
        output: Tensor,
        position: Position | None,
        own_name: str | None = None,
    ) -> Tracked:
        if wanted not in self._written:
            name = own_name if own_name is not None and own_name not in self._nodes else self.free(wanted.name)
            self._written[wanted] = name
            self._nodes[name] = replace(wanted, name=name)
        return self.follow(output, self._written[wanted], position or self.position_of(sources))

    def _wanted(
        self,
        name: str,
        spec: NodeSpec,
        sources: Sequence[Tracked],
        output: Tensor,
        carries: Carries,
        position: Position | None = None,
    ) -> SnnNode:
        shape = self.per_sample(output, (position or self.position_of(sources)).axes)
        return SnnNode(name, spec, tuple(source.node for source in sources), shape, carries)

    def _difference(self, found: SnnNode, wanted: SnnNode) -> TraceError:
        return self.error(
            f"{found.name!r} is called again on the same tensor and gives {wanted.shape}, and gave {found.shape}",
            "let every call of a module do the same",
        )

    def places(self, name: str) -> tuple[str, ...]:
        """The nodes of a module so far."""
        return tuple(self._places.get(name, ()))

    def amend(self, name: str, spec: NodeSpec, *, carries: Carries | None = None) -> None:
        """Give a node another spec, or another meaning to what it writes."""
        node = self._nodes[name]
        self._nodes[name] = replace(node, spec=spec, carries=carries or node.carries)

    def note_calls(self, name: str, calls: tuple[int, ...]) -> None:
        """Note which calls of its module a node stands for."""
        self._nodes[name] = replace(self._nodes[name], calls=calls)

    def node(self, name: str) -> SnnNode:
        """The node of that name."""
        return self._nodes[name]

    @property
    def written(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    def readers(self, name: str) -> list[SnnNode]:
        """The nodes so far that read the node `name`."""
        return [node for node in self._nodes.values() if name in node.inputs]

    def is_read(self, name: str) -> bool:
        """Whether a node reads the node `name`; not what only turns its axes, where nothing reads that."""
        return any(not self._turns_only(reader) for reader in self.readers(name))

    def _turns_only(self, node: SnnNode) -> bool:
        return node.kind == "transpose" and not self.is_read(node.name)

    def graph_of(self, readout: str) -> SnnGraph:
        """The nodes that the readout depends on, in the order of the pass."""
        needed, nodes = {readout}, []
        for node in reversed(self._nodes.values()):
            if node.name in needed:
                needed.update(node.inputs)
                nodes.append(self._with_whole_norms(node))
        graph = SnnGraph(tuple(reversed(nodes)), self.time_steps)
        axes = self._axes.get(graph.answer[0].name)
        return replace(graph, head_batch_first=axes in (("N", "T"), ("NT",)))

    def _with_whole_norms(self, node: SnnNode) -> SnnNode:
        """The node with one norm for all steps, or one for each."""
        if not isinstance(node.spec, SynapseSpec | AffineSpec) or not node.spec.step_norms:
            return node
        norms = node.spec.step_norms
        if len(norms) != self.time_steps:
            raise self.error(
                f"{node.name!r} is followed by the batch norms of {len(norms)} of {self.time_steps} steps",
                "call a norm at every step, or one for all steps",
            )
        return node if len(set(norms)) > 1 else replace(node, spec=replace(node.spec, step_norms=()))

    # ------------------------------------------------------------------ tensors

    def follow(
        self,
        tensor: Tensor,
        node: str,
        position: Position,
        *,
        before_norm: bool = False,
        state: int | None = None,
        complement: bool = False,
    ) -> Tracked:
        """Note that `node` wrote `tensor`, and which part of time it holds."""
        tracked = Tracked(tensor, node, position, tensor._version, before_norm, state, complement)
        if state is None:
            self._axes[node] = position.axes
        self._tensors[id(tensor)] = tracked
        return tracked

    def alias(self, tensor: Tensor, source: Tracked, position: Position | None = None) -> None:
        """Note that `tensor` holds what `source` holds, perhaps under other leading axes."""
        self._tensors[id(tensor)] = replace(
            source, tensor=tensor, position=position or source.position, version=tensor._version
        )

    def fill(self, whole: Tensor, part: Tracked) -> Sequence[Tracked]:
        """Note that `part` was written into `whole`, a tensor of no node; all that was, so far."""
        _, parts = self._filled.setdefault(id(whole), (whole, []))
        parts.append(part)
        return parts

    def tracked(self, value: object) -> Tracked | None:
        """What is known of a tensor; None where it does not come from the input."""
        return self._tensors.get(id(value))

    def follows(self, value: object) -> bool:
        """Whether `value` is a tensor that a node wrote."""
        return id(value) in self._tensors

    def source(self, x: object) -> Tracked:
        """The tensor x as something a layer may read; TraceError where it is none."""
        tracked = self._tensors.get(id(x))
        if tracked is None:
            raise self.error(
                "a layer reads a tensor that does not come from the network's input",
                f"compute it from the input; a learned constant can be the bias of the layer before; {_FEEDBACK}",
            )
        if tracked.before_norm:
            raise self.error(
                f"the output of {tracked.node!r} is read both by its batch norm and by another layer",
                "read the norm's output only",
            )
        if tracked.state is not None:
            raise self.error(
                f"a layer reads a state of the neuron {tracked.node!r}, not its spikes",
                "pass a state to the same neuron's next step only; let layers read the spikes",
            )
        if tracked.complement:
            raise self.error(
                f"a layer reads 1 - {tracked.node!r}",
                "multiply it by another spike tensor: a*(1 - b) is a graph's node",
            )
        return tracked

    def output_or_state(self, x: object) -> Tracked:
        """The tensor x, where a neuron's state may be joined or reduced over time too."""
        tracked = self._tensors.get(id(x))
        return tracked if tracked is not None and tracked.state is not None else self.source(x)

    def position_of(self, sources: Sequence[Tracked]) -> Position:
        """The part of time that a function of these tensors holds; TraceError where they differ."""
        moving = [source for source in sources if source.position.span != "still"] or list(sources)
        first = moving[0].position
        for other in sources:
            same = other.position == first or (other.position.span == "still" and other.position.axes == first.axes)
            if not same:
                raise self.error(
                    f"{moving[0].node!r} is taken at {first.describe()} and {other.node!r} at "
                    f"{other.position.describe()} ({list(moving[0].tensor.shape)} and {list(other.tensor.shape)})",
                    "a layer reads one step at a time; what is carried from step to step is the neurons' state alone; "
                    + _FEEDBACK,
                )
        return first

    def require_running(self, source: Tracked, name: str) -> None:
        """TraceError where a tensor is taken after the reduction over time."""
        if source.position.span in ("sum", "mean", "max"):
            raise self.error(
                f"{name!r} follows {source.position.describe()} of {source.node!r}: a graph ends there",
                "take the mean over time last",
            )

    def mark_before_norm(self, name: str) -> None:
        """Every tensor that node `name` has written so far stands before its batch norm: nothing else may read it."""
        names = {name, *(reader.name for reader in self.readers(name) if self._turns_only(reader))}
        for key, tracked in self._tensors.items():
            if tracked.node in names:
                self._tensors[key] = replace(tracked, before_norm=True)

    def require_unchanged(self, values: Iterable[object]) -> None:
        """TraceError where one was changed in place under another name, such as a view of it."""
        for value in values:
            tracked = self._tensors.get(id(value))
            if tracked is not None and tracked.tensor._version != tracked.version:
                raise self.error(
                    f"the output of {tracked.node!r} was changed in place through a view, and is read afterwards",
                    "write y = y + z instead of y += z",
                )

    def per_sample(self, x: Tensor, axes: Axes) -> TensorShape:
        """The shape without the leading axes, which must have the sizes of T and N."""
        shape = self.extent.per_sample(x, axes)
        if shape is None:
            sizes = list(self.extent.sizes(axes))
            raise self.error(
                f"a tensor of shape {list(x.shape)} has not the sizes of {list(axes)}, {sizes}, in front",
                "keep time and batch as the leading axes",
            )
        return shape

    # ------------------------------------------------------------------ names and errors

    def free(self, name: str) -> str:
        """`name`, or with a number where a module or a node has it: for nodes that are no module."""
        taken = self._reserved | self._nodes.keys()
        candidates = (name if number == 1 else f"{name}_{number}" for number in range(1, len(taken) + 2))
        return next(candidate for candidate in candidates if candidate not in taken)

    def function_base(self, function: str) -> str:
        """The name of a node that is a function call: that of the module it stands in, a dot, and the function's."""
        return f"{self.place}.{function}" if self.place else function

    def error(self, what: str, hint: str) -> TraceError:
        """The error, with the module in which the pass stands."""
        place = f" (in module {self.place!r})" if self.place else ""
        hints = [hint]
        if self.place in self._unknown:
            hints.append(
                f"if {self.place!r} is a neuron, give its class a method `neuron_model` (docs/frameworks/own.md)"
            )
        return TraceError(f"{what}{place}", hints=hints)


def _as_called(node: SnnNode) -> SnnNode:
    """The node as it was when its module was called, under the module's name and before a batch norm followed."""
    node = replace(node, name=node.module, of=None)
    if not isinstance(node.spec, SynapseSpec):
        return node
    return replace(node, spec=replace(node.spec, batch_norm=None, step_norms=(), step_scales=0))
