"""QuantNeuron: the canonical float neuron as integers in fine units, and the unit of the currents it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from brevitas.function.ops_ste import round_ste
from torch import Tensor, nn

from intsnn.arithmetic import IntType
from mdcompress.graph import NeuronModel
from mdcompress.layers.integer_ops import Firing, NeuronIntegers, integrate_and_fire
from mdcompress.quantizers import MembraneQuantizer

if TYPE_CHECKING:
    from mdcompress.recipe import MembranePolicy

_INITIAL_RANGE = 1.0  # stored range in thresholds before calibration finds a better one


class QuantNeuron(nn.Module):
    """An integer neuron layer. It holds no scale of its own: its unit belongs to the stream of currents it reads.

    Args:
        model: the canonical float neuron. Its input gain is part of the unit: gain*j counts in lsb = gain*unit(j).
        policy: bit width and rounding of the stored membrane.
        guard_bits: R, so that s_v = lsb * 2^R.
    """

    def __init__(self, model: NeuronModel, policy: MembranePolicy, *, guard_bits: int) -> None:
        super().__init__()
        self.model, self.policy, self.guard_bits = model, policy, guard_bits

    def forward(self, current: Tensor, lsb: Tensor) -> Firing:
        """Integer currents [T, N, ...] to spikes, potentials and membranes; lsb: real value of one fine unit."""
        return integrate_and_fire(current, self.integers(lsb))

    def integers(self, lsb: Tensor) -> NeuronIntegers:
        """The real parameters in fine units. Rounding half up adds 2^(R-1) to drive, threshold and reset value."""
        model, bits, half = self.model, self.guard_bits, self.rounding_offset
        above = 1 if model.comparator == "greater" else 0  # x > theta is x >= theta + 1 for integers

        def fine(value: float) -> Tensor:
            rounded: Tensor = round_ste(value / lsb.double())
            return rounded.reshape(1)

        word = IntType(self.policy.bit_width, signed=True)
        initial = (
            int(fine(model.initial).detach()) + half
        ) >> bits  # stored like every membrane, so that v(0) = a reset's v
        return NeuronIntegers(
            leak=round(model.decay * 2**bits),
            guard_bits=bits,
            bit_width=self.policy.bit_width,
            reset=model.reset,
            initial=min(max(initial, word.low), word.high),
            threshold=fine(model.threshold) + (half + above),
            soft_amount=fine(model.soft_amount),
            drive=fine(model.drive) + half,
            reset_value=fine(model.reset_value) + half,
        )

    @property
    def rounding_offset(self) -> int:
        """What potentials carry on top of h, in fine units."""
        return 2 ** (self.guard_bits - 1) if self.policy.rounding == "half_up" and self.guard_bits > 0 else 0


class MembraneUnit(nn.Module):
    """The unit of a stream of currents that neurons read: lsb = s_v * 2^-R / factor of the reference neuron."""

    def __init__(self, neuron: NeuronModel, policy: MembranePolicy, *, guard_bits: int, factor: float) -> None:
        super().__init__()
        self.quantizer = MembraneQuantizer(policy, initial_range=_INITIAL_RANGE * neuron.threshold)
        self.guard_bits, self.factor = guard_bits, factor
        self.bit_width = policy.bit_width

    def forward(self) -> Tensor:
        """Real value of one integer of the stream, a scalar."""
        return self.quantizer.scale() * (2.0**-self.guard_bits / self.factor)


class ReadoutUnit(nn.Module):
    """The unit of currents that no neuron reads: a fixed scale, set from the largest current seen in calibration."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(2.0**-10))

    def forward(self) -> Tensor:
        """Real value of one integer of the stream, a scalar."""
        return self.value
