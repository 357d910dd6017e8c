"""A network in normal form is trained, copied, moved and saved as the user's network whose weights it shares."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters import simulate
from mdcompress.adapters.advice import resetting
from mdcompress.adapters.base import fresh_copy
from mdcompress.errors import CheckpointError
from mdcompress.graph import NeuronModel
from mdcompress.lifting import CanonicalNeuron, Lifted
from mdcompress.lifting.network import ConstantNorm
from mdcompress.recipe import TeacherSpec
from mdcompress.tracing.conventions import fit
from mdcompress.zoo import IF, LIF
from tests.support.canonical_neurons import PLAIN, neuron_models
from tests.support.own_network import OWN_NETWORK

T = 4


def own_network() -> nn.Module:
    names: dict[str, object] = {}
    torch.manual_seed(0)
    exec(OWN_NETWORK, names)  # the file that a user would name
    network = names["Net"]()  # type: ignore[operator]
    assert isinstance(network, nn.Module)
    network.get_submodule("norm").register_buffer("running_var", torch.full((8,), 0.2))
    return network.eval()


def images(count: int = 6) -> Tensor:
    return torch.rand(1, count, 1, 8, 8, generator=torch.Generator().manual_seed(1)).expand(T, -1, -1, -1, -1)


def lifted(network: nn.Module) -> Lifted:
    found = fit(network, images()).network
    assert isinstance(found, Lifted)
    return found


def trained(network: nn.Module) -> nn.Module:
    """A few steps of SGD in training mode."""
    x, y = images(), torch.arange(6)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
    return network.eval()


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


# ---------------------------------------------------------------------- gradients


@settings(max_examples=60, deadline=None)
@given(neuron_models(channels=3), st.integers(0, 2**20))
def test_the_gradient_changes_no_value(model: NeuronModel, seed: int) -> None:
    currents = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(seed))
    plain = simulate(model, currents)
    watched = currents.clone().requires_grad_()
    given = simulate(model, watched, surrogate="atan")
    for name, values in vars(plain).items():
        assert torch.equal(getattr(given, name), values), name
    given.spikes.sum().backward() if given.spikes.requires_grad else None  # type: ignore[no-untyped-call]  # torch's
    assert torch.equal(CanonicalNeuron(model)(watched), CanonicalNeuron(model)(currents))


@pytest.mark.parametrize(
    "neuron",
    [LIF(2.0), LIF(3.0, 0.7, "soft"), LIF(2.0, 1.5, "none"), LIF(4.0, reset_value=-0.5, decay_input=True), IF(0.8)],
)
def test_the_gradient_is_that_of_the_zoos_neurons(neuron: LIF) -> None:
    model = md.adapters.describe_neuron(neuron)
    assert model is not None
    generator = torch.Generator().manual_seed(2)
    x, upstream = (4 * torch.randn(6, 3, 5, generator=generator) for _ in range(2))
    gradients = []
    for module in (neuron, CanonicalNeuron(model)):
        own = x.clone().requires_grad_()
        spikes = module(own)
        (spikes * upstream).sum().backward()
        assert own.grad is not None and own.grad.abs().max() > 0
        gradients.append((spikes.detach(), own.grad))
    assert torch.equal(gradients[0][0], gradients[1][0]) and gradients[0][0].any()
    torch.testing.assert_close(gradients[0][1], gradients[1][1])


def test_gradients_go_through_recurrent_weights() -> None:
    neuron = CanonicalNeuron(replace(PLAIN, recurrent="recurrent"), nn.Linear(4, 4))
    neuron(torch.randn(6, 3, 4)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in neuron.parameters())


def test_counts_have_a_gradient_where_there_is_one_more_to_count() -> None:
    model = replace(PLAIN, reset="soft", threshold=0.5, soft_amount=0.5, spike="floor", max_spikes=3)
    x = torch.tensor([[-1.0, 0.1, 0.6, 1.4, 9.0]])[:, None].requires_grad_()
    simulate(model, x, surrogate="atan").spikes.sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert x.grad is not None and x.grad.flatten().tolist() == [0.0, 0.0, 2.0, 2.0, 0.0]


# ---------------------------------------------------------------------- shared weights


def test_training_it_trains_the_users_network_with_its_statistics() -> None:
    network = own_network()
    form, before = lifted(network), state(network)
    assert form.constants == {"leak"}
    trained(form)
    after = state(network)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == set(before) - {"leak"}
    assert after["norm.num_batches_tracked"] == 3
    assert form.get_submodule("norm").momentum == 0.2
    with torch.no_grad():
        torch.testing.assert_close(network(images()[0]), form(images()))
        torch.testing.assert_close(lifted(network)(images()), form(images()))


def test_train_network_takes_it() -> None:
    network = own_network()
    form, before = lifted(network), state(network)
    batches = [(images(), torch.arange(6))]
    md.train_network(form, train=batches, validate=batches, spec=TeacherSpec(epochs=2))
    assert not torch.equal(network.get_parameter("conv.weight"), before["conv.weight"])
    torch.testing.assert_close(network(images()[0]), form(images()))


@pytest.mark.parametrize("copied", [copy.deepcopy, fresh_copy, lambda form: md.with_statistics(form, [images()[:2]])])
def test_a_copy_has_a_copy_of_the_users_network(copied: object) -> None:
    network = own_network()
    form, before = lifted(network), state(network)
    twin = copied(form)  # type: ignore[operator]
    assert isinstance(twin, Lifted) and twin.source is not network
    own = twin.state_dict()
    for name, tensor in twin.source.state_dict().items():
        assert name == "leak" or own[name].data_ptr() == tensor.data_ptr(), name
        assert tensor.data_ptr() != network.state_dict()[name].data_ptr()
    trained(twin.float())
    torch.testing.assert_close(twin.source(images()[0]), twin(images()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(network).items())


def test_what_moves_it_moves_both_and_they_stay_one() -> None:
    network = own_network()
    form = lifted(network).double()
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float64}
    assert network.get_buffer("norm.running_mean").dtype == torch.float64
    trained(form.float())
    torch.testing.assert_close(network(images()[0]), form(images()))
    assert {tensor.device.type for tensor in lifted(own_network()).to("meta").source.state_dict().values()} == {"meta"}


def test_a_network_with_state_on_a_graph_is_read_and_copied() -> None:
    network = own_network()
    vars(network)["kept"] = {"v": network(images()[0])}
    vars(network)["others"] = [network(images()[0])]
    form = lifted(network)
    torch.testing.assert_close(copy.deepcopy(form)(images()), form(images()))


def test_its_file_is_of_the_users_network(tmp_path: Path) -> None:
    network = own_network()
    md.save_weights(lifted(network), tmp_path / "own.safetensors")
    assert load_file(tmp_path / "own.safetensors").keys() == network.state_dict().keys()
    other = own_network()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5) if parameter.dim() else None
    form = lifted(other)
    md.load_weights(form, tmp_path / "own.safetensors")
    torch.testing.assert_close(form(images()), network(images()[0]))


def test_weights_with_other_numbers_of_neurons_are_refused(tmp_path: Path) -> None:
    network = own_network()
    form = lifted(own_network())
    network.get_parameter("leak").data.fill_(0.5)
    md.save_weights(network, tmp_path / "own.safetensors")
    before = state(form)
    with pytest.raises(CheckpointError, match=r"1 tensors, 'leak' first.*\n.*load the weights into your own network"):
        md.load_weights(form, tmp_path / "own.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(form).items())


# ---------------------------------------------------------------------- constants


class Scaled(nn.Module):
    """A norm written out by hand, over all steps at once; time is last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 6)
        self.factors = torch.tensor([0.5, 3.0, 1.0, 2.0]).reshape(4, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        currents = torch.stack([self.conv(step) for step in x.unbind(-1)], -1)
        currents = (currents - 0.1 * self.factors) * self.factors
        v, total = torch.zeros(()), torch.zeros(())
        for current in currents.unbind(-1):
            v = 0.5 * v + current
            s = (v > 0.2).float()
            v = v - 0.2 * s
            total = total + self.head(s.flatten(1))
        return total / T


def test_constants_follow_no_batch() -> None:
    network = Scaled().eval()
    form = lifted(network)
    assert any(isinstance(module, ConstantNorm) for module in form.modules())
    before = state(form)
    twin = md.with_statistics(form, [5 * images()])
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(twin).items())
    trained(form)
    torch.testing.assert_close(network(images().movedim(0, -1)), form(images()))


def test_a_students_constants_are_not_measured(tmp_path: Path) -> None:
    network = Scaled().eval()
    x = images(64)
    student = md.compress(network, x, "8bit", [x])
    own = network(x.movedim(0, -1)).argmax(1)
    assert (student(x).argmax(1) == own).float().mean() >= 0.85
    md.save_student(student, tmp_path / "student.safetensors")
    again = md.load_student(tmp_path / "student.safetensors")
    assert md.lower(again) == md.lower(student)


class OwnNorm(nn.BatchNorm2d):
    """A norm of one's own: torch's resetting methods put no state to rest."""


def test_a_norms_statistics_are_no_state() -> None:
    assert resetting(OwnNorm(3)) == []
