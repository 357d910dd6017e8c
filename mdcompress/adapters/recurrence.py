"""What a neuron does to its input and to its own last spikes before it integrates them, as plain torch layers.

Most neurons do nothing to their input. Those that hold weights do the same as a linear layer before a neuron:
`input_layer`. What the spikes of the step before add to the currents of a step is `recurrent_layer`: a linear layer, a
convolution, one weight for each neuron (`weights.OneToOne`), or the submodule that the neuron names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdcompress.adapters.base import fresh_copy
from mdcompress.adapters.lookup import library_of
from mdcompress.adapters.simulation import RecurrentMap
from mdcompress.graph import NeuronModel


def input_layer(module: nn.Module) -> nn.Linear | None:
    """The weights that a neuron applies to its input by itself; None where it reads currents."""
    return library_of(module).input_layer(module)


def recurrent_layer(module: nn.Module, model: NeuronModel) -> nn.Module:
    """What maps the spikes of a step, [N, ...], to what they add to the next step's currents."""
    assert model.recurrent is not None, "only a recurrent neuron has one"
    found = library_of(module).recurrent_layer(module, model.recurrent)
    return library_of(found).as_layer(found)


def recurrence_of(module: nn.Module, model: NeuronModel) -> RecurrentMap | None:
    """`recurrent_layer` as a function of float64 spikes that keeps their shape; None for a neuron without one."""
    if model.recurrent is None:
        return None
    layer = fresh_copy(recurrent_layer(module, model))
    return lambda spikes: layer.to(spikes.device)(spikes).reshape(spikes.shape)


def with_recurrence(currents: Tensor, spikes: Tensor, recurrence: RecurrentMap | None) -> Tensor:
    """The currents [T, N, ...] of a neuron, with what its own spikes [T, N, ...] of the step before add to each step.

    Fed its own spikes, every neuron of a layer can be compared alone: what one rounds does not reach the others.
    """
    if recurrence is None:
        return currents
    before = torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])
    return currents + recurrence(before.flatten(0, 1)).reshape(currents.shape)
