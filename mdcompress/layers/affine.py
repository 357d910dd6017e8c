"""QuantAffine: y = g*x + b per channel as integers, without weights: spikes as currents, or a batch norm of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mdcompress.graph import AffineSpec
from mdcompress.layers.norms import Affine
from mdcompress.layers.requant import RequantConstants, requant_constants, requantized
from mdcompress.layers.step_norms import (
    Norm,
    NormOwner,
    NormSource,
    Statistics,
    adopt,
    affine_of,
    follows_batches,
    norm_layer,
    statistics_in_use,
    statistics_of,
)

if TYPE_CHECKING:
    from mdcompress.recipe import BatchNormPolicy


class QuantAffine(nn.Module):
    """j = (x*M_c + B_c) >> S with M_c = g*unit(x)/unit(j) and B_c = b/unit(j).

    Args:
        spec: whether there is a batch norm.
        channels: C.
        batch_norm: policy of the requantization.
        largest_input: the largest absolute integer of x.
        norm_of: the layer, at another place of the network, whose norm it is; that one alone stores it.
    """

    norm: Norm | None

    def __init__(
        self,
        spec: AffineSpec,
        channels: int,
        *,
        batch_norm: BatchNormPolicy,
        largest_input: int,
        norm_of: NormOwner | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.policy, self.largest_input = spec, batch_norm, largest_input
        if norm_of is None:
            self.norm = norm_layer(spec, channels, 0)
        else:
            object.__setattr__(self, "norm", norm_of.norm)  # not nn.Module's: it would be stored twice

    def adopt(self, norm: NormSource | None) -> None:
        """Copy the float norm."""
        with torch.no_grad():
            if self.norm is not None and norm is not None:
                adopt(self.norm, norm)

    def forward(self, x: Tensor, input_unit: Tensor, unit: Tensor) -> Tensor:
        """Integers x [T, N, C, ...] of real value x*input_unit to integer currents in units of `unit`."""
        statistics = None
        if self.training and self.norm is not None and follows_batches(self.norm):
            statistics = statistics_of(self.norm, x, input_unit, None)
        x = x if self.training else x.double()
        return requantized(x, *self._real_map(statistics, input_unit, unit), self.policy)

    def integers(self, input_unit: Tensor, unit: Tensor) -> RequantConstants:
        """The integers that evaluation uses and export writes, from running statistics."""
        return requant_constants(*self._real_map(None, input_unit, unit), self.policy)

    def current_bound(self, input_unit: float) -> float:
        """No output of this layer can be larger, in real units."""
        affine = self._affine(None)
        return float((self.largest_input * input_unit * affine.gain.abs() + affine.offset.abs()).max())

    def _affine(self, statistics: Statistics | None) -> Affine:
        if self.norm is None:
            return Affine(torch.ones(1), torch.zeros(1))
        return affine_of(self.norm, statistics or statistics_in_use(self.norm))

    def _real_map(
        self, statistics: Statistics | None, input_unit: Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """m, b and the bound of |x|."""
        affine = self._affine(statistics)
        gain, offset = affine.gain.to(unit.device), affine.offset.to(unit.device)
        return gain * (input_unit / unit), offset / unit, torch.full_like(gain, self.largest_input)
