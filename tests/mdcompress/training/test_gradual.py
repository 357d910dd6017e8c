"""Falling bits: what a stage changes, what it leaves alone, and that the end is the student that was planned."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mdcompress import zoo
from mdcompress.compression import compress
from mdcompress.errors import TrainingError
from mdcompress.evaluation.verification import verify
from mdcompress.modes import evaluating
from mdcompress.recipe import BitStage, DistillSpec, Recipe, TrainSpec
from mdcompress.student import Student
from mdcompress.student.weights import load_student, save_student
from mdcompress.training import EpochRecord, Event, StepRecord, best_epoch, distill
from mdcompress.training.averaging import decay_after
from mdcompress.training.gradual import GradualBits
from tests.support.training_cases import FAST, Shuffled, StoppedError, assert_same_state, state_of, trained_teacher

STAGES = (BitStage(epoch=0, weight=8, membrane=8), BitStage(epoch=1, weight=4), BitStage(epoch=2))
SPEC = DistillSpec(epochs=3, gradual=STAGES)
RECIPE = {"weight": {"bit_width": 2}, "membrane": {"bit_width": 3}, "batch_norm": {"scale_bit_width": 10}}


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return trained_teacher()


def student_of(network: nn.Module, x: Tensor, **quantize: object) -> Student:
    plain = {"weights": "nearest", "offsets": "keep"}  # so that integers of one policy compare with those of another
    recipe = Recipe.model_validate({"name": "r", "quantize": {**RECIPE, **quantize}, "calibrate": plain})
    return compress(network, x, recipe, [x])


@pytest.fixture(scope="module")
def quantized(teacher: nn.Module) -> Student:
    return student_of(teacher, Shuffled().x)


def bits_of(student: Student) -> dict[str, float]:
    weights = {name: student.synapse(name).weight_policy.bit_width for name in ("inner", "head")}
    largest = student.synapse("inner").integers(1.0, torch.tensor(1e-3)).weight.abs().max()
    return {**weights, "largest": int(largest), "membrane": student.neuron("neuron").policy.bit_width}


def train(
    student: Student,
    teacher: nn.Module,
    path: Path | None,
    *,
    stop_at: int | None = None,
    settings: TrainSpec = FAST,
    spec: DistillSpec = SPEC,
) -> list[Event]:
    events: list[Event] = []

    def progress(event: Event) -> None:
        events.append(event)
        if stop_at is not None and sum(isinstance(each, StepRecord) for each in events) == stop_at:
            raise StoppedError

    data = Shuffled()
    distill(student, teacher=teacher, train=data, validate=data, spec=spec, settings=settings, checkpoint=path,
            checkpoint_every=4, progress=progress)  # fmt: skip
    return events


# --- a stage ---------------------------------------------------------------------------------------------------------


def test_a_stage_has_the_least_bits_that_it_names_and_no_layer_fewer_than_planned(quantized: Student) -> None:
    student = copy.deepcopy(quantized)
    stages = GradualBits(student, STAGES)
    seen = []
    for done in range(4):
        stages.begin(done)
        seen.append(bits_of(student))
    assert seen[0] == {"inner": 8, "head": 8, "largest": 127, "membrane": 8}
    assert seen[1] == {"inner": 4, "head": 4, "largest": 7, "membrane": 3}
    assert seen[2] == seen[3] == {"inner": 2, "head": 2, "largest": 1, "membrane": 3}
    assert [stages.is_last(done) for done in range(4)] == [False, False, True, True]
    assert [stages.began(done) for done in range(4)] == [0, 1, 2, 2]


def test_there_and_back_is_the_student_that_came(quantized: Student) -> None:
    """Fitted ranges depend on weights and bits alone, membranes keep theirs."""
    student = copy.deepcopy(quantized)
    stages = GradualBits(student, STAGES)
    parameters = [*student.parameters()]
    for done in range(3):
        stages.begin(done)
    assert all(one is other for one, other in zip(student.parameters(), parameters, strict=True))
    assert student.state_dict().keys() == quantized.state_dict().keys()
    for name, tensor in state_of(student).items():
        assert torch.allclose(tensor, quantized.state_dict()[name], rtol=1e-5), name
    x = Shuffled().x
    with evaluating(student), evaluating(quantized):
        assert torch.equal(student(x), quantized(x))


@pytest.mark.parametrize("planned", [1, 1.58, 3])
@pytest.mark.parametrize("scale", ["float", "power_of_two"])
@pytest.mark.parametrize("range_", ["max", "mse", "learned"])
def test_a_wide_stage_is_the_student_planned_with_its_bits(
    teacher: nn.Module, planned: float, scale: str, range_: str
) -> None:
    """The weights' integers and scales are those of a recipe that has 8 bits from the start."""
    x = Shuffled().x
    policy = {"scale": scale, "range": range_}
    student = student_of(teacher, x, weight={"bit_width": planned, **policy})
    wide = student_of(teacher, x, weight={"bit_width": 8, **policy})
    GradualBits(student, STAGES).begin(0)
    for name in ("inner", "head"):
        found, expected = (each.synapse(name).integers(1.0, torch.tensor(1e-3)) for each in (student, wide))
        assert torch.equal(found.weight, expected.weight)
        assert torch.equal(found.requant.multiplier, expected.requant.multiplier) or name == "inner"


