"""The project's own float neurons, and any neuron that describes itself by a method `neuron_model`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdcompress.adapters.base import Library, as_tuple, class_and_version
from mdcompress.adapters.protocol import method_of
from mdcompress.adapters.samples import Sample, sample
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel
from mdcompress.zoo.neurons import LIF


class OwnNeurons(Library):
    """Describes `mdcompress.zoo.LIF`, `IF` and subclasses of them. They run on all steps at once."""

    title, library = "mdcompress", "mdcompress"

    def describe(self, module: nn.Module) -> NeuronModel | None:
        """Read the parameters off the module."""
        if not isinstance(module, LIF):
            return None
        return NeuronModel(
            decay=module.decay,
            input_gain=module.input_gain,
            drive=module.drive,
            threshold=module.threshold,
            comparator="greater_equal",
            reset=module.reset,
            reset_value=module.reset_value,
            soft_amount=module.threshold,
            initial=module.initial,
        )

    def samples(self) -> tuple[Sample, ...]:
        """Both classes."""
        return sample("mdcompress.zoo", "LIF", tau=2.0), sample("mdcompress.zoo", "IF", reset="soft")


class SelfDescribed(Library):
    """Neurons with a method `neuron_model(self) -> NeuronModel`: nothing has to be registered anywhere.

    A method of that name that wants arguments means something else.

    They are called with all steps, [T, N, ...] to [T, N, ...], and start anew at every call. With an attribute
    `step_mode = "s"` they take one step, [N, ...], and keep their state until their method `reset_state()` is called.
    Of a tuple, as of spikes and membranes, the first tensor is the spikes.
    """

    def describe(self, module: nn.Module) -> NeuronModel | None:
        """Ask the module."""
        method = method_of(module, "neuron_model")
        if method is None:
            return None
        model = method()
        if not isinstance(model, NeuronModel):
            raise TraceError(
                f"neuron_model of {class_and_version(module)} must return a NeuronModel (it returned "
                f"{type(model).__name__})",
                hints=["from mdcompress.graph import NeuronModel", "rename the method if it means something else"],
            )
        return model

    def run(self, module: nn.Module, currents: Tensor) -> Tensor:
        """Call it with all steps, or from rest with one after the other."""
        if not takes_one_step(module):
            spikes: Tensor = as_tuple(module(currents))[0]
            return spikes
        reset = method_of(module, "reset_state")
        if reset is None:
            raise TraceError(
                f"{class_and_version(module)} takes one step at a time (its step_mode is 's'), so it must have a "
                "method reset_state(), which is called without arguments",
                hints=["let reset_state(self) put its state to rest"],
            )
        reset()
        return torch.stack([as_tuple(module(current))[0] for current in currents])


def takes_one_step(module: nn.Module) -> bool:
    """Whether a neuron that describes itself says that it takes one step at a time."""
    step_mode = getattr(module, "step_mode", None)
    return isinstance(step_mode, str) and step_mode == "s"
