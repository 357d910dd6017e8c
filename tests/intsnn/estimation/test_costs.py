import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import assume, measure
from intsnn.errors import HardwareError
from intsnn.estimation.costs import LEAKAGE, price, price_of, totals
from intsnn.estimation.counts import EventCount, EventCounts, InstanceCount
from intsnn.estimation.estimation import estimate
from intsnn.estimation.events import count
from intsnn.estimation.schedule import array_read_ns, schedule
from intsnn.graph import IntGraph
from intsnn.hardware import HardwareSpec
from intsnn.hardware.catalogue import Item, Quantity
from intsnn.hardware.chip import Encoding, Gating, KernelMapping
from intsnn.mapping import map_graph
from tests.support.crossbar_by_hand import hardware_spec, plain_hardware, small_hardware
from tests.support.intgraphs import GraphBuilder, dense_graph, random_input, residual_graph
from tests.support.narrowing import available, components_of, present
from tests.support.wide_graphs import graphs_of_any_length, weighted_graphs

HARDWARE = hardware_spec("rram_64x64_65nm")
PRICED_BY_WIDTH = [item for item in Item if item.meaning.by_width and item is not Item.MEMBRANE_OPERATION]


def with_costs(**costs: object) -> HardwareSpec:
    return HardwareSpec.model_validate({**HARDWARE.model_dump(), "costs": {**HARDWARE.model_dump()["costs"], **costs}})


def without(*names: str) -> HardwareSpec:
    costs = {name: cost for name, cost in HARDWARE.model_dump()["costs"].items() if name not in names}
    excluded = dict.fromkeys(names, "left out by this test")
    return HardwareSpec.model_validate({**HARDWARE.model_dump(), "costs": costs, "excluded": excluded})


def test_a_price_is_the_published_number_times_the_scaling_factor() -> None:
    assert price_of(Item.PARTIAL_SUM_TRANSFER, "energy_pj", HARDWARE) == pytest.approx(0.054 * 2.0664)
    assert price_of(Item.NEURON_ADD, "area_um2", HARDWARE, bits=8) == pytest.approx(22.176 * 3.2258)
    assert price_of(Item.NEURON_ADD, "leakage_uw", HARDWARE, bits=8) == pytest.approx(0.017)


@pytest.mark.parametrize(
    ("item", "bits", "published"),
    [
        (Item.NEURON_ADD, 4, 0.0218),
        (Item.NEURON_ADD, 6, (0.0218 + 0.0422) / 2),
        (Item.NEURON_ADD, 1, 0.0062 / 2),
        (Item.NEURON_ADD, 64, 0.1895 * 2),
        (Item.REQUANTIZE_MULTIPLY, 8, 0.2053),
        (Item.REQUANTIZE_MULTIPLY, math.sqrt((16 + 64) / 2), (0.0305 + 0.2053) / 2),
        (Item.REQUANTIZE_MULTIPLY, 1, 0.0039 / 4),
        (Item.REQUANTIZE_MULTIPLY, 64, 6.965 * 4),
    ],
)
def test_prices_between_and_beyond_tabled_widths_by_hand(item: Item, bits: float, published: float) -> None:
    assert price_of(item, "energy_pj", HARDWARE, bits=bits) == pytest.approx(published * 2.0664)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([item for item in Item if item.meaning.by_width and item is not Item.MEMBRANE_OPERATION]),
    st.floats(4, 10),
    st.floats(4, 10),
)
def test_a_wider_word_never_costs_less(item: Item, one: float, other: float) -> None:
    low, high = sorted((one, other))
    quantities: tuple[Quantity, ...] = ("energy_pj", "area_um2")
    for quantity in quantities:
        cheap, dear = (present(price_of(item, quantity, HARDWARE, bits=bits)) for bits in (low, high))
        assert 0 < cheap <= dear * (1 + 1e-12)


@pytest.mark.parametrize("bits", [0.5, 11])
def test_a_converter_outside_its_table_is_an_error(bits: float) -> None:
    with pytest.raises(HardwareError, match=f"from 1 to 10 bits \\(got {bits}\\)"):
        price_of(Item.ADC_CONVERSION, "energy_pj", HARDWARE, bits=bits)


