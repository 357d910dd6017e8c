"""Teachers that the student was not traced from: an ANN, and spiking networks of another architecture."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from intsnn.errors import InvalidFileError
from intsnn.yaml.file import read_yaml_text
from mdcompress.data import DataSplits, load_data
from mdcompress.errors import TrainingError
from mdcompress.evaluation import evaluate
from mdcompress.losses import logit_loss, membrane_loss
from mdcompress.pipeline.pages.facts import read_facts
from mdcompress.pipeline.pages.scores import scores_of
from mdcompress.recipe import (
    RECIPE_SCHEMA,
    DistillSpec,
    LogitLossSpec,
    MembraneLossSpec,
    RateLossSpec,
    Recipe,
    load_recipe,
)
from mdcompress.recipe.distilling import Potential
from mdcompress.runs import RunDirectory
from mdcompress.student import Student
from mdcompress.student.observation import observe
from mdcompress.student.weights import load_student, save_weights
from mdcompress.tracing import trace
from mdcompress.training import EpochRecord, Event, OtherTeacher, distill
from mdcompress.zoo import LIF
from tests.support.command_line import TINY_NETWORK, TINY_RECIPE, invoke
from tests.support.training_cases import CLASSES, FAST, FEATURES, Shuffled, Tiny, assert_same_state, state_of

ANSWERS = DistillSpec(epochs=2, task=None, membrane=None)
MEMBRANES = DistillSpec(epochs=1, task=None, logits=None)


class Ann(nn.Module):
    """No neuron, and one input for all steps: the nearest of the clusters' means."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        data = Shuffled()
        centres = torch.stack([data.x[0, data.y == label].mean(0) for label in range(CLASSES)])
        self.head = nn.Linear(FEATURES, classes)
        with torch.no_grad():
            self.head.weight[:CLASSES] = 20 * centres
            self.head.bias[:CLASSES] = -10 * centres.square().sum(1)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise ValueError("an image has no steps")
        logits: Tensor = self.head(x)
        return logits


class Deeper(nn.Module):
    """Another architecture: two neuron layers, the second as wide as the student's, with another threshold."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one, self.first = nn.Linear(FEATURES, 20), LIF()
        self.two, self.second = nn.Linear(20, width), LIF(threshold=0.5)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.two(self.first(self.one(x)))))
        return logits.mean(0)


@pytest.fixture
def student(quantized: Student) -> Student:
    return copy.deepcopy(quantized)


def start_of(student: Student, teacher: OtherTeacher, spec: DistillSpec) -> EpochRecord:
    """Epoch 0 of a training under a teacher."""
    events: list[Event] = []
    distill(student, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=spec, progress=events.append)
    return next(event for event in events if isinstance(event, EpochRecord))


# ------------------------------------------------------------------ answers


@pytest.mark.slow
def test_an_ann_teaches_its_answers(student: Student) -> None:
    """To a student whose answers were spoilt; the ANN is left as it was."""
    ann = Ann()
    assert evaluate(nn.Sequential(_Mean(), ann), Shuffled()).accuracy > 0.9
    with torch.no_grad():
        student.get_parameter("layers.head.layer.weight").mul_(-1)
    spoilt, before = evaluate(student, Shuffled()).accuracy, state_of(ann)
    assert spoilt < 0.2
    spec = ANSWERS.model_copy(update={"epochs": 6})
    distill(
        student, teacher=OtherTeacher(ann, "mean"), train=Shuffled(), validate=Shuffled(), spec=spec,
        settings=FAST.model_copy(update={"optimizer": FAST.optimizer.model_copy(update={"lr": 0.1})}),
    )  # fmt: skip
    assert evaluate(student, Shuffled()).accuracy > 0.8
    assert_same_state(ann, before)


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


@pytest.mark.parametrize("on", ["mean", "steps"])
def test_its_one_answer_stands_beside_every_step(student: Student, on: str) -> None:
    spec = DistillSpec(epochs=1, task=None, membrane=None, logits=LogitLossSpec.model_validate({"weight": 1, "on": on}))
    before = copy.deepcopy(student)
    record = start_of(student, OtherTeacher(Ann(), "mean"), spec)
    x = torch.cat([x for x, _ in Shuffled()], 1)
    with torch.no_grad():
        seen, answer = before.eval().observe(x), Ann()(x.mean(0))
        own = seen.logits.mean(0, keepdim=True) if on == "mean" else seen.logits
        expected = torch.stack([logit_loss(each[None], answer[None]) for each in own]).mean()
    assert record.validation_total == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: OtherTeacher(Ann()),
            r"must answer a batch \[3, 16, 8\] \(it raised ValueError: an image has no steps\)",
        ),
        (lambda: OtherTeacher(Ann(5), "mean"), r"\[N, 3\] or \[T, N, 3\].* it gives \[16, 5\] at 3 steps"),
    ],
)
def test_a_teacher_that_cannot_answer_as_the_student_is_refused(
    student: Student, make: Callable[[], OtherTeacher], words: str
) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        distill(student, teacher=make(), train=Shuffled(), validate=Shuffled(), spec=ANSWERS)
    assert caught.value.hints


# ------------------------------------------------------------------ membranes


def test_layers_stand_beside_each_other_as_the_mapping_says_in_thresholds(student: Student) -> None:
    """The student's `neuron`, threshold 1, beside `second`, threshold 1/2, whose potentials count twice."""
    before, other = copy.deepcopy(student).eval(), Deeper()
    record = start_of(student, OtherTeacher(other, neurons={"neuron": "second"}), MEMBRANES)
    x = torch.cat([x for x, _ in Shuffled()], 1)
    with torch.no_grad():
        theirs = observe(other, trace(other, x[:, :2]), x).potentials["second"]
        expected = membrane_loss(before.observe(x).potentials["neuron"], 2 * theirs, threshold=1.0)
    assert record.validation_total == pytest.approx(expected.item(), rel=1e-4)


