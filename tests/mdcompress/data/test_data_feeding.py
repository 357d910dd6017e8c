"""Batches that other processes make: the same ones, whoever makes them."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import datasets

from mdcompress.data.batches import EVALUATION, Draw, Indices, Order, SampleBatches
from mdcompress.data.encodings import encode_direct
from mdcompress.data.feeding import IN_TURN, Feed, _Made
from mdcompress.data.inputs import is_still, on_device
from mdcompress.data.loading import load_data
from mdcompress.data.names import NoAugment
from mdcompress.data.splits import DataSplits
from mdcompress.errors import DataError
from tests.support.data_batches import data_section
from tests.support.official_sets import write_cifar, write_tiny_imagenet

AUGMENT = NoAugment(crop=4, flip=True)


class Numbered:
    """Sample i holds i and its stream's key; sample 7 is damaged."""

    labels: NDArray[np.int64] = np.arange(12) % 3
    shape = (1,)

    def frames(self, indices: Indices, draw: Draw) -> Tensor:
        if 7 in indices:
            raise DataError("sample 7: must be whole", hints=["fetch it again"])
        return torch.from_numpy(indices.astype(np.float32)).reshape(1, -1, 1) + draw.epoch


def loaded(folder: Path, name: str, *, workers: int) -> DataSplits:
    section = data_section(name, batch_size=4, encoding="rate", augment=AUGMENT, workers=workers, pin_memory=True)
    return load_data(section, seed=3, folder=folder)


@pytest.mark.parametrize("name", ["cifar10", "tiny_imagenet"])
def test_batches_are_equal_for_any_number_of_workers(tmp_path: Path, name: str) -> None:
    write_cifar(tmp_path, datasets.CIFAR10)
    write_tiny_imagenet(tmp_path)
    torch.manual_seed(1)
    state, walks = torch.get_rng_state(), []
    for workers in (0, 2):
        splits = loaded(tmp_path, name, workers=workers)
        splits.train.set_epoch(2)
        walks.append([*splits.train, *splits.validation, *splits.test])
        assert torch.equal(torch.get_rng_state(), state)  # nor does a training go on otherwise
    assert len(walks[0]) == len(walks[1]) > 2
    for (x, y), (other_x, other_y) in zip(*walks, strict=True):
        assert torch.equal(x, other_x) and torch.equal(y, other_y) and x.sum() > 0


class Still(Numbered):
    """Sample i shows i at each of four steps; none is damaged."""

    def frames(self, indices: Indices, draw: Draw) -> Tensor:
        return encode_direct(torch.from_numpy(indices.astype(np.float32))[:, None, None, None], 4)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_is_seen_at_every_step_travels_once_and_is_whole_where_it_arrives(workers: int) -> None:
    batches = SampleBatches(Still(), np.arange(6), batch_size=3, feed=Feed(workers=workers, pins=False))
    for number, (x, _) in enumerate(batches):
        assert is_still(x) and x.shape == (4, 3, 1, 1, 1)
        for part in (x, x[:2], x[:, 1:]):  # first steps, and one process's share
            arrived = on_device(part, torch.device("cpu"))
            assert arrived.is_contiguous() and torch.equal(arrived, part)
        assert x[3].flatten().tolist() == [3 * number + each for each in range(3)]


def test_what_workers_hand_over_can_be_put_into_page_locked_memory() -> None:
    """That is a new tensor of the same sizes and strides, into which the old one is copied."""
    made = _Made(lambda chosen: (Still().frames(chosen, EVALUATION), torch.zeros(2)), [np.arange(2)])[0]
    assert not isinstance(made, Exception) and made[2] == 4
    for tensor in made[:2]:
        assert torch.equal(torch.empty_strided(tensor.shape, tensor.stride()).copy_(tensor), tensor)
    whole = Still().frames(np.arange(2), EVALUATION)
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.empty(2).as_strided(whole.shape, whole.stride()).copy_(whole)


def test_frames_that_differ_travel_as_they_are() -> None:
    x = torch.rand(3, 2, 1)
    assert not is_still(x) and on_device(x, x.device) is x
    assert not is_still(x[:1].expand(1, 2, 1)) and not is_still(torch.tensor(1.0))


def test_an_error_in_a_worker_is_the_error_itself() -> None:
    batches = SampleBatches(Numbered(), np.arange(12), batch_size=3, feed=Feed(workers=1, pins=False))
    walk = iter(batches)
    assert [next(walk)[1].tolist() for _ in range(2)] == [[0, 1, 2]] * 2
    with pytest.raises(DataError, match="sample 7: must be whole") as caught:
        next(walk)
    assert caught.value.hints == ("fetch it again",) or list(caught.value.hints) == ["fetch it again"]


def test_a_walk_that_is_left_leaves_no_process_behind() -> None:
    before = set(multiprocessing.active_children())
    batches = SampleBatches(Numbered(), np.arange(6), batch_size=1, feed=Feed(workers=2, pins=False))
    walk = iter(batches)
    next(walk)
    assert len(set(multiprocessing.active_children()) - before) == 2
    del walk
    assert set(multiprocessing.active_children()) <= before
    assert [int(x) for x, _ in batches] == list(range(6))


def test_two_walks_at_once_do_not_disturb_each_other() -> None:
    feed = Feed(workers=1, pins=False)
    batches = SampleBatches(Numbered(), np.arange(6), batch_size=2, order=Order.SHUFFLED, feed=feed)
    assert all(torch.equal(x, z) for (x, _), (z, _) in zip(batches, batches, strict=True))


def test_without_workers_nothing_is_started_and_no_samples_are_no_batches() -> None:
    assert SampleBatches(Numbered(), np.arange(6), batch_size=2).feed == IN_TURN
    assert list(SampleBatches(Numbered(), np.arange(0), batch_size=2, feed=Feed(workers=2, pins=True))) == []


def test_samples_can_be_sent_to_a_process_that_does_not_share_memory(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    train = loaded(tmp_path, "tiny_imagenet", workers=0).train
    assert isinstance(train, SampleBatches)
    sent = pickle.loads(pickle.dumps(train))
    assert all(torch.equal(x, z) for (x, _), (z, _) in zip(train, sent, strict=True))
