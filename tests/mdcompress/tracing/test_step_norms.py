"""Norms that differ from step to step: one batch norm for every step (BNTT), or a factor for every step (TEBN)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from intsnn.errors import InputError
from intsnn.graph import IntRequant
from mdcompress.errors import PlanError, TraceError
from mdcompress.graph import AffineSpec, NeuronModel, SnnGraph, SynapseSpec
from mdcompress.layers.norms import norm_affine, running_statistics
from mdcompress.layers.step_norms import (
    ScaledNorm,
    StepNorms,
    affine_of,
    plain_norms,
    statistics_in_use,
    statistics_of,
)
from mdcompress.tracing import trace
from mdcompress.zoo import LIF
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity
from tests.support.narrowed import batch_norm, statistics

T, N = 3, 2


class Stepwise(nn.Module):
    """A neuron that keeps its state from call to call, so that a network may loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 0.0

    def neuron_model(self) -> NeuronModel:
        return NeuronModel(0.5, 1.0, 0.0, 0.4, "greater_equal", "soft", 0.0, 0.4, 0.0)

    def reset_state(self) -> None:
        self.v = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] == 100:  # the probe gives all steps
            self.reset_state()
            return torch.stack([self.forward(step) for step in x.unbind(0)])
        self.v = 0.5 * self.v + x
        spikes = (self.v >= 0.4).to(x.dtype)
        self.v = self.v - 0.4 * spikes
        return spikes


class Loop(nn.Module):
    """A time loop that normalises every step by a norm of its own."""

    def __init__(self, *, norms: int = T, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(norms))
        self.lif, self.pool, self.head = Stepwise(), nn.MaxPool2d(2), nn.Linear(16, 3)
        with torch.no_grad():
            for step, norm in enumerate(map(batch_norm, self.norms)):
                statistics(norm)[0].uniform_(-0.1, 0.2)
                statistics(norm)[1].uniform_(0.02, 0.1 * (step + 1))
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.uniform_(0.0, 0.4)
                if not bias:
                    norm.register_parameter("bias", None)

    def normed(self, x: Tensor, step: int) -> Tensor:
        y: Tensor = self.norms[step](self.conv(x))
        return y

    def forward(self, x: Tensor) -> Tensor:
        steps = [self.head(self.pool(self.lif(self.normed(x[t], t))).flatten(1)) for t in range(T)]
        return torch.stack(steps)


def sample() -> Tensor:
    return torch.rand(T, N, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def checked(network: nn.Module, x: Tensor) -> SnnGraph:
    graph = trace(network.eval(), x)
    assert_float_parity(graph, network, x)
    for recipe in ("8bit", "4bit"):
        student = assert_integer_parity(network, graph, x, recipe=recipe)
    steps = [node for node in md.lower(student).nodes if isinstance(node, IntRequant) and node.multiplier.ndim == 2]
    assert steps and all(node.multiplier.shape[0] == T for node in steps)
    assert any((node.multiplier != node.multiplier[0]).any() for node in steps)
    return graph


@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_for_every_step_is_one_node_with_a_row_for_each(bias: bool) -> None:
    graph = checked(Loop(bias=bias), sample())
    spec = graph.node("conv").spec
    assert isinstance(spec, SynapseSpec)
    assert spec.batch_norm == "norms.0" and spec.step_norms == ("norms.0", "norms.1", "norms.2")
    assert [node.kind for node in graph] == [
        "input", "synapse", "neuron", "pool", "flatten", "synapse", "readout",
    ]  # fmt: skip


class Repeating(Loop):
    """More steps than norms: the last serves the rest."""

    def normed(self, x: Tensor, step: int) -> Tensor:
        y: Tensor = self.norms[min(step, 1)](self.conv(x))
        return y


def test_a_norm_may_serve_several_steps() -> None:
    network = Repeating(norms=2)
    graph = checked(network, sample())
    assert graph.node("conv").spec.step_norms == ("norms.0", "norms.1", "norms.1")  # type: ignore[union-attr]
    student = md.compress(network, sample(), "8bit", [sample()])
    norms = student.synapse("conv").norm
    assert isinstance(norms, StepNorms) and norms.of_step[1] is norms.of_step[2] and len(plain_norms(norms)) == 2


class WithoutWeights(Loop):
    """Norms behind a pooling, where no synapse can hold them."""

    def normed(self, x: Tensor, step: int) -> Tensor:
        y: Tensor = self.norms[step](nn.functional.avg_pool2d(self.conv(x), 1))
        return y


class OnInput(Loop):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in range(T))
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            for step, norm in enumerate(self.norms):
                statistics(norm)[0].fill_(0.1 * step)

    def normed(self, x: Tensor, step: int) -> Tensor:
        y: Tensor = self.norms[step](x)
        return y


