"""SpikingJelly's neurons: described, probed, and equal as integers to the last spike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.neuron_layers import check_neuron

pytest.importorskip("spikingjelly")

from spikingjelly.activation_based import functional, neuron, surrogate

from mdcompress.adapters import REFUSALS, describe_neuron, find_neurons, probe
from mdcompress.errors import TraceError


def run(module: nn.Module, currents: Tensor) -> Tensor:
    functional.reset_net(module)
    if module.step_mode == "m":
        y: Tensor = module(currents)
        return y
    return torch.stack([module(current) for current in currents])


def klif(k: float, **options: object) -> nn.Module:
    module = neuron.KLIFNode(**options)
    with torch.no_grad():
        module.k.fill_(k)
    made: nn.Module = module
    return made


def normalised(**options: object) -> nn.Module:
    module = neuron.MPBNLIFNode(out_features=60, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        module.vbn.weight.uniform_(0.6, 1.2, generator=generator)
        module.vbn.bias.normal_(0.0, 0.1, generator=generator)
        module.vbn.running_mean.normal_(0.0, 0.1, generator=generator)
        module.vbn.running_var.uniform_(0.8, 1.5, generator=generator)
    made: nn.Module = module
    return made


def folded() -> nn.Module:
    module = normalised()
    assert isinstance(module, neuron.MPBNLIFNode)
    module.re_parameterize_v_threshold()
    made: nn.Module = module
    return made


THRESHOLDS, OFFSETS = torch.linspace(0.8, 1.5, 60), torch.linspace(-0.25, 0.25, 60)
NEURONS: dict[str, Callable[[], nn.Module]] = {
    "IF": lambda: neuron.IFNode(step_mode="m"),
    "IF soft": lambda: neuron.IFNode(1.3, None),
    "IF hard -0.25": lambda: neuron.IFNode(1.0, -0.25),
    "SimpleIF": lambda: neuron.SimpleIFNode(1.0, -0.25),
    "LIF": lambda: neuron.LIFNode(step_mode="m"),
    "LIF soft, no decay_input": lambda: neuron.LIFNode(1.7, decay_input=False, v_reset=None, step_mode="m"),
    "LIF hard -0.25": lambda: neuron.LIFNode(3.0, v_reset=-0.25),
    "SimpleLIF": lambda: neuron.SimpleLIFNode(2.0, decay_input=True, v_reset=-0.25),
    "ParametricLIF": lambda: neuron.ParametricLIFNode(1.7, step_mode="m"),
    "ParametricLIF soft": lambda: neuron.ParametricLIFNode(3.0, decay_input=False, v_reset=None),
    "CUBALIF": neuron.CUBALIFNode,
    "CUBALIF soft": lambda: neuron.CUBALIFNode(0.9, 0.5, v_reset=None),
    "ILIF": lambda: neuron.ILIFNode(step_mode="m"),
    "ILIF 3 levels": lambda: neuron.ILIFNode(2.0, 1.0, surrogate.MultiLevelSpikeCount(3)),
    "HalfThresholdIF": lambda: neuron.HalfThresholdIFNode(1.5, step_mode="m"),
    "ActivationAwareIF": lambda: neuron.ActivationAwareIFNode(THRESHOLDS, OFFSETS, step_mode="m"),
    "ActivationAwareIF hard": lambda: neuron.ActivationAwareIFNode(1.0, 0.25, v_reset=0.0),
    "KLIF": lambda: klif(0.75, step_mode="m"),
    "KLIF scale_reset": lambda: klif(1.5, scale_reset=True, v_reset=-0.25),
    "KLIF scale_reset soft": lambda: klif(1.5, scale_reset=True, v_reset=None, decay_input=False),
    "MPBNLIF": lambda: normalised(step_mode="m"),
    "MPBNLIF learnable threshold": lambda: normalised(learnable_vth=True, decay_input=True, v_reset=None),
    "MPBNLIF folded": folded,
    "MPBNLIF without norm": lambda: neuron.MPBNLIFNode(out_features=60, mpbn=False),
    "OTTTLIF": neuron.OTTTLIFNode,
    "SLTTLIF": neuron.SLTTLIFNode,
}


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_becomes_exact_integers(name: str) -> None:
    check_neuron(NEURONS[name](), run)


@pytest.mark.parametrize("name", ["LIF", "CUBALIF", "ILIF", "ActivationAwareIF", "KLIF"])
def test_few_bits_are_as_exact(name: str) -> None:
    check_neuron(NEURONS[name](), run, recipe="4bit")


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "PSN": lambda: neuron.PSN(4),
    "MaskedPSN": lambda: neuron.MaskedPSN(2, 4),
    "SlidingPSN": lambda: neuron.SlidingPSN(2),
    "GatedLIFNode": lambda: neuron.GatedLIFNode(4, step_mode="m"),
    "ComplementaryLIFNode": neuron.ComplementaryLIFNode,
    "QIFNode": neuron.QIFNode,
    "EIFNode": neuron.EIFNode,
    "IzhikevichNode": neuron.IzhikevichNode,
    "TernaryIFNode": neuron.TernaryIFNode,
    "TernaryLIFNode": neuron.TernaryLIFNode,
    "LIAFNode": lambda: neuron.LIAFNode(torch.relu, False),
    "STBIFNode": lambda: neuron.STBIFNode(1.0, 8),
    "DSRIFNode": neuron.DSRIFNode,
    "DSRLIFNode": neuron.DSRLIFNode,
    "NonSpikingIFNode": lambda: neuron.NonSpikingIFNode(decode="max-abs-mem"),
    "NoisyNonSpikingIFNode": lambda: neuron.NoisyNonSpikingIFNode(2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_neurons_without_integers_are_refused_with_the_reason(name: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(REFUSED[name]()))
    with pytest.raises(TraceError) as caught:
        find_neurons(network)
    row = next(row for row in REFUSALS if name in row.classes)
    assert "neuron '1.0'" in caught.value.message and name in caught.value.message
    assert f"cannot become integers: {row.reason}" in caught.value.message
    assert caught.value.hints == (row.hint,)


def test_every_class_is_described_or_refused() -> None:
    """A class that SpikingJelly adds must not be overlooked."""
    from mdcompress.adapters.spikingjelly import SpikingJellyNeurons

    known = {*SpikingJellyNeurons().classes, *(name for row in REFUSALS for name in row.classes)}
    bases = {"BaseNode", "SimpleBaseNode", "MPBNBaseNode", "NonSpikingBaseNode", "FewSpikeTable"}
    offered = {name for name, value in vars(neuron).items() if isinstance(value, type) and name[0].isupper()}
    assert offered - known <= bases


def test_options_without_integers_are_refused() -> None:
    with pytest.raises(TraceError, match="surrogate function itself"):
        describe_neuron(neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False)))
    module = neuron.MPBNLIFNode(out_features=2)
    module.re_parameterize_v_threshold(normalize_residual=True)
    with pytest.raises(TraceError, match="normalised, which is not linear"):
        describe_neuron(module)
    with pytest.raises(TraceError, match="computes with v_reset"):
        describe_neuron(neuron.SimpleLIFNode(2.0, True, v_reset=None))


def test_a_subclass_with_its_own_equation_is_caught_by_the_probe() -> None:
    class Own(neuron.SimpleLIFNode):  # type: ignore[misc]  # SpikingJelly has no types
        v: Tensor

        def neuronal_charge(self, x: Tensor) -> None:
            self.v = 0.9 * self.v + x

    module = Own(2.0, True)
    model = describe_neuron(module)
    assert model is not None
    with pytest.raises(TraceError, match=r"neuron 'own' \(.*Own, spikingjelly .*does not follow its description"):
        probe("own", module, model)


def test_a_base_class_of_ones_own_equation_is_refused() -> None:
    class Own(neuron.SimpleBaseNode):  # type: ignore[misc]  # SpikingJelly has no types
        v: Tensor

        def neuronal_charge(self, x: Tensor) -> None:
            self.v = self.v + x

    with pytest.raises(TraceError, match="no description of its equation is known"):
        describe_neuron(Own())


def test_parameters_on_the_wrong_axis_are_caught_where_the_shape_is_known() -> None:
    module = neuron.ActivationAwareIFNode(torch.tensor([0.5, 1.0, 2.0]), 0.0, channel_dim=-1)
    model = describe_neuron(module)
    assert model is not None
    probe("neuron", module, model, shape=(3,))
    with pytest.raises(TraceError, match="does not follow its description"):
        probe("neuron", module, model, shape=(3, 2, 3))


def test_layers_that_are_no_neurons_are_left_alone() -> None:
    from spikingjelly.activation_based import layer

    assert describe_neuron(layer.Linear(2, 2)) is None
    assert describe_neuron(surrogate.Sigmoid()) is None


def test_a_neuron_with_a_live_state_is_probed_and_left_as_it_was() -> None:
    module = neuron.LIFNode(step_mode="m")
    weight = torch.ones(3, requires_grad=True)
    module(torch.rand(4, 2, 3) * weight)
    before = module.v
    model = describe_neuron(module)
    assert model is not None
    probe("neuron", module, model)
    assert module.v is before and before.requires_grad
