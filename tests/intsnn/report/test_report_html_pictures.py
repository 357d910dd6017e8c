"""The pictures of the HTML report against the numbers that they stand for."""

import itertools
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from intsnn.activity import assume, measure
from intsnn.estimation.costs import EnergyPart
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.estimation.schedule import Busy
from intsnn.hardware import HardwareSpec
from intsnn.hardware.chip import KernelMapping
from intsnn.report import to_html
from intsnn.report.html.bars import Bar, bars, columns, gathered
from intsnn.report.html.blocks import Section
from intsnn.report.html.breakdown import area_section, energy_section
from intsnn.report.html.chip import mapping_section
from intsnn.report.html.glance import glance_section
from intsnn.report.html.palette import colours
from intsnn.report.html.rates import activity_section
from intsnn.report.html.timeline import time_section
from intsnn.report.html.tornado import sensitivity_section
from tests.support.crossbar_by_hand import hardware_spec, plain_hardware, small_hardware
from tests.support.elements import attribute, part, percent, words
from tests.support.intgraphs import GraphBuilder, dense_graph, random_input, residual_graph
from tests.support.narrowing import available, present

Element = ElementTree.Element


@pytest.fixture(scope="module")
def report() -> HardwareReport:
    graph = residual_graph()
    return estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")


def drawn(section: Section) -> Element:
    return ElementTree.fromstring(f"<div>{''.join(part.text for part in section.content)}</div>")


def rows_of(picture: Element) -> dict[str, Element]:
    """Name -> svg of each row."""
    rows = [row for row in picture.iter("div") if row.get("class") == "row"]
    bars_and_names = ((part(row, "span[@class='name']").text, row.find("svg")) for row in rows)
    return {present(name): svg for name, svg in bars_and_names if svg is not None}  # the axis has none


def numbers_of(picture: Element) -> dict[str, list[str]]:
    lines = [["".join(cell.itertext()) for cell in line] for line in picture.iter("tr")]
    return {line[0]: line[1:] for line in lines}


def test_stacked_bars_by_hand() -> None:
    """4 + 2 of a longest bar of 8: half, then a quarter from the middle."""
    rows = [Bar("first", {"adc": 4.0, "neuron": 2.0}), Bar("second", {"adc": 8.0})]
    picture = ElementTree.fromstring(
        bars(rows, colour={"adc": "c1", "neuron": "c5"}, words={"first": "6 pJ", "second": "8 pJ"}).text
    )
    first, second = rows_of(picture).values()
    assert [(percent(one, "x"), percent(one, "width"), one.get("class")) for one in first] == [
        (0.0, 50.0, "c1"), (50.0, 25.0, "c5")
    ]  # fmt: skip
    assert [(percent(one, "x"), percent(one, "width")) for one in second] == [(0.0, 100.0)]
    assert part(first, "rect/title").text == "first, adc: 66.7 %"


def test_columns_stand_on_zero() -> None:
    picture = ElementTree.fromstring(columns([1.0, 4.0], unit="nJ").text)
    low, high = picture.iter("rect")
    low_height, high_height = (float(attribute(one, "height")) for one in (low, high))
    assert high_height == 4 * low_height == 48
    assert float(attribute(low, "y")) + low_height == 48
    assert "20 steps" in ElementTree.tostring(ElementTree.fromstring(columns([1.0] * 20, unit="nJ").text), "unicode")


def test_small_rows_are_gathered_and_nothing_is_lost() -> None:
    rows = [Bar("large", {"adc": 1000.0}), *(Bar(f"n{i}", {"neuron": 1.0, "adc": 0.5}) for i in range(3))]
    large, rest = gathered(rows)
    assert (large.name, rest.name, rest.stands_for) == ("large", "3 smaller", 3)
    assert rest.parts == {"neuron": 3.0, "adc": 1.5}
    assert gathered([rows[0], rows[1]]) == [rows[0], rows[1]]
    assert gathered([rows[0], Bar("a", {"adc": 0.0}), Bar("b", {"adc": 0.0})]) == [rows[0]]


def test_a_part_of_the_chip_has_one_colour_everywhere() -> None:
    assert colours(["leakage", "adc"]) == {"adc": "c1", "leakage": "c11"}
    assert colours(["htree", "adc"]) == {"htree": "c0", "adc": "c1"}
    assert len(set(colours([f"part {i}" for i in range(14)]).values())) == 12


