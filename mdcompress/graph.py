"""The network as a graph of spiking layers, read off the user's module. No torch here.

Tensor letters, used everywhere: T time steps, N batch, C channels, H height, W width. Shapes in a node are per sample
and per step; at run time every tensor is [T, N, *shape].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

TensorShape = tuple[int, ...]
Sizes = tuple[int, ...]  # one number per axis of a window
ResetKind = Literal["hard", "soft", "none"]
LARGEST_COUNT = 31  # of a neuron that may fire any number of times: 5 bits, as on SynSense's Xylo
Numbers = float | tuple[float, ...]  # one for the layer, or one for each channel
Comparator = Literal["greater_equal", "greater"]
SpikeKind = Literal["binary", "floor", "round"]
ResetTiming = Literal["same_step", "after_leak", "masked"]
FloorKind = Literal["none", "before_fire", "after_reset"]
Rearm = Literal["plain", "double"]
NeuronOutput = Literal["spikes", "membrane"]
SynapseOperator = Literal[
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"
]


ReadoutMode = Literal["mean", "sum", "max", "last", "steps"]


class NodeKind(Enum):
    """What a node does; the value is the word shown to users."""

    INPUT = "input"
    SYNAPSE = "synapse"
    AFFINE = "affine"
    DIGITIZER = "digitizer"
    NEURON = "neuron"
    POOL = "pool"
    ADD = "add"
    MULTIPLY = "multiply"
    CONCAT = "concat"
    MATMUL = "matmul"
    SCALE = "scale"
    SUM = "sum"
    TRANSPOSE = "transpose"
    RESHAPE = "reshape"
    SLICE = "slice"
    FLATTEN = "flatten"
    READOUT = "readout"


MOVING = frozenset(  # kinds that only reorder, sum or scale one tensor
    {NodeKind.POOL, NodeKind.SCALE, NodeKind.SUM, NodeKind.TRANSPOSE, NodeKind.RESHAPE, NodeKind.SLICE,
     NodeKind.FLATTEN}
)  # fmt: skip


class Carries(Enum):
    """What a tensor means: input values, spikes (or sums of spikes), or currents on their way to a neuron."""

    INPUT = "input"
    SPIKES = "spikes"
    CURRENT = "current"


@dataclass(frozen=True)
class NeuronModel:
    """A neuron's real parameters in the canonical form. Every number is one for the layer or one per channel.

    i = synapse_decay*i + synapse_gain*x                where synapse_decay is given; else i = x
    h = decay*v + input_gain*i + drive
    h = h - soft_amount*s_prev (after_leak, soft)  |  h*(1 - s_prev) (masked)
    h = max(h, floor_value)                             floor before_fire
    s = [h >= threshold] or [h > threshold] (binary)  |  trunc(h/threshold) (floor)  |  round(h/threshold), half to
        even (round); the last two clipped to [0, max_spikes], None being no limit
    v = s > 0 ? reset_value : h (hard)  |  h - soft_amount*s (soft)  |  h (none); v = h where timing is not same_step
    v = max(v, floor_value)                             floor after_reset
    v(0) = initial, i(0) = 0, s_prev(0) = 0

    `rearm` double: the comparison sees h - threshold*[v_prev > threshold] (snnTorch without reset delay).
    `recurrent`: the submodule whose output for the last step's spikes is added to x; None: there is none.
    `output` membrane: it never fires, s = 0, and puts out v, which only a readout may follow; the threshold then is no
        more than the size that its membrane is thought to have.
    """

    decay: Numbers
    input_gain: Numbers
    drive: Numbers
    threshold: Numbers
    comparator: Comparator
    reset: ResetKind
    reset_value: Numbers
    soft_amount: Numbers
    initial: Numbers
    synapse_decay: Numbers | None = None
    synapse_gain: Numbers = 1.0
    spike: SpikeKind = "binary"
    max_spikes: int | None = 1
    timing: ResetTiming = "same_step"
    floor: FloorKind = "none"
    floor_value: Numbers = 0.0
    rearm: Rearm = "plain"
    recurrent: str | None = None
    output: NeuronOutput = "spikes"

    def __post_init__(self) -> None:
        lengths = {len(per_channel(value)) for value in self.numbers.values()} - {1}
        assert len(lengths) <= 1, f"a neuron's numbers are per layer or per channel of one layer, got {lengths}"

    @property
    def numbers(self) -> dict[str, Numbers]:
        """The real parameters by name; synapse_decay where there is one."""
        values = {name: value for name, value in vars(self).items() if isinstance(value, float | int | tuple)}
        return {name: value for name, value in values.items() if name != "max_spikes"}

    @property
    def has_synapse(self) -> bool:
        """Whether a synaptic state lives on: not where it decays to nothing within a step."""
        return self.synapse_decay is not None and any(per_channel(self.synapse_decay))

    @property
    def current_gain(self) -> Numbers:
        """input_gain * synapse_gain: what a current is worth in the membrane."""
        gains = zip(*_alike(self.input_gain, self.synapse_gain), strict=True)
        products = tuple(one * other for one, other in gains)
        return products if len(products) > 1 else products[0]

    @property
    def channels(self) -> int:
        """How many channels the parameters tell apart; 1 where they are the layer's."""
        return max(len(per_channel(value)) for value in self.numbers.values())


def per_channel(value: Numbers) -> tuple[float, ...]:
    """The numbers of a parameter: one for the layer, or one per channel."""
    return value if isinstance(value, tuple) else (value,)


