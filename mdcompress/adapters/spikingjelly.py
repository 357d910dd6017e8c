"""SpikingJelly, 0.0.0.0.4 to 2.x: `spikingjelly.activation_based.neuron` and, before it, `spikingjelly.clock_driven`.

LIF charge: h = v + (x - (v - v_reset))/tau with decay_input, else v - (v - v_reset)/tau + x; comparison >=; reset in
the same step, hard to v_reset or, where that is None, soft by v_threshold. All releases share these equations; what
differs is who takes all steps (a class before `activation_based`, a step mode since) and where state is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

import torch
from torch import Tensor, nn

import mdcompress.adapters.spikingjelly_refusals as rows
from mdcompress.adapters.axes import Calling, Reduces
from mdcompress.adapters.base import LayerClasses, Library, equals, has_base, library_class, numbers
from mdcompress.adapters.protocol import method_of
from mdcompress.adapters.refusals import Refusal, always_refused
from mdcompress.adapters.samples import Sample, sample
from mdcompress.adapters.weights import OneToOne, composed, linear_of, weighted_sum
from mdcompress.graph import NeuronModel, Numbers, each_channel

_LIBRARY = rows.LIBRARY
_NEURONS, _LAYERS = "spikingjelly.activation_based.neuron", "spikingjelly.activation_based.layer"
_OLD_LAYERS, _COMPILED = "spikingjelly.clock_driven.layer", "spikingjelly.cext.neuron"
_LINEAR, _ELEMENTWISE = "LinearRecurrentContainer", "ElementWiseRecurrentContainer"
_DECODED: dict[object, Reduces] = {"mean-mem": "mean", "max-mem": "max", "last_mem": "last"}
_NEURON_BASES = ("BaseNode", "SimpleBaseNode", "NonSpikingBaseNode", "OutlierAwareThresholdNode", "FlexSN")
_DROPOUTS = ("Dropout", "Dropout2d", "MultiStepDropout", "MultiStepDropout2d")  # one mask a pass, none in evaluation
_MULTI_STEP = {f"MultiStep{name}": name for name in ("IFNode", "LIFNode", "ParametricLIFNode")}  # of `clock_driven`
_ATTRIBUTES = {"v", "spike", "monitor", "v_reset"}  # of a neuron of 0.0.0.0.4
_ALL_STEPS = (*_MULTI_STEP, "_MultiStepThresholdDependentBatchNormBase")


class SpikingJellyNeurons(Library):
    """Describes the neuron classes of `classes`; runs one in the step mode that it has.

    A state is kept in a dictionary beside the module, `_memories`; what it is at rest in `_memories_rv`. In
    0.0.0.0.4 it is an attribute.
    """

    title, library = "SpikingJelly", _LIBRARY
    layers = LayerClasses(
        (_LAYERS, _OLD_LAYERS),
        rescaled=("WSConv2d", "WSLinear"),
        dropouts=_DROPOUTS,
        step_scaled=tuple(f"TemporalEffectiveBatchNorm{axes}d" for axes in (1, 2, 3)),
    )
    refusals = (
        *rows.ALWAYS,
        rows.ANALOG,
        rows.DECODE,
        rows.RESIDUAL,
        rows.SIMPLE_SOFT,
        rows.CONTAINER,
        rows.OTHER_FUNCTION,
        rows.COMPILED,
        rows.LAVA,
    )

    @property
    def classes(self) -> dict[str, Callable[[Any], NeuronModel | Refusal]]:
        """What describes which class; a multi-step class of old is described as the one that it repeats."""
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
            _LINEAR: self._linear_container,
            _ELEMENTWISE: self._elementwise_container,
        }

    def describe(self, module: nn.Module) -> NeuronModel | Refusal | None:
        """Read the parameters off the module."""
        name = library_class(module, _LIBRARY)
        if name is None:
            return None
        name = _MULTI_STEP.get(name, name)
        if name in self.classes:
            return _refused_by_option(module) or self.classes[name](module)
        is_neuron = any(name in row.classes for row in self.refusals) or has_base(module, _LIBRARY, _NEURON_BASES)
        return always_refused(self.refusals, name) if is_neuron else None

    def run(self, module: Any, currents: Tensor) -> Tensor:
        """Reset its memories; call it with all steps in step mode 'm', with one after the other in 's'.

        One that does not fire starts anew at every call, and gives its membranes as a list.
        """
        if has_base(module, _LIBRARY, ("NonSpikingBaseNode",)):
            module.decode = None
            return torch.stack(module(currents))
        for part in module.modules():
            reset = method_of(part, "reset")
            if reset is not None:
                reset()
        _let_read_currents(module)
        if getattr(module, "backend", "torch") == "cupy":  # the same equation, which runs on the CPU too
            module.backend = "torch"
        if _takes_all_steps(module):
            spikes: Tensor = module(currents)
            return spikes
        return torch.stack([module(current) for current in currents])

    def calling(self, module: nn.Module) -> Calling:
        """By the step mode; one that does not fire takes all steps, and may decode them."""
        if has_base(module, _LIBRARY, ("NonSpikingBaseNode",)):
            return Calling(("T", "N"), reduces=_DECODED.get(getattr(module, "decode", None), "none"))
        return Calling(("T", "N") if _takes_all_steps(module) else ("N",))

    def reset(self, module: nn.Module) -> None:
        """What it remembers becomes what it remembers at rest."""
        if "_memories" in vars(module) and "_memories_rv" in vars(module):
            module.__dict__["_memories"] = copy.deepcopy(module.__dict__["_memories_rv"])
        elif _keeps_attributes(module):
            module.__dict__.update(_attributes_at_rest(module))
        super().reset(module)

    def is_at_rest(self, module: Any) -> bool:
        """Whether it remembers nothing else than at rest."""
        if _keeps_attributes(module):
            return equals(module.v, _attributes_at_rest(module)["v"])
        rest = module.__dict__.get("_memories_rv", {})
        return all(equals(value, rest.get(name)) for name, value in module.__dict__.get("_memories", {}).items())

    def input_layer(self, module: Any) -> nn.Linear | None:
        """A linear container's weights on its input."""
        if library_class(module, _LIBRARY) != _LINEAR:
            return None
        weight, bias = _contained(module)
        return linear_of(weight[:, : -module.sub_module_out_features], bias)

    def recurrent_layer(self, module: Any, name: str) -> nn.Module:
        """A container's weights on its own last spikes."""
        match library_class(module, _LIBRARY):
            case "LinearRecurrentContainer":
                return linear_of(_contained(module)[0][:, -module.sub_module_out_features :], None)
            case "ElementWiseRecurrentContainer":
                factors = weighted_sum(module.element_wise_function)
                assert factors is not None, "described only where it is a weighted sum"
                return OneToOne(factors[0] / factors[1])
            case _:
                return super().recurrent_layer(module, name)

    def samples(self) -> tuple[Sample, ...]:
        """One of every class."""
        node = sample(_NEURONS, "IFNode")
        plain = ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode", "KLIFNode", "ILIFNode", "OTTTLIFNode",
                 "SLTTLIFNode", "SimpleIFNode")  # fmt: skip
        return (
            *(sample(_NEURONS, name) for name in plain),
            sample(_NEURONS, "SimpleLIFNode", tau=2.0, decay_input=True),
            sample(_NEURONS, "HalfThresholdIFNode", v_threshold=1.0),
            sample(_NEURONS, "ActivationAwareIFNode", v_threshold=1.0, v_offset=0.25),
            sample(_NEURONS, "MPBNLIFNode", out_features=1),
            sample(_NEURONS, "NonSpikingIFNode"),
            sample(_NEURONS, "NonSpikingLIFNode"),
            Sample(_LAYERS, _LINEAR, "IFNode(), in_features=4, out_features=4",
                   {"sub_module": node, "in_features": 4, "out_features": 4}),
            Sample(_LAYERS, _ELEMENTWISE, "IFNode(), lambda y, x: x + 0.5 * y",
                   {"sub_module": node, "element_wise_function": lambda y, x: x + 0.5 * y}),
        )  # fmt: skip

    def _linear_container(self, module: Any) -> NeuronModel | Refusal:
        """y[t] = neuron(W (x[t], y[t-1]) + b): weights on the input, and weights on the last spikes."""
        held = _contained_layers(module)
        return rows.CONTAINER if held is None else _repeated(self.describe(held[1]), "rc")

    def _elementwise_container(self, module: Any) -> NeuronModel | Refusal:
        """y[t] = neuron(a*y[t-1] + b*x[t]): the input gain is b, and every neuron reads its own spikes times a/b."""
        factors = weighted_sum(module.element_wise_function)
        match _repeated(self.describe(module.sub_module), "element_wise_function"):
            case Refusal() as refusal:
                return refusal
            case NeuronModel() as model:
                if factors is None:
                    return rows.OTHER_FUNCTION
                return replace(model, input_gain=_times(model.input_gain, factors[1]))
            case other:
                assert_never(other)


