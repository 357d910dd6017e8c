"""The plain integer neuron, a leaky or perfect integrate-and-fire, over all steps at once, forward and backward.

Plain is: spikes of 0 and 1, a reset in the step of its spike, or none, no synaptic state, no floor, no recurrence. The
equations are those of FORMAT.md ("Neuron"); `firing` has every other neuron, step by step, and the same gradients.

With x_t = D*v_{t-1} + j_t + c, s_t = [x_t >= theta], v_t = clip(reset(x_t, s_t) >> R) the gradient of x runs back as
    dx_t = ds_t * f((x_t - theta)/theta)/theta + dh_t + m_t * dx_{t+1},  m_t = D*2^-R where v_t is neither clipped nor
reset to a constant, else 0. So everything but one sum a step is done for all steps together.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdcompress.layers.constants import constant
from mdcompress.layers.integer_ops import NeuronIntegers
from mdcompress.zoo.steps import steps_of

_CONSTANTS = ("threshold", "soft_amount", "drive", "reset_value")


def is_plain(integers: NeuronIntegers) -> bool:
    """Whether a neuron of these options is plain."""
    return (
        integers.spike == "binary"
        and integers.timing == "same_step"
        and integers.synapse_leak is None
        and integers.floor == "none"
        and integers.rearm == "plain"
    )


def fire_plainly(current: Tensor, integers: NeuronIntegers) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, potentials before reset and stored membranes of a plain neuron on currents [T, N, ...]."""
    constants = (getattr(integers, name) for name in _CONSTANTS)
    spikes, potentials, membranes = _Plain.apply(current, integers, *constants)
    return spikes, potentials, membranes


