"""FORMAT.md is executed: its tables of numbers are run, its rules and attributes are compared with the code."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import cast

import numpy as np
import pytest

from intsnn.arithmetic import IntArray, shift_floor
from intsnn.checking.proofs import PROOFS
from intsnn.checking.rules import STAGES
from intsnn.emission.source import portable_source
from intsnn.execution.interpreter import run
from intsnn.graph import (
    FORMAT_VERSION,
    NODE_TYPES,
    IntGraph,
    IntInput,
    IntNeuron,
    IntNode,
    IntReadout,
    IntRecurrentNeuron,
    IntRequant,
    IntReshape,
    IntSlice,
    Shape,
)
from intsnn.graph.bounds import MAX_TIME_STEPS
from intsnn.onnx.runtime import run_onnx
from intsnn.onnx.weights import weight_zero_point
from tests.support.intgraphs import one_neuron_graph
from tests.support.naive import fire, recurrent_current
from tests.support.paths import ROOT

FORMAT = (ROOT / "export" / "FORMAT.md").read_text(encoding="utf-8")
Row = dict[str, str]


def _tables(kind: str) -> Iterator[list[Row]]:
    """Every table after a `<!-- table: kind -->` mark, as rows by column name."""
    for block in re.findall(rf"<!-- table: {kind} -->\n\n((?:\|.*\n)+)", FORMAT):
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        yield [dict(zip(header, row, strict=True)) for row in rows]


def _rows(kind: str) -> list[Row]:
    return [row for table in _tables(kind) for row in table]


@pytest.mark.parametrize("row", _rows("floor shift"), ids=lambda row: f"{row['x']}>>{row['S']}")
def test_floor_shift_table_holds(row: Row) -> None:
    x, shift = int(row["x"]), int(row["S"])
    assert float(row["x / 2^S"]) == x / 2**shift
    assert int(row["x >> S"]) == int(shift_floor(np.array(x), shift))
    assert int(row["x >> S"]) == (x + 2**30) // 2**shift - 2 ** (30 - shift)
    assert int(row["truncated"]) == int(x / 2**shift)
    assert int(row["half up"]) == int(shift_floor(np.array(x + 2 ** (shift - 1)), shift))


@pytest.mark.parametrize("row", _rows("requant"), ids=lambda row: row["acc·M + B"])
def test_requant_table_holds_in_interpreter_and_onnxruntime(row: Row) -> None:
    acc, multiplier, bias, shift = (int(row[name]) for name in ("acc", "M", "B", "S"))
    assert int(row["acc·M + B"]) == acc * multiplier + bias
    graph = IntGraph(
        (
            IntInput("input", (), (1,), 8, True, 1.0),
            IntRequant("requant", ("input",), (1,), np.array([multiplier]), np.array([bias]), shift, 1.0),
            IntReadout("readout", ("requant",), (1,), "steps", 1.0),
        )
    )
    for execute in (run, run_onnx):
        assert execute(graph, np.array([[[acc]]])).output.item() == int(row["j"])


WORDS = {"reset", "spike", "timing", "floor", "rearm", "output"}


def _neuron(row: Row) -> IntNeuron:
    """The neuron of a table; what the table leaves out is plain."""
    recurrent = "recurrent_weight" in row
    kind = IntRecurrentNeuron if recurrent else IntNeuron
    values: dict[str, object] = {name: text if name in WORDS else int(text) for name, text in row.items()}
    if recurrent:
        values["recurrent_weight"] = np.array([[values["recurrent_weight"]]])
    make = cast(Callable[..., IntNeuron], kind)
    return make("neuron", ("current",), (1,), scale=1.0, **values)


TRACES = list(zip((_neuron(table[0]) for table in _tables("neuron")), _tables("trace"), strict=True))
_ids = [f"{place}-{neuron.reset}" for place, (neuron, _) in enumerate(TRACES)]


@pytest.mark.parametrize(("neuron", "rows"), TRACES, ids=_ids)
def test_worked_trace_holds_in_interpreter_and_onnxruntime(neuron: IntNeuron, rows: list[Row]) -> None:
    x = np.array([int(row["j"]) for row in rows]).reshape(-1, 1, 1)
    for execute in (run, run_onnx):
        trace = execute(one_neuron_graph(neuron), x)
        assert trace.spikes["neuron"].ravel().tolist() == [int(row["s"]) for row in rows]
        assert trace.membranes["neuron"].ravel().tolist() == [int(row["v"]) for row in rows]


@pytest.mark.parametrize(("neuron", "rows"), TRACES, ids=_ids)
def test_worked_trace_holds_for_the_potential(neuron: IntNeuron, rows: list[Row]) -> None:
    x = np.array([int(row["j"]) for row in rows]).reshape(-1, 1, 1)
    for execute in (run, run_onnx):
        trace = execute(one_neuron_graph(replace(neuron, output="potential")), x)
        assert trace.output.ravel().tolist() == [int(row["x'"]) for row in rows]


@pytest.mark.parametrize(("neuron", "rows"), TRACES, ids=_ids)
def test_worked_trace_follows_the_order_of_operations(neuron: IntNeuron, rows: list[Row]) -> None:
    """Each row from the row before, in Python's integers, every column."""
    state: dict[str, dict[tuple[int, ...], int]] = {"v": {(0,): neuron.initial}, "i": {(0,): 0}, "s": {(0,): 0}}
    for t, row in enumerate(rows):
        v, i, last = (state[name][(0,)] for name in "vis")
        j = int(row["j"]) + recurrent_current(neuron, state["s"], (0,))
        s, after, stored, synapse = fire(neuron, j, (0,), state)
        seen = {"t": t, "v before": v, "i before": i, "s before": last, "j": int(row["j"])}
        seen |= {"s": s, "x'": after, "v": stored, "i": synapse}
        y = int(neuron.synapse_leak[0]) * i + j + int(neuron.synapse_drive[0])
        seen |= {"y": y, "x": _compared(neuron, y, v, last)}
        assert {name: seen[name] for name in row} == {name: int(text) for name, text in row.items()}
        state = {"v": {(0,): stored}, "i": {(0,): synapse}, "s": {(0,): s}}


