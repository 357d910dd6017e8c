"""Networks in the style of those that were published with old releases: student, graph and network are one."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

import pytest
import torch
from spikingjelly.clock_driven import functional, layer, neuron
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.tracing import trace
from mdcompress.tracing.conventions import fit
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity, enliven
from tests.support.recurrent_networks import FEATURES, NEURONS, check_recurrent, counts, enlivened

NUMBER = int(importlib.metadata.version("spikingjelly").rpartition(".")[2])
T, N = 3, 2
COMPILED = (4, 14)  # releases whose networks become students too: of the others the graphs are proved, which are equal

multi_step = pytest.mark.skipif(NUMBER < 6, reason="it has no multi-step neurons")
parametric = pytest.mark.skipif(NUMBER < 8, reason="it has no multi-step parametric neuron")


def images(channels: int = 2, size: int = 8) -> Tensor:
    return torch.rand(T, N, channels, size, size, generator=torch.Generator().manual_seed(0))


def checked(network: nn.Module, x: Tensor, *, bias: float = 0.5, weight: float = 1.0) -> list[str]:
    """The kinds of the graph's nodes, after every check that a network form gets."""
    network = enliven(network, x, bias=bias, weight=weight)
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    if NUMBER in COMPILED:
        assert_integer_parity(network, graph, x)
    functional.reset_net(network)
    return [node.kind for node in graph]


# --- SEW-ResNet: convolutions in SeqToANNContainer, spikes added ------------------------------------------------------


def if_node() -> nn.Module:
    """All steps at once; before there was such a class, one after the other in a container."""
    made: nn.Module
    if NUMBER < 6:
        made = layer.MultiStepContainer(neuron.IFNode(detach_reset=True))
    else:
        made = neuron.MultiStepIFNode(detach_reset=True)
    return made


def parametric_node() -> nn.Module:
    made: nn.Module = neuron.MultiStepParametricLIFNode(init_tau=2.0, detach_reset=True)
    return made


def convolved(channels: int, out: int, *, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(channels, out, 3, padding=1, stride=stride, bias=False)
    made: nn.Module = layer.SeqToANNContainer(conv, nn.BatchNorm2d(out))
    return made


class SewBlock(nn.Module):
    def __init__(self, channels: int, make: Callable[[], nn.Module], connect: str) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(convolved(channels, channels), make())
        self.conv2 = nn.Sequential(convolved(channels, channels), make())
        self.connect = connect

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x))
        match self.connect:
            case "ADD":
                return out + x
            case "AND":
                return out * x
            case _:
                return x * (1.0 - out)


class SewResNet(nn.Module):
    def __init__(self, make: Callable[[], nn.Module], connect: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolved(2, 4), make(), layer.SeqToANNContainer(nn.MaxPool2d(2, 2)))
        self.blocks = nn.Sequential(SewBlock(4, make, connect), SewBlock(4, make, connect))
        self.pool = layer.SeqToANNContainer(nn.AdaptiveAvgPool2d((1, 1)))
        self.drop, self.out = layer.MultiStepDropout(0.5), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.drop(torch.flatten(self.pool(self.blocks(self.stem(x))), 2))
        return self.out(y.mean(dim=0))  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [if_node, pytest.param(parametric_node, marks=parametric)])
@pytest.mark.parametrize(("connect", "kind"), [("ADD", "add"), ("AND", "multiply"), ("IAND", "multiply")])
def test_sew_resnet(make: Callable[[], nn.Module], connect: str, kind: str) -> None:
    kinds = checked(SewResNet(make, connect), images(), bias=0.9 if connect == "AND" else 0.5, weight=1.5)
    assert kinds.count(kind) == 2 and kinds.count("neuron") == 1 + 2 * 2


# --- Spikformer: q, k and v of spikes, without softmax ----------------------------------------------------------------


def lif(threshold: float = 1.0) -> nn.Module:
    made: nn.Module = neuron.MultiStepLIFNode(tau=2.0, v_threshold=threshold, detach_reset=True)
    return made


