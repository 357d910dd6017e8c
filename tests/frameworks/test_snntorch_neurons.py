"""snnTorch's neurons: late resets, hidden and passed states, the doubled threshold, recurrence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.neuron_layers import check_neuron

pytest.importorskip("snntorch")

import snntorch

from mdcompress.adapters import REFUSALS, describe_neuron, probe
from mdcompress.adapters.snntorch import SnnTorchNeurons
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel


def run(module: nn.Module, currents: Tensor) -> Tensor:
    """As the tutorials do: the state is passed by hand, or hidden in the module."""
    assert isinstance(module, snntorch.SpikingNeuron)
    state: tuple[Tensor, ...] = ()
    if module.init_hidden:
        module.reset_mem()
    else:
        state = module.reset_mem() if isinstance(module.reset_mem(), tuple) else (module.reset_mem(),)
    spikes = []
    for current in currents:
        result = module(current, *state)
        outputs = result if isinstance(result, tuple) else (result,)
        if not module.init_hidden:
            state = outputs[1:] if len(outputs) - 1 == len(state) else outputs
        spikes.append(outputs[0])
    return torch.stack(spikes)


BETAS = torch.linspace(0.4, 0.95, 60)
NEURONS: dict[str, Callable[[], nn.Module]] = {
    "Leaky subtract": lambda: snntorch.Leaky(0.5),
    "Leaky subtract hidden": lambda: snntorch.Leaky(0.9, threshold=1.3, init_hidden=True),
    "Leaky subtract at once": lambda: snntorch.Leaky(0.5, reset_delay=False),
    "Leaky zero": lambda: snntorch.Leaky(0.75, reset_mechanism="zero", init_hidden=True),
    "Leaky zero at once": lambda: snntorch.Leaky(0.75, reset_mechanism="zero", reset_delay=False),
    "Leaky none": lambda: snntorch.Leaky(0.5, reset_mechanism="none"),
    "Leaky output": lambda: snntorch.Leaky(0.5, init_hidden=True, output=True),
    "Leaky beta above 1": lambda: snntorch.Leaky(1.5, threshold=2.0, reset_mechanism="zero"),
    "Leaky per neuron": lambda: snntorch.Leaky(BETAS, threshold=1.5 - 0.5 * BETAS),
    "Synaptic subtract": lambda: snntorch.Synaptic(0.5, 0.75),
    "Synaptic zero": lambda: snntorch.Synaptic(0.5, 0.75, reset_mechanism="zero"),
    "Synaptic at once": lambda: snntorch.Synaptic(0.25, 0.5, reset_delay=False, init_hidden=True),
    "Synaptic zero at once": lambda: snntorch.Synaptic(0.9, 0.5, reset_mechanism="zero", reset_delay=False),
    "Synaptic none": lambda: snntorch.Synaptic(0.25, 0.5, threshold=4.0, reset_mechanism="none"),
    "Lapicque subtract": lambda: snntorch.Lapicque(beta=0.5),
    "Lapicque zero": lambda: snntorch.Lapicque(R=5.0, C=2.0, reset_mechanism="zero"),
    "Lapicque none": lambda: snntorch.Lapicque(beta=0.9, R=1.5, reset_mechanism="none", init_hidden=True),
    "Lapicque by beta and C": lambda: snntorch.Lapicque(beta=0.9, C=5.0),
}


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_becomes_exact_integers(name: str) -> None:
    check_neuron(NEURONS[name](), run)


@pytest.mark.parametrize("name", ["Leaky subtract", "Leaky subtract at once", "Synaptic zero"])
def test_few_bits_are_as_exact(name: str) -> None:
    check_neuron(NEURONS[name](), run, recipe="4bit")


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("hidden", [True, False])
def test_recurrent_neurons_follow_their_description(reset: str, delay: bool, hidden: bool) -> None:
    options = {"reset_mechanism": reset, "reset_delay": delay, "init_hidden": hidden}
    torch.manual_seed(0)
    modules = [
        snntorch.RLeaky(0.5, linear_features=6, **options),
        snntorch.RLeaky(0.9, conv2d_channels=2, kernel_size=3, **options),
        snntorch.RLeaky(0.9, V=-0.5, all_to_all=False, **options),
    ]
    if delay:
        modules.append(snntorch.RSynaptic(0.9, 0.5, linear_features=6, **options))
    for module in modules:
        model = describe_neuron(module)
        assert model is not None and model.recurrent == "recurrent"
        probe("neuron", module, model)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (lambda: snntorch.Alpha(0.9, 0.8), "second current"),
        (lambda: snntorch.SLSTM(2, 3), "gated recurrent cell"),
        (lambda: snntorch.LeakyParallel(2, 3), "convolves over time"),
        (lambda: snntorch.Leaky(0.5, state_quant=lambda x: x), "rounded to a table of floats"),
        (lambda: snntorch.Leaky(0.5, graded_spikes_factor=2.0), "scaled by graded_spikes_factor"),
        (lambda: snntorch.RSynaptic(0.9, 0.5, linear_features=2, reset_delay=False), "raises in snnTorch itself"),
        (lambda: snntorch.Leaky(torch.rand(2, 3, 3)), "differs from neuron to neuron"),
    ],
)
def test_neurons_without_integers_are_refused_with_the_reason(module: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        describe_neuron(module())
    assert "cannot become integers" in caught.value.message and caught.value.hints


def test_inhibition_is_refused() -> None:
    with pytest.warns(UserWarning, match="Inhibition"):
        module = snntorch.Leaky(0.5, inhibition=True)
    with pytest.raises(TraceError, match="largest membrane"):
        describe_neuron(module)


def test_every_class_is_described_or_refused() -> None:
    known = {*SnnTorchNeurons().classes, *(name for row in REFUSALS for name in row.classes)}
    others = {"SpikingNeuron", "LIF", "GradedSpikes", "BatchNormTT1d", "BatchNormTT2d"}
    offered = {name for name, value in vars(snntorch).items() if name[0].isupper() and callable(value)}
    assert offered - known <= others


def test_the_equations_of_older_versions_are_not_those_of_this_one() -> None:
    """With the state passed by hand 0.7 reset before the leak; the probe tells the two apart."""
    module = snntorch.Leaky(0.5)
    old = SnnTorchNeurons("0.7.0").describe(module)
    assert isinstance(old, NeuronModel)
    with pytest.raises(TraceError, match=r"Leaky, snntorch \d.*does not follow its description"):
        probe("neuron", module, old)