def _repeated(described: NeuronModel | Refusal | None, name: str) -> NeuronModel | Refusal:
    """A contained neuron with recurrent weights `name`; refused where it is none, or has recurrent weights already."""
    match described:
        case NeuronModel(recurrent=None):
            return replace(described, recurrent=name)
        case Refusal():
            return described
        case NeuronModel() | None:
            return rows.CONTAINER
        case _:
            assert_never(described)


def _refused_by_option(module: Any) -> Refusal | None:
    """What no option of the class can mend."""
    if any(base.__module__ == _COMPILED for base in type(module).__mro__):
        return rows.COMPILED
    if getattr(module, "backend", None) == "lava":
        return rows.LAVA
    return None if getattr(getattr(module, "surrogate_function", None), "spiking", True) else rows.ANALOG


def _takes_all_steps(module: nn.Module) -> bool:
    """By its step mode or, before there was one, by its class."""
    step_mode = getattr(module, "step_mode", None)
    return has_base(module, _LIBRARY, _ALL_STEPS) if step_mode is None else bool(step_mode == "m")


def _keeps_attributes(module: nn.Module) -> bool:
    """Whether it is a neuron of 0.0.0.0.4, which has no memories."""
    held = vars(module)
    return "_memories" not in held and held.keys() >= _ATTRIBUTES and has_base(module, _LIBRARY, ("BaseNode",))


