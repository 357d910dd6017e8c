"""A recurrent synapse on integers: the spikes of one step become what they add to the next step's currents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdcompress.graph import SynapseSpec
from mdcompress.layers.integer_ops import requantize
from mdcompress.layers.sums import TRAINING, exact_arithmetic, window_sums


@dataclass(frozen=True)
class RecurrentIntegers:
    """j_r = (acc*M + B) >> S with acc = sum q_w * s_prev (FORMAT.md, "Neuron"), in the unit of the neuron's currents.

    weight: integers carried in float, of `spec.weight_shape`; multiplier, bias: [C] or [1]. All three differentiable.
    factor: 2^S.
    """

    spec: SynapseSpec
    weight: Tensor
    multiplier: Tensor
    bias: Tensor
    factor: Tensor

    @property
    def constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weight, multiplier and bias."""
        return self.weight, self.multiplier, self.bias

    def to(self, dtype: torch.dtype) -> RecurrentIntegers:
        """The same carried in another float type."""
        return self.of([value.to(dtype) for value in self.constants])

    def of(self, constants: Sequence[Tensor]) -> RecurrentIntegers:
        """The same with other constants."""
        weight, multiplier, bias = constants
        return replace(self, weight=weight, multiplier=multiplier, bias=bias)

    def __call__(self, spikes: Tensor) -> Tensor:
        """[N, *shape] to [N, *shape]."""
        sums = self._sums(spikes)
        view = (1, -1, *(1 for _ in sums.shape[2:]))
        return requantize(sums, self.multiplier.view(view), self.bias.view(view), self.factor)

    def to_spikes(self, gradient: Tensor) -> Tensor:
        """The gradient of the spikes [N, *shape], from that of what they add; the map is linear but for its floor."""
        with torch.enable_grad():
            spikes = torch.zeros_like(gradient, requires_grad=True)
            (found,) = torch.autograd.grad(self(spikes), spikes, gradient)
        return found

    def to_constants(self, spikes: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        """The gradients of weight, multiplier and bias, of all steps: spikes of the steps before, [T, N, *shape]."""
        with torch.enable_grad():
            constants = [value.detach().requires_grad_() for value in self.constants]
            added = self.of(constants)(spikes.flatten(0, 1))
            return torch.autograd.grad(added, constants, gradient.flatten(0, 1))

    def _sums(self, spikes: Tensor) -> Tensor:
        """In float64 they are those of an evaluation, and exact."""
        if self.spec.operator == "linear" and self.spec.groups > 1:
            return spikes * self.weight[:, 0]
        exact = spikes.dtype == torch.float64
        form = exact_arithmetic(math.inf, spikes.device).form if exact else TRAINING.form
        return window_sums(self.spec, spikes, self.weight, form)
