"""What `native_speed` times is what it says: rates, additions, and float networks that compute the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import intsnn
from benchmarks.native_baselines import baselines, compiled
from benchmarks.native_layers import Layer, driven, layer_graph
from benchmarks.native_networks import firing_network, graph_of, rates
from mdcompress import zoo


def still_images(*, samples: int = 8) -> torch.Tensor:
    images = torch.rand(1, samples, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return images.expand(4, -1, -1, -1, -1).contiguous()


def small() -> torch.nn.Module:
    return zoo.conv_snn(channels=8)


def spike_rates(network: torch.nn.Module, x: torch.Tensor) -> dict[str, float]:
    found: dict[str, float] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda _module, _x, y: found.update({name: float(y.mean())})

    neurons = {name: module for name, module in network.named_modules() if isinstance(module, zoo.LIF)}
    handles = [module.register_forward_hook(note(name)) for name, module in neurons.items()]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    return found


def test_every_neuron_node_fires_at_the_wanted_rate_and_so_does_the_graph() -> None:
    x = still_images()
    network = firing_network(small, x, rate=0.12)
    found = spike_rates(network, x)
    assert found == pytest.approx({"neuron1": 0.12, "neuron2": 0.12, "neuron3": 0.12}, abs=0.01)
    student, graph = graph_of(network, x, recipe="8bit")
    assert all(0.05 < rate < 0.2 for rate in rates(graph, student.quantize_input(x)).values())


def test_every_float_network_is_the_same_network() -> None:
    """But bfloat16, whose spikes are others."""
    x = still_images()
    network = firing_network(small, x, rate=0.12)
    with torch.no_grad():
        expected = network(x)
    found = baselines(network)
    assert len(found) == 8
    for name, answer in found.items():
        if "bfloat16" not in name:
            torch.testing.assert_close(answer(x), expected, rtol=1e-4, atol=1e-4)
        assert answer(x).shape == expected.shape
    assert callable(compiled(network))


@pytest.mark.parametrize("layer", [Layer(8, 4, 6), Layer(12, 5)], ids=lambda layer: layer.name)
def test_additions_of_a_layer_are_those_that_are_measured(layer: Layer) -> None:
    graph, x = layer_graph(layer), driven(layer, 0.3, samples=3)
    rows = sum(intsnn.measure(graph, [x]).synapse("layer").row_activations)
    assert layer.additions(x.astype(np.int64)) == rows * layer.outputs * x.shape[1] > 0
    assert not intsnn.run(graph, x).spikes["neuron"].any(), "what follows the layer costs the same at every rate"
