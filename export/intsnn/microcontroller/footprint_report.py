"""Emitted code -> what it takes of a microcontroller's flash and RAM, layer by layer, and whether that is allowed.

Constants and state are known from the source. The size of the code and the depth of the stack are measured: the source
is compiled for a Cortex-M4 with the compiler of the package `ziglang`, where that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from intsnn.emission.source import Source
from intsnn.emission.tables import Table
from intsnn.errors import CompilerError, MemoryLimitError
from intsnn.graph import IntGraph
from intsnn.microcontroller.measuring import measured_sizes
from intsnn.microcontroller.object_file import ObjectSizes

Memory = Literal["flash", "RAM"]
Purpose = Literal["weights", "parameters", "state", "buffers"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
KEPT_IN: Mapping[Purpose, Memory] = {"weights": "flash", "parameters": "flash", "state": "RAM", "buffers": "RAM"}
INSTALL = "pip install 'mdcompress[native]' brings the compiler"
SHARED = "all layers in turn"  # whose buffers are one memory
_NAMED = 3  # parts that a message names


@dataclass(frozen=True)
class Part:
    """What one layer takes for one purpose, in bytes."""

    layer: str
    purpose: Purpose
    bytes: int


@dataclass(frozen=True)
class MemoryReport:
    """What the code of a network takes.

    parts: of constants and of the state, in the order of the layers. measured: None where there was no compiler to
    measure with.
    """

    parts: tuple[Part, ...]
    measured: ObjectSizes | None

    @property
    def flash_bytes(self) -> int:
        """Constants and, where measured, the code."""
        return sum(self.shares("flash").values())

    @property
    def ram_bytes(self) -> int:
        """The state and, where measured, the stack."""
        return sum(self.shares("RAM").values())

    def of(self, layer: str, purpose: Purpose) -> int:
        """What one layer takes for one purpose."""
        return sum(part.bytes for part in self.parts if (part.layer, part.purpose) == (layer, purpose))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that take anything, in order."""
        return tuple(dict.fromkeys(part.layer for part in self.parts if part.bytes))

    def shares(self, memory: Memory) -> Mapping[str, int]:
        """The bytes of a memory by purpose; `code` and `stack` only where measured."""
        shares: dict[str, int] = {
            purpose: sum(part.bytes for part in self.parts if part.purpose == purpose)
            for purpose in PURPOSES
            if KEPT_IN[purpose] == memory
        }
        if self.measured is None:
            return shares
        rest = {"flash": self.measured.code_bytes + self.measured.constant_bytes, "RAM": self.measured.variable_bytes}
        more = {"code" if memory == "flash" else "padding": rest[memory] - sum(shares.values())}
        return {**shares, **more, **({"stack": self.measured.stack_bytes} if memory == "RAM" else {})}

    def in_words(self, memory: Memory) -> str:
        """`31,204 bytes (weights 27,000, parameters 1,204, code 3,000)`."""
        shares = self.shares(memory)
        named = ", ".join(f"{purpose} {count:,}" for purpose, count in shares.items())
        missing = "" if self.measured else f"; {_MEASURED[memory]} not measured: {INSTALL}"
        return f"{sum(shares.values()):,} bytes ({named}{missing})"


def memory_report(graph: IntGraph, source: Source) -> MemoryReport:
    """What the code of a graph takes; code and stack only where ziglang is installed.

    Raises:
        CompilerError: it is installed and does not compile the code.
    """
    tables = [Part(each.part, _purpose(each), each.size) for each in source.tables]
    state = [Part(name, "state", size) for name, size in source.state.items()]
    order = {node.name: place for place, node in enumerate(graph)}
    parts = sorted([*tables, *state], key=lambda part: order.get(part.layer, -1))
    return MemoryReport(
        (*parts, Part(SHARED, "buffers", source.buffer_bytes)),
        measured_sizes(source.header, source.code, name=source.name),
    )


def require_memory(report: MemoryReport, memory: Memory, limit: int | None) -> None:
    """Hold a report to a limit in bytes; none where it is None.

    Raises:
        MemoryLimitError: it takes more; the message names what takes most.
        CompilerError: what is known stays below, and the rest was not measured.
    """
    taken = report.flash_bytes if memory == "flash" else report.ram_bytes
    if limit is None or (taken <= limit and report.measured):
        return
    option = f"--max-{memory.lower()}"
    if taken <= limit:
        raise CompilerError(f"{option} must know the {_MEASURED[memory]} too (it was not measured)", hints=[INSTALL])
    largest = ", ".join(f"{name} {count:,}" for name, count in _largest(report, memory))
    raise MemoryLimitError(
        f"the network must take at most {limit:,} bytes of {memory} (it takes {taken:,}; most: {largest})",
        hints=[f"give layers fewer {_WAYS[memory]}, or raise {option}"],
    )


_MEASURED: Mapping[Memory, str] = {"flash": "code", "RAM": "stack"}
_WAYS: Mapping[Memory, str] = {
    "flash": "bits or channels (`quantize.weight`; `mdcompress sensitivity` says which)",
    "RAM": "channels or smaller maps",
}


def _purpose(table: Table) -> Purpose:
    return "weights" if table.name.endswith("_weight") else "parameters"


def _largest(report: MemoryReport, memory: Memory) -> Sequence[tuple[str, int]]:
    parts = [part for part in report.parts if KEPT_IN[part.purpose] == memory]
    found = [(f"{part.purpose} of {part.layer}", part.bytes) for part in parts]
    found += [(name, count) for name, count in report.shares(memory).items() if name not in PURPOSES]
    return sorted(found, key=lambda each: -each[1])[:_NAMED]
