"""The shipped descriptions beside figures from elsewhere: formulas, published numbers, other tools' output."""

import math
from pathlib import Path

import numpy as np
import pytest

import intsnn
from intsnn.activity import Activity, assume, measure
from intsnn.errors import HardwareError, InvalidFileError
from intsnn.estimation.costs import price_of
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.estimation.spikesim.rules import SpikeSimLayer, spikesim
from intsnn.graph import IntGraph
from intsnn.hardware import HardwareSpec, load_hardware, shipped_hardware
from intsnn.hardware.catalogue import Item
from tests.support.crossbar_by_hand import hardware_spec
from tests.support.descriptions import read_description
from tests.support.intgraphs import GraphBuilder, random_input, residual_graph
from tests.support.narrowing import available, components_of

FOLDER = Path(intsnn.__file__).parent / "hardware"
OWN_KIND = tuple(name for name in shipped_hardware() if name != "spikesim")


def component(report: HardwareReport, name: str) -> float:
    return math.fsum(part.energy_pj for part in report.energy if part.component == name)


@pytest.mark.parametrize("name", OWN_KIND)
def test_every_description_prices_every_network(name: str) -> None:
    graph = residual_graph()
    report = estimate(graph, measure(graph, [random_input(graph)]), name)
    assert report.energy_pj > 0 and report.latency_ns > 0 and report.area_um2 > 0
    assert all(entry.source for entry in report.provenance)
    assert set(hardware_spec(name).remarks) <= set(report.notes)


@pytest.mark.parametrize("name", OWN_KIND)
def test_every_price_names_its_source_and_every_excluded_item_its_reason(name: str) -> None:
    hardware = hardware_spec(name)
    for item in Item:
        cost = hardware.cost(item)
        if cost is None:
            known = len(hardware.excluded.get(item.value, "")) > 10
            assert known or not item.meaning.must_be_priced(hardware.crossbar, hardware.neuron), item
        else:
            assert len(cost.source) > 10


# --- spikesim_fixed -------------------------------------------------------------------------------------------------


def dense_conv(channels: int = 64, *, bit_width: float = 4) -> tuple[IntGraph, Activity]:
    """One 3x3 convolution without padding, all inputs active, T = 3: 8x8 -> 6x6 positions."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.conv(build.input((channels, 8, 8), bit_width=1), channels, padding=(0, 0), bit_width=bit_width)
    build.readout(x, mode="steps")
    graph = build.graph()
    return graph, assume(graph, rate=1.0, time_steps=3)


def test_a_dense_3x3_layer_of_64_channels_costs_in_spikesim_fixed_what_spikesim_says() -> None:
    """Crossbars, converters and multiplexers: the same constants, so equal where none of the mended faults matters."""
    report = estimate(*dense_conv(), "spikesim_fixed")
    (tool,) = spikesim([SpikeSimLayer(64, 64, 8, 6)], time_steps=3).layers
    theirs = {part.component: part.value for part in tool.energy_parts}
    assert component(report, "cell_read") == pytest.approx(theirs["crossbar"], rel=1e-9)
    assert component(report, "adc_conversion") == pytest.approx(theirs["adc"], rel=1e-9)
    assert component(report, "mux_switch") == pytest.approx(theirs["multiplexer"], rel=1e-9)


def test_areas_of_one_pe_in_spikesim_fixed_are_those_of_spikesim() -> None:
    """A PE of 3 x 3 arrays: crossbars, converters and multiplexers of SpikeSim's formula, per PE."""
    report = estimate(*dense_conv(), "spikesim_fixed")
    assert {piece.node for piece in available(report.area)}
    areas = {piece.component: piece.area_um2 for piece in available(report.area)}
    assert areas["cell_read"] == pytest.approx(9 * 26.2144, rel=1e-9)
    assert areas["adc_conversion"] == pytest.approx(8 * 693.633, rel=1e-9)
    assert areas["mux_switch"] == pytest.approx(8 * 45.9, rel=1e-9)
    assert areas["tile"] == pytest.approx(433660 + 6054.7072, rel=1e-9)


