"""The plan as a value: what is done to every node, and which rule of the recipe said so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches

from mdcompress.errors import PlanError
from mdcompress.graph import Finding, NodeKind, TensorShape
from mdcompress.recipe.policies import BatchNormPolicy, InputPolicy, MembranePolicy, WeightPolicy

Origin = tuple[str, str]


@dataclass(frozen=True)
class PlannedNode:
    """One node's policies: synapses have weight and batch_norm, neurons membrane, the input has input.

    `origin`: for each field (`weight.bit_width`) the rule that set it (`quantize.overrides.0 (@first)`, `default`).
    """

    name: str
    kind: NodeKind
    shape: TensorShape
    weight: WeightPolicy | None = None
    membrane: MembranePolicy | None = None
    batch_norm: BatchNormPolicy | None = None
    input: InputPolicy | None = None
    origin: tuple[Origin, ...] = ()

    @property
    def guard_bits(self) -> int:
        """R, of a neuron: planned neurons have theirs resolved."""
        if self.membrane is None or self.membrane.guard_bits is None:
            raise PlanError(f"node {self.name!r} is a {self.kind} and has no guard bits")
        return self.membrane.guard_bits

    @property
    def policies(self) -> dict[str, WeightPolicy | MembranePolicy | BatchNormPolicy | InputPolicy]:
        """The policies that the node has, by name."""
        named = {"weight": self.weight, "membrane": self.membrane, "batch_norm": self.batch_norm, "input": self.input}
        return {name: policy for name, policy in named.items() if policy is not None}


@dataclass(frozen=True)
class QuantPlan:
    """Every node of the graph, in its order.

    findings: what was read off the network's code, where no class said it; it changes nothing.
    """

    nodes: tuple[PlannedNode, ...]
    findings: tuple[Finding, ...] = ()

    def __iter__(self) -> Iterator[PlannedNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def with_findings(self, findings: Iterable[Finding]) -> QuantPlan:
        """The plan with what was read of its nodes; what was read of others is left out."""
        names = {node.name for node in self.nodes}
        return replace(self, findings=tuple(finding for finding in findings if finding.name in names))

    def node(self, name: str) -> PlannedNode:
        """The node of that name; PlanError where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = [node.name for node in self.nodes]
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(names)}"
        raise PlanError(f"the plan has no node {name!r}", hints=[hint])
