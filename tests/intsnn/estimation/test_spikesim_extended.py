"""SpikeSim's formulas extended: the tool's figures where it gives any, slices and words by hand elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from intsnn.errors import HardwareError
from intsnn.estimation.spikesim.extended import ExtendedLayer, Widths, extended_layers, spikesim_extended
from intsnn.estimation.spikesim.rules import SpikeSimLayer
from tests.intsnn.estimation.test_spikesim import CASES, Case, exactly
from tests.support.intgraphs import GraphBuilder, dense_graph

AS_THE_TOOL = Widths(weight=4, membrane=22)
USUAL = {"device": "rram", "pe_per_tile": 8, "clock_mhz": 250, "cycles_per_pe": 26}
SHARED = [case for case in CASES if USUAL.items() <= case["setup"].items()]


def layers_of(case: Case) -> list[ExtendedLayer]:
    return [ExtendedLayer(SpikeSimLayer(*sizes), case["setup"]["kernel"]) for sizes in case["layers"]]


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case["name"])
def test_one_slice_of_one_kernel_has_the_tools_figures(case: Case) -> None:
    setup = case["setup"]
    found = spikesim_extended(layers_of(case), AS_THE_TOOL, time_steps=setup["time_steps"], crossbar=setup["crossbar"])
    assert found.energy_pj == exactly(case["total_pj"])
    if case["latency_ns"] is not None:
        assert found.latency_ns == exactly(case["latency_ns"])
    if case["area_um2"] is not None and len(case["layers"]) <= 5:
        assert found.area_um2 == exactly(case["area_um2"][-1])


def test_most_of_the_shared_cases_are_compared() -> None:
    assert len(SHARED) >= 30
    areas = [case for case in SHARED if case["area_um2"] is not None and len(case["layers"]) <= 5]
    assert len(areas) >= 5 and sum(case["latency_ns"] is not None for case in SHARED) >= 25


def test_slices_and_words_by_hand() -> None:
    """A 3 x 3 and a 1 x 1 layer of 64 channels on maps of 8, one step: 64 PE cycles each."""
    layers = [ExtendedLayer(SpikeSimLayer(64, 64, 8, 8), 3), ExtendedLayer(SpikeSimLayer(64, 64, 8, 8), 1)]
    whole = 157.12 + 4.64 + 5.096 + 397 + 8 * 0.2
    inside = 16 * 8 * 1.15e-6 + 64 * (2.03084 + 0.094245)
    cells = 8 * 1.76423
    one = spikesim_extended(layers, AS_THE_TOOL, time_steps=1)
    assert one.energy_pj == exactly(64 * (2 * (whole + inside) + 10 * cells))
    sliced = spikesim_extended(layers, Widths(32, 22), time_steps=1, slices="crossbar")
    assert sliced.energy_pj == exactly(64 * (2 * (whole + 8 * inside) + 8 * 10 * cells))
    copied = spikesim_extended(layers, Widths(32, 22), time_steps=1)
    assert copied.energy_pj == exactly(8 * one.energy_pj)
    assert copied.latency_ns == one.latency_ns == exactly((int(0.75 * 64 * 64) + 64 * 64) * 104)
    memories = 4 * 64 * 64 * 0.7391 * 22
    tile = one.area_um2 - memories
    assert copied.area_um2 == exactly(2 * tile + memories), "16 PEs on two tiles"
    words = spikesim_extended(layers, Widths(4, 4), time_steps=1, words="network")
    assert words.area_um2 == exactly(tile + 2 * 64 * 64 * 0.7391 * (4 + 1))
    assert one.operations == 2 * 64 * 64 * 64 * (9 + 1)
    assert one.edap_pj_ns_um2 == one.energy_pj * one.latency_ns * one.area_um2
    assert one.tops_per_w == one.operations / one.energy_pj
    assert one.tops_per_mm2 == 1e3 * one.operations / (one.latency_ns * one.area_um2)


def test_any_order_and_number_of_layers_is_taken() -> None:
    falling = [ExtendedLayer(SpikeSimLayer(channels, channels, 4, 4), 3) for channels in (128, 64, *(32,) * 14)]
    assert spikesim_extended(falling, AS_THE_TOOL, time_steps=2).area_um2 > 0
    build = GraphBuilder(np.random.default_rng(0))
    spikes = build.neuron(build.requant(build.conv(build.input((4, 8, 8)), 4)))
    build.readout(build.conv(spikes, 6))
    first, second = extended_layers(build.graph())
    assert first == ExtendedLayer(SpikeSimLayer(4, 4, 8, 8), 3)
    assert second == ExtendedLayer(SpikeSimLayer(4, 6, 8, 8), 3)


def test_what_no_formula_is_for_is_an_error() -> None:
    with pytest.raises(HardwareError, match="need a convolution"):
        extended_layers(dense_graph())
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.conv(build.input((4, 6, 5)), 4))
    with pytest.raises(HardwareError, match="square maps"):
        extended_layers(build.graph())
