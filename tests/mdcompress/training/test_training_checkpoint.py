"""Files that are no checkpoint of this training: each an error that names the difference, and nothing lost."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

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
from mdcompress.training.checkpoint import _NO_DIGEST, EMPTY_TALLY, TrainingState, read_checkpoint, write_checkpoint
from mdcompress.training.history import EpochRecord, Validation
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
        (
            {"settings": FAST.model_copy(update={"deterministic": False})},
            "train.deterministic: it has None, this one",
        ),
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
    path.write_bytes(uninterrupted.read_bytes().replace(b"mdcompress.training/3", b"mdcompress.training/9"))
    with pytest.raises(CheckpointError, match=r"format mdcompress.training/3 \(got mdcompress.training/9\)"):
        read_history(path)


def test_one_changed_bit_anywhere_is_an_error(uninterrupted: Path, tmp_path: Path) -> None:
    whole, path = uninterrupted.read_bytes(), tmp_path / "last"
    for place in [*range(0, len(whole), 997), len(whole) - 1]:
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(CheckpointError):
            read_history(path)
    assert read_history(uninterrupted)


Parts = dict[str, Tensor]
Header = dict[str, Any]


def rewritten(whole: Path, path: Path, change: Callable[[Parts, Header], object]) -> None:
    """A checkpoint with other content and the digest of that content, as somebody might write one by hand."""
    with safe_open(whole, framework="pt") as file:
        texts = file.metadata()
    tensors, header = load_file(whole), json.loads(texts["mdcompress"])
    change(tensors, header)
    save_file(tensors, path, metadata={"mdcompress": json.dumps(header), "digest": _NO_DIGEST})
    content = path.read_bytes()
    path.write_bytes(content.replace(_NO_DIGEST.encode(), hashlib.sha256(content).hexdigest().encode(), 1))


def setting(name: str, value: object) -> Callable[[Parts, Header], object]:
    """Another entry of the header."""
    return lambda _tensors, header: header.update({name: value})


def without(prefix: str) -> Callable[[Parts, Header], object]:
    """All tensors of a beginning are missing."""

    def change(tensors: Parts, _header: Header) -> None:
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    return change


def put(name: str, make: Callable[[Tensor], Tensor]) -> Callable[[Parts, Header], object]:
    """Another tensor in the place of one."""
    return lambda tensors, _header: tensors.update({name: make(tensors[name])})


def filled(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: torch.full_like(tensor, value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (setting("epoch", 99), "its epoch must be 1 to 3, and is 99"),
        (setting("epoch", 0), "its epoch must be 1 to 3, and is 0"),
        (setting("epoch", -1), "its epoch must be 1 to 3, and is -1"),
        (setting("epoch", 2), "its history must hold the epochs before epoch 2"),
        (setting("step", 7), "its step must be 0 to 0 in epoch 3, and is 7"),
        (setting("step", -1), "its step must be 0 to 0 in epoch 3, and is -1"),
        (setting("history", []), "its history must hold the epochs before epoch 3"),
        (setting("tally", {"losses": {}, "correct": 5, "samples": 3, "seconds": 0.0}), "its sums must be those of 0"),
        (without("model/"), "tensors of `model` are in one of them only"),
        (without("best/"), "tensors of `best` are in one of them only"),
        (without("optimizer/"), "it must hold the optimizer's state, and holds none"),
        (without("optimizer/0/exp_avg_sq"), "optimizer/0 must hold step, exp_avg, exp_avg_sq, and holds exp_avg, step"),
        (put("optimizer/0/exp_avg", lambda tensor: tensor.flatten()[:1]), "optimizer/0/exp_avg must be float32"),
        (put("optimizer/0/exp_avg", lambda tensor: tensor.double()), "and is float64"),
        (put("optimizer/0/exp_avg_sq", filled(-1.0)), "optimizer/0/exp_avg_sq must not be negative"),
        (put("optimizer/0/step", filled(float("nan"))), "optimizer/0/step must be finite"),
        (put("optimizer/0/step", filled(0.5)), "optimizer/0/step must be a number of steps"),
        (put("model/HEAD", filled(float("nan"))), "must be finite, and holds NaN or infinity"),
        (put("best/HEAD", filled(float("inf"))), "must be finite, and holds NaN or infinity"),
        (put("model/HEAD", lambda tensor: tensor.half()), "and is float16"),
        (lambda tensors, _: tensors.update({"optimizer/99/step": torch.ones(())}), "optimizer/99 must be one of its"),
        (lambda tensors, _: tensors.update({"optimizer/x/step": torch.ones(())}), "optimizer/x must be one of its"),
        (lambda tensors, _: tensors.update({"average/w": torch.ones(1)}), "of `average` are in one of them only"),
    ],
)
def test_a_state_that_no_training_wrote_is_an_error_even_with_its_digest(
    uninterrupted: Path,
    student: Student,
    teacher: nn.Module,
    tmp_path: Path,
    change: Callable[[Parts, Header], object],
    words: str,
) -> None:
    """An optimizer state of another shape crashed the process; the others trained on to another result."""
    path, head = tmp_path / "last", next(name for name, _ in student.named_parameters() if "head" in name)

    def with_names(tensors: Parts, header: Header) -> None:
        stand_ins = {f"{part}/HEAD": f"{part}/{head}" for part in ("model", "best")}
        tensors.update({short: tensors.pop(name) for short, name in stand_ins.items()})
        change(tensors, header)
        tensors.update({name: tensors.pop(short) for short, name in stand_ins.items() if short in tensors})

    rewritten(uninterrupted, path, with_names)
    before, content = state_of(student), path.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        changed_run(path, student, teacher)
    assert "does not fit the network and its training" in str(caught.value)
    assert words in str(caught.value)
    assert_same_state(student, before)
    assert path.read_bytes() == content


@pytest.mark.parametrize("value", [float("nan"), "1", None, 1.5, True])
def test_a_header_of_another_type_is_an_error(uninterrupted: Path, tmp_path: Path, value: object) -> None:
    rewritten(uninterrupted, tmp_path / "last", setting("epoch", value))
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        read_history(tmp_path / "last")


def test_nan_in_the_history_is_an_error(uninterrupted: Path, tmp_path: Path) -> None:
    def change(_tensors: Parts, header: Header) -> None:
        header["history"][0]["validation"][0]["loss"] = float("nan")

    rewritten(uninterrupted, tmp_path / "last", change)
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        read_history(tmp_path / "last")


def test_a_tensor_of_another_shape_is_an_error() -> None:
    network = float_network()
    state = state_of(network)
    with pytest.raises(ValueError, match=r"'head.bias' has shape \[5\], not \[3\]"):
        restore(network, {**state, "head.bias": torch.zeros(5)})


def test_a_checkpoint_every_zero_steps_is_an_error(student: Student, teacher: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"at least 1 step \(got 0\)"):
        changed_run(tmp_path / "last", student, teacher, checkpoint_every=0)


@pytest.mark.parametrize("answer", ["0", "1"])
def test_a_row_of_equal_answers_is_not_taken_for_the_place_of_the_digest(tmp_path: Path, answer: str) -> None:
    """Found with 100 validation samples that were all wrong: 64 zeros stood for the digest while it was computed."""
    validation = Validation(time_steps=2, accuracy=float(answer), loss=1.0, total=1.0, right=100 * answer, rate=0.1)
    record = EpochRecord(0, 1, 0.0, {}, None, (validation,), 0.0)
    weights = {"weight": torch.zeros(16)}
    state = TrainingState(1, 0, EMPTY_TALLY, (record,), weights, weights, {}, {})
    write_checkpoint(tmp_path / "last", state, identity={"seed": "0"})
    assert read_checkpoint(tmp_path / "last", identity={"seed": "0"}).history == (record,)
