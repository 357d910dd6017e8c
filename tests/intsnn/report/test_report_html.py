"""The HTML report as a document: whole, offline, escaped, the same each time, and with the report's own figures."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intsnn.activity import assume, measure
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import Basis, Floorplan, HardwareReport, NotModelled
from intsnn.hardware import shipped_hardware
from intsnn.report import summary_table, to_html, to_markdown
from intsnn.report.html.blocks import bullets, table
from intsnn.report.html.markup import Html, number, share, tag
from intsnn.report.words import best_unit, readable, with_unit
from tests.support.crossbar_by_hand import small_hardware
from tests.support.elements import attribute, part, percent, words
from tests.support.intgraphs import GraphBuilder, graph_inputs, random_input, residual_graph
from tests.support.narrowing import components_of
from tests.support.wide_graphs import weighted_graphs

Element = ElementTree.Element


@pytest.fixture(scope="module")
def report() -> HardwareReport:
    graph = residual_graph()
    return estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")


def parsed(page: str) -> Element:
    """The page is strict: every element is closed, every attribute quoted, every character escaped."""
    doctype, _, rest = page.partition("\n")
    assert doctype == "<!doctype html>"
    return ElementTree.fromstring(rest)


def test_the_same_report_gives_the_same_bytes(report: HardwareReport) -> None:
    graph = residual_graph()
    again = estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")
    assert to_html(report).encode() == to_html(again).encode()


def test_what_stands_in_backticks_is_code() -> None:
    written = bullets(["write `a < b`, or `--c`", "a ` alone", Html("<b>kept `as it is`</b>")]).text
    assert "<li>write <code>a &lt; b</code>, or <code>--c</code></li>" in written
    assert "<li>a ` alone</li><li><b>kept `as it is`</b></li>" in written


def test_the_area_has_its_floorplan_where_there_is_a_factor(report: HardwareReport) -> None:
    placed = replace(report, floorplan=Floorplan(4.2, "test"))
    assert "<small>with floorplan factor" in to_html(placed) and "<small>with floorplan factor" not in to_html(report)


def test_the_page_needs_nothing_but_itself(report: HardwareReport) -> None:
    page = parsed(to_html(report))
    names = {element.tag for element in page.iter()}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "base"}
    for element in page.iter():
        assert not {"src", "srcset", "style", "onload", "onclick"} & set(element.attrib)
        assert element.get("href", "#").startswith("#")
    style = words(part(page, "head/style"))
    assert "url(" not in style and "@import" not in style


def test_every_link_and_reference_has_its_target_and_no_id_is_twice(report: HardwareReport) -> None:
    page = parsed(to_html(report))
    names = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(names) == len(set(names))
    targets = [attribute(element, "href") for element in page.iter() if element.get("href")]
    assert len(targets) > 11
    assert {target.removeprefix("#") for target in targets} <= set(names)


def test_the_page_holds_every_node_component_total_source_and_limit(report: HardwareReport) -> None:
    text = words(part(parsed(to_html(report)), "body"))
    for expected in (
        report.hardware,
        *(node.name for node in report.nodes),
        *components_of(report),
        *(total.label for total in report.shown_totals()),
        *(" ".join(entry.source.split()) for entry in report.provenance),
        *(entry.reason for entry in report.not_modelled),
        *report.notes,
        "T = 4",
        "measured on 3 samples",
        "Horowitz",
        "not to be compared",
        f"{readable(report.energy_pj / 1e6)} uJ",
        f"{readable(report.edap_pj_ns_um2 / 1e15)} uJ us mm2",
    ):
        assert expected in text, expected


def test_the_page_says_of_the_totals_what_the_command_line_says(report: HardwareReport) -> None:
    """Its table, and which circuits take most: one component is not called the whole kind of circuit."""
    text = words(part(parsed(to_html(report, of="model.onnx")), ".//section[@id='totals']"))
    table, notes = summary_table(report).split("\n\n")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) == 8
    for label, value in rows:
        assert label in text and value in text
    assert " ".join(notes.splitlines()[0].removeprefix("- ").split()) in text


def test_the_title_says_whose_figures_they_are(report: HardwareReport) -> None:
    page = parsed(to_html(report, of="runs/mine/model.onnx"))
    assert words(part(page, ".//h1")) == "runs/mine/model.onnx on rram_64x64_65nm"
    assert words(part(page, "head/title")) == "Hardware figures: runs/mine/model.onnx on rram_64x64_65nm"


def test_every_cell_names_its_column_for_a_narrow_screen(report: HardwareReport) -> None:
    section = part(parsed(to_html(report)), ".//section[@id='nodes']")
    heads = [words(head) for head in section.iter("th")]
    for row in part(section, ".//tbody").iter("tr"):
        assert [cell.get("data-column") for cell in row.iter("td")] == heads


def test_every_figure_has_words_for_those_who_do_not_see_it_and_its_numbers_as_a_table(report: HardwareReport) -> None:
    figures = list(parsed(to_html(report)).iter("figure"))
    assert len(figures) == 14
    for figure in figures:
        said = attribute(part(figure, "div[@role='img']"), "aria-label")
        assert len(said) > 20 and "nan" not in said
        assert words(part(figure, "figcaption/h3"))
        assert len(list(part(figure, "details").iter("tr"))) > 1


def test_the_page_has_a_dark_scheme_a_narrow_one_and_one_for_print(report: HardwareReport) -> None:
    page = parsed(to_html(report))
    style = words(part(page, "head/style"))
    for rule in ("prefers-color-scheme: dark", "max-width: 640px", "@media print"):
        assert rule in style
    viewport = [meta.get("content") for meta in page.iter("meta") if meta.get("name") == "viewport"]
    assert viewport == ["width=device-width, initial-scale=1"]


def test_every_class_of_the_page_is_in_the_style_sheet(report: HardwareReport) -> None:
    page = parsed(to_html(report))
    style = words(part(page, "head/style"))
    used = {name for element in page.iter() for name in element.get("class", "").split()}
    assert {"c0", "s3", "used", "empty", "less", "more"} <= used
    for name in used:
        assert re.search(rf"\.{name}\b", style), name


def test_what_comes_from_outside_is_escaped(report: HardwareReport) -> None:
    evil = "<script>alert('1')</script> & \"<b>\""
    changed = replace(report, hardware=evil, summary=evil, not_modelled=(NotModelled(evil, evil),), notes=(evil,))
    page = parsed(to_html(changed))
    assert "script" not in {element.tag for element in page.iter()}
    assert words(page).count("alert('1')") >= 5


@pytest.mark.parametrize("name", shipped_hardware())
def test_every_shipped_description_gives_a_page(name: str) -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((2, 8, 8)), 4)))
    build.readout(build.requant(build.linear(build.flatten(build.neuron(build.requant(build.conv(x, 8)))), 3)))
    graph = build.graph()
    report = estimate(graph, measure(graph, [random_input(graph)]), name)
    page = parsed(to_html(report))
    assert words(part(page, "body/header/h1")) == name
    assert len(list(page.iter("section"))) == 14


def test_figures_that_the_rules_cannot_give_are_absent_with_their_reason() -> None:
    graph = residual_graph()  # one kernel size is missing nothing here, but its PE counts are all 1: no latency
    report = estimate(graph, assume(graph, rate=0.2, time_steps=2), "rram_64x64_65nm")
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((2, 8, 8)), 4)))
    build.readout(build.linear(build.flatten(x), 3))
    small = build.graph()
    activity = assume(small, rate=0.2, time_steps=2)
    bare = replace(estimate(small, activity, "spikesim"), basis=None)
    text = words(parsed(to_html(bare)))
    assert "Not available: SpikeSim's latency rule never ends" in text
    assert "These rules place nothing" in text and "no prices that could be changed" in text
    assert "does not know the graph" in text and "Arithmetic proxy" not in text
    with_basis = replace(bare, basis=Basis(small, activity))
    text = words(parsed(to_html(with_basis)))
    assert "these are SpikeSim's figures" in text and "Arithmetic proxy" in text
    assert "groups" in words(part(parsed(to_html(report)), ".//section[@id='comparison']"))


def test_a_chip_without_area_says_why() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((70, 4, 4)), 70)))
    build.readout(build.requant(build.conv(x, 4)))
    graph = build.graph()
    report = estimate(graph, assume(graph, rate=0.2, time_steps=2), "spikesim")
    section = part(parsed(to_html(report)), ".//section[@id='area']")
    assert "PE counts never fall" in words(section)


def test_silence_is_drawn_too() -> None:
    """No spike at all: no division by zero, and the proxy gives no ratio."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((5,)), 2))
    graph = build.graph()
    report = estimate(graph, measure(graph, [random_input(graph) * 0]), "rram_64x64_65nm")
    text = words(parsed(to_html(report)))
    assert "number of synaptic operations above 0" in text
    assert "0 nJ for this inference" in text and "times)" not in text
    assert "What the synapses read" in text


