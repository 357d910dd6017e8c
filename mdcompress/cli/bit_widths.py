"""`2,3,4` on a command line -> numbers of bits, each one that the part can have."""

from __future__ import annotations

import click

from intsnn.weight_bits import WEIGHT_BITS


def weight_bits(_context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    """Bits that a weight can have."""
    return _several(parameter, text, WEIGHT_BITS)


def membrane_bits(_context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    """Bits that a stored membrane can have."""
    return _several(parameter, text, range(2, 17))


def norm_bits(_context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    """Significant bits that a norm's multiplier can have."""
    return _several(parameter, text, range(2, 17))


def _several(parameter: click.Parameter, text: str, allowed: range | tuple[float, ...]) -> tuple[float, ...]:
    """`2,3,4` as numbers; an empty text is none."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = {f"{value:g}": value for value in allowed}
    if not set(words) <= set(known):
        names = ", ".join(known)
        raise click.BadParameter(f"must be of {names}, with commas between them (got {text!r})", param=parameter)
    return tuple(dict.fromkeys(known[word] for word in words))
