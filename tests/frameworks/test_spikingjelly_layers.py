"""SpikingJelly's layers: norms through time, transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.graph import AffineSpec, SnnGraph, SynapseSpec
from mdcompress.layers.step_norms import ScaledNorm
from mdcompress.recipe import DistillSpec
from mdcompress.tracing import trace
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity, enliven
from tests.support.narrowed import gradient, statistics

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import functional, layer, neuron

T, N = 3, 2


def maps(*shape: int) -> Tensor:
    return torch.rand(T, N, *shape, generator=torch.Generator().manual_seed(0))


def checked(network: nn.Module, x: Tensor, *, lively: bool = True) -> SnnGraph:
    network = enliven(network, x, bias=0.5, weight=1.0) if lively else network.eval()
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    for recipe in ("8bit", "4bit"):
        assert_integer_parity(network, graph, x, recipe=recipe)
    return graph


def unlike(norm: nn.Module) -> nn.Module:
    """Statistics, gains and factors that differ from step to step."""
    torch.manual_seed(0)
    with torch.no_grad():
        for part in norm.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                statistics(part)[0].uniform_(-0.4, 0.0)
                statistics(part)[1].uniform_(0.1, 0.5)
                part.weight.uniform_(0.5, 1.5)
        if hasattr(norm, "scale"):
            norm.get_parameter("scale").copy_(torch.tensor([1.5, -0.5, 1.0]))
    return norm


NORMS: dict[str, Callable[[], nn.Module]] = {
    "bntt": lambda: layer.BatchNormThroughTime2d(T, 4, step_mode="m"),
    "tebn": lambda: layer.TemporalEffectiveBatchNorm2d(T, 4),
}


@pytest.mark.parametrize("kind", ["bntt", "tebn"])
@pytest.mark.parametrize("behind", ["conv", "pool"])
def test_norms_through_time_in_multi_step_networks(kind: str, behind: str) -> None:
    make = NORMS[kind]
    between = [layer.AvgPool2d(2, step_mode="m")] if behind == "pool" else []
    network = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, step_mode="m"), *between, unlike(make()),
        neuron.LIFNode(v_threshold=0.3, step_mode="m"),
        layer.Flatten(step_mode="m"), layer.Linear(144 if behind == "conv" else 36, 3, step_mode="m"),
    )  # fmt: skip
    graph = checked(network, maps(1, 6, 6), lively=False)
    (spec,) = [node.spec for node in graph if getattr(node.spec, "batch_norm", None) is not None]
    assert isinstance(spec, SynapseSpec if behind == "conv" else AffineSpec)
    place = 1 + len(between)
    expected = tuple(f"{place}.bn_list.{step}" for step in range(T)) if kind == "bntt" else ()
    assert spec.step_norms == expected and spec.step_scales == (0 if kind == "bntt" else T)
    assert graph.fixed_steps == T


def test_batch_norm_through_time_in_a_single_step_network() -> None:
    network = nn.Sequential(
        layer.Conv2d(1, 4, 3), unlike(layer.BatchNormThroughTime2d(T, 4)), neuron.IFNode(v_threshold=0.5),
        layer.Flatten(), layer.Linear(64, 3), unlike(layer.BatchNormThroughTime1d(T, 3)),
    )  # fmt: skip
    graph = checked(md.Stepped(network), maps(1, 6, 6), lively=False)
    assert [node.kind for node in graph] == ["input", "synapse", "neuron", "flatten", "synapse", "readout"]
    assert graph.node("4").spec.step_norms[-1] == "5.bn_list.2"  # type: ignore[union-attr]


def test_a_scaled_norm_learns_its_factors() -> None:
    network = nn.Sequential(
        layer.Linear(6, 8, step_mode="m"), unlike(layer.TemporalEffectiveBatchNorm1d(T, 8)),
        neuron.LIFNode(step_mode="m"), layer.Linear(8, 3, step_mode="m"),
    ).eval()  # fmt: skip
    x = maps(6)
    student = md.compress(network, x, "8bit", [x])
    student.train()(x).square().sum().backward()
    norm = student.synapse("0").norm
    assert isinstance(norm, ScaledNorm) and (gradient(norm.scale) != 0).any()
    assert md.verify(student, x).equal


def test_factors_for_other_steps_than_the_samples_are_refused() -> None:
    network = nn.Sequential(layer.Linear(6, 8, step_mode="m"), layer.TemporalEffectiveBatchNorm1d(1, 8))
    with pytest.raises(TraceError, match="has factors for 1 steps, and the sample has 3"):
        trace(network, maps(6))


class Everything(nn.Module):
    """A little of each: norms and factors by step, shared weights, a transposed convolution, votes of membranes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = layer.Conv2d(1, 4, 3, padding=1, stride=2)
        self.norm, self.scaled = unlike(layer.BatchNormThroughTime2d(T, 4)), layer.TemporalEffectiveBatchNorm2d(T, 4)
        self.shared, self.up = layer.Conv2d(4, 4, 3, padding=1, bias=False), layer.ConvTranspose2d(4, 4, 2, stride=2)
        self.fire = nn.ModuleList(neuron.LIFNode(v_threshold=0.2) for _ in range(4))
        self.flatten, self.fc, self.vote = layer.Flatten(), layer.Linear(256, 6), layer.VotingLayer(2)
        self.last = neuron.NonSpikingLIFNode(tau=2.0)
        functional.set_step_mode(self, "m")
        with torch.no_grad():
            self.shared.weight.add_(0.05)
            self.up.weight.add_(0.05)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fire[0](self.norm(self.conv(x)))
        x = self.fire[1](self.scaled(self.shared(x)))
        x = self.fire[3](self.up(self.fire[2](self.shared(x))))
        y: Tensor = self.vote(torch.stack(self.last(self.fc(self.flatten(x))))).mean(0)
        return y