def _compared(neuron: IntNeuron, y: int, v: int, last: int) -> int:
    x = int(neuron.leak[0]) * v + y + int(neuron.drive[0])
    x = x - int(neuron.soft_amount[0]) * last if neuron.timing == "after_leak" else x
    x = int(neuron.reset_value[0]) if neuron.timing == "masked" and last else x
    return max(x, int(neuron.floor_value[0])) if neuron.floor == "before_fire" else x


def test_worked_traces_show_every_option_saturation_and_spikes() -> None:
    neurons = [neuron for neuron, _ in TRACES]
    for name, all_of in {
        "reset": {"hard", "soft", "none"},
        "spike": {"binary", "floor", "round"},
        "timing": {"same_step", "after_leak", "masked"},
        "floor": {"none", "before_fire", "after_reset"},
        "rearm": {"plain", "double"},
        "has_synapse": {False, True},
        "kind": {"neuron", "recurrent_neuron"},
    }.items():
        assert {getattr(neuron, name) for neuron in neurons} == all_of
    stored = {(neuron.bit_width, int(row["v"])) for neuron, rows in TRACES for row in rows}
    assert {(3, 3), (3, -4), (2, -2)} <= stored
    assert all(any(row["s"] != "0" for row in rows) for _, rows in TRACES)


@pytest.mark.parametrize("row", _rows("nodes"), ids=lambda row: row["kind"])
def test_table_of_nodes_holds_in_interpreter_and_onnxruntime(row: Row) -> None:
    reads, [writes] = _steps(row["reads"]), _steps(row["writes"])
    x = np.concatenate([part.reshape(*part.shape[:2], -1) for part in reads], axis=2)
    shapes = [part.shape[2:] for part in (*reads, writes)]
    graph = _graph_of(row["kind"], json.loads(row["attributes"]), shapes, bit_width=int(x.max()).bit_length())
    for execute in (run, run_onnx):
        assert execute(graph, x).output.tolist() == writes.tolist()


def _steps(text: str) -> list[IntArray]:
    """`[[…]]` as [1, 1, …]; `step 0: [[…]], step 1: [[…]]` as [2, 1, …]; several tensors are joined by `and`."""
    parts = (re.findall(r"\[\[.*?\]\]", part) for part in text.split(" and "))
    return [np.array([json.loads(step) for step in steps])[:, None] for steps in parts]


UNTOLD: dict[str, dict[str, object]] = {  # what no row of the table says and no value hangs on
    "conv": {"bit_width": 4},
    "conv_transpose": {"bit_width": 4},
    "requant": {"scale": 1.0},
}