class Projection(nn.Module):
    """Tokens [T, N, L, C] through a linear layer, a norm over channels and a neuron."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear, self.norm, self.lif = nn.Linear(channels, out), nn.BatchNorm1d(out), lif()

    def forward(self, x: Tensor) -> Tensor:
        time_steps, batch, tokens, _ = x.shape
        y = self.linear(x.flatten(0, 1))
        y = self.norm(y.transpose(-1, -2)).transpose(-1, -2).reshape(time_steps, batch, tokens, -1).contiguous()
        return self.lif(y)  # type: ignore[no-any-return]


class Attention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (Projection(channels, channels) for _ in range(3))
        self.heads, self.scale, self.attention_lif = heads, 0.25, lif(0.5)
        self.project = Projection(channels, channels)

    def split(self, x: Tensor) -> Tensor:
        time_steps, batch, tokens, channels = x.shape
        split = x.reshape(time_steps, batch, tokens, self.heads, channels // self.heads)
        return split.permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(each(x)) for each in (self.q, self.k, self.v))
        y = ((q @ k.transpose(-2, -1)) @ v) * self.scale
        y = y.transpose(2, 3).reshape(x.shape).contiguous()
        return self.project(self.attention_lif(y))  # type: ignore[no-any-return]


class Spikformer(nn.Module):
    def __init__(self, channels: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.lif, self.pool = lif(), nn.MaxPool2d(3, stride=2, padding=1)
        self.attention = Attention(channels, heads)
        self.mlp = nn.Sequential(Projection(channels, 16), Projection(16, channels))
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        time_steps, batch, _, height, width = x.shape
        y = self.norm(self.conv(x.flatten(0, 1))).reshape(time_steps, batch, -1, height, width).contiguous()
        y = self.pool(self.lif(y).flatten(0, 1))
        y = y.reshape(time_steps, batch, -1, height // 2, width // 2).contiguous()
        y = y.flatten(-2).transpose(-1, -2)
        y = y + self.attention(y)
        y = y + self.mlp(y)
        return self.head(y.mean(2)).mean(0)  # type: ignore[no-any-return]


@multi_step
def test_spikformer() -> None:
    kinds = checked(Spikformer(), images(), weight=2.0, bias=1.0)
    assert kinds.count("matmul") == 2 and kinds.count("neuron") == 1 + 5 + 2 and kinds.count("add") == 2


# --- PLIF-Net: step by step, with votes -------------------------------------------------------------------------------


class PlifNet(nn.Module):
    """One step at a time, [N, C, H, W], as its state is in its neurons."""

    def __init__(self) -> None:
        super().__init__()
        make = neuron.LIFNode if NUMBER < 6 else neuron.ParametricLIFNode
        rate = {"tau": 2.0} if NUMBER < 6 else {"init_tau": 2.0}
        self.conv = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), make(v_threshold=0.5, **rate),
            nn.MaxPool2d(2, 2),
        )  # fmt: skip
        self.fc = nn.Sequential(
            nn.Flatten(), layer.Dropout(0.5), nn.Linear(64, 12, bias=False), make(v_threshold=0.25, **rate),
            layer.Dropout(0.5), nn.Linear(12, 6, bias=False), make(v_threshold=0.125, **rate),
        )  # fmt: skip
        self.vote = nn.AvgPool1d(2, 2)
        torch.manual_seed(0)
        with torch.no_grad():
            for each in ("2", "5"):
                self.fc.get_parameter(f"{each}.weight").uniform_(-0.1, 0.3)

    def step(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.fc(self.conv(x))
        return spikes

    def forward(self, x: Tensor) -> Tensor:
        return self.vote(self.step(x).unsqueeze(1)).squeeze(1)  # type: ignore[no-any-return]


class Looping(PlifNet):
    """Takes all steps, [T, N, C, H, W], and runs them in a loop of its own."""

    def __init__(self, joined: str) -> None:
        super().__init__()
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor:
        if self.joined == "stack":
            steps = []
            for t in range(x.shape[0]):
                steps.append(super().forward(x[t]))
            return torch.stack(steps).mean(0)
        total = super().forward(x[0])
        for t in range(1, x.shape[0]):
            total = total + super().forward(x[t])
        return total / x.shape[0]


@pytest.mark.parametrize("make", [lambda: md.Stepped(PlifNet()), lambda: Looping("stack"), lambda: Looping("add")])
def test_plif_net_step_by_step(make: Callable[[], nn.Module]) -> None:
    kinds = checked(make(), images())
    assert kinds.count("neuron") == 3 and kinds.count("pool") == 2 and kinds[-1] == "readout"


class Repeating(PlifNet):
    """Takes one image, [N, C, H, W]; the first layers run once, the rest T times; it resets its neurons itself."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.norm = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        self.first = neuron.IFNode(v_threshold=0.5)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        y = self.norm(self.image(x))
        total = super().forward(self.first(y))
        for _ in range(1, T):
            total += super().forward(self.first(y))
        return total / T


def test_a_still_image_is_repeated_inside() -> None:
    network = Repeating()
    still = images()[:1].expand(T, -1, -1, -1, -1)
    kinds = checked(md.StillImage(network), still)
    assert kinds.count("neuron") == 4


def test_a_single_step_network_is_found_to_be_one() -> None:
    assert isinstance(fit(PlifNet().eval(), images()).network, md.Stepped)
    network = nn.Sequential(nn.Linear(4, 4), neuron.LIFNode(tau=2.0))
    with pytest.raises(TraceError) as caught:
        trace(network, torch.rand(T, N, 4))
    assert "(T, N): it needs (N)" in caught.value.message and "mdcompress.Stepped" in caught.value.hints[0]


