"""The moving average of weights, early stopping, and autocast for the teacher: by hand, and through a resume."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mdcompress.evaluation import evaluate
from mdcompress.evaluation.verification import verify_graph
from mdcompress.recipe import OptimizerSpec, TeacherSpec, TrainSpec
from mdcompress.student import Student
from mdcompress.student.lowering import lower
from mdcompress.training import EpochRecord, Event, Resumed, Stopped, best_epoch, read_history, train_network
from mdcompress.training.averaging import decay_after, holding, snapshot, update_average
from tests.support.narrowed import statistics
from tests.support.training_cases import (
    FAST,
    Shuffled,
    StoppedError,
    assert_same_state,
    float_network,
    run,
    state_of,
    tiny_student,
)

AVERAGED = TrainSpec(optimizer=OptimizerSpec(lr=0.01), ema=0.9)


# ------------------------------------------------------------------ the average, on paper


def test_the_decay_rises_to_its_goal() -> None:
    assert [decay_after(steps, 0.5) for steps in (0, 2, 8, 1000)] == pytest.approx([0.1, 0.25, 0.5, 0.5])


def test_the_average_of_two_updates_by_hand() -> None:
    network = nn.BatchNorm1d(1)
    average = snapshot(network)
    for mean, batches in ((8.0, 1), (4.0, 2)):
        statistics(network)[0].fill_(mean)
        network.get_buffer("num_batches_tracked").fill_(batches)
        update_average(average, network, decay=0.75)
    assert average["running_mean"].item() == 0.75 * 2.0 + 0.25 * 4.0  # 0 -> 2 -> 2.5
    assert average["num_batches_tracked"].item() == 2  # a count is no mean
    assert average["weight"].item() == 1.0


def test_a_constant_keeps_its_bits() -> None:
    network = nn.Linear(3, 2)
    average = snapshot(network)
    for _ in range(20):
        update_average(average, network, decay=0.9)
    assert all(torch.equal(average[name], tensor) for name, tensor in network.state_dict().items())


def test_the_networks_own_weights_come_back() -> None:
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    before = state_of(network)
    with pytest.raises(StoppedError), holding(network, state_of(other)):
        assert torch.equal(network.weight, other.weight)
        raise StoppedError
    assert_same_state(network, before)


# ------------------------------------------------------------------ training with it


@pytest.mark.slow
def test_what_is_validated_is_what_is_kept_and_not_the_last_weights(teacher: nn.Module) -> None:
    """The student starts from untrained weights: then training, and not the calibrated student, is what is kept."""
    untrained = tiny_student(float_network())
    plain, averaged = copy.deepcopy(untrained), copy.deepcopy(untrained)
    run(plain, teacher, None)
    records = [event for event in run(averaged, teacher, None, settings=AVERAGED) if isinstance(event, EpochRecord)]
    best = best_epoch(records)
    assert best.epoch > 0
    score = best.validation[-1]
    metrics = evaluate(averaged, Shuffled())
    assert (metrics.accuracy, metrics.loss) == (score.accuracy, score.loss)
    assert any(not torch.equal(tensor, plain.state_dict()[name]) for name, tensor in averaged.state_dict().items())


@pytest.mark.slow
def test_an_averaged_student_is_exported_exactly(quantized: Student, teacher: nn.Module) -> None:
    student = copy.deepcopy(quantized)
    run(student, teacher, None, settings=AVERAGED)
    report = verify_graph(student, lower(student), Shuffled().x[:, :32])
    assert report.equal
    assert report.spikes > 0


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [3, 6, 10])
def test_an_average_goes_on_from_a_checkpoint_in_the_same_bits(
    quantized: Student, teacher: nn.Module, tmp_path: Path, stop_at: int
) -> None:
    whole, path, student = copy.deepcopy(quantized), tmp_path / "last", copy.deepcopy(quantized)
    run(whole, teacher, tmp_path / "whole", settings=AVERAGED)
    with pytest.raises(StoppedError):
        run(copy.deepcopy(quantized), teacher, path, stop_at=stop_at, settings=AVERAGED)
    run(student, teacher, path, settings=AVERAGED)
    assert_same_state(student, state_of(whole))
    assert read_history(path) == read_history(tmp_path / "whole")
    ends = load_file(path), load_file(tmp_path / "whole")
    assert any(name.startswith("average/") for name in ends[0])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


# ------------------------------------------------------------------ early stopping


RUINOUS = TrainSpec(schedule="constant", patience=2, grad_clip=None)


def ruined(path: Path | None, *, epochs: int = 12) -> tuple[nn.Module, list[Event]]:
    """A rate so large that no epoch after some first ones is better."""
    events: list[Event] = []
    spec = TeacherSpec(epochs=epochs, optimizer=OptimizerSpec(name="sgd", lr=3.0, momentum=0.0))
    network = train_network(
        float_network(),
        train=Shuffled(),
        validate=Shuffled(),
        spec=spec,
        settings=RUINOUS,
        checkpoint=path,
        progress=events.append,
    )
    return network, events


def test_training_stops_after_so_many_epochs_without_a_better_one(tmp_path: Path) -> None:
    network, events = ruined(tmp_path / "last")
    records = [event for event in events if isinstance(event, EpochRecord)]
    stopped = events[-1]
    best = best_epoch(records)
    assert stopped == Stopped(records[-1].epoch, best.epoch)
    assert len(records) == best.epoch + 2 < 12
    assert evaluate(network, Shuffled()).accuracy == best.validation_accuracy


def test_a_stopped_training_stays_stopped_when_it_is_resumed(tmp_path: Path) -> None:
    first, events = ruined(tmp_path / "last")
    again, resumed = ruined(tmp_path / "last")
    assert isinstance(resumed[0], Resumed)
    assert resumed[1:] == [events[-1]]
    assert_same_state(again, state_of(first))


# ------------------------------------------------------------------ autocast


def test_autocast_computes_the_teachers_training_in_bfloat16_and_validates_in_float32() -> None:
    dtypes: dict[str, set[torch.dtype]] = {"train": set(), "validate": set()}

    def watch(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        dtypes["train" if module.training else "validate"].add(output.dtype)

    network = float_network()
    network.inner.register_forward_hook(watch)
    spec = TeacherSpec(epochs=4, optimizer=OptimizerSpec(lr=0.01), autocast="bfloat16")
    train_network(network, train=Shuffled(), validate=Shuffled(), spec=spec, settings=FAST)
    assert dtypes == {"train": {torch.bfloat16}, "validate": {torch.float32}}
    assert all(tensor.dtype != torch.bfloat16 for tensor in network.state_dict().values())
    assert evaluate(network, Shuffled()).accuracy > 0.8
