"""The energy model beside DNN+NeuroSim's 27 recorded runs; benchmarks/neurosim_comparison.py writes the page."""

import pytest

from benchmarks.neurosim_22nm import CONVERSIONS, RATES, Reading, recorded_uj, report_at
from benchmarks.neurosim_comparison import ANCHORS, CONVERTERS, PAIRS, TRANSPORTS, Slope, Which, page, report_of, slopes
from benchmarks.neurosim_runs import recorded_runs
from intsnn.hardware.catalogue import Item
from tests.support.narrowing import present


def test_there_are_27_runs_and_two_kinds_that_cannot_be_compared() -> None:
    runs = recorded_runs()
    assert len(runs) == 27
    assert [run.name for run in runs if run.energy_pj is None] == ["65_x64_w32_r0.15"]
    assert {run.variant for run in runs if report_of(run, "anchored") is None} == {"htree"}


def test_every_parameter_of_the_bar_is_compared() -> None:
    assert {parameter for parameter, _, _ in PAIRS} == {
        "spike rate", "ADC bits", "cell bits", "weight bits", "array size"
    }  # fmt: skip


@pytest.mark.parametrize("slope", slopes("anchored"), ids=lambda slope: f"{slope.parameter}: {slope.low}, {slope.high}")
def test_with_anchored_prices_every_slope_has_neurosims_direction_and_is_within_two(slope: Slope) -> None:
    assert slope.holds, f"NeuroSim {slope.neurosim:+.3f}, ours {slope.ours:+.3f}, ratio {slope.ratio:.2f}"


def test_anchors_are_met_and_predictions_are_within_two() -> None:
    for run in recorded_runs():
        report = report_of(run, "anchored")
        if report is None or run.energy_pj is None:
            continue
        ratio = report.energy_pj / run.energy_pj
        assert (0.95 < ratio < 1.05) if run.name in ANCHORS else (0.5 < ratio < 2), run.name


def test_with_shipped_prices_every_slope_has_neurosims_direction_and_is_within_two() -> None:
    for slope in slopes("shipped"):
        assert slope.holds, f"{slope.parameter} from {slope.low}: ratio {slope.ratio:.2f}"


def test_no_other_price_of_converters_meets_more_slopes_than_the_shipped_one() -> None:
    priced: tuple[Which, ...] = ("shipped", *CONVERTERS)
    held = {which: sum(slope.holds for slope in slopes(which)) for which in priced}
    assert len(held) == 5 and max(held.values()) == held["shipped"] == 18


def test_the_bus_mends_the_slopes_of_adc_bits_and_joined_slices_those_of_cell_bits() -> None:
    missed = {which: [slope for slope in slopes(which) if not slope.holds] for which in TRANSPORTS}
    assert "ADC bits" in {slope.parameter for slope in missed["unpriced"]}
    assert "ADC bits" not in {slope.parameter for which in ("slices apart", "by length") for slope in missed[which]}
    assert {slope.parameter for slope in missed["slices apart"]} == {"cell bits"}


@pytest.mark.parametrize(("rate", "pulse", "sensing"), [(0.05, 2, 2), (0.15, 2.2, 2), (0.4, 3.1, 2.5)])
def test_at_22_nm_with_neurosims_arrays_and_converters_a_step_costs_about_what_neurosim_says(
    rate: float, pulse: float, sensing: float
) -> None:
    """`sensing`: cells conduct for the 5 ns of NeuroSim's converter, not the 10 ns of the description's."""
    assert rate in RATES
    factors: dict[Reading, float] = {"pulse": pulse, "sensing": sensing}
    for reading, factor in factors.items():
        ratio = report_at(rate, reading).energy_pj * 1e-6 / recorded_uj(rate)
        assert 1 / factor < ratio < factor, reading


def test_the_conversions_that_neurosims_price_is_divided_by_are_those_that_are_counted() -> None:
    counts = present(report_at(0.15, "pulse").basis).counts
    assert counts is not None and counts.total(Item.ADC_CONVERSION) == CONVERSIONS


def test_the_page_has_both_absolute_figures_of_every_run() -> None:
    text = page()
    for run in recorded_runs():
        assert f"| {run.name}" in text
    assert text.count("**no**") == 0 and "Missed with the shipped prices: 0 of 18" in text
