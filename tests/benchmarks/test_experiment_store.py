"""Results of experiments: whole lines, resumed files, and the arithmetic of paired differences."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.experiment_statistics import paired_interval, spread
from benchmarks.experiment_store import Exactness, Layer, Result, Store, digest
from benchmarks.experiment_students import _data_text, _training_text, _without_newer_keys
from mdcompress.errors import RunError
from mdcompress.recipe import DataSpec, TrainSpec, dump_recipe, load_recipe

RESULT = Result(
    key="a",
    experiment="ablation",
    group="cifar10",
    setting="2bit",
    variant="QAT",
    seed=3,
    changes=("distill.logits=null",),
    validation={1: 40.5, 4: 52.25},
    test={1: 40.0, 4: 50.75},
    seconds=12.5,
    machine="two cores",
    layers={"neuron1": Layer(0.2, 0.1, 0.15, 0.14, 0.16)},
    exactness=Exactness(samples=100, values=4000, differing=0, silent=1),
)


def test_what_is_appended_is_read_back_equal(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "results.jsonl")
    assert store.results() == {}
    plain = replace(RESULT, key="b", layers=None, exactness=None)
    store.append(RESULT)
    store.append(plain)
    assert store.results() == {"a": RESULT, "b": plain}
    assert (RESULT.accuracy, RESULT.chosen_by) == (50.75, 52.25)  # at the most steps


@pytest.mark.parametrize("kept", [1, 40])
def test_a_line_that_a_kill_cut_off_is_no_result_and_is_replaced(tmp_path: Path, kept: int) -> None:
    store = Store(tmp_path / "results.jsonl")
    store.append(RESULT)
    whole = store.path.read_bytes()
    store.path.write_bytes(whole + whole[:kept])
    assert store.results() == {"a": RESULT}
    other = replace(RESULT, key="b")
    store.append(other)
    assert store.results() == {"a": RESULT, "b": other}
    assert store.path.read_bytes().startswith(whole) and store.path.read_bytes().count(b"\n") == 2


def test_of_equal_keys_the_first_counts(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.jsonl")
    store.append(RESULT)
    store.append(replace(RESULT, seconds=99.0))
    assert store.results() == {"a": RESULT}


def test_a_line_that_is_no_result_is_an_error_with_its_number(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.jsonl")
    store.append(RESULT)
    store.path.write_text(store.path.read_text() + '{"key": "b"}\n')
    with pytest.raises(RunError, match=r"results\.jsonl:2: must be a result"):
        store.results()


def test_lines_of_several_writers_stay_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.jsonl")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: store.append(replace(RESULT, key=str(number))), range(40)))
    assert set(store.results()) == {str(number) for number in range(40)}


def test_a_digest_tells_where_a_text_ends() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab", "c") == digest("ab", "c") and len(digest()) == 32


def test_paired_interval_by_hand() -> None:
    """d = 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.3027, half width 4.3027 / sqrt(3) = 2.4841."""
    found = paired_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.pairs) == (2.0, 3)
    assert found.half_width == pytest.approx(2.4841, abs=1e-4)
    assert str(found) == "+2.00 ± 2.48 (n = 3)"


def test_a_single_pair_has_no_interval() -> None:
    found = paired_interval([-0.5])
    assert math.isinf(found.half_width) and str(found) == "-0.50 ± ? (n = 1)"


@given(st.lists(st.floats(-50, 50).map(lambda value: round(value, 2)), min_size=2, max_size=20))
def test_paired_interval_is_scipys_of_a_paired_t_test(differences: list[float]) -> None:
    if len(set(differences)) == 1:
        assert paired_interval(differences).half_width == 0.0
        return
    base = np.arange(len(differences)) * 7.0
    expected = stats.ttest_rel(base + differences, base).confidence_interval(0.95)
    found = paired_interval(differences)
    assert found.mean - found.half_width == pytest.approx(expected.low, abs=1e-6)
    assert found.mean + found.half_width == pytest.approx(expected.high, abs=1e-6)


def test_spread_is_mean_and_sample_deviation() -> None:
    assert (spread([1.0, 3.0]), spread([2.0]), spread([])) == ("2.00 ± 1.41", "2.00 ± 0.00", "-")


def test_keys_of_recipes_newer_than_the_stored_results_change_no_key() -> None:
    """The text of `data` as it was when the stored results were made; a newer key that is used is another one."""
    plain = DataSpec(name="digits")
    assert _data_text(plain) == (
        '{"name":"digits","time_steps":4,"encoding":"direct","batch_size":64,"calibration_samples":512,"folder":null}'
    )
    assert '"workers":2' in _data_text(DataSpec(name="digits", workers=2))
    assert "deterministic" not in _training_text(TrainSpec()) and "checkpoint_every" not in _training_text(TrainSpec())
    assert '"deterministic":false' in _training_text(TrainSpec(deterministic=False))
    plain_text = _without_newer_keys(dump_recipe(load_recipe("4bit")))
    assert "deterministic" not in plain_text and "checkpoint_every" not in plain_text
    assert "  deterministic: false\n" in _without_newer_keys(
        dump_recipe(load_recipe("4bit", changes=["train.deterministic=false"]))
    )