class _Plain(torch.autograd.Function):
    """Forward: the neuron over T. Backward: through time."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, integers: NeuronIntegers, *constants: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = [against(constant, current) for constant in constants]
        threshold, soft_amount, drive, reset_value = own
        leak = against(integers.leak, current) if isinstance(integers.leak, Tensor) else integers.leak
        before = against(integers.initial, current) if isinstance(integers.initial, Tensor) else integers.initial
        half, shrink = 2 ** (integers.bit_width - 1), constant(2.0**-integers.guard_bits, current)
        rest = _stored(reset_value, integers) if integers.reset == "hard" else None
        potentials = current + drive
        spikes, membranes = torch.empty_like(potentials), torch.empty_like(potentials)
        for x, spike, stored in zip(*map(steps_of, (potentials, spikes, membranes)), strict=True):
            _leak_into(x, before, leak)
            torch.ge(x, threshold, out=spike)
            left = torch.addcmul(x, spike, soft_amount, value=-1) if integers.reset == "soft" else x
            torch.mul(left, shrink, out=stored).floor_().clamp_(-half, half - 1)
            if rest is not None:
                stored.lerp_(rest, spike)
            before = stored
        ctx.save_for_backward(spikes, potentials, *own)
        ctx.integers, ctx.leak = integers, leak
        ctx.shapes = [(constant.shape, constant.dtype) for constant in constants]
        ctx.mark_non_differentiable(membranes)
        ctx.set_materialize_grads(False)
        return spikes, potentials, membranes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        spikes, potentials, *constants = ctx.saved_tensors
        run = _Back(ctx.integers, spikes, potentials, dict(zip(_CONSTANTS, constants, strict=True)))
        wanted = dict(zip(_CONSTANTS, ctx.needs_input_grad[2:], strict=True))
        to_current = run.direct(gradients[0], gradients[1], to_threshold=wanted["threshold"])
        kept = run.kept(ctx.leak)
        *earlier, later = steps_of(to_current)
        for to_step, share in zip(reversed(earlier), reversed(steps_of(kept)), strict=True):
            later = to_step.addcmul_(later, share)
        run.add_constants(to_current, kept, ctx.leak, wanted)
        sums = [
            run.sum_of(name, shape).to(dtype).reshape(shape) if wanted[name] else None
            for name, (shape, dtype) in zip(_CONSTANTS, ctx.shapes, strict=True)
        ]
        return to_current, None, *sums


class _Back:
    """Gradients of a run; `sums` those of the constants, as they were broadcast."""

    def __init__(
        self, integers: NeuronIntegers, spikes: Tensor, potentials: Tensor, constants: dict[str, Tensor]
    ) -> None:
        self._integers, self._spikes, self._potentials, self._of = integers, spikes, potentials, constants
        self.sums: dict[str, Tensor] = {}

    def sum_of(self, name: str, shape: torch.Size) -> Tensor:
        """The gradient of a constant; 0 where the neuron's options do not read it."""
        found = self.sums.get(name)
        return self._spikes.new_zeros(shape) if found is None else found

    def direct(self, to_spikes: Tensor | None, to_potentials: Tensor | None, *, to_threshold: bool) -> Tensor:
        """What reaches the potentials of each step in that step, [T, N, ...].

        The surrogate is f(d)/reach = 1 / (reach + w^2) with d = (x - theta)/reach and w = d * pi * sqrt(reach).
        """
        if to_spikes is None:
            return torch.zeros_like(self._potentials) if to_potentials is None else _own(to_potentials, self._spikes)
        threshold = self._of["threshold"]
        half = constant(self._integers.rounding_offset, threshold)
        reach = threshold - half if self._integers.rounding_offset else threshold  # the real one in units of s_f
        stretch = reach.rsqrt().mul_(constant(math.pi, reach))
        distance = (self._potentials - threshold).mul_(stretch)
        slope = torch.addcmul(reach, distance, distance)
        torch.div(to_spikes, slope, out=slope)
        if to_threshold:  # -sum slope * (1 + d)
            lever = distance.mul_(slope).sum_to_size(reach.shape) / (stretch * reach)
            self.sums["threshold"] = -(slope.sum_to_size(reach.shape) + lever)
        return slope if to_potentials is None else slope.add_(to_potentials)

    def kept(self, leak: Tensor | float) -> Tensor:
        """m_t of every step but the last: what of a potential's gradient a step takes from the step after it."""
        integers, spikes, potentials = self._integers, self._spikes[:-1], self._potentials[:-1]
        half, scale = 2 ** (integers.bit_width - 1), 2.0**integers.guard_bits
        share = leak * 2.0**-integers.guard_bits
        if integers.reset == "soft":
            potentials = torch.addcmul(potentials, spikes, self._of["soft_amount"], value=-1)
        if integers.reset != "hard":
            share = (share if isinstance(share, Tensor) else spikes.new_full((1,), share)).expand_as(spikes)
        elif isinstance(share, Tensor):
            share = (1.0 - spikes) * share
        else:
            share = torch.sub(constant(share, spikes), spikes, alpha=share)
        # integers inside the word are at least half a unit away from these ends
        found: Tensor = torch.ops.aten.hardtanh_backward(share, potentials, -half * scale - 0.5, half * scale - 0.5)
        return found

    def add_constants(self, to_current: Tensor, kept: Tensor, leak: Tensor | float, wanted: dict[str, bool]) -> None:
        """The gradients of drive, soft amount and reset value."""
        if wanted["drive"]:
            self.sums["drive"] = to_current.sum_to_size(self._of["drive"].shape)
        if wanted["soft_amount"] and self._integers.reset == "soft":
            lost = (to_current[1:] * kept).mul_(self._spikes[:-1])
            self.sums["soft_amount"] = -lost.sum_to_size(self._of["soft_amount"].shape)
        if wanted["reset_value"] and self._integers.reset == "hard":
            reset_value, bits = self._of["reset_value"], self._integers.guard_bits
            inside = _stored(reset_value, self._integers) == (reset_value * 2.0**-bits).floor()
            gained = (to_current[1:] * self._spikes[:-1]).mul_(leak * 2.0**-bits)
            self.sums["reset_value"] = (gained * inside).sum_to_size(reset_value.shape)


def against(constant: Tensor, current: Tensor) -> Tensor:
    """[1] or [C] against [..., N, C, *rest] of a sequence, in its type."""
    constant = constant.to(current.dtype)
    return constant if constant.numel() == 1 else constant.reshape(-1, *(1 for _ in current.shape[3:]))


def _leak_into(x: Tensor, before: Tensor | int, leak: Tensor | float) -> None:
    """X + D*v in place."""
    if isinstance(before, Tensor) and isinstance(leak, Tensor):
        x.addcmul_(before, leak)
    elif isinstance(before, Tensor) and not isinstance(leak, Tensor):
        x.add_(before, alpha=leak)
    elif before != 0:
        x.add_(leak * before)


def _stored(x: Tensor, integers: NeuronIntegers) -> Tensor:
    """clip(x >> R)."""
    half = 2 ** (integers.bit_width - 1)
    return (x * constant(2.0**-integers.guard_bits, x)).floor_().clamp_(-half, half - 1)


def _own(gradient: Tensor, like: Tensor) -> Tensor:
    """A copy that may be written to, laid out as `like`."""
    return torch.empty_like(like).copy_(gradient)
