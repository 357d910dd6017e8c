"""The integer graph: typed nodes over integers, the one thing that training lowers to and everything here consumes.

Shapes are per sample and per time step; at run time every tensor is [T, N, *shape] (T steps, N batch), except a
readout, which sums over T and is [N, *shape]. A node's output carries the node's name. FORMAT.md has every equation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.errors import GraphError

FORMAT_VERSION = 1
Shape = tuple[int, ...]
Pair = tuple[int, int]


def _frozen_array(values: npt.ArrayLike) -> IntArray:
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class IntNode:
    """Base of the nodes: a name, the names of the tensors read, the per-sample shape written."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape

    kind: ClassVar[str] = ""
    arrays: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.arrays:
            object.__setattr__(self, name, _frozen_array(getattr(self, name)))

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = object.__hash__


def _same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.shape == right.shape and bool(np.array_equal(left, right))
    return type(left) is type(right) and left == right


@dataclass(frozen=True, eq=False)
class IntInput(IntNode):
    """The network's input, [T, N, *shape]: unsigned in [0, 2^b - 1] or signed in [-2^(b-1), 2^(b-1) - 1], b <= 8.

    `scale`: real value of one unit (metadata; no arithmetic depends on it).
    """

    bit_width: int
    signed: bool
    scale: float

    kind: ClassVar[str] = "input"


@dataclass(frozen=True, eq=False)
class IntConv(IntNode):
    """acc = sum q_w * s over a 2-d window: weight [Co, Ci/groups, kh, kw], zero padding; s spikes, counts or input."""

    weight: IntArray
    bit_width: float
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    kind: ClassVar[str] = "conv"
    arrays: ClassVar[tuple[str, ...]] = ("weight",)


@dataclass(frozen=True, eq=False)
class IntLinear(IntNode):
    """acc = sum q_w * s over the features: weight [O, I], input shape (..., I) -> (..., O)."""

    weight: IntArray
    bit_width: float

    kind: ClassVar[str] = "linear"
    arrays: ClassVar[tuple[str, ...]] = ("weight",)


@dataclass(frozen=True, eq=False)
class IntRequant(IntNode):
    """j = (acc * M_c + B_c) >> S: accumulator to current, batch norm included. M, B: [C] or [1], C the channel axis.

    The channel axis is the first of a (C, H, W) shape and the last (only) of a (C,) shape. `scale`: the real value of
    one unit of j (metadata).
    """

    multiplier: IntArray
    bias: IntArray
    shift: int
    scale: float

    kind: ClassVar[str] = "requant"
    arrays: ClassVar[tuple[str, ...]] = ("multiplier", "bias")


@dataclass(frozen=True, eq=False)
class IntNeuron(IntNode):
    """Leaky integrate-and-fire over T, in the fine units lsb = s_v * 2^-R (FORMAT.md, "Neuron").

    x  = D*v + j + c;  s = [x >= theta];  x' = s ? reset_value : x (hard) | x - rho*s (soft) | x (none)
    v  = clip(x' >> R, -2^(N-1), 2^(N-1) - 1);   v(0) = v0 is given in stored units.
    theta, rho, c, reset_value: [C] or [1]. `scale`: s_v, the real value of one stored unit (metadata).
    """

    leak: int
    drive: IntArray
    threshold: IntArray
    reset: Literal["hard", "soft", "none"]
    reset_value: IntArray
    soft_amount: IntArray
    guard_bits: int
    bit_width: int
    initial: int
    scale: float

    kind: ClassVar[str] = "neuron"
    arrays: ClassVar[tuple[str, ...]] = ("drive", "threshold", "reset_value", "soft_amount")


@dataclass(frozen=True, eq=False)
class IntPool(IntNode):
    """2-d pooling, per channel: `max` or `sum` over the window. Padding adds nothing: 0 to a sum, -inf to a max."""

    mode: Literal["max", "sum"]
    kernel: Pair
    stride: Pair
    padding: Pair

    kind: ClassVar[str] = "pool"


@dataclass(frozen=True, eq=False)
class IntAdd(IntNode):
    """Sum of two or more tensors of one shape and one unit (residual currents, or spikes)."""

    kind: ClassVar[str] = "add"


@dataclass(frozen=True, eq=False)
class IntFlatten(IntNode):
    """(C, H, W) -> (C*H*W,), row-major."""

    kind: ClassVar[str] = "flatten"


@dataclass(frozen=True, eq=False)
class IntReadout(IntNode):
    """The network's answer: `sum` of the currents over T, [N, *shape], or `steps`, each step's, [T, N, *shape].

    `scale`: real value of one unit of the summed (or per-step) integer (metadata; an argmax does not need it).
    """

    mode: Literal["sum", "steps"]
    scale: float

    kind: ClassVar[str] = "readout"


Synapse = IntConv | IntLinear
NODE_TYPES: tuple[type[IntNode], ...] = (
    IntInput, IntConv, IntLinear, IntRequant, IntNeuron, IntPool, IntAdd, IntFlatten, IntReadout,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class IntGraph:
    """Nodes in an order in which every input stands before its reader: one IntInput first, one IntReadout last.

    `metadata`: free text about origin (recipe, policy, tool version); no arithmetic depends on it.
    """

    nodes: tuple[IntNode, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntGraph):
            return NotImplemented
        return self.nodes == other.nodes and dict(self.metadata) == dict(other.metadata)

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[IntNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def node(self, name: str) -> IntNode:
        """The node of that name; GraphError where there is none."""
        by_name: dict[str, IntNode] = self.__dict__["_by_name"]
        if name not in by_name:
            raise GraphError(f"the integer graph has no node {name!r}", hints=[f"it has: {', '.join(by_name)}"])
        return by_name[name]

    @property
    def input(self) -> IntInput:
        """The input node."""
        return next(node for node in self.nodes if isinstance(node, IntInput))

    @property
    def output(self) -> IntReadout:
        """The readout node."""
        return next(node for node in self.nodes if isinstance(node, IntReadout))

    @property
    def neurons(self) -> tuple[IntNeuron, ...]:
        """The neuron nodes, in order."""
        return tuple(node for node in self.nodes if isinstance(node, IntNeuron))

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        """The weight layers, in order."""
        return tuple(node for node in self.nodes if isinstance(node, IntConv | IntLinear))

    def readers(self, name: str) -> tuple[IntNode, ...]:
        """The nodes that read the tensor `name`."""
        return tuple(node for node in self.nodes if name in node.inputs)
