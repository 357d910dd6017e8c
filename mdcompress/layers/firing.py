"""The integer neuron over time: exact forward (FORMAT.md, "Neuron"), backward through time, straight through in parts.

Here every neuron goes step by step but the plain one, which `plain_firing` runs over all steps at once.

Not differentiated, as usual: the reset decision. Passed straight through: floor shifts, and stored words inside their
range. A comparison has the surrogate of `mdcompress.zoo`, f((x - theta)/theta), differentiated in x and in theta; a
count of spikes has slope 1/level where it is not clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import Tensor

from mdcompress.layers.integer_ops import Firing, NeuronIntegers
from mdcompress.layers.plain_firing import against, fire_plainly, is_plain
from mdcompress.layers.recurrence import RecurrentIntegers
from mdcompress.zoo.neurons import surrogate_derivative

_LEARNED = ("threshold", "level", "soft_amount", "drive", "reset_value", "floor_value", "synapse_drive")


def integrate_and_fire(
    current: Tensor, integers: NeuronIntegers, *, recurrence: RecurrentIntegers | None = None
) -> Firing:
    """Run the integer neuron on currents [T, N, ...] (integers in units of s_f).

    recurrence: what the spikes of a step add to the next step's currents.
    """
    if recurrence is None and is_plain(integers):
        return Firing(*fire_plainly(current, integers))
    constants = [against(getattr(integers, name), current) for name in _LEARNED]
    if recurrence is not None:
        recurrence = recurrence.to(current.dtype)
        constants += recurrence.constants
    spikes, potentials, membranes = _IntegrateAndFire.apply(current, integers, recurrence, *constants)
    return Firing(spikes, potentials, membranes)


def after_reset(integers: NeuronIntegers, potentials: Tensor, spikes: Tensor) -> Tensor:
    """x' of a sequence: what is stored after the shift. Both [T, N, ...]; potentials in units of s_f."""
    constants = {name: against(getattr(integers, name).detach(), potentials) for name in _LEARNED}
    return _Cell(integers, constants, potentials).reset(potentials, spikes)


def _leaked(x: Tensor, state: Tensor, leak: Tensor | float) -> Tensor:
    """X + leak*state in one pass."""
    return torch.addcmul(x, state, leak) if isinstance(leak, Tensor) else torch.add(x, state, alpha=leak)


@dataclass(frozen=True)
class _State:
    """v, i and s, each [N, ...]; i is None without a synaptic state."""

    membrane: Tensor
    synapse: Tensor | None
    spike: Tensor


class _Cell:
    """One step of the neuron. `constants`: by name, broadcasting over a step of `current`."""

    def __init__(self, integers: NeuronIntegers, constants: dict[str, Tensor], current: Tensor) -> None:
        self.integers, self.of = integers, constants
        self.leak = self._factor(integers.leak, current)
        self.synapse_leak = None if integers.synapse_leak is None else self._factor(integers.synapse_leak, current)
        self.limits = (-(2 ** (integers.bit_width - 1)), 2 ** (integers.bit_width - 1) - 1)

    def _factor(self, leak: Tensor | float, current: Tensor) -> Tensor | float:
        return against(leak, current) if isinstance(leak, Tensor) else leak

    def start(self, like: Tensor) -> _State:
        """The state before the first step."""
        zero = torch.zeros_like(like)
        synapse = None if self.synapse_leak is None else zero
        return _State(zero + self.integers.initial, synapse, zero)

    def synaptic(self, current: Tensor, state: _State) -> Tensor:
        """y = D_s*i + j + c_s, or j."""
        if state.synapse is None or self.synapse_leak is None:
            return current
        return _leaked(current, state.synapse, self.synapse_leak) + self.of["synapse_drive"]

    def charged(self, y: Tensor, state: _State) -> Tensor:
        """x before the floor: D*v + y + c, and a reset that comes late."""
        x = _leaked(y, state.membrane, self.leak) + self.of["drive"]
        match self.integers.timing:
            case "after_leak":
                return x - self.of["soft_amount"] * state.spike
            case "masked":
                return torch.where(state.spike > 0, self.of["reset_value"], x)
            case "same_step":
                return x
            case _:
                assert_never(self.integers.timing)

    def fired(self, x: Tensor, state: _State) -> Tensor:
        """s of the step."""
        if self.integers.rearm == "double":
            above = state.membrane > (self.of["level"] * 2.0**-self.integers.guard_bits).floor()
            x = x - self.of["level"] * above
        if self.integers.spike == "binary":
            return (x >= self.of["threshold"]).to(x.dtype)
        count = self.counted(x)
        count = count.floor() if self.integers.spike == "floor" else count.round()  # round: half to even, as torch does
        return count.clamp(0, self.integers.max_spikes)

    def counted(self, x: Tensor) -> Tensor:
        """(x - theta + level) / level, of which a count of spikes is the floor or the rounding."""
        return (x - self.of["threshold"] + self.of["level"]) / self.of["level"]

    def reset(self, x: Tensor, spike: Tensor) -> Tensor:
        """x': the reset of the same step, and the floor after it."""
        if self.integers.timing == "same_step" and self.integers.reset == "hard":
            x = torch.where(spike > 0, self.of["reset_value"], x)
        elif self.integers.timing == "same_step" and self.integers.reset == "soft":
            x = x - self.of["soft_amount"] * spike
        return self.floored(x) if self.integers.floor == "after_reset" else x

    def floored(self, x: Tensor) -> Tensor:
        """max(x, floor_value)."""
        return x.maximum(self.of["floor_value"])


