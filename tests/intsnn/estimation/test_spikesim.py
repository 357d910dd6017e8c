import json
import math
from functools import cache
from typing import Any, TypedDict

import numpy as np
import pytest

from intsnn.activity import assume
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.spikesim.rules import SpikeSimLayer, SpikeSimReport, spikesim
from intsnn.graph import IntGraph, Sizes
from intsnn.report import summary_table, to_json, to_markdown
from tests.support.intgraphs import GraphBuilder
from tests.support.narrowing import present
from tests.support.paths import DATA


class Setup(TypedDict):
    """The arguments of a case, by the words of `spikesim`."""

    crossbar: int
    kernel: int
    time_steps: int
    device: str
    pe_per_tile: int
    clock_mhz: float
    cycles_per_pe: int


class Case(TypedDict):
    """What the unmodified tool says of a list of layers; area: membranes, PEs and signs, digital, all."""

    name: str
    layers: list[list[int]]
    setup: Setup
    energy_pj: list[float]
    total_pj: float
    area_um2: list[float] | None
    latency_ns: float | None
    n_pe: float
    n_tiles: float
    edap_pj_ns_um2: float | None


CASES: list[Case] = json.loads((DATA / "spikesim_cases.json").read_text())["cases"]
KEYS = ("in_channels", "out_channels", "in_size", "out_size")
ONE = {"in_channels": 64, "out_channels": 64, "in_size": 8, "out_size": 8}


def exactly(value: float) -> object:
    return pytest.approx(value, rel=1e-12, abs=0)


def run_case(case: Case) -> SpikeSimReport:
    return spikesim([dict(zip(KEYS, layer, strict=True)) for layer in case["layers"]], **case["setup"])


def case_named(name: str) -> Case:
    return next(case for case in CASES if case["name"] == name)


def test_there_are_sixty_cases_and_all_kinds_of_failure_among_them() -> None:
    assert len(CASES) == 60
    assert sum(case["latency_ns"] is None for case in CASES) >= 3
    assert sum(case["area_um2"] is None for case in CASES) == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_energy_equals_the_unmodified_tool(case: Case) -> None:
    report = run_case(case)
    assert report.energy_pj == exactly(case["total_pj"])
    assert [layer.energy_pj for layer in report.layers] == [exactly(energy) for energy in case["energy_pj"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_area_and_counts_equal_the_unmodified_tool_or_raise_where_it_fails(case: Case) -> None:
    report = run_case(case)
    if case["area_um2"] is None:
        for name in ("n_tiles", "area_um2", "membrane_area_um2", "pe_and_sign_area_um2", "digital_area_um2"):
            with pytest.raises(HardwareError, match="PE counts never fall"):
                getattr(report, name)
        return
    parts = (report.membrane_area_um2, report.pe_and_sign_area_um2, report.digital_area_um2, report.area_um2)
    assert parts == tuple(exactly(area) for area in case["area_um2"])
    assert (report.n_pe, report.n_tiles) == (case["n_pe"], case["n_tiles"])
    assert math.fsum(layer.area_um2 for layer in report.layers) == exactly(report.area_um2)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_latency_equals_the_unmodified_tool_or_raises_where_it_fails(case: Case) -> None:
    report = run_case(case)
    if case["latency_ns"] is None:
        with pytest.raises(HardwareError, match="SpikeSim's latency rule"):
            _ = report.latency_ns
        return
    assert report.latency_ns == exactly(case["latency_ns"])
    assert sum(layer.latency_ns for layer in report.layers) == exactly(case["latency_ns"])
    if case["edap_pj_ns_um2"] is not None:
        assert report.energy_pj * report.latency_ns * report.area_um2 == exactly(case["edap_pj_ns_um2"])


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("bad_order_returns_None", "never falls from layer to layer"),
        ("vgg16_13conv_cp_list_too_short", "at most 12 layers \\(got 13\\)"),
        ("odd_channels_x128_T4_rram", "never ends unless one layer has Ci\\*Co >= 16384"),
    ],
)
def test_a_missing_latency_names_the_limit_of_the_original(name: str, limit: str) -> None:
    with pytest.raises(HardwareError, match=limit) as error:
        _ = run_case(case_named(name)).latency_ns
    assert error.value.hints


def test_one_layer_by_hand() -> None:
    """X = 64, g = 8, k = 1, T = 1: one PE, 4 positions, so 4 * E_PE; the constants are written out once more here."""
    report = spikesim([SpikeSimLayer(64, 64, 2, 2)], kernel=1, time_steps=1)
    e_pe = 157.12 + 4.64 + 5.096 + 397 + 8 * 0.2 + 16 * 8 * 1.15e-6 + 8 * (1.76423 + 8 * (2.03084 + 0.094245))
    assert report.energy_pj == exactly(4 * e_pe)
    assert report.latency_ns == exactly(4 * 64 * 104)
    assert (report.n_pe, report.n_tiles) == (1, 1)


