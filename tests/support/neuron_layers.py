"""One neuron of a framework behind one linear layer, and what must hold of it: probe, then three equal witnesses.

The neuron runs here by a function of the test, written after the framework's documentation: it knows no adapter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mdcompress.adapters import describe_neuron, probe, simulate
from mdcompress.compression import compress
from mdcompress.evaluation.verification import verify
from mdcompress.graph import NeuronModel, typical
from mdcompress.recipe import load_recipe

RunNeuron = Callable[[nn.Module, Tensor], Tensor]
STEPS, SAMPLES, FEATURES, NEURONS = 16, 110, 12, 60  # 105,600 spikes


class Layer(nn.Module):
    """A framework's neuron as a multi-step layer [T, N, ...] from a fresh state, described as the neuron itself is."""

    def __init__(self, neuron: nn.Module, run: RunNeuron) -> None:
        super().__init__()
        self.neuron, self.run = neuron, run

    def neuron_model(self) -> NeuronModel:
        model = describe_neuron(self.neuron)
        assert model is not None
        return model

    def forward(self, currents: Tensor) -> Tensor:
        return self.run(self.neuron, currents)


class OneLayer(nn.Module):
    def __init__(self, neuron: nn.Module, run: RunNeuron) -> None:
        super().__init__()
        self.linear, self.layer, self.head = nn.Linear(FEATURES, NEURONS), Layer(neuron, run), nn.Linear(NEURONS, 3)
        model = self.layer.neuron_model()
        strength = typical(model.threshold) / typical(model.current_gain)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.linear.weight.normal_(0.1 * strength, 0.4 * strength, generator=generator)
            self.linear.bias.fill_(0.1 * strength)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.linear(x)))
        return logits.mean(0)


def check_neuron(neuron: nn.Module, run: RunNeuron, *, recipe: str = "8bit") -> NeuronModel:
    """Probe, float parity, then student = interpreter = onnxruntime on every spike; returns the description."""
    model = describe_neuron(neuron)
    assert model is not None
    probe("neuron", neuron, model)
    torch.manual_seed(0)
    network = OneLayer(neuron.eval(), run).eval()
    x = torch.randint(0, 4, (STEPS, SAMPLES, FEATURES)).float()
    with torch.no_grad():
        currents = network.linear(x)
        spikes = network.layer(currents)
    expected = simulate(model, currents.double()).spikes
    assert float((spikes == expected).double().mean()) > 0.9999, "float32 against float64: roundings at ties only"
    assert 0.01 < float((spikes > 0).double().mean()) < 0.99, "the neurons must live"
    student = compress(network, x[:, :20], load_recipe(recipe), [x[:, :20]])
    report = verify(student, x)
    assert report.equal, str(report)
    assert report.spikes > 1000 and spikes.numel() >= 100_000
    return model
