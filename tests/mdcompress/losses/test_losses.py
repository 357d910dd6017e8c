"""Losses: numbers worked out on paper, then properties, then an independent formula in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdcompress.distances import Distance, Normalize
from mdcompress.errors import TrainingError
from mdcompress.graph import Carries, InputSpec, NeuronModel, NodeSpec, ReadoutSpec, SnnGraph, SnnNode
from mdcompress.losses import (
    compared_neurons,
    distillation_loss,
    logit_loss,
    membrane_loss,
    membrane_mismatch,
    task_loss,
)
from mdcompress.recipe import DistillSpec, LogitLossSpec, MembraneLossSpec, TaskLossSpec
from mdcompress.recipe.distilling import Align, LossSteps
from mdcompress.student import Observation
from tests.support.changes import MembraneDistance

LN3 = math.log(3.0)


def tensor(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


property_test = settings(deadline=None, max_examples=50)  # no deadline: the first call of a torch operation is slow
seeds = st.integers(0, 2**20)
modes = st.sampled_from(["mean", "steps"])
aligns = st.sampled_from(["first_steps", "mean", "last_step"])
normalizes = st.sampled_from(["threshold", "variance", "none"])
distances = st.sampled_from(["mse", "cosine", "firing"])


# ------------------------------------------------------------------ task, on paper


def test_task_loss_on_the_mean_is_the_cross_entropy_of_the_mean_logits() -> None:
    logits = tensor([[0.0, 0.0]], [[2 * LN3, 0.0]])  # T=2, N=1: the mean is [ln 3, 0], so p = 3/4
    assert task_loss(logits, torch.tensor([0])).item() == pytest.approx(math.log(4 / 3))


def test_task_loss_on_steps_is_the_mean_of_each_steps_cross_entropy() -> None:
    logits = tensor([[0.0, 0.0]], [[2 * LN3, 0.0]])  # step 0: p = 1/2; step 1: p = 9/10
    expected = (math.log(2) + math.log(10 / 9)) / 2
    assert task_loss(logits, torch.tensor([0]), on="steps").item() == pytest.approx(expected)


def test_task_loss_on_steps_gives_each_sample_its_own_label() -> None:
    logits = torch.zeros(3, 2, 2, dtype=torch.float64)
    logits[:, 0, 0], logits[:, 1, 1] = 50.0, 50.0
    assert task_loss(logits, torch.tensor([0, 1]), on="steps").item() == pytest.approx(0.0, abs=1e-12)
    assert task_loss(logits, torch.tensor([1, 0]), on="steps").item() == pytest.approx(50.0)


@property_test
@given(seed=seeds, on=modes)
def test_the_two_task_losses_agree_at_one_step(seed: int, on: LossSteps) -> None:
    logits, y = drawn(seed, 1, 5, 4), torch.arange(5) % 4
    expected = -torch.log_softmax(logits[0], 1)[torch.arange(5), y].mean()
    torch.testing.assert_close(task_loss(logits, y, on=on), expected)


@property_test
@given(seed=seeds)
def test_the_mean_of_steps_is_never_below_the_loss_of_the_mean(seed: int) -> None:
    logits, y = drawn(seed, 4, 5, 3), torch.arange(5) % 3
    assert task_loss(logits, y, on="steps") >= task_loss(logits, y) - 1e-12  # Jensen: cross-entropy is convex in z


# ------------------------------------------------------------------ logits


def test_logit_loss_of_a_sure_teacher_and_an_undecided_student() -> None:
    teacher, student = tensor([[LN3, 0.0]]), tensor([[0.0, 0.0]])  # p = (3/4, 1/4), q = (1/2, 1/2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert logit_loss(student, teacher, temperature=1.0).item() == pytest.approx(expected)


def test_temperature_divides_logits_and_its_square_multiplies_the_divergence() -> None:
    teacher, student = tensor([[2 * LN3, 0.0]]), tensor([[0.0, 0.0]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert logit_loss(student, teacher, temperature=2.0).item() == pytest.approx(expected)


def test_logit_loss_is_averaged_over_the_batch() -> None:
    teacher, student = tensor([[LN3, 0.0], [0.0, 0.0]]), torch.zeros(1, 2, 2, dtype=torch.float64)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert logit_loss(student, teacher, temperature=1.0).item() == pytest.approx(expected)


def test_a_student_of_one_step_learns_the_teachers_mean_over_all_steps() -> None:
    teacher = tensor([[0.0, 0.0]], [[2 * LN3, 0.0]])
    student = tensor([[LN3, 0.0]])
    assert logit_loss(student, teacher, on="mean").item() == pytest.approx(0.0, abs=1e-12)
    assert logit_loss(student, teacher, on="steps").item() > 0.01


def test_logit_loss_on_steps_compares_with_the_teachers_first_steps() -> None:
    teacher = tensor([[LN3, 0.0]], [[0.0, 0.0]], [[9.0, 0.0]])
    student = torch.zeros(2, 1, 2, dtype=torch.float64)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2  # the third step has no part in it
    assert logit_loss(student, teacher, temperature=1.0, on="steps").item() == pytest.approx(expected)


@property_test
@given(seed=seeds, on=modes, temperature=st.floats(0.5, 10.0))
def test_logit_loss_is_zero_for_equal_logits_and_positive_otherwise(
    seed: int, on: LossSteps, temperature: float
) -> None:
    teacher = drawn(seed, 3, 4, 5)
    student = teacher + drawn(seed + 1, 3, 4, 5)
    assert abs(logit_loss(teacher, teacher, temperature=temperature, on=on).item()) < 1e-12
    shifted = teacher + drawn(seed + 2, 3, 4, 1)  # a softmax does not see it
    assert abs(logit_loss(shifted, teacher, temperature=temperature, on=on).item()) < 1e-12
    assert logit_loss(student, teacher, temperature=temperature, on=on).item() > 0.0


@property_test
@given(seed=seeds)
def test_at_high_temperature_logit_loss_is_the_squared_distance_of_centred_logits(seed: int) -> None:
    teacher, student = drawn(seed, 1, 4, 5), drawn(seed + 1, 1, 4, 5)
    difference = (student - teacher)[0]
    centred = difference - difference.mean(1, keepdim=True)
    expected = centred.square().sum(1).mean() / (2 * 5)
    torch.testing.assert_close(logit_loss(student, teacher, temperature=1e4), expected, rtol=1e-3, atol=1e-6)


@property_test
@given(seed=seeds, temperature=st.floats(0.5, 8.0))
def test_logit_loss_equals_the_definition_in_numpy(seed: int, temperature: float) -> None:
    teacher, student = drawn(seed, 4, 3, 5), drawn(seed + 1, 2, 3, 5)

    def softened(z: np.ndarray) -> np.ndarray:
        powers = np.exp(z / temperature)
        shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
        return shares

    total = 0.0
    for t in range(2):
        p, q = softened(teacher[t].numpy()), softened(student[t].numpy())
        total += temperature**2 * (p * np.log(p / q)).sum(-1).mean() / 2
    assert logit_loss(student, teacher, temperature=temperature, on="steps").item() == pytest.approx(total)


# ------------------------------------------------------------------ membrane


STUDENT, TEACHER = tensor([[1.0, 3.0]]), tensor([[0.0, 1.0]])  # T=1, N=1, C=2: squares 1 and 4, mean 2.5


@pytest.mark.parametrize(("normalize", "expected"), [("threshold", 2.5 / 4), ("variance", 2.5 / 0.25), ("none", 2.5)])
def test_membrane_loss_is_the_mean_square_in_the_unit_asked_for(normalize: Normalize, expected: float) -> None:
    loss = membrane_loss(STUDENT, TEACHER, threshold=2.0, normalize=normalize)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize(("threshold", "unit"), [(0.2, 0.04), (0.1, 0.25 / 9)])  # a third of the spread is 1/6
def test_potentials_of_a_wide_spread_are_measured_in_a_third_of_it(threshold: float, unit: float) -> None:
    assert membrane_loss(STUDENT, TEACHER, threshold=threshold).item() == pytest.approx(2.5 / unit)
    mismatch = membrane_mismatch(STUDENT, TEACHER, threshold=threshold)  # of reports: always in squared thresholds
    assert mismatch.item() == pytest.approx(2.5 / threshold**2)
    distance = membrane_loss(STUDENT, TEACHER, threshold=threshold, distance="emd", pool="layer")
    assert distance.item() == pytest.approx(1.5 / unit**0.5)


@property_test
@given(seed=seeds, factor=st.floats(1e-3, 1e6))
def test_no_layer_counts_more_than_nine_times_its_relative_error_or_its_thresholds(seed: int, factor: float) -> None:
    """However wide its potentials: 9 (mean square of the difference) / (variance of the teacher's)."""
    teacher, student = drawn(seed, 3, 2, 4), drawn(seed + 1, 3, 2, 4)
    loss = membrane_loss(factor * student, factor * teacher, threshold=1.0).item()
    relative = float((student - teacher).square().mean() / teacher.var(correction=0))
    in_thresholds = factor**2 * float((student - teacher).square().mean())
    assert loss == pytest.approx(min(9 * relative, in_thresholds), rel=1e-4)


def test_a_teacher_layer_that_never_moves_does_not_divide_by_zero() -> None:
    still = torch.full_like(STUDENT, 1.0)
    loss = membrane_loss(STUDENT, still, threshold=2.0, normalize="variance")
    assert loss.item() == pytest.approx(2.0 / (1e-4 * 4))


def test_firing_distance_sees_what_decides_a_spike() -> None:
    """On the threshold p = 1/2; ln 3 / 4 thresholds above it p = 3/4: KL(1/2, 3/4) = 1/2 ln(4/3)."""
    above, on = tensor([[2 * (1 + LN3 / 4)]]), tensor([[2.0]])
    assert membrane_loss(above, on, threshold=2.0, distance="firing").item() == pytest.approx(math.log(4 / 3) / 2)
    low, lowest = tensor([[-20.0]]), tensor([[-200.0]])
    assert membrane_loss(low, lowest, threshold=2.0, distance="firing").item() == pytest.approx(0.0, abs=1e-12)
    student = torch.tensor([[[2.6]], [[-9.0]]], dtype=torch.float64, requires_grad=True)
    torch.autograd.backward(membrane_loss(student, tensor([[2.0]], [[-8.0]]), threshold=2.0, distance="firing"))
    assert student.grad is not None
    expected = 4 * (1 / (1 + math.exp(-1.2)) - 0.5) / 2 / 2  # slope 4 / theta, mean of two
    assert student.grad.flatten().tolist() == pytest.approx([expected, 0.0], abs=1e-7)


@pytest.mark.parametrize(
    ("student", "expected"),
    [([3.0, 4.0], 0.0), ([0.6, 0.8], 0.0), ([-4.0, 3.0], 1.0), ([-3.0, -4.0], 2.0), ([0.0, 0.0], 0.5)],
)
def test_cosine_distance_of_directions(student: list[float], expected: float) -> None:
    loss = membrane_loss(tensor([student]), tensor([[3.0, 4.0]]), threshold=1.0, distance="cosine")
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_two_silent_layers_are_equal_in_direction_and_have_a_finite_gradient() -> None:
    student = torch.zeros(2, 1, 4, dtype=torch.float64, requires_grad=True)
    loss = membrane_loss(student, torch.zeros(2, 1, 4, dtype=torch.float64), threshold=1.0, distance="cosine")
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert student.grad is not None and torch.isfinite(student.grad).all()


@pytest.mark.parametrize(("align", "expected"), [("first_steps", 1.0), ("mean", 0.25), ("last_step", 0.0)])
def test_alignment_of_a_short_student_with_a_long_teacher(align: Align, expected: float) -> None:
    teacher, student = tensor([[0.0]], [[1.0]]), tensor([[1.0]])
    assert membrane_loss(student, teacher, threshold=1.0, align=align).item() == pytest.approx(expected)


@property_test
@given(seed=seeds, align=aligns, normalize=normalizes)
def test_membrane_loss_is_zero_only_for_equal_potentials(seed: int, align: Align, normalize: Normalize) -> None:
    teacher = drawn(seed, 3, 2, 4, 2)
    how: MembraneDistance = {"align": align, "normalize": normalize}
    assert membrane_loss(teacher, teacher, threshold=1.5, **how).item() == 0.0
    changed = teacher.clone()
    changed[-1, 1, 3, 0] += 0.01
    assert membrane_loss(changed, teacher, threshold=1.5, **how).item() > 0.0


@property_test
@given(
    seed=seeds, factor=st.floats(0.1, 10.0), normalize=st.sampled_from(["threshold", "variance"]), distance=distances
)
def test_membrane_loss_does_not_depend_on_the_unit_of_potentials(
    seed: int, factor: float, normalize: Normalize, distance: Distance
) -> None:
    teacher, student = drawn(seed, 3, 2, 4), drawn(seed + 1, 3, 2, 4)
    loss = membrane_loss(student, teacher, threshold=1.0, normalize=normalize, distance=distance)
    scaled = membrane_loss(factor * student, factor * teacher, threshold=factor, normalize=normalize, distance=distance)
    torch.testing.assert_close(scaled, loss)


@property_test
@given(seed=seeds)
def test_firing_distance_equals_torchs_divergence_of_bernoulli_variables(seed: int) -> None:
    student, teacher = 3 * drawn(seed, 2, 3, 4), 3 * drawn(seed + 1, 2, 3, 4)
    one, other = (torch.distributions.Bernoulli(logits=4 * (h - 1.5) / 1.5) for h in (teacher, student))
    expected = torch.distributions.kl_divergence(one, other).mean()
    torch.testing.assert_close(membrane_loss(student, teacher, threshold=1.5, distance="firing"), expected)


@property_test
@given(seed=seeds)
def test_cosine_distance_equals_one_minus_torchs_cosine_similarity(seed: int) -> None:
    teacher, student = drawn(seed, 3, 2, 4, 2), drawn(seed + 1, 3, 2, 4, 2)
    expected = (1 - torch.cosine_similarity(student.flatten(2), teacher.flatten(2), dim=-1)).mean()
    torch.testing.assert_close(membrane_loss(student, teacher, threshold=1.0, distance="cosine"), expected)


# ------------------------------------------------------------------ gradients


@settings(deadline=None, max_examples=15)
@given(seed=seeds, distance=distances, align=aligns, normalize=normalizes, on=modes)
def test_gradients_reach_the_student_as_finite_differences_say_and_never_the_teacher(
    seed: int, distance: Distance, align: Align, normalize: Normalize, on: LossSteps
) -> None:
    student = drawn(seed, 2, 2, 3).requires_grad_()
    teacher = drawn(seed + 1, 4, 2, 3).requires_grad_()
    y = torch.tensor([0, 2])
    how: MembraneDistance = {"distance": distance, "align": align, "normalize": normalize}
    assert torch.autograd.gradcheck(lambda h: membrane_loss(h, teacher.detach(), threshold=1.3, **how), student)
    assert torch.autograd.gradcheck(lambda z: logit_loss(z, teacher.detach(), on=on), student)
    assert torch.autograd.gradcheck(lambda z: task_loss(z, y, on=on), student)
    loss = membrane_loss(student, teacher, threshold=1.3, **how) + logit_loss(student, teacher, on=on)
    torch.autograd.backward(loss)
    assert teacher.grad is None
    assert student.grad is not None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 2, 4), (2, 1, 3)])
