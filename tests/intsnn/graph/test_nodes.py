"""The node types are a closed set: what must know a node and does not fails mypy, or fails here."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from intsnn.arithmetic import IntArray
from intsnn.checking.attributes import ATTRIBUTES
from intsnn.execution.interpreter import evaluate, run
from intsnn.execution.parity import compare, require_equal
from intsnn.graph import (
    NODE_TYPES,
    IntGraph,
    IntInput,
    IntNode,
    IntReadout,
    IntRequant,
    IntReshape,
    IntSlice,
    Shape,
)
from intsnn.graph.bounds import channel_bounds
from intsnn.graph.fingerprint import fingerprint
from intsnn.graph.nodes import NodeFields
from intsnn.mapping.flows import flows_of
from intsnn.onnx.file import read_onnx, write_onnx
from intsnn.onnx.runtime import run_onnx
from tests.support.intgraphs import random_input
from tests.support.naive import as_values, naive
from tests.support.paths import ROOT
from tests.support.wide_graphs import any_graphs

KINDS = [node.kind for node in NODE_TYPES]
_NAMES = {node.__name__ for node in NODE_TYPES}
_SOURCES = sorted(path for folder in ("export/intsnn", "mdcompress") for path in (ROOT / folder).rglob("*.py"))


# --- the set ---------------------------------------------------------------------------------------------------------


def _subclasses(kind: type[object]) -> Iterator[type[object]]:
    subclasses: list[type[object]] = kind.__subclasses__()
    for below in subclasses:
        yield below
        yield from _subclasses(below)


def test_every_node_type_is_in_the_union_and_has_a_kind_of_its_own() -> None:
    own = {kind for kind in _subclasses(NodeFields) if kind.__module__ == NodeFields.__module__}
    assert own == set(NODE_TYPES)
    assert len(set(KINDS)) == len(NODE_TYPES) and "" not in KINDS


def test_every_attribute_of_every_node_type_has_its_rule() -> None:
    """An attribute that no rule looks at would be written to a file with any value."""
    known = {"name", "inputs"}  # rules of their own
    attributes = {(node.kind, field.name) for node in NODE_TYPES for field in fields(node)}
    arrays = {(node.kind, name) for node in NODE_TYPES for name in node.arrays}
    ruled = {(kind, name) for kind, name in attributes if (kind, name) in ATTRIBUTES or ("", name) in ATTRIBUTES}
    assert {(kind, name) for kind, name in attributes - arrays - ruled if name not in known} == set()
    assert {name for _, name in ATTRIBUTES} <= {name for _, name in attributes}


def _defaults(path: Path) -> Iterator[str]:
    """Where a match on node types has a case for "all others" that does not end in assert_never."""
    for match in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(match, ast.Match) or not _NAMES & set(_classes(match)):
            continue
        for case in match.cases:
            takes_all = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
            if takes_all and not ast.unparse(case.body[-1]).startswith("assert_never("):
                yield f"{path.relative_to(ROOT)}:{case.pattern.lineno}"


def _classes(match: ast.Match) -> Iterator[str]:
    patterns = (node for case in match.cases for node in ast.walk(case.pattern))
    return (ast.unparse(node.cls) for node in patterns if isinstance(node, ast.MatchClass))


def test_no_match_on_node_types_has_a_default() -> None:
    """A default once handled zero padding: bounds [5, 8] were proved while values were 0 to 8."""
    assert [place for path in _SOURCES for place in _defaults(path)] == []


def test_a_default_in_a_match_on_node_types_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    source = tmp_path / "a.py"
    source.write_text("match node:\n    case IntAdd():\n        pass\n    case _:\n        pass\n")
    assert list(_defaults(source)) == ["a.py:4"]
    source.write_text("match node:\n    case IntAdd():\n        pass\n    case _:\n        assert_never(node)\n")
    assert list(_defaults(source)) == []
    source.write_text("match node:\n    case IntAdd():\n        pass\n    case _ if holds:\n        pass\n")
    assert list(_defaults(source)) == ["a.py:4"]


# --- each type in a drawn graph --------------------------------------------------------------------------------------


@cache
def _drawn() -> dict[str, IntGraph]:
    """By kind, the smallest of a hundred or so drawn graphs that has a node of it."""
    found: dict[str, IntGraph] = {}

    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(graph=any_graphs())
    def collect(graph: IntGraph) -> None:
        for node in graph:
            if node.kind not in found or len(graph) < len(found[node.kind]):
                found[node.kind] = graph

    collect()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_graphs_hold_every_node_type(kind: str) -> None:
    """What is tested on drawn graphs is tested on this type: activity, mapping, events, schedule, analog arrays."""
    assert kind in _drawn(), f"tests/support/wide_graphs.py draws no {kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_of_each_type_goes_round_through_onnx(kind: str, tmp_path: Path) -> None:
    graph = _drawn()[kind]
    write_onnx(graph, tmp_path / "model.onnx")
    again = read_onnx(tmp_path / "model.onnx")
    assert again == graph and fingerprint(again) == fingerprint(graph)


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_of_each_type_is_computed_alike_by_three_and_within_its_bounds(kind: str) -> None:
    graph = _drawn()[kind]
    x = random_input(graph, time_steps=graph.time_steps or 3, samples=2)
    require_equal(compare(run(graph, x), run_onnx(graph, x)))
    expected, proved = naive(graph, x), channel_bounds(graph)
    for step in evaluate(graph, x):
        assert as_values(step.output) == expected[step.node.name].output, step.node.name
        if not isinstance(step.node, IntReadout):  # proved for as many steps as a run may have
            channels = range(step.node.shape[0])
            low, high = proved[step.node.name].low, proved[step.node.name].high
            seen = [step.output[:, :, channel] for channel in channels]
            assert all(low[c % len(low)] <= seen[c].min() and seen[c].max() <= high[c % len(high)] for c in channels)


# --- each type by itself, reading numbers that are never 0 -----------------------------------------------------------


@dataclass(frozen=True)
class Alone:
    """A node of a drawn graph behind parts of one input, each raised by 5: values of 3 bits, so 5 to 12."""

    node: IntNode
    parts: tuple[Shape, ...]

    @property
    def graph(self) -> IntGraph:
        sizes = [math.prod(part) for part in self.parts]
        nodes: list[IntNode] = [IntInput("input", (), (sum(sizes),), 3, False, 1.0)]
        for place, part in enumerate(self.parts):
            start = sum(sizes[:place])
            nodes.append(IntSlice(f"flat{place}", ("input",), (sizes[place],), 0, start, start + sizes[place]))
            nodes.append(IntReshape(f"part{place}", (f"flat{place}",), part))
            nodes.append(IntRequant(f"raised{place}", (f"part{place}",), part, np.array([1]), np.array([5]), 0, 1.0))
        names = tuple(f"raised{place}" for place in range(len(self.parts)))
        return IntGraph((*nodes, replace(self.node, name="alone", inputs=names)))

    def outputs(self, parts: Sequence[IntArray]) -> IntArray:
        """What the node makes of values [T, N, *shape] for each part."""
        x = np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=2)
        *_, last = evaluate(self.graph, x)
        return last.output


def _alone(kind: str) -> list[Alone]:
    """The nodes of one type in the drawn graph of that type; neither inputs, nor readouts, which have rules of T."""
    graph = _drawn()[kind]
    nodes = (node for node in graph if node.kind == kind)
    return [Alone(node, tuple(graph.node(name).shape for name in node.inputs)) for node in nodes]


def _steps(alone: Alone) -> int:
    return alone.graph.time_steps or 2


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"input", "readout"}))
def test_a_node_of_each_type_stays_within_its_bounds_on_values_without_0(kind: str) -> None:
    """Zero padding once passed its input's bounds on: [5, 8] were proved while values were 0 to 8."""
    random = np.random.default_rng(0)
    for alone in _alone(kind):
        proved = channel_bounds(alone.graph)["alone"]
        low, high = (end.reshape(-1, *(1 for _ in alone.node.shape[1:])) for end in (proved.low, proved.high))
        for choices in ([0], [7], [0, 7], range(8)):
            seen = alone.outputs([random.choice(choices, (_steps(alone), 2, *part)) for part in alone.parts])
            assert (low <= seen).all() and (seen <= high).all(), alone.node


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"input", "readout"}))
def test_a_row_of_each_type_depends_on_no_row_that_its_flow_does_not_wait_for(kind: str) -> None:
    random = np.random.default_rng(0)
    for alone in _alone(kind):
        needs = flows_of(alone.graph)[-1].needs
        before = [random.integers(0, 8, (_steps(alone), 2, *part)) for part in alone.parts]
        written = alone.outputs(before)
        for row, needed in enumerate(needs):
            after = [part.copy() for part in before]
            for part in after:
                if part.ndim > 3:  # a vector is one row, which is always waited for
                    part[:, :, :, needed:] = random.integers(0, 8, part[:, :, :, needed:].shape)
            again = alone.outputs(after)
            of_row = (..., slice(None)) if written.ndim == 3 else (slice(None), slice(None), slice(None), row)
            assert np.array_equal(written[of_row], again[of_row]), (alone.node, row)


# --- its fingerprint -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", NODE_TYPES, ids=KINDS)
def test_a_changed_attribute_changes_the_fingerprint(one: type[IntNode]) -> None:
    """Of every type, each field but `scale`, which no arithmetic reads."""
    graph = _drawn()[one.kind]
    (node, *_) = (node for node in graph if type(node) is one)
    whole = fingerprint(IntGraph((node,)))
    for field in fields(node):
        changed = object.__new__(one)
        changed.__dict__.update(vars(node), **{field.name: _other(getattr(node, field.name))})
        assert (fingerprint(IntGraph((changed,))) == whole) is (field.name == "scale"), field.name


def _other(value: object) -> object:
    match value:
        case str():
            return value + "x"
        case tuple():
            return (*value, *value, 1)
        case _:
            return value + 1  # type: ignore[operator]  # a number or an array of them