def test_events_instances_and_leakage_by_hand() -> None:
    events = (EventCount("a", Item.CELL_READ, None, (100.0, 50.0)), EventCount("a", Item.NEURON_ADD, 8, (10.0, 10.0)))
    instances = (
        InstanceCount("a", Item.CELL_READ, None, 4096),
        InstanceCount("a", Item.NEURON_ADD, 8, 2),
        InstanceCount("b", Item.MEMBRANE_BIT, None, 1000),
    )
    prices = price(EventCounts(2, events, instances), HARDWARE, leaking_ns=5000)
    energy: dict[tuple[str, str], object] = {(part.node, part.component): part.steps_pj for part in prices.energy}
    assert energy == {
        ("a", "cell_read"): (pytest.approx(0.7062), pytest.approx(0.3531)),
        ("a", "neuron_add"): (pytest.approx(0.422 * 2.0664),) * 2,
        ("a", LEAKAGE): (pytest.approx(2 * 0.017 * 2500e-3),) * 2,
        ("b", LEAKAGE): (pytest.approx(1000 * 2.7122e-5 * 2500e-3),) * 2,
    }
    area = {(part.node, part.component): part.area_um2 for part in prices.area}
    assert area == {
        ("a", "cell_read"): pytest.approx(4096 * 0.2028),
        ("a", "neuron_add"): pytest.approx(2 * 22.176 * 3.2258),
        ("b", "membrane_bit"): pytest.approx(836.35),
    }


def test_totals_are_the_sums_of_all_parts_to_the_last_bit() -> None:
    """Several items leak at one node, one has no price, and steps differ."""
    graph = residual_graph()
    hardware = without("mux_switch")
    activity = measure(graph, [random_input(graph)])
    counts = count(map_graph(graph, hardware), activity)
    parts = price(counts, hardware, leaking_ns=12345.6)
    assert any(part.component == LEAKAGE for part in parts.energy)
    energy_pj, area_um2 = totals(counts, hardware, leaking_ns=12345.6)
    assert energy_pj == math.fsum(step for part in parts.energy for step in part.steps_pj)
    assert area_um2 == math.fsum(part.area_um2 for part in parts.area)


def test_nothing_costs_nothing() -> None:
    assert totals(EventCounts(2, (), ()), HARDWARE, leaking_ns=10.0) == (0.0, 0.0)


def test_an_excluded_item_has_no_part_and_the_report_says_why() -> None:
    graph = dense_graph()
    report = estimate(graph, assume(graph, rate=0.2, time_steps=2), without("mux_switch", "tile"))
    assert not {"mux_switch", "tile"} & components_of(report)
    assert {"mux_switch", "tile"} <= {entry.effect for entry in report.not_modelled}


def test_a_latency_without_the_time_of_a_read_is_an_error() -> None:
    graph = dense_graph()
    with pytest.raises(HardwareError, match="needs costs\\.adc_conversion\\.latency_ns"):
        estimate(graph, assume(graph, rate=0.2, time_steps=2), without("adc_conversion"))


def test_layers_run_one_after_another_by_hand() -> None:
    """250 MHz. A read: 10 + 8*10 + 4 = 94 ns -> 96 ns in whole clocks. 6 features of 8 bits, then 10 lanes."""
    assert array_read_ns(HARDWARE, rows=1) == 96
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.neuron(build.requant(build.linear(build.input((6,)), 100))))
    times = {busy.node: busy.time_ns for busy in schedule(map_graph(build.graph(), HARDWARE), time_steps=3)}
    assert times == {
        "layers.1.linear": 3 * 8 * 96,
        "layers.2.requant": 0,
        "layers.3.neuron": 3 * 2 * 4,
        "readout": 3 * 2 * 4,
    }


def test_a_read_that_is_whole_clocks_is_not_rounded_up() -> None:
    faster = with_costs(cell_read={**HARDWARE.model_dump()["costs"]["cell_read"], "latency_ns": 12.0})
    assert array_read_ns(faster, rows=1) == 96


def close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-12, abs_tol=0)


@settings(max_examples=30, deadline=None)
@given(weighted_graphs(), st.data())
def test_every_total_is_the_sum_of_its_parts(graph: IntGraph, data: st.DataObject) -> None:
    hardware = small_hardware(
        rows=data.draw(st.sampled_from((8, 16, 64))),
        columns=data.draw(st.sampled_from((8, 32))),
        cell_bits=2,
        encoding=data.draw(st.sampled_from(("offset", "differential"))),
        mapping=data.draw(st.sampled_from(("kernel_split", "im2col"))),
        gating=data.draw(st.sampled_from(("none", "array"))),
    )
    report = estimate(graph, measure(graph, [random_input(graph)]), hardware)
    assert close(report.energy_pj, sum(report.energy_per_step_pj))
    for key in ("node", "component", "group"):
        sums: dict[str, float] = {}
        for part in report.energy:
            sums[getattr(part, key)] = sums.get(getattr(part, key), 0) + part.energy_pj
        assert close(report.energy_pj, sum(sums.values()))
    area, latency = available(report.area), available(report.latency)
    assert close(report.area_um2, sum(part.area_um2 for part in area))
    assert close(report.latency_ns, sum(busy.time_ns for busy in latency))
    assert all(part.energy_pj >= 0 for part in report.energy) and report.energy_pj > 0
    assert all(busy.time_ns >= 0 for busy in latency) and report.latency_ns > 0
    assert all(part.area_um2 > 0 for part in area)
    nodes = {node.name for node in report.nodes}
    assert {part.node for part in report.energy} | {part.node for part in area} <= nodes


