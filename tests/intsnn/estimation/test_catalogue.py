"""The catalogue of items and what counts them: nothing is counted without a price, nothing priced is never counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from intsnn.activity import assume, measure
from intsnn.errors import HardwareError
from intsnn.estimation.costs import price_list_of, price_of
from intsnn.estimation.counts import EventCount, EventCounts, InstanceCount
from intsnn.estimation.estimation import estimate
from intsnn.estimation.events import count
from intsnn.estimation.schedule import latency_of
from intsnn.hardware import HardwareSpec, with_sections
from intsnn.hardware.catalogue import Group, Item
from intsnn.mapping import map_graph
from intsnn.report.html.palette import COLOURS, colours
from intsnn.report.words import in_words
from tests.support.crossbar_by_hand import small_hardware
from tests.support.descriptions import read_description
from tests.support.hand_made_graphs import wide_hand_made_graphs
from tests.support.intgraphs import GraphBuilder, dense_graph, random_input, residual_graph

GRAPHS = [residual_graph(), dense_graph(), *wide_hand_made_graphs().values()]
CONVERTERS = "rram_64x64_65nm"
TREES, ACCUMULATORS = "sram_digital", "sram_event_driven"
MEMBRANE = "{bits: [11], energy_pj: 1, area_um2: 1, leakage_uw: 1, interpolation: linear, source: this test}"
CHIPS = [
    small_hardware(rows=8, columns=8, cell_bits=2),
    *(
        read_description(
            name, f"crossbar.encoding={encoding}", f"crossbar.mapping={mapping}", f"crossbar.joining={joining}"
        )
        for name in (CONVERTERS, TREES)
        for encoding, mapping, joining in (
            ("offset", "kernel_split", "after_sum"),
            ("differential", "im2col", "at_array"),
        )
    ),
    *(
        read_description(ACCUMULATORS, f"crossbar.encoding={encoding}", f"crossbar.mapping={mapping}")
        for encoding, mapping in (("offset", "kernel_split"), ("twos_complement", "im2col"))
    ),
    read_description(CONVERTERS, "neuron.membrane=fused", f"costs.membrane_operation={MEMBRANE}"),
]
TURNS = small_hardware(rows=8, columns=8, cell_bits=2, mapping="im2col")


def all_counts() -> Iterator[tuple[HardwareSpec, EventCounts]]:
    for graph in GRAPHS:
        activity = measure(graph, [random_input(graph, time_steps=graph.time_steps or 3)])
        for chip in CHIPS:
            yield chip, count(map_graph(graph, chip), activity)
    dense = GRAPHS[1]
    activity = measure(dense, [random_input(dense, time_steps=3)])
    turns = with_sections(TURNS, duplication={"arrays": map_graph(dense, TURNS).arrays - 1})
    yield turns, count(map_graph(dense, turns), activity)


COUNTS = tuple(all_counts())


def test_every_item_is_counted_as_often_as_its_meaning_says_and_as_nothing_else() -> None:
    """An item of the catalogue that no rule counts, or counts without a meaning, is found here."""
    happened = {event.item for _, counts in COUNTS for event in counts.events}
    built = {instance.item for _, counts in COUNTS for instance in counts.instances}
    assert happened == {item for item in Item if item.meaning.event is not None}
    assert built == {item for item in Item if item.meaning.instance is not None}


def test_every_count_has_a_width_where_its_meaning_has_one() -> None:
    for _, counts in COUNTS:
        both: tuple[EventCount | InstanceCount, ...] = (*counts.events, *counts.instances)
        for one in both:
            assert (one.bits is not None) == one.item.meaning.by_width, one


def test_an_item_is_counted_only_on_the_crossbars_that_can_have_it() -> None:
    for chip, counts in COUNTS:
        both: tuple[EventCount | InstanceCount, ...] = (*counts.events, *counts.instances)
        for one in both:
            assert one.item.meaning.is_counted(chip.crossbar, chip.neuron), one


@pytest.mark.parametrize("name", [CONVERTERS, ACCUMULATORS])
def test_what_happens_for_active_rows_only_is_said_to(name: str) -> None:
    """Nothing fires, inputs of one bit travel as a bitmap, every array is read: the rest happens all the same."""
    build = GraphBuilder(np.random.default_rng(0))
    spikes = build.neuron(build.requant(build.conv(build.input((4, 6, 6), bit_width=1), 4)))
    build.readout(build.conv(spikes, 4), mode="steps")
    changes = ("interconnect.encoding=bitmap", "crossbar.encoding=offset", "crossbar.gating=none")
    graph, chip = build.graph(), read_description(name, *changes)
    silent, busy = (
        {event.item for event in count(map_graph(graph, chip), assume(graph, rate=rate, time_steps=1)).events}
        for rate in (0.0, 1.0)
    )
    there = {item for item in Item if item.meaning.is_counted(chip.crossbar, chip.neuron)}
    assert busy - silent == {item for item in there if item.meaning.per_active_row}


def test_every_timed_item_takes_time() -> None:
    graph, stays = residual_graph(), read_description(CONVERTERS)
    turns = with_sections(stays, duplication={"arrays": 3})
    for item in Item:
        described = turns if item.meaning.group is Group.WEIGHT_LOADING else stays
        before = latency_of(map_graph(graph, described), time_steps=1)
        cost = described.cost(item)
        if not item.meaning.timed:
            continue
        assert cost is not None and isinstance(cost.latency_ns, float)
        slower = replace_cost(described, item, latency_ns=cost.latency_ns + 100)
        assert latency_of(map_graph(graph, slower), time_steps=1) > before, item


def replace_cost(described: HardwareSpec, item: Item, **values: float) -> HardwareSpec:
    cost = described.cost(item)
    assert cost is not None
    return described.model_copy(update={"costs": {**described.costs, item.value: cost.model_copy(update=values)}})


def test_what_is_counted_and_neither_priced_nor_excluded_is_an_error() -> None:
    """A description is refused when it is read; one that was copied without a check, when it is priced."""
    graph, described = residual_graph(), read_description(CONVERTERS)
    costs = {name: cost for name, cost in described.costs.items() if name != "cell_read"}
    unpriced = described.model_copy(update={"costs": costs})
    with pytest.raises(HardwareError, match="neither prices nor excludes cell_read"):
        price_of(Item.CELL_READ, "energy_pj", unpriced)
    with pytest.raises(HardwareError, match="cell_read"):
        estimate(graph, assume(graph, rate=0.1, time_steps=1), unpriced)


def test_a_count_that_the_catalogue_does_not_know_is_found_when_it_is_priced() -> None:
    price_list = price_list_of(read_description(CONVERTERS))
    with pytest.raises(AssertionError, match="tile is counted and priced by energy_pj"):
        price_list(Item.TILE, "energy_pj", None)
    with pytest.raises(AssertionError, match=r"cell_read: counted at 4\.0 bits"):
        price_list(Item.CELL_READ, "energy_pj", 4.0)


def test_every_part_of_a_chip_has_a_colour_of_its_own_and_words() -> None:
    parts = [*dict.fromkeys(item.meaning.group.value for item in Item), "leakage"]
    found = colours(parts)
    assert len(set(found.values())) == len(parts) <= COLOURS
    assert all("_" not in in_words(part) for part in parts)
