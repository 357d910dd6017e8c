"""Spiking Heidelberg Digits, from small files in the official form."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import tonic
import torch

from mdcompress.data.augmentation import VariedFrames
from mdcompress.data.batches import EVALUATION, Draw
from mdcompress.data.described import described
from mdcompress.data.loading import load_data
from mdcompress.data.names import Download, NoAugment
from mdcompress.data.shd import read_spikes
from mdcompress.data.splits import DataSplits
from mdcompress.errors import DataError
from tests.support.data_batches import data_section, whole
from tests.support.official_sets import write_shd


def loaded(folder: Path, *, download: Download = Download.NEVER) -> DataSplits:
    return load_data(data_section("shd", time_steps=5, encoding="events"), seed=0, folder=folder, download=download)


def test_frames_are_the_counts_of_the_spikes(tmp_path: Path) -> None:
    write_shd(tmp_path)
    splits = loaded(tmp_path)
    assert splits.sample_shape == (700,) and len(splits.classes) == 20 and splits.classes[10:12] == ("null", "eins")
    x, y = whole(splits.test)
    assert x.shape == (5, 20, 700) and y.tolist() == list(range(20))
    with h5py.File(tmp_path / "SHD/shd_test.h5") as file:
        for index in range(20):
            units, times = file["spikes/units"][index], file["spikes/times"][index].astype(np.float64)
            assert torch.equal(x[:, index].sum(0), torch.from_numpy(np.bincount(units, minlength=700)).float())
            first = times < times.min() + (times.max() - times.min()) / 5 - 1e-6
            assert int(x[0, index].sum()) == first.sum() > 0
    assert [len(whole(part)[1]) for part in (splits.train, splits.validation)] == [20, 20]


def test_spikes_are_those_of_tonics_own_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shd(tmp_path)
    monkeypatch.setattr(tonic.datasets.SHD, "_check_exists", lambda self: True)
    theirs = tonic.datasets.SHD(str(tmp_path), train=False)
    x, y = whole(loaded(tmp_path).test)
    for index in range(len(theirs)):
        events, label = theirs[index]
        assert label == y[index]
        assert np.array_equal(np.bincount(events["x"], minlength=700), x[:, index].sum(0).numpy())


def test_missing_shd_is_an_error_and_fetched_by_tonic_when_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"SHD/shd_train.h5 is missing \(2 of 2\)"):
        loaded(tmp_path)
    asked = []

    def fetch(*, save_to: str, train: bool) -> None:
        asked.append((save_to, train))
        if not train:
            write_shd(Path(save_to))

    monkeypatch.setattr(tonic.datasets, "SHD", fetch)
    assert loaded(tmp_path, download=Download.ALLOWED).sample_shape == (700,)
    assert asked == [(str(tmp_path), True), (str(tmp_path), False)]


def changed(folder: Path, name: str, value: object) -> Path:
    write_shd(folder)
    path = folder / "SHD/shd_train.h5"
    with h5py.File(path, "a") as file:
        if isinstance(value, np.ndarray) and name == "labels":
            del file[name]
            file[name] = value
        else:
            file[name][3] = value
    return path


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("labels", np.arange(39), "as many labels as recordings"),
        ("labels", np.arange(40), "labels must be integers from 0 to 19"),
        ("labels", np.zeros(40), "labels must be integers"),
        ("spikes/units", np.array([1], np.uint16), "recording 3 must have at most 1,048,576 spikes, each with time"),
        ("spikes/times", np.array([1], np.float16), "recording 3 must have at most"),
    ],
)
def test_a_file_of_something_else_is_an_error_that_names_it(
    tmp_path: Path, name: str, value: np.ndarray, said: str
) -> None:
    path = changed(tmp_path, name, value)
    with pytest.raises(DataError, match=f"{path}: must be a whole file of SHD .*{said}"):
        read_spikes(path, 2).frames(np.arange(4), EVALUATION)


@pytest.mark.parametrize(("time", "unit"), [(0.5, 700), (-0.5, 3), (np.nan, 3), (np.inf, 3), (61.0, 3)])
def test_a_spike_out_of_range_is_an_error(tmp_path: Path, time: float, unit: int) -> None:
    path = changed(tmp_path, "spikes/times", np.array([time], np.float16))
    with h5py.File(path, "a") as file:
        file["spikes/units"][3] = np.array([unit], np.uint16)
    with pytest.raises(DataError, match="recording 3 must have times from 0 to 60 s and channels from 0 to 699"):
        read_spikes(path, 2).frames(np.arange(4), EVALUATION)


def test_a_file_that_is_cut_is_an_error(tmp_path: Path) -> None:
    write_shd(tmp_path)
    path = tmp_path / "SHD/shd_train.h5"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=f"{path}: must be a whole file of SHD"):
        read_spikes(path, 2)


def test_without_h5py_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shd(tmp_path)

    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DataError, match=r"h5py .*not installed"):
        read_spikes(tmp_path / "SHD/shd_train.h5", 2)


def test_channels_are_rolled_and_time_is_not(tmp_path: Path) -> None:
    write_shd(tmp_path)
    samples = read_spikes(tmp_path / "SHD/shd_train.h5", 5)
    plain = samples.frames(np.arange(40), EVALUATION)
    found = VariedFrames(samples, NoAugment(roll=3)).frames(np.arange(40), Draw(0, 1, augments=True))
    shifts = [next(s for s in range(-3, 4) if torch.equal(plain[:, n].roll(s, -1), found[:, n])) for n in range(40)]
    assert len(set(shifts)) == 7


def test_its_shape_is_known_without_it() -> None:
    splits = described(data_section("shd", time_steps=5, encoding="events"), seed=0)
    assert splits is not None and splits.sample_shape == (700,)
    x, _ = next(iter(splits.train))
    assert x.shape == (5, 2, 700) and x.max() > 0
