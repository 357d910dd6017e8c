"""`24KiB` on a command line -> 24576 bytes."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "b": 1, "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


class ByteSize(click.ParamType):
    """A number of bytes, or of KiB (K) or MiB (M)."""

    name = "bytes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes; click's own error where this is no size."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        unit = found and _UNITS.get(found[2].lower())
        size = float(found[1]) * unit if found and unit else 0.0
        if size < 1 or size != int(size):
            self.fail(f"must be a number of bytes, 24KiB, 64K or 1MiB (1 KiB = 1024 bytes; got {value!r})", param, ctx)
        return int(size)
