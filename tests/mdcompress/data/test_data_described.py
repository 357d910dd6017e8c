"""Named sets that are not there: samples of the shape and encoding that theirs have."""

from __future__ import annotations

import pytest
import torch

from mdcompress.data.described import described
from mdcompress.data.encodings import encoded_shape
from mdcompress.data.names import DATA_SETS, EVENT_SETS
from mdcompress.data.splits import DataSplits
from mdcompress.errors import DataError
from tests.support.data_batches import data_section, whole
from tests.support.paths import ROOT

SHAPES = {  # as the data sets' papers have them
    "mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32),
    "tiny_imagenet": (3, 64, 64), "nmnist": (2, 34, 34), "ncaltech101": (2, 180, 240), "cifar10_dvs": (2, 128, 128),
    "dvs_gesture": (2, 128, 128), "shd": (700,),
}  # fmt: skip
OF_ANY_SHAPE = {"image_folder", "digits", "digits_events"}  # the digits are always there


def stand_in(name: str, **changed: object) -> DataSplits | None:
    return described(data_section(name, time_steps=3, **changed), seed=0)


def test_every_set_has_a_shape_or_is_of_any() -> None:
    assert SHAPES.keys() | OF_ANY_SHAPE == set(DATA_SETS)
    assert all(stand_in(name) is None for name in OF_ANY_SHAPE)


def test_every_set_has_a_row_on_the_page() -> None:
    page = (ROOT / "docs/data.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert all(any(f"`{name}`" in row for row in rows) for name in DATA_SETS)


@pytest.mark.parametrize("name", SHAPES)
def test_samples_have_the_shape_of_the_set(name: str) -> None:
    splits = stand_in(name)
    assert splits is not None and splits.sample_shape == SHAPES[name]
    x, y = whole(splits.train)
    assert x.shape == (3, 2, *SHAPES[name]) and y.shape == (2,) and not torch.equal(x[:, 0], x[:, 1])
    if name not in EVENT_SETS:
        assert torch.equal(x[0], x[2])  # a still image, as direct coding has it
        assert torch.equal((x * 255).round() / 255, x) and x.max() <= 1


def test_samples_are_encoded_as_the_recipe_says() -> None:
    splits = stand_in("cifar10", encoding="events")
    assert splits is not None and splits.sample_shape == encoded_shape((3, 32, 32), "events")
    spikes = stand_in("cifar10", encoding="rate")
    assert spikes is not None and set(whole(spikes.train)[0].flatten().tolist()) == {0.0, 1.0}


def test_samples_have_the_size_of_the_recipe() -> None:
    splits = stand_in("ncaltech101", size=48)
    assert splits is not None and splits.sample_shape == (2, 48, 48)
    with pytest.raises(DataError, match=r"data\.size: must be at most 34"):
        stand_in("nmnist", size=48)