def test_a_teacher_of_another_shape_or_fewer_steps_is_an_error(shape: tuple[int, ...]) -> None:
    student = torch.zeros(2, 2, 3)
    with pytest.raises(TrainingError, match=r"student's shape per step.*student \[2, 2, 3\]"):
        logit_loss(student, torch.zeros(shape))
    with pytest.raises(TrainingError, match="at least its steps"):
        membrane_loss(student, torch.zeros(shape), threshold=1.0, align="mean")


# ------------------------------------------------------------------ the sum


def neuron(threshold: float) -> NeuronModel:
    return NeuronModel(0.5, 1.0, 0.0, threshold, "greater_equal", "hard", 0.0, threshold, 0.0)


def node(name: str, spec: NodeSpec, inputs: tuple[str, ...]) -> SnnNode:
    return SnnNode(name, spec, inputs, (2,), Carries.SPIKES)


GRAPH = SnnGraph(
    (
        node("input", InputSpec(), ()),
        node("body.neuron1", neuron(1.0), ("input",)),
        node("body.neuron2", neuron(2.0), ("body.neuron1",)),
        node("leaky", neuron(math.inf), ("body.neuron2",)),
        node("readout", ReadoutSpec("mean"), ("leaky",)),
    ),
    time_steps=1,
)


