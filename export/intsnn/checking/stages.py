"""check(graph): each invariant of FORMAT.md is a named rule; a graph that breaks one is refused, with every violation.

Stages run in order, because a later rule relies on the earlier: structure, attributes, shapes, and then the proofs
that no integer overflows. Run it after lowering, after reading a file, and before mapping.
"""

from __future__ import annotations

from collections.abc import Iterable

from intsnn.checking.proofs import PROOFS
from intsnn.checking.rules import STAGES
from intsnn.checking.violations import Violation
from intsnn.errors import GraphError
from intsnn.graph import IntGraph
from intsnn.graph.bounds import INT32, bounds, channel_bounds

__all__ = ["bounds", "check", "longest_run"]


def check(graph: IntGraph) -> None:
    """Return if the graph is legal: every rule of FORMAT.md holds, and no integer can overflow.

    Args:
        graph: any.

    Raises:
        GraphError: with every violated rule of the first stage that fails, each with its node and a hint.
    """
    for stage in STAGES:
        _require_none((rule.__name__, violation) for rule in stage for violation in rule(graph))
    proved = channel_bounds(graph)
    _require_none((proof.__name__, violation) for proof in PROOFS for violation in proof(graph, proved))


def longest_run(graph: IntGraph) -> int:
    """T up to which the readout is proved to fit int32: the graph's own T, or MAX_TIME_STEPS or more."""
    readout = graph.output
    if graph.time_steps is not None:
        return graph.time_steps
    if readout.mode != "sum":
        return INT32.high
    magnitude = channel_bounds(graph)[readout.inputs[0]].hull.magnitude
    return INT32.high // max(magnitude, 1)


def _require_none(found: Iterable[tuple[str, Violation]]) -> None:
    violations = list(found)
    if not violations:
        return
    count = f"{len(violations)} place{'s' if len(violations) > 1 else ''}"
    lines = [f"  {violation.node}: {violation.message}  [{rule}]" for rule, violation in violations]
    hints = dict.fromkeys(violation.hint for _, violation in violations)
    raise GraphError(
        "\n".join([f"the integer graph breaks the rules of FORMAT.md in {count}", *lines]), hints=list(hints)
    )
