"""The user's own function for data."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from mdcompress.data.batches import Batch
from mdcompress.data.loading import load_data
from mdcompress.data.names import DEFAULT_FOLDER
from mdcompress.data.splits import DataSplits, calibration
from mdcompress.errors import DataError
from mdcompress.trust import GIVEN
from tests.support.data_batches import data_section

Loaders = Callable[..., object]  # a user's function, wrong ones too
Parts = tuple[list[Batch], list[Batch], list[Batch]]
T = 2


class Own(Protocol):
    """Loads what a function `loaders` of a module `own_data` returns."""

    def __call__(
        self, function: Loaders, *, name: str = "own_data:loaders", seed: int = 0, folder: Path | None = None
    ) -> DataSplits: ...


def batch(count: int = 4, *, first: int = 0) -> Batch:
    """x[t, n] = first + n, of shape [T, N, 1, 2, 2]."""
    values = torch.arange(first, first + count, dtype=torch.float32).reshape(1, count, 1, 1, 1)
    return values.repeat(T, 1, 1, 2, 2), torch.arange(first, first + count) % 3


GOOD = [batch(), batch(3, first=4)]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Own:
    def load(
        function: Loaders, *, name: str = "own_data:loaders", seed: int = 0, folder: Path | None = None
    ) -> DataSplits:
        module = ModuleType("own_data")
        vars(module)["loaders"] = function
        monkeypatch.setitem(sys.modules, "own_data", module)
        spec = data_section(name, time_steps=T, batch_size=4)
        return load_data(spec, seed=seed, folder=folder, consent=GIVEN)

    return load


def returning(train: object = None, validation: object = None, test: object = None) -> Loaders:
    parts = tuple(GOOD if part is None else part for part in (train, validation, test))
    return lambda time_steps, batch_size, seed: parts


def test_the_function_is_given_steps_batch_size_and_seed(own: Own) -> None:
    seen: dict[str, int] = {}

    def loaders(time_steps: int, batch_size: int, seed: int) -> Parts:
        seen.update(time_steps=time_steps, batch_size=batch_size, seed=seed)
        return GOOD, GOOD, GOOD

    splits = own(loaders, seed=7)
    assert seen == {"time_steps": T, "batch_size": 4, "seed": 7}
    assert splits.sample_shape == (1, 2, 2) and splits.classes == () and len(splits.train) == 2
    assert all(
        torch.equal(x, y) for given, got in zip(GOOD, splits.test, strict=True) for x, y in zip(given, got, strict=True)
    )


def test_a_function_with_a_parameter_folder_is_given_the_folder(own: Own, tmp_path: Path) -> None:
    seen = []

    def loaders(time_steps: int, batch_size: int, seed: int, folder: Path) -> Parts:
        seen.append(folder)
        return GOOD, GOOD, GOOD

    own(loaders, folder=tmp_path)
    own(loaders)
    assert seen == [tmp_path, DEFAULT_FOLDER]


def test_a_function_of_any_keywords_is_given_the_three_it_always_was(own: Own) -> None:
    seen: dict[str, object] = {}

    def loaders(**given: object) -> Parts:
        seen.update(given)
        return GOOD, GOOD, GOOD

    own(loaders)
    assert seen.keys() == {"time_steps", "batch_size", "seed"}


def test_batches_can_be_walked_again_and_are_float32_and_int64(own: Own) -> None:
    odd = [(batch()[0].to(torch.uint8), batch()[1].to(torch.int32))]
    splits = own(returning(train=odd))
    for _ in range(2):
        ((x, y),) = list(splits.train)
        assert x.dtype == torch.float32 and y.dtype == torch.int64 and torch.equal(x, batch()[0])


def test_names_of_classes_may_be_given(own: Own) -> None:
    splits = own(lambda time_steps, batch_size, seed: (GOOD, GOOD, GOOD, ["cat", "dog", "emu"]))
    assert splits.classes == ("cat", "dog", "emu")


def test_the_epoch_reaches_a_loader_and_a_sampler_that_ask_for_it(own: Own) -> None:
    class Epochs(list[Batch]):
        epochs: tuple[int, ...] = ()

        def set_epoch(self, epoch: int) -> None:
            self.epochs = (*self.epochs, epoch)

    data = TensorDataset(torch.zeros(6, 1), torch.zeros(6, dtype=torch.int64))
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(data, num_replicas=1, rank=0)
    loader = DataLoader(data, sampler=sampler, batch_size=2, collate_fn=lambda rows: batch(len(rows)))
    loaders = Epochs(GOOD)
    splits = own(returning(train=loaders, validation=loader))
    for part in (splits.train, splits.validation, splits.test):
        part.set_epoch(4)
    assert loaders.epochs == (4,) and sampler.epoch == 4


def test_calibration_takes_the_first_samples_of_epoch_0(own: Own) -> None:
    chosen = calibration(own(returning()), 6, seed=0)
    x = torch.cat([x for x, _ in chosen], dim=1)
    assert x[0, :, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


x_good, y_good = batch()
WRONG_BATCHES = [
    ("text", "must be a pair (x, y) (got str)"),
    ((x_good, y_good, y_good), "must be a pair (x, y) (got tuple)"),
    ((x_good.numpy(), y_good), "x and y must be torch tensors (got ndarray and Tensor)"),
    ((x_good.transpose(0, 1), y_good), "x must be [T, N, ...] with T = 2 (got [4, 2, 1, 2, 2])"),
    (
        (y_good, x_good),
        "must be a pair (x, y), the samples first (got shapes [4] and [2, 4, 1, 2, 2])\n"
        "    hint: give (x, y) and not (y, x)",
    ),
    ((x_good[:1, :, 0, 0, 0], y_good), "x must be [T, N, ...] with T = 2 (got [1, 4])"),
    (
        (x_good[:, :, 0, 0, 0], y_good),
        "x must be [T, N, ...] with an axis for what a sample holds at each step (got [2, 4])\n"
        "    hint: one number at each step is [T, N, 1]: x.unsqueeze(-1);",
    ),
    (
        (x_good[:, :, 0, 0, 0].T, y_good),
        "x must be [T, N, ...] with an axis for what a sample holds at each step (got [4, 2])",
    ),
    ((x_good, y_good[:3]), "y must be [N] with N = 4, as in x (got [3])"),
    ((x_good, torch.eye(4)), "y must be [N] with N = 4, as in x (got [4, 4])"),
    ((x_good / 0, y_good), "x must be finite real numbers"),
    ((x_good * 1j, y_good), "x must be finite real numbers"),
    ((x_good, y_good.float()), "y must be class numbers 0, 1, … (got torch.float32, smallest 0.0)"),
    ((x_good, y_good - 1), "y must be class numbers 0, 1, … (got torch.int64, smallest -1)"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG_BATCHES)
def test_a_wrong_batch_is_an_error_that_names_it(own: Own, wrong: object, said: str) -> None:
    splits = own(returning(test=[batch(), wrong]))
    with pytest.raises(DataError) as raised:
        list(splits.test)
    assert f"own_data:loaders, test, batch 1: {said}" in str(raised.value)
    assert "hint:" in str(raised.value)


def test_a_wrong_training_batch_is_found_at_once(own: Own) -> None:
    with pytest.raises(DataError, match="train, batch 0: must be a pair"):
        own(returning(train=["text"]))


class Endless:
    """Can be walked, but does not know its length."""

    def __iter__(self) -> Iterator[Batch]:
        return iter(GOOD)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda time_steps, batch_size, seed: GOOD, "must return (train, validation, test) (got list)"),
        (lambda time_steps, batch_size, seed: (GOOD, GOOD), "must return (train, validation, test) (got 2 values)"),
        (lambda time_steps: None, "must accept time_steps, batch_size and seed (got an unexpected keyword argument"),
        (returning(train=(b for b in GOOD)), "train: must be something that can be walked again and again (got gen"),
        (returning(validation=7), "validation: must be something that can be walked again and again (got int)"),
        (returning(test=Endless()), "test: must know its number of batches, at least 1 (got Endless without len())"),
        (returning(test=[]), "test: must know its number of batches, at least 1 (got 0 batches)"),
    ],
)
def test_a_function_that_does_not_fit_is_an_error_with_the_signature_it_needs(
    own: Own, function: Loaders, said: str
) -> None:
    with pytest.raises(DataError) as raised:
        own(function)
    assert f"own_data:loaders{',' if ': must' in said else ':'} {said}" in str(raised.value)
    assert "hint:" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:loaders", "module `no_such_module` cannot be found"),
        ("no_such_package.inner:loaders", "module `no_such_package.inner` cannot be found"),
        ("own_data:other", "`own_data` must have a function `other`"),
    ],
)
def test_a_function_that_cannot_be_found_is_an_error(own: Own, name: str, said: str) -> None:
    with pytest.raises(DataError) as raised:
        own(returning(), name=name)
    assert said in str(raised.value)


def test_a_module_missing_inside_the_users_module_is_not_called_missing_itself(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_broken.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        own(returning(), name="own_broken:loaders")
