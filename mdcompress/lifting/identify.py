"""Which canonical neuron a recurrence is, read off its potentials for chosen currents and forced spikes.

A recorded neuron is a function h_t(x_0..x_t, s_0..s_{t-1}) that can be run again on any values. Without spikes the
canonical neuron is linear in its currents: its impulse response k_0, k_1, ... gives gain and decay (two decays where
a synapse filters the currents), zero input gives drive and initial value, one forced spike gives the reset. What was
read is then proved: potentials of both for random currents and random forced spikes, at every step that the network
makes. Where they differ the recurrence is no canonical neuron; nothing is approximated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdcompress.graph import FloorKind, NeuronModel, Numbers, ResetKind, ResetTiming, channel_values
from mdcompress.lifting.responses import (
    Recurrence,
    begun,
    bends,
    close,
    impulse,
    impulse_poles,
    poles_of,
    run_with,
    worth,
)

__all__ = ["Reading", "Recurrence", "Unread", "follows", "forced", "identify", "impulse_poles", "per_channel", "snap"]


_DRAWS = 4
_ABOVE_FLOORS = 16.0
_TYPED = 2e-13  # as near lies what was typed, after the roundings of a few float64 operations


@dataclass(frozen=True)
class Reading:
    """What a recurrence is: the canonical neuron, and what each of its inputs is worth beside the first, [P]."""

    model: NeuronModel
    weights: tuple[Tensor, ...]


@dataclass(frozen=True)
class Unread:
    """Why a recurrence is no canonical neuron, and what was found so far. lagging: the input that does not remain."""

    why: str
    found: str = ""
    input: int | None = None


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a candidate, each [P]."""

    decay: Tensor
    gain: Tensor
    drive: Tensor
    initial: Tensor
    synapse: Tensor | None = None
    reset: ResetKind = "none"
    reset_value: Tensor | None = None
    amount: Tensor | None = None
    timing: ResetTiming = "same_step"
    floor: FloorKind = "none"
    floor_value: float = 0.0


def identify(found: Recurrence) -> Reading | Unread:
    """The canonical neuron that a recurrence is, or why it is none.

    It is asked around no current, and again beside large ones, where no floor is touched.
    """
    first = _identified(found, 0.0)
    if isinstance(first, Reading) or not found.floors:
        return first
    again = _identified(found, _ABOVE_FLOORS)
    return again if isinstance(again, Reading) else first


def _identified(found: Recurrence, beside: float) -> Reading | Unread:
    responses = [impulse(found, each, base=beside) for each in range(found.inputs)]
    silent = run_with(found, 0.0, base=beside) - beside * torch.stack(responses).sum(0).cumsum(0)
    if not all(bool(torch.isfinite(each).all()) for each in (*responses, silent)):
        return Unread("its potential is not finite for a current of 1")
    prompt = [each for each in range(found.inputs) if not found.late[each]]
    if not prompt:
        return Unread("it reads nothing but its own spikes")
    first = max(prompt, key=lambda each: float(responses[each][0].abs().mean()))
    k = responses[first]
    if not bool((k[0].abs() > 1e-12).all()):
        return Unread("its potential does not follow the current of the same step")
    if bends(found, k, first, base=beside):
        return Unread(f"its potential is not linear in its current ({_so_far(found, None)})", input=first)
    weights = []
    for each, response in enumerate(responses):
        if found.late[each] and found.steps == 1:
            continue
        response = response[1:] if found.late[each] else response
        share = response[0] / k[0]
        if not close(response, share * k[: len(response)], k.abs().max()):
            return _lagging(found, each, first, response, k)
        weights.append(_snapped(share))
    causes: list[str] = []
    for poles in poles_of(found, k):
        if isinstance(poles, str):
            causes.append(poles)
            continue
        base = _with_rest(poles, k, silent)
        if isinstance(base, str):
            causes.append(base)
            continue
        for candidate in _candidates(found, base, weights):
            for numbers in (_rounded(candidate), candidate):
                if _follows(found, numbers, weights):
                    model = _as_model(found, numbers)
                    if isinstance(model, str):
                        return Unread(model)
                    return Reading(model, tuple(weights))
        causes.append(_reset_cause(found, base))
    return Unread(causes[0] if causes else "its recurrence is not that of a leaky neuron", _so_far(found, k))


