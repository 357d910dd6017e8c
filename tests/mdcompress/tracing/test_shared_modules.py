"""Modules that stand in several places of a network: weights and norms stored once, neurons that start anew."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import mdcompress as md
from intsnn.graph import IntConv
from mdcompress.errors import TraceError
from mdcompress.graph import AffineSpec, NeuronModel, SnnGraph
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity
from tests.support.narrowed import batch_norm, statistics

T, N = 3, 2
Forward = Callable[["Net", Tensor], Tensor]


def fold(layer: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return y


class Net(nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = forward
        self.stem, self.block = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.lif, self.second, self.third = LIF(threshold=0.3), IF(threshold=0.3), LIF(threshold=0.2)
        self.pool, self.flat, self.head = nn.AvgPool2d(2), nn.Flatten(2), nn.LazyLinear(3)
        with torch.no_grad():
            self.stem.weight.add_(0.05)
            self.block.weight.add_(0.05)
            for norm, mean in ((self.norm, 0.1), (self.other, 0.2)):
                norm.bias.fill_(0.3)
                statistics(norm)[0].fill_(mean)
                statistics(norm)[1].fill_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def twice(m: Net, x: Tensor) -> Tensor:
    spikes = m.lif(fold(m.stem, x))
    spikes = m.second(fold(m.block, spikes))
    logits: Tensor = m.head(m.flat(m.third(fold(m.block, spikes))))
    return logits


def own_norms(m: Net, x: Tensor) -> Tensor:
    spikes = m.second(fold(m.norm, fold(m.block, m.lif(fold(m.stem, x)))))
    logits: Tensor = m.head(m.flat(m.third(fold(m.other, fold(m.block, spikes)))))
    return logits


def whole_block(m: Net, x: Tensor) -> Tensor:
    spikes = m.second(fold(m.norm, fold(m.block, m.lif(fold(m.stem, x)))))
    logits: Tensor = m.head(m.flat(m.third(fold(m.norm, fold(m.block, spikes)))))
    return logits


def one_norm(m: Net, x: Tensor) -> Tensor:
    spikes = m.lif(fold(m.norm, fold(m.stem, x)))
    logits: Tensor = m.head(m.flat(m.second(fold(m.norm, fold(m.block, spikes)))))
    return logits


def norm_alone(m: Net, x: Tensor) -> Tensor:
    spikes = m.second(fold(m.norm, m.lif(fold(m.stem, x))))
    logits: Tensor = m.head(m.flat(m.third(fold(m.norm, spikes))))
    return logits


def pools(m: Net, x: Tensor) -> Tensor:
    spikes = fold(m.pool, m.lif(fold(m.pool, fold(m.stem, x))))
    logits: Tensor = m.head(m.flat(spikes) + m.flat(spikes))
    return logits


def one_neuron(m: Net, x: Tensor) -> Tensor:
    logits: Tensor = m.head(m.flat(m.lif(fold(m.block, m.lif(fold(m.stem, x))))))
    return logits


def sample(*shape: int) -> Tensor:
    return torch.rand(T, N, *(shape or (2, 4, 4)), generator=torch.Generator().manual_seed(1))


def made(forward: Forward) -> tuple[Net, Tensor]:
    network, x = Net(forward).eval(), sample()
    with torch.no_grad():
        network(x)
    return network, x


def checked(forward: Forward) -> tuple[SnnGraph, md.Student]:
    network, x = made(forward)
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x, recipe="4bit")
    return graph, assert_integer_parity(network, graph, x)


@pytest.mark.parametrize("forward", [twice, own_norms, whole_block])
def test_shared_weights_are_several_synapses_of_one_parameter(forward: Forward) -> None:
    graph, student = checked(forward)
    first, second = graph.node("block"), graph.node("block_2")
    assert (first.of, second.of) == (None, "block") and second.module == "block"
    assert graph.places(second) == (first, second)
    assert student.synapse("block").layer is student.synapse("block_2").layer
    stored = [
        name for name in student.state_dict() if name.startswith("layers.block") and name.endswith("layer.weight")
    ]
    assert stored == ["layers.block.layer.weight"]
    weights = [node.weight for node in md.lower(student).nodes if isinstance(node, IntConv)]
    assert (weights[1] == weights[2]).all() and weights[1].any()


def test_norms_of_shared_weights_are_each_places_own_or_one() -> None:
    _, student = checked(own_norms)
    one, other = student.synapse("block").norm, student.synapse("block_2").norm
    assert one is not other and one is not None and other is not None
    _, student = checked(whole_block)
    assert student.synapse("block").norm is student.synapse("block_2").norm
    assert not [name for name in student.state_dict() if name.startswith("layers.block_2")]


def test_one_norm_behind_two_layers_is_stored_once() -> None:
    _, student = checked(one_norm)
    assert student.synapse("stem").norm is student.synapse("block").norm is not None
    graph, student = checked(norm_alone)
    assert [(node.name, node.of, node.spec) for node in graph.of(AffineSpec)] == [
        ("norm", None, AffineSpec("norm")),
        ("norm_2", "norm", AffineSpec("norm")),
    ]
    assert student.affine("norm").norm is student.affine("norm_2").norm


@pytest.mark.parametrize("mode", ["quantize", "fold", "power_of_two"])
@pytest.mark.parametrize("forward", [own_norms, whole_block, one_norm])
def test_no_norm_is_folded_into_weights_that_others_use(mode: str, forward: Forward) -> None:
    network, x = made(forward)
    recipe = md.Recipe.model_validate({"name": "a", "summary": "b", "quantize": {"batch_norm": {"mode": mode}}})
    student = md.compress(network, x, recipe, [x])
    shared = forward is not one_norm
    planned = student.plan.node("block").batch_norm
    assert planned is not None and planned.mode == ("quantize" if mode == "fold" and shared else mode)
    assert md.verify(student, x).equal


def test_a_rule_for_one_place_holds_for_the_weights_of_all() -> None:
    network, x = made(twice)
    quantize = {"overrides": ({"match": "block_2", "weight": {"bit_width": 3}, "batch_norm": {"scale_bit_width": 5}},)}
    recipe = md.Recipe.model_validate({"name": "a", "summary": "b", "quantize": quantize})
    plan = md.plan(recipe, trace(network, x))
    for name, bits in (("block", 8), ("block_2", 5)):
        node = plan.node(name)
        assert node.weight is not None and node.batch_norm is not None
        assert node.weight.bit_width == 3 and node.batch_norm.scale_bit_width == bits
        assert ("weight.bit_width", "quantize.overrides.0 (block_2)") in node.origin


def test_both_places_teach_the_shared_weight() -> None:
    network, x = made(whole_block)
    student = md.compress(network, x, "8bit", [x]).train()
    seen = student.run(x)
    weight = student.synapse("block").layer.weight
    gradients = [
        torch.autograd.grad(seen.currents[name].sum(), weight, retain_graph=True)[0] for name in ("block", "block_2")
    ]
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    with torch.no_grad():
        weight.add_(0.01 * torch.rand(weight.shape))
    assert md.verify(student, x).equal
    assert len(list(student.parameters())) == len({id(parameter) for parameter in student.parameters()})


def test_a_copy_and_a_file_of_a_student_keep_the_sharing(tmp_path: Path) -> None:
    network, x = made(whole_block)
    student = md.compress(network, x, "8bit", [x])
    duplicate = copy.deepcopy(student)
    assert duplicate.synapse("block").layer is duplicate.synapse("block_2").layer
    assert duplicate.synapse("block").layer is not student.synapse("block").layer
    md.save_student(student, tmp_path / "student")
    with safe_open(tmp_path / "student", framework="pt") as file:
        assert not [name for name in file.keys() if "block_2" in name and "layer" in name.split(".")]  # noqa: SIM118
    again = md.load_student(tmp_path / "student")
    assert again.graph == student.graph and md.lower(again) == md.lower(student)
    assert again.synapse("block").layer is again.synapse("block_2").layer


def test_calibration_leaves_the_momentum_of_a_shared_norm() -> None:
    network, x = made(whole_block)
    network.norm.momentum = 0.25
    student = md.compress(network, x, "8bit", [x])
    assert batch_norm(student.synapse("block_2").norm).momentum == 0.25


def test_pools_and_flattenings_stand_anywhere() -> None:
    graph, _ = checked(pools)
    assert [node.name for node in graph if node.kind in ("pool", "flatten")] == [
        "pool",
        "pool_2",
        "pool_2.flatten",
    ]


def test_a_neuron_that_starts_anew_at_every_call_stands_in_several_places() -> None:
    graph, student = checked(one_neuron)
    neurons = graph.of(NeuronModel)
    assert [(node.name, node.of, node.calls) for node in neurons] == [("lif", None, (0,)), ("lif_2", "lif", (1,))]
    network, x = made(one_neuron)
    seen = md.observe(network, graph, x)
    assert seen.spikes["lif"].any() and not torch.equal(seen.spikes["lif"], seen.spikes["lif_2"])
    assert (seen.spikes["lif"] != student.observe(x).spikes["lif"]).float().mean() < 0.05
    with pytest.raises(TraceError, match="stands in several places, which are told apart at 3 steps"):
        md.observe(network, graph, x[:2])


# --- neurons that keep their state -----------------------------------------------------------------------------------


class Explicit(nn.Module):
    """One snnTorch neuron in two places, each with a membrane of its own."""

    def __init__(self, *, crossed: bool = False) -> None:
        super().__init__()
        snn = pytest.importorskip("snntorch")
        torch.manual_seed(0)
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.lif, self.crossed = snn.Leaky(beta=0.8, threshold=0.2), crossed

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.lif.init_leaky(), self.lif.init_leaky()
        answers = []
        for step in x.unbind(0):
            spikes, one = self.lif(self.fc1(step), one)
            spikes, two = self.lif(self.fc2(spikes), two)
            if self.crossed:
                one, two = two, one
            answers.append(self.fc3(spikes))
        return torch.stack(answers)


def test_explicit_states_keep_the_places_of_one_neuron_apart() -> None:
    network, x = Explicit().eval(), 2 * sample(6)
    graph = trace(network, x)
    assert [node.calls for node in graph.of(NeuronModel)] == [(0, 2, 4), (1, 3, 5)]
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x)
    seen = md.observe(network, graph, x)
    assert not torch.equal(seen.spikes["lif"], seen.spikes["lif_2"])
    with pytest.raises(TraceError, match="neuron 'lif' is given step 0 of 'lif_2' for its state at step 1"):
        trace(Explicit(crossed=True), x)


class Hidden(nn.Module):
    """One SpikingJelly neuron in two places, reset between them or not."""

    def __init__(self, *, reset: bool, step_mode: str = "m") -> None:
        super().__init__()
        neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
        torch.manual_seed(0)
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.lif, self.reset = neuron.LIFNode(v_threshold=0.2, step_mode=step_mode), reset

    def spikes(self, x: Tensor) -> Tensor:
        multi = self.lif.step_mode == "m"
        spikes = self.lif(x) if multi else torch.stack([self.lif(step) for step in x.unbind(0)])
        if self.reset:
            self.lif.reset()
        return spikes

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc3(self.spikes(self.fc2(self.spikes(self.fc1(x)))))
        return y


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_neuron_that_is_reset_stands_in_several_places(step_mode: str) -> None:
    network, x = Hidden(reset=True, step_mode=step_mode).eval(), 2 * sample(6)
    graph = trace(network, x)
    assert len(graph.of(NeuronModel)) == 2
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_state_that_goes_on_at_another_place_is_refused(step_mode: str) -> None:
    with pytest.raises(TraceError) as caught:
        trace(Hidden(reset=False, step_mode=step_mode), 2 * sample(6))
    assert "neuron 'lif' is called more than once in a forward pass: the state it keeps" in caught.value.message
    assert caught.value.hints[0] == "give every place a neuron of its own, or reset it between them"


def test_a_hidden_state_that_two_places_share_in_every_step_is_refused() -> None:
    snn = pytest.importorskip("snntorch")

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.lif = nn.Linear(6, 6), nn.Linear(6, 6), snn.Leaky(beta=0.8, init_hidden=True)

        def forward(self, x: Tensor) -> Tensor:
            spikes: Tensor = self.lif(self.fc2(self.lif(self.fc1(x))))
            return spikes

    with pytest.raises(TraceError, match=r"'lif' is called more than once in a forward pass: the state"):
        trace(md.Stepped(Step()), 5 * sample(6))


def test_a_step_that_calls_a_module_elsewhere_than_the_steps_before_is_refused() -> None:
    class Changing(Hidden):
        def forward(self, x: Tensor) -> Tensor:
            y = self.fc1(x)
            spikes = torch.stack([self.lif(step) for step in y.unbind(0)])
            return torch.stack([self.fc2(spikes[0]), self.fc2(spikes[1]), self.fc2(y[2])])

    with pytest.raises(TraceError, match=r"'fc2' reads 'fc1\.digits' at step 2, and read 'lif' before"):
        trace(Changing(reset=False, step_mode="s"), 2 * sample(6))
