"""QuantNeuron: the canonical float neuron as integers in units of s_f, and the unit of the currents it reads."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from brevitas.function.ops_ste import round_ste
from torch import Tensor, nn

from intsnn.arithmetic import ACCUMULATOR_LIMIT, IntType
from mdcompress.graph import NeuronModel, Numbers, channel_values, count_limit, typical
from mdcompress.layers.constants import channel_constants, constant
from mdcompress.layers.firing import after_reset, integrate_and_fire
from mdcompress.layers.host_values import HostValue
from mdcompress.layers.integer_ops import Firing, NeuronIntegers
from mdcompress.layers.quantizers import MembraneQuantizer
from mdcompress.layers.recurrence import RecurrentIntegers
from mdcompress.planning.neurons import most_leak_bits

if TYPE_CHECKING:
    from mdcompress.recipe import MembranePolicy

_INITIAL_RANGE = 1.0  # stored range in thresholds before calibration finds a better one
NEVER = ACCUMULATOR_LIMIT  # a threshold that no potential reaches (FORMAT.md, "Bounds")
_LARGEST_SYNAPSE_WORD = 28  # bit_width - 1 + synapse_shift, so that D_s*i stays below 2^28 (FORMAT.md, "Bounds")


class QuantNeuron(nn.Module):
    """An integer neuron layer. It holds no scale of its own: its unit belongs to the stream of currents it reads.

    Args:
        model: the canonical float neuron. Its gains are part of the unit: gain*j counts in s_f = gain*unit(j). Where
            they differ from channel to channel so does fine_scale: what is called s_f belongs to the mean gain.
        policy: bit width and rounding of the stored membrane, and of a synaptic state.
        guard_bits: R, so that s_v = s_f * 2^R.
    """

    synapse_shift: Tensor

    def __init__(self, model: NeuronModel, policy: MembranePolicy, *, guard_bits: int) -> None:
        super().__init__()
        self.model, self.policy, self.guard_bits = model, policy, guard_bits
        self._read_shift = HostValue()
        if self.has_synapse:
            self.register_buffer("synapse_shift", torch.tensor(guard_bits))

    def change_word(self, policy: MembranePolicy, *, guard_bits: int) -> None:
        """Store other bits, with another R."""
        self.policy, self.guard_bits = policy, guard_bits

    @property
    def has_synapse(self) -> bool:
        """Whether a synaptic state is kept."""
        return self.model.has_synapse

    @property
    def gained_model(self) -> NeuronModel:
        """The model for currents that hold the mean gain already: what is left is each channel's share."""
        return replace(self.model, input_gain=_shares(self.model.current_gain), synapse_gain=1.0)

    def forward(self, current: Tensor, fine_scale: Tensor, *, recurrence: RecurrentIntegers | None = None) -> Firing:
        """Integer currents [T, N, ...] to spikes, potentials and membranes; fine_scale: real value of one unit of s_f.

        Potentials count in s_f for every channel. recurrence: what its spikes add to the next step's currents.
        """
        firing = integrate_and_fire(current, self.integers(fine_scale, dtype=current.dtype), recurrence=recurrence)
        share, half = self._share_of(current), self.rounding_offset
        return firing if share is None else replace(firing, potentials=(firing.potentials - half) * share + half)

    def unclipped(self, potentials: Tensor, spikes: Tensor, fine_scale: Tensor) -> Tensor:
        """x' >> R of every step, integers: what would be stored if the word had no end.

        Args:
            potentials: h in real units as observed, [T, N, ...]; the rounding makes them the integers they were.
            spikes: of the same steps.
            fine_scale: real value of one unit of s_f.
        """
        share = self._share_of(potentials)
        x = (potentials / (fine_scale if share is None else fine_scale * share)).round() + self.rounding_offset
        return (after_reset(self.integers(fine_scale), x, spikes) * 2.0**-self.guard_bits).floor()

    def integers(self, fine_scale: Tensor, *, dtype: torch.dtype = torch.float64) -> NeuronIntegers:
        """The real parameters in units of s_f.

        Rounding half up adds 2^(R-1) to x, and so to drive, threshold, reset value and floor; a synaptic state adds
        its own half to y, which the drive takes off again.

        Args:
            fine_scale: real value of one unit of s_f.
            dtype: of those that the unit has no part in, which are made once; the others are float64.
        """
        model, bits, half = self.model, self.guard_bits, self.rounding_offset
        synapse_shift = round(self._read_shift(self.synapse_shift)) if self.has_synapse else 0
        synapse_half = self._half(synapse_shift) if self.has_synapse else 0
        above = 1 if model.spike == "binary" and model.comparator == "greater" else 0  # x > theta: x >= theta + 1
        device, shares = fine_scale.device, _shares(model.current_gain)
        unit = fine_scale.double() if shares == 1.0 else fine_scale.double() * channel_constants(shares, device)

        def fine(value: Numbers, added: int = 0) -> Tensor:
            """round(value / unit) + added; a constant where the unit has no part in it."""
            if not any(channel_values(value)):
                return channel_constants(float(added), device, dtype)
            rounded: Tensor = round_ste(channel_constants(value, device) / unit)
            return rounded + constant(added, rounded) if added else rounded

        nothing = channel_constants(0.0, device, dtype)
        counts = model.spike != "binary" or model.rearm == "double"
        never = model.output == "membrane"
        return NeuronIntegers(
            leak=_leak(model.decay, bits, device),
            synapse_leak=self._synapse_leak(synapse_shift, device),
            synapse_shift=synapse_shift,
            guard_bits=bits,
            bit_width=self.policy.bit_width,
            initial=self._initial(fine(model.initial)) if any(channel_values(model.initial)) else 0,
            reset=model.reset,
            timing=model.timing,
            spike=model.spike,
            max_spikes=count_limit(model),
            floor=model.floor,
            rearm=model.rearm,
            threshold=channel_constants(float(NEVER), device, dtype) if never else fine(model.threshold, half + above),
            level=fine(model.threshold).clamp_min(1.0) if counts else nothing,
            soft_amount=fine(model.soft_amount) if model.reset == "soft" else nothing,
            drive=fine(model.drive, half - synapse_half),
            reset_value=fine(model.reset_value, half) if model.reset == "hard" else nothing,
            floor_value=fine(model.floor_value, half) if model.floor != "none" else nothing,
            synapse_drive=channel_constants(float(synapse_half), device, dtype),
            rounding_offset=half,
        )

    def fit_synapse(self, currents: Tensor, fine_scale: float) -> None:
        """Choose R_s for which N stored bits lose least of the synaptic currents (real, mean gain included).

        R_s is no less than what its leak needs, D_s = round(decay * 2^R_s).
        """
        assert self.model.synapse_decay is not None
        word = IntType(self.policy.bit_width, signed=True)
        most = _LARGEST_SYNAPSE_WORD - (self.policy.bit_width - 1)
        losses: dict[int, float] = {}
        for shift in range(most_leak_bits(self.model.synapse_decay), most + 1):
            stored = (currents / (fine_scale * 2.0**shift) + 0.5).floor().clamp(word.low, word.high) * (
                fine_scale * 2.0**shift
            )
            losses[shift] = float((stored - currents).square().mean())
        self.synapse_shift.fill_(min(losses, key=lambda shift: losses[shift]))

    @property
    def rounding_offset(self) -> int:
        """What potentials carry on top of h, in units of s_f."""
        return self._half(self.guard_bits)

    def _share_of(self, values: Tensor) -> Tensor | None:
        """Each channel's share of the gain against [T, N, C, ...]; None where all are alike."""
        shares = _shares(self.model.current_gain)
        if not isinstance(shares, tuple) or len(shares) == 1:
            return None
        return channel_constants(shares, values.device).to(values.dtype).reshape(-1, *(1 for _ in values.shape[3:]))

    def _half(self, shift: int) -> int:
        return 2 ** (shift - 1) if self.policy.rounding == "half_up" and shift > 0 else 0

    def _synapse_leak(self, shift: int, device: torch.device) -> Tensor | float | None:
        if not self.has_synapse or self.model.synapse_decay is None:
            return None
        return _leak(self.model.synapse_decay, shift, device)

    def _initial(self, fine: Tensor) -> Tensor:
        """v(0), stored like every membrane, so that it equals what a reset to the same value leaves."""
        word = IntType(self.policy.bit_width, signed=True)
        stored = ((fine.detach()[:1] + self.rounding_offset) * 2.0**-self.guard_bits).floor()
        return stored.clamp(word.low, word.high)