def test_a_mapping_with_the_names_of_wrapped_networks_of_before_says_the_same(student: Student) -> None:
    other = Deeper()
    now, before = {"neuron": "second"}, {"network.neuron": "network.second"}
    own = trace(other, torch.cat([x for x, _ in Shuffled()], 1)[:, :2])
    found = [OtherTeacher(other, neurons=names).counterparts(own, student.graph) for names in (now, before)]
    assert found[0] == found[1] and found[0]["neuron"] == "second"


@pytest.mark.slow
@pytest.mark.parametrize("potential", get_args(Potential))
def test_the_own_network_as_another_teacher_teaches_the_same(
    student: Student, teacher: nn.Module, potential: Potential
) -> None:
    """At its own T and at fewer steps; rates and membranes by the same names."""
    membrane = MembraneLossSpec(potential=potential)
    spec = DistillSpec(epochs=1, time_steps=(2,), membrane=membrane, rates=RateLossSpec(align="first_steps"))
    beside = copy.deepcopy(student)
    for each, given in ((student, teacher), (beside, OtherTeacher(teacher))):
        distill(each, teacher=given, train=Shuffled(), validate=Shuffled(), spec=spec, settings=FAST)
    assert_same_state(beside, state_of(student))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OtherTeacher(Deeper()), r"shape \(12,\) beside 'neuron' \(it has none of that name\)"),
        (lambda: OtherTeacher(Deeper(7), neurons={"neuron": "second"}), r"beside 'neuron' \(it has \(7,\)\)"),
        (lambda: OtherTeacher(Deeper(), neurons={"neuron": "third"}), "the teacher has no 'third'"),
        (lambda: OtherTeacher(Deeper(), neurons={"nerve": "second"}), "the student has no 'nerve'"),
        (lambda: OtherTeacher(Ann(), "mean"), "a teacher that reads every step"),
        (lambda: OtherTeacher(_WithoutNeurons()), "it has none of that name"),
    ],
)
def test_layers_that_do_not_correspond_are_an_error_with_the_names_there_are(
    student: Student, make: Callable[[], OtherTeacher], words: str
) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        distill(student, teacher=make(), train=Shuffled(), validate=Shuffled(), spec=MEMBRANES)
    hints = " ".join(caught.value.hints)
    assert "first, second" in hints or "ANN" in hints