class _Run:
    """What a run writes down for its result and its gradient, [T, N, ...] each.

    within: where the stored membrane is not clipped; synapse_within: likewise; above: where the floor does nothing.
    """

    def __init__(self, current: Tensor, cell: _Cell) -> None:
        self.cell = cell
        self.spikes, self.potentials, self.membranes = (torch.empty_like(current) for _ in range(3))
        self.within = torch.empty(current.shape, dtype=torch.bool, device=current.device)
        nothing = torch.empty(0, dtype=torch.bool, device=current.device)
        self.synapse_within = nothing if cell.synapse_leak is None else torch.empty_like(self.within)
        self.above = nothing if cell.integers.floor == "none" else torch.empty_like(self.within)

    def step(self, t: int, current: Tensor, state: _State) -> _State:
        """Write step t down; returns the state after it."""
        cell, floor = self.cell, self.cell.integers.floor
        y = cell.synaptic(current, state)
        x = cell.charged(y, state)
        if floor == "before_fire":
            self.above[t] = x >= cell.of["floor_value"]
            x = cell.floored(x)
        self.potentials[t] = x
        self.spikes[t] = cell.fired(x, state)
        x = cell.reset(x, self.spikes[t])
        if floor == "after_reset":
            self.above[t] = x > cell.of["floor_value"]
        self.membranes[t], self.within[t] = self._stored(x, cell.integers.guard_bits)
        synapse = None
        if state.synapse is not None:
            synapse, self.synapse_within[t] = self._stored(y, cell.integers.synapse_shift)
        return _State(self.membranes[t], synapse, self.spikes[t])

    def _stored(self, x: Tensor, shift: int) -> tuple[Tensor, Tensor]:
        """clip(x >> shift), and where it does not clip."""
        unclipped = (x * 2.0**-shift).floor_()
        stored = unclipped.clamp(*self.cell.limits)
        return stored, stored == unclipped


