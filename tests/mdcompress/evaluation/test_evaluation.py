"""Evaluation: figures counted by hand on networks small enough to see through; saturation against a direct count."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from mdcompress.compression import compress
from mdcompress.errors import DataError
from mdcompress.evaluation import evaluate, evaluate_at
from mdcompress.graph import SnnGraph
from mdcompress.modes import evaluating
from mdcompress.recipe import Recipe
from mdcompress.student import Student
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF
from mdcompress.zoo.neurons import Reset


class Echo(nn.Module):
    """Gives its input [T, N, K] back, as per-step logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class EchoMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


class Small(nn.Module):
    """4 inputs, 6 neurons, 3 classes."""

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 6)
        self.neuron = neuron
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.drop(self.neuron(self.inner(x))))
        return logits.mean(0)


class OneNeuron(nn.Module):
    """h = x exactly, one IF neuron of threshold 1, two logits."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(1, 1)
        self.neuron = IF()
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.inner.weight.fill_(1.0)
            self.inner.bias.zero_()
            self.head.weight.copy_(torch.tensor([[0.0], [1.0]]))
            self.head.bias.copy_(torch.tensor([0.25, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.neuron(self.inner(x)))
        return logits.mean(0)


LOGITS = torch.tensor([[[4.0, 0.0], [0.0, 2.0], [0.0, 2.0]], [[0.0, 2.0], [0.0, 2.0], [0.0, 0.0]]])  # [T=2, N=3, K=2]
LABELS = torch.tensor([0, 1, 0])  # means [2,1] [0,2] [0,1]: right, right, 0 taken for 1


def test_one_walk_scores_each_number_of_steps() -> None:
    walks, asked = [], []

    class Walked:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            walks.append(1)
            yield LOGITS[:, :2], LABELS[:2]
            yield LOGITS[:, 2:], LABELS[2:]

    def answer(x: Tensor, y: Tensor, steps: int) -> Tensor:
        asked.append((len(y), steps))
        return x[:steps]

    found = evaluate_at(Echo(), Walked(), [1, None], answer=answer)
    assert walks == [1]
    assert asked == [(2, 1), (2, 2), (1, 1), (1, 2)]
    assert found == tuple(evaluate(Echo(), Walked(), time_steps=steps) for steps in (1, 2))
    assert [metrics.accuracy for metrics in found] == [2 / 3, 2 / 3]
    assert found[0].confusion == ((1, 1), (0, 1)) and found[0].loss != found[1].loss


@pytest.mark.parametrize("network", [Echo(), EchoMean()])
def test_accuracy_and_confusion_are_those_of_the_mean_over_time(network: nn.Module) -> None:
    metrics = evaluate(network, [(LOGITS, LABELS)])
    assert metrics.accuracy == 2 / 3
    assert metrics.confusion == ((1, 1), (0, 1))
    assert metrics.class_accuracy == (0.5, 1.0)
    expected = torch.log1p(torch.exp(torch.tensor([-1.0, -2.0, 1.0]))).mean()
    assert metrics.loss == pytest.approx(expected.item())
    assert (metrics.samples, metrics.time_steps) == (3, 2)
    assert (dict(metrics.neurons), metrics.mean_spike_rate) == ({}, None)


def test_the_first_time_steps_alone_can_be_asked_for() -> None:
    metrics = evaluate(Echo(), [(LOGITS.flip(0), LABELS)], time_steps=1)
    assert metrics.confusion == ((1, 1), (0, 1))  # [0,2] -> 1, [0,2] -> 1, and the tie [0,0] goes to class 0
    assert metrics.time_steps == 1


def test_batches_of_unequal_size_weigh_by_their_samples() -> None:
    whole = evaluate(Echo(), [(LOGITS, LABELS)])
    parts = evaluate(Echo(), [(LOGITS[:, :1], LABELS[:1]), (LOGITS[:, 1:], LABELS[1:])])
    assert parts.loss == pytest.approx(whole.loss)
    assert (parts.accuracy, parts.confusion, parts.samples) == (whole.accuracy, whole.confusion, 3)


def test_a_class_without_samples_has_no_accuracy() -> None:
    metrics = evaluate(Echo(), [(LOGITS, torch.zeros(3, dtype=torch.int64))])
    first, second = metrics.class_accuracy
    assert first == pytest.approx(1 / 3) and second is None


def one_neuron() -> tuple[nn.Module, Tensor, SnnGraph]:
    x = torch.tensor([0.5, 0.75, 2.0]).view(3, 1, 1)  # h: 0.5, 1.25 (fires, to 0), 2.0 (fires)
    network = OneNeuron().eval()
    return network, x, trace(network, x)


def test_spike_rate_and_potential_of_one_neuron_by_hand() -> None:
    network, x, graph = one_neuron()
    metrics = evaluate(network, [(x, torch.tensor([1]))], graph=graph)
    neuron = metrics.neurons["neuron"]
    assert neuron.spike_rate == pytest.approx(2 / 3)
    assert neuron.potential_mean == pytest.approx(1.25)
    assert neuron.potential_std == pytest.approx((0.75**2 * 2 / 3) ** 0.5)
    assert neuron.saturated is None
    assert metrics.mean_spike_rate == pytest.approx(2 / 3)
    assert metrics.accuracy == 1.0  # logits [0.25, 2/3]


def test_the_graph_changes_no_accuracy() -> None:
    torch.manual_seed(0)
    network, x = Small(LIF()).eval(), torch.rand(3, 20, 4) * 4
    y = torch.arange(20) % 3
    watched, plain = evaluate(network, [(x, y)], graph=trace(network, x)), evaluate(network, [(x, y)])
    assert watched.confusion == plain.confusion
    assert watched.loss == pytest.approx(plain.loss, rel=1e-5)
    assert 0.0 < watched.neurons["neuron"].spike_rate < 1.0


def small_student(reset: Reset, bit_width: int) -> tuple[Student, Tensor]:
    torch.manual_seed(1)
    network, x = Small(LIF(reset=reset)), torch.rand(4, 50, 4) * 2
    with torch.no_grad():
        network.inner.weight.mul_(4.0)
    quantize = {"membrane": {"bit_width": bit_width}}
    recipe = Recipe.model_validate({"name": "small", "quantize": quantize})
    return compress(network.eval(), x[:, :2], recipe, [x]), x


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("bit_width", [2, 4])
def test_saturation_is_the_share_of_membranes_that_storage_clips(reset: Reset, bit_width: int) -> None:
    """A direct count: run the integers of the student step by step and compare before and after the clip."""
    student, x = small_student(reset, bit_width)
    y = torch.zeros(50, dtype=torch.int64)
    found = evaluate(student, [(x[:, :30], y[:30]), (x[:, 30:], y[30:])], graph=student.graph).neurons["neuron"]
    with torch.no_grad():
        firing = student.eval().run(x).firings["neuron"]
        fine_scale = student.fine_scale("neuron", student.stream_units())
        integers = student.neuron("neuron").integers(fine_scale)
    high = 2 ** (bit_width - 1) - 1
    clipped = 0
    for h, s, v in zip(firing.potentials, firing.spikes, firing.membranes, strict=True):
        if reset == "hard":
            h = torch.where(s > 0, integers.reset_value, h)
        elif reset == "soft":
            h = h - integers.soft_amount * s
        unclipped = torch.floor(h / 2**integers.guard_bits)
        assert torch.equal(unclipped.clamp(-high - 1, high), v)
        clipped += int((unclipped != v).sum())
    assert clipped > 0
    assert found.saturated == clipped / firing.spikes.numel()
    assert found.spike_rate == pytest.approx(firing.spikes.mean().item())


def test_modes_are_restored_and_evaluation_uses_eval_mode() -> None:
    torch.manual_seed(0)
    network = Small(LIF())
    x, y = torch.rand(2, 8, 4), torch.zeros(8, dtype=torch.int64)
    network.train()
    network.inner.eval()  # a mode of its own
    first, second = evaluate(network, [(x, y)]), evaluate(network, [(x, y)])
    assert first == second  # dropout is off
    assert network.training and network.drop.training and not network.inner.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_modes_are_restored_after_an_error() -> None:
    network = Small(LIF()).train()
    with pytest.raises(ZeroDivisionError), evaluating(network):
        assert not network.training
        raise ZeroDivisionError
    assert network.training


def test_metrics_are_one_json_object() -> None:
    network, x, graph = one_neuron()
    metrics = evaluate(network, [(x, torch.tensor([1]))], graph=graph)
    loaded = json.loads(metrics.to_json())
    assert loaded["accuracy"] == 1.0
    assert loaded["confusion"] == [[0, 0], [0, 1]]
    assert loaded["class_accuracy"] == [None, 1.0]
    assert loaded["neurons"]["neuron"]["saturated"] is None
    assert loaded["mean_spike_rate"] == metrics.mean_spike_rate


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([0, 1, 2]), r"0\.\.1, as the network has 2 logits \(got 0\.\.2\)"),
        (torch.tensor([0, -1, 1]), r"got -1\.\.1"),
        (torch.tensor([0, 1]), r"labels must be 3 class numbers, int64 \[3\] \(got torch.int64 \[2\]\)"),
        (torch.tensor([0.0, 1.0, 1.0]), "got torch.float32"),
        (
            torch.eye(3, dtype=torch.int64),
            r"got torch.int64 \[3, 3\]\)\n    hint: class numbers of one-hot rows are y.argmax",
        ),
    ],
)
def test_labels_that_do_not_fit_are_an_error(y: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(Echo(), [(LOGITS, y)])


@pytest.mark.parametrize("steps", [0, 3])
def test_time_steps_that_the_data_do_not_have_are_an_error(steps: int) -> None:
    with pytest.raises(DataError, match=rf"time_steps must be 1\.\.2.*got {steps}"):
        evaluate(Echo(), [(LOGITS, LABELS)], time_steps=steps)


def test_no_batch_is_an_error_and_not_an_accuracy_of_zero() -> None:
    with pytest.raises(DataError, match="at least one batch"):
        evaluate(Echo(), [])
