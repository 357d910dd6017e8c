"""Forms made of several nodes: joins on any axis, upsampling, shuffles, tokens; and forms that none had tried."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.graph import AffineSpec, MatMulSpec, PoolSpec, SnnGraph, SynapseSpec, TransposeSpec
from mdcompress.tracing import trace
from mdcompress.zoo import LIF
from tests.support.float_graph import assert_float_parity
from tests.support.form_cases import Forward, N, Net, T, sample
from tests.support.layered_network import fold
from tests.support.live_networks import assert_integer_parity
from tests.support.narrowed import statistics


def made(forward: Forward, x: Tensor, **layers: nn.Module) -> nn.Module:
    network = Net(forward, **layers).eval()
    with torch.no_grad():
        network(x)
    return network


def checked(network: nn.Module, x: Tensor, *, recipe: str = "4bit") -> SnnGraph:
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x, recipe=recipe)
    return graph


def to_head(m: Net, values: Tensor) -> Tensor:
    logits: Tensor = m.head(values.flatten(2))
    return logits


def on_spikes(function: Callable[[Net, Tensor], Tensor]) -> Forward:
    return lambda m, x: to_head(m, function(m, m.spikes(x)[0]))


def on_both(function: Callable[[Tensor, Tensor], Tensor]) -> Forward:
    return lambda m, x: to_head(m, function(*m.spikes(x)))


def through(name: str) -> Forward:
    """The spikes through the layer of that name."""
    return on_spikes(lambda m, a: fold(getattr(m, name), a))


def _sum_of_a_list(a: Tensor, b: Tensor) -> Tensor:
    total = sum([a, b, a])
    assert isinstance(total, Tensor)
    return total


UPSAMPLED = ["reshape", "concat", "reshape", "transpose", "reshape"]
FORMS: dict[str, tuple[Forward, list[str]]] = {
    "cat of rows": (on_both(lambda a, b: torch.cat([a, b], 3)), ["transpose", "transpose", "concat", "transpose"]),
    "cat of columns": (on_both(lambda a, b: torch.cat([a, b], -1)), ["transpose", "transpose", "concat", "transpose"]),
    "stack in front": (on_both(lambda a, b: torch.stack([a, b], 2)), ["reshape", "reshape", "concat"]),
    "stack behind": (on_both(lambda a, b: torch.stack([a, b], -1)), ["reshape", "reshape", "concat", "transpose"]),
    "nearest": (on_spikes(lambda _, a: fold(lambda y: F.interpolate(y, scale_factor=2), a)), UPSAMPLED),
    "adaptive to a multiple": (on_spikes(lambda _, a: fold(lambda y: F.adaptive_max_pool2d(y, (4, 12)), a)), UPSAMPLED),
    "nearest to a size": (on_spikes(lambda _, a: fold(lambda y: F.interpolate(y, size=(4, 12)), a)), UPSAMPLED),
    "pixel shuffle": (through("pixels"), ["reshape", "transpose", "reshape"]),
    "pixel unshuffle": (through("unpixels"), ["reshape", "transpose", "reshape"]),
    "channel shuffle": (through("channels"), ["reshape", "transpose", "reshape"]),
    "global maximum": (on_spikes(lambda _, a: a.amax((-2, -1))), ["pool"]),
    "global average": (on_spikes(lambda _, a: a.mean((-2, -1))), ["pool"]),
    "global sum": (on_spikes(lambda _, a: a.sum((-2, -1))), ["sum", "sum"]),
    "adaptive to 2 x 1": (through("adaptive"), ["pool"]),
    "overlapping maximum": (through("overlapping"), ["pool"]),
    "padded average": (through("padded"), ["pool"]),
    "ceil_mode that adds nothing": (through("ceiled"), ["pool"]),
    "exclusive or": (on_both(lambda a, b: a * (1 - b) + b * (1 - a)), ["multiply", "multiply", "add"]),
    "in-place sum": (on_both(lambda a, b: a.clone().add_(b)), ["add"]),
    "sum of a list": (on_both(_sum_of_a_list), ["add", "add"]),
    "counts joined to spikes": (on_both(lambda a, b: torch.cat([a, a + b], 2)), ["add", "concat"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_equal_in_floats_and_in_integers(name: str) -> None:
    forward, between = FORMS[name]
    layers = {
        "pixels": nn.PixelShuffle(2), "unpixels": nn.PixelUnshuffle(2), "channels": nn.ChannelShuffle(2),
        "adaptive": nn.AdaptiveAvgPool2d((2, 1)), "overlapping": nn.MaxPool2d(3, 1, 1),
        "padded": nn.AvgPool2d(3, 2, 1), "ceiled": nn.MaxPool2d(2, 2, ceil_mode=True),
    }  # fmt: skip
    network = made(forward, sample(), **layers)
    kinds = [node.kind for node in checked(network, sample()) if node.kind != "flatten"]
    assert kinds[-2 - len(between) :] == [*between, "synapse", "readout"]


def _upsampled_currents(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.last(fold(m.up, fold(m.conv_a, x))))


def test_currents_are_upsampled_in_their_unit() -> None:
    network = made(_upsampled_currents, sample(), up=nn.Upsample(scale_factor=2))
    graph = checked(network, sample(), recipe="8bit")
    assert graph.node("last").shape == (4, 8, 8)


@pytest.mark.parametrize(("rank", "conv"), [(1, nn.Conv1d), (3, nn.Conv3d)])
def test_maps_of_other_ranks_are_upsampled(rank: int, conv: type[nn.Module]) -> None:
    torch.manual_seed(0)

    class Ranked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.lif = conv(2, 3, 3, padding=1), LIF(threshold=0.2)
            self.up, self.head = nn.Upsample(scale_factor=2), nn.Linear(3 * 8**rank, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(fold(self.up, self.lif(fold(self.conv, x))).flatten(2))
            return logits

    checked(Ranked().eval(), 2 * sample(2, *(4,) * rank))


# --- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "low", "high"),
    [(sample() - 0.5, -127, 127), ((6 * sample()).floor(), 0, 7), ((6 * sample()).floor() - 3, -4, 3)],
)
def test_signed_frames_and_counts_above_one(x: Tensor, low: int, high: int) -> None:
    network = made(on_spikes(lambda _, a: a), x)
    checked(network, x)
    student = md.compress(network, x, "8bit", [x])
    integers = student.quantize_input(x)
    assert low <= int(integers.min()) and int(integers.max()) <= high and integers.any()


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_convolutions(multiplier: int) -> None:
    depthwise = nn.Conv2d(4, 4 * multiplier, 3, padding=1, groups=4)
    forward: Forward = lambda m, x: to_head(m, m.last(fold(m.deep, m.spikes(x)[0])))  # noqa: E731
    checked(made(forward, sample(), deep=depthwise), sample())


# --- tokens ----------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Spiking self attention on tokens (L, C), as Spikformer's own code has it: linear maps, norms on (C, L)."""

    def __init__(self, *, norm: bool, heads: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.embed, self.start = heads, nn.Conv2d(2, 8, 1), LIF(threshold=0.2)
        self.maps = nn.ModuleDict({name: nn.Linear(8, 8) for name in ("q", "k", "v", "out")})
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(8) if norm else nn.Identity() for name in self.maps})
        self.fire = nn.ModuleDict({name: LIF(threshold=0.2) for name in (*self.maps, "attend")})
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            for name in self.maps:
                self.get_parameter(f"maps.{name}.weight").add_(0.1)
            for batch_norm in self.norms.values():
                if isinstance(batch_norm, nn.BatchNorm1d):
                    batch_norm.bias.fill_(0.3)
                    statistics(batch_norm)[1].fill_(0.4)

    def mapped(self, name: str, x: Tensor) -> Tensor:
        y = self.maps[name](x.flatten(0, 1))
        y = self.norms[name](y.transpose(-1, -2)).transpose(-1, -2)
        spikes: Tensor = self.fire[name](y.reshape(T, N, 16, 8))
        return spikes

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(T, N, 16, self.heads, 8 // self.heads).permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.start(fold(self.embed, x)).flatten(3).transpose(-1, -2)
        q, k, v = (self.split(self.mapped(name, tokens)) for name in ("q", "k", "v"))
        attended = (q @ k.transpose(-2, -1)) * 0.125 @ v
        attended = self.fire["attend"](attended.transpose(2, 3).reshape(T, N, 16, 8).contiguous())
        logits: Tensor = self.head(self.mapped("out", attended).mean(2)).mean(0)
        return logits


@pytest.mark.parametrize("norm", [True, False])
def test_attention_of_linear_maps_on_tokens(norm: bool) -> None:
    network, x = Attention(norm=norm).eval(), 2 * sample()
    graph = checked(network, x, recipe="8bit")
    spec = graph.node("maps.q").spec
    assert isinstance(spec, SynapseSpec) and spec.operator == "conv1d" and spec.weight_shape == (8, 8, 1)
    assert spec.batch_norm == ("norms.q" if norm else None)
    assert not graph.of(AffineSpec)[1:], "norms are part of the maps; the products alone become currents"
    assert len(graph.of(MatMulSpec)) == 2


def test_what_a_norm_has_still_to_read_is_read_by_nothing_else() -> None:
    class Both(Attention):
        def mapped(self, name: str, x: Tensor) -> Tensor:
            y = self.maps[name](x.flatten(0, 1))
            normed = self.norms[name](y.transpose(-1, -2)).transpose(-1, -2)
            spikes: Tensor = self.fire[name]((normed + y).reshape(T, N, 16, 8))
            return spikes

    with pytest.raises(TraceError, match=r"is read both by its batch norm and by another layer"):
        trace(Both(norm=True).eval(), 2 * sample())


def test_logits_of_tokens_are_observed_as_the_graph_has_them() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lif, self.head = nn.Conv2d(2, 8, 1), LIF(threshold=0.2), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.lif(fold(self.embed, x)).flatten(3).transpose(-1, -2)
            logits: Tensor = self.head(tokens).mean(2).mean(0)
            return logits

    torch.manual_seed(0)
    network, x = Tokens().eval(), 2 * sample()
    graph = checked(network, x, recipe="8bit")
    seen = md.observe(network, graph, x)
    assert seen.logits.shape == (T, N, 3)
    torch.testing.assert_close(seen.logits.mean(0), seen.output)


def test_a_linear_map_of_the_last_of_three_axes() -> None:
    forward: Forward = lambda m, x: to_head(m, m.last(m.wide(m.spikes(x)[0])))  # noqa: E731
    graph = checked(made(forward, sample(), wide=nn.Linear(4, 5)), sample(), recipe="8bit")
    assert graph.node("last").shape == (4, 4, 5) and graph.node("wide").shape == (5, 16)


def test_axes_that_are_turned_twice_are_as_they_were() -> None:
    graph = trace_of(on_spikes(lambda _, a: a.transpose(2, 4).transpose(2, 4)))
    assert not graph.of(TransposeSpec)


def trace_of(forward: Forward, **layers: nn.Module) -> SnnGraph:
    return trace(made(forward, sample(), **layers), sample())


def test_a_global_maximum_is_one_window() -> None:
    (pool,) = trace_of(on_spikes(lambda _, a: a.amax((-2, -1)))).of(PoolSpec)
    assert pool.spec == PoolSpec("max", (4, 4), (4, 4), (0, 0))


# --- what is refused, and what to do ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "says", "hint"),
    [
        (through("bilinear"), "interpolate", "mode='nearest', or by a transposed convolution"),
        (on_spikes(lambda _, a: fold(lambda y: F.interpolate(y, size=(6, 6)), a)), "interpolate", "whole factors"),
        (on_spikes(lambda _, a: F.pad(a, (1, 1))), "pad", "give the padding to the convolution"),
        (on_both(lambda a, b: torch.einsum("tnchw,tnchw->tnch", a, b)), "einsum", "q @ k.transpose(-2, -1)"),
        (on_both(torch.maximum), "maximum", "a * (1 - b)"),
        (on_both(lambda a, b: a + b - a * b), "subtracts tensors", "only 1 - spikes"),
        (on_spikes(lambda _, a: a.softmax(-1)), "softmax", "return the logits"),
        (through("group_norm"), "group_norm", "use batch norm"),
        (through("uneven"), "uneven windows", "choose a divisor"),
        (through("partial"), "uses ceil_mode or dilation", "plain windows"),
        (lambda m, x: to_head(m, torch.cat([m.a(fold(m.conv_a, x)), x], 2)), "torch.cat", "join channels"),
        (on_spikes(lambda _, a: fold(nn.PixelShuffle(2), a.flatten(3))), "the network fails", "[T, N, ...]"),
    ],
)
def test_forms_without_integers_are_refused_with_what_to_do(forward: Forward, says: str, hint: str) -> None:
    layers = {
        "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"), "group_norm": nn.GroupNorm(2, 4),
        "uneven": nn.AdaptiveAvgPool2d(3), "partial": nn.MaxPool2d(3, 2, ceil_mode=True),
    }  # fmt: skip
    network = Net(forward, **layers).eval()
    network.head = nn.Identity()
    with pytest.raises(TraceError) as caught:
        trace(network, sample())
    assert says in caught.value.message, caught.value.message
    assert hint in caught.value.hints[0]


