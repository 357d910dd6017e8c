"""sinabs 3: LIF and IAF, their Squeeze and recurrent forms; layout [B, T, ...], spike counts by default.

h = alpha*v + (1 - alpha or 1)*i with alpha = exp(-1/tau_mem), 1 for IAF; i = alpha_syn*(i + x) with tau_syn, else x.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.adapters.base import cast_inputs, has_base, library_class, numbers
from mdcompress.adapters.refusals import (
    SINABS,
    SINABS_BIAS,
    SINABS_FLOOR,
    SINABS_RESET,
    SINABS_SPIKE,
    Refusal,
    always_refused,
)
from mdcompress.graph import NeuronModel, Numbers

_LIBRARY = "sinabs"


class SinabsNeurons:
    """Describes the neuron classes of `classes`; runs one on [B, T, ...] from reset states."""

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
            return always_refused(SINABS, name)
        if has_base(module, _LIBRARY, ("ExpLeak",)):
            return _silent(module)
        model = _with_spikes(module, _leaky(module, numbers(module.spike_threshold)))
        if isinstance(model, Refusal) or not has_base(module, _LIBRARY, ("LIFRecurrent",)):
            return model
        biased = any(name.endswith("bias") for name, _ in module.named_parameters())
        return SINABS_BIAS if biased else replace(model, recurrent="rec_connect")

    def run(self, module: Any, currents: Tensor) -> Tensor:
        """Put the batch first; fold the steps into it for a Squeeze layer."""
        module.reset_states()
        _let_counts_be_exact(module)
        if hasattr(module, "rec_connect"):
            cast_inputs(module.rec_connect, currents.dtype)
        batch_first = currents.transpose(0, 1)
        if has_base(module, _LIBRARY, ("SqueezeMixin",)):
            module.batch_size, module.num_timesteps = batch_first.shape[:2]
            folded: Tensor = module(batch_first.flatten(0, 1))
            return folded.reshape(batch_first.shape).transpose(0, 1)
        spikes: Tensor = module(batch_first)
        return spikes.transpose(0, 1)


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
    return SINABS_FLOOR if module.min_v_mem is not None else replace(_leaky(module, 1.0), output="membrane")


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
            return SINABS_SPIKE
    reset = module.reset_fn
    match type(reset).__name__:
        case "MembraneSubtract":
            amount = model.threshold if reset.subtract_value is None else numbers(reset.subtract_value)
            return replace(model, reset="soft", soft_amount=amount)
        case "MembraneReset" if reset.reset_value == 0.0:
            return replace(model, reset="hard")
        case _:
            return SINABS_RESET
