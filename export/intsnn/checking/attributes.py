"""What every scalar attribute of a node must be, as one table: words and a test."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from intsnn.weight_bits import TERNARY_BITS, WEIGHT_BITS

Predicate = Callable[[object], bool]


def _is_int(value: object, low: float, high: float = math.inf) -> bool:
    return type(value) is int and low <= value <= high


def _int_in(low: int, high: float = math.inf) -> tuple[str, Predicate]:
    return f"an int in [{low}, {high}]", lambda value: _is_int(value, low, high)


def _ints_from(low: int) -> tuple[str, Predicate]:
    def holds(value: object) -> bool:
        return isinstance(value, tuple) and len(value) > 0 and all(_is_int(item, low) for item in value)

    return f"a tuple of one or more ints >= {low}", holds


def _one_of(*choices: object) -> tuple[str, Predicate]:
    words = f"one of {', '.join(map(str, choices))}"
    return words, lambda value: any(type(value) is type(choice) and value == choice for choice in choices)


def is_weight_bit_width(value: object) -> bool:
    """One of WEIGHT_BITS, as a plain int or float."""
    return type(value) in (int, float) and value in WEIGHT_BITS


_WEIGHT_BITS = (f"1, {TERNARY_BITS} or 2 to 8", is_weight_bit_width)
_STORED_BITS = _int_in(2, 16)

ATTRIBUTES: Mapping[tuple[str, str], tuple[str, Predicate]] = {
    # (kind, or "" for any kind, field): what must hold, its test
    ("", "shape"): _ints_from(1),
    ("", "stride"): _ints_from(1),
    ("", "dilation"): _ints_from(1),
    ("", "kernel"): _ints_from(1),
    ("", "padding"): _ints_from(0),
    ("", "output_padding"): _ints_from(0),
    ("", "permutation"): _ints_from(0),
    ("", "groups"): _int_in(1),
    ("", "shift"): _int_in(0, 30),
    ("", "signed"): _one_of(False, True),
    ("", "scale"): (
        "a finite float > 0",
        lambda value: type(value) is float and math.isfinite(value) and value > 0,
    ),
    ("", "axis"): _int_in(0),
    ("", "guard_bits"): _int_in(0, 30),
    ("", "reset"): _one_of("hard", "soft", "none"),
    ("", "initial"): _int_in(-(2**15), 2**15 - 1),
    ("", "spike"): _one_of("binary", "floor", "round"),
    ("", "max_spikes"): _int_in(1, 255),
    ("", "timing"): _one_of("same_step", "after_leak", "masked"),
    ("", "floor"): _one_of("none", "before_fire", "after_reset"),
    ("", "rearm"): _one_of("plain", "double"),
    ("", "synapse_shift"): _int_in(0, 30),
    ("", "output"): _one_of("spikes", "potential"),
    ("", "recurrent_bit_width"): _WEIGHT_BITS,
    ("", "recurrent_groups"): _int_in(1),
    ("", "recurrent_shift"): _int_in(0, 30),
    ("input", "bit_width"): _int_in(1, 8),
    ("neuron", "bit_width"): _STORED_BITS,
    ("recurrent_neuron", "bit_width"): _STORED_BITS,
    ("conv", "bit_width"): _WEIGHT_BITS,
    ("conv_transpose", "bit_width"): _WEIGHT_BITS,
    ("linear", "bit_width"): _WEIGHT_BITS,
    ("slice", "start"): _int_in(0),
    ("slice", "stop"): _int_in(1),
    ("pool", "mode"): _one_of("max", "sum"),
    ("multiply", "mode"): _one_of("product", "inhibit"),
    ("readout", "mode"): _one_of("sum", "steps", "last", "max"),
}