# ---------------------------------------------------------------------- measuring


def _with_rest(poles: tuple[Tensor, Tensor | None], k: Tensor, silent: Tensor) -> _Numbers | str:
    """The numbers with drive and initial value, from the potentials without current."""
    decay, synapse = poles
    if len(silent) == 1:
        return _Numbers(decay, k[0], silent[0], torch.zeros_like(decay), synapse)
    drive = silent[1] - decay * silent[0]
    keeps = decay.abs() > 1e-12
    initial = torch.where(keeps, (silent[0] - drive) / torch.where(keeps, decay, 1.0), 0.0)
    size = max(float(silent.abs().max()), float(k.abs().max()))
    if not close(silent[0], decay * initial + drive, size):
        return "its first step starts from another value than a state would"
    expected = silent[0]
    for step in range(1, len(silent)):
        expected = decay * expected + drive
        if not close(silent[step], expected, size):
            return f"its threshold or drive at step {step} is another than before"
    return _Numbers(decay, k[0], drive, initial, synapse)


def _candidates(found: Recurrence, base: _Numbers, weights: Sequence[Tensor]) -> Iterator[_Numbers]:
    """The resets that one forced spike allows, each without a floor and with every floor that the code has."""
    for numbers in _resets(found, base):
        yield numbers
        for value in found.floors:
            for kind in _FLOORS:
                yield replace(numbers, floor=kind, floor_value=value)


_FLOORS: tuple[FloorKind, ...] = ("before_fire", "after_reset")


def _resets(found: Recurrence, base: _Numbers) -> Iterator[_Numbers]:
    """The resets that explain what one forced spike changes at the next step."""
    if found.steps == 1:
        yield base
        return
    once = torch.zeros(found.steps, len(found.threshold), dtype=torch.float64)
    once[0] = 1.0
    # currents of many thresholds, so that no floor is touched
    some = 8.0 * float(found.threshold.abs().max().clamp(min=0.1)) / float(base.gain.abs().min().clamp(min=1e-6))
    change = run_with(found, some, spikes=once)[1] - run_with(found, some)[1]
    changed = run_with(found, 2 * some, spikes=once)[1] - run_with(found, 2 * some)[1]
    size = float(base.gain.abs().max()) * some + float(found.threshold.abs().max())
    if close(change, torch.zeros_like(change), size) and close(changed, change, size):
        yield base
    keeps = base.decay.abs() > 1e-12
    decay = torch.where(keeps, base.decay, 1.0)
    if close(changed, change, size):
        after = replace(base, reset="soft", amount=-change, timing="after_leak")
        same = replace(base, reset="soft", amount=-change / decay)
        if not bool(keeps.all()) or (close(-change, found.threshold, size) and not bool((decay == 1).all())):
            yield after
        if bool(keeps.all()):
            yield same
    spiked = run_with(found, some, spikes=once)[1]
    filtered = 1.0 if base.synapse is None else 1.0 + base.synapse
    rest = spiked - base.drive - base.gain * filtered * some * worth(found)
    yield replace(base, reset="hard", reset_value=torch.where(keeps, rest / decay, 0.0))
    yield replace(base, reset="hard", reset_value=torch.zeros_like(change), timing="masked")


# ---------------------------------------------------------------------- proving


