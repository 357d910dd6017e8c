"""The layout of a float network's maps on a GPU: decided by the device that is named, computed here."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mdcompress.training.layout import lay_out_for
from mdcompress.zoo import LIF, digits_snn

CPU, GPU = torch.device("cpu"), torch.device("cuda")
X = torch.rand(3, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def layouts(network: nn.Module) -> set[bool]:
    """Whether channels lie beside each other, of each kernel of two axes that has several of either."""
    kernels = [each.weight for each in network.modules() if isinstance(each, nn.Conv2d) and each.weight.shape[1] > 1]
    return {each.is_contiguous(memory_format=torch.channels_last) for each in kernels}


def test_a_network_on_a_gpu_has_channels_beside_each_other_and_the_same_answers() -> None:
    torch.manual_seed(0)
    network = digits_snn(channels=4).train()
    other = copy.deepcopy(network)
    assert lay_out_for(GPU, other, X) and layouts(other) == {True}
    assert other.training, "the mode is the caller's"
    state, before = other.state_dict(), network.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in before)
    with torch.no_grad():
        wanted, found = network.eval()(X), other.eval()(X)
    assert torch.allclose(found, wanted, atol=1e-6) and wanted.any()


def test_a_network_on_a_cpu_stays_as_it_is() -> None:
    network = digits_snn(channels=4)
    assert not lay_out_for(CPU, network, X) and layouts(network) == {False}


class Viewing(nn.Module):
    """It flattens maps by a view, which only NCHW has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other, self.neuron = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), LIF()
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.other(self.conv(x.flatten(0, 1)))
        out: Tensor = self.head(self.neuron(maps.view(*x.shape[:2], -1))).mean(0)
        return out


def test_a_network_that_views_its_maps_keeps_the_layout_that_it_needs() -> None:
    network = Viewing()
    assert not lay_out_for(GPU, network, X) and layouts(network) == {False}
    assert network(X).shape == (4, 3)
    network.other.weight.data = network.other.weight.data.contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view"):
        network(X)
