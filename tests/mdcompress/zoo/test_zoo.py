"""The project's own float neurons and networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from intsnn.errors import UsageError
from mdcompress.graph import AddSpec, NeuronModel
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF, digits_events_snn, digits_snn, ms_resnet18, vgg9
from mdcompress.zoo.neurons import Reset, Surrogate, surrogate_derivative
from mdcompress.zoo.steps import steps_of
from tests.support.narrowed import gradient


def test_the_steps_of_a_sequence_are_views_of_it() -> None:
    sequence = torch.arange(48.0).reshape(2, 4, 3, 2).transpose(1, 3)[:, 1:]
    steps = steps_of(sequence)
    assert [torch.equal(step, expected) for step, expected in zip(steps, sequence.unbind(), strict=True)] == [True] * 2
    steps[1].zero_()
    assert int((sequence[1] != 0).sum()) == 0 and int((sequence[0] != 0).sum()) > 0
    assert steps_of(torch.zeros(0, 3)) == []


# --- neurons ---------------------------------------------------------------------------------------------------------


def test_lif_by_hand() -> None:
    """tau = 4: h = 0.75*v + x; x = 1, 0.5, 2 with threshold 1.25."""
    x = torch.tensor([[1.0], [0.5], [2.0]])
    assert LIF(tau=4.0, threshold=1.25)(x).flatten().tolist() == [0.0, 1.0, 1.0]  # 1, 1.25 (a tie fires), 2
    assert LIF(tau=4.0, threshold=1.2501)(x).flatten().tolist() == [0.0, 0.0, 1.0]


def test_input_decay_scales_the_input_and_leaks_towards_the_reset_value() -> None:
    neuron = LIF(tau=2.0, reset_value=-0.5, decay_input=True)  # h = v + (x - (v + 0.5))/2, v(0) = -0.5
    assert (neuron.decay, neuron.input_gain, neuron.drive, neuron.initial) == (0.5, 0.5, -0.25, -0.5)
    assert neuron(torch.tensor([[2.0], [2.75], [3.0]])).flatten().tolist() == [0.0, 1.0, 1.0]  # h = 0.5, 1.375, 1


def test_integrate_and_fire_does_not_leak() -> None:
    assert IF(threshold=2.0)(torch.full((5, 1), 0.5)).flatten().tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert IF().decay == 1.0 and math.isinf(IF().tau)


def test_a_neuron_says_what_it_is() -> None:
    assert repr(LIF(tau=4.0, threshold=0.5, reset="soft")) == "LIF(decay=0.75, threshold=0.5, reset=soft)"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tau": 1.0}, "tau must be > 1 and finite (got 1.0)"),
        ({"tau": math.nan}, "tau must be > 1"),
        ({"tau": math.inf}, "tau must be > 1"),
        ({"threshold": 0.0}, "threshold must be > 0 and finite (got 0.0)"),
        ({"threshold": math.inf}, "threshold must be > 0 and finite"),
        ({"reset": "zero"}, "reset must be one of hard, soft, none (got 'zero')"),
        ({"surrogate": "step"}, "surrogate must be one of atan, rectangular, triangular (got 'step')"),
        ({"reset_value": 1.0}, "reset_value must be below the threshold 1.0 (got 1.0)"),
        ({"reset_value": -math.inf}, "reset_value must be below"),
        ({"reset": "soft", "reset_value": 0.5}, "with reset='soft' it must be 0 (got 0.5)"),
    ],
)
def test_parameters_that_are_no_neuron_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        LIF(**options)  # type: ignore[arg-type]  # wrong on purpose
    assert says in caught.value.message and caught.value.hints


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("atan", [1.0, 1 / (1 + math.pi**2 / 4), 1 / (1 + math.pi**2)]),
        ("rectangular", [1.0, 0.0, 0.0]),
        ("triangular", [1.0, 0.5, 0.0]),
    ],
)
def test_surrogate_derivatives_by_hand(kind: Surrogate, values: list[float]) -> None:
    distance = torch.tensor([0.0, -0.5, 1.0], dtype=torch.float64)
    assert surrogate_derivative(distance, kind).tolist() == pytest.approx(values)


@pytest.mark.parametrize("kind", ["atan", "rectangular", "triangular"])
@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
def test_gradients_equal_those_of_the_recursion_written_out(kind: Surrogate, reset: Reset) -> None:
    """Two steps by the chain rule: ds2/dx1 = g(h2) * decay * (1 - s1 where the reset is hard)."""
    neuron = LIF(tau=2.0, threshold=0.5, reset=reset, surrogate=kind)
    x = torch.tensor([[0.7, 0.3, -0.2], [0.4, 0.45, 0.9]], dtype=torch.float64, requires_grad=True)
    spikes = neuron(x)
    spikes[1].sum().backward()
    v1 = {"hard": x[0] * (1 - spikes[0]), "soft": x[0] - 0.5 * spikes[0], "none": x[0]}[reset].detach()
    slope = surrogate_derivative((0.5 * v1 + x[1].detach() - 0.5) / 0.5, kind) / 0.5
    kept = 1 - spikes[0].detach() if reset == "hard" else torch.ones(3, dtype=torch.float64)
    assert torch.allclose(gradient(x)[1], slope)
    assert torch.allclose(gradient(x)[0], slope * 0.5 * kept)


# --- networks --------------------------------------------------------------------------------------------------------

NETWORKS = [
    (digits_snn(), (1, 8, 8), 10, 3),
    (digits_events_snn(channels=4), (2, 16, 16), 10, 3),
    (vgg9(width=4, image_size=8), (3, 8, 8), 10, 8),
    (ms_resnet18(width=4, image_size=16, classes=7), (3, 16, 16), 7, 17),
]


@pytest.mark.parametrize(("network", "shape", "classes", "neurons"), NETWORKS)
def test_every_reference_network_runs_and_can_be_traced(
    network: nn.Module, shape: tuple[int, ...], classes: int, neurons: int
) -> None:
    sample = torch.rand(2, 2, *shape)
    assert network(sample).shape == (2, classes)
    graph = trace(network, sample)
    assert len(graph.of(NeuronModel)) == neurons
    assert graph.readout.shape == (classes,)


def test_the_digits_network_is_small() -> None:
    weights = sum(p.numel() for name, p in digits_snn().named_parameters() if name.endswith("weight") and p.dim() > 1)
    assert weights == 9 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + 4 * 64 * 10  # 30,496


def test_the_membrane_shortcut_network_adds_currents_only() -> None:
    graph = trace(NETWORKS[3][0], torch.rand(1, 1, 3, 16, 16))
    sums = graph.of(AddSpec)
    assert len(sums) == 8 and {node.carries.value for node in sums} == {"current"}
