import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from intsnn.activity import assume, measure
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.baselines import estimate_baseline, named_baseline, named_baselines
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.graph import IntGraph
from intsnn.hardware.catalogue import Item
from intsnn.mapping.demand import Demand, demand_of
from intsnn.mapping.widths import of_one_width, with_membrane_bits, with_weight_bits
from intsnn.pictures import figure
from intsnn.report import comparison_picture
from intsnn.report.comparison import COMPARED, ComparedFigure, Comparison, Technologies, compare
from intsnn.report.comparison_picture import draw_comparison
from intsnn.report.words import readable
from tests.support.crossbar_by_hand import hardware_spec
from tests.support.intgraphs import GraphBuilder, random_input, residual_graph
from tests.support.narrowing import available
from tests.support.wide_graphs import graphs_of_any_length


@pytest.fixture(scope="module")
def graph() -> IntGraph:
    return residual_graph()


@pytest.fixture(scope="module")
def report(graph: IntGraph) -> HardwareReport:
    return estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")


def test_both_figures_and_their_ratio_stand_side_by_side(graph: IntGraph, report: HardwareReport) -> None:
    activity = measure(graph, [random_input(graph)])
    base = estimate_baseline(graph, activity, "rram_64x64_65nm", name="float32")
    found = compare(report, base, names=("4bit", "float32"), assumptions=named_baseline("float32").assumptions)
    assert [one.key for one in found.figures] == list(COMPARED)
    edap = found.figure("edap_pj_ns_um2")
    assert edap.figure == report.edap_pj_ns_um2 and edap.against == base.edap_pj_ns_um2
    assert edap.gain == base.edap_pj_ns_um2 / report.edap_pj_ns_um2 > 1
    tops = found.figure("dense_tops_per_w")
    assert tops.gain == report.dense_tops_per_w / base.dense_tops_per_w > 1
    table = found.table()
    edaps = [f"{readable(one.edap_pj_ns_um2 * 1e-15)} uJ us mm2" for one in (report, base)]
    assert f"| EDAP | {edaps[0]} | {edaps[1]} | {edap.gain:.2f}x lower |" in table
    assert f"| Area | {readable(report.area_um2 * 1e-6)} mm2 | {readable(base.area_um2 * 1e-6)} mm2 |" in table
    assert f"{edap.gain:.2f}x lower" in table and f"{tops.gain:.2f}x higher" in table
    for words in (
        "hardware: rram_64x64_65nm",
        "65 nm, 1 V, 250 MHz",
        "T: 4",
        "32-bit float is priced as a 32-bit integer",
    ):
        assert words in table
    document = json.loads(json.dumps(asdict(found.document())))
    assert document["figures"][0]["value"] == report.edap_pj_ns_um2


def test_a_copy_of_a_description_that_keeps_its_name_is_told_from_it(graph: IntGraph, report: HardwareReport) -> None:
    hardware = hardware_spec("rram_64x64_65nm")
    activity = measure(graph, [random_input(graph)])
    crossbar = hardware.crossbar.model_copy(update={"gating": "array"})
    gated = estimate(graph, activity, hardware.model_copy(update={"crossbar": crossbar}))
    words = "hardware DIFFERS: two descriptions, both named rram_64x64_65nm"
    assert words in compare(report, gated).table()
    assert words not in compare(report, estimate(graph, activity, hardware)).table()


