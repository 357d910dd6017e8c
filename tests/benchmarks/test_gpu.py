"""The GPU's benchmark on a CPU: the same code on a narrow network and a few samples."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision import datasets

from benchmarks import gpu
from benchmarks.experiment_data import CIFAR10_FILE
from benchmarks.experiment_networks import cifar10
from mdcompress.errors import DataError
from mdcompress.recipe import load_recipe
from mdcompress.runs.manifest import Stage
from tests.support.official_sets import write_cifar

TASKS = tuple(gpu.tasks())
DONE = ["train 4bit", *(f"{stage} {bits}" for bits in ("4bit", "2bit") for stage in ("quantize", "distill", "export"))]


def options(folder: Path, *more: str) -> list[str]:
    return ["--data-folder", str(folder), "--work", str(folder / "runs"), "--device", "cpu", "--small", *more]


@pytest.mark.slow
def test_small_run_on_a_cpu_is_stopped_goes_on_and_reports_exact_students(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network of 4 layers: the 21 of MS-ResNet-18 take half a minute, however narrow they are."""
    write_cifar(tmp_path, datasets.CIFAR10)
    monkeypatch.chdir(tmp_path)
    shallow = replace(gpu.SMALL, network="benchmarks.experiment_networks:cifar10", build=cifar10)
    monkeypatch.setattr(gpu, "SMALL", shallow)
    gpu.main(options(tmp_path, "--deadline", "0"))
    assert capsys.readouterr().out == "stopped at the deadline, before `train 4bit`; the same command goes on there\n"
    place = gpu.Place(torch.device("cpu"), tmp_path, tmp_path / "runs", gpu.SMALL)
    with monkeypatch.context() as patched:
        patched.setattr(gpu, "tasks", lambda: iter(TASKS[:2]))
        assert gpu.perform(place, started=time.monotonic(), deadline=600.0) is None
    before = place.run("4bit").manifest().stages
    assert list(before) == ["train", "quantize"]
    gpu.main(options(tmp_path))
    page = capsys.readouterr().out
    stages = place.run("4bit").manifest().stages
    assert {name: stages[name] for name in before} == before, "what has finished is not done again"
    cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if "|" in line)
    rows = {name: row for name, *row in cells}
    for bits in ("4bit", "2bit"):
        accuracy, calibrated, at_export, on_device, differ = rows[bits]
        assert accuracy.endswith("%") and calibrated.endswith("%") and differ == "0"
        assert int(at_export.replace(",", "")) > int(on_device.replace(",", "")) > 10_000
    assert [name for name in rows if name in DONE] == DONE
    assert all(float(rows[f"{stage} {bits}"][2]) >= 0.0 for stage, bits in (("train", "4bit"), ("distill", "2bit")))
    assert rows["float network"][1] == rows["float network, bfloat16"][2] == "1.00"
    assert float(rows["4-bit student, with teacher, logits and membranes"][0]) > 0.0


def test_whole_run_is_that_of_the_shipped_recipe_with_known_keys(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    official = arguments(tmp_path, "2bit", Stage.DISTILL)
    recipe = load_recipe("cifar10_ms_resnet18", changes=changes_of(official))
    assert recipe.quantize.weight.bit_width == recipe.quantize.membrane.bit_width == 2
    assert recipe.teacher.autocast == "bfloat16" and recipe.data.augment.flip and recipe.data.name == "cifar10"
    assert not recipe.train.deterministic and recipe.train.checkpoint_every == 500
    assert official[official.index("--weights") + 1] == str(tmp_path / "runs/4bit/teacher.safetensors")
    (tmp_path / "cifar-10-batches-py").rmdir()
    (tmp_path / CIFAR10_FILE).touch()
    packed = arguments(tmp_path, "4bit", Stage.TRAIN)
    recipe = load_recipe("cifar10_ms_resnet18", changes=changes_of(packed))
    assert recipe.data.name == "benchmarks.experiment_data:cifar10_teacher" and not recipe.data.augment.given
    assert recipe.quantize.weight.bit_width == 4 and "--weights" not in packed


def test_folder_without_the_images_is_an_error_that_says_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold cifar-10-batches-py or cifar10_jpeg_q75.npz \(it has neither\)"):
        arguments(tmp_path, "4bit", Stage.TRAIN)


def arguments(folder: Path, student: str, stage: Stage) -> list[str]:
    place = gpu.Place(torch.device("cpu"), folder, folder / "runs", gpu.WHOLE)
    return gpu.arguments_of(gpu.Task(student, stage), place)


def changes_of(line: list[str]) -> list[str]:
    return [value for option, value in itertools.pairwise(line) if option == "--set"]