def test_mended_faults_are_seen() -> None:
    """Spikes, weight bits and array size enter; SpikeSim's own rules know none of them."""
    graph, dense = dense_conv()
    energy = estimate(graph, dense, "spikesim_fixed").energy_pj
    assert estimate(graph, assume(graph, rate=0.1, time_steps=3), "spikesim_fixed").energy_pj < energy
    assert estimate(*dense_conv(bit_width=8), "spikesim_fixed").energy_pj > 1.5 * energy


def vgg9() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((3, 32, 32), bit_width=1)
    for channels, pooled in ((64, 0), (64, 1), (128, 0), (128, 1), (256, 0), (256, 0), (256, 1)):
        x = build.neuron(build.requant(build.conv(x, channels)), leak=2, bit_width=4)
        x = build.pool(x, "max") if pooled else x
    build.readout(x)
    return build.graph()


def test_one_pe_cycle_a_position_gives_the_corrected_times_of_vgg9() -> None:
    """26 clocks of 4 ns a position, T = 5: 2752 positions serial, 1.43 ms; the busiest layer 1024 of them, 0.53 ms.

    SpikeSim's own rule gives 98 ms for the same network.
    """
    graph = vgg9()
    report = estimate(graph, assume(graph, rate=0.15, time_steps=5), "spikesim_fixed")
    layers = [busy.time_ns for busy in available(report.latency) if "conv" in busy.node]
    assert sum(layers) == pytest.approx(2752 * 104 * 5)
    assert report.timeline is not None and report.timeline.interval_ns == pytest.approx(1024 * 104 * 5)
    assert report.latency_ns < 1.1 * report.timeline.interval_ns


def test_every_mended_fault_is_listed() -> None:
    listed = [line for line in hardware_spec("spikesim_fixed").remarks if line.startswith("Mended")]
    assert len(listed) == 11
    for words in ("X/8", "every array", "active rows", "4-bit cells", "22 bits", "after pooling", "each neuron"):
        assert any(words in line for line in listed), words


# --- prices at 22 nm ------------------------------------------------------------------------------------------------


def stillmaker_22_nm() -> tuple[float, float]:
    """Energy at 0.8 V and area of logic at 22 nm over 32 nm, 22 nm between the paper's 20 and 32 nm."""

    def energy(a: float, b: float, c: float) -> float:
        return a * 0.64 + b * 0.8 + c

    at_32, at_20 = energy(0.9559, -0.7823, 0.471), energy(0.373, -0.1582, 0.04104)
    return (at_20 + (at_32 - at_20) / 6) / at_32, (0.14 + (0.31 - 0.14) / 6) / 0.31


@pytest.mark.parametrize("name", ["rram_128x128_22nm", "sram_digital", "sram_event_driven"])
def test_logic_at_22_nm_is_scaled_by_the_papers_polynomials(name: str) -> None:
    scaling = hardware_spec(name).components["adder"].scaling
    assert scaling is not None
    assert (scaling.energy, scaling.area) == pytest.approx(stillmaker_22_nm(), abs=5e-5)


# --- sram_digital ---------------------------------------------------------------------------------------------------


MACRO = ("row_activation", "cell_read", "adder_tree_add", "shift_add", "sign_subtract", "popcount_add")


def digital_macro() -> HardwareReport:
    """256 rows of 64 4-bit weights, 4-bit inputs: arrays, trees and shift-adders of sram_digital, as one layer."""
    hardware = hardware_spec("sram_digital")
    crossbar = hardware.crossbar.model_copy(update={"rows": 256, "columns": 256})
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((256,), bit_width=4), 64), mode="steps")
    graph = build.graph()
    x = np.random.default_rng(0).integers(0, 16, (1, 4, 256))
    return estimate(graph, measure(graph, [x]), hardware.model_copy(update={"crossbar": crossbar}))


