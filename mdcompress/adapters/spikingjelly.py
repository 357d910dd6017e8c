"""SpikingJelly 2.x, `spikingjelly.activation_based.neuron`; the equations of 0.0.0.0.14 are the same.

LIF charge: h = v + (x - (v - v_reset))/tau with decay_input, else v - (v - v_reset)/tau + x; comparison >=; reset in
the same step, hard to v_reset or, where that is None, soft by v_threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.adapters.base import has_base, library_class, numbers
from mdcompress.adapters.refusals import (
    SPIKINGJELLY,
    SPIKINGJELLY_ANALOG,
    SPIKINGJELLY_DECODE,
    SPIKINGJELLY_RESIDUAL,
    SPIKINGJELLY_SIMPLE_SOFT,
    Refusal,
    always_refused,
)
from mdcompress.graph import NeuronModel, Numbers, per_channel

_LIBRARY = "spikingjelly"
_NEURON_BASES = ("BaseNode", "SimpleBaseNode", "NonSpikingBaseNode", "OutlierAwareThresholdNode", "FlexSN")


class SpikingJellyNeurons:
    """Describes the neuron classes of `classes`; runs one in the step mode that it has."""

    @property
    def classes(self) -> dict[str, Callable[[Any], NeuronModel | Refusal]]:
        """What describes which class."""
        return {
            "IFNode": _integrator,
            "SimpleIFNode": _simple,
            "HalfThresholdIFNode": _half_threshold,
            "ActivationAwareIFNode": _activation_aware,
            "LIFNode": _leaky,
            "SimpleLIFNode": _simple,
            "OTTTLIFNode": _leaky,
            "SLTTLIFNode": _leaky,
            "ParametricLIFNode": _parametric,
            "CUBALIFNode": _current_based,
            "ILIFNode": _multi_level,
            "KLIFNode": _scaled,
            "MPBNLIFNode": _normalised,
            "NonSpikingIFNode": _silent,
            "NonSpikingLIFNode": _silent,
        }

    def describe(self, module: nn.Module) -> NeuronModel | Refusal | None:
        """Read the parameters off the module."""
        name = library_class(module, _LIBRARY)
        if name is None:
            return None
        if name in self.classes:
            surrogate = getattr(module, "surrogate_function", None)
            return self.classes[name](module) if getattr(surrogate, "spiking", True) else SPIKINGJELLY_ANALOG
        refusal = always_refused(SPIKINGJELLY, name)
        is_neuron = any(name in row.classes for row in SPIKINGJELLY) or has_base(module, _LIBRARY, _NEURON_BASES)
        return refusal if is_neuron else None

    def run(self, module: Any, currents: Tensor) -> Tensor:
        """Reset its memories; call it with all steps in step mode 'm', with one after the other in 's'.

        One that does not fire starts anew at every call, and gives its membranes as a list.
        """
        if has_base(module, _LIBRARY, ("NonSpikingBaseNode",)):
            module.decode = None
            return torch.stack(module(currents))
        module.reset()
        if module.step_mode == "m":
            spikes: Tensor = module(currents)
            return spikes
        return torch.stack([module(current) for current in currents])


def _reset_to(module: Any, base: NeuronModel) -> NeuronModel:
    """The base with SpikingJelly's reset: v(0) = v_reset, or soft."""
    if module.v_reset is None:
        return replace(base, reset="soft")
    reset = float(module.v_reset)
    return replace(base, reset="hard", reset_value=reset, initial=reset)


def _integrator(module: Any) -> NeuronModel:
    threshold = numbers(module.v_threshold)
    plain = NeuronModel(1.0, 1.0, 0.0, threshold, "greater_equal", "none", 0.0, threshold, 0.0)
    return _reset_to(module, plain)


