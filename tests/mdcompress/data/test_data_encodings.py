"""Direct, rate and event encodings of images."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mdcompress.data.batches import EVALUATION, Draw
from mdcompress.data.encodings import encode, encode_direct, encode_events, encode_rate, encoded_shape
from mdcompress.data.names import Encoding
from mdcompress.data.samples import ImageSamples

SCALE = torch.linspace(0, 1, 12).reshape(1, 1, 3, 4)


def test_direct_encoding_repeats_the_image() -> None:
    frames = encode_direct(SCALE, 3)
    assert frames.shape == (3, 1, 1, 3, 4)
    assert all(torch.equal(frame, SCALE) for frame in frames)
    assert frames.untyped_storage().data_ptr() == SCALE.untyped_storage().data_ptr(), "it lies in memory once"


def test_rate_encoding_gives_spikes_in_the_proportion_of_the_intensity() -> None:
    frames = encode_rate(SCALE, 4000, keys=["a"])
    assert set(torch.unique(frames).tolist()) == {0.0, 1.0}
    # standard deviation of a mean of 4000 Bernoulli draws is at most 0.008
    assert torch.allclose(frames.mean(dim=0), SCALE, atol=0.03)


def test_rate_encoding_of_black_never_and_of_white_always_spikes() -> None:
    frames = encode_rate(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2), 2000, keys=["a"])
    assert frames.sum(dim=0).flatten().tolist() == [0, 2000]


@given(st.integers(0, 5), st.integers(1, 4))
def test_spikes_of_an_image_do_not_depend_on_its_batch(position: int, time_steps: int) -> None:
    images = torch.rand(6, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    keys = [f"image {index}" for index in range(6)]
    together = encode_rate(images, time_steps, keys=keys)
    alone = encode_rate(images[position : position + 1], time_steps, keys=[keys[position]])
    assert torch.equal(together[:, position], alone[:, 0])


def test_spikes_of_different_steps_and_images_differ() -> None:
    grey = torch.full((2, 1, 8, 8), 0.5)
    frames = encode_rate(grey, 2, keys=["a", "b"])
    assert len({tuple(frame.flatten().tolist()) for frame in frames.reshape(4, 64)}) == 4


def test_event_encoding_gives_counts_of_darker_and_brighter_events() -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    frames = encode_events(images, 5)
    assert frames.shape == (5, 2, 2, 16, 16) and frames.dtype == torch.float32
    assert torch.equal(frames, frames.round()) and frames.max() > 1
    # the gaze ends where it began: as many brighter as darker events at each pixel
    assert torch.equal(frames[:, :, 0].sum(dim=0), frames[:, :, 1].sum(dim=0))


def test_steps_of_the_event_encoding_add_up_to_one_step() -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encode_events(images, 6).sum(dim=0), encode_events(images, 1)[0])


def test_colour_is_seen_in_grey() -> None:
    grey = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(encode_events(grey.repeat(1, 3, 1, 1), 2), encode_events(grey, 2))


@pytest.mark.parametrize(("encoding", "shape"), [("direct", (1, 3, 4)), ("rate", (1, 3, 4)), ("events", (2, 16, 16))])
def test_the_encoded_shape_is_that_of_the_frames(encoding: Encoding, shape: tuple[int, ...]) -> None:
    assert encoded_shape((1, 3, 4), encoding) == shape
    assert encode(SCALE, encoding, time_steps=2, keys=["a"]).shape == (2, 1, *shape)


def images(encoding: Encoding) -> ImageSamples:
    pixels = np.arange(0, 250, 10, dtype=np.uint8).repeat(4).reshape(25, 1, 2, 2)
    return ImageSamples(pixels.__getitem__, np.zeros(25, dtype=np.int64), (1, 2, 2), 255, encoding, 3)


def test_image_samples_are_pixels_over_white() -> None:
    frames = images("direct").frames(np.array([7, 2]), EVALUATION)
    assert frames.dtype == torch.float32 and frames.shape == (3, 2, 1, 2, 2)
    assert torch.equal((frames * 255).round().flatten(2)[0, :, 0], torch.tensor([70.0, 20.0]))


def test_rate_coded_samples_are_drawn_by_seed_epoch_and_sample() -> None:
    chosen = np.arange(10, 20)
    frames = images("rate").frames(chosen, Draw(1, 2))
    assert torch.equal(frames, images("rate").frames(chosen, Draw(1, 2)))
    assert not torch.equal(frames, images("rate").frames(chosen, Draw(1, 3)))
    assert not torch.equal(frames, images("rate").frames(chosen, Draw(2, 2)))
    assert torch.equal(frames[:, 4:5], images("rate").frames(np.array([14]), Draw(1, 2)))