def _graph_of(kind: str, attributes: dict[str, object], shapes: list[Shape], *, bit_width: int) -> IntGraph:
    """The input in parts, each a slice of it in its own shape; then the node, whose shape is the last."""
    *shapes, shape = shapes
    sizes = [math.prod(part) for part in shapes]
    nodes: list[IntNode] = [IntInput("input", (), (sum(sizes),), bit_width, False, 1.0)]
    for place, part in enumerate(shapes):
        start = sum(sizes[:place])
        nodes.append(IntSlice(f"flat{place}", ("input",), (sizes[place],), 0, start, start + sizes[place]))
        nodes.append(IntReshape(f"part{place}", (f"flat{place}",), part))
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}
    values |= UNTOLD.get(kind, {})
    make = cast(Callable[..., IntNode], next(node for node in NODE_TYPES if node.kind == kind))
    nodes.append(make("node", tuple(f"part{place}" for place in range(len(shapes))), shape, **values))
    return IntGraph((*nodes, IntReadout("readout", ("node",), shape, "steps", 1.0)))


@pytest.mark.parametrize("row", _rows("weights"), ids=lambda row: row["bit_width"])
def test_weights_table_holds(row: Row) -> None:
    zero_point = int(row["zero point"])
    values = [int(value) for value in re.findall(r"-?\d+", row["legal w"])]
    assert zero_point == weight_zero_point(float(row["bit_width"]))
    assert int(row["lowest stored"]) == min(values) + zero_point
    assert int(row["highest stored"]) == max(values) + zero_point <= 255


def test_every_rule_is_documented_and_no_other() -> None:
    section = FORMAT.split("## Rules")[1].split("\n## ")[0]
    rules = {rule.__name__ for rule in (*(rule for stage in STAGES for rule in stage), *PROOFS)}
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == rules


def test_every_kind_and_attribute_is_documented() -> None:
    section = FORMAT.split("## Nodes")[1].split("\n## ")[0]
    documented: dict[str, set[str]] = {}
    kind = ""
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0] != "kind" and not cells[0].startswith("-"):
            kind = cells[0].strip("`") or kind
            documented.setdefault(kind, set()).update(re.findall(r"`(\w+)`", cells[1]))
    common = {"name", "inputs", "shape"}
    documented["recurrent_neuron"] = documented["recurrent_neuron"] - {"neuron"} | documented["neuron"]
    assert documented == {node.kind: {field.name for field in fields(node)} - common for node in NODE_TYPES}


@pytest.mark.parametrize("heading", ["Bounds", "ONNX"])
def test_every_kind_stands_in_the_table_of(heading: str) -> None:
    """The first column names kinds: `add, sum`, `pool max`."""
    section = FORMAT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    names = re.findall(r"^\| ([a-z_, ]+) \|", section, re.MULTILINE)
    assert {word for name in names for word in re.findall(r"\w+", name)} >= {node.kind for node in NODE_TYPES}


def test_every_kind_has_a_worked_example() -> None:
    """Its own row of numbers, or a trace; sums of products and what moves nothing are said by their equation."""
    shown = {row["kind"] for row in _rows("nodes")} | {neuron.kind for neuron, _ in TRACES}
    assert {node.kind for node in NODE_TYPES} - shown == {"input", "linear", "add", "reshape", "flatten", "readout"}


def test_version_and_longest_run_are_the_documented_ones() -> None:
    assert FORMAT.startswith(f"# The integer graph, format version {FORMAT_VERSION}\n")
    assert f"fits int32 for {MAX_TIME_STEPS} steps" in FORMAT


def test_every_link_of_the_contents_leads_to_a_heading() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", FORMAT, re.M)
    }
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", FORMAT)) <= headings


def test_the_c_form_declares_what_the_page_says() -> None:
    (block,) = re.findall(r"^## C\n.*?^```c\n(.*?)^```", FORMAT, re.MULTILINE | re.DOTALL)
    header = portable_source(one_neuron_graph(plain_neuron(), signed=False), "net").header
    said = [line.split("/*")[0].strip().rstrip(";").replace("NAME", "net") for line in block.splitlines()]
    assert len(said) == 8
    for line in said:
        wanted = line.replace("net_", "NET_") if line.startswith("#define") else line
        assert wanted in header, wanted
    assert "const int8_t *x" in portable_source(one_neuron_graph(plain_neuron()), "net").header
    for field in ("uint8_t *spikes[1];", "int32_t *membranes[1];"):
        assert field in header.partition("#ifdef NET_TRACE")[2]


def plain_neuron() -> IntNeuron:
    zero, one = np.array([0]), np.array([1])
    return IntNeuron("n", ("current",), (3,), one, zero, np.array([9]), "hard", zero, zero, 1, 8, 0, 1.0)
