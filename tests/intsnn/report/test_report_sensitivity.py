"""Sensitivities and placed cells against independent recomputation."""

import itertools
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import assume, measure
from intsnn.errors import HardwareError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.price_sensitivity import FACTORS
from intsnn.estimation.report import Unavailable
from intsnn.estimation.spikesim.estimation import estimate_by_spikesim
from intsnn.graph import IntGraph
from intsnn.hardware import HardwareSpec, load_spikesim
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Schedule, ScheduleRule
from intsnn.mapping import map_graph
from intsnn.mapping.placement import UsedCells, placed_layers
from intsnn.report import to_markdown
from intsnn.report.context import arithmetic_proxy, spikesim_figures
from tests.support.crossbar_by_hand import hardware_spec, place_cells, small_hardware
from tests.support.intgraphs import GraphBuilder, random_input, residual_graph
from tests.support.wide_graphs import weighted_graphs


@pytest.mark.parametrize("rule", ["layer_by_layer", "row_pipeline"])
def test_every_sensitivity_equals_the_estimate_of_a_description_with_that_price_changed(rule: ScheduleRule) -> None:
    graph = residual_graph()
    activity = measure(graph, [random_input(graph)])
    shipped = hardware_spec("rram_64x64_65nm")
    document = {**shipped.model_dump(), "schedule": {"rule": rule}}
    named = shipped.cost(Item.ADC_CONVERSION)
    assert named is not None and document["costs"]["adc_conversion"] == shipped.converter
    document["costs"] = {**document["costs"], "adc_conversion": named.model_dump()}
    report = estimate(graph, activity, shipped.model_copy(update={"schedule": Schedule(rule=rule)}))
    seen = set()
    for one in report.sensitivities:
        section = "components" if one.price in document["components"] else "costs"
        for factor, outcome in zip(FACTORS, (one.halved, one.doubled), strict=True):
            price = document[section][one.price]
            number = price[one.quantity]
            changed = tuple(each * factor for each in number) if isinstance(number, tuple) else number * factor
            prices = {**document[section], one.price: {**price, one.quantity: changed}}
            again = estimate(graph, activity, HardwareSpec.model_validate({**document, section: prices}))
            assert outcome.energy_pj == pytest.approx(again.energy_pj, rel=1e-12)
            assert outcome.area_um2 == pytest.approx(again.area_um2, rel=1e-12)
            assert outcome.latency_ns == pytest.approx(again.latency_ns, rel=1e-12)
            assert outcome.edap_pj_ns_um2 == pytest.approx(again.edap_pj_ns_um2, rel=1e-12)
        seen.add((one.price, one.quantity))
    assert {("adc_conversion", "energy_pj"), ("adder", "area_um2"), ("adc_conversion", "latency_ns")} <= seen
    assert ("memory_bit", "leakage_uw") in seen and ("cell_read", "leakage_uw") not in seen  # 0 doubled is 0


def test_doubling_the_converter_adds_its_energy_once_more() -> None:
    graph = residual_graph()
    report = estimate(graph, assume(graph, rate=0.2, time_steps=2), "rram_64x64_65nm")
    converters = sum(part.energy_pj for part in report.energy if part.component == "adc_conversion")
    (one,) = (one for one in report.sensitivities if (one.price, one.quantity) == ("adc_conversion", "energy_pj"))
    assert one.items == ("adc_conversion",)
    assert one.doubled.energy_pj == pytest.approx(report.energy_pj + converters, rel=1e-12)
    assert one.halved.energy_pj == pytest.approx(report.energy_pj - converters / 2, rel=1e-12)


def test_the_markdown_lists_the_prices_that_matter_first() -> None:
    graph = residual_graph()
    text = to_markdown(estimate(graph, assume(graph, rate=0.2, time_steps=2), "rram_64x64_65nm"))
    section = text.split("## What each price does")[1].split("##")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    assert rows[0].startswith("| adc_conversion |") or rows[0].startswith("| tile |")
    assert all("1.000 | 1.000 | 1.000 | 1.000" not in row for row in rows)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_placed_cells_are_those_of_placing_every_single_cell(data: st.DataObject) -> None:
    """Against crossbar_by_hand.place_cells, which walks over every weight: array by array the same set of cells."""
    graph = data.draw(weighted_graphs())
    hardware = small_hardware(
        rows=data.draw(st.sampled_from((3, 8, 16))),
        columns=data.draw(st.sampled_from((4, 10, 32))),
        cell_bits=data.draw(st.sampled_from((1, 2, 4))),
        encoding=data.draw(st.sampled_from(("offset", "differential"))),
        mapping=data.draw(st.sampled_from(("kernel_split", "im2col"))),
    )
    mapping = map_graph(graph, hardware)
    for synapse, layer, placed in zip(graph.all_synapses, mapping.layers, placed_layers(mapping), strict=True):
        expected = defaultdict(set)
        for kernel, group, row_block, column_block, row, column, _ in place_cells(synapse, hardware.crossbar):
            expected[kernel, group, row_block, column_block].add((row, column))
        pes = [pe for tile in placed.tiles for pe in tile]
        assert len(pes) == layer.pes and len(placed.tiles) == layer.tiles
        assert all(len(tile) <= hardware.tile.pe for tile in placed.tiles)
        assert sum(pe.arrays for pe in pes) == layer.arrays == len(expected)
        blocks = sorted({key[1:] for key in expected})
        for pe, block in zip(pes, blocks, strict=True):
            for kernel in range(pe.arrays):
                assert _cells(pe.used) == expected[kernel, *block]
        used = sum(len(cells) for cells in expected.values())
        assert placed.used_cells == used
        assert layer.utilisation == pytest.approx(
            used / (layer.arrays * hardware.crossbar.rows * hardware.crossbar.columns)
        )


