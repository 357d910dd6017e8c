"""Forms of research code, one at a time: each is taken as it is, and answers as it did."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters.base import fresh_copy
from mdcompress.errors import TraceError
from mdcompress.lifting import CanonicalNeuron, Lifted
from mdcompress.tracing.conventions import Fitted, fit
from tests.support import hand_networks as hand
from tests.support.hand_networks import Hand, maps, rows

WORDS = "h = 0.5*v + x, s = [h >= 0.5], v = h - 0.5*s"


def conv(padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(2, 3, 3, padding=padding)


def conv_of(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, 3, 3, padding=1)


def head(features: int = 108, classes: int = 3) -> nn.Linear:
    return nn.Linear(features, classes)


def over(network: Callable[[Hand, Tensor], object], **layers: nn.Module) -> Callable[[], Hand]:
    return lambda: Hand(network, **layers)


def pooled(function: Callable[[Tensor], Tensor], features: int) -> Callable[[], Hand]:
    return over(hand.pooled_by(function), conv=conv(), head=head(features))


def depth(pool: nn.Module) -> Callable[[], Hand]:
    layers = {"conv": nn.Conv3d(2, 3, (1, 3, 3), padding=(0, 1, 1)), "norm": nn.BatchNorm3d(3), "pool": pool}
    return over(hand.over_depth, **layers, head=head(27))


def readout(network: Callable[[Hand, Tensor], object], classes: int = 3) -> Callable[[], Hand]:
    return over(network, fc=nn.Linear(5, 4), head=head(4, classes))


CASES: dict[str, tuple[Callable[[], Hand], Tensor]] = {
    "steps in a list": (over(hand.of_steps_in_a_list, conv=conv(), head=head()), maps()),
    "norms of steps": (over(hand.with_norms_of_steps, conv=conv(), norms=hand.step_norms(), head=head()), maps()),
    "a norm by hand": (over(hand.with_a_norm_by_hand, conv=conv(), norm=nn.BatchNorm2d(3), head=head()), maps()),
    "standardised weights": (over(hand.plain, conv=hand.Standardised(2, 3, 3), head=head()), maps()),
    "re-parameterised weights": (over(hand.plain, conv=hand.Reparameterised(), head=head()), maps()),
    "a convolution that loops": (over(hand.over_all_steps, conv=hand.Looping(2, 3, 3, padding=1), head=head()), maps()),
    "padded alike": (over(hand.padded_before_the_conv(1, 1), conv=conv(padding=0), head=head()), maps()),
    "padded on one side": (over(hand.padded_before_the_conv(0, 1), conv=conv(padding=0), head=head(75)), maps()),
    "padded, and padding": (over(hand.padded_before_the_conv(1, 0), conv=conv(padding=1), head=head(147)), maps()),
    "padded pool": (pooled(lambda s: F.max_pool2d(F.pad(s, (1, 1, 1, 1)), 2), 48), maps()),
    "ceil_mode without effect": (pooled(lambda s: F.avg_pool2d(s, 2, ceil_mode=True), 27), maps()),
    "count_include_pad without effect": (pooled(lambda s: F.avg_pool2d(s, 2, count_include_pad=False), 27), maps()),
    "a pool that pads": (pooled(lambda s: F.max_pool2d(s, 3, 2, 1), 27), maps()),
    "adaptive": (pooled(lambda s: F.adaptive_avg_pool2d(s, 1), 3), maps()),
    "depth, largest": (depth(nn.MaxPool3d((1, 2, 2))), maps()),
    "depth, mean": (depth(nn.AvgPool3d((1, 2, 2))), maps()),
    "upsampled": (over(hand.upsampled, conv=conv(), second=nn.Conv2d(3, 2, 3, 2, 1), head=head(72)), maps()),
    "a skip": (over(hand.with_a_skip, conv=conv(), second=conv_of(3), third=nn.Conv2d(6, 2, 3), head=head(32)), maps()),
    "states in a dict": (over(hand.with_states_in_a_dict, fc=nn.Linear(5, 4), out=nn.Linear(4, 4)), rows()),
    "attention": (
        over(hand.attending, q=nn.Linear(6, 4), k=nn.Linear(6, 4), v=nn.Linear(6, 4), head=head(24)),
        maps(channels=6)[..., 0],
    ),
    "last membrane": (readout(hand.last_membrane), rows()),
    "mean membrane": (readout(hand.mean_membrane), rows()),
    "all membranes": (readout(hand.all_membranes), rows()),
    "sum of currents": (readout(hand.summed_membrane), rows()),
    "membrane behind a synapse": (readout(hand.filtered_membrane), rows()),
    "a list": (readout(hand.in_a_list), rows()),
    "a tuple": (readout(hand.in_a_tuple), rows()),
    "a dict": (readout(hand.in_a_dict), rows()),
    "[N, T, K], K = T": (readout(hand.batch_first, hand.T), rows()),
    "[N, K, T], K = T": (readout(hand.batch_first_with_time_last, hand.T), rows()),
    "recurrent, without": (
        over(hand.recurrent, fc=nn.Linear(5, 4), back=nn.Linear(4, 4, bias=False), head=head(4)), rows()
    ),
    "heights": (over(hand.of_heights, conv=conv(), second=nn.Conv2d(3, 2, 3), head=head(32)), maps()),
    "counts": (over(hand.of_counts, conv=conv(), head=head()), maps()),
}  # fmt: skip
OTHER_WORDS = {
    "heights": "h = 0.5*v + x, s = [h >= [0.25 … 1, 3 channels]], v = h - [0.25 … 1, 3 channels]*s",
    "counts": "h = 0.5*v + 2*x, s = floor(h / 1), at most 3, v = h - 1*s",
}
TURNED: dict[str, Callable[[Tensor], Tensor]] = {
    "[N, T, K], K = T": lambda y: y.transpose(0, 1),
    "[N, K, T], K = T": lambda y: y.permute(2, 0, 1),
    "a list": lambda y: y,
}


def answer(output: object) -> Tensor:
    match output:
        case Tensor():
            return output
        case list():
            return torch.stack(output)
        case tuple():
            found: Tensor = output[0]
            return found
        case dict():
            return next(iter(output.values()))  # type: ignore[no-any-return]
    raise AssertionError(type(output))


def fitted(network: nn.Module, x: Tensor) -> Fitted:
    found = fit(network, x)
    assert isinstance(found.network, Lifted), found.convention
    return found


def rates(network: nn.Module, x: Tensor) -> list[float]:
    """How often each neuron fires."""
    found: list[float] = []
    handles = [
        module.register_forward_hook(lambda _, __, s: found.append(float((s > 0).double().mean())))
        for module in network.modules()
        if isinstance(module, CanonicalNeuron) and module.model.output == "spikes"
    ]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    return found


def assert_same(found: Fitted, network: nn.Module, x: Tensor, turned: Callable[[Tensor], Tensor]) -> None:
    """The lifted network answers as the user's own does, for the sample and for other input, and its neurons fire."""
    for given in (x, x.flip(1) * 0.75):
        expected = turned(answer(fresh_copy(network).double()(given.double())))
        with torch.no_grad():
            torch.testing.assert_close(fresh_copy(found.network).double()(given.double()), expected)
    assert all(0.02 < rate < 0.98 for rate in rates(found.network, x)), rates(found.network, x)


