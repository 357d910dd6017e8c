"""Norse's neurons: states in tuples, parameters in named tuples, `>` as comparison."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.neuron_layers import check_neuron

pytest.importorskip("norse")

import norse.torch as norse
from norse.torch.functional.reset import reset_subtract

from mdcompress.adapters import REFUSALS, describe_neuron, find_neurons
from mdcompress.adapters.norse import NorseNeurons
from mdcompress.errors import TraceError


def run(module: nn.Module, currents: Tensor) -> Tensor:
    if isinstance(module, norse.LIF | norse.IAF):
        y: Tensor = module(currents)[0].detach()
        return y
    spikes, state = [], None
    for current in currents:
        spike, state = module(current, state)
        spikes.append(spike.detach())
    return torch.stack(spikes)


def number(value: float) -> Tensor:
    return torch.as_tensor(value)


RESTING = norse.LIFParameters(
    tau_mem_inv=number(500.0), tau_syn_inv=number(250.0), v_leak=number(-0.25), v_reset=number(-0.5)
)
PER_NEURON = norse.LIFParameters(
    tau_mem_inv=torch.linspace(100.0, 600.0, 60), tau_syn_inv=torch.linspace(200.0, 500.0, 60), v_th=number(0.75)
)
NEURONS: dict[str, Callable[[], nn.Module]] = {
    "LIF": norse.LIF,
    "LIF at rest below zero": lambda: norse.LIF(RESTING),
    "LIFCell": norse.LIFCell,
    "LIFCell at rest below zero": lambda: norse.LIFCell(RESTING),
    "LIFCell per neuron": lambda: norse.LIFCell(PER_NEURON),
    "LIFBoxCell": norse.LIFBoxCell,
    "LIFBoxCell soft": lambda: norse.LIFBoxCell(
        norse.LIFBoxParameters(reset_method=reset_subtract, tau_mem_inv=number(500.0))
    ),
    "IAF": norse.IAF,
    "IAFCell": lambda: norse.IAFCell(norse.IAFParameters(v_reset=number(-0.25))),
}


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_becomes_exact_integers(name: str) -> None:
    check_neuron(NEURONS[name](), run)


def test_few_bits_are_as_exact() -> None:
    check_neuron(norse.LIFCell(RESTING), run, recipe="4bit")


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (norse.LIFRefracCell, "frozen while it is refractory"),
        (norse.LSNNCell, "adapts to its own spikes"),
        (norse.LIFAdExCell, "adapts to its own spikes"),
        (norse.LIFExCell, "not linear"),
        (lambda: norse.LSNNRecurrentCell(2, 3), "adapts to its own spikes"),
        (lambda: norse.LSNNRecurrent(2, 3), "adapts to its own spikes"),
        (lambda: norse.RecurrentSequential(norse.LIFCell()), "feeds what several layers put out back"),
        (lambda: norse.LIFBoxCell(norse.LIFBoxParameters(reset_method=lambda z, v, r, t: v)), "a function of the user"),
    ],
)
def test_neurons_without_integers_are_refused_with_the_reason(module: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        find_neurons(nn.Sequential(nn.Linear(2, 2), module()))
    assert "neuron '1' (norse.torch.module." in caught.value.message and ", norse 1." in caught.value.message


def test_every_class_is_described_or_refused() -> None:
    known = {*NorseNeurons().classes, *(name for row in REFUSALS for name in row.classes)}
    modules = {name for name, value in vars(norse).items() if isinstance(value, type) and issubclass(value, nn.Module)}
    neurons = {name for name in modules if name.endswith("Cell") or "LI" in name or "IAF" in name or "LSNN" in name}
    others = {"RegularizationCell", "SpikeLatencyLIFEncoder", "ConstantCurrentLIFEncoder"}
    assert neurons - known <= others


def test_containers_are_no_neurons() -> None:
    assert describe_neuron(norse.SequentialState(nn.Linear(2, 2))) is None
    assert describe_neuron(norse.Lift(nn.Linear(2, 2))) is None
