"""The things of one class among others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

KindT = TypeVar("KindT")


def of_kind(values: Iterable[object], kind: type[KindT]) -> Iterator[KindT]:
    """Those of `values` that are of the class `kind`, or of one below it, in order."""
    return (value for value in values if isinstance(value, kind))
