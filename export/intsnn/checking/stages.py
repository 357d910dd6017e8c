"""check(graph): each invariant of FORMAT.md is a named rule; a graph that breaks one is refused, with every violation.

Stages run in order, because a later rule relies on the earlier: structure, attributes, shapes, and then the proofs
that no integer overflows. Run it after lowering, after reading a file, and before mapping.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from intsnn.checking.proofs import PROOFS
from intsnn.checking.rules import STAGES
from intsnn.checking.violations import Violation
from intsnn.errors import GraphError, InputError, UsageError
from intsnn.graph import IntGraph
from intsnn.graph.bounds import INT32, ChannelBounds, bounds, channel_bounds

__all__ = ["bounds", "check", "checked_bounds", "longest_run", "require_proved_steps"]


def check(graph: IntGraph) -> None:
    """Return if the graph is legal: every rule of FORMAT.md holds, and no integer can overflow.

    Args:
        graph: any.

    Raises:
        GraphError: with every violated rule of the first stage that fails, each with its node and a hint.
        UsageError: it is no integer graph.
    """
    checked_bounds(graph)


def checked_bounds(graph: IntGraph) -> dict[str, ChannelBounds]:
    """`check`, and the proved interval of every channel, which it takes, by node name."""
    require_graph(graph)
    return dict(graph.derived(_checked))


def _checked(graph: IntGraph) -> Mapping[str, ChannelBounds]:
    for stage in STAGES:
        _require_none((rule.__name__, violation) for rule in stage for violation in rule(graph))
    proved = channel_bounds(graph)
    _require_none((proof.__name__, violation) for proof in PROOFS for violation in proof(graph, proved))
    return proved


def require_graph(graph: object) -> None:
    """UsageError where something else was given, with the function that makes an integer graph of it."""
    if isinstance(graph, IntGraph):
        return
    if isinstance(graph, str | os.PathLike):
        path = os.fspath(graph)
        raise UsageError(
            f"the graph must be an IntGraph (got {path!r})", hints=[f"read the file: intsnn.read_onnx({path!r})"]
        )
    raise UsageError(
        f"the graph must be an IntGraph (got {type(graph).__name__})",
        hints=["a student becomes one: mdcompress.lower(student)"],
    )


def longest_run(graph: IntGraph, proved: Mapping[str, ChannelBounds] | None = None) -> int | None:
    """The most steps between two resets: the graph's own T, or that up to which the sums of the readout fit int32.

    At least MAX_TIME_STEPS where the graph has no T of its own; None, any number, where the readout sums nothing.

    Args:
        graph: legal.
        proved: of `checked_bounds`; None: they are worked out.
    """
    readout = graph.output
    if graph.time_steps is not None:
        return graph.time_steps
    if readout.mode != "sum":
        return None
    proved = channel_bounds(graph) if proved is None else proved
    return INT32.high // max(proved[readout.inputs[0]].hull.magnitude, 1)


def require_proved_steps(time_steps: int, longest: int | None, *, hint: str) -> None:
    """InputError unless a run of so many steps is proved: at most `longest`, which `longest_run` gives."""
    if longest is not None and time_steps > longest:
        raise InputError(
            f"the input must have at most {longest} steps, for which the readout is proved to fit int32"
            f" (got {time_steps})",
            hints=[hint],
        )


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
