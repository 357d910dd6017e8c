"""A neuron in the canonical form, by its real parameters."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, get_args

from intsnn.errors import UsageError

ResetKind = Literal["hard", "soft", "none"]
LARGEST_COUNT = 31  # of a neuron that may fire any number of times: 5 bits, as on SynSense's Xylo
Numbers = float | tuple[float, ...]  # one for the layer, or one for each channel
Comparator = Literal["greater_equal", "greater"]
SpikeKind = Literal["binary", "floor", "round"]
ResetTiming = Literal["same_step", "after_leak", "masked"]
FloorKind = Literal["none", "before_fire", "after_reset"]
Rearm = Literal["plain", "double"]
NeuronOutput = Literal["spikes", "membrane"]
_WORDS = {
    "comparator": get_args(Comparator), "reset": get_args(ResetKind), "spike": get_args(SpikeKind),
    "timing": get_args(ResetTiming), "floor": get_args(FloorKind), "rearm": get_args(Rearm),
    "output": get_args(NeuronOutput),
}  # fmt: skip
_SIGNS = {">=": "greater_equal", ">": "greater", "ge": "greater_equal", "gt": "greater", "subtract": "soft",
          "zero": "hard"}  # fmt: skip


@dataclass(frozen=True)
class NeuronModel:
    """A neuron's real parameters in the canonical form. Every number is one for the layer or one per channel.

    i = synapse_decay*i + synapse_gain*x                where synapse_decay is given; else i = x
    h = decay*v + input_gain*i + drive
    h = h - soft_amount*s_prev (after_leak, soft)  |  h*(1 - s_prev) (masked)
    h = max(h, floor_value)                             floor before_fire
    s = [h >= threshold] or [h > threshold] (binary)  |  trunc(h/threshold) (floor)  |  round(h/threshold), half to
        even (round); the last two clipped to [0, max_spikes], None being no limit
    v = s > 0 ? reset_value : h (hard)  |  h - soft_amount*s (soft)  |  h (none); v = h where timing is not same_step
    v = max(v, floor_value)                             floor after_reset
    v(0) = initial, i(0) = 0, s_prev(0) = 0

    `rearm` double: the comparison sees h - threshold*[v_prev > threshold] (snnTorch without reset delay).
    `recurrent`: the submodule whose output for the last step's spikes is added to x, or, in a library's neuron, the
        name of the weights that are applied to them; None: there is none.
    `output` membrane: it never fires, s = 0, and puts out v, which only a readout may follow; the threshold then is no
        more than the size that its membrane is thought to have.
    """

    kind: ClassVar[Literal["neuron"]] = "neuron"
    decay: Numbers = 1.0
    input_gain: Numbers = 1.0
    drive: Numbers = 0.0
    threshold: Numbers = 1.0
    comparator: Comparator = "greater_equal"
    reset: ResetKind = "hard"
    reset_value: Numbers = 0.0
    soft_amount: Numbers = 0.0
    initial: Numbers = 0.0
    synapse_decay: Numbers | None = None
    synapse_gain: Numbers = 1.0
    spike: SpikeKind = "binary"
    max_spikes: int | None = 1
    timing: ResetTiming = "same_step"
    floor: FloorKind = "none"
    floor_value: Numbers = 0.0
    rearm: Rearm = "plain"
    recurrent: str | None = None
    output: NeuronOutput = "spikes"

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            _require_word(name, getattr(self, name), words)
        lengths = {name: len(channel_values(value)) for name, value in self.numbers.items()}
        several = {name: length for name, length in lengths.items() if length > 1}
        if len(set(several.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in several.items())
            raise UsageError(
                f"a neuron's numbers must be one for the layer, or one for each of the same channels (got {listed})",
                hints=["give each parameter one number, or as many as the layer has channels"],
            )

    @classmethod
    def lif(
        cls,
        *,
        tau: float = 2.0,
        threshold: Numbers = 1.0,
        reset: ResetKind = "hard",
        reset_value: float = 0.0,
        decay_input: bool = False,  # the word of the libraries
    ) -> NeuronModel:
        """A leaky integrate-and-fire neuron, as `mdcompress.zoo.LIF` and SpikingJelly's LIFNode have it.

        h = v - v/tau + x;  s = [h >= threshold];  v = s ? reset_value : h (hard) | h - threshold*s (soft) | h (none)
        with `decay_input`:  h = v + (x - (v - reset_value))/tau

        Args:
            tau: membrane time constant in steps, > 1; math.inf is a neuron without leak.
            threshold: where it fires; one number, or one for each channel.
            reset: hard (to `reset_value`), soft (subtract the threshold), or none.
            reset_value: where a hard reset goes, and where v starts.
            decay_input: scale the input by 1/tau and leak towards `reset_value`.

        Raises:
            UsageError: tau is no time constant, or a word is none of those that there are.
        """
        if not tau > 1.0 or (decay_input and math.isinf(tau)):
            raise UsageError(
                f"tau must be > 1{' and finite with decay_input' if decay_input else ''} (got {tau})",
                hints=["a neuron without leak is NeuronModel.lif(tau=math.inf)"],
            )
        rest = reset_value if reset == "hard" else 0.0
        return cls(
            decay=1.0 - 1.0 / tau,
            input_gain=1.0 / tau if decay_input else 1.0,
            drive=rest / tau if decay_input else 0.0,
            threshold=threshold,
            reset=reset,
            reset_value=rest,
            soft_amount=threshold if reset == "soft" else 0.0,
            initial=rest,
        )

    @classmethod
    def from_repr(cls, text: str) -> NeuronModel:
        """The neuron that was printed as `text`: `NeuronModel(decay=0.5, …)`, or `lif(tau=2.0, …)`. Nothing is run.

        Raises:
            UsageError: the text is no such call with plain values, or a name or word is unknown.
        """
        name, values = _call(text)
        known = {"NeuronModel": tuple(each.name for each in fields(cls)), "lif": _LIF_OPTIONS}
        if name not in known:
            raise UsageError(f"the text must be NeuronModel(…) or lif(…) (got {text!r})", hints=[_REPR_HINT])
        for given in values:
            if given not in known[name]:
                near = get_close_matches(given, known[name], n=1)
                raise UsageError(
                    f"{name} has no {given!r} (in {text!r})",
                    hints=[f"write `{near[0]}`" if near else f"it has {', '.join(known[name])}"],
                )
        make: Callable[..., NeuronModel] = cls if name == "NeuronModel" else cls.lif
        return make(**values)

    @property
    def numbers(self) -> dict[str, Numbers]:
        """The real parameters by name; synapse_decay where there is one."""
        values = {name: value for name, value in vars(self).items() if isinstance(value, float | int | tuple)}
        return {name: value for name, value in values.items() if name != "max_spikes"}

    @property
    def has_synapse(self) -> bool:
        """Whether a synaptic state lives on: not where it decays to nothing within a step."""
        return self.synapse_decay is not None and any(channel_values(self.synapse_decay))

    @property
    def current_gain(self) -> Numbers:
        """input_gain * synapse_gain: what a current is worth in the membrane."""
        gains = zip(*_alike(self.input_gain, self.synapse_gain), strict=True)
        products = tuple(one * other for one, other in gains)
        return products if len(products) > 1 else products[0]

    @property
    def has_one_gain(self) -> bool:
        """Whether all channels have one gain, so that their membranes have one unit."""
        return len(channel_values(self.current_gain)) == 1

    @property
    def channels(self) -> int:
        """How many channels the parameters tell apart; 1 where they are the layer's."""
        return max(len(channel_values(value)) for value in self.numbers.values())


