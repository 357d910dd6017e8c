"""`distill.weights: keep`: weights stay the integers they were, all else is trained; afterwards all can be."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mdcompress.compression import compress
from mdcompress.errors import TrainingError
from mdcompress.evaluation.verification import verify
from mdcompress.recipe import DistillSpec, Recipe
from mdcompress.student import Student
from mdcompress.student.lowering import lower
from mdcompress.training import Event, StepRecord, distill
from tests.support.command_line import copy_finished_run, invoke
from tests.support.training_cases import FAST, RECIPE, Shuffled, StoppedError, Tiny, state_of

KEEP = DistillSpec(epochs=2, weights="keep")
LABELS = DistillSpec(epochs=2, weights="keep", logits=None, membrane=None)


def weights_of(student: Student) -> dict[str, np.ndarray]:
    """The integers of each layer in the exported graph."""
    return {node.name: node.weight for node in lower(student.eval()) if hasattr(node, "weight")}


def changed(student: Student, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["quantize", "fold", "power_of_two"])
def test_the_exported_weights_are_those_of_the_calibrated_student(teacher: nn.Module, mode: str) -> None:
    recipe = RECIPE.model_copy(update={"quantize": RECIPE.quantize.model_copy(update={"batch_norm": _norm(mode)})})
    batches = list(Shuffled())
    student = compress(teacher, batches[0][0], recipe, batches)
    weights, before = weights_of(student), state_of(student)
    data = Shuffled()
    distill(student, teacher=teacher, train=data, validate=data, spec=KEEP.model_copy(update={"best": "loss"}))
    after = weights_of(student)
    assert len(after) == 2 and all(np.array_equal(after[name], weights[name]) for name in weights)
    moved = changed(student, before)
    assert any("units." in name for name in moved) and any(name.endswith("bias") for name in moved)
    assert not any(".layer.weight" in name for name in moved)
    report = verify(student, Shuffled().x)
    assert report.equal and report.spikes > 0


@pytest.mark.slow
def test_a_training_that_does_not_keep_them_changes_them(quantized: Student, teacher: nn.Module) -> None:
    student, data = copy.deepcopy(quantized), Shuffled()
    before = weights_of(student)
    distill(student, teacher=teacher, train=data, validate=data, spec=DistillSpec(epochs=5, best="loss"), settings=FAST)
    assert any(not np.array_equal(found, before[name]) for name, found in weights_of(student).items())


def test_afterwards_everything_can_be_trained_as_before(quantized: Student, teacher: nn.Module) -> None:
    """Also where the training is broken off."""

    def stop(event: Event) -> None:
        if isinstance(event, StepRecord):
            raise StoppedError

    student, data = copy.deepcopy(quantized), Shuffled()
    student.synapse("head").layer.weight.requires_grad_(False)  # what its owner froze stays frozen
    wanted = {name: parameter.requires_grad for name, parameter in student.named_parameters()}
    with pytest.raises(StoppedError):
        distill(student, teacher=teacher, train=data, validate=data, spec=KEEP, progress=stop)
    assert {name: parameter.requires_grad for name, parameter in student.named_parameters()} == wanted
    distill(student, teacher=teacher, train=data, validate=data, spec=KEEP)
    assert {name: parameter.requires_grad for name, parameter in student.named_parameters()} == wanted


class Bare(Tiny):
    """No norm and no bias: only weights, and the range of its membrane."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(8, 12, bias=False), nn.Linear(12, 3, bias=False)
        self.add_module("norm", nn.Identity())


@pytest.mark.parametrize("scale", ["learned", "calibrated"])
def test_a_student_of_weights_alone_has_nothing_to_train(scale: str) -> None:
    torch.manual_seed(0)
    data = list(Shuffled())
    recipe = Recipe.model_validate({"name": "bare", "quantize": {"membrane": {"scale": scale}}})
    student = compress(Bare().eval(), data[0][0], recipe, data)
    if scale == "learned":
        distill(student, teacher=None, train=data, validate=data, spec=LABELS)
        return
    with pytest.raises(TrainingError, match="weights: keep must leave something to train"):
        distill(student, teacher=None, train=data, validate=data, spec=LABELS)
    assert all(parameter.requires_grad for parameter in student.parameters() if parameter.dim() == 2)


def test_stages_of_falling_bits_would_change_them() -> None:
    with pytest.raises(ValidationError, match="must be empty where weights keep their integers"):
        DistillSpec.model_validate({"weights": "keep", "gradual": ({"epoch": 0, "membrane": 8}, {"epoch": 1})})


def _norm(mode: str) -> object:
    return RECIPE.quantize.batch_norm.model_copy(update={"mode": mode})


@pytest.mark.slow
def test_a_student_without_batch_norm_is_told_how_little_is_trained(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    for weights, epochs, told in (("keep", 1, True), ("keep", 0, False), ("train", 1, False)):
        changes = ("--set", f"distill.weights={weights}", "--set", f"distill.epochs={epochs}")
        result = invoke("distill", "--run", "tiny", *changes, "--force")
        assert result.code == 0, result.err
        assert ("trains no gain here, as the student has no batch norm" in result.err) is told
        assert ("kept       the calibrated student: distill.epochs is 0" in result.out) is (epochs == 0)
