"""The embedded digits, and what a request for data may say."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier

import mdcompress.data
from mdcompress.data.batches import Batches
from mdcompress.data.loading import load_data
from mdcompress.data.names import DATA_SETS, Download
from mdcompress.data.splits import DataSplits
from mdcompress.errors import DataError, MissingDataError
from mdcompress.recipe import DataSpec
from tests.support.data_batches import data_section, whole


def spec(**changed: object) -> SimpleNamespace:
    section = {"batch_size": 64, **changed}
    return data_section(str(section.pop("name", "digits")), **section)


def parts(splits: DataSplits) -> tuple[Batches, Batches, Batches]:
    return splits.train, splits.validation, splits.test


def linear_accuracy(splits: DataSplits) -> float:
    """Test accuracy of a linear (ridge) classifier on the frames as they are."""
    (x, y), (x_test, y_test) = whole(splits.train), whole(splits.test)
    flat, flat_test = (frames.transpose(0, 1).flatten(1).numpy() for frames in (x, x_test))
    return float(RidgeClassifier().fit(flat, y.numpy()).score(flat_test, y_test.numpy()))


def test_digits_are_split_60_20_20_with_every_digit_in_its_share() -> None:
    splits = load_data(spec(), seed=0)
    labels = [whole(part)[1] for part in parts(splits)]
    assert [len(part) for part in labels] == [1079, 359, 359]
    shares = np.array([np.bincount(part, minlength=10) / len(part) for part in labels])
    assert np.ptp(shares, axis=0).max() < 0.005
    assert splits.classes == tuple("0123456789") and splits.sample_shape == (1, 8, 8)


def test_digits_lie_on_the_grid_of_sixteenths_and_repeat_over_time() -> None:
    x, _ = whole(load_data(spec(time_steps=3), seed=0).test)
    assert x.shape == (3, 359, 1, 8, 8) and x.dtype == torch.float32
    assert x.min() == 0 and x.max() == 1
    assert torch.equal(x * 16, (x * 16).round())
    assert torch.equal(x[0], x[2])


def test_each_scan_is_in_exactly_one_split() -> None:
    from sklearn.datasets import load_digits

    scans = torch.cat([whole(part)[0][0] for part in parts(load_data(spec(), seed=3))]).flatten(1) * 16
    assert sorted(map(tuple, scans.tolist())) == sorted(map(tuple, load_digits().data.tolist()))


def test_scikit_learn_is_not_imported_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # an import of it would fail
    assert len(load_data(spec(), seed=0).test) > 0


def test_without_scikit_learn_the_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    for there, said in ((found, str(tmp_path / "datasets" / "data" / "digits.csv.gz")), (None, "looked in none")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name, there=there: there)
        with pytest.raises(MissingDataError, match=re.escape(said)):
            load_data(spec(), seed=0)


def test_the_test_split_is_frozen() -> None:
    # golden: class of the first test scans; a change mixes old training samples into the test set
    _, y = next(iter(load_data(spec(), seed=0).test))
    assert y[:20].tolist() == GOLDEN_TEST_LABELS


GOLDEN_TEST_LABELS = [4, 3, 6, 5, 9, 5, 0, 2, 1, 0, 5, 2, 0, 6, 3, 1, 7, 1, 7, 4]


def test_only_the_order_of_training_depends_on_the_seed() -> None:
    one, two = (load_data(spec(encoding="rate"), seed=seed) for seed in (1, 2))
    assert torch.equal(whole(one.test)[0], whole(two.test)[0])
    assert torch.equal(whole(one.validation)[0], whole(two.validation)[0])
    assert not torch.equal(whole(one.train)[1], whole(two.train)[1])


def test_rate_coded_training_is_drawn_anew_each_epoch_and_test_is_not() -> None:
    splits = load_data(spec(encoding="rate"), seed=0)
    before = [whole(part)[0] for part in parts(splits)]
    for part in parts(splits):
        part.set_epoch(1)
    after = [whole(part)[0] for part in parts(splits)]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [False, True, True]


def test_digits_events_are_digits_under_the_event_encoding() -> None:
    by_name = load_data(spec(name="digits_events", batch_size=400), seed=0)
    by_encoding = load_data(spec(encoding="events", batch_size=400), seed=0)
    assert torch.equal(whole(by_name.test)[0], whole(by_encoding.test)[0])
    assert by_name.sample_shape == (2, 16, 16)
    assert torch.equal(whole(by_name.test)[1], whole(load_data(spec(), seed=0).test)[1])


def test_a_linear_classifier_reads_the_digit_from_the_events() -> None:
    assert linear_accuracy(load_data(spec(), seed=0)) > 0.93  # 0.947 measured
    assert linear_accuracy(load_data(spec(name="digits_events", time_steps=4), seed=0)) > 0.92  # 0.942 measured


def test_events_of_digits_are_sparse() -> None:
    x, _ = whole(load_data(spec(name="digits_events", time_steps=4), seed=0).test)
    assert 0.1 < (x > 0).float().mean() < 0.4
    assert x.max() <= 15  # fits the 4-bit inputs of the smallest recipes


def test_a_recipes_data_section_is_accepted() -> None:
    splits = load_data(DataSpec(name="digits", time_steps=1, batch_size=100), seed=0)
    assert len(splits.train) == 11


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "digit"}, "did you mean `digits`?"),
        ({"name": "imagenet"}, "must be one of digits, mnist"),
        ({"encoding": "poisson"}, "data.encoding: must be one of direct, rate, events (got 'poisson')"),
        ({"name": "nmnist", "encoding": "rate"}, "`nmnist` is made of events and cannot be rate-coded"),
        ({"name": "own:loaders", "encoding": "rate"}, "must be direct with loaders of one's own"),
        ({"time_steps": 0}, "data.time_steps: must be at least 1 (got 0)"),
        ({"batch_size": -1}, "data.batch_size: must be at least 1 (got -1)"),
    ],
)
def test_a_request_that_cannot_be_met_says_what_can(changed: dict[str, object], said: str) -> None:
    with pytest.raises(DataError) as raised:
        load_data(spec(**changed), seed=0)
    assert said in str(raised.value)
    assert "hint:" in str(raised.value)


def test_importing_the_package_and_its_names_costs_no_torch() -> None:
    script = (
        "import sys, mdcompress.data, mdcompress.data.names; mdcompress.data.DATA_SETS; "
        "print(sorted({'torch', 'numpy', 'sklearn', 'tonic', 'torchvision'} & set(sys.modules)))"
    )
    root = Path(mdcompress.data.__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert out.stdout.strip() == "[]"


def test_the_packages_public_names_can_be_had() -> None:
    assert mdcompress.data.load_data is load_data
    assert mdcompress.data.Download is Download and mdcompress.data.DATA_SETS is DATA_SETS
    assert all(hasattr(mdcompress.data, name) for name in dir(mdcompress.data))
    with pytest.raises(AttributeError, match="no attribute 'loader'"):
        mdcompress.data.loader  # noqa: B018