def follows(found: Recurrence, reading: Reading) -> bool:
    """Whether a reading holds for the recurrence at other places than those where it was made."""
    model = reading.model

    def spread(value: Numbers) -> Tensor:
        values = torch.tensor(channel_values(value), dtype=torch.float64)
        return values[found.channels] if len(values) > 1 else values.expand(len(found.channels))

    numbers = _Numbers(
        decay=spread(model.decay), gain=spread(model.input_gain), drive=spread(model.drive),
        initial=spread(model.initial), synapse=None if model.synapse_decay is None else spread(model.synapse_decay),
        reset=model.reset, reset_value=spread(model.reset_value), amount=spread(model.soft_amount),
        timing=model.timing, floor=model.floor, floor_value=float(channel_values(model.floor_value)[0]),
    )  # fmt: skip
    level = spread(model.threshold)
    if not close(level, found.threshold, level.abs().max()):
        return False
    return _follows(found, numbers, [weight[:1].expand(len(found.channels)) for weight in reading.weights])


def _follows(found: Recurrence, numbers: _Numbers, weights: Sequence[Tensor]) -> bool:
    """Whether the canonical neuron has the same potentials for random currents and forced spikes, at every step."""
    generator = torch.Generator().manual_seed(1)
    places = len(found.threshold)
    top = 1 if found.spike == "binary" else min(found.max_spikes or 8, 8)
    size = float(found.threshold.abs().max().clamp(min=1e-3)) / float(numbers.gain.abs().max().clamp(min=1e-6))
    for draw in range(_DRAWS):
        x = size * torch.randn(found.inputs, found.steps, places, generator=generator, dtype=torch.float64)
        x = x * (1.0 if draw % 2 else 4.0) + size * (draw - 1)
        for each, still in enumerate(found.still):
            if still:
                x[each] = x[each, :1]
        x = begun(found, x)
        s = torch.randint(0, top + 1, (found.steps, places), generator=generator).double()
        if draw == 0:
            s = (torch.rand(found.steps, places, generator=generator) < 0.2).double()
        got = found.potentials(x, s)
        total = torch.stack([w * each for w, each in zip(weights, x, strict=True)]).sum(0)
        expected = forced(numbers, total, s)
        if not bool(torch.isfinite(got).all()) or not close(got, expected, expected.abs().max()):
            return False
    return True


def forced(numbers: _Numbers, x: Tensor, s: Tensor) -> Tensor:
    """The potentials h of the canonical neuron for currents x and spikes s that are given, both [T, P]."""
    v, i, before, potentials = numbers.initial, torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for current, spikes in zip(x, s, strict=True):
        i = current if numbers.synapse is None else numbers.synapse * i + current
        h = numbers.decay * v + numbers.gain * i + numbers.drive
        if numbers.timing == "masked":
            h = h * (1.0 - (before > 0).double())
        elif numbers.timing == "after_leak" and numbers.amount is not None:
            h = h - numbers.amount * before
        if numbers.floor == "before_fire":
            h = h.clamp(min=numbers.floor_value)
        potentials.append(h)
        v = h
        if numbers.timing == "same_step":
            if numbers.reset == "hard" and numbers.reset_value is not None:
                v = torch.where(spikes > 0, numbers.reset_value, h)
            elif numbers.reset == "soft" and numbers.amount is not None:
                v = h - numbers.amount * spikes
        if numbers.floor == "after_reset":
            v = v.clamp(min=numbers.floor_value)
        before = spikes
    return torch.stack(potentials)


# ---------------------------------------------------------------------- numbers and words


