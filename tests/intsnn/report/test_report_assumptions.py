"""Assumptions and the glance at the top of the page: each value is an estimate, each bar a whole."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from intsnn.activity import Activity, assume
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.graph import IntGraph
from intsnn.hardware import HardwareSpec, with_converter, with_sections
from intsnn.report import to_html, to_json, to_markdown
from intsnn.shares import percent
from tests.support.crossbar_by_hand import hardware_spec
from tests.support.intgraphs import GraphBuilder

SECTIONS = {
    "still input": ("buffers", "constant_input"),
    "mapping": ("crossbar", "mapping"),
    "encoding": ("crossbar", "encoding"),
    "idle arrays": ("crossbar", "gating"),
    "input buffer": ("buffers", "input_reuse"),
    "transport": ("interconnect", "hops"),
    "overlap": ("schedule", "rule"),
}


@pytest.fixture(scope="module")
def graph() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    spikes = build.neuron(build.requant(build.conv(build.input((2, 6, 6)), 4)))
    build.readout(build.conv(spikes, 6))
    return build.graph()


@pytest.fixture(scope="module")
def activity(graph: IntGraph) -> Activity:
    return assume(graph, rate=0.2, time_steps=3, constant_input=True)


@pytest.fixture(scope="module")
def report(graph: IntGraph, activity: Activity) -> HardwareReport:
    return estimate(graph, activity, "rram_64x64_65nm")


def changed(name: str, value: str) -> HardwareSpec:
    shipped = hardware_spec("rram_64x64_65nm")
    if name == "converters":
        return with_converter(shipped, value)
    if name == "tiles":
        pes, wired, _ = value.partition(" PEs")
        if wired:
            return with_sections(shipped, tile={"pe": int(pes)})
        bare = {**shipped.model_dump()["costs"]["tile"], "area_um2": 0.0}
        return with_sections(shipped, costs={"tile": bare})
    section, key = SECTIONS[name]
    return with_sections(shipped, **{section: {key: value}})


def test_every_value_has_the_totals_of_an_estimate(graph: IntGraph, activity: Activity, report: HardwareReport) -> None:
    found = {one.name: one for one in report.assumptions}
    assert found.keys() == {*SECTIONS, "converters", "tiles", "white space"}
    assert len(found["converters"].others) >= 5 and len(found["mapping"].others) == 3
    for name, one in found.items():
        for other in one.others if name != "white space" else ():
            again = estimate(graph, activity, changed(name, other.value))
            assert other.value != one.value
            assert other.outcome.energy_pj == again.energy_pj, (name, other.value)
            assert other.outcome.latency_ns == again.latency_ns
            assert other.outcome.area_um2 == pytest.approx(again.area_um2, rel=1e-12)
    (white,) = found["white space"].others
    assert white.outcome.area_um2 == pytest.approx(4.2 * report.area_um2)
    assert (white.outcome.energy_pj, white.outcome.latency_ns) == (report.energy_pj, report.latency_ns)


def test_what_cannot_be_built_is_no_value(graph: IntGraph, activity: Activity) -> None:
    """Trees have no converters to price, and no pairs to subtract; an input that changes is never held."""
    trees = estimate(graph, activity, "sram_digital").assumptions
    assert "converters" not in {one.name for one in trees}
    encodings = next(one for one in trees if one.name == "encoding")
    assert "analog_differential" not in {other.value for other in encodings.others}
    moving = assume(graph, rate=0.2, time_steps=3)
    assert "still input" not in {one.name for one in estimate(graph, moving, "rram_64x64_65nm").assumptions}
    assert estimate(graph, activity, "spikesim_fixed").assumptions
    assert estimate(graph, moving, "spikesim").assumptions == ()


def test_the_page_shows_them_first_and_its_bars_are_whole(report: HardwareReport, tmp_path: Path) -> None:
    page = to_html(report)
    anchors = [page.index(f'<section id="{name}"') for name in ("totals", "glance", "assumptions", "limits", "energy")]
    assert anchors == sorted(anchors)
    for one in report.assumptions:
        assert f"{one.name}" in page
    circuits: dict[str, float] = {}
    for part in report.energy:
        circuits[part.group] = circuits.get(part.group, 0.0) + part.energy_pj
    name, most = max(circuits.items(), key=lambda item: item[1])
    glance = page[anchors[1] : anchors[2]]
    assert percent(most / math.fsum(circuits.values()), 0) in glance and name == "adc"


def test_every_value_stands_in_markdown_and_in_json(report: HardwareReport) -> None:
    """Each with its totals, over the report's own in the table."""
    text, document = to_markdown(report), json.loads(to_json(report))
    assert [one["name"] for one in document["assumptions"]] == [one.name for one in report.assumptions]
    for one, written in zip(report.assumptions, document["assumptions"], strict=True):
        for other, entry in zip(one.others, written["others"], strict=True):
            assert entry == {"value": other.value, "outcome": asdict(other.outcome)}
            energy, area = (
                f"{got / own:.3f}"
                for got, own in (
                    (other.outcome.energy_pj, report.energy_pj),
                    (other.outcome.area_um2, report.area_um2),
                )
            )
            time = f"{other.outcome.latency_ns / report.latency_ns:.3f}"
            assert f"| {one.name} | {one.value} | {other.value} | {energy} | {time} | {area} |" in text
    assert "| tiles | 8 PEs | wiring without area | 1.000 | 1.000 |" in text


def test_rules_without_assumptions_say_nothing_of_them(graph: IntGraph) -> None:
    tool = estimate(graph, assume(graph, rate=0.2, time_steps=3), "spikesim")
    assert "What each assumption does" not in to_markdown(tool) and json.loads(to_json(tool))["assumptions"] == []