@pytest.mark.slow
def test_membranes_keep_their_stored_range_where_neurons_of_a_stream_differ_in_bits() -> None:
    """Two neurons read one residual stream; the one of 6 bits gains two, the one of 4 bits four."""
    torch.manual_seed(0)
    network, x = zoo.ms_resnet18(classes=4, width=2, image_size=16).eval(), torch.rand(2, 2, 3, 16, 16)
    first = "blocks.0.neuron1"
    overrides = ({"match": first, "membrane": {"bit_width": 6}},)
    student = student_of(network, x, membrane={"bit_width": 4}, overrides=overrides)
    before = stored_ranges(student)
    read = [stream.readers for stream in student.streams if stream.readers]
    assert len(read) < sum(len(readers) for readers in read)
    stages = GradualBits(student, (BitStage(epoch=0, membrane=8), BitStage(epoch=1)))
    for done in (0, 1):
        stages.begin(done)
        after = stored_ranges(student)
        assert after == pytest.approx(before)
    assert student.neuron(first).policy.bit_width == 6
    report = verify(student.eval(), x)
    assert report.equal and report.spikes > 0


def stored_ranges(student: Student) -> dict[str, float]:
    units = student.stream_units()
    return {
        reader.name: float(student.fine_scale(reader.name, units).detach())
        * 2.0 ** (reader.layer.guard_bits + reader.layer.policy.bit_width - 1)
        for stream in student.streams
        for reader in stream.readers
    }


# --- a training ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(quantized: Student, teacher: nn.Module) -> dict[str, Tensor]:
    student = copy.deepcopy(quantized)
    train(student, teacher, None)
    return state_of(student)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [1, 6, 9, 12, 16])
def test_a_training_stopped_in_any_stage_ends_in_the_same_bits(
    quantized: Student, teacher: nn.Module, whole: dict[str, Tensor], tmp_path: Path, stop_at: int
) -> None:
    path = tmp_path / "last"
    with pytest.raises(StoppedError):
        train(copy.deepcopy(quantized), teacher, path, stop_at=stop_at)
    student = copy.deepcopy(quantized)
    train(student, teacher, path)
    assert_same_state(student, whole)
    finished = copy.deepcopy(quantized)
    train(finished, teacher, path)
    assert_same_state(finished, whole)