@settings(max_examples=20, deadline=None)
@given(graphs_of_any_length(), st.floats(0, 1), st.integers(1, 4))
def test_more_steps_cost_more_energy_and_time_and_no_area(graph: IntGraph, rate: float, time_steps: int) -> None:
    hardware = plain_hardware()
    short, long = (
        estimate(graph, assume(graph, rate=rate, time_steps=t), hardware) for t in (time_steps, time_steps + 1)
    )
    assert short.energy_pj < long.energy_pj
    assert close(long.latency_ns * time_steps, short.latency_ns * (time_steps + 1))
    assert short.area_um2 == long.area_um2


@pytest.mark.parametrize("mapping", ["kernel_split", "im2col"])
@pytest.mark.parametrize("encoding", ["offset", "differential"])
def test_more_weight_bits_cost_more_energy_and_area(encoding: Encoding, mapping: KernelMapping) -> None:
    reports = []
    for bits in (2, 4, 8):
        build = GraphBuilder(np.random.default_rng(0))
        x = build.neuron(build.requant(build.conv(build.input((3, 6, 6)), 70, bit_width=bits)))
        build.readout(build.requant(build.linear(build.flatten(x), 10, bit_width=bits)))
        hardware = small_hardware(rows=64, columns=64, cell_bits=2, encoding=encoding, mapping=mapping)
        reports.append(estimate(build.graph(), assume(build.graph(), rate=0.2, time_steps=2), hardware))
    energies, areas = [report.energy_pj for report in reports], [report.area_um2 for report in reports]
    assert energies == sorted(energies) and areas == sorted(areas)
    assert energies[0] < energies[-1] and areas[0] < areas[-1]


@pytest.mark.parametrize("gating", ["none", "array"])
def test_more_spikes_cost_more_energy(gating: Gating) -> None:
    graph = residual_graph()
    hardware = small_hardware(rows=64, columns=64, cell_bits=2, gating=gating, transport="smaller")
    energies = [
        estimate(graph, assume(graph, rate=rate, time_steps=2), hardware).energy_pj for rate in (0, 0.1, 0.3, 0.9)
    ]
    assert energies == sorted(energies) and energies[0] < energies[-1]


@pytest.fixture(scope="module")
def conv_network() -> IntGraph:
    """VGG9's convolutions on spikes of one bit."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((3, 32, 32), bit_width=1)
    for channels, pooled in ((64, 0), (64, 1), (128, 0), (128, 1), (256, 0), (256, 0), (256, 1)):
        x = build.neuron(build.requant(build.conv(x, channels)), leak=2, bit_width=4)
        x = build.pool(x, "max") if pooled else x
    build.readout(x)
    return build.graph()


@pytest.mark.parametrize(("rate", "neurosim_uj"), [(0.05, 4.236), (0.15, 4.364), (0.4, 4.610)])
def test_with_neurosims_converter_a_step_of_vgg9_costs_what_neurosim_says_within_two(
    conv_network: IntGraph, rate: float, neurosim_uj: float
) -> None:
    """DNN+NeuroSim V1.4, run on the same network: 64x64 arrays of 4-bit cells, 4-bit SAR converters, 65 nm."""
    shipped = HARDWARE.model_dump()
    converter = {
        "energy_pj": 0.147, "area_um2": 804.0, "latency_ns": 10.0, "missing": {"leakage_uw": "in the energy"},
        "source": "NeuroSim runs",
    }  # fmt: skip
    crossbar = {**shipped["crossbar"], "cell": {"kind": "rram", "bits": 4}, "adc_bits": 4}
    costs = {**shipped["costs"], "adc_conversion": converter}
    hardware = HardwareSpec.model_validate({**shipped, "crossbar": crossbar, "costs": costs})
    report = estimate(conv_network, assume(conv_network, rate=rate, time_steps=1), hardware)
    assert neurosim_uj / 2 < report.energy_pj * 1e-6 < neurosim_uj * 2
    assert any("4 bits, exact column sums need 10" in note for note in report.notes)
