"""The node types of an integer graph, a closed union: frozen data, no arithmetic. FORMAT.md has every equation.

Shapes are per sample and per time step; at run time every tensor is [T, N, *shape] (T steps, N batch), except that of
a readout that sums, keeps the last or takes the maximum over T: [N, *shape]. A node's output carries the node's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray

Shape = tuple[int, ...]
Sizes = tuple[int, ...]  # one number per axis of a window: (length,), (height, width) or (depth, height, width)


def _frozen_array(values: npt.ArrayLike) -> IntArray:
    array = np.atleast_1d(np.array(values, dtype=np.int64))
    array.setflags(write=False)
    return array


def _unused() -> IntArray:
    return _frozen_array([0])


@dataclass(frozen=True, eq=False)
class NodeFields:
    """What every node has: a name, the names of the tensors read, the per-sample shape written.

    kind: the word for the node's type in files. arrays: its fields that are arrays; they are frozen int64 copies.
    """

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
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(
            np.array_equal(mine, theirs) if name in self.arrays else type(mine) is type(theirs) and mine == theirs
            for name, mine, theirs in pairs
        )

    __hash__ = object.__hash__


@dataclass(frozen=True, eq=False)
class IntInput(NodeFields):
    """The network's input, [T, N, *shape]: unsigned in [0, 2^b - 1] or signed in [-2^(b-1), 2^(b-1) - 1], b <= 8.

    `scale`: real value of one unit (metadata; no arithmetic depends on it).
    """

    bit_width: int
    signed: bool
    scale: float

    kind: ClassVar[str] = "input"


# --- synapses ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class IntConv(NodeFields):
    """acc = sum q_w * s over a window: weight [Co, Ci/groups, *kernel], zero padding; s spikes, counts or input.

    The kernel's rank is that of the map: (C, L), (C, H, W) or (C, D, H, W).
    """

    weight: IntArray
    bit_width: float
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int

    kind: ClassVar[str] = "conv"
    arrays: ClassVar[tuple[str, ...]] = ("weight",)

    @property
    def kernel(self) -> Sizes:
        """The sizes of the window."""
        return self.weight.shape[2:]


@dataclass(frozen=True, eq=False)
class IntConvTranspose(NodeFields):
    """The transposed window: acc[o, y] = sum q_w[c, o, i] * s[c, z] over y = z*stride + i*dilation - padding.

    weight [Ci, Co/groups, *kernel]. `output_padding` adds places at the end of each axis.
    """

    weight: IntArray
    bit_width: float
    stride: Sizes
    padding: Sizes
    output_padding: Sizes
    dilation: Sizes
    groups: int

    kind: ClassVar[str] = "conv_transpose"
    arrays: ClassVar[tuple[str, ...]] = ("weight",)

    @property
    def kernel(self) -> Sizes:
        """The sizes of the window."""
        return self.weight.shape[2:]


@dataclass(frozen=True, eq=False)
class IntLinear(NodeFields):
    """acc = sum q_w * s over the features: weight [O, I], input shape (..., I) -> (..., O)."""

    weight: IntArray
    bit_width: float

    kind: ClassVar[str] = "linear"
    arrays: ClassVar[tuple[str, ...]] = ("weight",)
    kernel: ClassVar[Sizes] = ()  # it has no window, and one group: what it shares with a convolution of size 1
    groups: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class IntRequant(NodeFields):
    """j = (acc * M_c + B_c) >> S: accumulator to current, batch norm included.

    M, B: [C] or [1], C the first axis of the shape; or [T, C] or [T, 1], one row per time step, which fixes T (batch
    norm through time). `scale`: the real value of one unit of j (metadata).
    """

    multiplier: IntArray
    bias: IntArray
    shift: int
    scale: float

    kind: ClassVar[str] = "requant"
    arrays: ClassVar[tuple[str, ...]] = ("multiplier", "bias")


# --- neurons ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class IntNeuron(NodeFields):
    """Leaky integrate-and-fire over T, in the units of s_f s_f = s_v * 2^-R (FORMAT.md, "Neuron").

    The plain neuron, which the defaults give:
        x  = D*v + j + c;  s = [x >= theta];  x' = s ? reset_value : x (hard) | x - rho*s (soft) | x (none)
        v  = clip(x' >> R, -2^(N-1), 2^(N-1) - 1);   v(0) = `initial` is given in stored units.
    With a synaptic state i (`synapse_leak` D_s > 0) the current is y = D_s*i + j + c_s (`synapse_drive`) in place of j,
    stored as i = clip(y >> R_s) to N bits, i(0) = 0.
    `spike` floor, round: s = clip(floor((x - theta + level) / level), 0, max_spikes), or rounded half to even.
    `timing` after_leak: x = D*v + j + c - rho*s_prev, x' = x; masked: x = s_prev ? reset_value : x, x' = x.
    `floor` before_fire: x = max(x, floor_value); after_reset: the same of x'.
    `rearm` double: x - level*[v*2^R > level] is compared. `output` potential: the node writes x' instead of s.
    Arrays are [C] or [1]; what is not used is [0], 0 or 1 (the defaults). `scale`: s_v, the real value of one stored
    unit (metadata).
    """

    leak: IntArray
    drive: IntArray
    threshold: IntArray
    reset: Literal["hard", "soft", "none"]
    reset_value: IntArray
    soft_amount: IntArray
    guard_bits: int
    bit_width: int
    initial: int
    scale: float
    spike: Literal["binary", "floor", "round"] = "binary"
    max_spikes: int = 1
    level: IntArray = field(default_factory=_unused)
    timing: Literal["same_step", "after_leak", "masked"] = "same_step"
    floor: Literal["none", "before_fire", "after_reset"] = "none"
    floor_value: IntArray = field(default_factory=_unused)
    rearm: Literal["plain", "double"] = "plain"
    synapse_leak: IntArray = field(default_factory=_unused)
    synapse_drive: IntArray = field(default_factory=_unused)
    synapse_shift: int = 0
    output: Literal["spikes", "potential"] = "spikes"

    kind: ClassVar[str] = "neuron"
    is_recurrent: ClassVar[bool] = False  # whether it reads its own spikes of the step before
    arrays: ClassVar[tuple[str, ...]] = (
        "leak", "drive", "threshold", "reset_value", "soft_amount", "level", "floor_value", "synapse_leak",
        "synapse_drive",
    )  # fmt: skip

    @property
    def has_synapse(self) -> bool:
        """Whether the neuron keeps a synaptic state i."""
        return bool(self.synapse_leak.any())


@dataclass(frozen=True, eq=False)
class IntRecurrentNeuron(IntNeuron):
    """A neuron that reads its own spikes of the step before: j + ((acc * M + B) >> S), acc = sum q_w * s_prev.

    recurrent_weight [C, C] on a (C,) shape (linear), or [C, C/groups, *kernel] on a map: a convolution of stride 1
    with kernels of odd size, padded by (kernel - 1)/2 so that the shape stays. M, B: [C] or [1].
    """

    recurrent_weight: IntArray = field(default_factory=_unused)
    recurrent_bit_width: float = 8
    recurrent_groups: int = 1
    recurrent_multiplier: IntArray = field(default_factory=_unused)
    recurrent_bias: IntArray = field(default_factory=_unused)
    recurrent_shift: int = 0

    kind: ClassVar[str] = "recurrent_neuron"
    is_recurrent: ClassVar[bool] = True
    arrays: ClassVar[tuple[str, ...]] = (
        *IntNeuron.arrays, "recurrent_weight", "recurrent_multiplier", "recurrent_bias",
    )  # fmt: skip

    @property
    def recurrent_synapse(self) -> IntConv | IntLinear:
        """The recurrent weights as the layer they are, reading what the neuron writes."""
        about, weight = (f"{self.name}.recurrent", (self.name,), self.shape), self.recurrent_weight
        if weight.ndim == 2:
            return IntLinear(*about, weight, self.recurrent_bit_width)
        half, ones = tuple(int(size) // 2 for size in weight.shape[2:]), (1,) * (weight.ndim - 2)
        return IntConv(*about, weight, self.recurrent_bit_width, ones, half, ones, self.recurrent_groups)

    @property
    def recurrent_requant(self) -> IntRequant:
        """The way from its accumulator to a current of the neuron, as the node it is."""
        read, unit = self.recurrent_synapse.name, self.scale / 2**self.guard_bits
        numbers = (self.recurrent_multiplier, self.recurrent_bias, self.recurrent_shift)
        return IntRequant(f"{read}.requant", (read,), self.shape, *numbers, unit)


# --- sums, products and order ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class IntPool(NodeFields):
    """Pooling of a map of 1 to 3 axes, per channel: `max` or `sum` over the window.

    Padding adds nothing: 0 to a sum, -inf to a max.
    """

    mode: Literal["max", "sum"]
    kernel: Sizes
    stride: Sizes
    padding: Sizes

    kind: ClassVar[str] = "pool"


@dataclass(frozen=True, eq=False)
class IntAdd(NodeFields):
    """Sum of two or more tensors of one shape and one unit (residual currents, or spikes)."""

    kind: ClassVar[str] = "add"


@dataclass(frozen=True, eq=False)
class IntConcat(NodeFields):
    """Two or more tensors one after the other along the channel axis; one unit, the other axes equal."""

    kind: ClassVar[str] = "concat"


@dataclass(frozen=True, eq=False)
class IntMultiply(NodeFields):
    """Elementwise product of two tensors of values a, b: `product` a*b, or `inhibit` (1 - a)*b with a in [0, 1].

    An axis of size 1 is repeated. On spikes: the logical a AND b, and (NOT a) AND b.
    """

    mode: Literal["product", "inhibit"]

    kind: ClassVar[str] = "multiply"


@dataclass(frozen=True, eq=False)
class IntMatMul(NodeFields):
    """Matrix product of two tensors of values: (..., n, d) @ (..., d, m) -> (..., n, m); leading axes equal (heads)."""

    kind: ClassVar[str] = "matmul"


@dataclass(frozen=True, eq=False)
class IntSum(NodeFields):
    """Sum over one axis of the per-sample shape, which stays with size 1."""

    axis: int

    kind: ClassVar[str] = "sum"


@dataclass(frozen=True, eq=False)
class IntTranspose(NodeFields):
    """The axes of the per-sample shape in another order: axis k of the output is axis `permutation[k]` of the input."""

    permutation: Sizes

    kind: ClassVar[str] = "transpose"


@dataclass(frozen=True, eq=False)
class IntReshape(NodeFields):
    """The same values in row-major order under another per-sample shape."""

    kind: ClassVar[str] = "reshape"


@dataclass(frozen=True, eq=False)
class IntSlice(NodeFields):
    """The places start, ..., stop - 1 of one axis of the per-sample shape (a chunk, a split, a crop)."""

    axis: int
    start: int
    stop: int

    kind: ClassVar[str] = "slice"


@dataclass(frozen=True, eq=False)
class IntFlatten(NodeFields):
    """(C, H, W) -> (C*H*W,), row-major."""

    kind: ClassVar[str] = "flatten"


@dataclass(frozen=True, eq=False)
class IntReadout(NodeFields):
    """The network's answer: `sum`, `last` or `max` over T, [N, *shape], or `steps`, each step's, [T, N, *shape].

    `scale`: real value of one unit of the answer (metadata; an argmax does not need it).
    """

    mode: Literal["sum", "steps", "last", "max"]
    scale: float

    kind: ClassVar[str] = "readout"


# --- the closed set --------------------------------------------------------------------------------------------------

Synapse = IntConv | IntConvTranspose | IntLinear
Rearrangement = IntTranspose | IntReshape | IntSlice | IntFlatten  # one tensor's values, moved
IntNode = (
    IntInput | Synapse | IntRequant | IntNeuron | IntRecurrentNeuron
    | IntPool | IntAdd | IntConcat | IntMultiply | IntMatMul | IntSum | Rearrangement | IntReadout
)  # fmt: skip
NODE_TYPES: tuple[type[IntNode], ...] = get_args(IntNode)