def test_a_digital_macro_has_the_efficiency_and_density_of_a_published_one_within_half_and_four_from_below() -> None:
    """Chih et al., ISSCC 2021, pp. 252-254, doi 10.1109/ISSCC42613.2021.9365766: 89 TOPS/W and 16.3 TOPS/mm2 at 22 nm.

    The two figures are those of the paper's title; that they are for 4-bit inputs and weights on 256 x 64 of them is an
    assumption of this test. Below: adders of a tree have the width of their
    result, and a clock to accumulate follows each tree's.
    """
    report = digital_macro()
    energy_pj = math.fsum(component(report, name) for name in MACRO)
    area_um2 = math.fsum(piece.area_um2 for piece in available(report.area) if piece.component in MACRO)
    (layer,) = (busy for busy in available(report.latency) if "linear" in busy.node)
    tops_per_w = report.dense_operations / energy_pj
    tops_per_mm2 = report.dense_operations / layer.time_ns * 1e3 / area_um2
    assert 89 / 1.5 < tops_per_w < 89
    assert 16.3 / 4 < tops_per_mm2 < 16.3


def test_an_accumulation_at_22_nm_costs_what_another_model_says_of_words_between_16_and_32_bits() -> None:
    """Yan et al. 2024 (arXiv:2409.08290), 22 nm: 0.05448 pJ for the accumulation of a synaptic operation."""
    low, high = (
        price_of(Item.PARTIAL_SUM_ADD, "energy_pj", hardware_spec("sram_digital"), bits=bits) for bits in (16, 32)
    )
    assert low is not None and high is not None and low < 0.05448 < high


def test_a_digital_chip_has_no_converter_and_is_exact() -> None:
    graph = residual_graph()
    report = estimate(graph, measure(graph, [random_input(graph)]), "sram_digital")
    assert not {"adc_conversion", "mux_switch"} & components_of(report)
    assert component(report, "adder_tree_add") > 0
    assert {"adc_conversion", "mux_switch"} <= {entry.effect for entry in report.not_modelled}
    assert not any("does not compute the graph's integers" in note for note in report.notes)


# --- sram_event_driven ----------------------------------------------------------------------------------------------


ROWS_READ = ("row_activation", "cell_read", "accumulate_add", "accumulate_store")


def test_rows_that_are_not_read_cost_nothing_as_in_a_published_macro() -> None:
    """IMPULSE (arXiv:2105.08217): 97.4 % less energy x delay at 85 % sparsity; each falls to sqrt(0.026) = 0.161.

    Here the energy of what is read falls to 0.15; the time stays, which every description of ours says.
    """
    graph, dense = dense_conv()
    sparse = assume(graph, rate=0.15, time_steps=3)
    every, some = (estimate(graph, activity, "sram_event_driven") for activity in (dense, sparse))
    left = math.fsum(component(some, name) for name in ROWS_READ) / math.fsum(
        component(every, name) for name in ROWS_READ
    )
    assert left == pytest.approx(0.15) and left == pytest.approx(math.sqrt(1 - 0.974), rel=0.1)
    assert some.latency_ns == every.latency_ns


@pytest.mark.parametrize("rate", [0.012, 0.049])
def test_a_synaptic_operation_of_an_event_driven_chip_costs_within_two_what_a_published_one_takes(rate: float) -> None:
    """SNE (arXiv:2204.10687): 0.221 pJ, the whole chip, 4-bit weights, 1.2 and 4.9 % of inputs. Ours: VGG9."""
    graph = vgg9()
    report = estimate(graph, assume(graph, rate=rate, time_steps=5), "sram_event_driven")
    assert 0.221 / 2 < report.energy_pj / report.effective_operations < 0.221 * 2