def test_all_of_them_together_are_distilled_and_stay_exact() -> None:
    network, x, y = Everything().eval(), maps(1, 8, 8), torch.tensor([0, 2])
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    student = md.compress(network, x, "4bit", [x])
    before = student.synapse("shared").layer.weight.detach().clone()
    spec = DistillSpec(epochs=2)
    student = md.distill(student, teacher=network, train=[(x, y)], validate=[(x, y)], spec=spec)
    assert not torch.equal(student.synapse("shared").layer.weight, before)
    assert student.synapse("shared_2").layer is student.synapse("shared").layer
    report = md.verify(student, x)
    assert report.equal and report.spikes > 0, str(report)


@pytest.mark.parametrize(
    "make",
    [lambda: layer.NeuNorm(4, 4, 4), lambda: layer.SynapseFilter(tau=2.0), lambda: layer.DropConnectLinear(4, 4)],
)
def test_layers_without_integers_are_refused_by_name(make: Callable[[], nn.Module]) -> None:
    refused = make()
    with pytest.raises(TraceError, match=rf"{type(refused).__name__}, spikingjelly 2.* cannot become integers: it"):
        trace(nn.Sequential(neuron.IFNode(), refused), maps(4, 4, 4))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_transposed_convolutions(rank: int, step_mode: str) -> None:
    torch.manual_seed(0)
    conv = {1: layer.ConvTranspose1d, 2: layer.ConvTranspose2d, 3: layer.ConvTranspose3d}[rank]
    norm = {1: layer.BatchNorm1d, 2: layer.BatchNorm2d, 3: layer.BatchNorm3d}[rank]
    network = nn.Sequential(
        conv(2, 4, 3, stride=2, output_padding=1, groups=2), norm(4), neuron.LIFNode(),
        layer.Flatten(), layer.Linear(4 * 8**rank, 3),
    )  # fmt: skip
    functional.set_step_mode(network, step_mode)
    graph = checked(network if step_mode == "m" else md.Stepped(network), maps(2, *(3,) * rank))
    assert graph.nodes[1].spec.operator == f"conv_transpose{rank}d"  # type: ignore[union-attr]
