"""The project's own float neurons, and any neuron that describes itself by a method `neuron_model`."""

from __future__ import annotations

from torch import Tensor, nn

from mdcompress.adapters.base import class_and_version
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel
from mdcompress.zoo.neurons import LIF


class OwnNeurons:
    """Describes `mdcompress.zoo.LIF`, `IF` and subclasses of them. They run on all steps at once."""

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

    def run(self, module: nn.Module, currents: Tensor) -> Tensor:
        """Call it."""
        spikes: Tensor = module(currents)
        return spikes


class SelfDescribed:
    """Neurons with a method `neuron_model(self) -> NeuronModel`: nothing has to be registered anywhere.

    They are called with all steps, [T, N, ...] to [T, N, ...], and start anew at every call. Of a tuple, as of
    spikes and membranes, the first tensor is the spikes.
    """

    def describe(self, module: nn.Module) -> NeuronModel | None:
        """Ask the module."""
        method = getattr(module, "neuron_model", None)
        if not callable(method):
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
        """Call it."""
        answer = module(currents)
        spikes: Tensor = answer[0] if isinstance(answer, tuple) else answer
        return spikes
