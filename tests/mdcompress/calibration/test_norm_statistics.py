"""Statistics that are measured anew before a student is scored: of which batches, when, and over all processes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mdcompress.calibration.norm_statistics import measure_statistics, with_statistics
from mdcompress.compression import compress
from mdcompress.errors import CalibrationError, DataError
from mdcompress.layers.norms import running_statistics
from mdcompress.recipe import CalibrateSpec, DistillSpec, NormStatisticsSpec, Recipe, TrainSpec
from mdcompress.student import Student
from mdcompress.training import distill
from mdcompress.training.statistics import global_statistics
from mdcompress.zoo import LIF
from tests.support.training_cases import FAST, Second, Shuffled, Tiny, float_network, state_of, tiny_student


def settings(**batch_norm: int) -> TrainSpec:
    return FAST.model_copy(update={"batch_norm": NormStatisticsSpec(**batch_norm)})


def trained(
    student: Student, teacher: nn.Module, how: TrainSpec, *, epochs: int = 1, steps: tuple[int, ...] = (3,)
) -> Student:
    """Trained from a head of turned signs, so that every epoch betters what came."""
    spec, start = DistillSpec(epochs=epochs, time_steps=steps), copy.deepcopy(student)
    with torch.no_grad():
        start.synapse("head").layer.weight.neg_()
    return distill(start, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=spec, settings=how)


def by_hand(student: Student, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Means over `inputs` of mean and unbiased variance of what the first layer's dequantized weights make of each."""
    layer = student.synapse("inner").layer
    weight = layer.quant_weight().value.detach()
    currents = [
        nn.functional.linear(student.input(x) * student.input.scale.float(), weight, layer.bias).flatten(0, 1)
        for x in inputs
    ]
    return torch.stack([y.mean(0) for y in currents]).mean(0), torch.stack([y.var(0) for y in currents]).mean(0)


def statistics(student: Student) -> tuple[Tensor, Tensor]:
    norm = student.synapse("inner").norm
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var


def last(batches: int) -> list[Tensor]:
    """Inputs of the last batches of the first epoch."""
    data = Shuffled()
    data.set_epoch(1)
    return [x for x, _ in data][-batches:]


