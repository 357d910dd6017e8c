"""The canonical neuron: in floats by hand, in integers as the student, the interpreter and onnxruntime run it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdcompress.adapters import simulate
from mdcompress.errors import PlanError
from mdcompress.evaluation.verification import verify
from mdcompress.graph import NeuronModel, Numbers, SpikeKind, channel_values
from mdcompress.layers.firing import integrate_and_fire
from mdcompress.layers.neuron import QuantNeuron
from mdcompress.planning import plan
from mdcompress.recipe import Recipe
from mdcompress.recipe.policies import MembranePolicy
from tests.support.canonical_neurons import PLAIN, neuron_graph, neuron_models, neuron_student, spelled_out, startable
from tests.support.changes import NeuronChanges
from tests.support.composed_neuron import LEARNED, composed

EXAMPLES = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def spikes_of(model: NeuronModel, values: list[float]) -> list[float]:
    return simulate(model, column(values)).spikes.flatten().tolist()


def membranes_of(model: NeuronModel, values: list[float]) -> list[float]:
    return simulate(model, column(values)).membranes.flatten().tolist()


# --- floats, by hand ---------------------------------------------------------------------------------------------


def test_a_reset_after_the_leak_takes_the_threshold_off_one_step_late() -> None:
    model = replace(PLAIN, reset="soft", timing="after_leak", comparator="greater")
    # h: 1.5 fires; 0.75 + 0.5 - 1 = 0.25; 0.125 + 1 = 1.125 fires; 0.5625 - 1
    assert spikes_of(model, [1.5, 0.5, 1.0, 0.0]) == [1, 0, 1, 0]
    assert membranes_of(model, [1.5, 0.5, 1.0, 0.0]) == [1.5, 0.25, 1.125, -0.4375]


def test_a_masked_reset_loses_the_step_after_a_spike_and_its_input() -> None:
    model = replace(PLAIN, timing="masked")
    assert spikes_of(model, [2.0, 9.0, 0.75, 0.75]) == [1, 0, 0, 1]
    assert membranes_of(model, [2.0, 9.0, 0.75, 0.75]) == [2.0, 0.0, 0.75, 1.125]


def test_a_doubled_threshold_holds_while_the_membrane_is_still_above_it() -> None:
    model = replace(PLAIN, decay=1.0, reset="soft", rearm="double", comparator="greater")
    # h: 2.5 fires, v 1.5 > 1: the next needs more than 2; h = 1.75, v = 1.75; then 2.25 fires
    assert spikes_of(model, [2.5, 0.25, 0.5, 0.0]) == [1, 0, 1, 0]


def test_a_synaptic_state_spreads_a_current_over_steps() -> None:
    model = replace(PLAIN, decay=1.0, synapse_decay=0.5, synapse_gain=0.5, reset="none", threshold=10.0)
    assert membranes_of(model, [4.0, 0.0, 0.0]) == [2.0, 3.0, 3.5]


@pytest.mark.parametrize(
    ("spike", "most", "expected"),
    [
        ("floor", None, [0, 0, 1, 1, 2, 7]),
        ("floor", 3, [0, 0, 1, 1, 2, 3]),
        ("round", 4, [0, 1, 1, 2, 2, 4]),  # 0.5 and 2.5 are ties: to the even one
    ],
)
def test_counts_of_spikes(spike: SpikeKind, most: int | None, expected: list[int]) -> None:
    model = replace(PLAIN, decay=0.0, spike=spike, max_spikes=most, reset="none")
    assert spikes_of(model, [-3.0, 0.75, 1.0, 1.75, 2.5, 7.2]) == expected
    if spike == "round":
        assert spikes_of(model, [0.5, 1.5, 2.5]) == [0, 2, 2]


def test_floors_before_and_after_firing_keep_other_things() -> None:
    before = replace(PLAIN, reset="soft", floor="before_fire")
    after = replace(PLAIN, reset="soft", soft_amount=3.0, floor="after_reset", floor_value=-0.5)
    assert membranes_of(before, [-5.0, 0.0]) == [0.0, 0.0]
    assert membranes_of(after, [1.0, 0.0]) == [-0.5, -0.25]  # 1 - 3, floored; then the leak


def test_numbers_per_channel_are_those_of_a_neuron_each() -> None:
    many = replace(PLAIN, decay=(0.5, 0.25), threshold=(1.0, 0.5), reset_value=(0.0, -0.25))
    currents = torch.rand(20, 3, 2, 2, 2, dtype=torch.float64)
    together = simulate(many, currents)
    for channel, model in enumerate(
        (replace(PLAIN), replace(PLAIN, decay=0.25, threshold=0.5, reset_value=-0.25)),
    ):
        alone = simulate(model, currents[:, :, channel])
        assert torch.equal(together.spikes[:, :, channel], alone.spikes)
        assert torch.equal(together.membranes[:, :, channel], alone.membranes)


def test_recurrence_adds_what_the_last_spikes_are_worth() -> None:
    model = replace(PLAIN, decay=0.0, recurrent="recurrent")
    seen = simulate(model, column([1.0, 0.0, 0.0]), recurrent=lambda spikes: 1.5 * spikes)
    assert seen.spikes.flatten().tolist() == [1, 1, 1]


def of_first_channel(model: NeuronModel) -> NeuronModel:
    """The model with one number for the layer of each."""

    def first(value: Numbers) -> float:
        return channel_values(value)[0]

    return replace(
        model,
        decay=first(model.decay),
        input_gain=first(model.input_gain),
        drive=first(model.drive),
        threshold=first(model.threshold),
        reset_value=first(model.reset_value),
        soft_amount=first(model.soft_amount),
        initial=first(model.initial),
        synapse_decay=None if model.synapse_decay is None else first(model.synapse_decay),
        synapse_gain=first(model.synapse_gain),
        floor_value=first(model.floor_value),
    )


@EXAMPLES
@given(model=neuron_models(channels=1), values=st.lists(st.integers(-8, 24), min_size=1, max_size=12))
def test_simulation_equals_the_equations_spelled_out(model: NeuronModel, values: list[int]) -> None:
    scalar = of_first_channel(model)
    currents = [value / 8 for value in values]
    expected = spelled_out(scalar, currents)
    seen = simulate(scalar, column(currents))
    assert seen.spikes.flatten().tolist() == [s for s, _ in expected]
    assert seen.membranes.flatten().tolist() == pytest.approx([v for _, v in expected], abs=1e-12)


# --- integers ----------------------------------------------------------------------------------------------------

_fired = {"drawn": 0, "firing": 0}


@settings(EXAMPLES, max_examples=100)
@given(
    model=neuron_models(channels=3).map(startable),
    maps=st.booleans(),
    bits=st.integers(2, 16),
    rounding=st.sampled_from(["half_up", "floor"]),
)
def test_student_interpreter_and_onnxruntime_agree_on_every_drawn_neuron(
    model: NeuronModel, maps: bool, bits: int, rounding: str
) -> None:
    membrane = {"bit_width": bits, "rounding": rounding}
    recipe = Recipe.model_validate({"name": "drawn", "summary": "drawn", "quantize": {"membrane": membrane}})
    shape = (3, 2, 1) if maps else (3,)
    x = torch.randint(0, 4, (6, 4, 5, *shape[1:]), generator=torch.Generator().manual_seed(bits)).float()
    student = neuron_student(model, x, recipe=recipe, shape=shape)
    report = verify(student, 2.0 * x)  # beyond the calibrated range, so that membranes saturate
    assert report.equal, str(report)
    _fired["drawn"] += 1
    _fired["firing"] += report.spikes > 0


def test_the_drawn_neurons_fired() -> None:
    assert _fired["drawn"] >= 100 and _fired["firing"] > 0.9 * _fired["drawn"], _fired


@pytest.mark.parametrize(
    "model",
    [
        PLAIN,
        replace(PLAIN, reset="soft", timing="after_leak", comparator="greater"),
        replace(PLAIN, timing="masked"),
        replace(PLAIN, reset="soft", rearm="double", comparator="greater"),
        replace(PLAIN, synapse_decay=0.75, input_gain=0.25),
        replace(PLAIN, reset="soft", spike="floor", max_spikes=None),
        replace(PLAIN, reset="soft", spike="round", max_spikes=4),
        replace(PLAIN, floor="before_fire"),
        replace(PLAIN, reset="soft", floor="after_reset", floor_value=-0.25),
        replace(PLAIN, decay=(0.5, 0.9, 0.25), threshold=(1.0, 0.75, 1.25), input_gain=(1.0, 0.5, 0.75)),
    ],
    ids=lambda model: ",".join(
        str(v) for v in (model.reset, model.timing, model.spike, model.floor, model.rearm, model.synapse_decay)
    ),
)
def test_fine_integers_fire_as_the_float_neuron_does(model: NeuronModel) -> None:
    """16 stored bits: what is left of a difference is rounding, at less than 1 spike in 100."""
    norm = {"scale_bit_width": 16, "shift_bit_width": 24}
    fine = {"membrane": {"bit_width": 16}, "batch_norm": norm}
    recipe = Recipe.model_validate({"name": "fine", "summary": "fine", "quantize": fine})
    x = torch.randint(0, 4, (20, 30, 5), generator=torch.Generator().manual_seed(1)).float()
    student = neuron_student(model, x, recipe=recipe, shape=(3,), spread=0.0)
    layer = student.synapse("synapse").layer
    weight = layer.quant_weight().value.detach().double()
    currents = x.double() @ weight.T + layer.bias.detach().double()
    expected = simulate(model, currents)
    with torch.no_grad():
        seen = student.eval().observe(x)
    assert 0.02 < float((expected.spikes > 0).double().mean()) < 0.98
    assert float((seen.spikes["neuron"] == expected.spikes).double().mean()) > 0.99
    same = (seen.spikes["neuron"] == expected.spikes).all(0)
    gap = (seen.potentials["neuron"].double() - expected.potentials)[:, same].abs().max()
    assert float(gap) < 0.1, "potentials are told in real units"


def test_a_neuron_without_a_limit_fires_31_spikes_at_most() -> None:
    recipe = Recipe(name="plain", summary="plain")
    x = torch.full((1, 1, 1), 200.0)
    model = replace(PLAIN, reset="soft", spike="floor", max_spikes=None)
    student = neuron_student(model, x, recipe=recipe, shape=(3,))
    with torch.no_grad():
        student.synapse("synapse").layer.weight.fill_(1.0)
    assert int(student.trace(x).spikes["neuron"].max()) == 31
    assert student.value_units["neuron"].largest == 31


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decay": 1.5}, "the decay must lie in [0, 1] (got 1.5)"),
        ({"decay": (0.5, -0.1, 0.5)}, "the decay must lie in [0, 1] (got -0.1)"),
        ({"synapse_decay": math.nan}, "the synapse decay must be a number"),
        ({"synapse_decay": 1e-9}, "the synapse decay must differ from 0 and 1"),
        ({"threshold": (1.0, 0.0, 1.0)}, "the threshold must be greater than 0 (got 0)"),
        ({"input_gain": 0.0}, "the input gain must be greater than 0"),
        ({"drive": math.inf}, "drive must be a number"),
        ({"initial": (0.0, 0.5, 0.0)}, "must start at one potential"),
        ({"timing": "after_leak"}, "a reset after_leak must be soft (got hard)"),
        ({"timing": "masked", "reset_value": -0.5}, "a masked reset must go to 0"),
        ({"rearm": "double"}, "a doubled threshold goes with a soft reset"),
        ({"spike": "floor", "comparator": "greater"}, "a count of spikes compares with >="),
        ({"max_spikes": 3}, "max_spikes must be 1"),
    ],
)
def test_neurons_without_integers_are_refused_by_the_plan(changes: NeuronChanges, says: str) -> None:
    graph = neuron_graph(replace(PLAIN, **changes), inputs=2, shape=(3,), time_steps=4)
    with pytest.raises(PlanError) as caught:
        plan(Recipe(name="plain", summary="plain"), graph)
    assert f"neuron neuron: {says}" in caught.value.message or says in caught.value.message
    assert caught.value.hints


def test_a_synaptic_neuron_gets_guard_bits_for_its_state() -> None:
    graph = neuron_graph(replace(PLAIN, synapse_decay=0.9), inputs=2, shape=(3,), time_steps=4)
    assert plan(Recipe(name="plain", summary="plain"), graph).node("neuron").guard_bits == 12


def test_a_synapse_that_forgets_at_once_has_no_state() -> None:
    assert not QuantNeuron(replace(PLAIN, synapse_decay=0.0), MembranePolicy(), guard_bits=4).has_synapse


def test_calibration_finds_the_unit_of_a_synaptic_state() -> None:
    neuron = QuantNeuron(replace(PLAIN, synapse_decay=0.5), MembranePolicy(bit_width=8), guard_bits=12)
    neuron.fit_synapse(torch.linspace(-100.0, 100.0, 1001), fine_scale=1.0 / 1024)
    assert int(neuron.synapse_shift) == 10  # 100 of 127 units of 1


# --- gradients ---------------------------------------------------------------------------------------------------


@EXAMPLES
@given(model=neuron_models(channels=2), seed=st.integers(0, 1000))
def test_gradients_equal_those_of_composed_parts(model: NeuronModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    neuron = QuantNeuron(startable(model), MembranePolicy(bit_width=6), guard_bits=8)
    integers = neuron.integers(torch.tensor(1 / 2048))
    leaves = {name: getattr(integers, name).detach().clone().requires_grad_() for name in LEARNED}
    integers = replace(integers, **leaves)
    current = torch.randint(-1500, 4000, (7, 3, 2), generator=generator).double().requires_grad_()
    weights = [torch.rand(7, 3, 2, generator=generator, dtype=torch.float64) for _ in range(2)]

    def gradients(spikes: Tensor, potentials: Tensor) -> list[Tensor]:
        loss = (weights[0] * spikes).sum() + (1e-3 * weights[1] * potentials).sum()
        return list(torch.autograd.grad(loss, [current, *leaves.values()], materialize_grads=True, allow_unused=True))

    firing = integrate_and_fire(current, integers)
    spikes, potentials = composed(current, integers)
    assert torch.equal(firing.spikes, spikes) and torch.equal(firing.potentials, potentials)
    for mine, other in zip(gradients(firing.spikes, firing.potentials), gradients(spikes, potentials), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


def test_the_scale_of_every_kind_of_neuron_learns() -> None:
    x = torch.randint(0, 4, (6, 8, 5), generator=torch.Generator().manual_seed(0)).float()
    recipe = Recipe(name="plain", summary="plain")
    variants: list[NeuronChanges] = [
        {},
        {"synapse_decay": 0.5},
        {"reset": "soft", "spike": "floor", "max_spikes": None},
    ]
    for changes in variants:
        student = neuron_student(replace(PLAIN, **changes), x, recipe=recipe, shape=(3,)).train()
        student(x).square().sum().backward()
        gradients = [parameter.grad for parameter in student.units.parameters()]
        assert gradients and all(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


@pytest.mark.parametrize(
    "changes",
    [
        {"reset": "soft", "floor": "after_reset", "threshold": (1.0, 0.5), "soft_amount": (1.0, 0.5)},
        {"input_gain": (1.0, 0.25), "spike": "floor", "max_spikes": 3},
        {"reset": "soft", "timing": "after_leak"},
    ],
)
def test_what_is_stored_follows_from_observed_potentials_and_spikes(changes: NeuronChanges) -> None:
    neuron = QuantNeuron(replace(PLAIN, **changes), MembranePolicy(bit_width=16), guard_bits=4)
    fine_scale = torch.tensor(1 / 256, dtype=torch.float64)
    current = torch.randint(-300, 600, (9, 4, 2, 3, 3), generator=torch.Generator().manual_seed(0)).double()
    firing = neuron(current, fine_scale)
    observed = (firing.potentials - neuron.rounding_offset) * fine_scale
    assert torch.equal(neuron.unclipped(observed, firing.spikes, fine_scale), firing.membranes)
    assert bool(firing.spikes.any())
