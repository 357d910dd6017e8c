"""Float spiking neurons in plain PyTorch: LIF and IF, multi-step [T, N, ...], with surrogate gradients."""

from __future__ import annotations

import math
from typing import Any, Literal, assert_never, get_args

import torch
from torch import Tensor, nn

from intsnn.errors import UsageError

Reset = Literal["hard", "soft", "none"]
Surrogate = Literal["atan", "rectangular", "triangular"]


def surrogate_derivative(distance: Tensor, kind: Surrogate) -> Tensor:
    """Stand-in for the derivative of the step at `distance` = (h - threshold) / threshold.

    atan: 1 / (1 + (pi*d)^2) (Fang et al. 2021); rectangular: [|d| < 1/2] (Wu et al. 2018);
    triangular: max(0, 1 - |d|) (Bellec et al. 2018).
    """
    match kind:
        case "atan":
            return 1.0 / (1.0 + (math.pi * distance).square())
        case "rectangular":
            return (distance.abs() < 0.5).to(distance.dtype)
        case "triangular":
            return (1.0 - distance.abs()).clamp_min(0.0)
        case _:
            assert_never(kind)


class _Spike(torch.autograd.Function):
    """Forward [h >= theta]; backward the surrogate's derivative, in units of the threshold."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, threshold: float, kind: Surrogate) -> Tensor:
        ctx.save_for_backward(h)
        ctx.threshold, ctx.kind = threshold, kind
        return (h >= threshold).to(h.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (h,) = ctx.saved_tensors
        slope = surrogate_derivative((h - ctx.threshold) / ctx.threshold, ctx.kind)
        return gradients[0] * slope / ctx.threshold, None, None


class LIF(nn.Module):
    """Leaky integrate-and-fire over a sequence: input and output [T, N, ...], v(0) = reset_value.

    h = v - v/tau + x;  s = [h >= threshold];  v = s ? reset_value : h (hard) | h - threshold*s (soft) | h (none)
    with `decay_input`:  h = v + (x - (v - reset_value))/tau

    Args:
        tau: membrane time constant in steps, > 1.
        threshold: firing threshold, > 0.
        reset: hard (to `reset_value`), soft (subtract the threshold), or none.
        reset_value: where a hard reset goes, below the threshold; 0 for the other resets.
        decay_input: scale the input by 1/tau and leak towards `reset_value`, as SpikingJelly's LIFNode does by default.
        surrogate: derivative used for the spike in the backward pass. The reset is not differentiated.
    """

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: Reset = "hard",
        *,
        reset_value: float = 0.0,
        decay_input: bool = False,
        surrogate: Surrogate = "atan",
    ) -> None:
        super().__init__()
        if not 1.0 < tau < math.inf:
            raise UsageError(f"tau must be > 1 and finite (got {tau})", hints=["use IF for a neuron without leak"])
        self.tau = tau
        self._set(threshold, reset, reset_value, surrogate)
        self.decay = 1.0 - 1.0 / tau
        self.input_gain = 1.0 / tau if decay_input else 1.0
        self.drive = self.reset_value / tau if decay_input else 0.0

    def _set(self, threshold: float, reset: Reset, reset_value: float, surrogate: Surrogate) -> None:
        if not 0.0 < threshold < math.inf:
            raise UsageError(
                f"threshold must be > 0 and finite (got {threshold})",
                hints=["a membrane at rest stands at 0, below it"],
            )
        for name, value, offered in (("reset", reset, get_args(Reset)), ("surrogate", surrogate, get_args(Surrogate))):
            if value not in offered:
                raise UsageError(
                    f"{name} must be one of {', '.join(offered)} (got {value!r})", hints=[f"write {offered[0]!r}"]
                )
        if not -math.inf < reset_value < threshold:
            raise UsageError(
                f"reset_value must be below the threshold {threshold} (got {reset_value})",
                hints=["a neuron reset to its threshold would fire at every step"],
            )
        if reset != "hard" and reset_value != 0.0:
            raise UsageError(
                f"reset_value is where a hard reset goes; with reset={reset!r} it must be 0 (got {reset_value})",
                hints=["write reset='hard', or leave reset_value out"],
            )
        self.threshold, self.reset, self.reset_value = threshold, reset, reset_value
        self.surrogate: Surrogate = surrogate

    @property
    def initial(self) -> float:
        """v(0) = reset_value, which is 0 without a hard reset."""
        return self.reset_value

    def forward(self, x: Tensor) -> Tensor:
        """Currents [T, N, ...] to spikes [T, N, ...]; the state starts anew at every call."""
        v = torch.full_like(x[0], self.initial)
        spikes = []
        for current in x.unbind(0):
            h = self.decay * v + self.input_gain * current + self.drive
            s: Tensor = _Spike.apply(h, self.threshold, self.surrogate)
            spikes.append(s)
            v = self._after_reset(h, s.detach())
        return torch.stack(spikes)

    def _after_reset(self, h: Tensor, s: Tensor) -> Tensor:
        match self.reset:
            case "hard":
                return torch.where(s > 0, self.reset_value, h)
            case "soft":
                return h - self.threshold * s
            case "none":
                return h
            case _:
                assert_never(self.reset)

    def extra_repr(self) -> str:
        """What print(module) shows."""
        return f"decay={self.decay:g}, threshold={self.threshold:g}, reset={self.reset}"


class IF(LIF):
    """Integrate-and-fire: a LIF without leak, h = v + x."""

    def __init__(
        self,
        threshold: float = 1.0,
        reset: Reset = "hard",
        *,
        reset_value: float = 0.0,
        surrogate: Surrogate = "atan",
    ) -> None:
        nn.Module.__init__(self)
        self.tau = math.inf
        self._set(threshold, reset, reset_value, surrogate)
        self.decay, self.input_gain, self.drive = 1.0, 1.0, 0.0
