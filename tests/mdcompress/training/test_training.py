"""Training: the network learns, holds its best epoch, and says what is wrong where it cannot."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mdcompress.calibration.norm_statistics import with_statistics
from mdcompress.compression import compress
from mdcompress.errors import DataError, TrainingError
from mdcompress.evaluation import evaluate
from mdcompress.evaluation.mismatch import measure_mismatch
from mdcompress.losses import membrane_loss, rate_loss
from mdcompress.recipe import (
    BitStage,
    DistillSpec,
    MembraneLossSpec,
    NormStatisticsSpec,
    OptimizerSpec,
    RateLossSpec,
    Recipe,
    TeacherSpec,
    TrainSpec,
)
from mdcompress.student import Student
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.training import (
    EpochRecord,
    Event,
    StepRecord,
    Stopped,
    best_epoch,
    distill,
    read_history,
    train_network,
)
from mdcompress.training.history import untrained
from tests.support.narrowed import statistics
from tests.support.training_cases import (
    FAST,
    TEACHER,
    TWO_EPOCHS,
    Doubled,
    Plain,
    Shuffled,
    Tiny,
    assert_same_state,
    float_network,
    state_of,
)


@pytest.fixture
def student(quantized: Student) -> Student:
    return copy.deepcopy(quantized)


# ------------------------------------------------------------------ what training does


def test_the_network_learns_and_holds_its_best_epoch() -> None:
    events: list[Event] = []
    network = train_network(
        float_network(),
        train=Shuffled(),
        validate=Shuffled(),
        spec=TEACHER,
        settings=FAST,
        progress=events.append,
    )
    records = [event for event in events if isinstance(event, EpochRecord)]
    steps = [event for event in events if isinstance(event, StepRecord)]
    assert not network.training
    assert [each.epoch for each in records] == [1, 2, 3, 4, 5]
    assert len(steps) == 5 * 6
    assert [each.step for each in steps[:6]] == [1, 2, 3, 4, 5, 6]
    assert records[-1].losses["total"] < 0.7 * records[0].losses["total"]
    assert records[0].losses["total"] == pytest.approx(np.mean([each.loss for each in steps[:6]]))
    assert records[-1].learning_rate == steps[-1].learning_rate < steps[0].learning_rate
    best = best_epoch(records)
    metrics = evaluate(network, Shuffled())
    assert (metrics.accuracy, metrics.loss) == (best.validation_accuracy, best.validation_loss)
    assert best.validation_accuracy > 0.9


def test_the_best_epoch_is_kept_when_a_later_one_is_worse(student: Student, teacher: nn.Module) -> None:
    ruinous = TrainSpec(optimizer=OptimizerSpec(name="sgd", lr=3.0, momentum=0.0), schedule="constant")
    events: list[Event] = []
    distill(
        student,
        teacher=teacher,
        train=Shuffled(),
        validate=Shuffled(),
        spec=DistillSpec(epochs=3, logits=None, membrane=None),
        settings=ruinous,
        progress=events.append,
    )
    records = [event for event in events if isinstance(event, EpochRecord)]
    accuracies = [each.validation_accuracy for each in records]
    assert len(set(accuracies)) > 1
    assert evaluate(student, Shuffled()).accuracy == max(accuracies)


def test_a_student_that_no_epoch_betters_comes_back_as_it_was(
    student: Student, teacher: nn.Module, tmp_path: Path
) -> None:
    """Also where the training stops early, or is stopped and resumed, or goes through stages of more bits."""
    before, score = state_of(student), evaluate(student, Shuffled())
    ruinous = TrainSpec(optimizer=OptimizerSpec(name="sgd", lr=100.0, momentum=0.0), patience=2)
    spec = DistillSpec(epochs=5, gradual=(BitStage(epoch=0, weight=8), BitStage(epoch=1)))
    for _ in range(2):
        events: list[Event] = []
        distill(
            student, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=spec, settings=ruinous,
            checkpoint=tmp_path / "last", progress=events.append,
        )  # fmt: skip
        assert events[-1] == Stopped(3, 0)
        assert_same_state(student, before)
    history = read_history(tmp_path / "last")
    (start,) = history[0].validation
    assert history[0] == untrained((start,), epochs=5)
    assert (start.time_steps, start.accuracy, start.loss) == (3, score.accuracy, score.loss)
    assert start.right.count("1") == round(score.accuracy * score.samples) and len(start.right) == score.samples
    assert [each.epoch for each in history] == [0, 1, 2, 3] and best_epoch(history) is history[0]


def test_by_loss_the_epoch_nearest_to_the_teachers_membranes_is_kept(student: Student, teacher: nn.Module) -> None:
    """Its validation totals are the mismatch that a report shows, of which the lowest is the student's."""
    graph = trace(teacher, Shuffled().x[:, :2])

    def mismatch(steps: int) -> float:
        (layer,) = measure_mismatch(student, teacher, graph, Shuffled(), time_steps=steps).values()
        return layer.membrane

    before, events = mismatch(3), list[Event]()
    alone = DistillSpec(epochs=5, task=None, logits=None, best="loss")
    settings = TrainSpec(optimizer=OptimizerSpec(lr=0.03), batch_norm=NormStatisticsSpec(freeze_after=0))
    distill(
        student, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=alone, settings=settings,
        progress=events.append,
    )  # fmt: skip
    records = [each for each in events if isinstance(each, EpochRecord)]
    totals = [each.validation_total for each in records if each.validation_total is not None]
    assert len(totals) == len(records)
    assert totals[0] == pytest.approx(before)
    assert mismatch(3) == pytest.approx(min(totals)) and min(totals) < before
    assert len(set(totals)) == 6