@functools.lru_cache(maxsize=1024)
def _leak(decay: Numbers, bits: int, device: torch.device) -> Tensor | float:
    """D = round(decay * 2^R), a number where channels are alike."""
    leak = (torch.tensor(channel_values(decay), dtype=torch.float64) * 2.0**bits).round()
    return leak.item() if leak.numel() == 1 else leak.to(device)


class MembraneUnit(nn.Module):
    """The unit of a stream of currents that neurons read: s_f = s_v * 2^-R / factor of the reference neuron.

    neurons: how many read the stream in a sample.
    """

    def __init__(
        self, neuron: NeuronModel, policy: MembranePolicy, *, guard_bits: int, factor: float, neurons: int = 1
    ) -> None:
        super().__init__()
        self.quantizer = MembraneQuantizer(
            policy, initial_range=_INITIAL_RANGE * typical(neuron.threshold), neurons=neurons
        )
        self.guard_bits, self.factor = guard_bits, factor
        self.bit_width = policy.bit_width

    def change_word(self, policy: MembranePolicy, *, guard_bits: int) -> None:
        """Other bits of the reference neuron for the same stored range, with its other R."""
        self.quantizer.change_policy(policy)
        self.guard_bits, self.bit_width = guard_bits, policy.bit_width

    def set(self, value: float) -> None:
        """Make `value` the real value of one integer of the stream."""
        self.quantizer.set_range(value * self.factor * 2.0 ** (self.guard_bits + self.bit_width - 1))

    def forward(self) -> Tensor:
        """Real value of one integer of the stream, a scalar."""
        scale = self.quantizer.scale()
        return scale * constant(2.0**-self.guard_bits / self.factor, scale)


class ReadoutUnit(nn.Module):
    """The unit of currents that no neuron reads: a fixed scale, set from the largest current seen in calibration."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(2.0**-10))

    def set(self, value: float) -> None:
        """Make `value` the real value of one integer of the stream."""
        self.value.fill_(value)

    def forward(self) -> Tensor:
        """Real value of one integer of the stream, a scalar."""
        return self.value


def _shares(gain: Numbers) -> Numbers:
    """Each channel's gain over the mean gain; 1 where all are alike."""
    mean = typical(gain)
    return tuple(value / mean for value in gain) if isinstance(gain, tuple) else 1.0
