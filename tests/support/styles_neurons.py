"""A neuron as somebody wrote it: its options, its numbers, the lines of its step, and the canonical neuron that it is.

The lines are ordinary torch, put together as text, so that a drawn neuron reads like research code and has no trace of
the options in it. What it is in the canonical form (`Truth`) is worked out here by hand, from the options alone; it
shares nothing with what reads neurons.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Literal

Charge = Literal[
    "multiply", "integrate", "one_minus", "exp", "sigmoid", "channel", "clamped", "exp_both", "tau", "tau_rest",
    "tau_leak", "sigmoid_both",
]  # fmt: skip
Order = Literal["after", "before", "after_leak", "masked", "leak_last"]
Reset = Literal["hard", "hard_value", "soft", "soft_other", "none"]
Spelling = Literal["gt", "method", "where", "masked", "heaviside", "to", "sign", "straight", "plain"]
Count = Literal["none", "round", "floor"]  # of spikes in a step; none: one spike or none
Values = float | tuple[float, ...]

FACTORS: tuple[Charge, ...] = ("multiply", "one_minus", "exp", "sigmoid", "channel", "clamped")  # v times a factor
UNIT_GAIN: tuple[Charge, ...] = (*FACTORS, "integrate", "tau_leak")  # the current is added as it is


@dataclass(frozen=True)
class NeuronStyle:
    """How a neuron is written. `planted` names the fault that makes it another one (`styles_planted`)."""

    charge: Charge = "multiply"
    order: Order = "after"
    reset: Reset = "hard"
    reset_form: int = 0  # which of the ways to write that reset
    comparator: Literal["greater", "greater_equal"] = "greater"
    compared: Literal["gap", "ratio", "direct", "constant"] = "gap"
    spelling: Spelling = "gt"
    cast: Literal["float", "dtype"] = "dtype"  # .float() runs in float32 only
    count: Count = "none"
    threshold: Literal["constant", "learned", "channel"] = "constant"
    height: Literal["one", "threshold"] = "one"  # of the spikes that are put out
    synapse: Literal["none", "sum", "mix"] = "none"
    floor: Literal["none", "before_fire", "after_reset"] = "none"
    initial: Literal["zero", "value"] = "zero"
    start: Literal["zeros", "float", "none"] = "zeros"
    detach: bool = False
    planted: str = ""

    @property
    def keeps_spikes(self) -> bool:
        """Whether the spikes of the step before are part of the state."""
        return self.order in ("before", "after_leak", "masked") or self.planted in NEED_LAST

    @property
    def states(self) -> tuple[str, ...]:
        """The names of what lives on from step to step."""
        return ("v", *(["s"] if self.keeps_spikes else []), *(["i"] if self.synapse != "none" else []))


NEED_LAST = ("threshold_spikes", "reset_twice", "refractory", "delay", "reset_by_rate")


@dataclass(frozen=True)
class Truth:
    """The canonical neuron that a style is, in its author's units (equations: mdcompress.graph.NeuronModel)."""

    decay: Values
    gain: Values  # of the current, through synapse and membrane
    drive: Values
    threshold: Values
    comparator: str
    reset: Literal["hard", "soft", "none"]
    reset_value: float
    soft_amount: Values
    initial: Values
    synapse_decay: float | None
    spike: Literal["binary", "round", "floor"]
    max_spikes: int
    timing: Literal["same_step", "after_leak", "masked"]
    floor: Literal["none", "before_fire", "after_reset"]
    floor_value: float
    height: Values  # what a spike is worth behind the neuron


@dataclass(frozen=True)
class Numbers:
    """The numbers of one layer's neuron by the name that the code gives them; a tuple is one for each channel."""

    values: dict[str, Values]
    learned: frozenset[str] = field(default_factory=frozenset)


def draw_neuron(dice: random.Random) -> NeuronStyle:
    """Options that go together."""
    count: Count = dice.choices(("none", "round", "floor"), (8, 1, 1))[0]
    charge = dice.choice(
        (*FACTORS, "multiply", "multiply", "integrate", "exp_both", "tau", "tau_rest", "tau_leak", "sigmoid_both")
    )
    order: Order = dice.choice(("after", "after", "before", "before", "after_leak", "masked", "leak_last"))
    if order == "leak_last" and charge not in FACTORS:
        order = "after"
    reset = _draw_reset(dice, order, count)
    style = NeuronStyle(
        charge=charge,
        order="after" if reset == "none" and order in ("before", "after_leak", "masked") else order,
        reset=reset,
        reset_form=dice.randrange(4),
        comparator=dice.choice(("greater", "greater_equal")),
        compared=dice.choice(("gap", "ratio", "direct", "constant")),
        spelling=dice.choice(("gt", "method", "where", "masked", "heaviside", "to", "sign", "straight", "plain")),
        cast=dice.choices(("dtype", "float"), (3, 1))[0],
        count=count,
        threshold=dice.choices(("constant", "learned", "channel"), (6, 2, 1))[0],
        height=dice.choices(("one", "threshold"), (6, 1))[0] if count == "none" else "one",
        synapse=dice.choices(("none", "sum", "mix"), (6, 1, 1))[0] if reset != "none" else "none",
        floor=dice.choices(("none", "before_fire", "after_reset"), (8, 1, 1))[0] if order == "after" else "none",
        initial=dice.choices(("zero", "value"), (5, 1))[0] if order != "leak_last" else "zero",
        start=dice.choice(("zeros", "zeros", "float", "none")),
        detach=dice.random() < 0.4,
    )
    return _consistent(style)


def _draw_reset(dice: random.Random, order: Order, count: Count) -> Reset:
    if order == "masked" and count == "none":
        return "hard"
    if order == "after_leak" or count != "none":
        return dice.choice(("soft", "soft", "soft_other"))
    return dice.choices(("hard", "hard_value", "soft", "soft_other", "none"), (4, 2, 4, 2, 1))[0]


