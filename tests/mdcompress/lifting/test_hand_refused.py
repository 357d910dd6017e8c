"""What no graph can hold is refused; the first sentence names the cause, and the line of the user's code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.lifting import CALLINGS, Calling, Lifted, LiftError, lift
from mdcompress.tracing import conventions
from mdcompress.tracing.conventions import fit
from tests.support import hand_refused as refused
from tests.support.hand_networks import Hand, T, maps, rows

LINES = Path(inspect.getsourcefile(refused) or "").read_text().splitlines()
Network = Callable[[Hand, Tensor], Tensor]


HEADS = {"pool_with_a_partial_window": 12, "pool_that_leaves_out_its_padding": 48}  # their features; of others 108


def build(network: Network) -> tuple[Hand, Tensor]:
    """Of maps where it is convolutional, else of rows."""
    code = inspect.getsource(network)
    if "conv" in code:
        layers: dict[str, nn.Module] = {
            "conv": nn.Conv2d(2, 3, 3, padding=1), "conv3": nn.Conv3d(2, 3, 3, padding=1),
            "head": nn.Linear(HEADS.get(network.__name__, 108), 3),
        }  # fmt: skip
        return Hand(network, **layers), maps()
    layers = {"fc": nn.Linear(5, 4), "gate": nn.Linear(5, 4), "second": nn.Linear(4, 4), "back": nn.Linear(4, 4),
              "head": nn.Linear(4, 3)}  # fmt: skip
    return Hand(network, **layers), rows()


def marked(message: str) -> bool:
    """Whether a line that the message names is one marked `here`."""
    return any("# here" in LINES[int(line) - 1] for line in re.findall(r"hand_refused\.py:(\d+)", message))


AT_THEIR_LINE: dict[str, tuple[Network, str]] = {
    "softmax": (refused.softmax, "the network calls softmax"),
    "layer norm": (refused.layer_norm, "the network calls native_layer_norm"),
    "tanh between layers": (refused.tanh, "a product or another function of currents (of 'fc'; the last function is"),
    "statistics of the batch": (refused.batch_statistics, "a batch norm uses the statistics of the batch at hand"),
    "decay per step": (refused.decay_per_step, "this looks like a neuron, but its decay changes"),
    "threshold per step": (
        refused.threshold_per_step,
        "this looks like a neuron, but its threshold or drive at step 2 is another than before",
    ),
    "gate of the input": (refused.gate, "this looks like a neuron, but its potential is not linear in its currents"),
    "a threshold that adapts": (
        refused.adapting,
        "this looks like a neuron, but what a spike does to its potential is neither a hard reset nor a soft one",
    ),
    "feedback across layers": (refused.feedback, "neuron 'fc_neuron' reads 'back' of 1 step before"),
    "spikes of both signs": (refused.ternary, "neuron 'fc_neuron' reads"),
    "two thresholds": (refused.two_thresholds, "neuron 'fc_neuron' reads"),
}


@pytest.mark.parametrize("name", AT_THEIR_LINE)
def test_a_limit_is_named_with_its_line(name: str) -> None:
    network, x = build(AT_THEIR_LINE[name][0])
    with pytest.raises(LiftError) as error:
        lift(network, x, CALLINGS[0])
    assert error.value.message.startswith(AT_THEIR_LINE[name][1])
    assert marked(error.value.message), error.value.message


ELSEWHERE: dict[str, tuple[Network, str]] = {
    "noise": (refused.noise, "the network draws random numbers"),
    "membrane read by a layer": (refused.membrane_read, "a layer reads the membrane potential of 'fc_neuron'"),
    "statistics by hand": (refused.statistics_by_hand, "a neuron reads a value computed from several samples"),
    "kernel over time": (refused.kernel_over_time, "a convolution mixes steps: its kernel reaches over time"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_limit_is_named_with_a_line_of_the_code(name: str) -> None:
    network, x = build(ELSEWHERE[name][0])
    with pytest.raises(LiftError) as error:
        lift(network, x, CALLINGS[0])
    assert error.value.message.startswith(ELSEWHERE[name][1])
    assert re.search(r"hand_\w+\.py:\d+", error.value.message), error.value.message


REFUSED = [network for name, network in vars(refused).items() if inspect.isfunction(network)
           and network.__module__ == refused.__name__ and not name.startswith("_") and name != "neuron"] + [
    refused.decay_per_step, refused.threshold_per_step, refused.ternary, refused.two_thresholds,
]  # fmt: skip


@pytest.mark.parametrize("network", dict.fromkeys(REFUSED), ids=lambda network: network.__name__)
def test_no_way_of_calling_makes_a_limit_pass(network: Network) -> None:
    built, x = build(network)
    with pytest.raises(TraceError):
        fit(built, x[:1].expand(T, -1, -1) if network is refused.of_six_steps else x)


@pytest.mark.parametrize("network", [refused.pool_with_a_partial_window, refused.pool_that_leaves_out_its_padding])
def test_windows_of_unequal_size_are_named(network: Network) -> None:
    with pytest.raises(TraceError, match=r"^an average pooling has windows of unequal size \(ceil_mode"):
        fit(*build(network))


def test_a_network_of_more_steps_than_the_sample_says_how_many() -> None:
    network, x = build(refused.of_six_steps)
    still = x[:1].expand(T, -1, -1)
    with pytest.raises(TraceError) as error:
        fit(network, still)
    assert error.value.message == ("the sample must have as many steps as the network makes, 6 (it has 4)")
    assert fit(network, still[:1].expand(6, -1, -1)).convention == "takes one image, [N, ...], for all steps"


def test_the_number_of_steps_is_said_before_other_ways_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that calls such a network at each step is read as many times longer."""
    tried: list[str] = []

    def noted(network: nn.Module, x: Tensor, calling: Calling) -> Lifted:
        tried.append(calling.words)
        return lift(network, x, calling)

    monkeypatch.setattr(conventions, "lift", noted)
    network, x = build(refused.of_six_steps)
    with pytest.raises(TraceError, match=r"as many steps as the network makes, 6 \(it has 4\)"):
        fit(network, x[:1].expand(T, -1, -1))
    assert tried[-1] == "takes one image, [N, ...], for all steps" and tried.count(tried[-1]) == 1


def test_a_refusal_says_how_far_the_reading_came() -> None:
    network, x = build(refused.decay_per_step)
    with pytest.raises(LiftError) as error:
        lift(network, x, CALLINGS[0])
    assert error.value.reached == 1.0 and error.value.has_memory and error.value.ran
    with pytest.raises(LiftError) as error:
        lift(network, torch.rand(T, 2, 7), CALLINGS[0])
    assert not error.value.ran and error.value.message.startswith("the network fails in 'fc' (Linear), which takes ")
