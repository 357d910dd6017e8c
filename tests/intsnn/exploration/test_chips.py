"""Accuracy of designs on simulated chips: what is run, and that leaving out the rest changes no answer."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import measure
from intsnn.analog import load_analog, make_chip, run_analog
from intsnn.analog.accuracy import Samples, answers
from intsnn.analog.spec import AnalogSpec
from intsnn.engines import InterpreterSession
from intsnn.execution.interpreter import run
from intsnn.exploration.chips import ChipAccuracy, Trial, judged
from intsnn.exploration.design_space import AdcBits, DesignPoint, DesignSpace, hardware_at
from intsnn.exploration.exploration import Exploration, explore, non_dominated
from intsnn.graph import IntGraph
from tests.support.analog_cases import analog, relative_programming
from tests.support.crossbar_by_hand import plain_hardware
from tests.support.intgraphs import dense_graph, random_input

HARDWARE = plain_hardware()
POINT = DesignPoint(64, 2, "lossless", 8, "offset", "im2col", "none", "layer_by_layer", None, None, None, 4)
SPACE = DesignSpace(crossbar=(16, 64), adc_bits=("lossless", 4, 5, 6), column_mux=(4, 8))


def trial(graph: IntGraph, *, spec: AnalogSpec | None = None, labelled: bool = True, loss: float = 0.1) -> Trial:
    """Judged on inputs whose labels are mostly the exact network's answers; calibrated on others."""
    x = random_input(graph, samples=24, seed=1)
    labels = answers(run(graph, x).output)
    labels[::8] += 1
    samples = Samples(x, labels if labelled else None)
    return Trial(spec or load_analog("calibrated"), 2, samples, random_input(graph, samples=8, seed=2), loss)


def explored(how: Trial, space: DesignSpace = SPACE) -> Exploration:
    graph = dense_graph()
    return explore(graph, measure(graph, [random_input(graph)]), HARDWARE, space=space, trial=how)


def test_an_accuracy_is_that_of_the_chips_of_its_design() -> None:
    """Two chips of 20 % deviation, converters of 4 bits: each run by itself, and no better than the exact network."""
    graph, how = dense_graph(), trial(dense_graph(), spec=analog(programming=relative_programming(0.2)))
    on_chips, point = ChipAccuracy(InterpreterSession(graph), HARDWARE, how), replace(POINT, adc_bits=4)
    shares = []
    for seed in (0, 1):
        chip = make_chip(graph, hardware_at(point, HARDWARE), spec=how.analog, seed=seed)
        shares.append((answers(run_analog(chip, how.samples.x).trace.output) == how.samples.labels).mean())
    exact = float((answers(run(graph, how.samples.x).output) == how.samples.labels).mean())
    assert on_chips(point) == min(np.mean(shares), exact) and on_chips.exact_accuracy(4) == exact == 1 - 3 / 24
    assert on_chips(replace(point, column_mux=2, gating="array", array_budget=99)) == on_chips(point)
    assert on_chips.runs == 1


def test_lossless_converters_under_ideal_cells_are_not_run() -> None:
    graph = dense_graph()
    on_chips = ChipAccuracy(InterpreterSession(graph), HARDWARE, trial(graph))
    assert on_chips(POINT) == on_chips.exact_accuracy(4) and on_chips.runs == 0
    assert on_chips(replace(POINT, weight_bits=2)) is None and on_chips(replace(POINT, membrane_bits=2)) is None


def test_without_labels_agreement_with_the_exact_network_counts() -> None:
    graph = dense_graph()
    how = trial(graph, labelled=False)
    on_chips, point = ChipAccuracy(InterpreterSession(graph), HARDWARE, how), replace(POINT, adc_bits=4)
    chip = make_chip(graph, hardware_at(point, HARDWARE), spec=how.analog, calibration=how.calibration)
    found, exact = run_analog(chip, how.samples.x).trace.output, run(graph, how.samples.x).output
    assert on_chips(point) == (answers(found) == answers(exact)).mean() and on_chips.exact_accuracy(4) == 1


def test_coarse_converters_compete_with_their_accuracy() -> None:
    """The same Pareto set as when the accuracy of every design is measured; fewer kinds of chips are run."""
    graph, how = dense_graph(), trial(dense_graph())
    found = explored(how)
    every = ChipAccuracy(InterpreterSession(graph), HARDWARE, how)
    measured = [replace(design, accuracy=every(design.point), pareto=False) for design in found.designs]
    assert found.judgement is not None
    enough = [one for one in measured if one.accuracy is not None and one.accuracy >= found.judgement.least]
    costs = np.array([(one.energy_pj, one.latency_ns, one.area_um2, -(one.accuracy or 0)) for one in enough])
    expected = {one.point for one, free in zip(enough, non_dominated(costs).tolist(), strict=True) if free}
    assert {one.point for one in found.pareto} == expected
    assert any(not one.point.exact for one in found.pareto)
    assert found.judgement.runs <= every.runs


def test_designs_that_lose_too_much_are_not_compared() -> None:
    strict, loose = explored(trial(dense_graph(), loss=0.0)), explored(trial(dense_graph(), loss=0.9))
    assert strict.judgement is not None and loose.judgement is not None
    assert all(one.accuracy == strict.judgement.exact for one in strict.pareto)
    assert min(one.accuracy or 0 for one in loose.pareto) >= loose.judgement.exact - 0.9


BITS: tuple[AdcBits, ...] = ("lossless", 6, 4, 2)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_left_out_changes_no_answer(data: st.DataObject) -> None:
    """Drawn costs, and accuracies that fewer bits never raise: the compared designs' Pareto set is the whole one's."""
    points = [
        replace(POINT, crossbar=side, adc_bits=bits, column_mux=mux)
        for side in (32, 64) for bits in BITS for mux in (1, 2)
    ]  # fmt: skip
    costs = np.array(data.draw(st.lists(st.tuples(*[st.integers(1, 4)] * 3), min_size=16, max_size=16)), np.float64)
    table = {}
    for side in (32, 64):
        falling = sorted(data.draw(st.lists(st.integers(0, 5), min_size=4, max_size=4)), reverse=True)
        table.update({(side, bits): value / 5 for bits, value in zip(BITS, falling, strict=True)})
    asked = []

    def accuracy(point: DesignPoint) -> float:
        asked.append(point)
        return table[point.crossbar, point.adc_bits]  # type: ignore[index]  # sides are numbers here

    least = data.draw(st.sampled_from((0.0, 0.5, 1.0)))
    found = judged(points, costs, accuracy, ceiling=lambda _: 1.0, least=least)
    known = [table[point.crossbar, point.adc_bits] for point in points]  # type: ignore[index]
    assert len(asked) == len(set(asked))

    def best(values: list[float | None]) -> set[int]:
        kept = [index for index, value in enumerate(values) if value is not None and value >= least]
        if not kept:
            return set()
        free = non_dominated(np.array([[*costs[index], -(values[index] or 0)] for index in kept]))
        return {index for index, one in zip(kept, free.tolist(), strict=True) if one}

    assert best(list(found)) == best(list(known))


@pytest.mark.parametrize("side", [16, 64])
def test_fewer_steps_are_judged_by_their_own_answers(side: int) -> None:
    graph = dense_graph()
    how = trial(graph)
    on_chips = ChipAccuracy(InterpreterSession(graph), HARDWARE, how)
    point = replace(POINT, crossbar=side, time_steps=2)
    expected = (answers(run(graph, how.samples.x[:2]).output) == how.samples.labels).mean()
    assert on_chips(point) == on_chips.exact_accuracy(2) == expected
