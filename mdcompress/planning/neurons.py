"""Whether a neuron has integers, as faults (message, hint) of its parameters and options; and its guard bits.

A leak needs guard bits R: D = round(decay * 2^R) must still be a leak (FORMAT.md, "Leak").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from mdcompress.graph import NeuronModel, Numbers, channel_values
from mdcompress.recipe.policies import MembranePolicy

LARGEST_GUARD_BITS = 12  # the recipe's limit: 16 stored bits and 12 guard bits stay below int32
EXACT_UP_TO = 8  # bits up to which a decay that is a binary fraction has to be kept exactly

NeuronFault = tuple[str, str]

_LATE_RESETS = {"after_leak": "soft", "masked": "hard"}  # what a reset in the next step can be


def neuron_faults(neuron: NeuronModel, membrane: MembranePolicy) -> Iterator[NeuronFault]:
    """What is impossible about a neuron under a policy."""
    for threshold in _offending(neuron.threshold, lambda value: 0 < value < math.inf):
        hint = "give the neuron a threshold above 0; a negative one fires without input, at every step"
        yield f"the threshold must be greater than 0 (got {threshold:g})", hint
    yield from _decay_faults("decay", neuron.decay, membrane.guard_bits)
    if neuron.synapse_decay is not None:
        yield from _decay_faults("synapse decay", neuron.synapse_decay, None)
    for gain in _offending(neuron.current_gain, lambda value: 0 < value < math.inf):
        hint = "put the sign into the weights of the layer before, and switch neurons without input off there"
        yield f"the input gain must be greater than 0 (got {gain:g})", hint
    for name in ("drive", "reset_value", "soft_amount", "floor_value", "initial"):
        for value in _offending(getattr(neuron, name), math.isfinite):
            yield f"{name} must be a number (got {value})", "load weights that are finite"
    yield from _option_faults(neuron)


def leak_bits(decay: float) -> int:
    """The guard bits R that a decay asks for.

    The smallest R <= 8 for which decay * 2^R is an integer (tau = 2^k: R = k); where there is none, the smallest R >= 8
    for which D is neither 0 (forgets at once) nor 2^R (never leaks), or 12 (then `keeps_leak` is still false).
    """
    first = 0 if _is_binary_fraction(decay) else EXACT_UP_TO
    sufficient = (bits for bits in range(first, LARGEST_GUARD_BITS) if keeps_leak(decay, bits))
    return next(sufficient, LARGEST_GUARD_BITS)


def most_leak_bits(decay: Numbers) -> int:
    """What the channel asks for that asks for most."""
    return max(leak_bits(value) for value in channel_values(decay))


def keeps_leak(decay: float, guard_bits: int) -> bool:
    """Whether R guard bits hold the decay: exactly if it is a short binary fraction, else as a leak at all."""
    scaled: float = decay * 2**guard_bits
    if _is_binary_fraction(decay):
        return scaled % 1 == 0
    return round(scaled) not in (0, 2**guard_bits)


def _is_binary_fraction(decay: float) -> bool:
    scaled: float = decay * 2**EXACT_UP_TO
    return scaled % 1 == 0


def _offending(value: Numbers, holds: Callable[[float], bool]) -> list[float]:
    """The first channel's value that breaks a rule, in a list; an empty one where all keep it."""
    return [number for number in channel_values(value) if not holds(number)][:1]


def _decay_faults(name: str, decays: Numbers, guard_bits: int | None) -> Iterator[NeuronFault]:
    """A decay is a number of [0, 1] that still is one in R bits; R as given, or as it will be found."""
    for decay in channel_values(decays):
        if not math.isfinite(decay):
            hint = "give the neuron a finite decay, or load weights that are finite"
            yield f"the {name} must be a number (got {decay})", hint
        elif not 0 <= decay <= 1:
            hint = "a membrane that grows by itself has no integer form: give the neuron a time constant of 1 or more"
            yield f"the {name} must lie in [0, 1] (got {decay:g})", hint
        elif not keeps_leak(decay, leak_bits(decay)):
            message = f"the {name} must differ from 0 and 1 in {LARGEST_GUARD_BITS} bits (got {decay!r})"
            yield message, f"give the neuron {name} {round(decay)} if that is what it means"
        elif guard_bits is not None and not keeps_leak(decay, guard_bits):
            least = next(bits for bits in range(LARGEST_GUARD_BITS + 1) if keeps_leak(decay, bits))
            message = f"guard_bits must be at least {least} for its {name} of {decay:g} (got {guard_bits})"
            yield message, "raise membrane.guard_bits, or leave it null: then it is found by itself"
        else:
            continue
        return


def _option_faults(neuron: NeuronModel) -> Iterator[NeuronFault]:
    """The options that go together (FORMAT.md, "Neuron")."""
    if len({start / gain for start, gain in _starts(neuron) if gain}) > 1:
        yield "it must start at one potential, and channels differ", "give all channels one initial potential and gain"
    late = _LATE_RESETS.get(neuron.timing, neuron.reset)
    if neuron.reset != late:
        yield f"a reset {neuron.timing} must be {late} (got {neuron.reset})", "describe it by another timing"
    if neuron.timing == "masked" and (neuron.reset_value != 0.0 or neuron.spike != "binary"):
        yield "a masked reset must go to 0, with spikes of 0 or 1", "describe it by another timing"
    if neuron.rearm == "double" and (neuron.reset, neuron.timing, neuron.spike) != ("soft", "same_step", "binary"):
        yield "a doubled threshold goes with a soft reset in the same step and spikes of 0 or 1", "use rearm='plain'"
    if neuron.output == "membrane" and (neuron.reset != "none" or neuron.spike != "binary"):
        yield "a neuron that puts out its membrane has no reset", "use reset='none' and spike='binary'"
    if neuron.spike != "binary" and neuron.comparator == "greater":
        yield "a count of spikes compares with >=", "use comparator='greater_equal'"
    if neuron.max_spikes is not None and not 1 <= neuron.max_spikes <= (1 if neuron.spike == "binary" else 255):
        yield f"max_spikes must be 1, or up to 255 for counts (got {neuron.max_spikes})", "limit the spikes of a step"


def _starts(neuron: NeuronModel) -> list[tuple[float, float]]:
    starts, gains = channel_values(neuron.initial), channel_values(neuron.current_gain)
    channels = max(len(starts), len(gains))
    return list(zip(starts * (channels // len(starts)), gains * (channels // len(gains)), strict=True))
