"""Orders, splits and batches: what a resumed or repeated run must see again."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from mdcompress.data.batches import (
    EVALUATION,
    Batch,
    Draw,
    Indices,
    Order,
    SampleBatches,
    StoredBatches,
    interleaved,
    leading,
)
from mdcompress.data.names import Download, Loading
from mdcompress.data.randomness import permutation, random_words
from mdcompress.data.samples import StoredSamples, stored
from mdcompress.data.splits import LabelledSet, calibration, split_in_three, split_training, stratified_split

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda labels: np.array(labels, dtype=np.int64))


def numbered(count: int, *, classes: int = 3) -> StoredSamples:
    """Sample i holds the value i: [T=2, S, 1]."""
    values = torch.arange(count, dtype=torch.float32).reshape(1, count, 1).repeat(2, 1, 1)
    return StoredSamples(values, np.arange(count, dtype=np.int64) % classes)


def loading(tmp_path: Path, *, batch_size: int = 4, seed: int = 0) -> Loading:
    return Loading("numbered", 2, "direct", batch_size, seed, tmp_path, Download.NEVER)


def seen(batches: Iterable[Batch]) -> list[float]:
    return [value for x, _ in batches for value in x[0, :, 0].tolist()]


def shuffled(count: int, *, seed: int = 0, epoch: int = 0, batch_size: int = 4) -> SampleBatches:
    batches = SampleBatches(numbered(count), np.arange(count), batch_size=batch_size, order=Order.SHUFFLED, seed=seed)
    batches.set_epoch(epoch)
    return batches


def test_random_words_are_frozen_for_all_platforms_and_numpy_releases() -> None:
    # Philox-4x64-10 under BLAKE2b("golden"); a change here changes every split and every training order
    assert random_words(3, "golden").tolist() == GOLDEN_WORDS
    assert permutation(8, "golden").tolist() == GOLDEN_PERMUTATION


GOLDEN_WORDS = [17944065765559731916, 11818312986860086251, 3217076591850531945]
GOLDEN_PERMUTATION = [6, 2, 5, 1, 4, 0, 7, 3]


def test_streams_of_different_keys_differ() -> None:
    assert len({tuple(random_words(2, f"{name} {number}")) for name in "ab" for number in range(20)}) == 40


def test_batches_have_time_first_and_the_last_may_be_smaller() -> None:
    batches = SampleBatches(numbered(10), np.arange(10), batch_size=4)
    assert len(batches) == 3
    assert [tuple(x.shape) for x, _ in batches] == [(2, 4, 1), (2, 4, 1), (2, 2, 1)]
    assert all(x.dtype == torch.float32 and y.dtype == torch.int64 for x, y in batches)


def test_fixed_batches_keep_index_order_in_every_epoch() -> None:
    batches = SampleBatches(numbered(7), np.arange(7), batch_size=3)
    first = seen(batches)
    batches.set_epoch(5)
    assert first == seen(batches) == list(range(7))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**63), st.integers(0, 1000))
def test_a_shuffled_epoch_holds_every_sample_once(count: int, batch_size: int, seed: int, epoch: int) -> None:
    batches = shuffled(count, seed=seed, epoch=epoch, batch_size=batch_size)
    assert sorted(seen(batches)) == list(range(count))
    assert len(list(batches)) == len(batches)


def test_shuffled_order_depends_on_seed_and_epoch_alone() -> None:
    resumed = shuffled(50, seed=3, epoch=7)
    walked = shuffled(50, seed=3)
    for epoch in range(8):
        walked.set_epoch(epoch)
        order = seen(walked)
    assert order == seen(resumed) == seen(resumed)
    assert order != seen(shuffled(50, seed=3, epoch=6))
    assert order != seen(shuffled(50, seed=4, epoch=7))
    assert order == seen(shuffled(50, seed=3, epoch=7, batch_size=9))


def test_labels_stay_with_their_samples() -> None:
    for x, y in shuffled(30):
        assert_array_equal(x[0, :, 0].numpy() % 3, y.numpy())


class Recorder:
    """Samples that note the draw they are asked for."""

    labels = np.zeros(2, dtype=np.int64)
    shape = (1,)

    def __init__(self) -> None:
        self.draws: list[Draw] = []

    def frames(self, indices: Indices, draw: Draw) -> torch.Tensor:
        self.draws.append(draw)
        return torch.zeros(1, len(indices), 1)


def test_training_draws_by_seed_and_epoch_and_evaluation_never_changes() -> None:
    training, fixed = Recorder(), Recorder()
    batches = SampleBatches(training, np.arange(2), batch_size=2, order=Order.SHUFFLED, seed=5)
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        list(batches)
    evaluated = SampleBatches(fixed, np.arange(2), batch_size=2, seed=5)
    evaluated.set_epoch(9)
    list(evaluated)
    assert training.draws == [Draw(5, 0, augments=True), Draw(5, 1, augments=True)]
    assert fixed.draws == [EVALUATION]


@given(LABELS, st.floats(0.05, 0.95), st.text(max_size=5))
def test_stratified_split_is_a_partition_with_each_class_in_its_share(
    labels: NDArray[np.int64], fraction: float, key: str
) -> None:
    rest, chosen = stratified_split(labels, fraction, key=key)
    assert_array_equal(np.sort(np.concatenate([rest, chosen])), np.arange(len(labels)))
    for label in np.unique(labels):
        total, taken = np.sum(labels == label), np.sum(labels[chosen] == label)
        assert abs(taken - fraction * total) <= 1
        assert taken < total and (taken >= 1 or total == 1)


def test_a_class_of_one_sample_stays_in_training() -> None:
    rest, chosen = stratified_split(np.array([0, 1, 1]), 0.5, key="k")
    assert 0 in rest and len(chosen) == 1


@given(LABELS, st.text(max_size=5))
def test_every_prefix_of_the_interleaved_order_holds_each_class_in_its_share(
    labels: NDArray[np.int64], key: str
) -> None:
    order = interleaved(labels, key)
    assert_array_equal(np.sort(order), np.arange(len(labels)))
    share = np.bincount(labels) / len(labels)
    for length in range(len(labels) + 1):
        held = np.bincount(labels[order[:length]], minlength=len(share))
        assert np.all(np.abs(held - share * length) <= len(share))


def test_interleaved_order_of_equal_classes_takes_each_in_turn() -> None:
    labels = np.repeat(np.arange(3), 4)
    turns = labels[interleaved(labels, "k")].reshape(4, 3)
    assert all(sorted(turn) == [0, 1, 2] for turn in turns.tolist())


def test_splits_of_one_set_are_disjoint_complete_and_the_same_for_every_seed(tmp_path: Path) -> None:
    one = split_in_three(numbered(60), ("a", "b", "c"), loading(tmp_path, seed=1), test=0.2, validation=0.25)
    two = split_in_three(numbered(60), ("a", "b", "c"), loading(tmp_path, seed=2), test=0.2, validation=0.25)
    assert sorted(seen(one.train) + seen(one.validation) + seen(one.test)) == list(range(60))
    assert [len(seen(part)) for part in (one.train, one.validation, one.test)] == [36, 12, 12]
    assert seen(one.test) == seen(two.test) and seen(one.validation) == seen(two.validation)
    assert seen(one.train) != seen(two.train) and sorted(seen(one.train)) == sorted(seen(two.train))
    assert one.sample_shape == (1,) and one.classes == ("a", "b", "c")


def test_validation_is_carved_from_training_where_a_set_has_none(tmp_path: Path) -> None:
    found = LabelledSet(train=numbered(60), test=numbered(6), classes=("a", "b", "c"))
    splits = split_training(found, loading(tmp_path))
    assert sorted(seen(splits.train) + seen(splits.validation)) == list(range(60))
    assert len(seen(splits.validation)) == 6 and seen(splits.test) == list(range(6))


def test_a_validation_split_of_the_set_is_kept(tmp_path: Path) -> None:
    found = LabelledSet(train=numbered(9), validation=numbered(5), test=numbered(6), classes=())
    splits = split_training(found, loading(tmp_path))
    assert sorted(seen(splits.train)) == list(range(9)) and seen(splits.validation) == list(range(5))


def test_calibration_takes_training_samples_class_by_class_in_an_order_of_the_seed(tmp_path: Path) -> None:
    splits = split_in_three(numbered(60), ("a", "b", "c"), loading(tmp_path), test=0.2, validation=0.25)
    chosen = calibration(splits, 9, seed=0)
    labels = torch.cat([y for _, y in chosen])
    assert torch.bincount(labels).tolist() == [3, 3, 3]
    assert set(seen(chosen)) <= set(seen(splits.train))
    chosen.set_epoch(3)
    assert seen(chosen) == seen(calibration(splits, 9, seed=0))
    assert seen(chosen) != seen(calibration(splits, 9, seed=1))


def test_calibration_of_more_samples_than_there_are_takes_them_all(tmp_path: Path) -> None:
    splits = split_in_three(numbered(60), (), loading(tmp_path), test=0.2, validation=0.25)
    assert sorted(seen(calibration(splits, 512, seed=0))) == sorted(seen(splits.train))


@pytest.mark.parametrize("samples", [1, 4, 5, 8, 100])
def test_stored_batches_give_their_leading_samples(samples: int) -> None:
    batches = StoredBatches(list(SampleBatches(numbered(10), np.arange(10), batch_size=4)))
    batches.set_epoch(2)
    assert len(batches) == 3
    assert seen(batches.first(samples, seed=0)) == list(range(min(samples, 10)))
    assert seen(leading(batches, samples)) == list(range(min(samples, 10)))


def test_stored_samples_equal_those_they_were_made_of() -> None:
    origin = numbered(5)
    copy = stored(origin)
    assert copy.shape == origin.shape
    assert torch.equal(copy.frames(np.array([3, 1]), EVALUATION), origin.frames(np.array([3, 1]), EVALUATION))