_LIF_OPTIONS = ("tau", "threshold", "reset", "reset_value", "decay_input")
_REPR_HINT = "for example NeuronModel(decay=0.5, threshold=1.0, reset='soft', soft_amount=1.0)"


def _require_word(name: str, word: object, words: tuple[str, ...]) -> None:
    """UsageError unless the word is one of those; the hint is the one that was meant."""
    if word in words:
        return
    meant = _SIGNS.get(str(word)) or next(iter(get_close_matches(str(word), words, n=1)), None)
    hints = [f"write {name}={meant!r}"] if meant in words else []
    raise UsageError(f"{name} of a neuron must be {', '.join(words[:-1])} or {words[-1]} (got {word!r})", hints=hints)


def _call(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the plain keyword values of a call in Python's spelling."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("it is no call with names before its values")
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        return name, {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"the text must be a neuron in Python's spelling (got {text!r}: {error})", hints=[_REPR_HINT]
        ) from error


def channel_values(value: Numbers) -> tuple[float, ...]:
    """The numbers of a parameter: one for the layer, or one per channel."""
    return value if isinstance(value, tuple) else (value,)


def each_channel(value: Numbers, function: Callable[[float], float]) -> Numbers:
    """function(x) of the layer's one number, or of each channel's."""
    return tuple(map(function, value)) if isinstance(value, tuple) else function(value)


def _alike(*values: Numbers) -> list[tuple[float, ...]]:
    """Parameters as tuples of one length."""
    channels = max(len(channel_values(value)) for value in values)
    return [channel_values(value) * (channels // len(channel_values(value))) for value in values]


def count_limit(model: NeuronModel) -> int:
    """The most spikes an integer neuron fires in a step: max_spikes, or LARGEST_COUNT where there is no limit."""
    return LARGEST_COUNT if model.max_spikes is None else model.max_spikes


def typical(value: Numbers) -> float:
    """One number that stands for a layer: its own, or the mean over its channels."""
    values = channel_values(value)
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)
