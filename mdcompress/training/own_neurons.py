"""A float network of the zoo's neurons -> the same network, inside a training, with each neuron's steps run together.

Outputs and gradients are those of `mdcompress.zoo.LIF` to the last bit. That one is written step by step, so that it
can be read and copied: about 25 operations a step and a graph through all of them. Here the surrogate's derivative is
found for all steps at once, and one product a step runs back through time.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mdcompress.adapters import simulate
from mdcompress.adapters.own import OwnNeurons
from mdcompress.graph import NeuronModel
from mdcompress.modes import modules_of
from mdcompress.tracing.unwrapping import unwrapped
from mdcompress.zoo.neurons import IF, LIF, Surrogate, surrogate_derivative


@contextlib.contextmanager
def own_neurons_at_once(network: nn.Module) -> Iterator[None]:
    """Inside, the network's neurons of the zoo run over all steps at once; what is put around or over them does not."""
    modules = modules_of(network).values() if unwrapped(network) is network else ()
    own = [module for module in modules if type(module) in (LIF, IF) and "forward" not in module.__dict__]
    for neuron in own:
        assert isinstance(neuron, LIF)
        neuron.__dict__["forward"] = functools.partial(run_at_once, neuron)
    try:
        yield
    finally:
        for neuron in own:
            neuron.__dict__.pop("forward", None)


def run_at_once(neuron: LIF, currents: Tensor) -> Tensor:
    """Currents [T, N, ...] to spikes, as `neuron.forward` gives them; so is their gradient.

    bfloat16 rounds a Python number before a sum, and a tensor of it after: it goes step by step.
    """
    if currents.dtype not in (torch.float32, torch.float64):
        return LIF.forward(neuron, currents)
    model = OwnNeurons().describe(neuron)
    assert model is not None
    if not (torch.is_grad_enabled() and currents.requires_grad):
        return simulate(model, currents).spikes
    spikes: Tensor = _AtOnce.apply(currents, model, neuron.surrogate)
    return spikes


class _AtOnce(torch.autograd.Function):
    """Forward: the canonical neuron over T. Backward: through time, no gradient through the reset's decision.

    With h_t = D v_{t-1} + g x_t + c and v_t the reset of h_t:  dh_t = ds_t f(d_t)/theta + m_t dh_{t+1},  dx_t = g dh_t,
    m_t = D where h_t was not put to the reset value, else 0;  f the surrogate, d_t = (h_t - theta)/theta.
    """

    @staticmethod
    def forward(ctx: Any, currents: Tensor, model: NeuronModel, surrogate: Surrogate) -> Tensor:
        run = simulate(model, currents)
        ctx.save_for_backward(run.spikes, run.potentials)
        ctx.model, ctx.surrogate = model, surrogate
        return run.spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        spikes, potentials = ctx.saved_tensors
        model: NeuronModel = ctx.model
        slope = _slope(potentials, _number(model.threshold), ctx.surrogate)
        to_potentials = slope.mul_(gradients[0])
        if model.threshold != 1.0:
            to_potentials.div_(_number(model.threshold))
        kept = (1.0 - spikes[:-1]).mul_(_number(model.decay)) if model.reset == "hard" else None
        for t in range(len(spikes) - 2, -1, -1):
            later = to_potentials[t + 1] * (_number(model.decay) if kept is None else kept[t])
            to_potentials[t].add_(later)
        return to_potentials if model.input_gain == 1.0 else to_potentials.mul_(_number(model.input_gain)), None, None


def _slope(potentials: Tensor, threshold: float, surrogate: Surrogate) -> Tensor:
    """`surrogate_derivative` in memory of its own."""
    distance = potentials - threshold
    if threshold != 1.0:
        distance.div_(threshold)
    if surrogate == "atan":
        return distance.mul_(math.pi).square_().add_(1.0).reciprocal_()
    return surrogate_derivative(distance, surrogate)


def _number(value: object) -> float:
    """What is one number in every neuron of the zoo."""
    assert isinstance(value, float)
    return value