def test_with_equal_operations_edap_is_the_product_of_the_other_two(graph: IntGraph, report: HardwareReport) -> None:
    """The check that MD-SNN's three published ratios do not pass: 2.64 * 6.19 = 16.3, not 14.85."""
    base = estimate_baseline(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm", name="float16")
    gains = [available(compare(report, base).figure(key).gain) for key in COMPARED[:3]]
    assert gains[0] == pytest.approx(gains[1] * gains[2])


def test_a_worse_design_is_said_to_be_worse(report: HardwareReport, graph: IntGraph) -> None:
    base = estimate_baseline(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm", name="float32")
    found = compare(base, report)
    assert found.figure("energy_pj").words.endswith("x higher")
    assert found.figure("dense_tops_per_w").words.endswith("x lower")
    assert found.figure("latency_ns").words == "equal"


def test_a_comparison_with_oneself_is_equal_everywhere(report: HardwareReport) -> None:
    assert {one.words for one in compare(report, report).figures} == {"equal"}


def test_other_technologies_are_refused_unless_told(graph: IntGraph, report: HardwareReport) -> None:
    other = estimate(graph, measure(graph, [random_input(graph)]), "rram_128x128_22nm")
    with pytest.raises(UsageError, match=r"65 nm, 1 V, 250 MHz and 22 nm, 0\.8 V, 400 MHz"):
        compare(report, other)
    found = compare(report, other, technologies=Technologies.ANY)
    assert any(line.startswith("technology DIFFERS") for line in found.assumptions)
    assert any(line.startswith("hardware DIFFERS") for line in found.assumptions)


def test_another_t_and_another_activity_are_said(graph: IntGraph, report: HardwareReport) -> None:
    other = estimate(graph, assume(graph, rate=0.1, time_steps=2), "rram_64x64_65nm")
    lines = compare(report, other).assumptions
    assert "T DIFFERS: 4 against 2" in lines
    assert any(line.startswith("activity DIFFERS: measured on 3 samples") for line in lines)


def test_a_figure_that_one_side_lacks_has_no_ratio(report: HardwareReport) -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((2, 8, 8)), 4)))
    build.readout(build.requant(build.linear(build.flatten(x), 3)))
    small = build.graph()
    tool = estimate(small, assume(small, rate=0.2, time_steps=4), "spikesim")
    found = compare(report, replace(tool, technology=report.technology))
    assert found.figure("latency_ns").words == "not available"
    assert asdict(found.document())["figures"][0]["gain"] is None
    assert "not available" in found.table()
    with pytest.raises(HardwareError, match="is not compared"):
        found.figure("power_mw")


def test_a_named_baseline_says_what_it_assumes() -> None:
    assert named_baselines() == ("float32", "float16", "int8")
    for name, bits in zip(named_baselines(), (32, 16, 8), strict=True):
        baseline = named_baseline(name)
        assert baseline.bits == bits and f"have {bits} bits each" in baseline.assumptions[1]
        assert ("float is priced as" in baseline.assumptions[-1]) == name.startswith("float")
    with pytest.raises(UsageError, match="no baseline 'bfloat16'"):
        named_baseline("bfloat16")


def test_rules_that_know_no_bits_have_no_baseline(graph: IntGraph) -> None:
    activity = assume(graph, rate=0.2, time_steps=2)
    with pytest.raises(UsageError, match="prices every bit width alike"):
        estimate_baseline(graph, activity, "spikesim", name="int8")


def test_one_width_by_hand(graph: IntGraph) -> None:
    """Weights, membranes, sums and operations of currents have 32 bits; inputs and counts of spikes keep theirs."""
    own, wide = demand_of(graph), of_one_width(demand_of(graph), 32)
    assert {layer.weight_bits for layer in wide.layers} == {32}
    assert [layer.input_bits for layer in wide.layers] == [layer.input_bits for layer in own.layers]
    for before, after in zip(own.digital, wide.digital, strict=True):
        if before.kind == "neuron":
            assert after.state_bits == 32 and {one.bits for one in after.operations} == {32}
        if before.kind == "requant":
            assert [(one.item, one.bits) for one in after.operations] == [
                (Item.REQUANTIZE_MULTIPLY, 32), (Item.REQUANTIZE_ADD, 32)
            ]  # fmt: skip
    kinds = [
        (before.kind, before.reads.value, before == after)
        for before, after in zip(own.digital, wide.digital, strict=True)
    ]
    assert ("pool", "values", True) in kinds and ("add", "values", True) in kinds
    assert ("add", "current", False) in kinds
    residual = next(node for node in wide.digital if node.kind == "add" and node.reads.value == "current")
    assert residual.waiting_bits == 32 * residual.elements


def test_other_weight_bits_move_accumulators_by_as_many(graph: IntGraph) -> None:
    own, narrow = demand_of(graph), with_weight_bits(demand_of(graph), 2)
    layers = {layer.name: layer for layer in own.layers}
    sources = {flow.name: flow.inputs for flow in own.flows}
    for before, after in zip(own.digital, narrow.digital, strict=True):
        source = sources[before.name][0]
        if source in layers:
            change = 2 - np.ceil(layers[source].weight_bits)
            assert [one.word for one in after.operations] == [max(1, one.word + change) for one in before.operations]
        else:
            assert after == before
    assert with_weight_bits(own, 4).digital[0].operations[0].by == own.digital[0].operations[0].by