def test_the_floorplan_factor_multiplies_the_area_and_shows_its_source(report: HardwareReport) -> None:
    factored = replace(report, floorplan=Floorplan(4.2, "NeuroSim, for the test"))
    assert factored.floorplan_um2 == 4.2 * factored.area_um2 == 4.2 * report.floorplan_um2
    assert factored.edap_pj_ns_um2 == report.edap_pj_ns_um2
    for text in (words(parsed(to_html(factored))), to_markdown(factored)):
        assert "Floorplan factor 4.2: NeuroSim, for the test." in text
    assert "Floorplan factor 1: none applied" in to_markdown(report)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_graph_on_any_crossbar_gives_a_whole_page(data: st.DataObject) -> None:
    graph = data.draw(weighted_graphs())
    hardware = small_hardware(
        rows=data.draw(st.sampled_from((16, 64))),
        columns=data.draw(st.sampled_from((8, 32, 64))),
        cell_bits=data.draw(st.sampled_from((1, 2, 4))),
        encoding=data.draw(st.sampled_from(("offset", "differential"))),
        mapping=data.draw(st.sampled_from(("kernel_split", "im2col"))),
    )
    report = estimate(graph, measure(graph, [data.draw(graph_inputs(graph))]), hardware)
    page = parsed(to_html(report))
    for rectangle in page.iter("rect"):
        for key in ("x", "width"):
            if rectangle.get(key, "").endswith("%"):
                assert 0 <= percent(rectangle, key) <= 100.001
    assert "nan" not in words(part(page, "body")).split()


