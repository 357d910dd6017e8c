"""What observing shows: of the float network its own recursion, of the student nearly the same in real units."""

from __future__ import annotations

from typing import Literal, Unpack

import pytest
import torch
from torch import Tensor, nn

from mdcompress.compression import compress
from mdcompress.errors import TraceError
from mdcompress.recipe import Recipe
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF, digits_snn
from tests.support.changes import LIFOptions


class Watched(nn.Module):
    """Folded head with a batch norm; the readout is an option."""

    def __init__(self, readout: str = "mean", **neuron: Unpack[LIFOptions]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.neuron = nn.Linear(6, 10), LIF(**neuron)
        self.head, self.norm = nn.Linear(10, 3), nn.BatchNorm1d(3)
        self.readout = readout

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron(self.fc(x))
        logits: Tensor = self.norm(self.head(spikes.flatten(0, 1))).unflatten(0, x.shape[:2])
        return {"mean": logits.mean(0), "sum": logits.sum(0), "steps": logits}[self.readout]


def sample(steps: int = 5) -> Tensor:
    return 3 * torch.rand(steps, 4, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options",
    [
        {"tau": 2.0},
        {"tau": 4.0, "reset": "soft", "threshold": 0.5},
        {"tau": 3.0, "reset_value": -0.3, "decay_input": True},
        {"reset": "none"},
    ],
)
def test_float_potentials_equal_the_neurons_own_recursion(options: LIFOptions) -> None:
    network, x = Watched(**options).eval(), sample()
    with torch.no_grad():
        seen = observe(network, trace(network, x), x)
        currents = network.fc(x)
    neuron = network.neuron
    v = torch.full((4, 10), neuron.reset_value)
    for t, current in enumerate(currents):
        h = (
            v
            - (v - (neuron.reset_value if neuron.input_gain != 1.0 else 0.0)) / neuron.tau
            + neuron.input_gain * current
        )
        s = (h >= neuron.threshold).float()
        assert torch.allclose(seen.potentials["neuron"][t], h, atol=1e-6)
        assert torch.equal(seen.spikes["neuron"][t], s)
        v = {"hard": torch.where(s > 0, neuron.reset_value, h), "soft": h - neuron.threshold * s, "none": h}[
            neuron.reset
        ]
        assert torch.allclose(seen.membranes["neuron"][t], v, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(seen.spikes["neuron"], neuron(currents))
    assert 0 < float(seen.spikes["neuron"].mean()) < 1


@pytest.mark.parametrize("readout", ["mean", "sum", "steps"])
def test_per_step_logits_make_up_the_output(readout: str) -> None:
    network, x = Watched(readout).eval(), sample()
    with torch.no_grad():
        seen = observe(network, trace(network, x), x)
        assert torch.equal(seen.output, network(x))
    assert seen.logits.shape == (5, 4, 3)
    combined = {"mean": seen.logits.mean(0), "sum": seen.logits.sum(0), "steps": seen.logits}[readout]
    assert torch.allclose(combined, seen.output)


def test_spikes_as_the_answer_are_logits_too() -> None:
    network, x = nn.Sequential(nn.Linear(6, 3), IF()), sample()
    with torch.no_grad():
        seen = observe(network, trace(network, x), x)
    assert torch.equal(seen.logits, seen.spikes["1"]) and torch.equal(seen.output, seen.logits)


def test_observing_leaves_no_hooks_and_the_mode_as_it_is() -> None:
    network, x = Watched(), sample()
    graph = trace(network, x)
    observe(network.train(), graph, x)
    assert network.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.neuron, self.pool = nn.Conv2d(1, 3, 3), LIF(), nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron(self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        y: Tensor = self.pool(spikes.flatten(0, 1)).unflatten(0, x.shape[:2]).flatten(2).mean(0)
        return y


def test_what_moves_the_last_layers_output_moves_its_logits() -> None:
    network, x = Pooled(), torch.rand(2, 2, 1, 4, 4)
    seen = observe(network, trace(network, x), x)
    torch.testing.assert_close(seen.logits.mean(0), seen.output)


class Summed(Pooled):
    """Two branches added up, and their mean over time."""

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron(self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])).flatten(2)
        y: Tensor = (spikes + spikes).mean(0)
        return y


def test_a_mean_over_something_that_is_no_layer_is_refused() -> None:
    network, x = Summed(), torch.rand(2, 2, 1, 4, 4)
    graph = trace(network, x)
    with pytest.raises(TraceError, match=r"it follows 'add' \(add\)") as caught:
        observe(network, graph, x)
    assert "end the network with a linear layer or a neuron" in caught.value.hints[0]


def test_gradients_flow_through_what_a_student_shows() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 4, 1, 8, 8)
    network = digits_snn(channels=4)
    graph = trace(network, x)
    student = compress(network, x, "4bit", [x]).train()
    seen = observe(student, graph, x)
    torch.autograd.backward(torch.stack([potential.square().mean() for potential in seen.potentials.values()]).sum())
    gradient = student.synapse("stem.conv").layer.weight.grad
    assert gradient is not None and bool((gradient != 0).any())
    assert set(seen.potentials) == set(seen.spikes) == {"neuron1", "neuron2", "neuron3"}