def test_energy_and_area_agree_on_colours_under_spikesims_rules_too() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.requant(build.conv(build.input((2, 8, 8)), 4)))
    graph = build.graph()
    report = estimate(graph, assume(graph, rate=0.2, time_steps=1), "spikesim")
    energy, area = (_legend(drawn(section(report))) for section in (energy_section, area_section))
    shared = energy.keys() & area.keys()
    assert {"ADC ", "crossbar ", "htree "} <= shared and energy.keys() != area.keys()
    assert all(energy[name] == area[name] for name in shared)


def _legend(picture: Element) -> dict[str, str]:
    return {
        present(part(entry, "svg").tail): attribute(part(entry, "svg/rect"), "class") for entry in picture.iter("li")
    }


def test_the_gantt_picture_of_layer_by_layer_fills_the_time_without_overlap() -> None:
    graph = residual_graph()
    report = estimate(graph, measure(graph, [random_input(graph)]), plain_hardware())
    picture = drawn(time_section(report))
    spans = [
        (percent(one, "x"), percent(one, "x") + percent(one, "width"))
        for svg in rows_of(picture).values()
        for one in svg.iter("rect")
    ]
    spans.sort()
    assert len(spans) == 4 * 4  # the four synapses; all others take less than 0.2 %
    assert all(following[0] >= before[1] - 0.003 for before, following in itertools.pairwise(spans))
    numbers = numbers_of(picture)
    assert set(numbers) == {"node"} | {busy.node for busy in available(report.latency) if busy.time_ns}


def test_the_gantt_picture_of_a_pipeline_shows_its_intervals() -> None:
    graph = residual_graph()
    shipped = hardware_spec("rram_64x64_65nm")
    hardware = HardwareSpec.model_validate({**shipped.model_dump(), "schedule": {"rule": "row_pipeline"}})
    report = estimate(graph, assume(graph, rate=0.2, time_steps=3), hardware)
    assert report.timeline is not None and report.throughput_per_s > 1e9 / report.latency_ns
    rows = rows_of(drawn(time_section(report)))
    for node, svg in rows.items():
        expected = [one for one in report.timeline.intervals if one.node == node]
        shown = list(svg.iter("rect"))
        assert [one.get("class") for one in shown] == ["s0", "s1", "s2"]
        for one, interval in zip(shown, expected, strict=True):
            assert percent(one, "x") == pytest.approx(100 * interval.start_ns / report.latency_ns, abs=1e-3)
            width = 100 * (interval.end_ns - interval.start_ns) / report.latency_ns
            assert percent(one, "width") == pytest.approx(width, abs=1e-3)
    assert len(rows) > 8  # neurons too: they wait for rows


def test_many_steps_are_drawn_in_part_and_said_so(report: HardwareReport) -> None:
    long = replace(
        report,
        workload=replace(report.workload, time_steps=3000),
        timeline=None,
        latency=(Busy(report.nodes[0].name, 3000.0), Busy(report.nodes[1].name, 6000.0)),
    )
    picture = drawn(time_section(long))
    assert all(len(list(svg.iter("rect"))) == 2000 for svg in rows_of(picture).values())
    text = "".join(picture.itertext())
    assert "The first 2000 of 3000 steps are drawn." in text and "no times of their own" in text


def test_no_time_at_all_is_said(report: HardwareReport) -> None:
    section = time_section(replace(report, timeline=None, latency=(Busy(report.nodes[0].name, 0.0),)))
    assert "No node takes time" in section.content[0].text


@pytest.mark.parametrize("mapping", ["kernel_split", "im2col"])
def test_the_mapping_picture_draws_every_pe_and_every_empty_place(mapping: KernelMapping) -> None:
    graph = residual_graph()
    hardware = small_hardware(rows=8, columns=16, cell_bits=1, mapping=mapping)
    report = estimate(graph, assume(graph, rate=0.2, time_steps=1), hardware)
    chip = present(present(report.basis).mapping)
    picture = drawn(mapping_section(report))
    tiles = [svg for svg in picture.iter("svg") if svg.get("class") == "tile"]
    assert len(tiles) == chip.tiles
    assert len(list(picture.iter("use"))) == chip.pes
    empty = [one for one in picture.iter("rect") if one.get("class") == "empty"]
    assert len(empty) == chip.tiles * hardware.tile.pe - chip.pes
    for symbol in picture.iter("symbol"):
        free, used = (attribute(path, "d") for path in symbol)
        assert used.count("M") >= free.count("M") in (1, 4, 9)
    numbers = numbers_of(picture)
    for layer in chip.layers:
        assert numbers[layer.name][:3] == [str(layer.tiles), str(layer.pes), str(layer.arrays)]