@pytest.mark.slow
def test_the_result_has_the_planned_bits_and_is_exported_exactly(
    quantized: Student, teacher: nn.Module, tmp_path: Path
) -> None:
    student = copy.deepcopy(quantized)
    records = [event for event in train(student, teacher, None) if isinstance(event, EpochRecord)]
    assert [record.candidate for record in records] == [True, False, False, True]
    assert best_epoch(records) is records[3]
    assert bits_of(student) == bits_of(quantized)
    save_student(student, tmp_path / "student.safetensors")
    report = verify(load_student(tmp_path / "student.safetensors"), Shuffled().x)
    assert report.equal and report.spikes > 0


@pytest.mark.slow
def test_the_stages_change_what_is_learned(quantized: Student, teacher: nn.Module, whole: dict[str, Tensor]) -> None:
    plain = copy.deepcopy(quantized)
    train(plain, teacher, None, spec=DistillSpec(epochs=3))
    assert not torch.equal(plain.synapse("inner").layer.weight, whole["layers.inner.layer.weight"])


@pytest.mark.slow
def test_an_average_begins_anew_with_each_stage(quantized: Student, teacher: nn.Module, tmp_path: Path) -> None:
    """Averaging ranges of 8 and of 2 bits would give neither; resumed, the end is the same."""
    settings = FAST.model_copy(update={"ema": 0.9})
    student, path = copy.deepcopy(quantized), tmp_path / "last"
    train(student, teacher, None, settings=settings)
    with pytest.raises(StoppedError):
        train(copy.deepcopy(quantized), teacher, path, stop_at=14, settings=settings)
    resumed = copy.deepcopy(quantized)
    train(resumed, teacher, path, settings=settings)
    assert_same_state(resumed, state_of(student))


@pytest.mark.slow
def test_the_ramp_of_an_average_begins_with_its_stage(
    quantized: Student, teacher: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the average of a late stage would hardly leave the weights that the stage began with."""
    counted: list[int] = []

    def decay(steps: int, most: float) -> float:
        counted.append(steps)
        return decay_after(steps, most)

    monkeypatch.setattr("mdcompress.training.engine.decay_after", decay)
    train(copy.deepcopy(quantized), teacher, None, settings=FAST.model_copy(update={"ema": 0.9}))
    steps = len(counted) // 3
    assert steps > 1 and counted == 3 * [*range(steps)]


@pytest.mark.slow
def test_patience_counts_from_the_last_stage(quantized: Student, teacher: nn.Module) -> None:
    """Wide epochs are often better than narrow ones; they must neither win nor wear patience out."""
    settings = FAST.model_copy(update={"patience": 1})
    spec = DistillSpec(epochs=5, gradual=(STAGES[0], BitStage(epoch=3)))
    records = [
        event
        for event in train(copy.deepcopy(quantized), teacher, None, settings=settings, spec=spec)
        if isinstance(event, EpochRecord)
    ]
    assert len(records) >= 5 and [record.candidate for record in records[:5]] == [True, False, False, False, True]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_last_stage_above_the_plan_is_an_error_that_names_the_layer(quantized: Student, teacher: nn.Module) -> None:
    spec = DistillSpec(epochs=3, gradual=(BitStage(epoch=0, weight=8), BitStage(epoch=1, weight=4)))
    with pytest.raises(TrainingError, match="'inner' is planned with 2") as caught:
        train(copy.deepcopy(quantized), teacher, None, spec=spec)
    assert "{epoch: 1}" in caught.value.hints[0]


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ([{"epoch": 1, "weight": 8}], "begin with a stage at epoch 0"),
        ([{"epoch": 0, "weight": 8}, {"epoch": 0}], "increasing epochs"),
        ([{"epoch": 0, "weight": 4}, {"epoch": 1, "weight": 8}], "falling weight bits .got 4, then 8"),
        ([{"epoch": 0}, {"epoch": 1, "membrane": 8}], "got those planned, then 8"),
        ([{"epoch": 0, "weight": 8}, {"epoch": 10}], "epoch 10 of 10"),
    ],
)
def test_stages_that_are_none_are_an_error_in_the_recipe(stages: list[dict[str, object]], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DistillSpec.model_validate({"epochs": 10, "gradual": tuple(stages)})