@parametric
def test_plif_net_with_all_steps_at_once() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                layer.SeqToANNContainer(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)),
                neuron.MultiStepParametricLIFNode(init_tau=2.0, v_threshold=0.5, detach_reset=True),
                layer.SeqToANNContainer(nn.MaxPool2d(2, 2), nn.Flatten()), layer.MultiStepDropout(0.5),
                layer.SeqToANNContainer(nn.Linear(64, 12, bias=False)),
                neuron.MultiStepParametricLIFNode(init_tau=2.0, v_threshold=0.25, detach_reset=True),
            )  # fmt: skip
            self.vote = nn.AvgPool1d(2, 2)
            torch.manual_seed(0)
            with torch.no_grad():
                self.body.get_parameter("4.0.weight").uniform_(-0.1, 0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.vote(self.body(x).mean(0).unsqueeze(1)).squeeze(1)  # type: ignore[no-any-return]

    kinds = checked(Net(), images())
    assert kinds.count("neuron") == 2


# --- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [layer.MultiStepContainer, layer.SeqToANNContainer])
@pytest.mark.parametrize("count", [1, 2])
def test_containers_are_looked_through(container: Callable[..., nn.Module], count: int) -> None:
    inner = (nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))[:count]
    fires = layer.MultiStepContainer(neuron.LIFNode(tau=2.0, v_threshold=0.25), nn.AvgPool2d(2))
    flat = layer.SeqToANNContainer(nn.Flatten(), nn.Linear(64, 3))
    network = nn.Sequential(container(*inner), fires, layer.MultiStepDropout2d(0.5), flat)
    if count == 1:
        torch.manual_seed(0)
        with torch.no_grad():
            inner[0].weight.uniform_(-0.1, 0.4)
    kinds = checked(network, images())
    assert kinds == ["input", "synapse", "neuron", "pool", "flatten", "synapse", "readout"]


class Rate(nn.Module):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x).mean(0)  # type: ignore[no-any-return]


def test_logits_are_read_off_a_container() -> None:
    """It gives the output of its layer the axis of time in place."""
    last = layer.MultiStepContainer(nn.Flatten(), nn.Linear(128, 3))
    network = Rate(layer.MultiStepContainer(neuron.LIFNode(tau=2.0, v_threshold=0.25)), last).eval()
    x = images()
    seen = md.observe(network, trace(network, x), x)
    assert seen.logits.shape == (T, N, 3)
    torch.testing.assert_close(seen.logits.mean(0), network(x))
    functional.reset_net(network)


@pytest.mark.skipif(NUMBER < 12, reason="it has no such norm")
def test_threshold_dependent_batch_norm_is_a_batch_norm() -> None:
    norm = layer.MultiStepThresholdDependentBatchNorm2d(alpha=1.0, v_th=1.0, num_features=4)
    network = nn.Sequential(layer.SeqToANNContainer(nn.Conv2d(2, 4, 3)), norm, neuron.MultiStepLIFNode())
    kinds = checked(network, images())
    assert kinds == ["input", "synapse", "neuron", "readout"]


@pytest.mark.skipif(NUMBER < 8, reason="it has no recurrent containers")
@pytest.mark.parametrize("kind", ["linear", "elementwise"])
def test_recurrent_containers(kind: str) -> None:
    torch.manual_seed(0)
    fires = neuron.LIFNode(tau=2.0, v_threshold=1.0, v_reset=None)
    if kind == "linear":
        container = layer.LinearRecurrentContainer(fires, NEURONS, NEURONS)
    else:
        container = layer.ElementWiseRecurrentContainer(fires, lambda x, y: x + 0.5 * y)
    network = nn.Sequential(nn.Linear(FEATURES, NEURONS), container, nn.Linear(NEURONS, 3))
    student = check_recurrent(md.Stepped(enlivened(network)), counts())
    assert "recurrent" in [node.kind for node in student.graph]


@pytest.mark.parametrize(
    "make",
    [lambda: layer.NeuNorm(2, 8, 8), lambda: layer.SynapseFilter(tau=2.0), lambda: layer.DropConnectLinear(8, 8)],
)
def test_layers_without_integers_are_refused_by_name_and_release(make: Callable[[], nn.Module]) -> None:
    refused = make()
    network = nn.Sequential(neuron.IFNode(v_threshold=0.5), refused, nn.Flatten(), nn.Linear(128, 3))
    with pytest.raises(TraceError) as caught:
        trace(md.Stepped(network), images())
    named = f"'1' (spikingjelly.clock_driven.layer.{type(refused).__name__}, spikingjelly 0.0.0.0.{NUMBER})"
    assert named in caught.value.message


@pytest.mark.skipif(NUMBER < 10, reason="its model zoo needs an older torchvision, or is not there")
def test_the_librarys_own_sew_resnet() -> None:
    from spikingjelly.clock_driven.model import sew_resnet

    network = sew_resnet.MultiStepSEWResNet(
        sew_resnet.MultiStepBasicBlock, [1, 1, 0, 0], num_classes=3, T=None, cnf="ADD",
        multi_step_neuron=neuron.MultiStepIFNode,
    )  # fmt: skip
    network.layer3, network.layer4, network.fc = nn.Identity(), nn.Identity(), nn.Linear(128, 3)
    kinds = checked(network, images(3, 16))
    assert kinds.count("add") == 2 and kinds.count("neuron") == 1 + 2 + 3
