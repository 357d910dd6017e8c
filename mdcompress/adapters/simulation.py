"""The canonical neuron in floats: what every adapter's description means, step by step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mdcompress.graph import NeuronModel, Numbers
from mdcompress.zoo.neurons import Surrogate, surrogate_derivative
from mdcompress.zoo.steps import steps_of

RecurrentMap = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Simulation:
    """A canonical run, all [T, N, ...]: spikes, potentials before reset (h), membranes after it (v), currents (i)."""

    spikes: Tensor
    potentials: Tensor
    membranes: Tensor
    synapses: Tensor


@dataclass(frozen=True)
class _State:
    membrane: Tensor
    synapse: Tensor
    spike: Tensor


def simulate(
    model: NeuronModel,
    currents: Tensor,
    *,
    recurrent: RecurrentMap | None = None,
    surrogate: Surrogate | None = None,
) -> Simulation:
    """Run the canonical float neuron on currents [T, N, ...] (equations: `NeuronModel`).

    recurrent: the map of a step's spikes [N, ...] to what they add to the next step's currents. surrogate: what stands
    in for the derivative of a spike, as in `mdcompress.zoo.LIF`; it changes no value. None: spikes have no gradient.
    """
    if recurrent is None and _is_plain(model) and not (currents.requires_grad and torch.is_grad_enabled()):
        return _simulated_plainly(model, currents)
    neuron = _Neuron(model, currents[0], surrogate)
    zero = torch.zeros_like(currents[0])
    state = _State(zero + neuron.initial, zero, zero)
    spikes, potentials, membranes, synapses = [], [], [], []
    for current in currents.unbind(0):
        x = current if recurrent is None else current + recurrent(state.spike)
        h, state = neuron.step(x, state)
        spikes.append(state.spike)
        potentials.append(h)
        membranes.append(state.membrane)
        if model.synapse_decay is not None:
            synapses.append(state.synapse)
    return Simulation(
        torch.stack(spikes),
        torch.stack(potentials),
        torch.stack(membranes),
        torch.stack(synapses) if synapses else currents,
    )


def membranes_after_reset(model: NeuronModel, potentials: Tensor, spikes: Tensor) -> Tensor:
    """v of a run: what is left of the potentials h after the reset of their own step (`NeuronModel`).

    A hard reset has no gradient where it takes place; a soft one has that of the spikes.

    Args:
        model: the neuron.
        potentials: h, [T, N, C, ...].
        spikes: of the same steps.
    """
    return _Neuron(model, potentials[0], None).after_reset(potentials, spikes)


def _is_plain(model: NeuronModel) -> bool:
    """Spikes of 0 and 1, a reset in the step of its spike, or none, no synaptic state, no floor."""
    options = (model.spike, model.timing, model.floor, model.rearm, model.output, model.synapse_decay)
    return options == ("binary", "same_step", "none", "plain", "spikes", None)


def _simulated_plainly(model: NeuronModel, currents: Tensor) -> Simulation:
    """The same numbers to the last bit, written where they stay; no gradient."""
    currents = currents.detach() if currents.requires_grad else currents
    neuron = _Neuron(model, currents[0], None)
    spikes, potentials, membranes = (torch.empty_like(currents) for _ in range(3))
    before: Tensor = neuron.initial
    for x, spike, h, v in zip(*map(steps_of, (currents, spikes, potentials, membranes)), strict=True):
        neuron.charge_into(h, x, before)
        neuron.fire_into(spike, h)
        neuron.reset_into(v, h, spike)
        before = v
    return Simulation(spikes, potentials, membranes, currents)


class _Neuron:
    """One step of a model; its numbers broadcast over a step [N, C, ...] of `like`. A reset is not differentiated."""

    def __init__(self, model: NeuronModel, like: Tensor, surrogate: Surrogate | None) -> None:
        self.model, self._like, self._surrogate = model, like, surrogate
        self.initial, self._decay, self._gain = (
            self._number(value) for value in (model.initial, model.decay, model.input_gain)
        )
        self._drive, self._threshold, self._floor = (
            self._number(value) for value in (model.drive, model.threshold, model.floor_value)
        )
        self._reset_value, self._soft_amount = self._number(model.reset_value), self._number(model.soft_amount)
        self._synapse_gain = self._number(model.synapse_gain)
        self._synapse_decay = None if model.synapse_decay is None else self._number(model.synapse_decay)

    def _number(self, value: Numbers) -> Tensor:
        tensor = _constant(value, self._like.dtype, self._like.device)
        return tensor.reshape(-1, *(1 for _ in self._like.shape[2:])) if tensor.dim() else tensor

    def charge_into(self, h: Tensor, x: Tensor, before: Tensor) -> None:
        """Put the potential of a plain neuron into h."""
        if before.dim() == h.dim():
            torch.mul(before, self._decay, out=h)
        else:
            h.copy_(self._decay * before)
        h.add_(x if self.model.input_gain == 1.0 else self._gain * x)
        if self.model.drive != 0.0:
            h.add_(self._drive)

    def fire_into(self, spike: Tensor, h: Tensor) -> None:
        """Put the spikes into `spike`, 0 or 1."""
        compare = torch.ge if self.model.comparator == "greater_equal" else torch.gt
        compare(h, self._threshold, out=spike)

    def reset_into(self, v: Tensor, h: Tensor, spike: Tensor) -> None:
        """Put the membrane after the reset into v."""
        match self.model.reset:
            case "hard":
                torch.lerp(
                    h, self._reset_value, spike, out=v
                )  # exact at 0 and 1, and a fraction of the time of `where`
            case "soft":
                torch.addcmul(h, spike, self._soft_amount, value=-1, out=v)
            case "none":
                v.copy_(h)

    def step(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        """Currents of a step and the state before it to the potential before reset and the state after it."""
        synapse = x
        if self._synapse_decay is not None:
            synapse = self._synapse_decay * state.synapse + self._synapse_gain * x
        h = self._charged(synapse, state)
        compared = h
        if self.model.rearm == "double":
            compared = h - self._threshold * (state.membrane > self._threshold).to(h.dtype)
        spike = self._fired(compared)
        after = self.after_reset(h, spike)
        return h, replace(state, membrane=after, synapse=synapse, spike=self._differentiable(spike, compared))

    def _charged(self, synapse: Tensor, state: _State) -> Tensor:
        h = self._decay * state.membrane + self._gain * synapse + self._drive
        if self.model.timing == "masked":
            h = h * (1.0 - (state.spike > 0).to(h.dtype))
        elif self.model.timing == "after_leak" and self.model.reset == "soft":
            h = h - self._soft_amount * state.spike.detach()
        return h.maximum(self._floor) if self.model.floor == "before_fire" else h

    def _fired(self, h: Tensor) -> Tensor:
        if self.model.output == "membrane":
            return torch.zeros_like(h)
        match self.model.spike:
            case "binary":
                fires = h >= self._threshold if self.model.comparator == "greater_equal" else h > self._threshold
                return fires.to(h.dtype)  # bool * float would round the float to float32
            case "floor":
                count = (h / self._threshold).trunc()
            case "round":
                count = (h / self._threshold).round()
        return count.clamp(min=0, max=self.model.max_spikes)

    def _differentiable(self, spike: Tensor, h: Tensor) -> Tensor:
        """The spikes; their gradient for the potentials is the surrogate's."""
        if self._surrogate is None or self.model.output == "membrane" or not h.requires_grad:
            return spike
        slope = self._slope(h.detach(), self._surrogate)
        spikes: Tensor = _WithSlope.apply(h, spike.detach(), slope)
        return spikes

    def _slope(self, h: Tensor, surrogate: Surrogate) -> Tensor:
        """What stands in for ds/dh: in units of the threshold; of counts 1 / threshold where there is one more."""
        reach = torch.where(self._threshold == 0, 1.0, self._threshold.abs())
        if self.model.spike == "binary":
            return surrogate_derivative((h - self._threshold) / reach, surrogate) / reach
        count, most = h / reach, self.model.max_spikes
        counting = (count >= 0.5) if most is None else (count >= 0.5) & (count <= most + 0.5)
        return counting.to(h.dtype) / reach

    def after_reset(self, h: Tensor, spike: Tensor) -> Tensor:
        """The membrane that the next step begins with, of one step or of all."""
        v = h
        if self.model.timing == "same_step":
            match self.model.reset:
                case "hard":
                    v = torch.where(spike > 0, self._reset_value, h)
                case "soft":
                    v = h - self._soft_amount * spike
                case "none":
                    pass
        return v.maximum(self._floor) if self.model.floor == "after_reset" else v


@functools.lru_cache(maxsize=4096)
def _constant(value: Numbers, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers of a neuron, made once for all of its steps; nobody writes to them."""
    with torch.inference_mode(False):  # gradients may flow by them later
        return torch.tensor(value, dtype=dtype, device=device)


class _WithSlope(torch.autograd.Function):
    """Forward: the spikes; backward: to the potentials, times the slope."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, spikes: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return spikes.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None
