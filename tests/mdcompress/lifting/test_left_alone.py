"""Reading a network changes nothing of it nor of torch, and nothing is read where nothing needs to be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.lifting import CALLINGS, Lifted, lift
from mdcompress.tracing import conventions
from mdcompress.tracing.conventions import fit
from mdcompress.zoo import LIF
from tests.support import hand_networks as hand
from tests.support import hand_refused as refused
from tests.support.hand_networks import Hand, rows


def network_of(run: Callable[[Hand, Tensor], object]) -> Hand:
    return Hand(run, fc=nn.Linear(5, 4), second=nn.Linear(4, 4), out=nn.Linear(4, 4), head=nn.Linear(4, 3))


def everything_of(network: nn.Module) -> list[object]:
    """What a network consists of besides its tensors' values."""
    return [
        (
            name,
            module.training,
            sorted(vars(module)),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            [(key, id(tensor), tensor.requires_grad, tensor.grad) for key, tensor in module._parameters.items()
             if tensor is not None],
            [(key, id(tensor)) for key, tensor in module._buffers.items()],
        )
        for name, module in network.named_modules()
    ]  # fmt: skip


def global_hooks() -> tuple[int, int]:
    module = torch.nn.modules.module
    return len(module._global_forward_hooks), len(module._global_forward_pre_hooks)


RUNS = {
    "taken": (hand.with_states_in_a_dict, False),
    "with an encoder": (hand.with_an_encoder, False),
    "a layer's membrane": (refused.membrane_read, True),
    "noise": (refused.noise, True),
    "not run": (lambda network, x: network.call("fc", x.flatten(0)), True),
}


RANDOM = ("with an encoder", "noise")  # they draw when they are called; what reading them draws is given back


@pytest.mark.parametrize("name", RANDOM)
def test_a_reading_gives_back_what_it_draws(name: str) -> None:
    run, fails = RUNS[name]
    network = network_of(run)
    state = torch.get_rng_state()
    with pytest.raises(TraceError) if fails else contextlib.nullcontext():
        lift(network, rows(), CALLINGS[0])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", RUNS)
def test_the_network_and_torch_are_left_as_they_were(name: str) -> None:
    run, fails = RUNS[name]
    network = network_of(run)
    seen: list[int] = []
    network.get_submodule("fc").register_forward_hook(lambda *_: seen.append(1))
    before = everything_of(network)
    held = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    torch.manual_seed(7)
    state, hooks = torch.get_rng_state(), global_hooks()
    if fails:
        with pytest.raises(TraceError):
            fit(network, rows())
    else:
        assert isinstance(fit(network, rows()).network, Lifted)
    assert name in RANDOM or torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() is torch.float32 and global_hooks() == hooks
    assert torch.is_grad_enabled()
    assert everything_of(network) == before
    assert all(torch.equal(tensor, held[key]) for key, tensor in network.state_dict().items())


def test_a_network_in_normal_form_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit(network_of(hand.with_states_in_a_dict), rows())
    monkeypatch.setattr(conventions, "lift", _never)
    again = fit(first.network, rows())
    assert again.network is first.network and again.findings == first.findings and again.convention == ""


def test_nothing_is_read_of_a_network_that_can_be_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conventions, "lift", _never)
    network = nn.Sequential(nn.Linear(5, 4), LIF(2.0), nn.Linear(4, 3)).eval()
    found = fit(network, rows())
    assert found.network is network and found.convention == "" and found.findings == ()


def _never(*_: object) -> None:
    raise AssertionError("nothing of this needs to be read")
