"""Recurrences written with numbers by hand are read as exactly these numbers; others are refused with their cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from mdcompress.graph import NeuronModel
from mdcompress.lifting.identify import Reading, Recurrence, Unread, identify, snap

Charge = Callable[[int, Tensor, Tensor], Tensor]  # step, what is kept, current -> potential
Fire = Callable[[Tensor, Tensor], Tensor]  # potential, spikes -> what is kept
STEPS, PLACES = 5, 6
CHANNELS = torch.arange(PLACES) // 2  # three of two places


def potentials(charge: Charge, fire: Fire, initial: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """The potentials of a recurrence, step by step."""

    def run(x: Tensor, s: Tensor) -> Tensor:
        v, found = torch.full_like(x[0, 0], initial), []
        for step in range(x.shape[1]):
            h = charge(step, v, x[0, step])
            found.append(h)
            v = fire(h, s[step])
        return torch.stack(found)

    return run


def recurrence(run: Callable[[Tensor, Tensor], Tensor], threshold: float = 1.0, **more: object) -> Recurrence:
    found = Recurrence(run, STEPS, (False,), torch.full((PLACES,), threshold, dtype=torch.float64), CHANNELS, "ge",
                       late=(False,))  # fmt: skip
    return replace(found, **more)  # type: ignore[arg-type]


def leaky(_: int, v: Tensor, x: Tensor) -> Tensor:
    return 0.5 * v + 0.25 * x + 0.1


def soft(h: Tensor, s: Tensor) -> Tensor:
    return h - 0.7 * s


def hard(h: Tensor, s: Tensor) -> Tensor:
    return h * (1 - s) - 0.2 * s


def kept(h: Tensor, s: Tensor) -> Tensor:
    return h


def after_leak(x: Tensor, s: Tensor) -> Tensor:
    """h = .5*v + .25*x - .7*(spikes of the step before)."""
    v, before, found = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0]), []
    for step in range(x.shape[1]):
        v = 0.5 * v + 0.25 * x[0, step] - 0.7 * before
        before = s[step]
        found.append(v)
    return torch.stack(found)


def masked(x: Tensor, s: Tensor) -> Tensor:
    """h = (.5*v + .25*x)*(1 - spikes of the step before)."""
    v, before, found = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0]), []
    for step in range(x.shape[1]):
        v = (0.5 * v + 0.25 * x[0, step]) * (1 - before)
        before = s[step]
        found.append(v)
    return torch.stack(found)


def masked_decay(x: Tensor, s: Tensor) -> Tensor:
    """h = .5*v*(1 - spikes of the step before) + .25*x: a hard reset to 0."""
    v, before, found = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0]), []
    for step in range(x.shape[1]):
        v = 0.5 * v * (1 - before) + 0.25 * x[0, step]
        before = s[step]
        found.append(v)
    return torch.stack(found)


def filtered(x: Tensor, s: Tensor) -> Tensor:
    """i = .75*i + x; h = .5*v + .25*i; v = h - .7*s."""
    v, i, found = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0]), []
    for step in range(x.shape[1]):
        i = 0.75 * i + x[0, step]
        h = 0.5 * v + 0.25 * i
        found.append(h)
        v = h - 0.7 * s[step]
    return torch.stack(found)


PLAIN = NeuronModel(
    decay=0.5, input_gain=0.25, drive=0.0, threshold=1.0, comparator="greater_equal", reset="none",
    reset_value=0.0, soft_amount=0.0, initial=0.0,
)  # fmt: skip
DRIVEN = replace(PLAIN, drive=0.1, initial=0.3)
SOFT = replace(PLAIN, reset="soft", soft_amount=0.7)


def without_drive(_: int, v: Tensor, x: Tensor) -> Tensor:
    return 0.5 * v + 0.25 * x


@dataclass(frozen=True)
class Known:
    """A recurrence and the neuron that it is."""

    found: Recurrence
    model: NeuronModel


KNOWN = {
    "without reset": Known(recurrence(potentials(leaky, kept, 0.3)), DRIVEN),
    "soft": Known(recurrence(potentials(leaky, soft, 0.3)), replace(DRIVEN, reset="soft", soft_amount=0.7)),
    "hard": Known(recurrence(potentials(leaky, hard, 0.3)), replace(DRIVEN, reset="hard", reset_value=-0.2)),
    "hard to zero, masked decay": Known(recurrence(masked_decay), replace(PLAIN, reset="hard")),
    "soft after the leak": Known(recurrence(after_leak, 0.7), replace(SOFT, threshold=0.7, timing="after_leak")),
    "masked": Known(recurrence(masked), replace(PLAIN, reset="hard", timing="masked")),
    "behind a synapse": Known(recurrence(filtered), replace(SOFT, synapse_decay=0.75)),
    "without leak": Known(
        recurrence(potentials(lambda _, v, x: v + x, soft)), replace(SOFT, decay=1.0, input_gain=1.0)
    ),
    "without memory": Known(
        recurrence(potentials(lambda _, v, x: 0 * v + x, kept)), replace(PLAIN, decay=0.0, input_gain=1.0)
    ),
    "a floor before firing": Known(
        recurrence(potentials(lambda _, v, x: (0.5 * v + 0.25 * x).clamp(min=-0.1), soft), floors=(-0.1,)),
        replace(SOFT, floor="before_fire", floor_value=-0.1),
    ),
    "a floor after the reset": Known(
        recurrence(potentials(without_drive, lambda h, s: (h - 0.7 * s).clamp(min=0.0)), floors=(0.0,)),
        replace(SOFT, floor="after_reset", floor_value=0.0),
    ),
    "a floor that does nothing is not read": Known(
        recurrence(potentials(without_drive, soft), floors=(-0.1, 0.0)), SOFT
    ),
    "numbers for each channel": Known(
        recurrence(
            potentials(lambda _, v, x: (0.5 + 0.125 * CHANNELS) * v + 0.25 * x, lambda h, s: h - (CHANNELS + 1.0) * s),
            threshold=1.0,
        ),
        replace(PLAIN, decay=(0.5, 0.625, 0.75), reset="soft", soft_amount=(1.0, 2.0, 3.0)),
    ),
    "strictly above": Known(
        recurrence(potentials(without_drive, soft), comparator="gt"), replace(SOFT, comparator="greater")
    ),
    "counts": Known(
        recurrence(potentials(without_drive, soft), 0.7, spike="floor", max_spikes=4),
        replace(SOFT, threshold=0.7, spike="floor", max_spikes=4),
    ),
    "a negative decay": Known(
        recurrence(potentials(lambda _, v, x: -0.5 * v + 0.25 * x, soft)), replace(SOFT, decay=-0.5)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_recurrence_is_read_as_the_numbers_it_was_written_with(name: str) -> None:
    reading = identify(KNOWN[name].found)
    assert isinstance(reading, Reading), reading
    assert reading.model == KNOWN[name].model
    assert [weight.tolist() for weight in reading.weights] == [[1.0] * PLACES]


def test_two_inputs_are_weighed_beside_the_larger_one() -> None:
    def run(x: Tensor, s: Tensor) -> Tensor:
        return potentials(without_drive, soft)((0.5 * x[0] + 2.0 * x[1])[None], s)

    reading = identify(replace(recurrence(run), still=(False, False), late=(False, False)))
    assert isinstance(reading, Reading), reading
    assert reading.model == replace(SOFT, input_gain=0.5)  # 2 * .25 of the second, beside which the first is a quarter
    assert [weight[0].item() for weight in reading.weights] == [0.25, 1.0]


def test_an_input_of_the_step_before_is_weighed_from_its_own_first_step() -> None:
    def run(x: Tensor, s: Tensor) -> Tensor:
        return potentials(without_drive, soft)((x[0] + x[1])[None], s)

    reading = identify(replace(recurrence(run), still=(False, False), late=(False, True)))
    assert isinstance(reading, Reading), reading
    assert reading.model == SOFT and [weight[0].item() for weight in reading.weights] == [1.0, 1.0]


# ---------------------------------------------------------------------- what is no canonical neuron


def _per_step(step: int, v: Tensor, x: Tensor) -> Tensor:
    return (0.75 if step == 2 else 0.5) * v + 0.25 * x


def _drive_per_step(step: int, v: Tensor, x: Tensor) -> Tensor:
    return 0.5 * v + 0.25 * x + (0.1 if step == 3 else 0.0)


def _threshold_of_the_input(x: Tensor, s: Tensor) -> Tensor:
    """The potential less a threshold of 1 + .5*(second input)."""
    return potentials(without_drive, soft)(x[:1], s) - 0.5 * x[1]


def _adapting(x: Tensor, s: Tensor) -> Tensor:
    """The threshold rises by .3 with each spike and falls back by half."""
    v, a, found = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0]), []
    for step in range(x.shape[1]):
        v = 0.75 * v + 0.25 * x[0, step]
        found.append(v - a)
        v = v - 0.7 * s[step]
        a = 0.5 * a + 0.3 * s[step]
    return torch.stack(found)


WRONG = {
    "its decay changes": (recurrence(potentials(_per_step, soft)), "its decay changes: what it keeps of a current"),
    "quadratic": (
        recurrence(potentials(lambda _, v, x: 0.5 * v + 0.25 * x**2, soft)),
        "its potential is not linear in its current",
    ),
    "tanh of its current": (
        recurrence(potentials(lambda _, v, x: 0.5 * v + torch.tanh(x), soft)),
        "its potential is not linear in its current",
    ),
    "tanh of what it keeps": (
        recurrence(potentials(lambda _, v, x: torch.tanh(v) + x, soft)),
        "its potential is not linear",
    ),
    "threshold of the input": (
        replace(recurrence(_threshold_of_the_input), still=(False, False), late=(False, False)),
        "its threshold depends on the input of the same step",
    ),
    "drive at one step": (
        recurrence(potentials(_drive_per_step, soft)),
        "its threshold or drive at step 3 is another than before",
    ),
    "half a reset": (
        recurrence(potentials(without_drive, lambda h, s: h * (1 - 0.5 * s))),
        "what a spike does to its potential is neither a hard reset nor a soft one",
    ),
    "a threshold that adapts": (
        recurrence(_adapting),
        "what a spike does to its potential is neither a hard reset nor a soft one",
    ),
    "no current at its own step": (
        recurrence(potentials(lambda _, v, x: 0.5 * v, lambda h, s: h)),
        "its potential does not follow the current of the same step",
    ),
    "numbers within a channel": (
        recurrence(potentials(lambda _, v, x: torch.linspace(0.25, 0.75, PLACES) * v + x, soft)),
        "its decay differs from neuron to neuron within a channel",
    ),
    "not finite": (
        recurrence(potentials(lambda _, v, x: 0.5 * v + 1.0 / (x - 1.0), soft)),
        "its potential is not finite for a current of 1",
    ),
    "an oscillation": (
        recurrence(lambda x, s: torch.stack([x[0, t] - 0.5 * (x[0, t - 2] if t > 1 else 0.0) for t in range(STEPS)])),
        "its impulse response is no decay",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_canonical_neuron_is_unread_with_its_cause(name: str) -> None:
    found, words = WRONG[name]
    unread = identify(found)
    assert isinstance(unread, Unread), unread
    assert unread.why.startswith(words), unread.why


def test_the_step_at_which_a_decay_changes_is_named() -> None:
    unread = identify(recurrence(potentials(_per_step, soft)))
    assert isinstance(unread, Unread)
    assert unread.found == "threshold 1, decay 0.5"


@pytest.mark.parametrize(
    ("measured", "typed"),
    [(0.1 + 0.2, 0.3), (1 / 3, 1 / 3), (0.7 * 3 / 3, 0.7), (1e-17, 0.0), (float(torch.tensor(0.3)), None), (0.0, 0.0)],
)
def test_a_measured_number_is_the_typed_one_where_it_is_as_near_as_roundings(measured: float, typed: float) -> None:
    assert snap(measured * (1 + 2e-16)) == (measured if typed is None else typed) or snap(measured) == typed
