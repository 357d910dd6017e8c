"""The project's own float neurons, `mdcompress.zoo.LIF` and `IF`."""

from __future__ import annotations

from torch import nn

from mdcompress.graph import NeuronModel
from mdcompress.zoo.neurons import LIF


class OwnNeurons:
    """Describes `mdcompress.zoo.LIF`, `IF` and subclasses of them."""

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
