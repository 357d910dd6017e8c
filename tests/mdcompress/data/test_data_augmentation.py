"""Training samples that are varied: by hand, by their streams, and nowhere but in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from mdcompress.data.augmentation import VariedFrames, VaryImages, augmenting
from mdcompress.data.batches import EVALUATION, Draw, Order, SampleBatches
from mdcompress.data.loading import load_data
from mdcompress.data.names import Augment, NoAugment, varies
from mdcompress.data.samples import ImageSamples, StoredSamples
from mdcompress.data.splits import calibration
from tests.support.data_batches import data_section, whole
from tests.support.official_sets import write_cifar

COUNT, SIDE = 400, 8
KEYS = [f"sample {number}" for number in range(COUNT)]
PIXELS = np.random.default_rng(0).integers(1, 256, (COUNT, 3, SIDE, SIDE), dtype=np.uint8)


def images(augment: Augment) -> ImageSamples:
    samples = ImageSamples(PIXELS.__getitem__, np.zeros(COUNT, np.int64), (3, SIDE, SIDE), 255, "direct", 1)
    varied = augmenting(samples, augment)
    assert isinstance(varied, ImageSamples)
    return varied


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """The image moved over a dark margin."""
    margin = np.pad(image, ((0, 0), (8, 8), (8, 8)))
    return margin[:, 8 + down : 8 + down + SIDE, 8 + right : 8 + right + SIDE]


def test_a_crop_is_one_of_all_parts_of_the_image_on_its_margin() -> None:
    found = VaryImages(NoAugment(crop=2))(PIXELS, KEYS)
    moves = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    seen = [
        next(move for move in moves if np.array_equal(shifted(image, *move), varied))
        for image, varied in zip(PIXELS, found, strict=True)
    ]
    counts = [seen.count(move) for move in moves]
    assert min(counts) > 2 and max(counts) < 40  # 16 expected each: 6 standard deviations


def test_a_flip_is_the_mirror_image_of_every_second_sample() -> None:
    found = VaryImages(NoAugment(flip=True))(PIXELS, KEYS)
    mirrored = [np.array_equal(varied, image[:, :, ::-1]) for image, varied in zip(PIXELS, found, strict=True)]
    same = [np.array_equal(varied, image) for image, varied in zip(PIXELS, found, strict=True)]
    assert [one != other for one, other in zip(mirrored, same, strict=True)] == [True] * COUNT
    assert 140 < sum(mirrored) < 260


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_is_a_dark_square_round_a_pixel_of_the_image(side: int) -> None:
    found = VaryImages(NoAugment(cutout=side))(PIXELS, KEYS)
    centres = set()
    for image, varied in zip(PIXELS, found, strict=True):
        rows, columns = np.nonzero((varied == 0).all(axis=0))
        dark = np.zeros((SIDE, SIDE), bool)
        dark[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert np.array_equal(np.where(dark, 0, image), varied)  # one rectangle; all else as it was
        assert 1 <= np.ptp(rows) + 1 <= side and 1 <= np.ptp(columns) + 1 <= side
        centres.add((rows.min(), rows.max(), columns.min(), columns.max()))
    assert len(centres) > 40


def test_all_ways_together_keep_shape_and_type() -> None:
    found = VaryImages(NoAugment(crop=2, flip=True, cutout=3))(PIXELS, KEYS)
    assert found.shape == PIXELS.shape and found.dtype == np.uint8 and not np.array_equal(found, PIXELS)


# ---------------------------------------------------------------------- events


def frames(seed: int = 0) -> StoredSamples:
    counts = np.random.default_rng(seed).integers(0, 9, (2, COUNT, 2, 6, 7)).astype(np.float32)
    return StoredSamples(torch.from_numpy(counts), np.arange(COUNT) % 3)


def varied(augment: Augment) -> torch.Tensor:
    return VariedFrames(frames(), augment).frames(np.arange(COUNT), Draw(3, 1, augments=True))


def test_frames_are_mirrored_at_all_steps_alike() -> None:
    found, given = varied(NoAugment(flip=True)), frames().stored
    mirrored = [torch.equal(found[:, n], given[:, n].flip(-1)) for n in range(COUNT)]
    assert all(mirrored[n] or torch.equal(found[:, n], given[:, n]) for n in range(COUNT))
    assert 140 < sum(mirrored) < 260


def test_frames_are_rolled_at_all_steps_alike_by_at_most_so_many_pixels() -> None:
    found, given = varied(NoAugment(roll=1)), frames().stored
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    seen = [
        next(move for move in moves if torch.equal(given[:, n].roll(move, (-2, -1)), found[:, n])) for n in range(COUNT)
    ]
    assert min(seen.count(move) for move in moves) > 10


def test_each_event_is_left_out_with_one_probability() -> None:
    found, given = varied(NoAugment(drop=0.25)), frames().stored
    assert bool((found <= given).all()) and bool((found >= 0).all()) and torch.equal(found, found.round())
    events, left = int(given.sum()), int(found.sum())
    assert abs(left - 0.75 * events) < 5 * (events * 0.25 * 0.75) ** 0.5
    ones = given == 8  # counts of 8: binomial, not all or nothing
    assert abs(float(found[ones].var()) - 8 * 0.25 * 0.75) < 0.1


def test_images_under_the_event_camera_are_varied_as_events() -> None:
    samples = ImageSamples(PIXELS[:4].__getitem__, np.zeros(4, np.int64), (3, SIDE, SIDE), 255, "events", 2)
    found = augmenting(samples, NoAugment(roll=2))
    assert isinstance(found, VariedFrames) and found.shape == samples.shape
    assert torch.equal(found.frames(np.arange(4), EVALUATION), samples.frames(np.arange(4), EVALUATION))


# ---------------------------------------------------------------------- what it depends on, and where it is

WAYS: list[Callable[[], ImageSamples | VariedFrames]] = [
    lambda: images(NoAugment(crop=2, flip=True, cutout=3)),
    lambda: VariedFrames(frames(), NoAugment(flip=True, roll=2, drop=0.1)),
]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_drawn_follows_from_seed_epoch_and_sample_alone(way: Callable[[], ImageSamples]) -> None:
    samples, order = way(), np.random.default_rng(1).permutation(COUNT)
    once = samples.frames(np.arange(COUNT), Draw(5, 2, augments=True))
    torch.manual_seed(99)
    parts = [samples.frames(part, Draw(5, 2, augments=True)) for part in np.array_split(order, 7)]
    assert torch.equal(torch.cat(parts, dim=1), once[:, order])
    for other in (Draw(5, 3, augments=True), Draw(6, 2, augments=True)):
        assert not torch.equal(samples.frames(np.arange(COUNT), other), once)


@pytest.mark.parametrize("way", WAYS)
def test_only_a_shuffled_walk_is_varied(way: Callable[[], ImageSamples]) -> None:
    samples = way()
    plain = samples.frames(np.arange(COUNT), EVALUATION)
    training = SampleBatches(samples, np.arange(COUNT), batch_size=COUNT, order=Order.SHUFFLED, seed=0)
    fixed = SampleBatches(samples, np.arange(COUNT), batch_size=COUNT)
    assert torch.equal(whole(fixed)[0], plain)
    assert not torch.equal(pixel_sums(training), pixel_sums(fixed))
    assert torch.equal(pixel_sums(training.first(COUNT, seed=0)), pixel_sums(fixed))  # calibration's


def pixel_sums(batches: SampleBatches) -> torch.Tensor:
    """The sum over samples of each pixel, exact: images as 0 to 255, counts in units of 1/255."""
    return (whole(batches)[0] * 255).round().to(torch.int64).sum(1)


def test_nothing_but_training_is_augmented_in_a_set(tmp_path: Path) -> None:
    write_cifar(tmp_path, datasets.CIFAR10)
    section = data_section("cifar10", batch_size=30)
    plain = load_data(section, seed=0, folder=tmp_path)
    splits = load_data(data_section("cifar10", batch_size=30, augment=NoAugment(crop=4)), seed=0, folder=tmp_path)
    for one, other in ((plain.validation, splits.validation), (plain.test, splits.test)):
        assert torch.equal(whole(one)[0], whole(other)[0])
    assert torch.equal(whole(calibration(plain, 20, seed=0))[0], whole(calibration(splits, 20, seed=0))[0])
    walks = []
    for epoch in (1, 2, 1):
        splits.train.set_epoch(epoch)
        walks.append(whole(splits.train)[0])
    assert torch.equal(walks[0], walks[2]) and not torch.equal(walks[0], walks[1])
    plain.train.set_epoch(1)
    assert not torch.equal(whole(plain.train)[0], walks[0])
    assert torch.equal(whole(plain.train)[1], labels_of(splits.train, epoch=1))


def labels_of(batches: object, *, epoch: int) -> torch.Tensor:
    assert isinstance(batches, SampleBatches)
    batches.set_epoch(epoch)
    return whole(batches)[1]


def test_each_key_alone_varies_samples() -> None:
    alone = (NoAugment(crop=1), NoAugment(flip=True), NoAugment(cutout=1), NoAugment(roll=1), NoAugment(drop=0.1))
    assert all(map(varies, alone)) and not varies(NoAugment())
