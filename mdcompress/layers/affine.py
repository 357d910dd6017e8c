"""QuantAffine: y = g*x + b per channel as integers, without weights: spikes as currents, or a batch norm of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mdcompress.graph import AffineSpec
from mdcompress.layers.integer_ops import requantize
from mdcompress.layers.norms import Affine, BatchNorm, adopt_norm, batch_statistics, norm_affine, running_statistics
from mdcompress.layers.requant import RequantConstants, requant_constants

if TYPE_CHECKING:
    from mdcompress.recipe import BatchNormPolicy


class QuantAffine(nn.Module):
    """j = (x*M_c + B_c) >> S with M_c = g*unit(x)/unit(j) and B_c = b/unit(j).

    Args:
        spec: whether there is a batch norm.
        channels: C.
        batch_norm: policy of the requantization.
        largest_input: the largest absolute integer of x.
    """

    def __init__(self, spec: AffineSpec, channels: int, *, batch_norm: BatchNormPolicy, largest_input: int) -> None:
        super().__init__()
        self.spec, self.policy, self.largest_input = spec, batch_norm, largest_input
        self.norm = nn.BatchNorm1d(channels) if spec.batch_norm is not None else None

    def adopt(self, norm: BatchNorm | None) -> None:
        """Copy the float norm."""
        with torch.no_grad():
            if self.norm is not None and norm is not None:
                adopt_norm(self.norm, norm)

    def forward(self, x: Tensor, input_unit: Tensor, unit: Tensor) -> Tensor:
        """Integers x [T, N, C, ...] of real value x*input_unit to integer currents in units of `unit`."""
        folded = x.flatten(0, 1)
        statistics = None
        if self.training and self.norm is not None:
            statistics = batch_statistics(self.norm, folded, input_unit, None)
        constants = self._constants(statistics, input_unit, unit)
        view = (1, -1, *(1 for _ in folded.shape[2:]))
        dtype = folded.dtype if self.training else torch.float64
        current = requantize(
            folded.to(dtype),
            constants.multiplier.to(dtype).view(view),
            constants.bias.to(dtype).view(view),
            constants.shift,
        )
        return current.reshape(x.shape)

    def integers(self, input_unit: Tensor, unit: Tensor) -> RequantConstants:
        """The integers that evaluation uses and export writes, from running statistics."""
        return self._constants(None, input_unit, unit)

    def current_bound(self, input_unit: float) -> float:
        """No output of this layer can be larger, in real units."""
        affine = self._affine(None)
        return float((self.largest_input * input_unit * affine.gain.abs() + affine.offset.abs()).max())

    def _affine(self, statistics: tuple[Tensor, Tensor] | None) -> Affine:
        if self.norm is None:
            return Affine(torch.ones(1), torch.zeros(1))
        return norm_affine(self.norm, *(statistics or running_statistics(self.norm)))

    def _constants(
        self, statistics: tuple[Tensor, Tensor] | None, input_unit: Tensor, unit: Tensor
    ) -> RequantConstants:
        affine = self._affine(statistics)
        gain, offset = affine.gain.to(unit.device), affine.offset.to(unit.device)
        bound = torch.full_like(gain, self.largest_input)
        return requant_constants(gain * (input_unit / unit), offset / unit, bound, self.policy)