@pytest.mark.parametrize("name", CASES)
def test_a_form_of_code_is_taken_as_it_is(name: str) -> None:
    build, x = CASES[name]
    network = build()
    found = fitted(network, x)
    assert_same(found, network, x, TURNED.get(name, lambda y: y))
    said = {finding.words for finding in found.findings}
    assert OTHER_WORDS.get(name, WORDS) in said, said


@pytest.mark.parametrize("name", ["norms of steps", "heights", "counts", "a skip", "attention", "mean membrane"])
def test_the_integers_of_a_form_of_code_are_equal(name: str) -> None:
    build, x = CASES[name]
    student = md.compress(build(), x, "8bit", [x])
    report = md.verify(student, x)
    assert report.equal and report.spikes > 0


@pytest.mark.parametrize("norms", [False, True])
def test_one_image_is_shown_at_all_steps(norms: bool) -> None:
    x = maps(still=True)
    if norms:
        network = Hand(hand.with_norms_of_steps_on_a_still_image, conv=conv(), norms=hand.step_norms(), head=head())
    else:
        network = Hand(hand.of_a_still_image, conv=conv(), head=head())
    found = fitted(network, x)
    assert found.convention == "takes one image, [N, ...], for all steps"
    assert {finding.words for finding in found.findings} == {WORDS}
    for given in (x, x.flip(1) * 0.75):
        expected = answer(fresh_copy(network).double()(given[0].double()))
        torch.testing.assert_close(fresh_copy(found.network).double()(given.double()), expected)