@pytest.mark.parametrize("make", [WithoutWeights, OnInput])
def test_norms_by_step_without_a_weight_layer_are_one_affine_node(make: Callable[[], nn.Module]) -> None:
    (node,) = checked(make(), sample()).of(AffineSpec)
    assert node.spec == AffineSpec("norms.0", ("norms.0", "norms.1", "norms.2"))


class TwoBranches(OnInput):
    """A list of norms that belong to branches, not to steps."""

    def normed(self, x: Tensor, step: int) -> Tensor:
        y: Tensor = self.norms[0](x) + self.norms[1](x)
        return y


def test_a_list_of_norms_of_two_branches_stays_two_norms() -> None:
    network = TwoBranches().eval()
    graph = trace(network, sample())
    assert [node.spec for node in graph.of(AffineSpec)] == [AffineSpec("norms.0"), AffineSpec("norms.1")]
    assert_float_parity(graph, network, sample())
    assert graph.fixed_steps is None


class Still(Loop):
    """One image for all steps: the convolution of it stands still, its norms do not."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.head(self.pool(self.lif(self.normed(x, t))).flatten(1)) for t in range(T)])


def test_a_still_image_is_normalised_by_every_steps_own_norm() -> None:
    x = sample()[:1].expand(T, -1, -1, -1, -1)
    graph = checked(md.StillImage(Still()), x)
    names = tuple(f"norms.{step}" for step in range(T))
    assert graph.node("conv").spec.step_norms == names  # type: ignore[union-attr]


class StillWithOne(Still):
    def normed(self, x: Tensor, step: int) -> Tensor:
        y: Tensor = self.norms[1](self.conv(x))
        return y


def test_one_norm_of_a_list_at_every_step_is_one_norm() -> None:
    network, x = md.StillImage(StillWithOne()).eval(), sample()[:1].expand(T, -1, -1, -1, -1)
    graph = trace(network, x)
    assert graph.node("conv").spec.batch_norm == "norms.1"  # type: ignore[union-attr]
    assert graph.fixed_steps is None
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x)


class ByStepAtTheEnd(Loop):
    """Logits that are normalised by step, and no neuron behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.ModuleList(nn.BatchNorm1d(3) for _ in range(T))
        with torch.no_grad():
            for step, norm in enumerate(self.last):
                statistics(norm)[0].fill_(0.2 * step)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([norm(step) for norm, step in zip(self.last, super().forward(x), strict=True)]).mean(0)


def test_logits_of_every_step_are_read_behind_its_own_norm() -> None:
    network, x = ByStepAtTheEnd(), sample()
    graph = checked(network, x)
    seen = md.observe(network, graph, x)
    assert seen.logits.shape == (T, N, 3)
    torch.testing.assert_close(seen.logits.mean(0), seen.output)


# --- what is refused -------------------------------------------------------------------------------------------------


class Skipping(Loop):
    def normed(self, x: Tensor, step: int) -> Tensor:
        y: Tensor = self.norms[(0, 1, 0)[step]](self.conv(x)) if step < 2 else self.norms[0](self.conv(x) * 1.0)
        return y


class OutOfOrder(Loop):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.head(self.lif(self.normed(x[t], t - 1)).flatten(1)) for t in (1, 2, 0)])


class Twice(Loop):
    def normed(self, x: Tensor, step: int) -> Tensor:
        y: Tensor = self.norms[0](self.conv(x)) + self.norms[1](self.conv(x))
        return y


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Skipping, "the output of 'conv' is read both by its batch norm and by another layer"),
        (OutOfOrder, "neuron 'lif' is called for step 1 as call 1 of 3"),
        (Twice, "'conv' is followed by the batch norm 'norms.1' at step 0, and was by 'norms.0' before"),
    ],
)
def test_norms_that_follow_no_order_of_steps_are_refused(make: Callable[[], nn.Module], says: str) -> None:
    network = make()
    with pytest.raises(TraceError) as caught:
        trace(network, sample())
    assert says in caught.value.message


class TooFew(Still):
    """The logits of the last step alone are returned, and that step is the second of three."""

    def forward(self, x: Tensor) -> Tensor:
        for step in range(2):
            answer = self.head(self.pool(self.norms[step](self.conv(x))).flatten(1))
        y: Tensor = answer
        return y


