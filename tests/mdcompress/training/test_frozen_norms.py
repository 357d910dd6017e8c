"""Batch norms that stop following the batches: what stays, what is still trained, and resuming in between."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mdcompress.modes import evaluating, train_with_frozen_norms
from mdcompress.recipe import DistillSpec, NormStatisticsSpec, TeacherSpec
from mdcompress.student import Student
from mdcompress.training import EpochRecord, Event, distill, train_network
from tests.support.narrowed import gradient
from tests.support.training_cases import FAST, Shuffled, StoppedError, assert_same_state, float_network, run, state_of

AFTER_ONE = FAST.model_copy(update={"batch_norm": NormStatisticsSpec(freeze_after=1)})
FROM_THE_START = FAST.model_copy(update={"batch_norm": NormStatisticsSpec(freeze_after=0)})


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state_of(network).items() if "running" in name or "tracked" in name}


def test_a_frozen_layer_computes_in_training_what_it_computes_in_evaluation(quantized: Student) -> None:
    """Up to one unit: float32 rounds large products before the shift."""
    student = copy.deepcopy(quantized)
    layer, x = student.synapse("inner"), student.input(Shuffled().x)
    unit = student.current_unit("inner", student.stream_units()).detach()
    before = statistics(student)
    train_with_frozen_norms(student)
    frozen = layer(x, float(student.input.scale), unit)
    assert all(torch.equal(value, before[name]) for name, value in statistics(student).items())
    with evaluating(student):
        evaluated = layer(x, float(student.input.scale), unit)
    assert float((frozen - evaluated).detach().abs().max()) <= 1.0
    followed = copy.deepcopy(student).train().synapse("inner")(x, float(student.input.scale), unit)
    assert float((followed - evaluated).detach().abs().max()) > 5.0, "batch statistics would have given the same"


def test_gain_and_offset_of_a_frozen_norm_still_have_gradients(quantized: Student) -> None:
    student = copy.deepcopy(quantized)
    train_with_frozen_norms(student)
    student(Shuffled().x).square().sum().backward()
    norm = student.synapse("inner").norm
    assert isinstance(norm, nn.BatchNorm1d)
    assert bool((gradient(norm.weight) != 0).any()) and bool((gradient(norm.bias) != 0).any())


def test_statistics_stop_moving_after_the_epoch_that_the_recipe_names(quantized: Student, teacher: nn.Module) -> None:
    """Frozen after one epoch, the second ends with the statistics of the first, and with other weights."""
    student, ends = copy.deepcopy(quantized), []

    def progress(event: Event) -> None:
        if isinstance(event, EpochRecord) and event.epoch:
            ends.append((statistics(student), student.synapse("inner").layer.weight.detach().clone()))

    distill(
        student, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=DistillSpec(epochs=2),
        settings=AFTER_ONE, progress=progress,
    )  # fmt: skip
    (first, weight), (second, later_weight) = ends
    assert all(torch.equal(value, first[name]) for name, value in second.items())
    assert not torch.equal(weight, later_weight)
    name = "layers.inner.norm.running_mean"
    assert not torch.equal(first[name], statistics(quantized)[name])


def test_what_is_said_of_the_students_norms_leaves_the_teachers_training_alone() -> None:
    networks = [float_network(), float_network()]
    before = statistics(networks[0])
    for network, settings in zip(networks, (FAST, FROM_THE_START), strict=True):
        spec = TeacherSpec(epochs=1)
        train_network(network, train=Shuffled(), validate=Shuffled(), spec=spec, settings=settings)
    assert_same_state(networks[1], state_of(networks[0]))
    assert any(not torch.equal(value, before[name]) for name, value in statistics(networks[0]).items())


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [4, 6, 9])
def test_a_training_that_freezes_resumes_in_the_same_bits(
    quantized: Student, teacher: nn.Module, tmp_path: Path, stop_at: int
) -> None:
    whole, path = copy.deepcopy(quantized), tmp_path / "last"
    run(whole, teacher, None, settings=AFTER_ONE)
    with pytest.raises(StoppedError):
        run(copy.deepcopy(quantized), teacher, path, stop_at=stop_at, settings=AFTER_ONE)
    resumed = copy.deepcopy(quantized)
    run(resumed, teacher, path, settings=AFTER_ONE)
    assert_same_state(resumed, state_of(whole))