def seen(logits: Tensor, **potentials: Tensor) -> Observation:
    named = {name.replace("_", "."): value for name, value in potentials.items()}
    return Observation(logits.mean(0), logits, named, named)


STUDENT_SEEN = seen(tensor([[0.0, 0.0]]), body_neuron1=STUDENT, body_neuron2=STUDENT)
TEACHER_SEEN = seen(tensor([[LN3, 0.0]]), body_neuron1=TEACHER, body_neuron2=TEACHER)
Y = torch.tensor([0])
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def test_the_distillation_loss_is_the_weighted_sum_of_its_parts() -> None:
    spec = DistillSpec(
        task=TaskLossSpec(weight=2.0),
        logits=LogitLossSpec(weight=3.0, temperature=1.0),
        membrane=MembraneLossSpec(weight=0.5),
    )
    loss = distillation_loss(STUDENT_SEEN, TEACHER_SEEN, y=Y, graph=GRAPH, spec=spec)
    layers = [2.5, 2.5 / 4]
    expected = {
        "total": 2 * math.log(2) + 3 * KL + 0.5 * sum(layers) / 2,
        "task": math.log(2),
        "logits": KL,
        "membrane": sum(layers) / 2,
        "membrane/body.neuron1": layers[0],
        "membrane/body.neuron2": layers[1],
    }
    assert {name: part.item() for name, part in loss.named().items()} == pytest.approx(expected)
    assert list(loss.named()) == list(expected)


