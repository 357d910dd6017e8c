"""snnTorch: Leaky, Synaptic, Lapicque, RLeaky, RSynaptic; comparison `>`, a reset one step late by default.

From 0.8: subtract is h = beta*v + x - theta*s_prev (after the leak); zero is an ordinary hard reset for Leaky, and
discards the step's input as well (masked) for the others. Up to 0.7 the two ways of keeping the state differ: with
init_hidden it is as above; with the state passed by hand zero is masked, and subtract an ordinary soft reset for Leaky
and RLeaky.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.adapters.base import cast_inputs, has_base, installed_version, library_class, numbers
from mdcompress.adapters.refusals import (
    SNNTORCH,
    SNNTORCH_BROKEN,
    SNNTORCH_GRADED,
    SNNTORCH_INHIBITION,
    SNNTORCH_STATE_QUANT,
    Refusal,
    always_refused,
)
from mdcompress.graph import NeuronModel

_LIBRARY = "snntorch"
_NEURON_BASES = ("SpikingNeuron", "LeakyParallel", "StateLeaky", "LinearLeaky", "AssociativeLeaky", "DeltaLeaky")
_STATES = {"Leaky": 1, "Lapicque": 1, "Synaptic": 2, "RLeaky": 2, "RSynaptic": 3}  # tensors passed from step to step
_AFTER_LEAK_SINCE = (0, 8)


class SnnTorchNeurons:
    """Describes the neuron classes of `classes`; calls one step by step, with its states where it does not keep them.

    version: of the installed library, as text; by default looked up.
    """

    def __init__(self, version: str | None = None) -> None:
        self._version = version

    @property
    def classes(self) -> dict[str, Callable[[Any], NeuronModel]]:
        """What describes which class."""
        return {
            "Leaky": self._leaky,
            "Synaptic": self._synaptic,
            "Lapicque": self._lapicque,
            "RLeaky": self._recurrent_leaky,
            "RSynaptic": self._recurrent_synaptic,
        }

    def describe(self, module: nn.Module) -> NeuronModel | Refusal | None:
        """Read the parameters off the module."""
        name = library_class(module, _LIBRARY)
        if name is None or not (name in _STATES or has_base(module, _LIBRARY, _NEURON_BASES)):
            return None
        if name not in self.classes:
            return always_refused(SNNTORCH, name)
        return _option_refused(module, name) or self.classes[name](module)

    def run(self, module: Any, currents: Tensor) -> Tensor:
        """Call it with one step after the other, from states of zero."""
        name = library_class(module, _LIBRARY)
        assert name is not None
        if hasattr(module, "recurrent"):
            cast_inputs(module.recurrent, currents.dtype)
        states: tuple[Tensor, ...] = ()
        if module.init_hidden:
            _forget(module)
        else:
            states = tuple(torch.zeros_like(currents[0]) for _ in range(_STATES[name]))
        spikes = []
        for current in currents:
            result = module(current, *states)
            outputs = result if isinstance(result, tuple) else (result,)
            states = () if module.init_hidden else outputs[-len(states) :]
            spikes.append(outputs[0])
        return torch.stack(spikes)

    def _leaky(self, module: Any) -> NeuronModel:
        return self._reset_of(module, replace(_integrator(module), decay=numbers(module.beta.clamp(0, 1))))

    def _synaptic(self, module: Any) -> NeuronModel:
        return replace(self._leaky(module), synapse_decay=numbers(module.alpha.clamp(0, 1)))

    def _lapicque(self, module: Any) -> NeuronModel:
        """h = (1 - dt/RC)*v + dt/C*x."""
        step, resistance, capacity = (x.double() for x in (module.time_step, module.R, module.C))
        decay = numbers(1.0 - step / (resistance * capacity))
        gain = numbers(resistance * (1.0 / (resistance * capacity)) * step)
        return self._reset_of(module, replace(_integrator(module), decay=decay, input_gain=gain))

    def _recurrent_leaky(self, module: Any) -> NeuronModel:
        return replace(self._leaky(module), recurrent="recurrent")

    def _recurrent_synaptic(self, module: Any) -> NeuronModel:
        return replace(self._synaptic(module), recurrent="recurrent")

    def _reset_of(self, module: Any, model: NeuronModel) -> NeuronModel:
        """The reset mechanism, which stands at other places in other versions and classes."""
        kind = module.reset_mechanism
        if kind == "none":
            return model
        delayed, name = getattr(module, "reset_delay", True), library_class(module, _LIBRARY)
        as_since_0_8 = module.init_hidden or self._numbers_of_version() >= _AFTER_LEAK_SINCE
        if kind == "subtract":
            soft = replace(model, reset="soft", soft_amount=model.threshold)
            if not delayed:
                return replace(soft, rearm="double")
            return soft if not as_since_0_8 and name in ("Leaky", "RLeaky") else replace(soft, timing="after_leak")
        plain = not delayed or (as_since_0_8 and name == "Leaky")
        return replace(model, reset="hard", timing="same_step" if plain else "masked")

    def _numbers_of_version(self) -> tuple[int, ...]:
        version = self._version or installed_version(_LIBRARY) or "1"
        return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _option_refused(module: Any, name: str) -> Refusal | None:
    if module.inhibition:
        return SNNTORCH_INHIBITION
    if module.state_quant:
        return SNNTORCH_STATE_QUANT
    if numbers(getattr(module, "graded_spikes_factor", 1.0)) != 1.0:
        return SNNTORCH_GRADED
    if name == "RSynaptic" and not getattr(module, "reset_delay", True):
        return SNNTORCH_BROKEN
    return None


def _integrator(module: Any) -> NeuronModel:
    return NeuronModel(1.0, 1.0, 0.0, numbers(module.threshold), "greater", "none", 0.0, 0.0, 0.0)


def _forget(module: Any) -> None:
    """Put a hidden state back: snntorch.utils.reset does nothing for a copy of a module."""
    if hasattr(module, "reset_mem"):
        module.reset_mem()
        return
    names = [name for name in ("spk", "syn", "mem") if hasattr(module, name)]
    start = getattr(module, f"init_{library_class(module, _LIBRARY)}".lower())()
    states = start if isinstance(start, tuple) else (start,)
    for name, state in zip(names[-len(states) :], states, strict=True):
        setattr(module, name, state)
