"""Weights that take turns on fewer arrays than they take: groups, loads, what crosses, time and wear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import assume
from intsnn.arithmetic import word_bits
from intsnn.errors import HardwareError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.events import count
from intsnn.estimation.programming import Programming
from intsnn.estimation.report import HardwareReport, Unavailable, value_of
from intsnn.estimation.schedule import schedule, timeline
from intsnn.exploration.design_space import DesignSpace
from intsnn.exploration.exploration import explore
from intsnn.exploration.files import csv_text, pareto_table
from intsnn.graph import IntGraph, IntInput, IntRecurrentNeuron
from intsnn.graph.bounds import bounds
from intsnn.hardware import HardwareSpec, with_sections
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Encoding, KernelMapping
from intsnn.mapping import Mapping, map_graph
from intsnn.mapping.mapping import array_um2
from intsnn.report import to_html
from intsnn.report.comparison import compare
from intsnn.report.markdown import summary_table, to_markdown
from intsnn.report.programming import programming_in_words
from intsnn.shares import percent
from tests.support.crossbar_by_hand import ENCODINGS, MAPPINGS, hardware_spec, place_cells, small_hardware
from tests.support.hand_made_graphs import still_network
from tests.support.intgraphs import residual_graph
from tests.support.wide_graphs import weighted_graphs

FIRST, SPIKES, LAST = "layers.1.linear", "layers.3.neuron", "layers.4.linear"


def with_budget(
    arrays: int | str,
    *,
    samples: int = 1,
    rows: int = 2,
    encoding: Encoding = "offset",
    mapping: KernelMapping = "im2col",
) -> HardwareSpec:
    """Arrays of 8 columns and 1-bit cells, tiles of 2 PEs."""
    hardware = small_hardware(rows=rows, columns=8, cell_bits=1, encoding=encoding, mapping=mapping)
    return with_sections(hardware, duplication={"arrays": arrays}, reload={"samples": samples}, tile={"pe": 2})


def steps(mapping: Mapping, graph: IntGraph, time_steps: int = 3) -> dict[tuple[str, Item], tuple[float, ...]]:
    counts = count(mapping, assume(graph, rate=0.5, time_steps=time_steps))
    return {(event.node, event.item): event.steps for event in counts.events}


def test_two_groups_by_hand() -> None:
    """4 inputs -> 3 -> 2, 4-bit weights: 2 x 2 arrays of 12 columns, then 2 x 1 of 8: 4 arrays hold one at a time.

    Three spikes cross in each step. A batch is 4 inferences of 3 steps, so 3 * 3 * 4 bits wait.
    """
    graph = still_network()
    mapping = map_graph(graph, with_budget(4, samples=4))
    assert mapping.reload is not None and mapping.arrays == 4
    groups = [[(part.layer, part.pes) for part in group] for group in mapping.reload.groups]
    assert groups == [[(FIRST, 4)], [(LAST, 2)]]
    (crossing,) = mapping.reload.crossings
    assert (crossing.node, crossing.bits, crossing.stage, crossing.readers) == (SPIKES, 3, 0, (1,))
    found = steps(mapping, graph)
    assert found[FIRST, Item.CELL_WRITE] == (12 * 4 / 4, 0, 0)
    assert found[LAST, Item.CELL_WRITE] == (6 * 4 / 4, 0, 0)
    assert found[FIRST, Item.WEIGHT_FETCH] == (12 * 4 / 4, 0, 0)
    moved = (12 * 4 + 6 * 4) / 4
    assert found["shared", Item.BUFFER_WRITE] == found["shared", Item.BUFFER_READ] == (moved + 3, 3, 3)
    assert found["shared", Item.SPIKE_TRANSFER] == (2 * moved, 0, 0), "two hops"
    alone = steps(map_graph(graph, with_budget(6)), graph)
    assert {key: value for key, value in found.items() if key in alone} == alone, "all else happens as often"


def test_what_is_built_is_what_the_largest_group_needs_by_hand() -> None:
    """4 arrays of the first layer, not 6. Its inputs take 4 x 8 bits, those of the last layer 3; 36 bits wait."""
    graph = still_network()
    counts = count(map_graph(graph, with_budget(4, samples=4)), assume(graph, rate=0.5, time_steps=3))
    assert {one.node for one in counts.instances} == {"shared"}
    assert counts.built(Item.CELL_READ) == 4 * 2 * 8
    assert counts.built(Item.ADC_CONVERSION) == 4 * 8
    assert counts.built(Item.TILE) == 2
    assert counts.built(Item.BUFFER_BIT) == 4 * 8 + 3 * 3 * 4
    widths = {one.bits for one in counts.instances if one.item is Item.PARTIAL_SUM_ADD}
    assert widths == {2 + 1}, "codes of 2 bits, two blocks of rows"


def test_a_cut_layer_by_hand() -> None:
    """3 arrays: the first layer in parts of 3 and 1, cut in its second block of columns, of 4: one output.

    Its three sums wait in each step, that one is read and written once more. Width: 2-bit codes, 2 blocks, 4 slices, 8
    input bits. The last layer joins the second part.
    """
    graph = still_network()
    mapping = map_graph(graph, with_budget(3))
    assert mapping.reload is not None
    parts = [[(part.layer, part.first, part.pes) for part in group] for group in mapping.reload.groups]
    assert parts == [[(FIRST, 0, 3)], [(FIRST, 3, 1), (LAST, 0, 2)]]
    assert mapping.reload.crossings == ()
    width = 2 + 1 + 3 + 7
    found = steps(mapping, graph)
    bits = 12 * 4 + 6 * 4
    assert found["shared", Item.BUFFER_WRITE] == (bits + 4 * width, 4 * width, 4 * width)
    counts = count(mapping, assume(graph, rate=0.5, time_steps=3))
    inputs = 4 * 8 + 3
    assert counts.built(Item.BUFFER_BIT) == inputs + 3 * width * 3, "both layers are there in the second group"


def test_a_held_layer_that_is_cut_waits_once() -> None:
    hardware = with_budget(3)
    held = with_sections(hardware, buffers={"constant_input": "hold"})
    graph = still_network()
    mapping = map_graph(graph, held, constant_steps=3)
    width = 2 + 1 + 3 + 7
    assert steps(mapping, graph)["shared", Item.BUFFER_READ] == (12 * 4 + 6 * 4 + 4 * width, 0, 0)


def test_time_of_a_batch_by_hand() -> None:
    """Loads: tiles of 2 arrays of 2 rows of 20 ns, 80 ns, against 48 and 24 bits of a hundredth of a ns.

    Then each group runs 3 steps of 4 samples: one read of 8 and 1 input bits, then its neurons, layer by layer.
    """
    hardware = with_budget(4, samples=4)
    mapping = map_graph(still_network(), hardware)
    once = {one.node: one.time_ns for one in schedule(map_graph(still_network(), with_budget(6)), time_steps=3)}
    found = timeline(mapping, time_steps=3)
    assert found.latency_ns == pytest.approx(2 * 80 + 4 * sum(once.values()))
    assert found.interval_ns == pytest.approx(found.latency_ns / 4)
    slow = {"weight_fetch": {"latency_ns": 10, "energy_pj": 1, "source": "this test"}}
    slower = HardwareSpec.model_validate({**hardware.model_dump(), "costs": {**hardware.costs, **slow}})
    fetched = timeline(map_graph(still_network(), slower), time_steps=3)
    assert fetched.latency_ns == pytest.approx(480 + 240 + 4 * sum(once.values()))
    cut = timeline(map_graph(still_network(), with_budget(3)), time_steps=3)
    assert cut.latency_ns == pytest.approx(2 * 80 + sum(once.values()) + once[FIRST]), (
        "every position once for each part"
    )


class Loaded(NamedTuple):
    """An array of a layer: kernel position, and the PE it belongs to: pack, block of columns, block of rows."""

    kernel: int
    pe: tuple[int, int, int]


def arrays_by_hand(graph: IntGraph, hardware: HardwareSpec) -> dict[str, dict[Loaded, int]]:
    """Every array of each layer with its cells, cell by cell."""
    found: dict[str, dict[Loaded, int]] = {}
    for node in graph.all_synapses:
        cells: dict[Loaded, int] = {}
        for kernel, pack, row_block, column_block, _, _, _ in place_cells(node, hardware.crossbar):
            place = Loaded(kernel, (pack, column_block, row_block))
            cells[place] = cells.get(place, 0) + 1
        found[node.name] = cells
    return found


def groups_by_hand(arrays: dict[str, dict[Loaded, int]], budget: int) -> list[dict[str, list[tuple[int, int, int]]]]:
    """One PE after the other onto free arrays; a layer begins on a cleared chip where it does not fit the free ones."""
    groups: list[dict[str, list[tuple[int, int, int]]]] = []
    free = 0
    for name, cells in arrays.items():
        pes = sorted({one.pe for one in cells})
        size = len(cells) // len(pes)
        if len(cells) > free or not groups:
            groups.append({})
            free = budget
        for pe in pes:
            if size > free:
                groups.append({})
                free = budget
            groups[-1].setdefault(name, []).append(pe)
            free -= size
    return groups


def finished_by_hand(graph: IntGraph, groups: Sequence[dict[str, list[tuple[int, int, int]]]]) -> dict[str, int]:
    """The group in which each node has its result: as soon as what it reads has, and its whole layer was loaded."""
    done: dict[str, int] = {}
    last = {name: index for index, group in enumerate(groups) for name in group}
    for index in range(len(groups)):
        for node in graph:
            layer = node.recurrent_synapse.name if isinstance(node, IntRecurrentNeuron) else node.name
            if node.name not in done and last.get(layer, index) <= index and all(one in done for one in node.inputs):
                done[node.name] = index
    return done


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_reloading_counts_equal_arrays_loaded_one_by_one(data: st.DataObject) -> None:
    """Cells written, bits fetched and what crosses, against cells placed singly and nodes run as they become ready."""
    graph = data.draw(weighted_graphs().filter(lambda one: not one.of_type(IntRecurrentNeuron)))
    encoding, mapping_kind = data.draw(st.sampled_from(ENCODINGS)), data.draw(st.sampled_from(MAPPINGS))
    samples = data.draw(st.integers(1, 3))
    hardware = with_budget(1, samples=samples, rows=4, encoding=encoding, mapping=mapping_kind)
    arrays = arrays_by_hand(graph, hardware)
    pe_sizes = [len(cells) // len({one.pe for one in cells}) for cells in arrays.values()]
    once = sum(map(len, arrays.values()))
    if once <= max(pe_sizes):
        return
    budget = data.draw(st.integers(max(pe_sizes), once - 1))
    mapping = map_graph(graph, with_sections(hardware, duplication={"arrays": budget}))
    assert mapping.reload is not None and mapping.arrays <= budget
    groups, time_steps = groups_by_hand(arrays, budget), graph.time_steps or 2
    assert [{part.layer: part.pes for part in group} for group in mapping.reload.groups] == [
        {name: len(pes) for name, pes in group.items()} for group in groups
    ]
    found = steps(mapping, graph, time_steps)
    for node in graph.all_synapses:
        cells = sum(arrays[node.name].values())
        assert found[node.name, Item.CELL_WRITE][0] == pytest.approx(cells / samples)
        fetched = node.weight.size * math.ceil(node.bit_width)
        assert found[node.name, Item.WEIGHT_FETCH][0] == pytest.approx(fetched / samples)
    done, proved = finished_by_hand(graph, groups), bounds(graph)
    written = read = 0
    for writer in graph:
        readers = {
            index
            for other in graph
            if writer.name in other.inputs
            for index in ([i for i, group in enumerate(groups) if other.name in group] or [done[other.name]])
        }
        later = {index for index in readers if index > done[writer.name]}
        bits = math.prod(writer.shape) * word_bits(proved[writer.name])
        if later and not isinstance(writer, IntInput):
            written, read = written + bits, read + bits * len(later)
    assert sum(one.bits for one in mapping.reload.crossings) == written
    assert sum(one.bits * len(one.readers) for one in mapping.reload.crossings) == read


def test_loading_shows_in_energy_latency_and_edap_and_a_batch_shares_it() -> None:
    graph = residual_graph()
    activity = assume(graph, rate=0.2, time_steps=2)
    shipped = hardware_spec("rram_64x64_65nm")

    def report(arrays: int | None, samples: int = 1) -> HardwareReport:
        return estimate(
            graph, activity, with_sections(shipped, duplication={"arrays": arrays}, reload={"samples": samples})
        )

    whole, once, batch = report(None), report(3), report(3, samples=10)
    loads = [part for part in once.energy if part.group == "weight_loading"]
    assert {part.component for part in loads} == {"weight_fetch", "cell_write"}
    assert once.energy_pj > whole.energy_pj + sum(part.energy_pj for part in loads)
    assert once.latency_ns > whole.latency_ns and once.edap_pj_ns_um2 > 0
    assert whole.energy_pj < batch.energy_pj < once.energy_pj
    assert batch.latency_ns > once.latency_ns and batch.interval_ns < once.interval_ns
    assert batch.power_mw == pytest.approx(10 * batch.energy_pj / batch.latency_ns)
    assert once.area_um2 < whole.area_um2
    first, turns = (one.programming for one in (whole, batch))
    assert isinstance(first, Programming) and isinstance(turns, Programming)
    assert (first.groups, first.inference_energy_pj) == (1, 0)
    assert turns.inference_energy_pj == pytest.approx(turns.energy_pj / 10)
    assert any("take turns" in note for note in batch.notes)


def test_the_first_load_and_the_wear_by_hand() -> None:
    """72 bits and cells at the prices of the description; two groups wear a cell twice in a batch of 4."""
    hardware = with_budget(4, samples=4)
    found = estimate(still_network(), assume(still_network(), rate=0.5, time_steps=3), hardware)
    load = found.programming
    assert isinstance(load, Programming) and load.wear is not None
    assert (load.weight_bits, load.cells, load.time_ns) == (72, 72, 160)
    buffers, hops = 0.17383 + 0.22957, 2 * 0.081016 * 2.0664
    assert load.energy_pj == pytest.approx(72 * (20 + 1.2 + buffers + hops))
    assert load.wear.inferences == (1e4 * 4 / 2, 1e9 * 4 / 2)
    assert load.wear.years is not None
    assert load.wear.years[0] == pytest.approx(20000 * found.interval_ns * 1e-9 / (365.25 * 86400))
    assert "groups of layers take turns" in " ".join(programming_in_words(found))


def batch_report(samples: int, *, arrays: int | None = 4) -> HardwareReport:
    graph = still_network()
    hardware = with_sections(with_budget(4, samples=samples), duplication={"arrays": arrays})
    return estimate(graph, assume(graph, rate=0.5, time_steps=3), hardware)


def test_the_time_of_an_inference_in_a_batch_by_hand() -> None:
    """Two loads of 80 ns, then each of 4 samples runs both groups: of one inference 40 ns and its own work."""
    alone, batch, whole = batch_report(1), batch_report(4), batch_report(4, arrays=None)
    work = whole.latency_ns
    assert whole.batch == 1 and whole.inference_time_ns == work
    assert alone.inference_time_ns == alone.latency_ns == pytest.approx(160 + work)
    assert batch.latency_ns == pytest.approx(160 + 4 * work)
    assert batch.inference_time_ns == pytest.approx(40 + work)
    assert batch.edp_pj_ns == pytest.approx(batch.energy_pj * (40 + work))
    assert batch.edap_pj_ns_um2 == pytest.approx(batch.energy_pj * (40 + work) * batch.area_um2)
    assert batch.edp_pj_ns < alone.edp_pj_ns, "loads are shared"
    labels = {total.key: total.label for total in batch.shown_totals()}
    assert labels["latency_ns"] == "Latency of 4 inferences"
    assert labels["inference_time_ns"] == "Time per inference"
    assert "inference_time_ns" not in {total.key for total in alone.shown_totals()}
    for text in (summary_table(batch), to_markdown(batch), to_html(batch)):
        assert "Latency of 4 inferences" in text and "er inference" in text


def test_busy_shares_and_the_words_of_the_gantt_are_of_the_batch() -> None:
    """A node that works w ns in one inference works 4 w in a batch of 4; nothing overlaps, so loads take the rest."""
    batch = batch_report(4)
    busy = {one.node: one.time_ns for one in value_of(batch.latency)}
    page = to_html(batch)
    for node, time_ns in busy.items():
        if time_ns:
            assert f"{percent(4 * time_ns / batch.latency_ns, 1)} busy" in page, node
    assert 4 * sum(busy.values()) + 160 == pytest.approx(batch.latency_ns)
    assert "on the time of 4 inferences: of each group the first inference is drawn" in page
    alone = to_html(batch_report(1))
    assert "before each group of them its weights are loaded" in alone and "others after" not in alone
    assert "Layers take turns:" not in to_html(batch_report(1, arrays=None))


def test_a_batch_is_compared_by_its_time_per_inference() -> None:
    batch, whole = batch_report(4), batch_report(4, arrays=None)
    found = compare(batch, whole)
    assert found.figure("inference_time_ns").figure == batch.latency_ns / 4
    assert found.figure("inference_time_ns").against == whole.latency_ns
    assert any("share a load of weights: 4 against 1; times and EDAP" in text for text in found.assumptions)
    with pytest.raises(HardwareError, match="is not compared"):
        found.figure("latency_ns")
    assert compare(whole, whole).figure("latency_ns").words == "equal"


def test_sensitivities_of_a_batch_are_held_against_its_own_edap() -> None:
    """A price that changes energy alone leaves time and area: EDAP moves as the energy does."""
    batch = batch_report(4)
    (fetch,) = [one for one in batch.sensitivities if (one.price, one.quantity) == ("weight_fetch", "energy_pj")]
    assert fetch.doubled.inference_time_ns == batch.inference_time_ns
    moved = fetch.doubled.edap_pj_ns_um2 / batch.edap_pj_ns_um2
    assert moved == pytest.approx(fetch.doubled.energy_pj / batch.energy_pj) and moved > 1
    assert {one.outcome.batch for assumed in batch.assumptions for one in assumed.others} >= {4}


def test_explore_compares_the_time_per_inference_and_says_when_cells_are_worn_out() -> None:
    graph = still_network()
    activity = assume(graph, rate=0.5, time_steps=3)
    found = explore(graph, activity, with_budget(4, samples=4), space=DesignSpace(array_budget=(None, 4)))
    whole, batch = found.designs
    assert (whole.batch, batch.batch) == (1, 4) and whole.worn_out_after is None
    assert batch.worn_out_after == (1e4 * 4 / 2, 1e9 * 4 / 2)
    assert batch.inference_time_ns == batch.latency_ns / 4 > whole.latency_ns
    assert batch.edap_pj_ns_um2 == batch_report(4).edap_pj_ns_um2
    table = pareto_table(found)
    assert "time per inference us" in table and "4 inferences share each load" in table
    assert "1 design reloads weights: cells are worn out after 20000 to " in table.replace(",", "")
    assert f"{batch.inference_time_ns:.10g}" in csv_text(found)
    assert "latency us" in pareto_table(explore(graph, activity, with_budget(6), space=DesignSpace()))


def test_the_terminal_says_when_reloaded_cells_are_worn_out() -> None:
    assert "worn out after" in summary_table(batch_report(4))
    assert "Cells of this kind" not in summary_table(batch_report(4, arrays=None))


def test_copies_are_written_and_their_weights_fetched_once() -> None:
    graph, shipped = residual_graph(), hardware_spec("rram_64x64_65nm")
    activity = assume(graph, rate=0.2, time_steps=2)
    mapping = map_graph(graph, with_sections(shipped, duplication={"arrays": "+300%"}))
    once, found = (
        estimate(graph, activity, with_sections(shipped, duplication={"arrays": arrays})).programming
        for arrays in (None, "+300%")
    )
    assert isinstance(once, Programming) and isinstance(found, Programming)
    # weights of 4 and 5 bits on cells of 2
    cells = {node.name: node.weight.size * math.ceil(node.bit_width / 2) for node in graph.all_synapses}
    assert once.cells == sum(cells.values())
    assert found.cells == sum(layer.copies * cells[layer.name] for layer in mapping.layers) > once.cells
    assert found.weight_bits == once.weight_bits
    assert found.wear is not None and found.wear.years is None


def test_a_budget_of_area_by_hand() -> None:
    """2 drivers, 16 cells, 8 converters of 2 bits and their multiplexers an array."""
    hardware = with_budget(6)
    converter = hardware.cost(Item.ADC_CONVERSION)
    assert converter is not None
    bits2 = converter.at("area_um2", 2, name="adc_conversion")
    assert bits2 is not None
    each = 2 * 0.166015625 + 16 * 0.2028 + 8 * (bits2 + 45.9)
    assert array_um2(hardware) == pytest.approx(each)
    fits = map_graph(still_network(), with_budget(f"{6.5 * each * 1e-6:.9f} mm2"))
    assert fits.reload is None and fits.arrays == 6
    turns = map_graph(still_network(), with_budget(f"{4.5 * each * 1e-6:.9f}mm2"))
    assert turns.reload is not None and turns.arrays == 4


def test_a_budget_of_area_is_said_to_bound_the_arrays_alone() -> None:
    graph, each = still_network(), array_um2(with_budget(6))
    hardware, activity = with_budget(f"{4.5 * each * 1e-6:.9f} mm2"), assume(still_network(), rate=0.5, time_steps=3)
    report = estimate(graph, activity, hardware)
    (said,) = [note for note in report.notes if "area of the arrays alone" in note]
    assert f"these take {4 * each * 1e-6:.4g} mm2" in said and report.area_um2 > 4 * each
    budgets = DesignSpace(array_budget=(6, hardware.duplication.arrays))
    assert "A budget in mm2 is the area of the arrays alone" in pareto_table(
        explore(graph, activity, hardware, space=budgets)
    )
    assert not any("arrays alone" in note for note in batch_report(4).notes)


def test_explore_prices_reloading_as_an_estimate_does() -> None:
    graph = residual_graph()
    activity = assume(graph, rate=0.2, time_steps=2)
    shipped = hardware_spec("rram_64x64_65nm")
    space = DesignSpace(array_budget=(None, 3, 4, "0.06 mm2"), column_mux=(4, 8), adc_bits=("lossless", 6))
    found = explore(graph, activity, shipped, space=space)
    assert len(found.designs) == 16
    for design in found.designs:
        point = design.point
        described = with_sections(
            shipped,
            duplication={"arrays": point.array_budget},
            crossbar={"column_mux": point.column_mux, "adc_bits": point.adc_bits},
        )
        report = estimate(graph, activity, described)
        assert design.energy_pj == report.energy_pj
        assert design.area_um2 == report.area_um2
        assert design.latency_ns == report.latency_ns


def test_errors_say_what_one_copy_takes() -> None:
    graph = residual_graph()
    split = small_hardware(rows=64, columns=64, cell_bits=2)
    with pytest.raises(HardwareError, match=r"one PE of every layer: 9 arrays of .* \(got 8\)"):
        map_graph(graph, with_sections(split, duplication={"arrays": 8}))
    taken = map_graph(graph, split).arrays
    silent = split.model_copy(
        update={"costs": {name: cost for name, cost in split.costs.items() if name != "cell_write"}}
    )
    with pytest.raises(
        HardwareError, match=f"one copy of every layer, {taken:,} arrays .got 12.*no cell_write"
    ) as error:
        map_graph(graph, with_sections(silent, duplication={"arrays": 12}))
    assert "price cell_write" in error.value.hints[0]
    report = estimate(graph, assume(graph, rate=0.2, time_steps=2), silent)
    assert isinstance(report.programming, Unavailable) and "cell_write" in programming_in_words(report)[0]


def test_a_recurrent_layer_is_never_cut() -> None:
    from tests.support.hand_made_graphs import wide_hand_made_graphs

    graph = next(one for one in wide_hand_made_graphs().values() if one.of_type(IntRecurrentNeuron))
    node = graph.of_type(IntRecurrentNeuron)[0]
    hardware = with_budget(1, rows=1)
    arrays = next(one.arrays for one in map_graph(graph, with_sections(hardware, duplication={"arrays": None})).layers
                  if one.name == node.recurrent_synapse.name)  # fmt: skip
    assert arrays > 1
    with pytest.raises(HardwareError, match="the recurrent layer, which runs in every step"):
        map_graph(graph, with_sections(hardware, duplication={"arrays": arrays - 1}))
    turns = map_graph(graph, with_sections(hardware, duplication={"arrays": arrays}))
    assert turns.reload is not None
    assert timeline(turns, time_steps=2).latency_ns > 0
    assert replace(turns, reload=None).arrays > turns.arrays
