"""Transposed convolutions: traced, planned, trained, lowered, with the same integers in all three witnesses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mdcompress as md
from intsnn.graph import IntConvTranspose
from mdcompress.errors import TraceError
from mdcompress.graph import SynapseOperator, SynapseSpec
from mdcompress.layers.norms import BatchNorm
from mdcompress.layers.sums import exchanged
from mdcompress.layers.synapse import QuantSynapse, output_first
from mdcompress.recipe import BatchNormPolicy, WeightPolicy
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity
from tests.support.narrowed import statistics

T, N = 3, 2
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
CLASSES: dict[int, Callable[..., Transposed]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
CONVOLUTIONS: dict[int, Callable[..., nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, Callable[[int], BatchNorm]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def fold(layer: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return y


class Decoder(nn.Module):
    """A map made small by a convolution and large again by a transposed one."""

    def __init__(self, up: Transposed, *, norm: bool = True) -> None:
        super().__init__()
        rank = up.weight.dim() - 2
        self.down = CONVOLUTIONS[rank](2, up.in_channels, 3, stride=2, padding=1)
        self.first: nn.Module = LIF(threshold=0.3)
        self.up, self.last = up, IF(threshold=0.3)
        self.norm = NORMS[rank](up.out_channels) if norm else nn.Identity()
        self.head: nn.Module = nn.LazyLinear(3)
        with torch.no_grad():
            for layer in (self.down, self.up):
                layer.weight.add_(0.05)
            if isinstance(self.norm, BatchNorm):
                self.norm.weight.copy_(torch.linspace(-1.5, 2.0, up.out_channels))
                self.norm.bias.fill_(0.4)
                statistics(self.norm)[0].fill_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.first(fold(self.down, x))
        spikes = self.last(fold(self.norm, fold(self.up, spikes)))
        logits: Tensor = self.head(spikes.flatten(2)).mean(0)
        return logits


def made(rank: int, *, norm: bool = True, **options: object) -> tuple[Decoder, Tensor]:
    torch.manual_seed(0)
    network = Decoder(CLASSES[rank](4, 6, **options), norm=norm).eval()
    x = torch.rand(T, N, 2, *(5,) * rank)
    with torch.no_grad():
        network(x)
    return network, x


GEOMETRIES = [
    (1, {"kernel_size": 3}),
    (1, {"kernel_size": 4, "stride": 3, "padding": 2, "output_padding": 2, "dilation": 2, "groups": 2}),
    (2, {"kernel_size": 2, "stride": 2}),
    (2, {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0), "groups": 2}),
    (2, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "bias": False}),
    (3, {"kernel_size": (2, 3, 1), "stride": (2, 1, 1), "dilation": (1, 2, 1), "groups": 2}),
]


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(("rank", "options"), GEOMETRIES)
def test_every_geometry_is_equal_in_floats_and_in_integers(rank: int, options: dict[str, object], norm: bool) -> None:
    network, x = made(rank, norm=norm, **options)
    graph = trace(network, x)
    spec = graph.node("up").spec
    assert isinstance(spec, SynapseSpec) and spec.is_transposed and spec.weight_shape[0] == 6
    assert spec.batch_norm == ("norm" if norm else None)
    assert_float_parity(graph, network, x)
    for recipe in ("8bit", "4bit"):
        student = assert_integer_parity(network, graph, x, recipe=recipe)
    (node,) = [node for node in md.lower(student).nodes if isinstance(node, IntConvTranspose)]
    assert node.weight.shape == tuple(network.up.weight.shape)


@pytest.mark.parametrize("mode", ["quantize", "fold", "power_of_two"])
def test_a_depthwise_transposed_convolution_folds_its_norm(mode: str) -> None:
    torch.manual_seed(0)
    network = Decoder(nn.ConvTranspose2d(6, 6, 2, stride=2, groups=6)).eval()
    x = torch.rand(T, N, 2, 6, 6)
    with torch.no_grad():
        network(x)
    recipe = md.Recipe.model_validate({"name": "a", "summary": "b", "quantize": {"batch_norm": {"mode": mode}}})
    student = md.compress(network, x, recipe, [x])
    assert md.verify(student, x).equal and student.trace(x).spikes["last"].any()


def test_eight_bits_of_a_transposed_convolution_stay_close_to_the_floats() -> None:
    network, x = made(2, norm=False, kernel_size=3, stride=2, groups=2)
    student = md.compress(network, x, "8bit", [x])
    expected = md.observe(network, student.graph, x).spikes["last"]
    spikes = student.observe(x).spikes["last"]
    assert expected.any() and (spikes != expected).float().mean() < 0.05


def test_a_transposed_convolution_learns() -> None:
    network, x = made(2, kernel_size=2, stride=2)
    student = md.compress(network, x, "4bit", [x])
    student.train()(x).square().sum().backward()
    weight = student.synapse("up").layer.weight
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    with torch.no_grad():
        weight -= 0.1 * weight.grad
    assert md.verify(student, x).equal


def test_the_sums_of_a_transposed_convolution_computed_by_hand() -> None:
    spec = SynapseSpec("conv_transpose1d", (1, 1, 3), (2,), (0,), (1,), 1, False, None, (0,))
    layer = QuantSynapse(spec, weight=WeightPolicy(bit_width=8), batch_norm=BatchNormPolicy(), largest_input=2).eval()
    module = nn.ConvTranspose1d(1, 1, 3, stride=2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[[42.0, -84.0, 127.0]]]))  # scale 1
        layer.adopt(module, None)
        found = layer(torch.tensor([[[[1.0, 2.0]]]]), 1.0, torch.tensor(1.0))
    assert found.flatten().tolist() == [42, -84, 127 + 84, -168, 254]


@settings(max_examples=50)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_exchanging_the_channels_twice_gives_the_weight_back(groups: int, inputs: int, outputs: int, axes: int) -> None:
    weight = torch.rand(groups * inputs, outputs, *(2,) * axes)
    once = exchanged(weight, groups)
    assert once.shape[:2] == (groups * outputs, inputs)
    assert torch.equal(exchanged(once, groups), weight)
    for group in range(groups):  # the block of a group is its own, its two channel axes exchanged
        block, turned = weight[group * inputs :][:inputs], once[group * outputs :][:outputs]
        assert torch.equal(turned, block.transpose(0, 1))


def test_a_convolution_stands_output_first_already() -> None:
    cases: list[tuple[nn.Conv2d | nn.Linear, SynapseOperator]] = [
        (nn.Conv2d(4, 6, 3), "conv2d"),
        (nn.Linear(4, 6), "linear"),
    ]
    for layer, operator in cases:
        spec = SynapseSpec(operator, tuple(layer.weight.shape), (1,), (0,), (1,), 1, True, None)
        assert output_first(layer, spec) is layer.weight


def test_a_cropped_transposed_convolution_is_refused() -> None:
    network, x = made(2, kernel_size=2, stride=3, padding=0)
    network.up.padding = (2, 0)
    with pytest.raises(TraceError) as caught:
        trace(network, x)
    assert "'up' crops its output: padding (2, 0)" in caught.value.message


def test_a_transposed_convolution_of_currents_is_refused() -> None:
    network, x = made(2, kernel_size=2)
    network.first = nn.Identity()
    with pytest.raises(TraceError, match="transposed convolution 'up' reads currents"):
        trace(network, x)


def test_an_output_size_at_call_time_is_refused() -> None:
    class Sized(Decoder):
        def forward(self, x: Tensor) -> Tensor:
            spikes = self.first(fold(self.down, x)).flatten(0, 1)
            y: Tensor = self.up(spikes, output_size=[6, 6]).unflatten(0, x.shape[:2])
            return y

    network = Sized(nn.ConvTranspose2d(4, 6, 2, stride=2)).eval()
    network.head = nn.Identity()
    with pytest.raises(TraceError, match="'up' must map one tensor to one"):
        trace(network, torch.rand(T, N, 2, 5, 5))


def test_students_with_transposed_convolutions_are_saved_and_read_back(tmp_path: Path) -> None:
    network, x = made(2, kernel_size=3, stride=2, output_padding=1, groups=2)
    student = md.compress(network, x, "8bit", [x])
    md.save_student(student, tmp_path / "student")
    again = md.load_student(tmp_path / "student")
    assert again.graph == student.graph and md.lower(again) == md.lower(student)
    assert len(again.graph.of(SynapseSpec)) == 3
