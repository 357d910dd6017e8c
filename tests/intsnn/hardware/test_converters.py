"""Converters by name and by formula: each shipped number from what its source publishes, and where a name may stand."""

import json
import math

import numpy as np
import pytest

from intsnn.activity import assume
from intsnn.errors import InvalidFileError, UsageError
from intsnn.estimation.costs import price_of
from intsnn.estimation.estimation import estimate
from intsnn.estimation.schedule import array_read_ns
from intsnn.exploration.design_space import DesignSpace
from intsnn.exploration.exploration import explore
from intsnn.hardware import HardwareSpec, with_converter
from intsnn.hardware.catalogue import Item, Quantity
from intsnn.hardware.converters import shipped_converters
from tests.intsnn.hardware.test_description_sources import murmann
from tests.support.crossbar_by_hand import hardware_spec
from tests.support.descriptions import read_description
from tests.support.intgraphs import residual_graph
from tests.support.narrowing import present
from tests.support.paths import DATA

ADC = json.loads((DATA / "hardware_components.json").read_text())["adc"]
SENSE_PJ = {22: 0.00212, 65: 0.01455}  # NeuroSim V1.4, CurrentSenseAmp.cpp compiled and run: a column of 188.9 kohm
SENSE_UM2 = {22: 9.0636, 65: 79.119}  # the same, areaUnit


def table(name: str, node_nm: float) -> dict[int, tuple[float, float]]:
    cost = shipped_converters()[name].tabled(node_nm)
    assert isinstance(cost.energy_pj, tuple) and isinstance(cost.area_um2, tuple) and cost.bits is not None
    return {int(bits): pair for bits, *pair in zip(cost.bits, cost.energy_pj, cost.area_um2, strict=True)}  # type: ignore[misc]  # pairs


@pytest.mark.parametrize("nm", [22, 65])
def test_the_survey_is_the_regression_from_four_bits_and_a_sense_amplifier_at_one(nm: int) -> None:
    found = table("survey", nm)
    assert sorted(found) == list(range(1, 11))
    for bits in range(4, 11):
        assert found[bits] == pytest.approx(murmann(bits, nm), rel=1e-9)
    assert found[1] == pytest.approx((SENSE_PJ[nm], SENSE_UM2[nm]), rel=1e-4)
    for part in (0, 1):  # two and three bits: equal ratios
        ratios = [found[bits + 1][part] / found[bits][part] for bits in (1, 2, 3)]
        assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-9)


def test_the_survey_follows_the_node_of_the_description_and_measured_converters_do_not() -> None:
    assert table("survey", 22) != table("survey", 65)
    assert table("jia_2020_65nm", 22) == table("jia_2020_65nm", 65)


# What the macros publish: energy of all conversions of a product over their number, area over the converters.
MEASURED = {
    "jia_2020_65nm": (65, 458 / 256, 0.497e6 / 256),
    "wang_2022_22nm": (22, 2 / 16.37572276 * 16 * 64 * 8 * 0.34 / (16 * 8), 0.13 * 0.124e6 / 16),
    "timely_65nm": (65, ADC["timely_65nm_tdc_8b"]["energy"], ADC["timely_65nm_tdc_8b"]["area"]),
}


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_a_measured_converter_costs_what_was_measured_and_other_widths_follow_the_survey(name: str) -> None:
    nm, energy_pj, area_um2 = MEASURED[name]
    found, survey = table(name, nm), {bits: murmann(bits, nm) for bits in range(4, 11)}
    assert found[8] == pytest.approx((energy_pj, area_um2), rel=1e-3)
    for bits in range(4, 11):
        for part in (0, 1):
            assert found[bits][part] / found[8][part] == pytest.approx(survey[bits][part] / survey[8][part], rel=1e-9)


def test_tables_are_their_sources_numbers() -> None:
    isaac = table("isaac_32nm", 32)
    for bits, published in ((8, "8b"), (6, "6b"), (5, "5b"), (4, "4b")):
        assert isaac[bits] == pytest.approx(tuple(ADC["isaac_32nm"][published]), rel=1e-4)
    step = ADC["neurram_130nm_per_step"]
    for bits, found in table("neurram_130nm", 130).items():
        assert found == pytest.approx((step["energy"] * bits, step["area"]))


@pytest.mark.parametrize(("nm", "slope_uw", "floor_uw"), [(65, 3.7506, 25.844), (22, 0.538, 4.3753)])
def test_neurosims_converter_is_its_formula_without_the_columns_current(
    nm: int, slope_uw: float, floor_uw: float
) -> None:
    """SarADC.cpp, LSTP: (slope * bits + floor) uW for bits + 1 ns."""
    hardware = with_converter(hardware_spec("rram_64x64_65nm"), f"neurosim_sar_{nm}nm")
    for bits in range(1, 11):
        found = price_of(Item.ADC_CONVERSION, "energy_pj", hardware, bits=bits)
        assert found == pytest.approx((slope_uw * bits + floor_uw) * (bits + 1) * 1e-3, rel=1e-3)
        assert hardware.latency_ns(Item.ADC_CONVERSION, bits) == bits + 1