def test_by_loss_every_listed_number_of_steps_counts_with_all_its_parts(student: Student, teacher: nn.Module) -> None:
    """As they stand in the recipe, of the student in evaluation mode; membranes beside a teacher of the same steps."""
    events: list[Event] = []
    spec = DistillSpec(epochs=1, time_steps=(1, 3), best="loss", logits=None, membrane=MembraneLossSpec(weight=2.0))
    before = evaluate(student, Shuffled(), time_steps=3).loss
    graph = trace(teacher, Shuffled().x[:, :2])
    (layer,) = measure_mismatch(student, teacher, graph, Shuffled(), time_steps=3).values()
    distill(student, teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=spec, progress=events.append)
    first = next(each for each in events if isinstance(each, EpochRecord))
    one, three = first.validation
    assert three.total == pytest.approx(before + 2.0 * layer.membrane)
    assert one.total is not None and three.total is not None and one.total != three.total
    assert first.validation_total == pytest.approx((one.total + three.total) / 2)


def test_distillation_brings_the_student_nearer_to_its_teacher(student: Student, teacher: nn.Module) -> None:
    events: list[Event] = []
    before = state_of(student)
    returned = distill(
        student,
        teacher=teacher,
        train=Shuffled(),
        validate=Shuffled(),
        spec=DistillSpec(epochs=4),
        settings=FAST,
        progress=events.append,
    )
    records = [event for event in events if isinstance(event, EpochRecord)]
    assert returned is student and not student.training
    assert [each.epoch for each in records] == [0, 1, 2, 3, 4]
    assert list(records[1].losses) == ["total", "task", "logits", "membrane", "membrane/neuron"]
    assert records[-1].losses["total"] < records[1].losses["total"]
    assert any(not torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_every_listed_number_of_steps_is_trained_and_validated(student: Student, teacher: nn.Module) -> None:
    events: list[Event] = []
    distill(
        student,
        teacher=teacher,
        train=Shuffled(),
        validate=Shuffled(),
        spec=DistillSpec(epochs=1, time_steps=(1, 3)),
        progress=events.append,
    )
    records = [event for event in events if isinstance(event, EpochRecord)]
    assert all([score.time_steps for score in each.validation] == [1, 3] for each in records)
    finished = best_epoch(records)
    for score in finished.validation:
        assert evaluate(student, Shuffled(), time_steps=score.time_steps).accuracy == score.accuracy
    assert finished.validation_accuracy == sum(score.accuracy for score in finished.validation) / 2


def test_one_listed_number_of_steps_is_training_on_the_first_steps(student: Student, teacher: nn.Module) -> None:
    """Without a loss that looks at the teacher's later steps, T=2 of 3 equals data and teacher of 2 steps."""
    spec = DistillSpec(epochs=1, logits=None, membrane=MembraneLossSpec(), rates=RateLossSpec(align="first_steps"))
    other = copy.deepcopy(student)
    cut = [(x[:2], y) for x, y in Shuffled()]
    teacher_of_two = with_statistics(teacher, [x for x, _ in cut])
    whole = list(Shuffled())
    listed = spec.model_copy(update={"time_steps": (2,)})
    random = torch.random.get_rng_state()
    distill(student, teacher=teacher, train=whole, validate=whole, spec=listed)
    assert torch.equal(random, torch.random.get_rng_state())
    distill(other, teacher=teacher_of_two, train=cut, validate=cut, spec=spec)
    assert_same_state(other, state_of(student))
    assert not torch.equal(statistics(teacher_of_two.norm)[0], statistics(teacher.norm)[0])


def test_other_alignments_compare_with_all_steps_of_the_teacher(student: Student, teacher: nn.Module) -> None:
    """At T=2 of 3 the means are those over the teacher's 3 steps, by its own statistics."""
    events: list[Event] = []
    batch = next(iter(Shuffled()))
    spec = DistillSpec(
        epochs=1, time_steps=(2,), task=None, logits=None, membrane=MembraneLossSpec(align="mean"), rates=RateLossSpec()
    )
    student.train()
    seen, target = observe(student, student.graph, batch[0][:2]), observe(teacher, trace(teacher, batch[0]), batch[0])
    distill(student, teacher=teacher, train=[batch], validate=[batch], spec=spec, progress=events.append)
    name, last = "neuron", events[-1]
    assert isinstance(last, EpochRecord)
    losses = last.losses
    assert losses["rates"] == rate_loss(seen.spikes[name], target.spikes[name], align="mean").item()
    wanted = membrane_loss(seen.potentials[name], target.potentials[name], threshold=1.0, align="mean").item()
    assert losses["membrane"] == pytest.approx(wanted)


def test_a_float_network_is_scored_at_every_listed_number_of_steps_with_its_own_statistics() -> None:
    events: list[Event] = []
    rising = [(x * torch.tensor([0.5, 1.0, 2.0])[:, None, None], y) for x, y in Shuffled()]
    spec, settings = TeacherSpec(epochs=1, time_steps=(1, 3)), TrainSpec()
    network = train_network(Tiny(), train=rising, validate=rising, spec=spec, settings=settings, progress=events.append)
    (finished,) = [event for event in events if isinstance(event, EpochRecord)]
    assert [score.time_steps for score in finished.validation] == [1, 3]
    last = [x for x, _ in rising[-settings.batch_norm.remeasure :]]
    at_one, at_three = (with_statistics(network, [x[:steps] for x in last]) for steps in (1, 3))
    assert_same_state(network, state_of(at_three))
    assert finished.validation[0].loss == evaluate(at_one, rising, time_steps=1).loss
    assert finished.validation[0].loss != evaluate(network, rising, time_steps=1).loss
    assert finished.validation[1].loss == evaluate(network, rising).loss


def test_a_batch_is_a_step_of_a_float_network_down_the_loss_at_each_t_in_turn() -> None:
    """w_1 = w - lr dL_1(w), w_3 = w_1 - lr dL_3(w_1), by hand, for plain SGD; each gradient is clipped by itself."""
    torch.manual_seed(0)
    network, (x, y) = Tiny(), next(iter(Shuffled()))
    network.drop.p = 0.0
    by_hand, limit = copy.deepcopy(network), 0.05
    for steps in (1, 3):
        by_hand.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(by_hand(x[:steps]), y))
        gradients = [weight.grad for weight in by_hand.parameters() if weight.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        assert norm > limit
        with torch.no_grad():
            for weight, gradient in zip(by_hand.parameters(), gradients, strict=True):
                weight.sub_(0.1 * gradient * limit / norm)
    spec = TeacherSpec(
        epochs=1, time_steps=(1, 3), optimizer=OptimizerSpec(name="sgd", lr=0.1, momentum=0, weight_decay=0)
    )
    train_network(network, train=[(x, y)], validate=[(x, y)], spec=spec, settings=TrainSpec(grad_clip=limit))
    for trained, expected in zip(network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(trained.detach(), expected.detach())


def test_zero_epochs_leave_the_student_as_it_came(student: Student) -> None:
    before = state_of(student)
    returned = distill(student.train(), teacher=None, train=[], validate=[], spec=DistillSpec(epochs=0))
    assert returned is student and not student.training
    assert_same_state(student, before)


def test_a_student_can_be_the_teacher_of_a_coarser_one(student: Student, teacher: nn.Module) -> None:
    coarse = Recipe.model_validate({"name": "coarse", "quantize": {"weight": {"bit_width": 2}}})
    batches = list(Shuffled())
    coarser = compress(teacher, batches[0][0], coarse, batches)
    before = state_of(student)
    distill(coarser, teacher=student, train=batches, validate=batches, spec=DistillSpec(epochs=1))
    assert_same_state(student, before)


def test_without_teacher_losses_no_teacher_is_needed(student: Student) -> None:
    spec = DistillSpec(epochs=1, logits=None, membrane=None)
    events: list[Event] = []
    distill(student, teacher=None, train=Shuffled(), validate=Shuffled(), spec=spec, progress=events.append)
    _, finished = [event for event in events if isinstance(event, EpochRecord)]
    assert list(finished.losses) == ["total", "task"]


def test_set_epoch_is_called_with_1_to_the_last_epoch() -> None:
    called: list[int] = []

    class Watched(Shuffled):
        def set_epoch(self, epoch: int) -> None:
            called.append(epoch)

    train_network(float_network(), train=Watched(), validate=Shuffled(), spec=TeacherSpec(epochs=3))
    assert called == [1, 2, 3]


# ------------------------------------------------------------------ errors


def test_a_missing_teacher_is_an_error(student: Student) -> None:
    with pytest.raises(TrainingError, match="compare with a teacher"):
        distill(student, teacher=None, train=Shuffled(), validate=Shuffled(), spec=TWO_EPOCHS)


def test_a_teacher_with_other_neurons_is_an_error_that_names_the_layer(student: Student) -> None:
    with pytest.raises(TrainingError, match=r"neuron layer 'neuron' of shape \(12,\).*\(24,\)"):
        distill(student, teacher=Doubled().eval(), train=Shuffled(), validate=Shuffled(), spec=TWO_EPOCHS)


def test_a_teacher_with_other_neurons_will_do_where_only_logits_are_compared(student: Student) -> None:
    spec = DistillSpec(epochs=1, membrane=None)
    distill(student, teacher=Doubled().eval(), train=Shuffled(), validate=Shuffled(), spec=spec)


def test_a_teacher_with_other_classes_is_an_error(student: Student) -> None:
    network = float_network()
    network.head = nn.Linear(12, 5)
    with pytest.raises(TrainingError, match="same classes"):
        distill(student, teacher=network.eval(), train=Shuffled(), validate=Shuffled(), spec=TWO_EPOCHS)


def test_data_shorter_than_the_listed_steps_are_an_error(student: Student, teacher: nn.Module) -> None:
    spec = DistillSpec(epochs=1, time_steps=(1, 4))
    longer = [(torch.cat([x, x[:1]]), y) for x, y in Shuffled()]
    with pytest.raises(TrainingError, match=r"distill.time_steps must be at most the 3 steps of the data \(got 4\)"):
        distill(student, teacher=teacher, train=Shuffled(), validate=longer, spec=spec)
    with pytest.raises(DataError, match=r"time_steps must be 1..3, as the batches have 3 steps \(got 4\)"):
        distill(student, teacher=teacher, train=longer, validate=Shuffled(), spec=spec)


def test_data_shorter_than_the_steps_of_a_float_network_are_an_error() -> None:
    spec = TeacherSpec(epochs=1, time_steps=(1, 4))
    with pytest.raises(TrainingError, match=r"teacher.time_steps must be at most the 3 steps of the data \(got 4\)"):
        train_network(Tiny(), train=Shuffled(), validate=Shuffled(), spec=spec)


def test_data_that_can_be_walked_only_once_are_an_error() -> None:
    with pytest.raises(TrainingError, match="a generator only gives them once"):
        train_network(
            float_network(), train=(batch for batch in Shuffled()), validate=Shuffled(), spec=TeacherSpec(epochs=2)
        )


def test_no_training_data_are_an_error() -> None:
    with pytest.raises(TrainingError, match="at least one batch"):
        train_network(float_network(), train=[], validate=Shuffled(), spec=TeacherSpec(epochs=1))


def test_a_network_without_parameters_to_train_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"Tiny must have parameters that can be trained"):
        train_network(
            float_network().requires_grad_(False), train=Shuffled(), validate=Shuffled(), spec=TeacherSpec(epochs=1)
        )


def test_a_label_without_a_logit_is_an_error() -> None:
    batches = [(x, y + 1) for x, y in Shuffled()]
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.2"):
        train_network(float_network(), train=batches, validate=batches, spec=TeacherSpec(epochs=1))


def test_nan_in_the_loss_names_epoch_step_and_part(tmp_path: Path) -> None:
    batches = list(Shuffled())
    batches[3] = (batches[3][0] * math.nan, batches[3][1])
    path = tmp_path / "last"
    with pytest.raises(TrainingError, match="total is nan in epoch 1, step 4") as caught:
        train_network(
            Plain(),
            train=batches,
            validate=Shuffled(),
            spec=TeacherSpec(epochs=1),
            checkpoint=path,
            checkpoint_every=1,
        )
    assert "optimizer.lr" in str(caught.value)
    kept = load_file(path)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())  # the state before the step that broke


def test_the_part_that_broke_is_named_before_the_sum(student: Student, teacher: nn.Module) -> None:
    broken = copy.deepcopy(teacher)
    with torch.no_grad():
        broken.get_parameter("head.weight").fill_(3e38)
    with pytest.raises(TrainingError, match="logits is nan"):
        distill(student, teacher=broken, train=Shuffled(), validate=Shuffled(), spec=TWO_EPOCHS)


def test_an_infinite_gradient_is_an_error_before_it_reaches_the_weights() -> None:
    network = float_network()
    network.head.weight.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]  # torch's
    before = state_of(network)["head.weight"]
    with pytest.raises(TrainingError, match=r"gradient's norm is (nan|inf) in epoch 1, step 1"):
        train_network(network, train=Shuffled(), validate=Shuffled(), spec=TeacherSpec(epochs=1))
    assert torch.equal(network.head.weight, before)


def test_a_validation_loss_that_is_not_finite_is_an_error() -> None:
    broken = [(x * math.inf, y) for x, y in Shuffled()]
    with pytest.raises(TrainingError, match="validation loss at T=3 is nan in epoch 1"):
        train_network(Plain(), train=Shuffled(), validate=broken, spec=TeacherSpec(epochs=1))
