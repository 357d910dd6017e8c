"""A float training runs the zoo's neurons over all steps at once: the same spikes and gradients, to the last bit."""

from __future__ import annotations

import contextlib
import functools

import pytest
import torch
from torch import Tensor, nn

from mdcompress.training import teaching, train_network
from mdcompress.training.own_neurons import own_neurons_at_once, run_at_once
from mdcompress.zoo import IF, LIF
from mdcompress.zoo.neurons import Reset, Surrogate
from tests.support.training_cases import FAST, TEACHER, Shuffled, assert_same_state, float_network, state_of


def _spikes_and_gradient(run: object, x: Tensor) -> tuple[Tensor, Tensor]:
    assert callable(run)
    x = x.clone().requires_grad_()
    spikes = run(x)
    weight = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(x.dtype)
    (gradient,) = torch.autograd.grad((spikes * weight).sum(), x)
    return spikes.detach(), gradient


def _assert_as_written(neuron: LIF, x: Tensor) -> None:
    expected, gradient = _spikes_and_gradient(neuron.forward, x)
    found, own = _spikes_and_gradient(lambda currents: run_at_once(neuron, currents), x)
    assert torch.equal(found, expected) and 0 < int(expected.sum()) < expected.numel()
    assert torch.equal(own, gradient) and int((gradient != 0).sum()) > 0


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("surrogate", ["atan", "rectangular", "triangular"])
def test_a_lif_over_all_steps_is_the_one_step_by_step(reset: Reset, decay_input: bool, surrogate: Surrogate) -> None:
    x = 2.0 * torch.randn(5, 40, 7, generator=torch.Generator().manual_seed(0))
    rest = -0.3 if reset == "hard" else 0.0
    _assert_as_written(LIF(3.0, 0.7, reset, reset_value=rest, decay_input=decay_input, surrogate=surrogate), x)


@pytest.mark.parametrize("time_steps", [1, 2])
def test_a_neuron_without_leak_in_few_steps_is_too(time_steps: int) -> None:
    x = torch.randn(time_steps, 33, 5, 3, 2, generator=torch.Generator().manual_seed(2))
    _assert_as_written(IF(reset="soft"), x)
    _assert_as_written(LIF(), x.double())


def test_bfloat16_goes_step_by_step() -> None:
    neuron, x = LIF(3.0, 0.7), torch.randn(4, 50, generator=torch.Generator().manual_seed(3)).bfloat16()
    _assert_as_written(neuron, x)


def test_a_training_gives_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout, batch norm and validation among it."""
    at_once = train_network(float_network(), train=Shuffled(), validate=Shuffled(), spec=TEACHER, settings=FAST)
    monkeypatch.setattr(teaching, "own_neurons_at_once", lambda _network: contextlib.nullcontext())
    as_written = train_network(float_network(), train=Shuffled(), validate=Shuffled(), spec=TEACHER, settings=FAST)
    assert_same_state(at_once, state_of(as_written))
    assert not torch.equal(state_of(at_once)["inner.weight"], state_of(float_network())["inner.weight"])


class Quiet(LIF):
    """A subclass, which may run by a forward of its own."""


def test_only_the_zoos_own_neurons_are_replaced_and_only_inside() -> None:
    last = LIF()
    network = nn.Sequential(LIF(), Quiet(), IF(), last)
    put_over = functools.partial(LIF.forward, last)  # a user's own
    last.__dict__["forward"] = put_over
    with own_neurons_at_once(network):
        replaced = ["forward" in module.__dict__ for module in network]
        assert vars(last)["forward"] is put_over
    assert replaced == [True, False, True, True]
    assert ["forward" in module.__dict__ for module in network] == [False, False, False, True]


def test_neurons_are_put_back_after_an_error() -> None:
    network = nn.Sequential(LIF())
    with pytest.raises(RuntimeError, match="stop"), own_neurons_at_once(network):
        raise RuntimeError("stop")
    assert "forward" not in network[0].__dict__