@pytest.mark.parametrize(("bits", "near"), [(8, 0.02), (16, 0.002)])
@pytest.mark.parametrize("rounding", ["half_up", "floor"])
def test_student_potentials_come_near_to_float_at_eight_bits_and_more(bits: int, near: float, rounding: str) -> None:
    """In units of the threshold, on membranes that have seen the same spikes; the half of rounding is not in them."""
    torch.manual_seed(0)
    network, x = Watched(tau=2.0, reset="soft").eval(), (sample() * 85).round() / 255
    with torch.no_grad():
        network.fc.weight.abs_()  # no membrane far below zero, where storage saturates
    graph = trace(network, x)
    membrane = {"bit_width": bits, "rounding": rounding}
    recipe = Recipe.model_validate(
        {"name": "r", "quantize": {"membrane": membrane, "batch_norm": {"scale_bit_width": 16}}}
    )
    student = compress(network, x, recipe, [x]).eval()
    with torch.no_grad():
        network.fc.weight.copy_(student.synapse("fc").layer.quant_weight().value)  # leaves the membrane's own error
        expected, found = observe(network, graph, x), observe(student, graph, x)
    same_so_far = (expected.spikes["neuron"] == found.spikes["neuron"]).cumprod(0).bool()
    error = (found.potentials["neuron"] - expected.potentials["neuron"])[same_so_far]
    assert float(same_so_far.float().mean()) > 0.9 and bool(expected.spikes["neuron"].any())
    assert float(error.abs().mean()) < near
    assert rounding == "floor" or abs(float(error.mean())) < near / 4


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_students_membranes_are_what_it_stores_before_that_is_rounded(reset: Literal["hard", "soft"]) -> None:
    """What is stored is v in units of s_f * 2^R, rounded half up and clipped to 4 bits: -8 to 7."""
    network, x = Watched(tau=2.0, reset=reset).eval(), sample()
    student = compress(
        network, x, Recipe.model_validate({"name": "r", "quantize": {"membrane": {"bit_width": 4}}}), [x]
    )
    with torch.no_grad():
        seen, stored = student.eval().observe(x), torch.from_numpy(student.trace(x).membranes["neuron"])
        unit = student.fine_scale("neuron", student.stream_units()) * 2.0 ** student.neuron("neuron").guard_bits
    inside = (stored > -8) & (stored < 7)
    assert inside.float().mean() > 0.5
    assert ((seen.membranes["neuron"] / unit - stored).abs()[inside] <= 0.5 + 1e-5).all()
    torch.autograd.backward(student.train().observe(x).membranes["neuron"].square().mean())
    assert student.synapse("fc").layer.weight.grad.abs().sum() > 0
