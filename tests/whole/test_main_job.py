"""The shipped recipes on the embedded digits: exact on the whole test split, and accurate."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import onnx
import onnx.checker
import pytest
import torch
from onnx.reference import ReferenceEvaluator

import intsnn
import mdcompress as md
from mdcompress import zoo
from mdcompress.data import DataSplits, calibration, load_data
from mdcompress.evaluation import evaluate
from mdcompress.student import Student
from tests.support.command_line import invoke
from tests.support.main_run import MainRun

pytestmark = pytest.mark.slow
RECIPES = ("8bit", "4bit", "2bit", "ternary")


@cache
def digits() -> DataSplits:
    return load_data(md.load_recipe("4bit").data, seed=0)


def teacher_from(run: MainRun) -> torch.nn.Module:
    network = zoo.digits_snn()
    md.load_weights(network, run.folder / "runs" / "4bit" / "teacher.safetensors")
    return network.eval()


def calibrated(name: str, teacher: torch.nn.Module) -> Student:
    recipe = md.load_recipe(name)
    batches = [x for x, _ in calibration(digits(), recipe.data.calibration_samples, seed=0)]
    return md.compress(teacher, batches[0][:, :2], recipe, batches)


def test_the_run_is_one_json_document_from_data_to_hardware_figures(
    main_run: MainRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(main_run.folder, tmp_path / "main"))
    result = invoke("run", "--recipe", "recipes/4bit.yaml", "--min-accuracy", "0.9", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert min(document["test_accuracy"].values()) > 0.9
    parity = document["stages"][3]["measured"]
    assert parity["parity_values"] > 1e6 and parity["parity_spikes"] > 1e4 and 0 < parity["mean_spike_rate"] < 1
    assert document["stages"][4]["measured"]["energy_pj"] > 0
    assert invoke("check", "runs/4bit/model.onnx", "runs/4bit/recipe.yaml").code == 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_exact_on_the_whole_test_split_and_fires_everywhere(name: str, main_run: MainRun) -> None:
    student = calibrated(name, teacher_from(main_run))
    report = md.verify(student, torch.cat([x for x, _ in digits().test], dim=1))
    assert report.equal, str(report)
    assert report.samples == 359
    assert report.silent == ()


def test_the_teacher_is_accurate(main_run: MainRun) -> None:
    assert evaluate(teacher_from(main_run), digits().test).accuracy >= 0.98


def test_calibration_alone_gives_a_usable_8_bit_student(main_run: MainRun) -> None:
    teacher = teacher_from(main_run)
    loss = evaluate(teacher, digits().test).accuracy - evaluate(calibrated("8bit", teacher), digits().test).accuracy
    assert loss <= 0.01


def test_the_distilled_student_of_the_run_is_near_its_teacher(main_run: MainRun) -> None:
    student = md.load_student(Path(main_run.folder, "runs", "4bit", "distilled.safetensors"))
    teacher = teacher_from(main_run)
    loss = evaluate(teacher, digits().test).accuracy - evaluate(student, digits().test).accuracy
    assert loss <= 0.015


def test_the_exported_file_passes_the_full_check_and_onnx_reference_evaluator_agrees(main_run: MainRun) -> None:
    """A third implementation, by other people: ONNX's own evaluator on the file that `run` wrote."""
    path = main_run.folder / "runs" / "4bit" / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    graph = intsnn.read_onnx(path)
    student = md.load_student(main_run.folder / "runs" / "4bit" / "distilled.safetensors")
    x = student.quantize_input(next(iter(digits().test))[0][:, :8]).numpy()
    expected = intsnn.run(graph, x)
    (logits,) = ReferenceEvaluator(str(path)).run(None, {"x": x.astype("uint8")})
    assert logits.dtype == "int32"
    assert (logits == expected.output).all()
    assert all(spikes.any() for spikes in expected.spikes.values())