def _leak(module: Any, *, rate: float) -> NeuronModel:
    """h = (1 - rate)*v + (rate or 1)*x + rate*v_reset."""
    rest = module.v_reset or 0.0
    gain = rate if module.decay_input else 1.0
    return replace(_integrator(module), decay=1.0 - rate, input_gain=gain, drive=rate * rest)


def _leaky(module: Any) -> NeuronModel:
    return _leak(module, rate=1.0 / module.tau)


def _parametric(module: Any) -> NeuronModel:
    return _leak(module, rate=float(module.w.detach().double().sigmoid()))


def _simple(module: Any) -> NeuronModel | Refusal:
    """The teaching classes: v(0) = 0 whatever v_reset is."""
    if not hasattr(module, "tau"):
        return replace(_integrator(module), initial=0.0)
    return SPIKINGJELLY_SIMPLE_SOFT if module.v_reset is None else replace(_leaky(module), initial=0.0)


def _silent(module: Any) -> NeuronModel | Refusal:
    """v = v + x, or v + (x - v)/tau; put out, or decoded over time by its largest, mean or last value."""
    if module.decode == "max-abs-mem":
        return SPIKINGJELLY_DECODE
    rate = 1.0 / module.tau if hasattr(module, "tau") else None
    decay, gain = (1.0, 1.0) if rate is None else (1.0 - rate, rate)
    return NeuronModel(decay, gain, 0.0, 1.0, "greater_equal", "none", 0.0, 0.0, 0.0, output="membrane")


def _half_threshold(module: Any) -> NeuronModel:
    return replace(_integrator(module), initial=module.v_threshold / 2.0)


def _activation_aware(module: Any) -> NeuronModel:
    """s = [h + v_offset >= v_threshold]; the soft reset subtracts v_threshold."""
    model = _integrator(module)
    threshold, offset = module.v_threshold.double(), module.v_offset.double()
    return replace(model, threshold=numbers(threshold - offset), soft_amount=numbers(threshold))


def _current_based(module: Any) -> NeuronModel:
    return replace(_integrator(module), decay=module.v_decay, synapse_decay=module.c_decay)


def _multi_level(module: Any) -> NeuronModel:
    most = int(module.surrogate_function.max_spike_count)
    return replace(_leaky(module), spike="round", max_spikes=most)


def _scaled(module: Any) -> NeuronModel:
    """KLIF: h = relu(k*charge). With scale_reset v is stored divided by k: the canonical v is k times that."""
    k, plain = float(module.k.detach()), _leaky(module)
    model = replace(
        plain,
        input_gain=_times(plain.input_gain, k),
        drive=_times(plain.drive, k),
        floor="before_fire",
    )
    if not module.scale_reset:
        return replace(model, decay=_times(plain.decay, k))
    return replace(model, reset_value=_times(plain.reset_value, k), initial=_times(plain.initial, k))


def _normalised(module: Any) -> NeuronModel | Refusal:
    """Batch norm on the membrane: h = gamma/sigma*(charge - mean) + beta; or the norm folded into the threshold."""
    plain = _leaky(module)
    if module.normalize_residual:
        return SPIKINGJELLY_RESIDUAL
    if module.learnable_vth:
        plain = replace(plain, threshold=numbers(module.a.detach().double().exp()))
    elif module.fold_bn:
        deviation = (module.sigma2.double() + module.eps).sqrt()
        folded = (module.v_threshold - module.beta.double()) * deviation / module.gamma.double() + module.mu.double()
        plain = replace(plain, threshold=numbers(folded))
    if isinstance(module.vbn, nn.Identity):
        return plain
    norm = module.vbn
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.detach().double() - scale * norm.running_mean.double()
    return replace(
        plain,
        decay=numbers(scale * plain.decay),
        input_gain=numbers(scale * plain.input_gain),
        drive=numbers(scale * plain.drive + shift),
    )


def _times(value: Numbers, factor: float) -> Numbers:
    return value * factor if isinstance(value, float) else tuple(x * factor for x in per_channel(value))