def test_the_means_over_batches_take_the_place_of_running_averages(quantized: Student) -> None:
    student, inputs = copy.deepcopy(quantized), last(3)
    measure_statistics(student, inputs)
    for found, wanted in zip(statistics(student), by_hand(student, inputs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
    norm = student.synapse("inner").norm
    assert isinstance(norm, nn.BatchNorm1d) and norm.momentum == 0.1 and not student.training


@pytest.mark.parametrize("batches", [1, 4])
def test_a_trained_student_has_the_statistics_of_its_last_batches(
    quantized: Student, teacher: nn.Module, batches: int
) -> None:
    student = trained(quantized, teacher, settings(remeasure=batches))
    for found, wanted in zip(statistics(student), by_hand(student, last(batches)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_at_several_t_the_first_steps_of_each_batch_count_as_one_more(quantized: Student, teacher: nn.Module) -> None:
    student = trained(quantized, teacher, settings(remeasure=2), steps=(1, 3))
    inputs = [x[:steps] for steps in (1, 3) for x in last(2)]
    for found, wanted in zip(statistics(student), by_hand(student, inputs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_nothing_else_of_the_training_changes(quantized: Student, teacher: nn.Module) -> None:
    """Training normalizes by its own batches: weights and scales of the last epoch are the same either way."""
    names = ("running_mean", "running_var", "num_batches_tracked")
    ends = [state_of(trained(quantized, teacher, settings(remeasure=batches))) for batches in (0, 3)]
    differing = {name.rpartition(".")[2] for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])}
    assert differing and differing <= set(names)


def test_frozen_statistics_are_not_measured_anew(quantized: Student, teacher: nn.Module) -> None:
    student = trained(quantized, teacher, settings(freeze_after=0, remeasure=3))
    for found, before in zip(statistics(student), statistics(quantized), strict=True):
        assert torch.equal(found, before)


def test_those_of_a_moving_average_are_its_own(quantized: Student, teacher: nn.Module) -> None:
    how = settings(remeasure=2).model_copy(update={"ema": 0.9})
    student = trained(quantized, teacher, how)
    for found, wanted in zip(statistics(student), by_hand(student, last(2)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_over_processes_they_are_those_of_the_whole_batch() -> None:
    student = tiny_student(float_network())
    other, x = copy.deepcopy(student), Shuffled().x[:, :6]
    with global_statistics(Second()):
        measure_statistics(student, [x, x])
    measure_statistics(other, [torch.cat([x, x], dim=1)])
    for found, wanted in zip(statistics(student), statistics(other), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_a_float_network_has_them_measured_too_and_a_copy_leaves_it_as_it_is() -> None:
    """By hand: the norm reads W x + b, and dropout has no part in it."""
    network, inputs = float_network().train(), last(3)
    before, random = state_of(network), torch.random.get_rng_state()
    own = with_statistics(network, [x[:2] for x in inputs])
    assert isinstance(own, Tiny) and own.norm.running_mean is not None and own.norm.running_var is not None
    read = [network.inner(x[:2]).flatten(0, 1).detach() for x in inputs]
    torch.testing.assert_close(own.norm.running_mean, torch.stack([y.mean(0) for y in read]).mean(0))
    torch.testing.assert_close(own.norm.running_var, torch.stack([y.var(0) for y in read]).mean(0))
    assert own.norm.momentum == 0.1 and not any(module.training for module in own.modules())
    assert network.training and torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in state_of(network).items())


def test_one_step_of_one_sample_is_left_out() -> None:
    """torch's own norm refuses it: there is one value for each channel."""
    x = last(1)[0]
    alone, both = (with_statistics(float_network(), inputs) for inputs in ([x], [x[:1, :1], x]))
    assert all(torch.equal(value, state_of(both)[name]) for name, value in state_of(alone).items())
    by_pairs = with_statistics(float_network(), Shuffled())
    assert all(
        torch.equal(value, state_of(by_pairs)[name])
        for name, value in state_of(with_statistics(float_network(), [x for x, _ in Shuffled()])).items()
    )


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], r"more than one step or sample \(got 0: \[\]\)"),
        ([torch.zeros(1, 1, 8)], r"\(got 1: \[\[1, 1, 8\]\]\)"),
        ([torch.full((2, 3, 8), torch.nan)], "need finite samples"),
    ],
)
def test_batches_without_statistics_are_an_error(batches: list[Tensor], words: str) -> None:
    with pytest.raises(DataError, match=words):
        with_statistics(float_network(), batches)
    plain = nn.Sequential(nn.Linear(8, 4), LIF(), nn.Linear(4, 3)).train()
    own = with_statistics(plain, batches)  # there is nothing to measure
    assert not own.training and plain.training
    assert all(torch.equal(value, state_of(plain)[name]) for name, value in state_of(own).items())


def test_a_student_of_two_lengths_is_refused() -> None:
    x = last(1)[0]
    with pytest.raises(
        CalibrationError, match=r"fewer steps than the sample's 3 must have the same number \(got \[1, 3\]"
    ):
        compress(float_network(), x, Recipe.model_validate({"name": "two"}), [x, x[:1]])


def test_a_student_of_fewer_steps_starts_from_the_network_at_its_steps() -> None:
    network, recipe = float_network(), Recipe.model_validate({"name": "fewer"})
    batches = [x * torch.tensor([0.5, 1.0, 2.0])[:, None, None] for x, _ in Shuffled()]
    short = [x[:1] for x in batches]
    student = compress(network, batches[0], recipe, short)
    other = compress(with_statistics(network, short), batches[0][:1], recipe, short)
    assert all(torch.equal(value, state_of(other)[name]) for name, value in state_of(student).items())
    keep = recipe.model_copy(update={"calibrate": CalibrateSpec(statistics="keep")})
    kept, at_one = statistics(compress(network, batches[0], keep, short)), with_statistics(network, short)
    assert isinstance(at_one.norm, nn.BatchNorm1d)
    assert all(torch.equal(*each) for each in zip(kept, running_statistics(at_one.norm), strict=True))
    assert not torch.equal(kept[0], running_statistics(network.norm)[0])


def test_a_student_without_norms_is_left_as_it_is() -> None:
    network = nn.Sequential(nn.Linear(8, 4), LIF(), nn.Linear(4, 3))
    student = tiny_student(network.eval())
    before = state_of(student)
    measure_statistics(student, [Shuffled().x])
    assert all(torch.equal(value, before[name]) for name, value in state_of(student).items())