def test_a_refusal_inside_a_module_warns_of_nothing() -> None:
    network = Net(through("bilinear"), bilinear=nn.Upsample(scale_factor=2, mode="bilinear")).eval()
    network.head = nn.Identity()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(TraceError):
            trace(network, sample())
    assert not [str(warning.message) for warning in seen]


# --- size ------------------------------------------------------------------------------------------------------------


class Deep(nn.Module):
    """A hundred synapses, SEW residuals between them."""

    def __init__(self, layers: int = 100, channels: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.first, self.head = nn.Conv2d(2, channels, 3, padding=1), LIF(), nn.Linear(channels, 3)
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(layers - 2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in self.convs)
        self.neurons = nn.ModuleList(LIF() for _ in self.convs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(fold(self.stem, x))
        for conv, norm, neuron in zip(self.convs, self.norms, self.neurons, strict=True):
            x = x + neuron(fold(norm, fold(conv, x)))
        logits: Tensor = self.head(x.mean((-2, -1))).mean(0)
        return logits


def test_a_hundred_layers_are_traced_and_planned_in_seconds() -> None:
    network, x = Deep().eval(), sample(2, 8, 8)
    started = time.process_time()
    graph = trace(network, x)
    plan = md.plan(md.load_recipe("8bit"), graph)
    assert time.process_time() - started < 20.0
    assert len(graph.of(SynapseSpec)) == 100 and len(plan) == len(graph.nodes)