def _as_model(found: Recurrence, numbers: _Numbers) -> NeuronModel | str:
    """The candidate as a NeuronModel; a text where a number differs within a channel."""
    held: dict[str, Numbers] = {}
    zero = torch.zeros_like(numbers.decay)
    given = {
        "decay": numbers.decay,
        "input_gain": numbers.gain,
        "drive": numbers.drive,
        "threshold": _snapped(found.threshold),
        "initial": numbers.initial,
        "reset_value": zero if numbers.reset_value is None else numbers.reset_value,
        "soft_amount": zero if numbers.amount is None else numbers.amount,
    }
    if numbers.synapse is not None:
        given["synapse_decay"] = numbers.synapse
    for name, values in given.items():
        number = per_channel(values, found.channels)
        if number is None:
            return f"its {name.replace('_', ' ')} differs from neuron to neuron within a channel"
        held[name] = number
    if not bool((found.threshold > 0).all()) and found.spike != "binary":
        return "its levels are not positive"
    return NeuronModel(
        comparator="greater_equal" if found.comparator == "ge" else "greater",
        reset=numbers.reset,
        spike=found.spike,  # type: ignore[arg-type]
        max_spikes=found.max_spikes,
        timing=numbers.timing,
        floor=numbers.floor,
        floor_value=numbers.floor_value,
        **held,  # type: ignore[arg-type]
    )


def per_channel(values: Tensor, channels: Tensor) -> Numbers | None:
    """One number for the layer, or one for each channel; None where they differ within one."""
    size = float(values.abs().max())
    if float(values.max() - values.min()) <= 1e-12 * size:
        return float(values[0])
    each: list[float] = []
    for channel in range(int(channels.max()) + 1):
        own = values[channels == channel]
        if not len(own) or float(own.max() - own.min()) > 1e-12 * size:
            return None
        each.append(float(own[0]))
    return tuple(each)


def _rounded(numbers: _Numbers) -> _Numbers:
    changed = {name: _snapped(value) for name, value in vars(numbers).items() if isinstance(value, Tensor)}
    return replace(numbers, **changed)  # type: ignore[arg-type]


def _snapped(values: Tensor) -> Tensor:
    """The numbers that were typed or are parameters, where the measured ones lie as near as float64 rounds."""
    return torch.tensor([snap(value) for value in values.tolist()], dtype=torch.float64)


def snap(value: float) -> float:
    """The shortest decimal, or the float32, within some roundings of a value; else the value."""
    if value == 0 or not math.isfinite(value):
        return value
    if abs(value) < 1e-13:
        return 0.0
    short = float(f"{value:.10g}")
    if abs(short - value) <= _TYPED * abs(value):
        return short
    single = float(torch.tensor(value, dtype=torch.float32))
    return single if abs(single - value) <= _TYPED * abs(value) else value


def _lagging(found: Recurrence, each: int, first: int, response: Tensor, k: Tensor) -> Unread:
    rest, kept = response[1:].abs().max() if len(response) > 1 else 0.0, k[1:].abs().max() if len(k) > 1 else 0.0
    if float(rest) < 1e-9 * float(k[0].abs().max()) < float(kept):
        return Unread("its threshold depends on the input of the same step", _so_far(found, k), each)
    if float(kept) < 1e-9 * float(k[0].abs().max()) < float(rest):
        return Unread("its threshold depends on the input of the same step", _so_far(found, k), first)
    return Unread("it keeps another share of one input than of the other", _so_far(found, k), each)


def _reset_cause(found: Recurrence, base: _Numbers) -> str:
    """Which part fails: the recurrence without spikes, or what a spike does."""
    bare = replace(found, potentials=lambda x, s: found.potentials(x, torch.zeros_like(s)))
    if not any(_follows(bare, numbers, [torch.ones_like(base.decay)] * found.inputs) for numbers in (base,)):
        return "its potential is not linear in its currents and its last potential"
    return "what a spike does to its potential is neither a hard reset nor a soft one"


def _so_far(found: Recurrence, k: Tensor | None) -> str:
    def said(values: Tensor) -> str:
        low, high = float(values.min()), float(values.max())
        return f"{low:.4g}" if high - low <= 1e-9 * max(abs(high), 1e-9) else f"{low:.4g} to {high:.4g}"

    words = [f"threshold {said(found.threshold)}"] if bool((found.threshold.abs() > 1e-12).any()) else []
    if k is not None and len(k) > 1:
        words.append(f"decay {said(k[1] / k[0])}")
    return ", ".join(words)
