"""Which canonical neuron a recurrence is, read off its potentials for chosen currents and forced spikes.

A recorded neuron is a function h_t(x_0..x_t, s_0..s_{t-1}) that can be run again on any values. Without spikes the
canonical neuron is linear in its currents: its impulse response k_0, k_1, ... gives gain and decay (two decays where
a synapse filters the currents), zero input gives drive and initial value, one forced spike gives the reset. What was
read is then proved: potentials of both for random currents and random forced spikes, at every step that the network
makes. Where they differ the recurrence is no canonical neuron; nothing is approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdcompress.graph import FloorKind, NeuronModel, Numbers, ResetKind, ResetTiming, channel_values

Potentials = Callable[[Tensor, Tensor], Tensor]  # currents [G, T, P], forced spikes [T, P] -> potentials [T, P]
_NEAR = 1e-9  # of the potentials' size: float64 sums in another order differ by less
_DRAWS = 4
_TYPED = 2e-14  # as near lies what was typed, after the roundings of a few float64 operations


@dataclass(frozen=True)
class Recurrence:
    """A neuron as it was recorded.

    potentials: the function, in the units of the user's membrane. steps: T. inputs: how many tensors it reads, G;
    still: whether each is the same at all steps. threshold: [P]. channels: the channel of each of the P places.
    spike, max_spikes: as of NeuronModel. floors: constants below which the code keeps something. late: whether an input
    is there from step 1 on only, as what recurrent weights make of the last spikes.
    """

    potentials: Potentials
    steps: int
    still: tuple[bool, ...]
    threshold: Tensor
    channels: Tensor
    comparator: str
    spike: str = "binary"
    max_spikes: int | None = 1
    floors: tuple[float, ...] = ()
    late: tuple[bool, ...] = ()

    @property
    def inputs(self) -> int:
        """How many tensors it reads."""
        return len(self.still)


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
    """The canonical neuron that a recurrence is, or why it is none."""
    responses = [_impulse(found, each) for each in range(found.inputs)]
    silent = _run(found, 0.0)
    if not all(bool(torch.isfinite(each).all()) for each in (*responses, silent)):
        return Unread("its potential is not finite for a current of 1")
    prompt = [each for each in range(found.inputs) if not found.late[each]]
    if not prompt:
        return Unread("it reads nothing but its own spikes")
    first = max(prompt, key=lambda each: float(responses[each][0].abs().mean()))
    k = responses[first]
    if not bool((k[0].abs() > 1e-12).all()):
        return Unread("its potential does not follow the current of the same step")
    if _bends(found, k, first):
        return Unread(f"its potential is not linear in its current ({_so_far(found, None)})", input=first)
    weights = []
    for each, response in enumerate(responses):
        if found.late[each] and found.steps == 1:
            continue
        response = response[1:] if found.late[each] else response
        share = response[0] / k[0]
        if not _close(response, share * k[: len(response)], k.abs().max()):
            return _lagging(found, each, first, response, k)
        weights.append(_snapped(share))
    causes: list[str] = []
    for poles in _with_reset_first(found, k):
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


def _run(found: Recurrence, current: float, *, only: int | None = None, spikes: Tensor | None = None) -> Tensor:
    places = len(found.threshold)
    x = torch.zeros(found.inputs, found.steps, places, dtype=torch.float64)
    if only is None:
        x += current
    else:
        x[only] = current
    x = _begun(found, x)
    s = torch.zeros(found.steps, places, dtype=torch.float64) if spikes is None else spikes
    return found.potentials(x, s)


def _begun(found: Recurrence, x: Tensor) -> Tensor:
    """Currents without those of step 0 that are not there yet."""
    for each, late in enumerate(found.late):
        if late:
            x[each, 0] = 0.0
    return x


def _impulse(found: Recurrence, each: int) -> Tensor:
    """The response k_0, k_1, ... to a current of 1 at one step, [T, P], of one input."""
    steps = _run(found, 1.0, only=each) - _run(found, 0.0)
    return torch.cat([steps[:1], steps[1:] - steps[:-1]])


def _bends(found: Recurrence, k: Tensor, each: int) -> bool:
    """Whether twice the current is not twice the response, at one step or the other."""
    once, twice, rest = (_run(found, c, only=each) for c in (1.0, 2.0, 0.0))
    return not _close(twice - rest, 2 * (once - rest), k.abs().max() * found.steps)


def impulse_poles(k: Tensor) -> Iterator[tuple[Tensor, Tensor | None] | str]:
    """(decay, synapse decay or None) that give an impulse response; a text where none does."""
    size = k.abs().max()
    zero = torch.zeros_like(k[0])
    if len(k) == 1:
        yield zero, None
        return
    decay = k[1] / k[0]
    if all(_close(k[t + 1], decay * k[t], size) for t in range(len(k) - 1)):
        yield decay, None
        return
    if len(k) < 3:
        yield "what it keeps is not seen in two steps"
        return
    total = k[1] / k[0]
    product = total**2 - k[2] / k[0]
    root = total**2 - 4 * product
    if bool((root < -1e-12).any()):
        yield "its impulse response is no decay, nor one behind a filter of its current"
        return
    root = root.clamp(min=0).sqrt()
    high, low = (total + root) / 2, (total - root) / 2
    both = [k[0], k[1]]
    for _ in range(2, len(k)):
        both.append(total * both[-1] - product * both[-2])
    if not _close(torch.stack(both), k, size):
        at = next(t for t in range(len(k)) if not _close(both[t], k[t], size))
        yield f"its decay changes: what it keeps of a current is another share at step {at}"
        return
    yield low, high
    yield high, low


def _with_reset_first(found: Recurrence, k: Tensor) -> Iterator[tuple[Tensor, Tensor | None] | str]:
    """The poles of an impulse response; of two the one with which a spike's effect decays is the membrane's."""
    poles = list(impulse_poles(k))
    if len(poles) == 2 and found.steps >= 3:
        once = torch.zeros(found.steps, len(found.threshold), dtype=torch.float64)
        once[0] = 1.0
        some = 8.0 * float(found.threshold.abs().max().clamp(min=0.1)) / float(k[0].abs().min().clamp(min=1e-6))
        effect = _run(found, some, spikes=once) - _run(found, some)
        if bool((effect[1].abs() > 1e-9 * some).all()):
            decay = effect[2] / effect[1]
            yield decay, k[1] / k[0] - decay
    yield from poles


def _with_rest(poles: tuple[Tensor, Tensor | None], k: Tensor, silent: Tensor) -> _Numbers | str:
    """The numbers with drive and initial value, from the potentials without current."""
    decay, synapse = poles
    if len(silent) == 1:
        return _Numbers(decay, k[0], silent[0], torch.zeros_like(decay), synapse)
    drive = silent[1] - decay * silent[0]
    keeps = decay.abs() > 1e-12
    initial = torch.where(keeps, (silent[0] - drive) / torch.where(keeps, decay, 1.0), 0.0)
    size = max(float(silent.abs().max()), float(k.abs().max()))
    if not _close(silent[0], decay * initial + drive, size):
        return "its first step starts from another value than a state would"
    expected = silent[0]
    for step in range(1, len(silent)):
        expected = decay * expected + drive
        if not _close(silent[step], expected, size):
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
    if found.steps == 1:
        yield base
        return
    once = torch.zeros(found.steps, len(found.threshold), dtype=torch.float64)
    once[0] = 1.0
    # currents of many thresholds, so that no floor is touched
    some = 8.0 * float(found.threshold.abs().max().clamp(min=0.1)) / float(base.gain.abs().min().clamp(min=1e-6))
    change = _run(found, some, spikes=once)[1] - _run(found, some)[1]
    changed = _run(found, 2 * some, spikes=once)[1] - _run(found, 2 * some)[1]
    size = float(base.gain.abs().max()) * some + float(found.threshold.abs().max())
    if _close(change, torch.zeros_like(change), size) and _close(changed, change, size):
        yield base
    keeps = base.decay.abs() > 1e-12
    decay = torch.where(keeps, base.decay, 1.0)
    if _close(changed, change, size):
        after = replace(base, reset="soft", amount=-change, timing="after_leak")
        same = replace(base, reset="soft", amount=-change / decay)
        if not bool(keeps.all()) or _close(-change, found.threshold, size):
            yield after
        if bool(keeps.all()):
            yield same
    spiked = _run(found, some, spikes=once)[1]
    filtered = 1.0 if base.synapse is None else 1.0 + base.synapse
    rest = spiked - base.drive - base.gain * filtered * some * _worth(found)
    yield replace(base, reset="hard", reset_value=torch.where(keeps, rest / decay, 0.0))
    yield replace(base, reset="hard", reset_value=torch.zeros_like(change), timing="masked")


def _worth(found: Recurrence) -> Tensor:
    """What a current of 1 in every input is worth, beside one in the first that is there at step 0."""
    k = [_impulse(found, each)[1 if late else 0] for each, late in enumerate(found.late) if found.steps > 1 or not late]
    first = max(
        (each for each, late in enumerate(found.late) if not late), key=lambda each: float(k[each].abs().mean())
    )
    return torch.stack(k).sum(0) / k[first]


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
    if not _close(level, found.threshold, level.abs().max()):
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
        x = _begun(found, x)
        s = torch.randint(0, top + 1, (found.steps, places), generator=generator).double()
        if draw == 0:
            s = (torch.rand(found.steps, places, generator=generator) < 0.2).double()
        got = found.potentials(x, s)
        total = torch.stack([w * each for w, each in zip(weights, x, strict=True)]).sum(0)
        expected = forced(numbers, total, s)
        if not bool(torch.isfinite(got).all()) or not _close(got, expected, expected.abs().max()):
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


def _close(one: Tensor, other: Tensor, size: Tensor | float) -> bool:
    return bool((one - other).abs().max() <= _NEAR * max(float(size), 1e-12))


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

    words = [f"threshold {said(found.threshold)}"]
    if k is not None and len(k) > 1:
        words.append(f"decay {said(k[1] / k[0])}")
    return ", ".join(words)
