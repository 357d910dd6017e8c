"""The canonical neuron in floats: what every adapter's description means, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdcompress.graph import NeuronModel, Numbers

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


def simulate(model: NeuronModel, currents: Tensor, *, recurrent: RecurrentMap | None = None) -> Simulation:
    """Run the canonical float neuron on currents [T, N, ...] (equations: `NeuronModel`).

    recurrent: the map of a step's spikes [N, ...] to what they add to the next step's currents.
    """
    neuron = _Neuron(model, currents[0])
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


class _Neuron:
    """One step of a model; its numbers broadcast over a step [N, C, ...] of `like`."""

    def __init__(self, model: NeuronModel, like: Tensor) -> None:
        self.model, self._like = model, like
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
        tensor = torch.tensor(value, dtype=self._like.dtype, device=self._like.device)
        return tensor.reshape(-1, *(1 for _ in self._like.shape[2:])) if tensor.dim() else tensor

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
        return h, replace(state, membrane=self._after_reset(h, spike), synapse=synapse, spike=spike)

    def _charged(self, synapse: Tensor, state: _State) -> Tensor:
        h = self._decay * state.membrane + self._gain * synapse + self._drive
        if self.model.timing == "masked":
            h = h * (1.0 - (state.spike > 0).to(h.dtype))
        elif self.model.timing == "after_leak" and self.model.reset == "soft":
            h = h - self._soft_amount * state.spike
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

    def _after_reset(self, h: Tensor, spike: Tensor) -> Tensor:
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
