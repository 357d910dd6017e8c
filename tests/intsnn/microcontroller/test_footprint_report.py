"""What emitted code takes: the parts, their sums and words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from intsnn.emission.source import portable_source
from intsnn.graph import IntGraph, IntRequant
from intsnn.microcontroller.footprint_report import (
    SHARED,
    MemoryReport,
    Part,
    memory_report,
)
from intsnn.microcontroller.memory_table import memory_table
from intsnn.microcontroller.object_file import ObjectSizes
from tests.support.hand_made_graphs import wide_hand_made_graphs
from tests.support.intgraphs import dense_graph, residual_graph, with_changed_node

PARTS = (
    Part("conv", "weights", 1000),
    Part("conv", "parameters", 24),
    Part("lif", "state", 300),
    Part("head", "weights", 400),
    Part(SHARED, "buffers", 700),
)
MEASURED = MemoryReport(PARTS, ObjectSizes(500, 1500, 1008, 96, ()))
UNMEASURED = MemoryReport(PARTS, None)


def test_flash_is_code_and_constants_and_ram_is_state_and_stack() -> None:
    assert MEASURED.shares("flash") == {"weights": 1400, "parameters": 24, "code": 576}
    assert MEASURED.shares("RAM") == {"state": 300, "buffers": 700, "padding": 8, "stack": 96}
    assert (MEASURED.flash_bytes, MEASURED.ram_bytes) == (2000, 1104)
    assert (UNMEASURED.flash_bytes, UNMEASURED.ram_bytes) == (1424, 1000)


def test_report_in_words() -> None:
    assert MEASURED.in_words("RAM") == "1,104 bytes (state 300, buffers 700, padding 8, stack 96)"
    words = "at least 1,424 bytes (weights 1,400, parameters 24; the code comes on top, not measured: pip"
    assert UNMEASURED.in_words("flash").startswith(words)


def test_figures_that_were_not_measured_have_names_that_say_so() -> None:
    assert MEASURED.figures == {"flash_bytes": 2000, "ram_bytes": 1104}
    assert UNMEASURED.figures == {"flash_bytes_at_least": 1424, "ram_bytes_at_least": 1000}


@pytest.mark.parametrize("graph", [dense_graph(), residual_graph(), *wide_hand_made_graphs().values()])
def test_parts_of_a_graph_add_up_to_what_its_compiler_says(graph: IntGraph) -> None:
    report = memory_report(graph, portable_source(graph, "net"))
    assert report.measured is not None
    assert 0 <= report.shares("RAM")["padding"] <= 64 + 8 * len(graph)  # alignment, and the count of the steps
    assert report.shares("flash")["code"] > report.measured.code_bytes - 64
    assert set(report.measured.libraries) <= {"memcpy", "memset", "memmove"}
    sizes = {each.name: math.ceil(each.weight.size * min(each.bit_width, 8) / 8) for each in graph.synapses}
    for name, least in sizes.items():
        assert report.of(name, "weights") >= least * 0.9


def test_table_has_a_row_for_each_layer_that_takes_anything() -> None:
    lines = memory_table(MEASURED).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["conv", "lif", "head", SHARED]
    assert len({len(line) for line in lines}) == 1


def test_parameters_from_0_to_255_take_a_byte_each() -> None:
    graph = dense_graph()
    requant = graph.of_type(IntRequant)[0]
    bias = np.arange(len(requant.bias)) * 28  # 0 to 252: more than int8 holds
    changed = with_changed_node(graph, requant.name, bias=bias, multiplier=np.ones_like(bias))
    tables = {table.name: table for table in portable_source(changed, "net").tables if table.part == requant.name}
    (table,) = tables.values()
    assert (table.element, table.size) == ("uint8", len(bias)) and table.values.max() == 252