def test_the_defaults_are_the_shipped_script() -> None:
    layers = case_named("vgg9_cifar_pooled_x64_T5_rram")["layers"]
    report = spikesim([SpikeSimLayer(*layer) for layer in layers])
    assert report.energy_pj == exactly(15906934.026240002)
    assert report.area_um2 == exactly(8425528.755833998)
    assert report.latency_ns == exactly(62832640.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crossbar": 0}, "crossbar must be an integer of at least 1 \\(got 0\\)"),
        ({"kernel": -3}, "kernel must be"),
        ({"time_steps": 2.0}, "time_steps must be"),
        ({"time_steps": True}, "time_steps must be"),
        ({"pe_per_tile": "8"}, "pe_per_tile must be"),
        ({"cycles_per_pe": 0}, "cycles_per_pe must be"),
        ({"clock_mhz": 0}, "clock_mhz must be a positive number"),
        ({"clock_mhz": math.nan}, "clock_mhz must be a positive number"),
        ({"clock_mhz": "fast"}, "clock_mhz must be a positive number"),
        ({"device": "flash"}, "device must be one of rram, sram \\(got 'flash'\\)"),
    ],
)
def test_a_bad_argument_is_an_error(arguments: dict[str, Any], message: str) -> None:  # Any: wrong types too
    with pytest.raises(UsageError, match=message):
        spikesim([ONE], **arguments)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({**ONE, "out_size": 0}, "layers\\[0\\].out_size must be an integer of at least 1"),
        ({**ONE, "in_channels": -1}, "layers\\[0\\].in_channels"),
        ({"in_channels": 3}, "layers\\[0\\] must have the keys"),
        ({**ONE, "stride": 1}, "layers\\[0\\] must have the keys"),
        ({}, "got none"),
        (SpikeSimLayer(0, 1, 1, 1), "layers\\[0\\].in_channels"),
    ],
)
def test_a_bad_layer_is_an_error(layer: SpikeSimLayer | dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spikesim([layer])


def test_no_layer_is_an_error() -> None:
    with pytest.raises(UsageError, match="at least one convolution"):
        spikesim([])


@cache
def vgg9(*, last: int = 256) -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((3, 32, 32))
    for channels, pooled in ((64, 0), (64, 1), (128, 0), (128, 1), (256, 0), (256, 0), (last, 1)):
        x = build.neuron(build.requant(build.conv(x, channels)))
        x = build.pool(x, "max") if pooled else x
    build.readout(build.requant(build.linear(build.flatten(x), 10)))
    return build.graph()


def test_a_graph_priced_by_spikesim_has_the_sizes_of_its_convolutions() -> None:
    """SpikingJelly 2.0's op counter, another program, gives 5 090 218.888 pJ for a step of this network."""
    graph = vgg9()
    report = estimate(graph, assume(graph, rate=0.1, time_steps=1), "spikesim")
    assert report.energy_pj == pytest.approx(5_090_218.888, abs=1e-3)
    case = case_named("vgg9_cifar_convdim_x64_T4_rram")
    report = estimate(graph, assume(graph, rate=0.1, time_steps=4), "spikesim")
    assert report.energy_pj == exactly(case["total_pj"])
    assert report.area_um2 == exactly(present(case["area_um2"])[3])
    assert report.latency_ns == exactly(present(case["latency_ns"]))
    assert report.edap_pj_ns_um2 == exactly(present(case["edap_pj_ns_um2"]))
    assert [node.kind for node in report.nodes] == ["conv"] * 7
    assert any("linear" in note for note in report.notes) and any("pooling" in note for note in report.notes)
    assert "Tiles, shared by the layers: 6." in report.notes


def test_spikesim_ignores_the_spike_rate_and_says_so() -> None:
    graph = vgg9()
    low, high = (estimate(graph, assume(graph, rate=rate, time_steps=2), "spikesim") for rate in (0.1, 0.5))
    assert low.energy_pj == high.energy_pj
    assert low.effective_operations < high.effective_operations
    assert any("spike rate" in note for note in low.notes)


def small_graph(
    *, kernel: Sizes = (3, 3), groups: int = 1, size: Sizes = (2, 8, 8), second_kernel: Sizes | None = None
) -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input(size), 4, kernel=kernel, groups=groups)))
    if second_kernel:
        x = build.conv(x, 4, kernel=second_kernel, padding=(0, 0))
        x = build.neuron(build.requant(x))
    build.readout(build.requant(build.linear(build.flatten(x), 3)))
    return build.graph()


def test_a_small_network_has_energy_and_area_but_no_latency_in_spikesim() -> None:
    graph = small_graph()
    report = estimate(graph, assume(graph, rate=0.2, time_steps=2), "spikesim")
    assert report.energy_pj > 0 and report.area_um2 > 0
    with pytest.raises(HardwareError, match="never ends"):
        _ = report.latency_ns
    document = json.loads(to_json(report))
    assert document["totals"]["latency_ns"] is None and document["latency"] is None
    assert "never ends" in document["unavailable"]["latency_ns"]
    assert "not available" in summary_table(report)
    assert "never ends" in to_markdown(report)


def test_falling_pe_counts_leave_energy_but_no_area_in_spikesim() -> None:
    graph = vgg9(last=64)
    report = estimate(graph, assume(graph, rate=0.2, time_steps=2), "spikesim")
    assert report.energy_pj > 0
    with pytest.raises(HardwareError, match="PE counts never fall"):
        _ = report.area_um2
    assert json.loads(to_json(report))["area"] is None
    assert "PE counts never fall" in to_markdown(report)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (small_graph(kernel=(3, 1)), "square kernels"),
        (small_graph(groups=2), "one group"),
        (small_graph(size=(2, 8, 6)), "square maps"),
        (small_graph(second_kernel=(1, 1)), "one kernel size \\(got 1, 3\\)"),
    ],
)
def test_a_graph_that_spikesim_cannot_describe_is_an_error(graph: IntGraph, message: str) -> None:
    with pytest.raises(HardwareError, match=message):
        estimate(graph, assume(graph, rate=0.2, time_steps=2), "spikesim")


def test_a_graph_without_convolutions_is_an_error_in_spikesim() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.requant(build.linear(build.input((5,)), 3)))
    graph = build.graph()
    with pytest.raises(HardwareError, match="no convolution"):
        estimate(graph, assume(graph, rate=0.2, time_steps=2), "spikesim")