def test_markup_by_hand() -> None:
    assert tag("p", "a < b", class_="x").text == '<p class="x">a &lt; b</p>'
    assert tag("rect", x=0.5, width=3.0, data_of="a & b").text == '<rect x="0.5" width="3" data-of="a &amp; b"/>'
    assert tag("svg", Html("<x/>"), viewBox="0 0 1 1").text == '<svg viewBox="0 0 1 1"><x/></svg>'
    assert [number(value) for value in (0.0, 2.0, 0.125, 1 / 3, 1e-9)] == ["0", "2", "0.125", "0.333", "0"]
    assert share(1 / 8) == "12.5%"


def test_numbers_stand_on_the_right_and_numbered_names_on_the_left() -> None:
    shown = table(("epoch", "accuracy", "shape"), [("1: kept", "58.75 %", "8×8"), ("0: calibrated", "-", "10")]).text
    assert '<td data-column="epoch">1: kept</td><td data-column="accuracy" class="n">58.75 %</td>' in shown
    assert '<td data-column="shape">8×8</td>' in shown


def test_units_by_hand() -> None:
    assert best_unit(12770.0, "pJ") == (1e3, "nJ")
    assert best_unit(0.5, "pJ") == (1, "pJ")
    assert with_unit(12770.0, "pJ") == "12.77 nJ"
    assert best_unit(3.577e24, "pJ ns um2") == (1e21, "mJ ms mm2")
    assert best_unit(0.074, "TOPS/W") == (1.0, "TOPS/W"), "a card that says TOPS/W has no GOPS/W"
    assert best_unit(5943.0, "inferences/s") == (1.0, "inferences/s")
    assert best_unit(0.0, "ns") == (1, "ns")
    assert [readable(value) for value in (0.0, 12.766, 1e-4, 1234567.0)] == ["0", "12.77", "1.000e-04", "1,235,000"]
