"""Neurons alone, one linear layer each, are read as what they are. `benchmarks/drawn_neurons.py` draws more of them."""

from __future__ import annotations

import pytest

from benchmarks.drawn_neurons import count
from tests.support.styles import draw_neuron_alone

EACH = 20


@pytest.mark.parametrize("first", range(0, 80, EACH))
def test_drawn_neurons_are_read_as_what_they_are(first: int) -> None:
    tally = count(range(first, first + EACH), draw=draw_neuron_alone)
    assert tally.wrong == {}, "\n".join(f"draw_neuron_alone({seed}): {words}" for seed, words in tally.wrong.items())
    assert tally.refused == {}, "\n".join(
        f"draw_neuron_alone({seed}): {words}" for seed, words in tally.refused.items()
    )
    assert tally.recognised == EACH