def _alike(*values: Numbers) -> list[tuple[float, ...]]:
    """Parameters as tuples of one length."""
    channels = max(len(per_channel(value)) for value in values)
    return [per_channel(value) * (channels // len(per_channel(value))) for value in values]


def count_limit(model: NeuronModel) -> int:
    """The most spikes an integer neuron fires in a step: max_spikes, or LARGEST_COUNT where there is no limit."""
    return LARGEST_COUNT if model.max_spikes is None else model.max_spikes


def typical(value: Numbers) -> float:
    """One number that stands for a layer: its own, or the mean over its channels."""
    values = per_channel(value)
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)


@dataclass(frozen=True)
class SynapseSpec:
    """A weight layer and the batch norm that follows it, if any.

    `weight_shape`: [Co, Ci/groups, *kernel], a kernel of 1 to 3 axes, or [O, I]; output channels stand first in a
    transposed convolution too. Stride, padding and dilation have one number per axis of the kernel, output_padding too
    where it is transposed; a linear layer's are (1, 1). `batch_norm`, `step_norms`, `step_scales`: as of `AffineSpec`.
    """

    operator: SynapseOperator
    weight_shape: TensorShape
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int
    bias: bool
    batch_norm: str | None
    output_padding: Sizes = ()
    step_norms: tuple[str, ...] = ()
    step_scales: int = 0

    @property
    def is_transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return self.operator.startswith("conv_transpose")


@dataclass(frozen=True)
class PoolSpec:
    """Pooling of a map of 1 to 3 axes. An average is a sum whose 1/k goes into the reader's scale."""

    mode: Literal["max", "average"]
    kernel: Sizes
    stride: Sizes
    padding: Sizes


@dataclass(frozen=True)
class AffineSpec:
    """y = g*x + b per channel, from spikes, counts or currents to currents: a batch norm without a weight layer.

    `batch_norm`: its qualified name; None: y = x, spikes that are added to currents, or that a neuron reads as such.
    `step_norms`: the norm of each step where they differ, of which `batch_norm` is the first; g and b are then [T, C].
    `step_scales`: T of a norm whose output has a factor for each step; 0 of any other.
    """

    batch_norm: str | None
    step_norms: tuple[str, ...] = ()
    step_scales: int = 0


@dataclass(frozen=True)
class ScaleSpec:
    """A positive constant factor; no arithmetic, a reader's unit holds it."""

    factor: float


@dataclass(frozen=True)
class SumSpec:
    """The sum over one axis of the per-sample shape, which stays with size 1."""

    axis: int


@dataclass(frozen=True)
class TransposeSpec:
    """Axis k of the output's per-sample shape is axis `permutation[k]` of the input's."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class SliceSpec:
    """The places start, ..., stop - 1 of one axis of the per-sample shape."""

    axis: int
    start: int
    stop: int


@dataclass(frozen=True)
class MultiplySpec:
    """An elementwise product of spikes: `product` a*b (AND), or `inhibit` (1 - a)*b with binary a (IAND)."""

    mode: Literal["product", "inhibit"]


@dataclass(frozen=True)
class ReadoutSpec:
    """How the answer leaves: `mean`, `sum`, `max` over T or the `last` step ([N, K]), or `steps` ([T, N, K])."""

    mode: ReadoutMode


NodeSpec = (
    SynapseSpec | AffineSpec | NeuronModel | PoolSpec | MultiplySpec | ScaleSpec | SumSpec | TransposeSpec | SliceSpec
    | ReadoutSpec | None
)  # fmt: skip


@dataclass(frozen=True)
class SnnNode:
    """One layer: the user's name for it, what it reads, the per-sample shape it writes, and what that tensor means."""

    name: str
    kind: NodeKind
    inputs: tuple[str, ...]
    shape: TensorShape
    carries: Carries
    spec: NodeSpec = None


@dataclass(frozen=True)
class SnnGraph:
    """Nodes in execution order: one input first, one readout last. `time_steps`: T of the traced sample."""

    nodes: tuple[SnnNode, ...]
    time_steps: int

    def __iter__(self) -> Iterator[SnnNode]:
        return iter(self.nodes)

    def node(self, name: str) -> SnnNode:
        """The node of that name (KeyError: our own bug)."""
        return {node.name: node for node in self.nodes}[name]

    def of_kind(self, kind: NodeKind) -> tuple[SnnNode, ...]:
        """The nodes of one kind, in order."""
        return tuple(node for node in self.nodes if node.kind is kind)

    @property
    def answer(self) -> tuple[SnnNode, tuple[SnnNode, ...]]:
        """The last node that computes before the readout, and the nodes between that only move what it wrote."""
        between: list[SnnNode] = []
        node = self.node(self.readout.inputs[0])
        while node.kind in MOVING:
            between.append(node)
            node = self.node(node.inputs[0])
        return node, tuple(reversed(between))

    @property
    def membrane_readout(self) -> SnnNode | None:
        """The neuron whose membrane is the answer; None where spikes or currents are."""
        node, _ = self.answer
        return node if node.kind is NodeKind.NEURON and node.carries is Carries.CURRENT else None

    def readers(self, name: str) -> tuple[SnnNode, ...]:
        """The nodes that read the tensor `name`."""
        return tuple(node for node in self.nodes if name in node.inputs)

    @property
    def fixed_steps(self) -> int | None:
        """The number of steps that it runs for alone, because a norm differs from step to step; None: any number."""
        specs = [node.spec for node in self.nodes if isinstance(node.spec, SynapseSpec | AffineSpec)]
        return self.time_steps if any(spec.step_norms or spec.step_scales for spec in specs) else None

    @property
    def input(self) -> SnnNode:
        """The input node."""
        return self.nodes[0]

    @property
    def readout(self) -> SnnNode:
        """The readout node."""
        return self.nodes[-1]
