"""A plan as rows for --dry-run, as YAML for people (plan.yaml), and as JSON that reads back equal (in checkpoints)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from pydantic import TypeAdapter, ValidationError

from intsnn.weight_bits import TERNARY_BITS
from intsnn.yaml.tree import PlainValue
from intsnn.yaml.writing import write_yaml_text
from mdcompress.errors import CheckpointError
from mdcompress.graph import AffineSpec, NodeSpec, SnnGraph, SynapseSpec
from mdcompress.planning.types import PlannedNode, QuantPlan
from mdcompress.recipe.policies import BatchNormPolicy, InputPolicy, MembranePolicy, WeightPolicy

PLAN_SCHEMA = "mdcompress.plan/1"
_SPELLED = {"per_tensor": "per tensor", "per_channel": "per channel", "power_of_two": "power-of-two", "float": "float"}


@dataclass(frozen=True)
class PlanRow:
    """One line of --dry-run."""

    node: str
    kind: str
    shape: str
    policy: str
    rule: str


def format_plan(plan: QuantPlan, graph: SnnGraph) -> tuple[PlanRow, ...]:
    """One row for each node: its name, kind, shape, policy in words, and the rules that set it.

    Args:
        plan: the plan.
        graph: the trace that it plans; where there is no batch norm, its policy is that of a requantization.
    """
    return tuple(
        PlanRow(
            node=node.name,
            kind=node.kind,
            shape="x".join(map(str, node.shape)),
            policy="; ".join(
                policy_in_words(policy, norm=_norm_in_words(graph.node(node.name).spec))
                for policy in node.policies.values()
            ),
            rule=_rules(node),
        )
        for node in plan
    )


def policy_in_words(
    policy: WeightPolicy | MembranePolicy | BatchNormPolicy | InputPolicy, *, norm: str = "batch norm"
) -> str:
    """`4-bit weights per channel, float scale, learned range`; `norm`: what a BatchNormPolicy quantizes."""
    match policy:
        case WeightPolicy():
            named = {1.0: "binary", TERNARY_BITS: "ternary"}
            bits = named.get(policy.bit_width, f"{policy.bit_width:g}-bit")
            full = "" if policy.narrow_range else ", full range"
            granularity, scale = _SPELLED[policy.granularity], _SPELLED[policy.scale]
            return f"{bits} weights {granularity}, {scale} scale, {policy.range} range{full}"
        case MembranePolicy():
            rounding = ", floor" if policy.rounding == "floor" else ""
            return f"{policy.bit_width}-bit membrane, {policy.scale} scale, {policy.guard_bits} guard bits{rounding}"
        case BatchNormPolicy(mode="power_of_two"):
            return f"{norm} as a shift, {policy.shift_bit_width}-bit offset"
        case BatchNormPolicy():
            folded = "folded, " if policy.mode == "fold" and norm == "batch norm" else ""
            return f"{norm} {folded}{policy.scale_bit_width}-bit scale, {policy.shift_bit_width}-bit offset"
        case InputPolicy():
            return f"{policy.bit_width}-bit input"
        case _:
            assert_never(policy)


def _norm_in_words(spec: NodeSpec) -> str:
    """What the BatchNormPolicy of a node quantizes."""
    has_norm = isinstance(spec, SynapseSpec | AffineSpec) and spec.batch_norm is not None
    return "batch norm" if has_norm else "requantization"


def plan_to_yaml(plan: QuantPlan) -> str:
    """The plan for people: each node's policies, and below `origin` the rule behind each field.

    Under `findings`: what was read off the network's code, if anything was.
    """
    findings: list[PlainValue] = [
        {"name": found.name, "place": found.place, "words": found.words} for found in plan.findings
    ]
    nodes: list[PlainValue] = [_node_as_plain_values(node) for node in plan]
    return write_yaml_text({"schema": PLAN_SCHEMA, **({"findings": findings} if findings else {}), "nodes": nodes})


def _node_as_plain_values(node: PlannedNode) -> PlainValue:
    return {
        "name": node.name,
        "kind": node.kind,
        "shape": list(node.shape),
        **{name: policy.model_dump(mode="json") for name, policy in node.policies.items()},
        **({"origin": {**dict(node.origin)}} if node.origin else {}),
    }


@dataclass(frozen=True)
class _PlanDocument:
    schema: str
    plan: QuantPlan


def plan_to_json(plan: QuantPlan) -> str:
    """The plan as one JSON document; `plan_from_json` gives back an equal plan."""
    nothing_new = None if plan.findings else {"plan": {"findings"}}  # then it is what versions before findings wrote
    return TypeAdapter(_PlanDocument).dump_json(_PlanDocument(PLAN_SCHEMA, plan), exclude=nothing_new).decode()


def plan_from_json(text: str) -> QuantPlan:
    """The plan that a checkpoint carries; CheckpointError where the text is none."""
    try:
        document = TypeAdapter(_PlanDocument).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        message = f"the plan of a checkpoint must be readable (got {first['msg'].lower()} at {place})"
        raise CheckpointError(message, hints=["quantize the network anew with this version"]) from error
    if document.schema != PLAN_SCHEMA:
        message = f"the plan of a checkpoint must be of schema {PLAN_SCHEMA} (got {document.schema!r})"
        raise CheckpointError(message, hints=["quantize the network anew with this version"])
    return document.plan


def _rules(node: PlannedNode) -> str:
    """The rules a row names: those that people wrote; `default` where there is none."""
    written = [rule for _, rule in node.origin if rule not in ("default", "automatic")]
    return ", ".join(dict.fromkeys(written)) or ("default" if node.origin else "")
