"""Firing rates above a target: by hand, as properties, and what a training makes of them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mdcompress.errors import TrainingError
from mdcompress.graph import Carries, InputSpec, NeuronModel, NodeSpec, ReadoutSpec, SnnGraph, SnnNode, SynapseSpec
from mdcompress.losses import distillation_loss, mean_rate, sparsity_loss
from mdcompress.recipe import DistillSpec, SparsitySpec
from mdcompress.recipe.distilling import RateOf
from mdcompress.student import Observation, Student
from mdcompress.training import EpochRecord, Event, distill
from tests.support.training_cases import FAST, Shuffled

property_test = settings(deadline=None, max_examples=40)
shares = st.floats(0.0, 1.0)


def neuron() -> NeuronModel:
    return NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "hard", 0.0, 1.0, 0.0)


def node(name: str, spec: NodeSpec, before: str | None, neurons: int) -> SnnNode:
    return SnnNode(name, spec, () if before is None else (before,), (neurons,), Carries.SPIKES)


GRAPH = SnnGraph(
    (
        node("input", InputSpec(), None, 3),
        node("wide", neuron(), "input", 3),
        node("narrow", neuron(), "wide", 1),
        node("readout", ReadoutSpec("mean"), "narrow", 1),
    ),
    time_steps=2,
)


def linear(outputs: int, inputs: int) -> SynapseSpec:
    return SynapseSpec("linear", (outputs, inputs), (1, 1), (0, 0), (1, 1), groups=1, bias=False, batch_norm=None)


# a spike of `wide` meets 1 weight, one of `narrow` 5
CONNECTED = SnnGraph(
    (
        node("input", InputSpec(), None, 3),
        node("wide", neuron(), "input", 3),
        node("between", linear(1, 3), "wide", 1),
        node("narrow", neuron(), "between", 1),
        node("head", linear(5, 1), "narrow", 5),
        node("readout", ReadoutSpec("mean"), "head", 5),
    ),
    time_steps=2,
)
# T = 2, N = 1: 3 of the 6 places of `wide` fire, and 2 of the 2 of `narrow`; 5 of 8 in all
WIDE, NARROW = torch.tensor([[[1.0, 0, 1]], [[0, 1, 0]]]), torch.ones(2, 1, 1)


def seen(wide: Tensor = WIDE, narrow: Tensor = NARROW) -> Observation:
    spikes = {"wide": wide, "narrow": narrow}
    return Observation(torch.zeros(1, 2), torch.zeros(2, 1, 2), spikes, spikes)


def loss_of(spec: SparsitySpec, observed: Observation, graph: SnnGraph = GRAPH) -> Tensor:
    whole = DistillSpec(logits=None, membrane=None, sparsity=spec)
    loss = distillation_loss(observed, None, y=torch.tensor([0]), graph=graph, spec=whole)
    assert loss.task is not None and loss.sparsity is not None
    assert loss.total.item() == pytest.approx(loss.task.item() + spec.weight * loss.sparsity.item())
    named = {name: part.item() for name, part in loss.named().items() if name.startswith("sparsity/")}
    assert named == {f"sparsity/{name}": observed.spikes[name].mean().item() for name in loss.sparsity_layers}
    return loss.sparsity


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (SparsitySpec(), 5 / 8),
        (SparsitySpec(weight=3.0, target=0.5), 1 / 8),
        (SparsitySpec(target=0.7), 0.0),
        (SparsitySpec(layer_weights={"narrow": 3.0}), (3 * 0.5 + 3 * 1.0) / 6),
        (SparsitySpec(match="narrow", target=0.25), 0.75),
        (SparsitySpec(per="layer"), (0.5 + 1.0) / 2),
        (SparsitySpec(per="layer", target=0.75), 0.25 / 2),
        (SparsitySpec(per="layer", layer_weights={"wide": 0.0}, target=0.75), 0.25),
        (SparsitySpec(per="layer", target=0.75, layer_targets={"**": 0.25, "narrow": 0.5}), (0.25 + 0.5) / 2),
    ],
)
def test_rates_cost_what_is_above_the_target(spec: SparsitySpec, expected: float) -> None:
    assert loss_of(spec, seen()).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (SparsitySpec(per="operations"), (3 * 0.5 * 1 + 1.0 * 5) / (3 * 1 + 1 * 5)),
        (SparsitySpec(per="operations", target=0.5), (3 * 0.5 * 1 + 1.0 * 5) / (3 * 1 + 1 * 5) - 0.5),
        (SparsitySpec(per="operations", layer_weights={"narrow": 0.2}), (3 * 0.5 * 1 + 0.2 * 1.0 * 5) / (3 + 0.2 * 5)),
    ],
)
def test_a_spike_costs_the_operations_that_it_causes(spec: SparsitySpec, expected: float) -> None:
    assert loss_of(spec, seen(), CONNECTED).item() == pytest.approx(expected)


def test_spikes_that_reach_no_synapse_have_no_operations_to_price() -> None:
    with pytest.raises(TrainingError, match=r"must have a layer whose spikes reach a synapse \(got wide, narrow\)"):
        loss_of(SparsitySpec(per="operations"), seen())


def test_a_target_that_fits_no_layer_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"distill.sparsity.layer_targets must match .*'deep'"):
        loss_of(SparsitySpec(per="layer", layer_targets={"deep": 0.1}), seen())


def test_the_mean_rate_counts_every_neuron_once() -> None:
    assert mean_rate(seen(), GRAPH).item() == pytest.approx(5 / 8)


@property_test
@given(
    rates=st.lists(shares, min_size=2, max_size=2), target=st.floats(0, 0.99), per=st.sampled_from(["network", "layer"])
)
def test_fewer_spikes_never_cost_more_and_at_the_target_nothing(rates: list[float], target: float, per: RateOf) -> None:
    def cost(wide: float, narrow: float) -> float:
        return sparsity_loss(
            {"wide": torch.tensor(wide), "narrow": torch.tensor(narrow)},
            targets=dict.fromkeys(("wide", "narrow"), target), weights={"wide": 1.0, "narrow": 2.0},
            neurons={"wide": 3, "narrow": 1}, per=per,
        ).item()  # fmt: skip

    assert 0 <= cost(*(rate / 2 for rate in rates)) <= cost(*rates) <= 1
    assert cost(target, target) == pytest.approx(0.0, abs=1e-6)
    assert cost(*(min(rate, target) for rate in rates)) == pytest.approx(0.0, abs=1e-6)


@property_test
@given(seed=st.integers(0, 2**20), per=st.sampled_from(["network", "layer"]))
def test_every_spike_of_a_layer_above_its_target_weighs_the_same(seed: int, per: RateOf) -> None:
    """The gradient of the network's rate is 1/8 at each of the 8 places; of layers 1/2 shared by a layer's places."""
    drawn = torch.rand(2, 1, 4, generator=torch.Generator().manual_seed(seed))
    wide, narrow = drawn[..., :3].clone().requires_grad_(), drawn[..., 3:].clone().requires_grad_()
    torch.autograd.backward(loss_of(SparsitySpec(per=per), seen(wide, narrow)))
    assert wide.grad is not None and narrow.grad is not None
    expected = (1 / 8, 1 / 8) if per == "network" else (1 / 12, 1 / 4)
    torch.testing.assert_close(wide.grad, torch.full_like(wide, expected[0]))
    torch.testing.assert_close(narrow.grad, torch.full_like(narrow, expected[1]))


def test_a_training_lowers_the_rate_to_about_its_target_and_records_it(quantized: Student, teacher: nn.Module) -> None:
    def trained(spec: DistillSpec) -> list[EpochRecord]:
        events: list[Event] = []
        distill(
            copy.deepcopy(quantized), teacher=teacher, train=Shuffled(), validate=Shuffled(), spec=spec, settings=FAST,
            progress=events.append,
        )  # fmt: skip
        return [event for event in events if isinstance(event, EpochRecord)]

    plain = trained(DistillSpec(epochs=4, membrane=None))
    start = plain[0].validation_rate
    assert start is not None and start > 0.1
    target = 0.7 * start
    sparse = trained(DistillSpec(epochs=4, membrane=None, sparsity=SparsitySpec(weight=20.0, target=target)))
    rates = [record.validation_rate or math.nan for record in sparse]
    assert rates[0] == start
    assert rates[-1] == pytest.approx(target, rel=0.15) and rates[-1] < 0.9 * (plain[-1].validation_rate or 0.0)
    assert sparse[-1].losses["sparsity"] < sparse[1].losses["sparsity"]
    assert sparse[-1].validation_accuracy > 0.8