def test_other_membrane_bits_move_states_and_currents(graph: IntGraph) -> None:
    own, wide = demand_of(graph), with_membrane_bits(demand_of(graph), 8)
    for before, after in zip(own.digital, wide.digital, strict=True):
        if before.kind == "neuron":
            assert after.state_bits == 8
            assert after.operations[0].word == before.operations[0].word + 8 - before.state_bits
    assert wide.layers == own.layers


def test_a_networks_own_widths_change_nothing() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((2, 6, 6)), 4, bit_width=4)), bit_width=6)
    build.readout(build.requant(build.linear(build.flatten(x), 3, bit_width=4)))
    own = demand_of(build.graph())
    assert with_weight_bits(own, 4) == own and with_membrane_bits(own, 6) == own


@pytest.mark.parametrize(("change", "value"), [(of_one_width, 0), (with_weight_bits, 65), (with_membrane_bits, 0)])
def test_a_width_out_of_range_is_an_error(graph: IntGraph, change: Callable[[Demand, int], Demand], value: int) -> None:
    with pytest.raises(UsageError, match="between 1 and 64"):
        change(demand_of(graph), value)


@settings(max_examples=20, deadline=None)
@given(graphs_of_any_length(), st.sampled_from(("rram_64x64_65nm", "sram_digital")))
def test_wider_words_never_cost_less(graph: IntGraph, hardware: str) -> None:
    x = random_input(graph, time_steps=2, samples=1)
    activity, demand = measure(graph, [x]), demand_of(graph)
    for change, widths in (
        (with_weight_bits, (2, 4, 8, 16)),
        (with_membrane_bits, (2, 6, 12)),
        (of_one_width, (8, 16, 32)),
    ):
        found = [estimate(graph, activity, hardware, demand=change(demand, bits)) for bits in widths]
        for one, more in itertools.pairwise(found):
            assert one.energy_pj <= more.energy_pj * (1 + 1e-12)
            assert one.area_um2 <= more.area_um2 * (1 + 1e-12)


@pytest.mark.parametrize("hardware", ["rram_64x64_65nm", "rram_128x128_22nm", "sram_digital", "spikesim_fixed"])
def test_float32_costs_more_than_float16_and_that_more_than_int8(graph: IntGraph, hardware: str) -> None:
    activity = assume(graph, rate=0.2, time_steps=2)
    energies = [estimate_baseline(graph, activity, hardware, name=name).energy_pj for name in named_baselines()]
    assert energies == sorted(energies, reverse=True) and len(set(energies)) == 3


@pytest.mark.parametrize("gains", [(0.897, 1.11), (0.00123, 0.5), (1.0, 52.3), (0.00789, 812.0), (0.345, 0.987)])
def test_no_number_of_the_picture_lies_on_its_frame(gains: tuple[float, float], tmp_path: Path) -> None:
    """Whatever the range of the gains, and however narrow long names make the axes."""
    measured: list[tuple[str, Bbox, Bbox]] = []

    @contextlib.contextmanager
    def kept(paths: Sequence[Path], *, title: str, width: float, height: float) -> Iterator[list[Axes]]:
        with figure(paths, title=title, width=width, height=height) as (axes,):
            yield [axes]
            frame = axes.get_window_extent()
            measured.extend((one.get_text(), one.get_window_extent(), frame) for one in axes.texts)

    one, two = (
        ComparedFigure(key, "Time per inference of all that there are", "ns", 1.0, gain, gain)
        for key, gain in zip(("latency_ns", "energy_pj"), gains, strict=True)
    )
    found = [Comparison("runs/4bit/model.onnx", name, (one, two), ()) for name in ("int8", "a run of a long name")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison_picture, "figure", kept)
        draw_comparison(found, [tmp_path / "comparison.png"])
    assert len(measured) == 4
    for text, box, frame in measured:
        assert frame.x0 < box.x0 and box.x1 < frame.x1, text