# --- rules of descriptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("sram_digital", "  adc_bits: lossless ", "  adc_bits: 4 ", "an adder tree sums exactly"),
        ("sram_digital", "  adder_tree_add: tree_adder\n", "", "adder_tree_add is neither priced nor excluded"),
        ("sram_event_driven", "  adc_bits: lossless ", "  adc_bits: 4 ", "an accumulator sums exactly"),
        (
            "sram_event_driven",
            "  joining: at_array ",
            "  joining: after_sum ",
            "joining must be at_array (got after_sum)",
        ),
        ("sram_event_driven", "  column_mux: 1 ", "  column_mux: 2 ", "column_mux must be 1 (got 2)"),
        ("sram_event_driven", "  accumulate_store: register\n", "", "accumulate_store is neither priced nor excluded"),
        ("sram_event_driven", "encoding: twos_complement", "encoding: analog_differential", "an accumulator has none"),
        ("sram_digital", "rule: row_pipeline", "rule: pipelined", "must be one of"),
        ("rram_64x64_65nm", "  pe_transfer: bus\n", "", "pe_transfer is neither priced nor excluded"),
        ("rram_64x64_65nm", "hops: 1", "hops: ring", "interconnect.hops"),
        ("rram_64x64_65nm", "floorplan:\n  factor: 1\n", "floorplan:\n  factor: 0.9\n", "floorplan.factor"),
        ("rram_64x64_65nm", "floorplan:\n  factor: 1\n  source: ", "remarks:\n  - ", "floorplan: this key is required"),
        ("rram_64x64_65nm", "gating: none", "gating: rows", "must be one of"),
        ("rram_64x64_65nm", "tile: {pe: 8}", "tile: {pe: 8}\nduplication: {arrays: 0}", "duplication.arrays"),
    ],
)
def test_a_faulty_description_is_an_error(tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.count(old) == 1, old
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InvalidFileError) as error:
        load_hardware(path)
    assert message in str(error.value)


def test_a_floorplan_factor_multiplies_the_area_of_the_chip_and_nothing_else(tmp_path: Path) -> None:
    text = (FOLDER / "rram_64x64_65nm.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("floorplan:\n  factor: 1\n", "floorplan:\n  factor: 4.2\n"))
    graph = residual_graph()
    activity = assume(graph, rate=0.1, time_steps=2)
    plain, placed = (estimate(graph, activity, hardware) for hardware in ("rram_64x64_65nm", path))
    assert placed.floorplan_um2 == 4.2 * plain.floorplan_um2 == 4.2 * plain.area_um2
    assert (placed.area_um2, placed.energy_pj, placed.latency_ns) == (plain.area_um2, plain.energy_pj, plain.latency_ns)


@pytest.mark.parametrize("name", shipped_hardware())
def test_every_description_says_what_it_adds_between_its_components_and_why(name: str) -> None:
    assert len(load_hardware(name).floorplan.source) > 10


def test_a_description_with_converters_need_not_price_trees(tmp_path: Path) -> None:
    """Descriptions that were written before there were trees stay valid."""
    text = (FOLDER / "rram_64x64_65nm.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(line for line in text.split("\n") if "adder_tree_add" not in line))
    assert isinstance(load_hardware(path), HardwareSpec)


def test_a_description_whose_pes_are_single_arrays_need_not_price_a_bus_inside_them(tmp_path: Path) -> None:
    text = (FOLDER / "sram_digital.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(line for line in text.split("\n") if "pe_transfer" not in line))
    graph = residual_graph()
    activity = assume(graph, rate=0.1, time_steps=1)
    assert estimate(graph, activity, path).energy_pj == estimate(graph, activity, "sram_digital").energy_pj


def test_a_converter_outside_the_table_is_an_error_in_every_estimate() -> None:
    hardware = hardware_spec("rram_128x128_22nm")
    crossbar = hardware.crossbar.model_copy(update={"rows": 1024})
    graph = residual_graph()
    with pytest.raises(HardwareError, match="from 1 to 10 bits \\(got 12\\)"):
        estimate(graph, assume(graph, rate=0.1, time_steps=1), hardware.model_copy(update={"crossbar": crossbar}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("costs.mux_switch.energy_pj=1e308", "costs.mux_switch.energy_pj: must be at most 1e\\+30"),
        ("components.adder.scaling.energy=1e308", "components.adder.scaling.energy: must be at most 1e\\+30"),
        ("technology.clock_mhz=1e-320", "technology.clock_mhz: must be at least 1e-30"),
        ("costs.mux_switch.energy_pj=[]", "costs.mux_switch.energy_pj: must have one number for each of `bits`"),
    ],
)
def test_a_price_that_overflows_a_report_or_is_none_is_an_error_in_the_file(change: str, said: str) -> None:
    """A sum of energies overflowed, the JSON of a report held an infinity, and an estimate ended in an assertion."""
    with pytest.raises(InvalidFileError, match=said):
        read_description("rram_64x64_65nm", change)
