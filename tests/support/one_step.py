"""A user's neuron of one step, which describes itself and says how it is reset."""

from __future__ import annotations

from torch import Tensor, nn

from mdcompress.graph import NeuronModel


class OneStep(nn.Module):
    """A user's neuron of one step that keeps its membrane: h = v/2 + x, reset to 0."""

    step_mode = "s"

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | None = None

    def reset_state(self) -> None:
        """At rest."""
        self.v = None

    def forward(self, x: Tensor) -> Tensor:
        """One step, [N, ...]."""
        h = x if self.v is None else 0.5 * self.v + x
        spikes = (h >= 1.0).to(x.dtype)
        self.v = h * (1.0 - spikes)
        return spikes

    def neuron_model(self) -> NeuronModel:
        """What it follows."""
        return NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "hard", 0.0, 1.0, 0.0)