def _consistent(style: NeuronStyle) -> NeuronStyle:
    """Nobody compares with a constant that is learned, detaches a float, or starts without a membrane that has one."""
    if style.compared == "constant" and style.threshold != "constant":
        style = replace(style, compared="direct")
    if style.order == "masked" and style.count != "none":
        style = replace(style, order="before")
    single = style.charge in UNIT_GAIN and style.initial == "zero" and style.synapse == "none"
    if style.start == "none" and not single:
        style = replace(style, start="zeros")
    if style.order in ("before", "after_leak", "masked") and style.start != "zeros":
        style = replace(style, detach=False)
    return style


def draw_numbers(style: NeuronStyle, *, channels: int, dice: random.Random) -> Numbers:
    """The numbers that this style needs, for a layer of so many channels."""
    values: dict[str, Values] = {}
    learned: set[str] = set()
    match style.charge:
        case "multiply":
            values["decay"] = dice.choice((0.25, 0.5, 0.9, 0.2, round(dice.uniform(0.1, 0.95), 3)))
        case "clamped":
            values["decay"] = round(dice.uniform(0.2, 0.95), 3)
        case "channel":
            values["decay"] = tuple(round(dice.uniform(0.2, 0.95), 3) for _ in range(channels))
        case "sigmoid" | "sigmoid_both":
            values["w"] = round(dice.uniform(-1.5, 1.5), 3)
        case "integrate":
            pass
        case _:
            values["tau"] = dice.choice((2.0, 1.5, 4.0, round(dice.uniform(1.2, 6.0), 2)))
    learned |= {name for name in ("decay", "w") if name in values and style.charge != "multiply"}
    values["th"] = _threshold(style, channels, dice)
    learned |= {"th"} if style.threshold != "constant" else set()
    if style.charge == "tau_rest":
        values["rest"] = round(dice.uniform(-0.2, 0.2), 2)
    if style.reset == "hard_value":
        values["v_reset"] = dice.choice((-0.2, 0.1, round(dice.uniform(-0.3, 0.2), 2)))
    if style.reset == "soft_other":
        values["amount"] = round(dice.uniform(0.3, 1.5), 2)
    if style.synapse != "none":
        values["alpha"] = round(dice.uniform(0.2, 0.8), 2)
    if style.floor != "none":
        values["low"] = dice.choice((0.0, -0.2, -0.5))
    if style.initial == "value":
        values["v0"] = round(dice.uniform(0.1, 0.5), 2)
    return Numbers({**values, **{name: _in_float32(values[name]) for name in learned}}, frozenset(learned))


def _in_float32(value: Values) -> Values:
    """Near it, a number that a parameter holds exactly."""
    return tuple(round(64 * one) / 64 for one in value) if isinstance(value, tuple) else round(64 * value) / 64


def _threshold(style: NeuronStyle, channels: int, dice: random.Random) -> Values:
    if style.threshold == "channel":
        return tuple(round(dice.uniform(0.5, 1.5), 3) for _ in range(channels))
    return dice.choice((1.0, 0.5, 0.3, round(dice.uniform(0.4, 1.6), 2)))


# ------------------------------------------------------------------ what it is in the canonical form


def truth(style: NeuronStyle, numbers: Numbers) -> Truth:
    """The canonical neuron of an unplanted style."""
    decay, gain, drive = _charged(style, numbers)
    alpha = numbers.values.get("alpha")
    if style.synapse == "mix":
        assert isinstance(alpha, float)
        gain *= 1 - alpha
    threshold = numbers.values["th"]
    soft_amount = numbers.values.get("amount", threshold)
    return Truth(
        decay=decay,
        gain=gain,
        drive=drive,
        threshold=threshold,
        comparator=style.comparator,
        reset="hard" if style.reset.startswith("hard") else "soft" if style.reset.startswith("soft") else "none",
        reset_value=_one(numbers.values.get("v_reset", 0.0)),
        soft_amount=soft_amount,
        initial=numbers.values.get("v0", 0.0),
        synapse_decay=None if alpha is None else _one(alpha),
        spike="binary" if style.count == "none" else style.count,
        max_spikes=1 if style.count == "none" else MOST,
        timing=style.order if style.order in ("after_leak", "masked") else "same_step",
        floor=style.floor,
        floor_value=_one(numbers.values.get("low", 0.0)),
        height=threshold if style.height == "threshold" else 1.0,
    )


MOST = 4  # spikes of a counting neuron in a step, as in g07's kind of network


def _charged(style: NeuronStyle, numbers: Numbers) -> tuple[Values, float, float]:
    """Decay, gain, drive."""
    values = numbers.values
    match style.charge:
        case "multiply" | "channel" | "clamped":
            return values["decay"], 1.0, 0.0
        case "integrate":
            return 1.0, 1.0, 0.0
        case "sigmoid" | "sigmoid_both":
            share = 1 / (1 + math.exp(-_one(values["w"])))
            return (share, 1.0, 0.0) if style.charge == "sigmoid" else (1 - share, share, 0.0)
        case "exp" | "exp_both":
            share = math.exp(-1 / _one(values["tau"]))
            return share, 1.0 if style.charge == "exp" else 1 - share, 0.0
        case "one_minus" | "tau_leak":
            return 1 - 1 / _one(values["tau"]), 1.0, 0.0
        case "tau" | "tau_rest":
            tau = _one(values["tau"])
            return 1 - 1 / tau, 1 / tau, _one(values.get("rest", 0.0)) / tau


def _one(value: Values) -> float:
    assert isinstance(value, float)
    return value
