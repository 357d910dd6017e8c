"""sinabs' neurons: batch first, counts of spikes, floors, an input that decays in its first step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.neuron_layers import SAMPLES, check_neuron

pytest.importorskip("sinabs")

import sinabs.layers as layers
from sinabs.activation import MaxSpike, MembraneReset, MembraneSubtract, MultiSpike, SingleSpike

from mdcompress.adapters import REFUSALS, describe_neuron, find_neurons, probe
from mdcompress.adapters.sinabs import SinabsNeurons
from mdcompress.errors import TraceError


def run(module: nn.Module, currents: Tensor) -> Tensor:
    assert isinstance(module, layers.StatefulLayer)
    module.reset_states()
    batch_first = currents.transpose(0, 1)
    if isinstance(module, layers.IAFSqueeze | layers.LIFSqueeze):
        module.batch_size, module.num_timesteps = batch_first.shape[:2]
        spikes = module(batch_first.flatten(0, 1)).unflatten(0, (-1, len(currents)))
    else:
        spikes = module(batch_first)
    y: Tensor = spikes.detach().transpose(0, 1)
    return y


TAUS = torch.linspace(2.0, 12.0, 60)
NEURONS: dict[str, Callable[[], nn.Module]] = {
    "IAF": layers.IAF,
    "IAF with a floor": lambda: layers.IAF(min_v_mem=-1.0),
    "IAF single": lambda: layers.IAF(spike_fn=SingleSpike, reset_fn=MembraneSubtract(0.75)),
    "IAF up to 3": lambda: layers.IAF(spike_fn=MaxSpike(3), min_v_mem=-0.5),
    "IAF hard": lambda: layers.IAF(spike_fn=MultiSpike, reset_fn=MembraneReset()),
    "IAF with a synapse": lambda: layers.IAF(tau_syn=3.0, spike_threshold=torch.tensor(4.0)),
    "IAFSqueeze": lambda: layers.IAFSqueeze(num_timesteps=16),
    "LIF": lambda: layers.LIF(tau_mem=10.0),
    "LIF without norm_input": lambda: layers.LIF(tau_mem=3.0, norm_input=False, spike_fn=SingleSpike),
    "LIF with a synapse": lambda: layers.LIF(tau_mem=10.0, tau_syn=4.0, train_alphas=True),
    "LIF hard": lambda: layers.LIF(tau_mem=5.0, spike_fn=SingleSpike, reset_fn=MembraneReset(), min_v_mem=-0.5),
    "LIF per neuron": lambda: layers.LIF(tau_mem=TAUS, tau_syn=TAUS / 2, spike_fn=MaxSpike(4)),
    "LIFSqueeze": lambda: layers.LIFSqueeze(tau_mem=10.0, num_timesteps=16),
}


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_becomes_exact_integers(name: str) -> None:
    check_neuron(NEURONS[name](), run)


@pytest.mark.parametrize("amount", [None, 0.3])
def test_thousands_of_spikes_a_step_are_not_rounded_by_sinabs_float32(amount: float | None) -> None:
    """Seen: counts that feed on themselves grew to 2577, and sinabs subtracted 2577*0.3 in float32."""
    for seed in range(3):
        torch.manual_seed(seed)
        neuron = layers.LIFRecurrent(
            tau_mem=5.0, norm_input=False, spike_threshold=torch.tensor(0.3), reset_fn=MembraneSubtract(amount),
            rec_connect=nn.Linear(20, 20, bias=False),
        )  # fmt: skip
        model = describe_neuron(neuron)
        assert model is not None
        probe("neuron", neuron, model, shape=(20,))
        assert neuron.spike_threshold.shape == () and neuron.reset_fn.subtract_value == amount


@pytest.mark.parametrize("name", ["IAF", "LIF with a synapse", "LIF per neuron"])
def test_few_bits_are_as_exact(name: str) -> None:
    check_neuron(NEURONS[name](), run, recipe="4bit")


def test_recurrent_neurons_follow_their_description() -> None:
    torch.manual_seed(0)
    synapse = nn.Linear(4, 4, bias=False)
    for module in (layers.LIFRecurrent(tau_mem=5.0, rec_connect=synapse), layers.IAFRecurrent(rec_connect=synapse)):
        model = describe_neuron(module)
        assert model is not None and model.recurrent == "rec_connect"
        probe("neuron", module, model)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (lambda: layers.IAF(reset_fn=MembraneReset(0.5)), "adds the value to every neuron"),
        (lambda: layers.IAF(spike_fn=torch.autograd.Function), "spike function is the user's"),
        (lambda: layers.ALIF(tau_mem=5.0, tau_adapt=10.0), "threshold adapts"),
        (lambda: layers.ExpLeak(tau_mem=5.0, min_v_mem=-1.0), "as it was before the floor"),
        (lambda: layers.LIFRecurrent(tau_mem=5.0, rec_connect=nn.Linear(2, 2)), "acts from the second step"),
    ],
)
def test_neurons_without_integers_are_refused_with_the_reason(module: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        find_neurons(nn.Sequential(nn.Linear(2, 2), module()))
    assert "neuron '1' (sinabs.layers." in caught.value.message and ", sinabs 3." in caught.value.message


def test_every_class_is_described_or_refused() -> None:
    known = {*SinabsNeurons().classes, *(name for row in REFUSALS for name in row.classes)}
    states = {
        name
        for name, value in vars(layers).items()
        if isinstance(value, type) and issubclass(value, layers.StatefulLayer)
    }
    assert states - known <= {"StatefulLayer"}


def test_a_layer_keeps_its_states_and_its_copy_starts_anew() -> None:
    module = layers.IAF()
    module(torch.rand(SAMPLES, 3, 2))
    before = module.v_mem.clone()
    model = describe_neuron(module)
    assert model is not None
    probe("neuron", module, model)
    assert torch.equal(module.v_mem, before)
    assert describe_neuron(layers.SumPool2d(2)) is None
