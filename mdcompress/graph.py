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
Pair = tuple[int, int]
ResetKind = Literal["hard", "soft", "none"]


class NodeKind(Enum):
    """What a node does; the value is the word shown to users."""

    INPUT = "input"
    SYNAPSE = "synapse"
    NEURON = "neuron"
    POOL = "pool"
    ADD = "add"
    FLATTEN = "flatten"
    READOUT = "readout"


class Carries(Enum):
    """What a tensor means: input values, spikes (or sums of spikes), or currents on their way to a neuron."""

    INPUT = "input"
    SPIKES = "spikes"
    CURRENT = "current"


@dataclass(frozen=True)
class NeuronModel:
    """A neuron's real parameters in the canonical form.

    h = decay*v + input_gain*x + drive;  s = [h >= threshold] or [h > threshold]
    v = s ? reset_value : h (hard)  |  h - soft_amount*s (soft)  |  h (none);  v(0) = initial
    """

    decay: float
    input_gain: float
    drive: float
    threshold: float
    comparator: Literal["greater_equal", "greater"]
    reset: ResetKind
    reset_value: float
    soft_amount: float
    initial: float


@dataclass(frozen=True)
class SynapseSpec:
    """A weight layer and the batch norm that follows it, if any.

    `weight_shape`: [Co, Ci/groups, kh, kw] or [O, I]. `batch_norm`: qualified name of the batch-norm module.
    """

    operator: Literal["conv2d", "linear"]
    weight_shape: TensorShape
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    bias: bool
    batch_norm: str | None


@dataclass(frozen=True)
class PoolSpec:
    """2-d pooling. An average is a sum whose 1/k goes into the reader's scale."""

    mode: Literal["max", "average"]
    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True)
class ReadoutSpec:
    """How the answer leaves: `mean` or `sum` over T ([N, K]), or `steps` ([T, N, K])."""

    mode: Literal["mean", "sum", "steps"]


NodeSpec = SynapseSpec | NeuronModel | PoolSpec | ReadoutSpec | None


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

    def readers(self, name: str) -> tuple[SnnNode, ...]:
        """The nodes that read the tensor `name`."""
        return tuple(node for node in self.nodes if name in node.inputs)

    @property
    def input(self) -> SnnNode:
        """The input node."""
        return self.nodes[0]

    @property
    def readout(self) -> SnnNode:
        """The readout node."""
        return self.nodes[-1]