class _IntegrateAndFire(torch.autograd.Function):
    """Forward: the integer neuron over T. Backward: through time."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, integers: NeuronIntegers, recurrence: RecurrentIntegers | None, *constants: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        cell = _Cell(integers, dict(zip(_LEARNED, constants, strict=False)), current)
        run, state = _Run(current, cell), cell.start(current[0])
        for t, j in enumerate(current):
            state = run.step(t, j if recurrence is None else j + recurrence(state.spike), state)
        ctx.save_for_backward(
            run.spikes, run.potentials, run.membranes, run.within, run.synapse_within, run.above, *constants
        )
        ctx.integers, ctx.recurrence = integers, recurrence
        ctx.mark_non_differentiable(run.membranes)
        return run.spikes, run.potentials, run.membranes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        spikes, potentials, membranes, within, synapse_within, above, *constants = ctx.saved_tensors
        cell = _Cell(ctx.integers, dict(zip(_LEARNED, constants, strict=False)), spikes)
        backward = _Backward(cell, spikes, above)
        recurrence = None if ctx.recurrence is None else ctx.recurrence.of(constants[len(_LEARNED) :])
        before = torch.cat([torch.zeros_like(membranes[:1]) + cell.integers.initial, membranes[:-1]])
        direct = None  # without recurrence a step's spikes reach no later potential: all steps at once
        if recurrence is None:
            direct = backward.through_spikes(potentials, before, gradients[0]) + gradients[1]
        to_current = torch.empty_like(spikes)
        to_membrane, to_synapse = torch.zeros_like(spikes[0]), torch.zeros_like(spikes[0])
        for t in range(len(spikes) - 1, -1, -1):
            stored = to_membrane * within[t] * 2.0**-cell.integers.guard_bits
            if direct is not None:
                to_potential = direct[t]
            else:
                to_spikes = gradients[0][t]
                if recurrence is not None and t + 1 < len(spikes):
                    to_spikes = to_spikes + recurrence.to_spikes(to_current[t + 1])
                to_potential = backward.through_spikes(potentials[t], before[t], to_spikes) + gradients[1][t]
            charged = backward.step(t, stored, to_potential)
            to_membrane = charged * cell.leak
            if cell.synapse_leak is None:
                to_current[t] = charged
                continue
            to_current[t] = charged + to_synapse * synapse_within[t] * 2.0**-cell.integers.synapse_shift
            to_synapse = to_current[t] * cell.synapse_leak
            backward.add("synapse_drive", to_current[t])
        if cell.synapse_leak is None:
            backward.add("drive", to_current)
        to_constants: tuple[Tensor, ...] = tuple(backward.sums[name] for name in _LEARNED)
        if recurrence is not None:
            last_spikes = torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])
            to_constants += recurrence.to_constants(last_spikes, to_current)
        return to_current, None, None, *to_constants


class _Backward:
    """Gradients of a run, step by step from the last; `sums` those of the constants."""

    def __init__(self, cell: _Cell, spikes: Tensor, above: Tensor) -> None:
        self._cell, self._spikes, self._above = cell, spikes, above
        self.sums = {name: torch.zeros_like(cell.of[name]) for name in _LEARNED}

    def add(self, name: str, gradient: Tensor) -> None:
        """Add what an elementwise gradient is worth for a constant."""
        self.sums[name] = self.sums[name] + gradient.sum_to_size(self.sums[name].shape)

    def through_spikes(self, potentials: Tensor, before: Tensor, to_spikes: Tensor) -> Tensor:
        """The gradient of the potentials by way of the spikes, of one step or of all; before: the membranes before."""
        cell, threshold = self._cell, self._cell.of["threshold"]
        if cell.integers.spike != "binary":
            level, count = cell.of["level"], cell.counted(potentials)
            counting = (count >= 0.5) & (count <= cell.integers.max_spikes + 0.5)
            slope = to_spikes * counting / level
            self.add("threshold", -slope)
            self.add("level", slope * (1.0 - count))
            return slope
        compared = potentials
        if cell.integers.rearm == "double":
            raised = before > (cell.of["level"] * 2.0**-cell.integers.guard_bits).floor()
            compared = potentials - cell.of["level"] * raised
        reach = threshold - cell.integers.rounding_offset  # the real threshold in units of s_f
        distance = (compared - threshold) / reach
        slope = to_spikes * surrogate_derivative(distance, "atan") / reach
        self.add("threshold", -slope * (1.0 + distance))  # in units of the threshold: no unit changes a spike
        if cell.integers.rearm == "double":
            self.add("level", -slope * raised)
        return slope

    def step(self, t: int, stored: Tensor, direct: Tensor) -> Tensor:
        """From the gradients of x' and (directly) of x at step t to that of D*v + y + c."""
        integers, spike = self._cell.integers, self._spikes[t]
        if integers.floor == "after_reset":
            stored = self._past_floor(t, stored)
        if integers.timing == "same_step" and integers.reset == "soft":
            self.add("soft_amount", -stored * spike)
        elif integers.timing == "same_step" and integers.reset == "hard":
            fired = (spike > 0).to(spike.dtype)
            self.add("reset_value", stored * fired)
            stored = stored * (1.0 - fired)
        charged = direct + stored
        if integers.floor == "before_fire":
            charged = self._past_floor(t, charged)
        if integers.timing == "after_leak" and t > 0:
            self.add("soft_amount", -charged * self._spikes[t - 1])
        elif integers.timing == "masked" and t > 0:
            self.add("reset_value", charged * self._spikes[t - 1])
            charged = charged * (1.0 - self._spikes[t - 1])
        if self._cell.synapse_leak is not None:
            self.add("drive", charged)
        return charged

    def _past_floor(self, t: int, gradient: Tensor) -> Tensor:
        above = self._above[t].to(gradient.dtype)
        self.add("floor_value", gradient * (1.0 - above))
        return gradient * above