def _attributes_at_rest(module: Any) -> dict[str, Any]:
    """Membrane, spike and recorded values of a neuron of 0.0.0.0.4 after its own `reset()`."""
    recorded = {name: [] for name in module.monitor} if module.monitor else module.monitor
    return {"v": 0.0 if module.v_reset is None else module.v_reset, "spike": None, "monitor": recorded}


def _at_rest(module: Any, name: str) -> Any:
    """A parameter; 0.0.0.0.10 to 0.0.0.0.14 of `clock_driven` hold it as a memory, and a reset gives it back."""
    return vars(module).get("_memories_rv", {}).get(name, getattr(module, name))


def _reset_to(module: Any, base: NeuronModel) -> NeuronModel:
    """The base with SpikingJelly's reset: v(0) = v_reset, or soft."""
    v_reset = _at_rest(module, "v_reset")
    if v_reset is None:
        return replace(base, reset="soft")
    reset = float(v_reset)
    return replace(base, reset="hard", reset_value=reset, initial=reset)


def _integrator(module: Any) -> NeuronModel:
    threshold = numbers(_at_rest(module, "v_threshold"))
    plain = NeuronModel(1.0, 1.0, 0.0, threshold, "greater_equal", "none", 0.0, threshold, 0.0)
    return _reset_to(module, plain)


def _leak(module: Any, *, rate: float) -> NeuronModel:
    """h = (1 - rate)*v + (rate or 1)*x + rate*v_reset; before 0.0.0.0.10 the input is always scaled by the rate."""
    rest = _at_rest(module, "v_reset") or 0.0
    gain = rate if getattr(module, "decay_input", True) else 1.0
    return replace(_integrator(module), decay=1.0 - rate, input_gain=gain, drive=rate * rest)


def _leaky(module: Any) -> NeuronModel:
    return _leak(module, rate=1.0 / module.tau)


def _parametric(module: Any) -> NeuronModel:
    return _leak(module, rate=float(module.w.detach().double().sigmoid()))


def _simple(module: Any) -> NeuronModel | Refusal:
    """The teaching classes: v(0) = 0 whatever v_reset is."""
    if not hasattr(module, "tau"):
        return replace(_integrator(module), initial=0.0)
    return rows.SIMPLE_SOFT if module.v_reset is None else replace(_leaky(module), initial=0.0)


def _silent(module: Any) -> NeuronModel | Refusal:
    """v = v + x, or v + (x - v)/tau; put out, or decoded over time by its largest, mean or last value."""
    if module.decode == "max-abs-mem":
        return rows.DECODE
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
        return rows.RESIDUAL
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
    return each_channel(value, lambda x: x * factor)


def _contained_layers(module: Any) -> tuple[tuple[nn.Linear, ...], nn.Module] | None:
    """The linear layers and the neuron, last, of what a recurrent container holds; None where it holds other things."""
    held = module.sub_module
    parts = list(held) if isinstance(held, nn.Sequential) else [held]
    before = [part for part in parts[:-1] if not isinstance(part, nn.Identity | nn.Dropout)]
    linear = tuple(each for each in before if isinstance(each, nn.Linear))
    return (linear, parts[-1]) if parts and len(linear) == len(before) else None


def _contained(module: Any) -> tuple[Tensor, Tensor | None]:
    """The container's weights on (input, last spikes), and those of the linear layers that follow, as one layer."""
    held = _contained_layers(module)
    assert held is not None, "described only where it holds such layers"
    return composed([module.rc, *held[0]])


def _let_read_currents(module: Any) -> None:
    """The weights on the input of a copy of a container become the identity."""
    if library_class(module, _LIBRARY) != _LINEAR:
        return
    held = _contained_layers(module)
    assert held is not None, "described only where it holds such layers"
    weight = _contained(module)[0][:, -module.sub_module_out_features :]
    module.rc = linear_of(torch.cat([torch.eye(len(weight), dtype=weight.dtype), weight], dim=1), None)
    module.sub_module = held[1]
