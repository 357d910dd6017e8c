"""`NeuronModel`: made by `lif`, printed and read again; a word that there is not is refused when it is made."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from intsnn.errors import UsageError
from mdcompress.adapters import describe_neuron
from mdcompress.graph import NeuronModel
from mdcompress.zoo import IF, LIF


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("decay_input", [False, True])
def test_lif_is_the_equation_of_the_projects_own_neuron(reset: str, decay_input: bool) -> None:
    options = {"tau": 3.0, "threshold": 0.5, "reset": reset, "decay_input": decay_input}
    options |= {"reset_value": -0.25} if reset == "hard" else {}
    expected = describe_neuron(LIF(**options))  # type: ignore[arg-type]  # a table of options
    made = NeuronModel.lif(**options)  # type: ignore[arg-type]
    assert expected is not None and made.numbers.keys() == expected.numbers.keys()
    unread = set() if reset == "soft" else {"soft_amount"}
    for name in made.numbers.keys() - unread:
        assert made.numbers[name] == expected.numbers[name], name
    assert (made.reset, made.comparator) == (expected.reset, expected.comparator)


def test_a_neuron_without_leak_is_one_of_endless_memory() -> None:
    expected = describe_neuron(IF(threshold=0.5, reset="soft"))
    assert NeuronModel.lif(tau=math.inf, threshold=0.5, reset="soft") == expected


def test_what_is_not_given_is_a_plain_neuron() -> None:
    plain = NeuronModel(decay=0.5)
    assert (plain.threshold, plain.reset, plain.comparator, plain.input_gain) == (1.0, "hard", "greater_equal", 1.0)


@pytest.mark.parametrize(
    "model",
    [
        NeuronModel.lif(),
        NeuronModel(decay=(0.5, 0.25), reset="soft", soft_amount=1.0, synapse_decay=0.5, max_spikes=None),
    ],
)
def test_a_printed_neuron_is_read_again(model: NeuronModel) -> None:
    assert NeuronModel.from_repr(repr(model)) == model


def test_a_text_may_be_the_short_form_too() -> None:
    assert NeuronModel.from_repr("NeuronModel.lif(tau=4.0, reset='soft')") == NeuronModel.lif(tau=4.0, reset="soft")


Make = Callable[[], NeuronModel]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NeuronModel(comparator=">"), "write comparator='greater'"),  # type: ignore[arg-type]
        (lambda: NeuronModel(reset="sotf"), "reset of a neuron must be hard, soft or none (got 'sotf')"),  # type: ignore[arg-type]
        (lambda: NeuronModel(spike="Binary"), "write spike='binary'"),  # type: ignore[arg-type]
        (lambda: NeuronModel(decay=(0.5, 0.5), threshold=(1.0, 1.0, 1.0)), "got decay 2, threshold 3"),
        (lambda: NeuronModel.lif(tau=1.0), "tau must be > 1 (got 1.0)"),
        (lambda: NeuronModel.lif(tau=math.inf, decay_input=True), "finite with decay_input"),
        (lambda: NeuronModel.lif(reset="hrad"), "write reset='hard'"),  # type: ignore[arg-type]
        (lambda: NeuronModel.from_repr("NeuronModel(decai=1)"), "write `decay`"),
        (lambda: NeuronModel.from_repr("lif(tau=__import__('os'))"), "in Python's spelling"),
        (lambda: NeuronModel.from_repr("print('x')"), "in Python's spelling"),
        (lambda: NeuronModel.from_repr("dict(a=1)"), "must be NeuronModel(…) or lif(…)"),
        (lambda: NeuronModel.from_repr("("), "in Python's spelling"),
    ],
)
def test_a_wrong_word_or_number_is_refused_when_the_neuron_is_made(make: Make, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert said in str(caught.value)
