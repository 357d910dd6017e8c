"""What a pass has shown so far: nodes by name, and for every tensor of the pass the node that wrote it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.graph import Carries, NodeKind, NodeSpec, SnnGraph, SnnNode, TensorShape


@dataclass(frozen=True)
class _Tracked:
    """A tensor of the pass. It is kept alive, so that its id stays its own; `version` counts changes in place."""

    tensor: Tensor
    node: str
    version: int
    before_norm: bool = False


class Ledger:
    """Writes nodes and follows tensors. Of the pass it knows only T and N, and where in the network it stands.

    Args:
        time_steps: T of the sample.
        batch: N of the sample, at least 2: then [T, N, ...] and [T*N, ...] can be told apart by shape alone.
        reserved: the names of the network's modules; no other node may have one of them.
    """

    def __init__(self, time_steps: int, batch: int, *, reserved: Collection[str]) -> None:
        self._steps, self._batch = time_steps, batch
        self._reserved = frozenset(reserved)
        self._nodes: dict[str, SnnNode] = {}
        self._tensors: dict[int, _Tracked] = {}
        self._called: set[str] = set()
        self.place = ""

    # ------------------------------------------------------------------ nodes

    def write(
        self,
        name: str,
        kind: NodeKind,
        inputs: tuple[str, ...],
        *,
        shape: TensorShape,
        carries: Carries,
        spec: NodeSpec = None,
    ) -> str:
        """Write a node down and return its name."""
        for read in inputs:
            if self._nodes[read].kind is NodeKind.READOUT:
                raise self.error(
                    f"{name!r} follows the {read!r} over time: a graph ends there", "take the mean over time last"
                )
        self._nodes[name] = SnnNode(name, kind, inputs, shape, carries, spec)
        return name

    def write_output(
        self,
        name: str,
        kind: NodeKind,
        sources: tuple[SnnNode, ...],
        output: Tensor,
        *,
        carries: Carries,
        spec: NodeSpec = None,
    ) -> None:
        """Write the node that reads `sources` and wrote the tensor `output`."""
        inputs, shape = tuple(source.name for source in sources), self.per_sample(output)
        self.follow(output, self.write(name, kind, inputs, shape=shape, carries=carries, spec=spec))

    def amend(self, name: str, spec: NodeSpec) -> None:
        """Give a node another spec."""
        self._nodes[name] = replace(self._nodes[name], spec=spec)

    def is_read(self, name: str) -> bool:
        """Whether a node reads the node `name`."""
        return any(name in node.inputs for node in self._nodes.values())

    def graph_of(self, readout: str) -> SnnGraph:
        """The nodes that the readout depends on, in the order of the pass."""
        needed, nodes = {readout}, []
        for node in reversed(self._nodes.values()):
            if node.name in needed:
                needed.update(node.inputs)
                nodes.append(node)
        return SnnGraph(tuple(reversed(nodes)), self._steps)

    # ------------------------------------------------------------------ tensors

    def follow(self, tensor: Tensor, node: str) -> None:
        """Note that `node` wrote `tensor`."""
        self._tensors[id(tensor)] = _Tracked(tensor, node, tensor._version)

    def follows(self, value: object) -> bool:
        """Whether `value` is a tensor that a node wrote."""
        return id(value) in self._tensors

    def source(self, x: object) -> SnnNode:
        """The node that wrote x."""
        if id(x) not in self._tensors:
            raise self.error(
                "a layer reads a tensor that does not come from the network's input",
                "compute it from the input; a learned constant can be the bias of the layer before",
            )
        tracked = self._tensors[id(x)]
        if tracked.before_norm:
            raise self.error(
                f"the output of {tracked.node!r} is read both by its batch norm and by another layer",
                "read the norm's output only",
            )
        return self._nodes[tracked.node]

    def mark_before_norm(self, name: str) -> None:
        """Every tensor that node `name` has written so far stands before its batch norm: nothing else may read it."""
        for key, tracked in self._tensors.items():
            if tracked.node == name:
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

    def per_sample(self, x: Tensor) -> TensorShape:
        """The shape without T and N, whether they are two axes or folded into one."""
        shape = tuple(x.shape)
        if shape[:2] == (self._steps, self._batch):
            return shape[2:]
        if shape[:1] == (self._steps * self._batch,):
            return shape[1:]
        raise self.error(
            f"a tensor of shape {list(shape)} has neither [T, N, ...] = [{self._steps}, {self._batch}, ...] nor "
            f"[T*N, ...] = [{self._steps * self._batch}, ...] in front",
            "keep time and batch as the leading axes",
        )

    def has_time_axis(self, x: Tensor) -> bool:
        """Whether x is [T, N, ...], not [T*N, ...]."""
        return tuple(x.shape[:2]) == (self._steps, self._batch)

    # ------------------------------------------------------------------ names and errors

    def once(self, name: str) -> str:
        """The name of a module that may stand in one place only."""
        if name in self._called:
            raise self.error(
                f"{name!r} is called more than once in a forward pass",
                "give the network all steps at once, [T, N, ...], and a module of its own to every place",
            )
        self._called.add(name)
        return name

    def numbered(self, name: str) -> str:
        """The name of a module at its first call, then name_2, name_3, …"""
        return name if name not in self._nodes else self.free(name)

    def free(self, name: str) -> str:
        """`name`, or with a number where a module or a node has it: for nodes that are no module."""
        taken = self._reserved | self._nodes.keys()
        candidates = (name if number == 1 else f"{name}_{number}" for number in range(1, len(taken) + 2))
        return next(candidate for candidate in candidates if candidate not in taken)

    def function_name(self, function: str) -> str:
        """The name of a node that is a function call: that of the module it stands in, a dot, and the function's."""
        return self.free(f"{self.place}.{function}" if self.place else function)

    def error(self, what: str, hint: str) -> TraceError:
        """The error, with the module in which the pass stands."""
        place = f" (in module {self.place!r})" if self.place else ""
        return TraceError(f"{what}{place}", hints=[hint])
