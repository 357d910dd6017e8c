"""Neuron modules become canonical models, and the probe proves it or names the first step that differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mdcompress.adapters import describe_neuron, probe, simulate
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel
from mdcompress.zoo import IF, LIF
from tests.support.changes import NeuronChanges

PLAIN = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "hard", 0.0, 1.0, 0.0)


def model(**changes: Unpack[NeuronChanges]) -> NeuronModel:
    return replace(PLAIN, **changes)


def described(neuron: nn.Module) -> NeuronModel:
    found = describe_neuron(neuron)
    assert found is not None
    return found


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_simulated_neuron_by_hand() -> None:
    """h = v/2 + x with x = 0.5, 0.75, 0.5, 2: h = 0.5, 1 (tie: fires), 0.5 or 0.5, then 2.25."""
    currents = torch.tensor([[0.5], [0.75], [0.5], [2.0]])
    hard, soft = simulate(model(), currents), simulate(model(reset="soft"), currents)
    assert hard.potentials.flatten().tolist() == [0.5, 1.0, 0.5, 2.25]
    assert hard.spikes.flatten().tolist() == [0.0, 1.0, 0.0, 1.0]
    assert hard.membranes.flatten().tolist() == [0.5, 0.0, 0.5, 0.0]
    assert soft.membranes.flatten().tolist() == [0.5, 0.0, 0.5, 1.25]
    assert soft.potentials.flatten().tolist() == [0.5, 1.0, 0.5, 2.25]
    silent = simulate(model(comparator="greater"), currents)  # at the tie it stays silent, and keeps 1.0
    assert silent.potentials.flatten().tolist() == [0.5, 1.0, 1.0, 2.5]
    assert silent.spikes.flatten().tolist() == [0.0, 0.0, 0.0, 1.0]


def test_soft_reset_keeps_what_was_above_the_threshold() -> None:
    currents = torch.tensor([[3.0], [0.0], [0.0]])
    assert simulate(model(decay=1.0, reset="soft"), currents).potentials.flatten().tolist() == [3.0, 2.0, 1.0]
    assert simulate(model(decay=1.0, reset="none"), currents).potentials.flatten().tolist() == [3.0, 3.0, 3.0]
    reset = simulate(model(decay=1.0, reset_value=-0.25, initial=-0.5), currents)
    assert reset.potentials.flatten().tolist() == [2.5, -0.25, -0.25]


def test_gain_and_drive_enter_the_membrane() -> None:
    found = simulate(model(input_gain=0.25, drive=0.125), torch.tensor([[1.0], [1.0]]))
    assert found.potentials.flatten().tolist() == [0.375, 0.5625]


# --- our own neurons -------------------------------------------------------------------------------------------------

NEURONS = st.one_of(
    st.builds(
        LIF,
        st.floats(1.05, 20.0),
        st.floats(0.1, 3.0),
        st.sampled_from(["soft", "none"]),
        decay_input=st.booleans(),
    ),
    st.builds(
        lambda tau, threshold, share, gain: LIF(tau, threshold, reset_value=share * threshold, decay_input=gain),
        st.floats(1.05, 20.0),
        st.floats(0.1, 3.0),
        st.floats(-1.0, 0.9),
        st.booleans(),
    ),
    st.builds(IF, st.floats(0.1, 3.0), st.sampled_from(["hard", "soft", "none"])),
)


@settings(max_examples=40, deadline=None)
@given(neuron=NEURONS)
def test_own_neurons_equal_their_description_on_every_spike(neuron: nn.Module) -> None:
    description = describe_neuron(neuron)
    assert description is not None
    probe("neuron", neuron, description)


def test_the_probe_sees_spikes_ties_and_silence() -> None:
    """Guards against a vacuous probe: its input must make a plain neuron fire, hold back, and stand at a tie."""
    seen: list[Tensor] = []

    class Watched(IF):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return super().forward(x)

    probe("neuron", Watched(), described(IF()))
    found = simulate(model(decay=1.0), seen[0])
    assert 0.1 < float(found.spikes.mean()) < 0.9
    assert int((found.potentials == 1.0).sum()) > 100
    assert bool((seen[0] < 0).any()) and bool((seen[0] > 2).any()) and seen[0].dtype == torch.float64


def test_what_is_no_neuron_has_no_description() -> None:
    assert describe_neuron(nn.Linear(2, 2)) is None


# --- differences that the probe must find ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"decay": 0.51},
        {"input_gain": 1.02},
        {"drive": 0.01},
        {"threshold": 1.01},
        {"comparator": "greater"},
        {"reset": "soft"},
        {"reset": "none"},
        {"reset_value": -0.05},
        {"initial": -0.1},
    ],
)
def test_every_wrong_parameter_is_found(change: NeuronChanges) -> None:
    with pytest.raises(TraceError, match=r"does not follow its description .* at step \d+ with current"):
        probe("block.neuron", LIF(tau=2.0), model(**change))


class Refractory(LIF):
    """Silent for one step after a spike: nothing that a description says."""

    def forward(self, x: Tensor) -> Tensor:
        spikes = super().forward(x)
        return torch.cat([spikes[:1], spikes[1:] * (1 - spikes[:-1])])


def test_a_subclass_with_its_own_dynamics_is_named_with_its_class() -> None:
    description = described(Refractory())
    with pytest.raises(TraceError) as caught:
        probe("block.neuron", Refractory(), description)
    assert f"neuron 'block.neuron' ({__name__}.Refractory, mdcompress " in caught.value.message
    assert "it gives 0 spikes, the canonical neuron 1" in caught.value.message
    assert "needs its own description" in caught.value.hints[0]


class LastStep(LIF):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[-1]


def test_a_neuron_that_drops_the_time_axis_is_refused() -> None:
    with pytest.raises(TraceError, match=r"must keep the shape \[100, 256, 1\] \(it returned \[256, 1\]\)") as caught:
        probe("neuron", LastStep(), model())
    assert "one spike for every current" in caught.value.hints[0]


def test_the_probe_leaves_the_neuron_as_it_was() -> None:
    neuron = LIF().train()
    neuron.register_buffer("kept", torch.ones(2))
    probe("neuron", neuron, described(neuron))
    assert neuron.kept.dtype == torch.float32 and neuron.training
