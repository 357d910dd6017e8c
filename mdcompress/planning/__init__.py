"""Planning: recipe and graph become one policy for each node, before anything is trained."""

from mdcompress.planning.formats import (
    PlanRow,
    format_plan,
    plan_from_json,
    plan_to_json,
    plan_to_yaml,
    policy_in_words,
)
from mdcompress.planning.neurons import leak_bits
from mdcompress.planning.resolving import plan
from mdcompress.planning.types import PlannedNode, QuantPlan
from mdcompress.planning.weights import layer_weights, weights_by_bits
from mdcompress.recipe.patterns import match_names

__all__ = [
    "PlanRow",
    "PlannedNode",
    "QuantPlan",
    "format_plan",
    "layer_weights",
    "leak_bits",
    "match_names",
    "plan",
    "plan_from_json",
    "plan_to_json",
    "plan_to_yaml",
    "policy_in_words",
    "weights_by_bits",
]
