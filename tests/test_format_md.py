"""FORMAT.md is executed: its tables of numbers are run, its rules and attributes are compared with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytest
from intgraphs import one_neuron_graph

from intsnn.arithmetic import shift_floor
from intsnn.graph import FORMAT_VERSION, NODE_TYPES, IntGraph, IntInput, IntNeuron, IntReadout, IntRequant
from intsnn.interpreter import run
from intsnn.onnx_nodes import weight_zero_point
from intsnn.proofs import PROOFS
from intsnn.rules import STAGES
from intsnn.runtime import run_onnx
from intsnn.tensors import MAX_TIME_STEPS

FORMAT = (Path(__file__).parent.parent / "export" / "FORMAT.md").read_text(encoding="utf-8")
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


def _neuron(row: Row) -> IntNeuron:
    return IntNeuron(
        "neuron",
        ("current",),
        (1,),
        leak=int(row["leak"]),
        drive=np.array([int(row["drive"])]),
        threshold=np.array([int(row["threshold"])]),
        reset=cast(Literal["hard", "soft", "none"], row["reset"]),
        reset_value=np.array([int(row["reset_value"])]),
        soft_amount=np.array([int(row["soft_amount"])]),
        guard_bits=int(row["guard_bits"]),
        bit_width=int(row["bit_width"]),
        initial=int(row["initial"]),
        scale=1.0,
    )


TRACES = list(zip((_neuron(table[0]) for table in _tables("neuron")), _tables("trace"), strict=True))


@pytest.mark.parametrize(("neuron", "rows"), TRACES, ids=lambda value: getattr(value, "reset", ""))
def test_worked_trace_holds_in_interpreter_and_onnxruntime(neuron: IntNeuron, rows: list[Row]) -> None:
    x = np.array([int(row["j"]) for row in rows]).reshape(-1, 1, 1)
    for execute in (run, run_onnx):
        trace = execute(one_neuron_graph(neuron), x)
        assert trace.spikes["neuron"].ravel().tolist() == [int(row["s"]) for row in rows]
        assert trace.membranes["neuron"].ravel().tolist() == [int(row["v"]) for row in rows]


@pytest.mark.parametrize(("neuron", "rows"), TRACES, ids=lambda value: getattr(value, "reset", ""))
def test_worked_trace_follows_the_order_of_operations(neuron: IntNeuron, rows: list[Row]) -> None:
    """Each row from the row before, in Python's integers."""
    v, half = neuron.initial, 2 ** (neuron.bit_width - 1)
    for row in rows:
        x = neuron.leak * v + int(row["j"]) + int(neuron.drive[0])
        s = int(x >= neuron.threshold[0])
        after = {"hard": int(neuron.reset_value[0]), "soft": x - int(neuron.soft_amount[0]), "none": x}[neuron.reset]
        after = after if s else x
        expected = (v, x, s, after)
        v = max(-half, min(after // 2**neuron.guard_bits, half - 1))
        assert tuple(int(row[name]) for name in ("v before", "x", "s", "x'")) == expected
        assert int(row["v"]) == v


def test_worked_traces_show_every_reset_saturation_and_spikes() -> None:
    assert {neuron.reset for neuron, _ in TRACES} == {"hard", "soft", "none"}
    stored = {(neuron.bit_width, int(row["v"])) for neuron, rows in TRACES for row in rows}
    assert {(3, 3), (3, -4), (2, -2)} <= stored
    assert all(any(row["s"] == "1" for row in rows) for _, rows in TRACES)


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
    assert documented == {node.kind: {field.name for field in fields(node)} - common for node in NODE_TYPES}


def test_version_and_longest_run_are_the_documented_ones() -> None:
    assert FORMAT.startswith(f"# The integer graph, format version {FORMAT_VERSION}\n")
    assert f"fits int32 for {MAX_TIME_STEPS} steps" in FORMAT


def test_every_link_of_the_contents_leads_to_a_heading() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", FORMAT, re.M)
    }
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", FORMAT)) <= headings
