"""How many guard bits a leak needs: D = round(decay * 2^R) must still be a leak (FORMAT.md, "Leak")."""

from __future__ import annotations

from mdcompress.graph import Numbers, per_channel

LARGEST_GUARD_BITS = 12  # the recipe's limit: 16 stored bits and 12 guard bits stay below int32
EXACT_UP_TO = 8  # bits up to which a decay that is a binary fraction has to be kept exactly


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
    return max(leak_bits(value) for value in per_channel(decay))


def keeps_leak(decay: float, guard_bits: int) -> bool:
    """Whether R guard bits hold the decay: exactly if it is a short binary fraction, else as a leak at all."""
    scaled: float = decay * 2**guard_bits
    if _is_binary_fraction(decay):
        return scaled % 1 == 0
    return round(scaled) not in (0, 2**guard_bits)


def _is_binary_fraction(decay: float) -> bool:
    scaled: float = decay * 2**EXACT_UP_TO
    return scaled % 1 == 0
