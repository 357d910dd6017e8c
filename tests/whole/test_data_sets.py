"""The paper's four data sets, from files in their official layouts to a priced, exact integer network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torchvision import datasets

from mdcompress.data import recording_sets
from mdcompress.data.recording_sets import NCALTECH101, Part
from mdcompress.recipe import load_recipe
from tests.support.command_line import invoke
from tests.support.official_sets import write_cifar, write_ncaltech101, write_tiny_imagenet

NETWORK = """\
from torch import nn
from mdcompress.zoo import LIF

class Small(nn.Module):
    def __init__(self, channels, size, classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, size // 8, stride=size // 8, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.neuron, self.head = LIF(tau=2.0), nn.Linear(6 * 64, classes)

    def forward(self, x):
        steps, count = x.shape[:2]
        current = self.norm(self.conv(x.flatten(0, 1)))
        spikes = self.neuron(current.unflatten(0, (steps, count)))
        return self.head(spikes.flatten(2)).mean(0)

def cifar10(): return Small(3, 32, 10)
def cifar100(): return Small(3, 32, 100)
def tiny_imagenet(): return Small(3, 64, 3)
def ncaltech101(): return Small(2, 48, 3)
"""
SETS = ("cifar10", "cifar100", "tiny_imagenet", "ncaltech101")
SHAPES = {"cifar10": "3x32x32", "cifar100": "3x32x32", "tiny_imagenet": "3x64x64", "ncaltech101": "2x48x48"}


def write(name: str, folder: Path) -> None:
    match name:
        case "cifar10":
            write_cifar(folder, datasets.CIFAR10)
        case "cifar100":
            write_cifar(folder, datasets.CIFAR100)
        case "tiny_imagenet":
            write_tiny_imagenet(folder)
        case "ncaltech101":
            write_ncaltech101(folder, of_each=12)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a small network for each set."""
    (tmp_path / "small_network.py").write_text(NETWORK)
    (tmp_path / "data").mkdir()
    part = Part("NCALTECH101/Caltech101", 36)
    monkeypatch.setattr(recording_sets, "NCALTECH101", replace(NCALTECH101, parts=(part,)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changes(name: str, *more: str) -> list[str]:
    """The shipped recipe of a set with the small network and short trainings."""
    changed = (
        "teacher.epochs=1", "teacher.autocast=none", "distill.epochs=1", "distill.membrane.match='**'",
        "data.calibration_samples=16", "data.time_steps=2", "data.workers=0", *more,
    )  # fmt: skip
    sets = [part for change in changed for part in ("--set", change)]
    return ["--recipe", f"{name}_ms_resnet18", "--model", f"small_network:{name}", *sets]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_set_in_its_official_layout_becomes_an_exact_priced_network(small: Path, name: str) -> None:
    write(name, small / "data")
    result = invoke("run", *changes(name), "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    stages = {stage["stage"]: stage for stage in document["stages"]}
    assert list(stages) == ["train", "quantize", "distill", "export", "estimate-hw"]
    assert 0.0 <= document["test_accuracy"]["distilled"] <= 1.0
    measured = stages["export"]["measured"]  # no value differed, or there were no export
    assert measured["parity_values"] > 1000 and measured["parity_spikes"] > 0
    run = small / "runs" / f"{name}_ms_resnet18"
    assert {"model.onnx", "golden.npz", "hardware.json"} <= {path.name for path in run.iterdir()}
    assert (small / "data/mdcompress_cache").exists() == (name == "ncaltech101")


@pytest.mark.parametrize("name", SETS)
def test_dry_run_of_a_shipped_recipe_needs_no_data(small: Path, name: str) -> None:
    """Whole networks are planned by the benchmarks; here the shapes are what counts."""
    result = invoke("run", *changes(name), "--dry-run", "--json")
    assert result.code == 0, result.err
    rows = {row["node"]: row for row in json.loads(result.out)}
    assert rows["input"]["shape"] == SHAPES[name]
    assert f"data set `{name}` must be in data" in result.err and "those of the set's description" in result.err
    assert not (small / "runs").exists() and list((small / "data").iterdir()) == []


def test_dry_run_of_a_set_of_any_shape_needs_it(small: Path) -> None:
    result = invoke("quantize", *changes("cifar10", "data.name=image_folder"), "--dry-run")
    assert result.code == 1 and "data set `image_folder` must be in data: train is missing" in result.err


@pytest.mark.parametrize("name", SETS)
def test_shipped_recipe_is_that_of_its_set_and_valid(small: Path, name: str) -> None:
    data = load_recipe(f"{name}_ms_resnet18").data
    assert (data.time_steps, data.workers, data.pin_memory) == (4, 4, True) and data.augment.given
    assert (data.size, data.cache) == ((48, True) if name == "ncaltech101" else (None, False))
