"""Accuracy against noise: mean and spread over seeds."""

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from intsnn.analog.accuracy import ACCURACY_SCHEMA, AccuracySweep, Samples, Spread, answers, sweep_noise
from intsnn.arithmetic import IntArray
from intsnn.engines import InterpreterSession
from intsnn.errors import InputError, UsageError
from intsnn.execution.interpreter import run
from intsnn.graph import IntGraph, IntLinear
from tests.support.analog_cases import analog, reading, relative_programming
from tests.support.crossbar_by_hand import small_hardware
from tests.support.intgraphs import GraphBuilder, random_input
from tests.support.narrowing import present


def classifier() -> IntGraph:
    """40 features -> 6 classes, all of which occur: weights of both signs that cancel over the features."""
    build = GraphBuilder(np.random.default_rng(1))
    half = np.random.default_rng(0).integers(-7, 8, (6, 20))
    build.nodes.append(IntLinear("linear", (build.input((40,), bit_width=1),), (6,), np.hstack([half, -half]), 4))
    build.readout("linear")
    return build.graph()


GRAPH = classifier()
HARDWARE = small_hardware(rows=16, columns=16, cell_bits=2)
SPEC = analog(programming=relative_programming(0.03), reading=reading(of_maximum=0.02))


def samples(*, labelled: bool = True, count: int = 60) -> Samples:
    x = random_input(GRAPH, samples=count)
    return Samples(x, answers(run(GRAPH, x).output) if labelled else None)


def sweep(noise: Sequence[float], seeds: Sequence[int], *, labelled: bool = True) -> AccuracySweep:
    return sweep_noise(GRAPH, HARDWARE, spec=SPEC, samples=samples(labelled=labelled), noise=noise, seeds=seeds)


def first_accuracy(sweep: AccuracySweep) -> Spread:
    """The accuracy at the first size of the noise."""
    return present(sweep.points[0].accuracy)


def test_answers_are_the_first_largest_output_summed_over_steps() -> None:
    assert answers(np.array([[1, 5, 5], [7, 0, 0]])).tolist() == [1, 0]
    assert answers(np.array([[[1, 0]], [[0, 3]]])).tolist() == [1]


def test_mean_and_deviation_by_hand() -> None:
    assert (Spread((0.9, 0.8, 1.0)).mean, Spread((0.9, 0.8, 1.0)).deviation) == pytest.approx((0.9, 0.1))
    assert Spread((0.7,)).deviation == 0.0


def test_without_noise_the_exact_network_answers_and_more_noise_costs_accuracy_on_average() -> None:
    found = sweep((0, 1, 3, 10), range(4))
    assert len(np.unique(present(samples().labels))) == 6
    accuracies = [present(point.accuracy) for point in found.points]
    means = [accuracy.mean for accuracy in accuracies]
    assert found.exact_accuracy == means[0] == 1.0
    assert means == sorted(means, reverse=True) and means[-1] < 0.8
    assert accuracies[0].deviation == 0 < accuracies[-1].deviation
    assert [point.accuracy for point in found.points] == [point.agreement for point in found.points]


def test_a_sweep_is_the_same_each_time_and_a_seed_is_a_chip_of_its_own() -> None:
    found = sweep((10,), (3, 4))
    assert found == sweep((10,), (3, 4))
    assert first_accuracy(sweep((10,), (4,))).values == first_accuracy(found).values[1:]


def test_without_labels_there_is_agreement_alone() -> None:
    found = sweep((1,), (0,), labelled=False)
    assert found.exact_accuracy is None and found.points[0].accuracy is None
    assert 0 < found.points[0].agreement.mean <= 1


def test_the_json_holds_every_seed() -> None:
    document = json.loads(sweep((0, 2), (0, 1, 2)).to_json())
    assert document["schema"] == ACCURACY_SCHEMA and document["seeds"] == [0, 1, 2]
    assert (document["samples"], document["time_steps"], document["analog"]) == (60, 4, "test")
    assert [len(point["accuracy"]["values"]) for point in document["points"]] == [3, 3]
    assert document["points"][0]["accuracy"]["mean"] == 1.0 and document["points"][0]["accuracy"]["deviation"] == 0.0


@pytest.mark.parametrize(("noise", "seeds"), [((), (0,)), ((1,), ())])
def test_a_sweep_over_nothing_is_an_error(noise: Sequence[float], seeds: Sequence[int]) -> None:
    with pytest.raises(UsageError, match="needs a size of the noise and a seed"):
        sweep(noise, seeds)


def test_labels_of_other_samples_are_an_error() -> None:
    with pytest.raises(InputError, match=r"one label for each sample, \[60\] \(got \[7\]\)"):
        Samples(random_input(GRAPH, samples=60), np.zeros(7, np.int64))


def test_chips_that_nothing_disturbs_take_the_answers_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = sweep((0, 1), range(2))
    monkeypatch.setattr("intsnn.analog.accuracy.run_analog", None)
    seen: list[int] = []

    class Counted(InterpreterSession):
        def answer(self, x: npt.ArrayLike) -> IntArray:
            seen.append(np.asarray(x).shape[1])
            return super().answer(x)

    found = sweep_noise(GRAPH, HARDWARE, spec=SPEC, samples=samples(), noise=(0,), seeds=range(2), exact=Counted(GRAPH))
    assert found.points == simulated.points[:1] and seen == [60]


def test_a_network_that_does_not_fit_is_refused_without_noise_too() -> None:
    trees = HARDWARE.model_copy(update={"crossbar": HARDWARE.crossbar.model_copy(update={"readout": "adder_tree"})})
    with pytest.raises(UsageError, match="digital and exact"):
        sweep_noise(GRAPH, trees, spec=SPEC, samples=samples(), noise=(0,), seeds=(0,))
