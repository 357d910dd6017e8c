"""The float network with a student's stored words: its neuron by hand, and what it adds up to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks.experiment_store import Store
from benchmarks.experiment_students import Workplace
from benchmarks.membrane_rounding import RoundedNeuron, compared, rounding_mismatch
from mdcompress.compression import compress
from mdcompress.recipe import load_recipe
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF, digits_snn
from tests.support.experiment_cases import write_recipe


def test_membranes_are_stored_in_words() -> None:
    """Steps of 0.25 in 3 bits reach from -1 to 0.75; decay 1/2.

    h: 0.4 | 0.25 + 0.4 = 0.65 (0.5 stored: 0.4 -> 0.5) | 0.375 + 0.6 = 0.975 (0.65 -> 0.75), no spike
    and, downwards: -3 -> -1 stored | -0.5 + 1.6 = 1.1 fires.
    """
    neuron = RoundedNeuron(LIF(tau=2.0), step=0.25, bits=3)
    spikes = neuron(torch.tensor([[0.4], [0.4], [0.6]]))
    assert neuron.potentials.flatten().tolist() == pytest.approx([0.4, 0.65, 0.975])
    assert spikes.flatten().tolist() == [0, 0, 0]
    spikes = neuron(torch.tensor([[-3.0], [1.6], [0.4]]))
    assert neuron.potentials.flatten().tolist() == pytest.approx([-3.0, 1.1, 0.4])  # hard reset to 0
    assert spikes.flatten().tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "neuron", [LIF(), LIF(reset="soft"), IF(reset="none"), LIF(decay_input=True, reset_value=-0.5)]
)
def test_fine_words_make_the_float_neuron(neuron: LIF) -> None:
    x = torch.randn(6, 50, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(RoundedNeuron(neuron, step=2.0**-40, bits=50)(x), neuron(x))


def test_the_mismatch_falls_with_the_bits_of_the_membrane_and_the_network_is_left_as_it_is() -> None:
    x = torch.rand(4, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network = digits_snn(channels=4).eval()
    graph, before = trace(network, x[:, :2]), network(x)
    found = []
    for bits in (2, 4, 8):
        recipe = load_recipe("4bit", changes=[f"quantize.membrane.bit_width={bits}"])
        student = compress(network, x[:, :2], recipe, [x])
        found.append(rounding_mismatch(student, network, graph, [(x, torch.zeros(16, dtype=torch.long))]))
    assert found[0] > found[1] > found[2] > 0
    assert torch.equal(network(x), before) and observe(network, graph, x).spikes


def test_each_recipe_has_a_row(tmp_path: Path) -> None:
    paths = [write_recipe(tmp_path, setting=f"{bits}bit", bits=bits) for bits in (2, 6)]
    place = Workplace(None, tmp_path / "work", Store(tmp_path / "results.jsonl"))
    text = compared({"loaders": paths}, {"loaders": 2}, place)
    figures = [
        [float(number) for number in re.findall(r"(\d\.\d{4}) ±", row)]
        for row in text.splitlines()
        if row.startswith("| loaders")
    ]
    assert len(figures) == 2 and figures[0][1] > figures[1][1] > 0