def test_parts_that_are_off_are_not_computed() -> None:
    spec = DistillSpec(logits=None, membrane=None)
    loss = distillation_loss(STUDENT_SEEN, None, y=Y, graph=GRAPH, spec=spec)
    assert (loss.logits, loss.membrane, dict(loss.membrane_layers)) == (None, None, {})
    assert loss.total.item() == pytest.approx(math.log(2))
    assert list(loss.named()) == ["total", "task"]


def test_the_membrane_loss_looks_only_at_matched_layers() -> None:
    spec = DistillSpec(task=None, logits=None, membrane=MembraneLossSpec(weight=1.0, match="*.neuron2"))
    loss = distillation_loss(STUDENT_SEEN, TEACHER_SEEN, y=Y, graph=GRAPH, spec=spec)
    assert loss.total.item() == pytest.approx(2.5 / 4)


def test_neurons_that_never_fire_are_not_compared() -> None:
    assert compared_neurons(GRAPH, MembraneLossSpec()) == ("body.neuron1", "body.neuron2")
    with pytest.raises(TrainingError, match=r"at least one neuron layer that fires \(got 'leaky'\)"):
        compared_neurons(GRAPH, MembraneLossSpec(match="leaky"))


def test_each_membrane_pattern_must_match() -> None:
    with pytest.raises(TrainingError) as caught:
        compared_neurons(GRAPH, MembraneLossSpec(match=("body.*", "layer3.*")))
    assert "'layer3.*'" in str(caught.value)
    assert "body.neuron1, body.neuron2" in str(caught.value)


@pytest.mark.parametrize("off", ["logits", "membrane"])
def test_a_loss_that_needs_a_teacher_says_so(off: str) -> None:
    with pytest.raises(TrainingError, match="compares with a teacher"):
        spec = DistillSpec.model_validate({off: None})
        distillation_loss(STUDENT_SEEN, None, y=Y, graph=GRAPH, spec=spec)


def test_a_distillation_without_any_loss_is_an_error() -> None:
    spec = DistillSpec(epochs=0, task=None, logits=None, membrane=None)
    with pytest.raises(TrainingError, match="at least one of task, logits, membrane and rates"):
        distillation_loss(STUDENT_SEEN, TEACHER_SEEN, y=Y, graph=GRAPH, spec=spec)
