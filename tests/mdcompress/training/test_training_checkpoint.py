"""Files that are no checkpoint of this training: each an error that names the difference, and nothing lost."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import TypedDict, Unpack

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mdcompress.compression import compress
from mdcompress.errors import CheckpointError, TrainingError
from mdcompress.recipe import DistillSpec, OptimizerSpec, Recipe, TeacherSpec, TrainSpec
from mdcompress.student import Student
from mdcompress.student.weights import restore
from mdcompress.training import (
    distill,
    read_history,
    train_network,
)
from tests.support.training_cases import (
    FAST,
    RECIPE,
    Doubled,
    Shuffled,
    assert_same_state,
    float_network,
    run,
    state_of,
)


@pytest.fixture
def student(quantized: Student) -> Student:
    return copy.deepcopy(quantized)


@pytest.fixture(scope="module")
def uninterrupted(quantized: Student, teacher: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run that nobody stopped; its end state lies beside it."""
    path = tmp_path_factory.mktemp("whole") / "last"
    student = copy.deepcopy(quantized)
    run(student, teacher, path)
    save_file(state_of(student), path.with_name("end"))
    return path


class Changes(TypedDict, total=False):
    """What differs from the training whose checkpoint is there."""

    seed: int
    spec: DistillSpec
    settings: TrainSpec
    train: Shuffled
    checkpoint_every: int


def changed_run(path: Path, student: Student, teacher: nn.Module, **changes: Unpack[Changes]) -> None:
    arguments: Changes = {
        "train": Shuffled(),
        "spec": DistillSpec(epochs=2, time_steps=(1, 3)),
        "settings": FAST,
        "seed": 0,
    }
    arguments.update(changes)
    distill(student, teacher=teacher, validate=Shuffled(), checkpoint=path, **arguments)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed: it has 0, this one 1"),
        ({"spec": DistillSpec(epochs=3, time_steps=(1, 3))}, "distill.epochs: it has 2, this one 3"),
        ({"settings": TrainSpec(optimizer=OptimizerSpec(lr=0.02))}, "train.optimizer.lr: it has 0.01, this one 0.02"),
        ({"train": Shuffled(batch_size=8)}, "batches: it has 6, this one 12"),
    ],
)
def test_a_checkpoint_of_another_training_is_an_error_that_names_the_difference(
    uninterrupted: Path, student: Student, teacher: nn.Module, changes: Changes, named: str
) -> None:
    before = uninterrupted.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        changed_run(uninterrupted, student, teacher, **changes)
    assert named in str(caught.value)
    assert "hint:" in str(caught.value)
    assert uninterrupted.read_bytes() == before


def test_a_checkpoint_of_another_plan_network_or_teacher_is_an_error(
    uninterrupted: Path, student: Student, teacher: nn.Module
) -> None:
    batches = list(Shuffled())
    coarse = Recipe.model_validate({"name": "coarse", "quantize": {"weight": {"bit_width": 2}}})
    with pytest.raises(CheckpointError, match="plan: it has"):
        changed_run(uninterrupted, compress(teacher, batches[0][0], coarse, batches), teacher)
    with pytest.raises(CheckpointError, match="network: it has"):
        changed_run(uninterrupted, compress(Doubled().eval(), batches[0][0], RECIPE, batches), Doubled().eval())
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.get_parameter("head.bias").add_(1.0)
    with pytest.raises(CheckpointError, match="teacher: it has"):
        changed_run(uninterrupted, student, other)


def test_the_checkpoint_of_a_float_training_is_no_checkpoint_of_a_distillation(
    tmp_path: Path, student: Student, teacher: nn.Module
) -> None:
    path = tmp_path / "last"
    train_network(float_network(), train=Shuffled(), validate=Shuffled(), spec=TeacherSpec(epochs=1), checkpoint=path)
    with pytest.raises(CheckpointError, match="kind: it has training of a float network, this one distillation"):
        changed_run(path, student, teacher)


class Explosive:
    """A pickle that would create a file if it were loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def spoiled(kind: str, whole: bytes, folder: Path) -> bytes:
    match kind:
        case "truncated":
            return whole[: len(whole) // 2]
        case "header only":
            return whole[:20]
        case "empty":
            return b""
        case "text":
            return b"weights: none\n"
        case "pickle":
            return pickle.dumps(Explosive(folder / "exploded"))
        case _:
            save_file({"weight": torch.zeros(2)}, folder / "foreign")
            return (folder / "foreign").read_bytes()


@pytest.mark.parametrize("kind", ["truncated", "header only", "empty", "text", "pickle", "foreign safetensors"])
def test_a_file_that_is_no_checkpoint_is_an_error_and_is_left_alone(
    uninterrupted: Path, student: Student, teacher: nn.Module, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "last"
    content = spoiled(kind, uninterrupted.read_bytes(), tmp_path)
    path.write_bytes(content)
    before = state_of(student)
    with pytest.raises(CheckpointError) as caught:
        changed_run(path, student, teacher)
    assert str(path) in str(caught.value)
    assert "hint:" in str(caught.value)
    assert path.read_bytes() == content
    assert not (tmp_path / "exploded").exists()
    assert_same_state(student, before)


def test_a_checkpoint_of_a_later_format_is_an_error(uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "last"
    path.write_bytes(uninterrupted.read_bytes().replace(b"mdcompress.training/1", b"mdcompress.training/9"))
    with pytest.raises(CheckpointError, match=r"format mdcompress.training/1 \(got mdcompress.training/9\)"):
        read_history(path)


def test_a_checkpoint_whose_tensors_do_not_fit_is_an_error(
    uninterrupted: Path, student: Student, teacher: nn.Module, tmp_path: Path
) -> None:
    from safetensors import safe_open

    with safe_open(uninterrupted, framework="pt") as file:
        metadata = file.metadata()
    tensors = {name: tensor for name, tensor in load_file(uninterrupted).items() if not name.startswith("model/")}
    path = tmp_path / "last"
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="does not fit the network"):
        changed_run(path, student, teacher)


def test_a_tensor_of_another_shape_is_an_error() -> None:
    network = float_network()
    state = state_of(network)
    with pytest.raises(ValueError, match=r"'head.bias' has shape \[5\], not \[3\]"):
        restore(network, {**state, "head.bias": torch.zeros(5)})


def test_a_checkpoint_every_zero_steps_is_an_error(student: Student, teacher: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"at least 1 step \(got 0\)"):
        changed_run(tmp_path / "last", student, teacher, checkpoint_every=0)