@pytest.mark.parametrize("name", sorted(shipped_converters()))
def test_every_converter_prices_whole_ranges_and_never_less_for_more_bits(name: str) -> None:
    hardware = with_converter(hardware_spec("rram_64x64_65nm"), name)
    bits = present(present(hardware.cost(Item.ADC_CONVERSION)).bits)
    assert bits[-1] == 10 and bits[0] == (4 if name == "isaac_32nm" else 1)
    quantities: tuple[Quantity, ...] = ("energy_pj", "area_um2", "latency_ns")
    for quantity in quantities:
        prices = [present(price_of(Item.ADC_CONVERSION, quantity, hardware, bits=width)) for width in bits]
        assert prices == sorted(prices) and prices[0] > 0
    assert len(present(hardware.cost(Item.ADC_CONVERSION)).source) > 10


# --- where a name may stand ------------------------------------------------------------------------------------------


def test_a_component_of_the_description_goes_before_a_shipped_converter() -> None:
    price = "{bits: [8], energy_pj: [7], area_um2: [9], latency_ns: 3, interpolation: linear, source: mine, "
    price += "missing: {leakage_uw: none given}}"
    mine = read_description("rram_64x64_65nm", f"components.jia_2020_65nm={price}")
    assert price_of(Item.ADC_CONVERSION, "energy_pj", mine, bits=8) == 7


def test_a_survey_can_be_written_where_tables_stand() -> None:
    change = "costs.adc_conversion={survey: {node_nm: 32, rate_msps: 100}, source: the survey}"
    hardware = read_description("rram_64x64_65nm", change)
    assert price_of(Item.ADC_CONVERSION, "energy_pj", hardware, bits=8) == pytest.approx(murmann(8, 32)[0])
    assert array_read_ns(hardware, rows=1) == 96


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("costs.adc_conversion=jia_202_65nm", "there is no converter 'jia_202_65nm'"),
        ("costs.mux_switch=jia_2020_65nm", "costs.mux_switch: there is no component 'jia_2020_65nm'"),
        ("costs.adc_conversion={survey: {rate_msps: 100}, energy_pj: 1, source: x}", "energy_pj must not stand"),
        ("costs.adc_conversion={survey: {rate_msps: 100}, missing: {leakage_uw: x}, source: x}", "missing must not"),
        ("costs.adc_conversion={survey: {rate_msps: 0}, source: x}", "rate_msps"),
        ("costs.adc_conversion={survey: {nm: 3}, source: x}", "nm"),
    ],
)
def test_what_names_no_price_is_an_error(change: str, message: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read_description("rram_64x64_65nm", change)
    assert message in str(caught.value), str(caught.value)


def test_the_hint_of_an_unknown_converter_has_the_near_name() -> None:
    with pytest.raises(UsageError) as caught:
        with_converter(hardware_spec("rram_64x64_65nm"), "timely")
    assert any("timely_65nm" in hint for hint in caught.value.hints)
    assert not any("adder" in hint for hint in caught.value.hints), "an adder is no converter"
    with pytest.raises(UsageError, match="has no converters to price"):
        with_converter(hardware_spec("sram_digital"), "timely_65nm")


def test_an_explored_converter_that_there_is_not_is_refused_as_by_an_estimate() -> None:
    """Beside others that there are, too: a misspelled name is no design that was left out."""
    graph, hardware = residual_graph(), hardware_spec("rram_64x64_65nm")
    for name, message in (("timly_65nm", "there is no converter 'timly_65nm'"), ("adder", "must say its latency_ns")):
        with pytest.raises(UsageError, match=message) as explored:
            space = DesignSpace(converter=("survey", name))
            explore(graph, assume(graph, rate=0.2, time_steps=2), hardware, space=space)
        with pytest.raises(UsageError) as estimated:
            with_converter(hardware, name)
        assert (explored.value.message, explored.value.hints) == (estimated.value.message, estimated.value.hints)


def test_explored_converters_have_the_figures_of_an_estimate() -> None:
    """Time too: a NeuRRAM conversion takes a step for each bit."""
    graph = residual_graph()
    activity = assume(graph, rate=0.2, time_steps=2)
    names = tuple(shipped_converters())
    space = DesignSpace(converter=names, adc_bits=("lossless", 5))
    found = explore(graph, activity, hardware_spec("rram_64x64_65nm"), space=space)
    assert len(found.designs) == 2 * len(names)
    for design in found.designs:
        crossbar = {"crossbar.adc_bits": design.point.adc_bits, "costs.adc_conversion": design.point.converter}
        changes = [f"{key}={value}" for key, value in crossbar.items()]
        report = estimate(graph, activity, read_description("rram_64x64_65nm", *changes))
        expected = (report.energy_pj, report.latency_ns, report.area_um2)
        assert (design.energy_pj, design.latency_ns, design.area_um2) == pytest.approx(expected, rel=1e-12)
    steps = {d.point.adc_bits: d.latency_ns for d in found.designs if d.point.converter == "neurram_130nm"}
    assert steps["lossless"] > steps[5]
    energies = [d.energy_pj for d in found.designs if d.point.adc_bits == 5]
    assert len(set(np.round(energies, 3))) == len(names)


def test_an_array_waits_for_the_bits_of_its_converters() -> None:
    """130 nm: 10 ns + 8 columns of 8 steps of 300 ns + a clock of 4 ns, in whole clocks."""
    hardware = with_converter(hardware_spec("rram_64x64_65nm"), "neurram_130nm")
    assert isinstance(hardware, HardwareSpec)
    assert array_read_ns(hardware, rows=1) == math.ceil((10 + 8 * 8 * 300 + 4) / 4) * 4
