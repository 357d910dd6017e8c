"""The drawn styles are what they say: their code runs, fires, and answers as the neurons known of the draw do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mdcompress.graph import NeuronModel
from mdcompress.tracing.conventions import fit
from tests.support.styles import Style, author_axes, draw, draw_neuron_alone, draw_planted
from tests.support.styles_judge import behaviour, of_model, of_truth, parameters
from tests.support.styles_neurons import Truth
from tests.support.styles_planted import FAULTS, HARMLESS
from tests.support.styles_reference import RATES, Run, run_truth

UNSEEN = ("tie_channel", *HARMLESS)  # on the sample they answer as the plain neuron does


@pytest.mark.parametrize("seed", range(40))
def test_a_drawn_network_answers_as_its_known_neurons_do(seed: int) -> None:
    assert_as_known(draw(seed))


@pytest.mark.parametrize("first", range(0, 80, 40))
def test_a_drawn_neuron_fires_as_it_is_known_to(first: int) -> None:
    for seed in range(first, first + 40):
        assert_as_known(draw_neuron_alone(seed))


def assert_as_known(style: Style) -> None:
    network = style.build().to(style.dtype)
    x = style.x_steps().to(style.dtype)
    with torch.no_grad():
        own = style.call(network, author_axes(style, x))
    known = style.reference(network, x)
    tolerance = 1e-9 if style.dtype == torch.float64 else 1e-4
    torch.testing.assert_close(own, known.answer, rtol=tolerance, atol=tolerance, msg=lambda m: f"{m}\n{style}")
    for spikes in known.spikes:
        assert RATES[0] <= float((spikes > 0).double().mean()) <= RATES[1]


def test_a_seed_draws_the_same_network_every_time() -> None:
    one, other = draw(5), draw(5)
    assert one == other and one.source() == other.source() and "Style(seed=5" in repr(one)
    for name, tensor in one.build().state_dict().items():
        assert torch.equal(tensor, other.build().state_dict()[name]), name
    assert torch.equal(one.sample(), other.sample())


def test_every_option_of_neurons_and_networks_occurs() -> None:
    styles = [draw(seed) for seed in range(120)]
    for name, least in {"input": 6, "inner": 5, "container": 6, "states_in": 4, "collect": 5, "answer": 7}.items():
        assert len({getattr(style, name) for style in styles}) == least, name
    for name, least in {"charge": 12, "order": 5, "reset": 5, "spelling": 9, "compared": 4, "start": 3}.items():
        assert len({getattr(style.neuron, name) for style in styles}) == least, name
    layers = [layer for style in styles for layer in style.layers]
    assert len({layer.norm for layer in layers}) == 5 and len({layer.pool for layer in layers}) == 7


@pytest.mark.parametrize("fault", [*FAULTS, *HARMLESS])
def test_a_planted_fault_shows_in_the_answer(fault: str) -> None:
    differing = 0
    for seed in range(3):
        style = draw_planted(seed, fault)
        network, x = style.build(), style.x_steps()
        with torch.no_grad():
            own = style.call(network, style.sample())
        differing += not torch.allclose(own, style.reference(network, x).answer, atol=1e-4)
    assert (differing == 0) if fault in UNSEEN else (differing > 0)


# ------------------------------------------------------------------ the judge


class Canonical(nn.Module):
    """A neuron that says what it is."""

    step_mode = "m"

    def __init__(self, truth: Truth) -> None:
        super().__init__()
        self.truth = truth

    def forward(self, x: Tensor) -> Tensor:
        return run_truth(self.truth, x)

    def reset_state(self) -> None:
        """It keeps nothing."""

    def neuron_model(self) -> NeuronModel:
        return model_of(self.truth)


def model_of(known: Truth) -> NeuronModel:
    return NeuronModel(
        decay=known.decay,
        input_gain=known.gain,
        drive=known.drive,
        threshold=known.threshold,
        comparator="greater" if known.comparator == "greater" else "greater_equal",
        reset=known.reset,
        reset_value=known.reset_value,
        soft_amount=known.soft_amount,
        initial=known.initial,
        synapse_decay=known.synapse_decay,
        spike=known.spike,
        max_spikes=known.max_spikes,
        timing=known.timing,
        floor=known.floor,
        floor_value=known.floor_value,
    )


class NormalForm(nn.Module):
    """One linear layer and a canonical neuron, from the weights of a drawn network."""

    def __init__(self, network: nn.Module, truth: Truth) -> None:
        super().__init__()
        (layer,) = (one for one in network.modules() if isinstance(one, nn.Linear))
        self.layer, self.neuron = layer, Canonical(truth)

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.neuron(self.layer(x))
        return spikes


@pytest.mark.parametrize("seed", range(30))
def test_the_judge_takes_a_right_reading(seed: int) -> None:
    assert differences(seed, change={}) == []


@pytest.mark.parametrize("change", [{"decay": 0.99}, {"threshold": 1.9}, {"gain": 0.77}, {"initial": 0.7}])
def test_the_judge_names_a_wrong_reading(change: dict[str, float]) -> None:
    (name,) = change
    found = differences(0, change=change)
    assert any((name if name != "threshold" else "gain") in line for line in found), found


def differences(seed: int, *, change: dict[str, float]) -> list[str]:
    """What the judge says of a network in normal form, whose neuron was changed."""
    style = draw_neuron_alone(seed)
    network, x = style.build().to(style.dtype), style.x_steps().to(style.dtype)
    (known,) = style.neurons
    fitted = fit(NormalForm(network, replace(known, **change)).eval(), x)  # type: ignore[arg-type]  # floats by name
    spikes = style.reference(network, x).spikes
    return [*behaviour(fitted, x, Run(spikes[0], spikes)), *parameters(fitted, style.neurons)]


def test_a_reset_after_the_leak_is_one_before_it_by_more() -> None:
    late = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater", "soft", 0.0, 0.4, 0.0, timing="after_leak")
    early = replace(late, timing="same_step", soft_amount=0.8)
    assert of_model(late) == of_model(early)
    assert of_model(late) != of_model(replace(early, soft_amount=0.4))


def test_parameters_are_compared_in_thresholds() -> None:
    (known,) = draw_neuron_alone(3).neurons
    assert of_truth(known).keys() == of_model(model_of(known)).keys()
