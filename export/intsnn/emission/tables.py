"""The constants of a network: as arrays in the source, or as one block of bytes with an offset for each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import Bounds
from intsnn.emission.memory import ALIGNMENT, rounded_up
from intsnn.emission.storage import element_for

_PER_LINE = 24


@dataclass(frozen=True)
class Table:
    """One array, its C element type and what part of the network it belongs to."""

    name: str
    values: npt.NDArray[np.integer]
    element: str
    part: str

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.values.size) * np.dtype(self.element).itemsize


@dataclass
class Tables:
    """Arrays in the order in which they were added; one that is added again under its name is kept once."""

    in_source: bool
    prefix: str
    all: list[Table] = field(default_factory=list)
    _offsets: dict[str, int] = field(default_factory=dict)
    _size: int = 0

    def add(self, name: str, values: npt.NDArray[np.integer], *, part: str, element: str | None = None) -> str:
        """Keep an array; the C of a pointer to it, `element` narrow unless given."""
        element = element or element_for(Bounds(int(values.min()), int(values.max())))
        table = Table(f"{self.prefix}_{name}", values, element, part)
        if table.name not in self._offsets:
            self.all.append(table)
            self._offsets[table.name] = self._size
            self._size += rounded_up(table.size, ALIGNMENT)
        if self.in_source:
            return table.name
        return f"((const nn_{element} *)(net->tables + {self._offsets[table.name]}))"

    @property
    def block(self) -> bytes:
        """All arrays as one block, each at its offset."""
        content = bytearray(self._size)
        for table in self.all:
            stored, at = np.ascontiguousarray(table.values.astype(table.element)).tobytes(), self._offsets[table.name]
            content[at : at + len(stored)] = stored
        return bytes(content)

    @property
    def definitions(self) -> list[str]:
        """The arrays as C, where they stand in the source."""
        return [line for table in self.all for line in _definition(table)] if self.in_source else []


def _definition(table: Table) -> list[str]:
    values = [str(int(value)) for value in table.values.ravel()]
    lines = [", ".join(values[at : at + _PER_LINE]) + "," for at in range(0, len(values), _PER_LINE)]
    return [f"static const {table.element}_t {table.name}[{len(values)}] = {{", *lines, "};"]