@pytest.mark.parametrize(
    ("function", "convention"),
    [
        (hand.of_one_number_a_step, "takes the batch first and one number at each step, [N, T]"),
        (hand.of_one_number_a_step_time_first, "takes one number at each step, [T, N]"),
    ],
)
def test_one_number_a_step_needs_no_axis_of_its_own(
    function: Callable[[Hand, Tensor], Tensor], convention: str
) -> None:
    """Called with one step at a time such a network runs too, and remembers nothing."""
    network = Hand(function, fc=nn.Linear(1, 4), head=head(4))
    x = 2 * rows(1)
    found = fitted(network, x)
    assert found.convention == convention and {finding.words for finding in found.findings} == {WORDS}
    assert all(0.02 < rate < 0.98 for rate in rates(found.network, x))
    given = x.squeeze(-1).T if function is hand.of_one_number_a_step else x.squeeze(-1)
    with torch.no_grad():
        torch.testing.assert_close(fresh_copy(found.network).double()(x.double()), network.double()(given.double()))


def test_weights_behind_spikes_of_a_height_are_scaled_by_it() -> None:
    build, x = CASES["heights"]
    network = build()
    second = fitted(network, x).network.get_submodule("second")
    scaled = network.get_submodule("second").get_parameter("weight") * torch.tensor([0.25, 0.5, 1.0]).reshape(3, 1, 1)
    assert torch.equal(second.get_parameter("weight"), scaled)


def test_computed_weights_are_held_as_numbers() -> None:
    build, x = CASES["re-parameterised weights"]
    network = build()
    (weight,) = (
        tensor for name, tensor in fitted(network, x).network.state_dict().items() if tensor.dim() == 4
    )  # fmt: skip
    large, small = (network.get_submodule(f"conv.{name}").get_parameter("weight") for name in ("large", "small"))
    by_hand = large.detach().clone()
    by_hand[:, :, 1, 1] += small.detach()[:, :, 0, 0]
    torch.testing.assert_close(weight, by_hand)


def test_what_spikes_pass_through_on_their_way_back_is_the_neurons_layer() -> None:
    build, x = CASES["recurrent, without"]
    network = build()
    (neuron,) = (module for module in fitted(network, x).network.modules() if isinstance(module, CanonicalNeuron))
    assert neuron.model.recurrent == "recurrent" and neuron.model.drive == 0.0
    assert neuron.get_submodule("recurrent").weight is network.get_submodule("back").weight


def test_an_encoder_of_the_input_is_taken_out_and_said() -> None:
    network = Hand(hand.with_an_encoder, fc=nn.Linear(5, 4), head=head(4))
    found = fitted(network, rows())
    encoder, neuron = found.findings
    assert encoder.name == "input"
    assert encoder.words == "a random encoder, taken out: every step reads what it would encode"
    assert neuron.words == WORDS
    without = Hand(hand.without_encoder, fc=nn.Linear(5, 4), head=head(4))
    expected = answer(fresh_copy(without).double()(rows().double()))
    torch.testing.assert_close(fresh_copy(found.network).double()(rows().double()), expected)


SAID = {
    "states in a dict": [WORDS, WORDS],
    "recurrent, without": [WORDS],
    "heights": [OTHER_WORDS["heights"], WORDS],
}


@pytest.mark.parametrize("name", SAID)
def test_each_neuron_is_said_in_words_at_its_line(name: str) -> None:
    build, x = CASES[name]
    neurons = [each for each in fitted(build(), x).findings if "s = " in each.words]
    assert [each.words for each in neurons] == SAID[name]
    assert all(each.place.startswith("hand_networks.py:") for each in neurons)


def test_a_pool_of_a_map_that_is_padded_on_one_side_is_refused() -> None:
    network = pooled(lambda s: F.max_pool2d(F.pad(s, (0, 1, 0, 1)), 2, 2), 27)()
    with pytest.raises(TraceError, match=r"^a pooling reads a map with zeros around it \(\w*hand_networks.py:\d+\)"):
        fit(network, maps())