def test_norms_of_some_steps_only_are_refused() -> None:
    with pytest.raises(TraceError) as caught:
        trace(md.StillImage(TooFew()), sample()[:1].expand(T, -1, -1, -1, -1))
    assert "the network returns step 1 of 'head' out of 3 steps" in caught.value.message


def test_another_number_of_steps_is_refused_by_the_student_and_by_the_plan() -> None:
    network, x = Loop(), sample()
    graph = trace(network.eval(), x)
    assert graph.fixed_steps == T
    student = md.compress(network, x, "8bit", [x])
    with pytest.raises(InputError, match="must have 3 steps, for each of which its norms differ"):
        student(x[:2])
    recipe = md.Recipe.model_validate({"name": "a", "summary": "b", "distill": {"time_steps": (1, 3)}})
    with pytest.raises(PlanError) as caught:
        md.plan(recipe, graph)
    assert "distill.time_steps: must be 3, for each of which the network's norms differ (got 1)" in caught.value.message


def test_a_policy_that_folds_quantizes_norms_by_step_and_says_so() -> None:
    network, x = Loop(), sample()
    recipe = md.Recipe.model_validate({"name": "a", "summary": "b", "quantize": {"batch_norm": {"mode": "fold"}}})
    graph = trace(network.eval(), x)
    planned = md.plan(recipe, graph).node("conv")
    assert planned.batch_norm is not None and planned.batch_norm.mode == "quantize"
    assert ("batch_norm.mode", "automatic") in planned.origin
    assert md.verify(md.compress(network, x, recipe, [x]), x).equal


# --- layers ----------------------------------------------------------------------------------------------------------


def test_every_step_learns_from_its_own_statistics() -> None:
    network, x = Loop(), sample()
    student = md.compress(network, x, "8bit", [x])
    norms = student.synapse("conv").norm
    assert isinstance(norms, StepNorms)
    before = [statistics(norm)[0].clone() for norm in norms.of_step]
    steps = torch.linspace(0.2, 1.6, T).view(-1, 1, 1, 1, 1)
    student.train()(steps * x).square().sum().backward()
    for norm, mean in zip(norms.of_step, before, strict=True):
        assert norm.weight.grad is not None and norm.weight.grad.abs().sum() > 0
        assert not torch.equal(mean, statistics(norm)[0])
    assert md.verify(student, x).equal


def test_the_statistics_of_step_norms_are_those_of_each_norm_alone() -> None:
    norms, x = StepNorms(("a", "b"), 3, 0), torch.rand(2, 8, 3)
    mean, variance = statistics_of(norms, x, torch.tensor(2.0), torch.ones(3))
    torch.testing.assert_close(mean, 2 * x.mean(1) + 1)
    torch.testing.assert_close(variance, 4 * x.var(1, correction=0))
    running, _ = statistics_in_use(norms)
    torch.testing.assert_close(running, 0.1 * mean)


def test_a_scaled_norm_is_its_norm_times_the_factor_of_the_step() -> None:
    norm, x = ScaledNorm(2, 3, 0), torch.rand(2, 8, 3)
    with torch.no_grad():
        norm.scale.copy_(torch.tensor([2.0, -0.5]))
    statistics = statistics_of(norm, x, torch.tensor(1.0), None)
    affine, plain = affine_of(norm, statistics), norm_affine(norm.norm, *statistics)
    assert torch.equal(affine.gain, torch.stack([2.0 * plain.gain, -0.5 * plain.gain]))
    assert torch.equal(affine.offset, torch.stack([2.0 * plain.offset, -0.5 * plain.offset]))
    assert plain_norms(norm) == (norm.norm,) and statistics_in_use(norm) == running_statistics(norm.norm)


def test_a_student_with_norms_by_step_is_saved_and_read_back(tmp_path: Path) -> None:
    network, x = Loop(), sample()
    student = md.compress(network, x, "4bit", [x])
    md.save_student(student, tmp_path / "student")
    again = md.load_student(tmp_path / "student")
    assert again.graph == student.graph and md.lower(again) == md.lower(student)


def test_a_network_that_looks_like_one_with_neurons_of_the_zoo_has_no_norms_by_step() -> None:
    network = nn.Sequential(nn.Linear(3, 4), LIF(threshold=0.2), nn.Linear(4, 2)).eval()
    assert trace(network, torch.rand(T, N, 3)).fixed_steps is None
