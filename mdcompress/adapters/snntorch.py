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

from mdcompress.adapters.axes import Calling
from mdcompress.adapters.base import (
    Library,
    as_tuple,
    cast_inputs,
    empty_buffers,
    equals,
    has_base,
    installed_version,
    library_class,
    numbers,
)
from mdcompress.adapters.refusals import Refusal, always_refused
from mdcompress.adapters.samples import Sample, sample
from mdcompress.adapters.weights import OneToOne
from mdcompress.graph import NeuronModel

_LIBRARY = "snntorch"
_NEURON_BASES = ("SpikingNeuron", "LeakyParallel", "StateLeaky", "LinearLeaky", "AssociativeLeaky", "DeltaLeaky")
_STATES = {"Leaky": 1, "Lapicque": 1, "Synaptic": 2, "RLeaky": 2, "RSynaptic": 3}  # tensors passed from step to step
_STATE_NAMES = ("mem", "syn", "spk")
_AFTER_LEAK_SINCE = (0, 8)

_ALWAYS = (
    Refusal(
        _LIBRARY,
        ("Alpha",),
        "it subtracts its own second current from its membrane",
        "train with Synaptic",
    ),
    Refusal(
        _LIBRARY,
        ("SLSTM", "SConv2dLSTM"),
        "it is a gated recurrent cell",
        "train with RLeaky or RSynaptic",
    ),
    Refusal(
        _LIBRARY,
        ("LeakyParallel", "StateLeaky", "LinearLeaky", "AssociativeLeaky", "DeltaLeaky"),
        "it convolves over time without a reset",
        "train with Leaky",
    ),
)
_INHIBITION = Refusal(
    _LIBRARY,
    (),
    "only the neuron of largest membrane in a layer may fire",
    "train with inhibition=False",
    when="inhibition is True",
)
_STATE_QUANT = Refusal(
    _LIBRARY,
    (),
    "its membrane is rounded to a table of floats already, in which neither 0 nor the threshold is",
    "set state_quant=False: the recipe's membrane policy rounds it to integers",
    when="state_quant is set",
)
_GRADED = Refusal(
    _LIBRARY,
    (),
    "its spikes are scaled by graded_spikes_factor",
    "multiply the next layer's weights by the factor and set it to 1",
    when="graded_spikes_factor is not 1",
)
_BROKEN = Refusal(
    _LIBRARY,
    ("RSynaptic",),
    "its forward raises in snnTorch itself",
    "use reset_delay=True",
    when="reset_delay is False",
)
_ONE_TO_ONE = Refusal(
    _LIBRARY,
    ("RLeaky", "RSynaptic"),
    "V has neither one value nor one for each channel",
    "give V the shape [1], [C] after a linear layer, or [C, 1, 1] after a convolution",
    when="V has another shape",
)


class SnnTorchNeurons(Library):
    """Describes the neuron classes of `classes`; calls one step by step, with its states where it does not keep them.

    version: of the installed library, as text; by default looked up.
    """

    title, library = "snnTorch", _LIBRARY
    refusals = (*_ALWAYS, _INHIBITION, _STATE_QUANT, _GRADED, _BROKEN, _ONE_TO_ONE)

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
            return always_refused(self.refusals, name)
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
            outputs = as_tuple(module(current, *states))
            states = () if module.init_hidden else outputs[-len(states) :]
            spikes.append(outputs[0])
        return torch.stack(spikes)

    def calling(self, module: nn.Module) -> Calling:
        """One step after the other."""
        return Calling(("N",))

    def reset(self, module: nn.Module) -> None:
        """Empty its states: they are made anew at the next call."""
        empty_buffers(module, _STATE_NAMES)
        super().reset(module)

    def is_at_rest(self, module: nn.Module) -> bool:
        """Whether its states are zero."""
        return all(equals(module._buffers.get(name), 0.0) for name in _STATE_NAMES)

    def state_names(self, module: nn.Module) -> tuple[str, ...]:
        """The same in every class."""
        return _STATE_NAMES

    def as_layer(self, module: Any) -> nn.Module:
        """RLeaky's V, one weight for each neuron."""
        if library_class(module, _LIBRARY) != "RecurrentOneToOne":
            return super().as_layer(module)
        return OneToOne(numbers(module.V), tuple(module.V.shape), misfit=_ONE_TO_ONE)

    def samples(self) -> tuple[Sample, ...]:
        """Every class, with its resets."""
        return (
            sample(_LIBRARY, "Leaky", beta=0.9),
            sample(_LIBRARY, "Leaky", beta=0.9, reset_mechanism="zero"),
            sample(_LIBRARY, "Leaky", beta=0.9, reset_delay=False),
            sample(_LIBRARY, "Synaptic", alpha=0.9, beta=0.8),
            sample(_LIBRARY, "Synaptic", alpha=0.9, beta=0.8, reset_mechanism="zero"),
            sample(_LIBRARY, "Lapicque", beta=0.9),
            sample(_LIBRARY, "RLeaky", beta=0.9, linear_features=4),
            sample(_LIBRARY, "RSynaptic", alpha=0.9, beta=0.8, linear_features=4),
        )

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
        return _INHIBITION
    if module.state_quant:
        return _STATE_QUANT
    if numbers(getattr(module, "graded_spikes_factor", 1.0)) != 1.0:
        return _GRADED
    if name == "RSynaptic" and not getattr(module, "reset_delay", True):
        return _BROKEN
    return None


def _integrator(module: Any) -> NeuronModel:
    return NeuronModel(1.0, 1.0, 0.0, numbers(module.threshold), "greater", "none", 0.0, 0.0, 0.0)


def _forget(module: Any) -> None:
    """Put a hidden state back: snntorch.utils.reset does nothing for a copy of a module."""
    if hasattr(module, "reset_mem"):
        module.reset_mem()
        return
    names = [name for name in ("spk", "syn", "mem") if hasattr(module, name)]
    states = as_tuple(getattr(module, f"init_{library_class(module, _LIBRARY)}".lower())())
    for name, state in zip(names[-len(states) :], states, strict=True):
        setattr(module, name, state)