def _cells(rectangles: tuple[UsedCells, ...]) -> set[tuple[int, int]]:
    return {
        (one.row + i, one.column + j)
        for one in rectangles
        for i, j in itertools.product(range(one.rows), range(one.columns))
    }


def test_copies_of_a_layer_are_placed_one_after_the_other() -> None:
    graph = residual_graph()
    shipped = hardware_spec("rram_64x64_65nm")
    hardware = HardwareSpec.model_validate({**shipped.model_dump(), "duplication": {"arrays": 100}})
    mapping = map_graph(graph, hardware)
    assert max(layer.copies for layer in mapping.layers) > 1
    for layer, placed in zip(mapping.layers, placed_layers(mapping), strict=True):
        pes = [pe for tile in placed.tiles for pe in tile]
        assert len(pes) == layer.pes
        assert pes == pes[: layer.pes // layer.copies] * layer.copies


def _two_layers() -> IntGraph:
    """One multi-bit input of 2 x 8 x 8, a 3 x 3 convolution to 4 channels, spikes, another to 8."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((2, 8, 8)), 4)))
    build.readout(build.requant(build.conv(x, 8)))
    return build.graph()


def test_the_proxy_by_hand() -> None:
    """Rate 1: the spikes of 4 x 8 x 8 neurons are read by 22*22 of 24*24 windows an axis, 8 outputs; T = 2."""
    graph = _two_layers()
    report = estimate(graph, assume(graph, rate=1.0, time_steps=2), "rram_64x64_65nm")
    proxy = arithmetic_proxy(report)
    assert proxy is not None
    reads = 22 * 22  # along an axis of 8 with padding 1: 3 windows of each pixel, 2 at both ends
    additions = 2 * 4 * reads * 8
    multiplied = 2 * 2 * reads * 4 * 255 / 256  # uniform 8-bit inputs are 0 once in 256
    assert proxy.additions == pytest.approx(additions)
    assert proxy.multiply_additions == pytest.approx(multiplied)
    assert proxy.snn_pj == pytest.approx(0.9 * additions + 4.6 * multiplied)
    assert proxy.ann_pj == pytest.approx(4.6 * 64 * 9 * (2 * 4 + 4 * 8))
    assert proxy.ratio == pytest.approx(proxy.ann_pj / proxy.snn_pj)
    silent = estimate(graph, measure(graph, [random_input(graph) * 0]), "rram_64x64_65nm")
    nothing = arithmetic_proxy(silent)
    assert nothing is not None
    if nothing.snn_pj == 0:
        with pytest.raises(HardwareError, match="synaptic operations"):
            _ = nothing.ratio


def test_the_spikesim_line_holds_both_figures_and_their_ratio() -> None:
    graph = _two_layers()
    activity = assume(graph, rate=0.2, time_steps=2)
    report = estimate(graph, activity, "rram_64x64_65nm")
    theirs = estimate_by_spikesim(graph, activity, load_spikesim())
    figures = spikesim_figures(report)
    assert not isinstance(figures, Unavailable)
    energy, latency, area = figures
    assert (energy.spikesim, energy.here) == (theirs.energy_pj, report.energy_pj)
    assert energy.ratio == report.energy_pj / theirs.energy_pj
    assert (area.spikesim, area.here, area.ratio) == (
        theirs.area_um2, report.area_um2, report.area_um2 / theirs.area_um2
    )  # fmt: skip
    assert isinstance(latency.spikesim, Unavailable) and isinstance(latency.ratio, Unavailable)
    text = to_markdown(report)
    assert "compares technologies" not in text
    other = replace(report, technology=replace(report.technology, node_nm=22))
    assert "here 22 nm and 250 MHz, so the ratio compares technologies too" in to_markdown(other)
    assert "| Latency | not available |" in text and "here / SpikeSim" in text


def test_a_graph_that_spikesim_cannot_take_has_no_line() -> None:
    report = estimate(residual_graph(), assume(residual_graph(), rate=0.2, time_steps=2), "rram_64x64_65nm")
    figures = spikesim_figures(report)
    assert isinstance(figures, Unavailable) and "one group" in figures.reason
    assert "Not available: node" in to_markdown(report)