def test_the_area_of_the_drawn_cells_is_the_share_of_used_cells() -> None:
    """One layer of 12 x 10 weights of 4 bits in 2-bit cells: 12 rows and 20 columns of 64 x 64."""
    graph = dense_graph()
    report = estimate(graph, assume(graph, rate=0.2, time_steps=1), "rram_64x64_65nm")
    picture = drawn(mapping_section(report))
    first = next(picture.iter("symbol"))
    free, used = (path.get("d") for path in first)
    assert free == "M0 0h26v26h-26z"
    assert used == f"M0 0h{20 / 64 * 26:g}v{12 / 64 * 26:g}h-{20 / 64 * 26:g}z"


def test_spike_rates_are_those_of_the_activity(report: HardwareReport) -> None:
    activity = present(report.basis).activity
    picture = drawn(activity_section(report))
    rows = rows_of(picture)
    most = max(spikes / neuron.size for neuron in activity.neurons for spikes in neuron.spikes)
    assert most > 0
    for neuron in activity.neurons:
        svg = rows[neuron.name]
        assert percent(part(svg, "rect"), "width") == pytest.approx(100 * neuron.rate / most, abs=1e-3)
        marks = [percent(line, "x1") for line in svg.iter("line")]
        assert marks == pytest.approx([100 * spikes / neuron.size / most for spikes in neuron.spikes], abs=1e-3)


def test_names_of_nodes_stay_as_they_are_and_circuits_are_words(report: HardwareReport) -> None:
    """In legends and titles too: a layer that is called `adc` is no converter, and an underscore is no space."""
    first, second, *_ = dict.fromkeys(one.node for one in sorted(report.energy, key=lambda one: -one.energy_pj))
    names = {first: "adc", second: "pool_and_add"}
    named = replace(
        report,
        energy=tuple(replace(one, node=names.get(one.node, one.node)) for one in report.energy),
        nodes=tuple(replace(one, name=names.get(one.name, one.name)) for one in report.nodes),
    )
    by_layer, by_circuit = drawn(glance_section(named)).iter("figure")
    layers, circuits = ([words(entry) for entry in one.iter("li")] for one in (by_layer, by_circuit))
    assert {"adc", "pool_and_add"} <= set(layers) and "ADC" not in layers
    assert {"ADC", "pool and add"} <= set(circuits) and not any("_" in name for name in circuits)
    assert any("pool_and_add: " in words(title) for title in by_layer.iter("title"))
    assert {"ADC", "pool and add"} <= set(numbers_of(by_circuit)) and "pool_and_add" in numbers_of(by_layer)


def test_the_tornado_stands_around_the_totals_as_they_are(report: HardwareReport) -> None:
    energy, edap = drawn(sensitivity_section(report)).iter("figure")
    for picture in (energy, edap):
        rows = rows_of(picture)
        assert 1 < len(rows) <= 12
        base = {percent(part(svg, "line"), "x1") for svg in rows.values()}
        assert len(base) == 1
        widths = []
        for svg in rows.values():
            less, more = svg.findall("rect")
            assert percent(less, "x") + percent(less, "width") == pytest.approx(base.copy().pop(), abs=2e-3)
            assert percent(more, "x") == pytest.approx(base.copy().pop(), abs=2e-3)
            widths.append(percent(less, "width") + percent(more, "width"))
        assert widths == sorted(widths, reverse=True)
        assert widths[0] == pytest.approx(100, abs=5)
    assert next(iter(rows_of(energy))) == "adc_conversion · energy"


def test_energy_of_nothing_is_drawn_as_nothing(report: HardwareReport) -> None:
    quiet = replace(report, energy=(EnergyPart(report.nodes[0].name, "adc_conversion", "adc", (0.0,) * 4),))
    page = to_html(quiet)
    assert "takes 0.0 %" in page and "nan" not in page
