"""Describing neurons: one's own, those of a library that is not there, and the probe that believes no description."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mdcompress.adapters import (
    ADAPTERS,
    REFUSALS,
    NeuronAdapter,
    describe_neuron,
    find_neurons,
    probe,
    simulate,
)
from mdcompress.adapters.base import RefusedParameterError, class_and_version, fresh_copy, installed_version, numbers
from mdcompress.adapters.probing import hard_currents, summary
from mdcompress.adapters.snntorch import SnnTorchNeurons
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, Numbers, ResetTiming
from mdcompress.zoo import IF, LIF

PLAIN = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "soft", 0.0, 1.0, 0.0)


class Simulated(nn.Module):
    """A neuron that is its model, and says so."""

    def __init__(self, model: NeuronModel, *, says: NeuronModel | None = None) -> None:
        super().__init__()
        self.model, self.says = model, says or model

    def neuron_model(self) -> NeuronModel:
        return self.says

    def forward(self, currents: Tensor) -> Tensor:
        return simulate(self.model, currents).spikes


def of_library(path: str, name: str, **attributes: object) -> nn.Module:
    """A module whose class claims to be `name` of the library at `path`, which need not be installed."""
    kind = type(name, (nn.Module,), {"__module__": path})
    module: nn.Module = kind()
    for key, value in attributes.items():
        setattr(module, key, value)
    return module


# --- describing --------------------------------------------------------------------------------------------------


def test_the_projects_own_neurons_are_described_and_proved() -> None:
    for module in (LIF(3.0, 0.7, "hard", reset_value=-0.2, decay_input=True), IF(1.3, "soft"), LIF(reset="none")):
        model = describe_neuron(module)
        assert model is not None
        probe("neuron", module, model)


def test_a_module_describes_itself_by_a_method() -> None:
    module = Simulated(replace(PLAIN, timing="after_leak"))
    model = describe_neuron(module)
    assert model == module.model
    probe("neuron", module, model)


def test_a_method_of_that_name_that_means_something_else_is_an_error() -> None:
    module = Simulated(PLAIN)
    module.says = "a LIF"  # type: ignore[assignment]  # wrong on purpose
    with pytest.raises(TraceError, match="must return a NeuronModel"):
        describe_neuron(module)


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (nn.Parameter(torch.tensor(0.5)), 0.5),
        (torch.tensor([0.5, 0.25]), (0.5, 0.25)),
        (torch.tensor([[[0.5]], [[0.25]]]), (0.5, 0.25)),
        (np.array([0.5, 0.25]), (0.5, 0.25)),
        ([0.5, 0.25], (0.5, 0.25)),
    ],
)
def test_tensors_in_a_neurons_own_description_become_numbers(given: object, held: Numbers) -> None:
    """A learned decay is a tensor where its owner reads it off: nothing behind it computes with tensors."""
    described = replace(PLAIN, decay=given)  # type: ignore[arg-type]  # a description of one's own may hold tensors
    module = Simulated(replace(PLAIN, decay=held), says=described)
    model = describe_neuron(module)
    assert model == module.model
    probe("neuron", module, model)
    adapters = [NeuronAdapter(lambda module: described if isinstance(module, nn.ReLU) else None)]
    assert describe_neuron(nn.ReLU(), adapters=adapters) == module.model


def test_a_description_that_differs_within_a_channel_is_refused() -> None:
    with pytest.raises(TraceError, match="differs from neuron to neuron within a channel"):
        describe_neuron(Simulated(PLAIN, says=replace(PLAIN, threshold=torch.rand(2, 3))))  # type: ignore[arg-type]  # wrong on purpose


def test_a_neuron_of_one_step_that_does_not_say_so_is_told_how() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v = torch.zeros(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.v + x

        def neuron_model(self) -> NeuronModel:
            return PLAIN

    with pytest.raises(TraceError, match="fails on currents") as caught:
        probe("neuron", Keeping(), PLAIN)
    assert "step_mode" in caught.value.hints[1] and "reset_state()" in caught.value.hints[1]


def test_an_adapter_of_ones_own_is_asked_first_and_knows_how_to_run_its_neurons() -> None:
    class Stepwise(nn.Module):
        def forward(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            h = 0.5 * v + current
            spike = (h >= 1.0).to(h.dtype)
            return spike, h - spike

    def describe(module: nn.Module) -> NeuronModel | None:
        return PLAIN if isinstance(module, Stepwise) else None

    def run(module: nn.Module, currents: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            spike, v = module(current, v)
            spikes.append(spike)
        return torch.stack(spikes)

    adapters = [NeuronAdapter(describe, run)]
    assert describe_neuron(Stepwise()) is None
    assert describe_neuron(Stepwise(), adapters=adapters) == PLAIN
    assert describe_neuron(LIF(), adapters=adapters) == describe_neuron(LIF())
    probe("neuron", Stepwise(), PLAIN, adapters=adapters)


def test_an_adapter_without_a_way_to_run_calls_the_module_with_all_steps() -> None:
    class Multi(nn.Module):
        def forward(self, currents: Tensor) -> Tensor:
            return simulate(PLAIN, currents).spikes

    adapters = [NeuronAdapter(lambda module: PLAIN if isinstance(module, Multi) else None)]
    probe("neuron", Multi(), PLAIN, adapters=adapters)


def test_neurons_are_found_by_name_and_not_looked_into() -> None:
    outer = Simulated(PLAIN)
    outer.add_module("inner", LIF())
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(LIF(), nn.Identity()), outer)
    assert list(find_neurons(network)) == ["1.0", "2"]


def test_all_neurons_that_are_refused_are_named_at_once() -> None:
    psn = of_library("spikingjelly.activation_based.neuron", "PSN")
    alpha = of_library("snntorch._neurons.alpha", "Alpha")
    alpha.__class__.__bases__ = (type("SpikingNeuron", (nn.Module,), {"__module__": "snntorch._neurons.neurons"}),)
    network = nn.ModuleDict({"first": psn, "kept": LIF(), "last": alpha})
    with pytest.raises(TraceError) as caught:
        find_neurons(network)
    first, last = caught.value.message.splitlines()
    assert first.startswith("neuron 'first' (spikingjelly.activation_based.neuron.PSN")
    assert "cannot become integers: it has no recurrence" in first
    assert "neuron 'last'" in last and "second current" in last
    assert len(caught.value.hints) == 2
    with pytest.raises(TraceError, match=r"a neuron \(spikingjelly.*PSN"):
        describe_neuron(psn)


def test_every_refusal_says_why_and_what_to_do() -> None:
    assert len(REFUSALS) == len(set(REFUSALS))
    for row in REFUSALS:
        assert row.reason and row.hint and row.library in ("any", "spikingjelly", "snntorch", "norse", "sinabs")
        assert row.classes or row.when or row.library == "any"
    for library in ADAPTERS:
        assert {row.library for row in library.refusals} == ({library.library} if library.refusals else set())
    assert sum(bool(library.refusals) for library in ADAPTERS) == 4


def test_modules_that_are_no_neurons_are_unknown() -> None:
    for module in (nn.Linear(2, 2), of_library("snntorch.surrogate", "ATan"), of_library("norse.torch", "Lift")):
        assert describe_neuron(module) is None
    assert describe_neuron(of_library("sinabs.layers", "SumPool2d")) is None
    assert describe_neuron(of_library("spikingjelly.activation_based.layer", "Linear")) is None


def test_no_library_is_imported_to_recognise_its_neurons() -> None:
    for adapter in ADAPTERS:
        source = inspect.getsource(sys.modules[type(adapter).__module__])
        for library in ("spikingjelly", "snntorch", "norse", "sinabs"):
            assert f"import {library}" not in source and f"from {library}" not in source


# --- libraries that need not be installed --------------------------------------------------------------------------


def leaky(reset: str, *, hidden: bool, kind: str = "Leaky") -> nn.Module:
    return of_library(
        f"snntorch._neurons.{kind.lower()}",
        kind,
        beta=torch.tensor(0.5),
        alpha=torch.tensor(0.75),
        threshold=torch.tensor(1.0),
        reset_mechanism=reset,
        init_hidden=hidden,
        inhibition=False,
        state_quant=False,
    )


@pytest.mark.parametrize(
    ("version", "kind", "reset", "hidden", "timing"),
    [
        ("0.7.0", "Leaky", "subtract", False, "same_step"),
        ("0.7.0", "Leaky", "subtract", True, "after_leak"),
        ("0.7.0", "Leaky", "zero", False, "masked"),
        ("0.7.0", "Leaky", "zero", True, "same_step"),
        ("0.7.0", "Synaptic", "subtract", False, "after_leak"),
        ("0.8.0", "Leaky", "subtract", False, "after_leak"),
        ("0.9.4", "Leaky", "zero", False, "same_step"),
        ("1.0.0", "Synaptic", "zero", True, "masked"),
        ("1.0.0", "Synaptic", "subtract", True, "after_leak"),
    ],
)
def test_snntorch_resets_by_version_class_and_state(
    version: str, kind: str, reset: str, hidden: bool, timing: str
) -> None:
    model = SnnTorchNeurons(version).describe(leaky(reset, hidden=hidden, kind=kind))
    assert isinstance(model, NeuronModel)
    assert model.timing == timing and model.reset == {"subtract": "soft", "zero": "hard"}[reset]
    assert (model.synapse_decay == 0.75) == (kind == "Synaptic")


class OldLeaky(nn.Module):
    """Leaky of snnTorch 0.7: the reset stands before the leak where the state is passed by hand."""

    __module__ = "snntorch._neurons.leaky"

    def __init__(self, *, hidden: bool) -> None:
        super().__init__()
        self.beta, self.threshold = torch.tensor(0.5), torch.tensor(1.0)
        self.reset_mechanism, self.init_hidden = "subtract", hidden
        self.inhibition, self.state_quant = False, False
        self.mem: Tensor | float = 9.0

    @staticmethod
    def init_leaky() -> float:
        return 0.0

    def forward(self, current: Tensor, mem: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        if self.init_hidden:
            late = torch.as_tensor(self.mem > self.threshold, dtype=torch.float64)
            self.mem = self.beta * self.mem + current - late * self.threshold
            return (self.mem > self.threshold).float()
        assert mem is not None
        late = (mem > self.threshold).double()
        mem = self.beta * (mem - late * self.threshold) + current
        return (mem > self.threshold).float(), mem


OldLeaky.__name__ = OldLeaky.__qualname__ = "Leaky"


@pytest.mark.parametrize("hidden", [True, False])
def test_snntorch_before_0_8_is_run_and_proved_too(hidden: bool) -> None:
    old = SnnTorchNeurons("0.7.0")
    module = OldLeaky(hidden=hidden)
    model = old.describe(module)
    assert isinstance(model, NeuronModel)
    probe("neuron", module, model, adapters=[old])
    with pytest.raises(TraceError, match="does not follow its description"):
        other: ResetTiming = "same_step" if hidden else "after_leak"
        probe("neuron", module, replace(model, timing=other), adapters=[old])


def test_spikingjelly_before_2_is_described_alike() -> None:
    module = of_library(
        "spikingjelly.activation_based.neuron", "LIFNode", tau=2.0, decay_input=True, v_threshold=1.0, v_reset=-0.5
    )
    model = describe_neuron(module)
    assert model is not None
    assert (model.decay, model.input_gain, model.drive, model.initial) == (0.5, 0.5, -0.25, -0.5)


def test_norse_parameters_are_read_as_norse_rounds_them() -> None:
    parameters = SimpleNamespace(
        tau_mem_inv=torch.tensor(100.0), v_leak=0.5, v_th=1.0, v_reset=0.0, reset_method=lambda z, v, r, t: v
    )
    parameters.reset_method.__name__ = "reset_value"
    model = describe_neuron(of_library("norse.torch.module.lif_box", "LIFBoxCell", p=parameters, dt=0.001))
    assert model is not None
    rate = float(torch.tensor(0.001 * 100.0))  # float32
    assert (model.decay, model.input_gain, model.drive) == (1.0 - rate, rate, 0.5 * rate)


# --- numbers -----------------------------------------------------------------------------------------------------


def test_parameters_become_one_number_or_one_per_channel() -> None:
    assert numbers(1.3) == 1.3  # not rounded to float32
    assert numbers(torch.tensor([[0.5]])) == 0.5
    assert numbers(torch.tensor([0.5, 0.25])) == (0.5, 0.25)
    assert numbers(torch.tensor([0.5, 0.25]).reshape(1, 2, 1, 1)) == (0.5, 0.25)
    with pytest.raises(RefusedParameterError, match="differs from neuron to neuron"):
        numbers(torch.rand(2, 3))


# --- the probe ---------------------------------------------------------------------------------------------------


WRONG: dict[str, Callable[[NeuronModel], NeuronModel]] = {
    "comparator": lambda model: replace(model, comparator="greater"),
    "decay": lambda model: replace(model, decay=0.5078125),
    "soft amount": lambda model: replace(model, soft_amount=1.125),
    "timing": lambda model: replace(model, timing="after_leak"),
    "hard": lambda model: replace(model, reset="hard"),
    "gain": lambda model: replace(model, input_gain=1.015625),
    "drive": lambda model: replace(model, drive=0.015625),
    "initial": lambda model: replace(model, initial=0.5),
    "synapse": lambda model: replace(model, synapse_decay=0.25),
    "counts": lambda model: replace(model, spike="floor", max_spikes=None),
    "floor": lambda model: replace(model, floor="after_reset"),
    "double": lambda model: replace(model, rearm="double"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_probe_sees_every_wrong_word_of_a_description(what: str) -> None:
    module = Simulated(PLAIN, says=WRONG[what](PLAIN))
    with pytest.raises(TraceError, match="does not follow its description") as caught:
        probe("layers.1", module, module.says)
    assert f"neuron 'layers.1' ({__name__}.Simulated)" in caught.value.message
    assert "at step" in caught.value.message and "with current" in caught.value.message


@pytest.mark.parametrize("threshold", [0.3, 1.3])
def test_a_wrong_comparison_is_seen_where_numbers_round_as_well(threshold: float) -> None:
    model = replace(PLAIN, decay=1.0, threshold=threshold, soft_amount=threshold)
    module = Simulated(model, says=replace(model, comparator="greater"))
    with pytest.raises(TraceError, match="does not follow its description"):
        probe("neuron", module, module.says)


def test_another_order_of_rounding_is_no_difference() -> None:
    class Reordered(Simulated):
        def forward(self, currents: Tensor) -> Tensor:
            v, spikes = torch.zeros_like(currents[0]), []
            for x in currents:
                h = v + (x - v) / 3.0
                spike = (h - 1.3 >= 0).double()
                v = h - spike * 1.3
                spikes.append(spike)
            return torch.stack(spikes)

    model = replace(PLAIN, decay=1 - 1 / 3.0, input_gain=1 / 3.0, threshold=1.3, soft_amount=1.3)
    probe("neuron", Reordered(model), model)


def test_the_probe_tells_shapes_and_failures() -> None:
    class Summed(Simulated):
        def forward(self, currents: Tensor) -> Tensor:
            return super().forward(currents).sum(0)

    class Failing(Simulated):
        def forward(self, currents: Tensor) -> Tensor:
            raise RuntimeError("only 3 channels")

    class Refusing(Simulated):
        def forward(self, currents: Tensor) -> Tensor:
            raise TraceError("not so")

    with pytest.raises(TraceError, match="must keep the shape"):
        probe("neuron", Summed(PLAIN), PLAIN)
    with pytest.raises(TraceError, match=r"fails on currents of shape .*RuntimeError: only 3 channels"):
        probe("neuron", Failing(PLAIN), PLAIN)
    with pytest.raises(TraceError, match="not so"):
        probe("neuron", Refusing(PLAIN), PLAIN)


def test_the_probe_runs_a_copy_also_of_a_neuron_with_a_live_state() -> None:
    class Stateful(Simulated):
        def __init__(self, model: NeuronModel) -> None:
            super().__init__(model)
            self.seen = torch.ones(2, requires_grad=True) * 2.0
            self.memories = {"v": self.seen * 3.0}

    module = Stateful(PLAIN)
    before = module.seen
    probe("neuron", module, PLAIN)
    assert module.seen is before and module.seen.requires_grad
    duplicate = fresh_copy(module)
    assert duplicate.memories["v"] is not module.memories["v"] and not duplicate.memories["v"].requires_grad


def test_the_probe_holds_ties_negative_drives_and_drives_of_many_thresholds() -> None:
    model = replace(PLAIN, decay=0.0, input_gain=0.25, threshold=(0.5, 2.0))
    currents = hard_currents(model, (2, 3, 3))
    assert currents.shape == (100, 12, 2, 3, 3)
    levels = 0.25 * currents / torch.tensor([0.5, 2.0]).reshape(2, 1, 1)
    assert bool((levels == 1.0).any()) and bool((levels < -2.0).any()) and bool((levels > 3.0).any())
    assert bool(hard_currents(replace(PLAIN, threshold=float("inf")), (1,)).isfinite().all())


def test_channels_on_another_axis_than_described_are_seen() -> None:
    class LastAxis(Simulated):
        def forward(self, currents: Tensor) -> Tensor:
            return super().forward(currents.transpose(2, -1)).transpose(2, -1)

    model = replace(PLAIN, threshold=(0.5, 1.5))
    module = LastAxis(model)
    probe("neuron", module, model)
    with pytest.raises(TraceError, match=r"threshold=0.5..1.5 in 2 channels"):
        probe("neuron", module, model, shape=(2, 3, 2))


class Recurrent(Simulated):
    def __init__(self, model: NeuronModel, synapse: nn.Module) -> None:
        super().__init__(model)
        self.synapse = synapse

    def forward(self, currents: Tensor) -> Tensor:
        return simulate(self.model, currents, recurrent=self.synapse).spikes


@pytest.mark.parametrize("synapse", [nn.Linear(5, 5), nn.Conv2d(2, 2, 3, padding=1), nn.Hardtanh()])
def test_a_recurrent_neuron_is_proved_with_its_synapse(synapse: nn.Module) -> None:
    model = replace(PLAIN, recurrent="synapse")
    probe("neuron", Recurrent(model, synapse), model)
    if not isinstance(synapse, nn.Hardtanh):
        with pytest.raises(TraceError, match="does not follow"):
            probe("neuron", Recurrent(replace(PLAIN, decay=0.75), synapse), model)


def test_a_summary_names_what_differs_from_a_plain_integrator() -> None:
    assert summary(PLAIN) == "decay=0.5, threshold=1, comparator=greater_equal, reset=soft, soft_amount=1"
    assert "synapse_decay=0.5" in summary(replace(PLAIN, synapse_decay=0.5))


def test_classes_are_named_with_the_version_of_their_library() -> None:
    assert class_and_version(nn.Linear(1, 1)) == "torch.nn.modules.linear.Linear"
    assert installed_version("hypothesis") is not None and installed_version("no_such_package") is None
    assert "hypothesis " in class_and_version(of_library("hypothesis.neurons", "LIF"))
