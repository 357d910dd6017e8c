"""Random small spiking networks in plain PyTorch, described by data so that Hypothesis can draw and shrink them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from mdcompress.recipe import Recipe
from mdcompress.zoo import IF, LIF
from mdcompress.zoo.neurons import Reset


@dataclass(frozen=True)
class LayerDraw:
    """One stage: convolution, norm, pooling of currents, neuron, residual branch, pooling of spikes."""

    channels: int
    kernel: int
    stride: int
    groups: int
    dilation: int
    bias: bool
    norm: bool
    current_pool: str
    neuron: str
    tau: float
    threshold: float
    reset: Reset
    reset_value: float
    decay_input: bool
    residual: str
    spike_pool: str


@dataclass(frozen=True)
class NetworkDraw:
    layers: tuple[LayerDraw, ...]
    hidden: bool
    in_channels: int
    size: int
    time_steps: int
    batch: int
    inputs: str
    readout: str
    seed: int


LAYERS = st.builds(
    LayerDraw,
    channels=st.sampled_from([2, 4]),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 1, 2]),
    groups=st.sampled_from([1, 1, 2]),
    dilation=st.sampled_from([1, 1, 2]),
    bias=st.booleans(),
    norm=st.booleans(),
    current_pool=st.sampled_from(["none", "none", "max", "average"]),
    neuron=st.sampled_from(["if", "lif"]),
    tau=st.sampled_from([1.5, 2.0, 3.0, 4.0]),
    threshold=st.sampled_from([0.5, 1.0, 1.3]),
    reset=st.sampled_from(["hard", "soft", "none"]),
    reset_value=st.sampled_from([0.0, 0.0, -0.2]),
    decay_input=st.booleans(),
    residual=st.sampled_from(["none", "currents", "spikes"]),
    spike_pool=st.sampled_from(["none", "max", "average"]),
)
NETWORKS = st.builds(
    NetworkDraw,
    layers=st.lists(LAYERS, min_size=1, max_size=2).map(tuple),
    hidden=st.booleans(),
    in_channels=st.sampled_from([1, 2]),
    size=st.sampled_from([5, 6, 8]),
    time_steps=st.integers(1, 4),
    batch=st.integers(1, 3),
    inputs=st.sampled_from(["image", "grid", "spikes", "counts", "signed"]),
    readout=st.sampled_from(["mean", "sum", "steps"]),
    seed=st.integers(0, 2**16),
)


def _folded(module: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = module(x.flatten(0, 1))
    return y.view(x.shape[0], x.shape[1], *y.shape[1:])


def make_neuron(draw: LayerDraw) -> nn.Module:
    reset_value = draw.reset_value if draw.reset == "hard" else 0.0
    if draw.neuron == "if":
        return IF(draw.threshold, draw.reset, reset_value=reset_value)
    return LIF(draw.tau, draw.threshold, draw.reset, reset_value=reset_value, decay_input=draw.decay_input)


def make_pool(kind: str) -> nn.Module:
    return {"none": nn.Identity(), "max": nn.MaxPool2d(2), "average": nn.AvgPool2d(2)}[kind]


class DrawnStage(nn.Module):
    def __init__(self, draw: LayerDraw, in_channels: int) -> None:
        super().__init__()
        groups = draw.groups if in_channels % draw.groups == 0 else 1
        padding = draw.dilation * (draw.kernel // 2)
        geometry = (draw.stride, padding, draw.dilation, groups)
        self.conv = nn.Conv2d(in_channels, draw.channels, draw.kernel, *geometry, bias=draw.bias)
        self.norm = nn.BatchNorm2d(draw.channels) if draw.norm else nn.Identity()
        self.current_pool = make_pool(draw.current_pool)
        self.neuron = make_neuron(draw)
        self.residual = draw.residual
        if draw.residual != "none":
            self.branch = nn.Conv2d(draw.channels, draw.channels, 3, padding=1, bias=draw.bias)
            self.branch_norm = nn.BatchNorm2d(draw.channels) if draw.norm else nn.Identity()
            self.branch_neuron = make_neuron(draw)
        self.spike_pool = make_pool(draw.spike_pool if draw.current_pool == "none" else "none")

    def forward(self, x: Tensor) -> Tensor:
        current = _folded(self.current_pool, _folded(self.norm, _folded(self.conv, x)))
        spikes = self.neuron(current)
        if self.residual == "currents":
            spikes = self.branch_neuron(current + _folded(self.branch_norm, _folded(self.branch, spikes)))
        elif self.residual == "spikes":
            spikes = spikes + self.branch_neuron(_folded(self.branch_norm, _folded(self.branch, spikes)))
        return _folded(self.spike_pool, spikes)


class DrawnNetwork(nn.Module):
    def __init__(self, draw: NetworkDraw) -> None:
        super().__init__()
        torch.manual_seed(draw.seed)
        channels, size = draw.in_channels, draw.size
        self.stages = nn.ModuleList()
        for layer in draw.layers:
            if size < 4:
                break
            self.stages.append(DrawnStage(layer, channels))
            channels = layer.channels
            size = (size - 1) // layer.stride + 1
            size //= 1 if layer.current_pool == "none" else 2
            size //= 1 if layer.spike_pool == "none" or layer.current_pool != "none" else 2
        self.readout = draw.readout
        self.hidden = nn.LazyLinear(5) if draw.hidden else None
        self.hidden_neuron = IF() if draw.hidden else None
        self.head = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        x = x.flatten(2)
        if self.hidden is not None and self.hidden_neuron is not None:
            x = self.hidden_neuron(self.hidden(x))
        logits: Tensor = self.head(x)
        return {"mean": logits.mean(0), "sum": logits.sum(0), "steps": logits}[self.readout]


def make_input(draw: NetworkDraw, *, samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(draw.seed)
    shape = (draw.time_steps, samples, draw.in_channels, draw.size, draw.size)
    x = torch.rand(shape, generator=generator)
    match draw.inputs:
        case "image":
            return x
        case "grid":
            return (x * 16).round() / 16
        case "spikes":
            return (x > 0.6).float()
        case "counts":
            return (x * 5).floor()
        case _:
            return x * 2 - 1


def make_network(draw: NetworkDraw) -> tuple[nn.Module, Tensor]:
    """A network that fires, with its input [T, N, ...]: norm statistics and thresholds come from the data."""
    network, x = DrawnNetwork(draw), make_input(draw, samples=draw.batch + 1)
    with torch.no_grad():
        network.train()(x)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1.5, 2.0)
                module.bias.uniform_(-0.2, 0.8)
        network.eval()
        for module in network.modules():
            if isinstance(module, LIF):
                _set_threshold(network, module, x)
    return network, x


def _set_threshold(network: nn.Module, neuron: LIF, x: Tensor) -> None:
    """Put the threshold within reach of the largest current that the neuron layer sees."""
    seen: list[Tensor] = []
    handle = neuron.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(x)
    handle.remove()
    largest = float(seen[0].max()) * neuron.input_gain
    if largest > 0.05:
        neuron.threshold *= 0.6 * largest
    neuron.reset_value = min(neuron.reset_value, 0.5 * neuron.threshold)


def _weight(bits: float, granularity: str, scale: str, range_: str, narrow: bool) -> dict[str, object]:
    return {
        "bit_width": bits,
        "granularity": granularity,
        "scale": scale,
        "range": range_,
        "narrow_range": True if bits < 2 else narrow,
    }


WEIGHTS = st.builds(
    _weight,
    st.sampled_from([1, 1.58, 2, 3, 4, 5, 6, 7, 8]),
    st.sampled_from(["per_tensor", "per_channel"]),
    st.sampled_from(["float", "power_of_two"]),
    st.sampled_from(["max", "mse", "learned"]),
    st.booleans(),
)
MEMBRANES = st.fixed_dictionaries(
    {
        "bit_width": st.integers(2, 16),
        "scale": st.sampled_from(["learned", "calibrated"]),
        "rounding": st.sampled_from(["half_up", "floor"]),
    }
)
NORMS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["quantize", "fold"]),
        "scale_bit_width": st.integers(2, 16),
        "shift_bit_width": st.integers(4, 24),
    }
) | st.fixed_dictionaries({"mode": st.just("power_of_two"), "shift_bit_width": st.integers(4, 24)})


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """A recipe that differs from the defaults only in its policies."""
    quantize = {
        "weight": draw(WEIGHTS),
        "membrane": draw(MEMBRANES),
        "batch_norm": draw(NORMS),
        "input": {"bit_width": draw(st.sampled_from([2, 4, 8]))},
    }
    return Recipe.model_validate({"name": "drawn", "summary": "drawn", "quantize": quantize})
