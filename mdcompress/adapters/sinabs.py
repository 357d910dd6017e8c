"""sinabs 3: LIF and IAF, their Squeeze and recurrent forms; layout [B, T, ...], spike counts by default.

h = alpha*v + (1 - alpha or 1)*i with alpha = exp(-1/tau_mem), 1 for IAF; i = alpha_syn*(i + x) with tau_syn, else x.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.adapters.axes import Calling
from mdcompress.adapters.base import (
    LayerClasses,
    Library,
    cast_inputs,
    empty_buffers,
    equals,
    has_base,
    library_class,
    numbers,
)
from mdcompress.adapters.refusals import Refusal, always_refused
from mdcompress.adapters.samples import Sample, sample
from mdcompress.graph import NeuronModel, Numbers

_LIBRARY, _LAYERS = "sinabs", "sinabs.layers"

_ALWAYS = (
    Refusal(
        _LIBRARY,
        ("ALIF", "ALIFRecurrent"),
        "its threshold adapts to its own spikes",
        "train with LIF",
    ),
)
_FLOOR = Refusal(
    _LIBRARY,
    ("ExpLeak", "ExpLeakSqueeze"),
    "it puts out its membrane as it was before the floor",
    "use min_v_mem=None",
    when="min_v_mem is set",
)
_RESET = Refusal(
    _LIBRARY,
    ("IAF", "IAFSqueeze", "IAFRecurrent", "LIF", "LIFSqueeze", "LIFRecurrent"),
    "sinabs adds the value to every neuron at every step, spike or not",
    "use MembraneReset(0.0) or MembraneSubtract()",
    when="reset_fn is MembraneReset with a value other than 0, or a function of the user's",
)
_SPIKE = Refusal(
    _LIBRARY,
    ("IAF", "IAFSqueeze", "IAFRecurrent", "LIF", "LIFSqueeze", "LIFRecurrent"),
    "its spike function is the user's",
    "use MultiSpike, MaxSpike or SingleSpike",
    when="spike_fn is none of sinabs' own",
)
_BIAS = Refusal(
    _LIBRARY,
    ("LIFRecurrent", "IAFRecurrent"),
    "the bias of the recurrent layer acts from the second step only",
    "use a recurrent layer without bias",
    when="rec_connect has a bias",
)


class SinabsNeurons(Library):
    """Describes the neuron classes of `classes`; runs one on [B, T, ...] from reset states."""

    title, library = "sinabs", _LIBRARY
    layers = LayerClasses((_LAYERS,))
    refusals = (*_ALWAYS, _RESET, _SPIKE, _BIAS, _FLOOR)

    @property
    def classes(self) -> tuple[str, ...]:
        """The described classes."""
        return ("LIF", "LIFSqueeze", "LIFRecurrent", "IAF", "IAFSqueeze", "IAFRecurrent", "ExpLeak", "ExpLeakSqueeze")

    def describe(self, module: nn.Module) -> NeuronModel | Refusal | None:
        """Read the parameters off the module."""
        name = library_class(module, _LIBRARY)
        if name is None or not has_base(module, _LIBRARY, ("StatefulLayer",)):
            return None
        if name not in self.classes:
            return always_refused(self.refusals, name)
        if has_base(module, _LIBRARY, ("ExpLeak",)):
            return _silent(module)
        match _with_spikes(module, _leaky(module, numbers(module.spike_threshold))):
            case NeuronModel() as model if has_base(module, _LIBRARY, ("LIFRecurrent",)):
                biased = any(name.endswith("bias") for name, _ in module.named_parameters())
                return _BIAS if biased else replace(model, recurrent="rec_connect")
            case described:
                return described

    def run(self, module: Any, currents: Tensor) -> Tensor:
        """Put the batch first; fold the steps into it for a Squeeze layer."""
        module.reset_states()
        _let_counts_be_exact(module)
        if hasattr(module, "rec_connect"):
            cast_inputs(module.rec_connect, currents.dtype)
        batch_first = currents.transpose(0, 1)
        if _is_squeezed(module):
            module.batch_size, module.num_timesteps = batch_first.shape[:2]
            folded: Tensor = module(batch_first.flatten(0, 1))
            return folded.reshape(batch_first.shape).transpose(0, 1)
        spikes: Tensor = module(batch_first)
        return spikes.transpose(0, 1)

    def calling(self, module: nn.Module) -> Calling:
        """The batch first, or before the steps in one axis."""
        return Calling(("NT",) if _is_squeezed(module) else ("N", "T"))

    def reset(self, module: nn.Module) -> None:
        """Empty its states: they are made anew at the next call."""
        empty_buffers(module, self.state_names(module))
        super().reset(module)

    def is_at_rest(self, module: nn.Module) -> bool:
        """Whether its states are zero."""
        return all(equals(state, 0.0) for state in module._buffers.values())

    def state_names(self, module: nn.Module) -> tuple[str, ...]:
        """All buffers of a layer with states."""
        return tuple(module._buffers) if callable(getattr(module, "reset_states", None)) else ()

    def size_names(self, module: nn.Module) -> tuple[str, str] | None:
        """Those of a Squeeze layer."""
        return ("batch_size", "num_timesteps") if _is_squeezed(module) else None

    def samples(self) -> tuple[Sample, ...]:
        """Every class, with a floor and a synapse."""
        recurrent = {"rec_connect": nn.Linear(4, 4, bias=False)}
        return (
            sample(_LAYERS, "IAF"),
            sample(_LAYERS, "IAF", min_v_mem=-1.0),
            sample(_LAYERS, "IAFSqueeze", num_timesteps=4),
            sample(_LAYERS, "LIF", tau_mem=20.0),
            sample(_LAYERS, "LIF", tau_mem=20.0, tau_syn=10.0),
            sample(_LAYERS, "LIFSqueeze", tau_mem=20.0, num_timesteps=4),
            sample(_LAYERS, "ExpLeak", tau_mem=20.0),
            sample(_LAYERS, "ExpLeakSqueeze", tau_mem=20.0, num_timesteps=4),
            Sample(_LAYERS, "IAFRecurrent", "rec_connect=nn.Linear(4, 4, bias=False)", recurrent),
            Sample(_LAYERS, "LIFRecurrent", "tau_mem=20.0, rec_connect=nn.Linear(4, 4, bias=False)",
                   {"tau_mem": 20.0, **recurrent}),
        )  # fmt: skip


def _is_squeezed(module: nn.Module) -> bool:
    """Whether it takes [N*T, ...], and holds N or T itself."""
    return any(base.__name__ == "SqueezeMixin" for base in type(module).__mro__)


def _let_counts_be_exact(module: Any) -> None:
    """Spikes are float32, and what they subtract would be too, beside a threshold that has no axis."""
    threshold = getattr(module, "spike_threshold", None)
    if isinstance(threshold, Tensor):
        threshold.data = threshold.data.reshape(threshold.shape or 1)
    amount = getattr(module.reset_fn, "subtract_value", None) if hasattr(module, "reset_fn") else None
    if isinstance(amount, float):
        module.reset_fn.subtract_value = torch.tensor([amount], dtype=torch.float64)


def _silent(module: Any) -> NeuronModel | Refusal:
    """A leaky integrator that never fires and puts out its membrane."""
    return _FLOOR if module.min_v_mem is not None else replace(_leaky(module, 1.0), output="membrane")


def _leaky(module: Any, threshold: Numbers) -> NeuronModel:
    alpha = torch.ones((), dtype=torch.float64)
    if not has_base(module, _LIBRARY, ("IAF", "IAFRecurrent")):
        alpha = _alpha(module, "mem")
    gain: Numbers = numbers(1.0 - alpha) if module.norm_input else 1.0
    model = NeuronModel(numbers(alpha), gain, 0.0, threshold, "greater_equal", "none", 0.0, 0.0, 0.0)
    if module.min_v_mem is not None:
        model = replace(model, floor="after_reset", floor_value=numbers(module.min_v_mem))
    if module.alpha_syn_calculated is None:
        return model
    synapse = numbers(_alpha(module, "syn"))
    return replace(model, synapse_decay=synapse, synapse_gain=synapse)


def _alpha(module: Any, part: str) -> Tensor:
    """exp(-1/tau) in float64, as the probe's copy of the module computes it."""
    if module.train_alphas:
        trained: Tensor = getattr(module, f"alpha_{part}").detach().double()
        return trained
    return torch.exp(-1.0 / getattr(module, f"tau_{part}").detach().double())


def _with_spikes(module: Any, model: NeuronModel) -> NeuronModel | Refusal:
    """The spike function and the reset, which are arguments of a sinabs layer."""
    function = module.spike_fn
    match function.__name__ if isinstance(function, type) else type(function).__name__:
        case "SingleSpike":
            pass
        case "MultiSpike":
            model = replace(model, spike="floor", max_spikes=None)
        case "MaxSpike":
            model = replace(model, spike="floor", max_spikes=function.max_num_spikes_per_bin)
        case _:
            return _SPIKE
    reset = module.reset_fn
    match type(reset).__name__:
        case "MembraneSubtract":
            amount = model.threshold if reset.subtract_value is None else numbers(reset.subtract_value)
            return replace(model, reset="soft", soft_amount=amount)
        case "MembraneReset" if reset.reset_value == 0.0:
            return replace(model, reset="hard")
        case _:
            return _RESET
