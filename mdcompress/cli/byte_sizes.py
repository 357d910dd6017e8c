"""`24KiB` on a command line -> 24576 bytes."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "b": 1, "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def byte_size(_context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """The bytes that an option names, as a number or in KiB (K) or MiB (M); click's own error where it names none."""
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * _UNITS.get(found[2].lower(), 0) if found else 0.0
    if size < 1 or size != int(size):
        raise click.BadParameter(
            f"must be a number of bytes, or for example 24KiB, 64K, 1MiB (1 KiB = 1024 bytes; got {text!r})",
            param=parameter,
        )
    return int(size)
