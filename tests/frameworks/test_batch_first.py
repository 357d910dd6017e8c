"""Networks that take [N, T, ...] and turn it themselves before a library's neurons: these are known as neurons.

Each network is written as its authors write it, with a learned leak: it keeps the names of its modules and trains what
it learns, in float and as integers it is what it was, and no line of its code is read as a neuron.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.evaluation.mismatch import measure_mismatch
from mdcompress.graph import NeuronModel, ReadoutMode, ReadoutSpec
from mdcompress.modes import Wrapper, modules_of
from mdcompress.pipeline.networks import numbers_of_neurons, numbers_read_off
from mdcompress.recipe import TeacherSpec
from mdcompress.tracing.conventions import Fitted, fit
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity

T, N = 5, 3
Forward = Callable[[Any, Tensor], Tensor]


class Layers(nn.Module):
    """Two linear layers with a neuron behind each, and a forward of one's own."""

    def __init__(self, forward: Forward, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.sn1, self.fc2, self.sn2 = nn.Linear(6, 8), first, nn.Linear(8, 4), second
        self.written = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.written(self, x)


def all_steps(m: Any, x: Tensor) -> Tensor:
    """Time first, to neurons of all steps; Norse's return their state too."""
    for layer in (m.fc1, m.sn1, m.fc2, m.sn2):
        x = layer(x)
        x = x[0] if isinstance(x, tuple) else x
    return x


def each_step(m: Any, steps: list[Tensor]) -> list[Tensor]:
    """One step after the other, with snnTorch's states passed by hand."""
    mem1, mem2, spikes = m.sn1.init_leaky(), m.sn2.init_leaky(), []
    for step in steps:
        hidden, mem1 = m.sn1(m.fc1(step), mem1)
        out, mem2 = m.sn2(m.fc2(hidden), mem2)
        spikes.append(out)
    return spikes


def plif(forward: Forward) -> nn.Module:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    first, second = (neuron.ParametricLIFNode(v_threshold=level, step_mode="m") for level in (0.3, 0.1))
    return Layers(forward, first, second).eval()


def plif_by_step(forward: Forward) -> nn.Module:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    return Layers(forward, *(neuron.ParametricLIFNode(v_threshold=level) for level in (0.3, 0.1))).eval()


def leaky(forward: Forward) -> nn.Module:
    snn = pytest.importorskip("snntorch")
    first, second = (snn.Leaky(beta=0.8, learn_beta=True, threshold=level) for level in (0.3, 0.1))
    return Layers(forward, first, second).eval()


def leaky_hidden(forward: Forward) -> nn.Module:
    snn = pytest.importorskip("snntorch")
    first, second = (snn.Leaky(beta=0.8, learn_beta=True, threshold=level, init_hidden=True) for level in (0.3, 0.1))
    return Layers(forward, first, second).eval()


def lif(forward: Forward) -> nn.Module:
    norse = pytest.importorskip("norse.torch")
    parameters = (norse.LIFParameters(v_th=torch.tensor(level), method="heaviside") for level in (0.02, 0.01))
    return Layers(forward, *map(norse.LIF, parameters)).eval()


def looped(m: Any, x: Tensor) -> Tensor:
    return torch.stack([all_steps(m, x[:, t]) for t in range(x.shape[1])])


STYLES: dict[str, tuple[Callable[[Forward], nn.Module], Forward, str, ReadoutMode]] = {
    "plif-transpose": (plif, lambda m, x: all_steps(m, x.transpose(0, 1)).mean(0), "kept", "mean"),
    "plif-permute": (plif, lambda m, x: all_steps(m, x.permute(1, 0, 2)), "kept", "steps"),
    "plif-back": (plif, lambda m, x: all_steps(m, x.transpose(0, 1)).transpose(0, 1), "turned", "steps"),
    "plif-loop": (plif_by_step, lambda m, x: looped(m, x).sum(0) / x.shape[1], "kept", "mean"),
    "leaky-loop": (leaky, lambda m, x: torch.stack(each_step(m, list(x.unbind(1)))), "kept", "steps"),
    "leaky-stack": (leaky, lambda m, x: torch.stack(each_step(m, [x[:, t] for t in range(T)]), 1), "turned", "steps"),
    "leaky-sum": (leaky, lambda m, x: torch.stack(each_step(m, [*x.transpose(0, 1)])).sum(0), "kept", "sum"),
    "leaky-hidden": (leaky_hidden, lambda m, x: looped(m, x).mean(0), "kept", "mean"),
    "lif-transpose": (lif, lambda m, x: all_steps(m, x.transpose(0, 1)).mean(0), "kept", "mean"),
}
WRITTEN = {"kept": "mdcompress.BatchFirst(network, answers='time_first')", "turned": "mdcompress.BatchFirst(network)"}


def moving(batch: int = N) -> Tensor:
    return 2 * torch.rand(T, batch, 6, generator=torch.Generator().manual_seed(0))


def names(found: Fitted) -> list[str]:
    return [node.name for node in found.graph]


@pytest.mark.parametrize("batch", [N, T])  # T samples: no size tells time from batch
@pytest.mark.parametrize("style", STYLES)
def test_its_neurons_are_the_librarys_under_their_own_names(style: str, batch: int) -> None:
    make, forward, answers, mode = STYLES[style]
    network, x = make(forward), moving(batch)
    found = fit(network, x)
    assert names(found) == ["input", "fc1", "sn1", "fc2", "sn2", "readout"]
    assert found.graph.readout.spec == ReadoutSpec(mode) and not found.findings
    assert found.convention == f"takes the batch first, [N, T, ...]: it runs as {WRITTEN[answers]}"
    assert assert_float_parity(found.graph, found.network, x) > 20
    assert_integer_parity(found.network, found.graph, x)
    rest = fit(make(forward), moving(batch)).network(x)
    assert rest.shape == ((T, batch, 4) if mode == "steps" else (batch, 4))


@pytest.mark.parametrize("style", [style for style in STYLES if not style.startswith("lif")])
def test_what_it_learns_is_trained(style: str) -> None:
    make, forward, *_ = STYLES[style]
    network, x = make(forward), moving()
    found = fit(network, x)
    learned = {name: value.detach().clone() for name, value in network.named_parameters() if name.startswith("sn")}
    assert len(learned) == 2
    assert numbers_read_off(found.network) == () and numbers_of_neurons(found) == tuple(sorted(learned))
    batch = (x, torch.arange(N))
    md.train_network(found.network, train=[batch], validate=[batch], spec=TeacherSpec(epochs=2))
    assert all(not torch.equal(network.get_parameter(name), before) for name, before in learned.items())
    again = fit(network, x).graph
    assert again.of(NeuronModel) and again.node("sn1").spec != found.graph.node("sn1").spec


def test_an_answer_with_the_batch_first_is_turned_whatever_the_network_takes() -> None:
    def back(m: Any, x: Tensor) -> Tensor:
        return torch.stack(each_step(m, [*x]), 1)

    def still(m: Any, x: Tensor) -> Tensor:
        return torch.stack(each_step(m, [x] * T), 1)

    x = moving(T)
    found = fit(leaky(back), x)
    assert isinstance(found.network, md.BatchFirstAnswer) and found.convention.startswith(
        "answers with the batch first"
    )
    assert_float_parity(found.graph, found.network, x)
    image = x[:1].expand_as(x)
    found = fit(leaky(still), image)
    assert found.convention.endswith("it runs as mdcompress.BatchFirstAnswer(mdcompress.StillImage(network))")
    assert names(found) == ["input", "fc1", "sn1", "fc2", "sn2", "readout"]
    assert_float_parity(found.graph, found.network, image)


def test_steps_that_are_folded_into_the_batch_are_unfolded() -> None:
    def folded(m: Any, x: Tensor) -> Tensor:
        spikes = m.sn1(m.fc1(x).unflatten(0, (T, -1))).flatten(0, 1)
        answer: Tensor = m.sn2(m.fc2(spikes).unflatten(0, (T, -1))).flatten(0, 1)
        return answer

    x = moving()
    found = fit(plif(folded), x)
    assert isinstance(found.network, md.StepsFolded) and found.network(x).shape == (T, N, 4)
    assert found.graph.readout.spec == ReadoutSpec("steps")
    assert_float_parity(found.graph, found.network, x)


def test_answers_of_as_many_classes_as_steps_are_no_steps() -> None:
    network = plif(lambda m, x: all_steps(m, x.transpose(0, 1)).mean(0))
    network.fc2, x = nn.Linear(8, T), moving()
    for wrapped in (fit(network, x).network, md.BatchFirst(network)):
        assert torch.equal(wrapped(x), network(x.transpose(0, 1)))


def test_a_wrapper_is_told_of_answers_that_come_time_first() -> None:
    network = plif(lambda m, x: all_steps(m, x.transpose(0, 1)))
    with pytest.raises(
        TraceError, match=r"must have the batch before time, \[3, 5, ...\] \(got \[5, 3, 4\]\)"
    ) as caught:
        md.trace(md.BatchFirst(network), moving())
    assert "answers='time_first'" in caught.value.hints[0]
    assert md.trace(md.BatchFirst(network, answers="time_first"), moving()).readout.spec == ReadoutSpec("steps")


def test_wrappers_leave_the_names_of_modules() -> None:
    network = plif(all_steps)
    wrapped = md.BatchFirst(md.StillImage(network))
    own, all_of_them = modules_of(network), modules_of(wrapped)
    assert {name: module for name, module in all_of_them.items() if not name.startswith("<")} == own
    assert list(all_of_them)[: len(own)] == list(own) and isinstance(wrapped.network, Wrapper)
    assert all_of_them["<BatchFirst>"] is wrapped and "<StillImage>.first_step" in all_of_them


class Prefixed(nn.Module):
    """As version 1.0 named a network in a wrapper: `network.` before each name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.network(x.transpose(0, 1))
        return answer


def test_students_and_recipes_with_the_names_of_before_go_on() -> None:
    network, x = plif(STYLES["plif-transpose"][1]), moving()
    old = Prefixed(network).eval()
    recipe = md.load_recipe("8bit", changes=["quantize.overrides=[{match: network.fc1, weight: {bit_width: 5}}]"])
    graph, found = md.trace(old, x), fit(network, x)
    assert {node.name for node in graph} >= {"network.fc1", "network.sn1"}
    plans = [md.plan(recipe, graph).node("network.fc1"), md.plan(recipe, found.graph).node("fc1")]
    assert [plan.weight.bit_width for plan in plans if plan.weight] == [5, 5]
    student = md.calibrate(md.quantize(old, graph, md.plan(recipe, graph)), [x])
    batch = (x, torch.arange(N))
    before = measure_mismatch(student, old, graph, [batch], time_steps=T)
    assert measure_mismatch(student, found.network, found.graph, [batch], time_steps=T) == before
    spec = recipe.distill.model_copy(update={"epochs": 1})
    md.distill(student, teacher=found.network, train=[batch], validate=[batch], spec=spec)
    other = md.trace(nn.Sequential(nn.Linear(6, 8), md.zoo.LIF()).eval(), x)
    assert other.named_as(graph) is other


@pytest.mark.parametrize("style", STYLES)
def test_a_sample_of_another_size_is_said_of_the_layer(style: str) -> None:
    make, forward, *_ = STYLES[style]
    with pytest.raises(TraceError) as caught:
        fit(make(forward), torch.rand(T, N, 7))
    assert "the network fails in 'fc1' (Linear), which takes [..., 6] and is given [" in caught.value.message
    assert "7]: x [T, N, ...] is [5, 3, 7], a sample [7] at each step" in caught.value.message
    assert "`data.name`" in caught.value.hints[0] and "give the layer 7 inputs" in caught.value.hints[0]
    assert not any("assumption" in hint for hint in caught.value.hints)
