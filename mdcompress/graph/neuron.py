"""A neuron in the canonical form, by its real parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

ResetKind = Literal["hard", "soft", "none"]
LARGEST_COUNT = 31  # of a neuron that may fire any number of times: 5 bits, as on SynSense's Xylo
Numbers = float | tuple[float, ...]  # one for the layer, or one for each channel
Comparator = Literal["greater_equal", "greater"]
SpikeKind = Literal["binary", "floor", "round"]
ResetTiming = Literal["same_step", "after_leak", "masked"]
FloorKind = Literal["none", "before_fire", "after_reset"]
Rearm = Literal["plain", "double"]
NeuronOutput = Literal["spikes", "membrane"]


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
    decay: Numbers
    input_gain: Numbers
    drive: Numbers
    threshold: Numbers
    comparator: Comparator
    reset: ResetKind
    reset_value: Numbers
    soft_amount: Numbers
    initial: Numbers
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
        lengths = {len(channel_values(value)) for value in self.numbers.values()} - {1}
        assert len(lengths) <= 1, f"a neuron's numbers are per layer or per channel of one layer, got {lengths}"

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
