"""Which trained parameters of a float network a student has as numbers, so that distillation trains them no further."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mdcompress.pipeline.networks import numbers_of_neurons, some_names
from mdcompress.tracing.conventions import fit


def test_a_learned_leak_of_a_librarys_neuron_is_one_and_weights_are_none() -> None:
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    learned, fixed = neuron.ParametricLIFNode(2.0, decay_input=False), neuron.LIFNode(2.0, decay_input=False)
    network = nn.Sequential(layer.Linear(6, 5), learned, layer.Linear(5, 4), fixed, layer.Linear(4, 3))
    functional.set_step_mode(network, "m")
    found = fit(network.eval(), torch.rand(4, 2, 6))
    assert numbers_of_neurons(found) == ("1.w",)
    learned.w.requires_grad_(False)
    assert numbers_of_neurons(found) == ()


def test_of_many_names_five_are_said() -> None:
    assert some_names(list("abcde")) == "a, b, c, d, e"
    assert some_names(list("abcdefg")) == "a, b, c, d, e and 2 more"
