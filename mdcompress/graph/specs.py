"""What a node of the float graph is: one frozen type for each kind of node, and their closed union."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from mdcompress.graph.neuron import NeuronModel

TensorShape = tuple[int, ...]
Sizes = tuple[int, ...]  # one number per axis of a window
SynapseOperator = Literal[
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"
]
ReadoutMode = Literal["mean", "sum", "max", "last", "steps"]
NodeKind = Literal[  # the word shown to users
    "input", "synapse", "recurrent", "affine", "digitizer", "neuron", "pool", "add", "multiply", "concat", "matmul",
    "scale", "sum", "transpose", "reshape", "slice", "flatten", "readout",
]  # fmt: skip


@dataclass(frozen=True)
class InputSpec:
    """The network's input."""

    kind: ClassVar[NodeKind] = "input"


@dataclass(frozen=True)
class SynapseSpec:
    """A synapse and the batch norm that follows it, if any.

    `weight_shape`: [Co, Ci/groups, *kernel], a kernel of 1 to 3 axes, or [O, I]; output channels stand first in a
    transposed convolution too. Stride, padding and dilation have one number per axis of the kernel, output_padding too
    where it is transposed; a linear layer's are (1, 1). `batch_norm`, `step_norms`, `step_scales`: as of `AffineSpec`.
    """

    kind: ClassVar[NodeKind] = "synapse"
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
class RecurrentSpec:
    """What a neuron's spikes of the step before pass through, on their way into its currents.

    Here alone a linear layer may have groups, as many as channels: [C, 1], one weight for each neuron.
    """

    kind: ClassVar[NodeKind] = "recurrent"
    synapse: SynapseSpec

    @property
    def weight_shape(self) -> TensorShape:
        """As of a synapse."""
        return self.synapse.weight_shape


@dataclass(frozen=True)
class ActivationSpec:
    """Currents as small integers, for a synapse that reads them."""

    kind: ClassVar[NodeKind] = "digitizer"


@dataclass(frozen=True)
class PoolSpec:
    """Pooling of a map of 1 to 3 axes. An average is a sum whose 1/k goes into the reader's scale."""

    kind: ClassVar[NodeKind] = "pool"
    mode: Literal["max", "average"]
    kernel: Sizes
    stride: Sizes
    padding: Sizes


@dataclass(frozen=True)
class AffineSpec:
    """y = g*x + b per channel, from spikes, counts or currents to currents: a batch norm without a synapse.

    `batch_norm`: its qualified name; None: y = x, spikes that are added to currents, or that a neuron reads as such.
    `step_norms`: the norm of each step where they differ, of which `batch_norm` is the first; g and b are then [T, C].
    `step_scales`: T of a norm whose output has a factor for each step; 0 of any other.
    """

    kind: ClassVar[NodeKind] = "affine"
    batch_norm: str | None
    step_norms: tuple[str, ...] = ()
    step_scales: int = 0


@dataclass(frozen=True)
class AddSpec:
    """The sum of two tensors of one shape."""

    kind: ClassVar[NodeKind] = "add"


@dataclass(frozen=True)
class ConcatSpec:
    """Tensors joined along the first axis of the per-sample shape."""

    kind: ClassVar[NodeKind] = "concat"


@dataclass(frozen=True)
class MatMulSpec:
    """The matrix product of two tensors of spikes or counts, over the last two axes of each."""

    kind: ClassVar[NodeKind] = "matmul"


@dataclass(frozen=True)
class ScaleSpec:
    """A positive constant factor; no arithmetic, a reader's unit holds it."""

    kind: ClassVar[NodeKind] = "scale"
    factor: float


@dataclass(frozen=True)
class SumSpec:
    """The sum over one axis of the per-sample shape, which stays with size 1."""

    kind: ClassVar[NodeKind] = "sum"
    axis: int


@dataclass(frozen=True)
class TransposeSpec:
    """Axis k of the output's per-sample shape is axis `permutation[k]` of the input's."""

    kind: ClassVar[NodeKind] = "transpose"
    permutation: tuple[int, ...]


@dataclass(frozen=True)
class ReshapeSpec:
    """The same values, in the same order, in another per-sample shape."""

    kind: ClassVar[NodeKind] = "reshape"


@dataclass(frozen=True)
class FlattenSpec:
    """The same values, in the same order, as one axis."""

    kind: ClassVar[NodeKind] = "flatten"


@dataclass(frozen=True)
class SliceSpec:
    """The places start, ..., stop - 1 of one axis of the per-sample shape."""

    kind: ClassVar[NodeKind] = "slice"
    axis: int
    start: int
    stop: int


@dataclass(frozen=True)
class MultiplySpec:
    """An elementwise product of spikes: `product` a*b (AND), or `inhibit` (1 - a)*b with binary a (IAND)."""

    kind: ClassVar[NodeKind] = "multiply"
    mode: Literal["product", "inhibit"]


@dataclass(frozen=True)
class ReadoutSpec:
    """How the answer leaves: `mean`, `sum`, `max` over T or the `last` step ([N, K]), or `steps` ([T, N, K])."""

    kind: ClassVar[NodeKind] = "readout"
    mode: ReadoutMode


# What a node is: a closed set, of which every `match` names all members. A new one belongs into one of the groups.
MovingSpec: TypeAlias = (  # only reorders, sums or scales one tensor
    PoolSpec | ScaleSpec | SumSpec | TransposeSpec | ReshapeSpec | SliceSpec | FlattenSpec
)
RearrangingSpec: TypeAlias = (  # has no parameters
    MovingSpec | AddSpec | MultiplySpec | ConcatSpec | MatMulSpec | ReadoutSpec
)
LayerSpec: TypeAlias = SynapseSpec | RecurrentSpec | AffineSpec | ActivationSpec | NeuronModel  # has a layer of its own
NodeSpec: TypeAlias = InputSpec | LayerSpec | RearrangingSpec