class _WithoutNeurons(nn.Module):
    """Every step is answered, and nothing fires."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x)
        return logits.mean(0)


# ------------------------------------------------------------------ the recipe


def read(distill_section: str) -> Recipe:
    text = f"schema: {RECIPE_SCHEMA}\nname: mine\ndistill: {distill_section}\n"
    return read_yaml_text(text, "mine.yaml", Recipe, schema=RECIPE_SCHEMA)


@pytest.mark.parametrize(
    ("section", "place", "words"),
    [
        ("{teacher: {builder: 'a:b', reads: mean}}", "distill.membrane", "an ANN has no membranes"),
        ("{teacher: {builder: 'a:b', reads: mean}, membrane: null, rates: {}}", "distill.rates", "an ANN has no"),
        ("{teacher: {builder: 'a:b', neurons: {n: m}}, membrane: null}", "distill.teacher.neurons", "must be empty"),
        ("{teacher: {builder: 'a:b'}, logits: null, membrane: null}", "distill.teacher", "nothing is learned from it"),
        ("{teacher: {builder: 'net.py'}}", "distill.teacher.builder", "must be an import path"),
    ],
)
def test_what_the_other_teacher_does_not_have_is_refused_when_the_recipe_is_read(
    section: str, place: str, words: str
) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read(section)
    assert place in str(caught.value) and words in str(caught.value)


ANN = """
from torch import nn

class Ann(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x):
        return self.layers(x)
"""
ANSWERS_OF_ANN = """\
distill:
  epochs: 1
  task: null
  logits: {weight: 1}
  membrane: null
  teacher: {builder: "ann_teacher:Ann", weights: ann.pt, reads: mean}
"""
RECIPE = TINY_RECIPE.replace("distill: {epochs: 1}\n", ANSWERS_OF_ANN)


def _trained_ann(data: DataSplits) -> nn.Module:
    """On the images themselves, all at once."""
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    x, y = (torch.cat(parts) for parts in zip(*((x[0], y) for x, y in data.train), strict=True))
    optimizer = torch.optim.Adam(ann.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(ann(x), y))
        optimizer.step()
    return ann


@pytest.mark.slow
def test_a_whole_run_on_digits_with_an_ann_as_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is validated is the divergence from the ANN's answers; without its weights nothing begins."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)
    (tmp_path / "ann_teacher.py").write_text(ANN)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    missing = invoke("run", "--recipe", "tiny.yaml")
    assert missing.code == 1 and "ann.pt: the weights of the other teacher must be there" in missing.err
    assert not (tmp_path / "runs/tiny/teacher.safetensors").exists()
    wrong = "distill.teacher={builder: 'ann_teacher:Missing', reads: mean}"
    for line in (("run",), ("train",), ("run", "--dry-run"), ("quantize", "--dry-run")):
        refused = invoke(*line, "--recipe", "tiny.yaml", "--set", wrong)
        assert refused.code != 0 and "'ann_teacher' has no function 'Missing'" in refused.err, refused.err
    assert not (tmp_path / "runs/tiny/teacher.safetensors").exists()
    data = load_data(load_recipe("tiny.yaml").data, seed=0)
    ann = _trained_ann(data)
    torch.save({f"layers.{name}": value for name, value in ann.state_dict().items()}, tmp_path / "ann.pt")
    result = invoke("run", "--recipe", "tiny.yaml")
    assert result.code == 0, result.err
    assert "parity     student = interpreter = onnxruntime = native" in result.out
    stage = json.loads((tmp_path / "runs/tiny/run.json").read_text())["stages"]["distill"]
    x, y = (torch.cat(parts) for parts in zip(*((x[0], y) for x, y in data.test), strict=True))
    accuracy = (ann(x).argmax(1) == y).double().mean().item()
    assert stage["measured"]["other_teacher_test_accuracy"] == pytest.approx(accuracy, abs=1e-12) and accuracy > 0.5
    assert f"| other teacher | {100 * accuracy:13.2f} % |".replace(" ", "") in result.out.replace(" ", "")
    scores = {score.network: score.accuracy for score in scores_of(read_facts(RunDirectory(Path("runs/tiny"))))}
    assert scores["other teacher"] == stage["measured"]["other_teacher_test_accuracy"]
    assert any(name.endswith("ann.pt") for name in stage["inputs"])
    student, losses, samples = load_student(tmp_path / "runs/tiny/quantized.safetensors"), 0.0, 0
    with torch.no_grad():
        for x, y in data.validation:
            losses += len(y) * float(logit_loss(student.observe(x).logits, ann(x[0])[None].expand(2, -1, -1)))
            samples += len(y)
    assert stage["measured"]["calibrated_validation_total_loss"] == pytest.approx(losses / samples, rel=1e-4)
    save_weights(Tiny(), tmp_path / "other.safetensors")
    foreign = invoke("distill", "--force", "--set", "distill.teacher.weights=other.safetensors")
    assert foreign.code == 1 and "other.safetensors" in foreign.err
