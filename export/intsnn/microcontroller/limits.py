"""What code takes and what it may take -> an error that names what takes most, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intsnn.errors import CompilerError, MemoryLimitError
from intsnn.microcontroller.footprint_report import INSTALL, KEPT_IN, PURPOSES, UNMEASURED, Memory, MemoryReport
from intsnn.microcontroller.memory_table import memory_table

Limits = Mapping[Memory, int | None]
_NAMED = 3  # parts that a message names
_OPTIONS: Mapping[Memory, str] = {"flash": "max_flash", "RAM": "max_ram"}
_WAYS: Mapping[Memory, str] = {
    "flash": "bits or channels (`quantize.weight`; `mdcompress sensitivity` says which)",
    "RAM": "channels or smaller maps",
}


def require_memory(report: MemoryReport, limits: Limits) -> None:
    """Hold a report to limits in bytes; None: any number.

    Raises:
        MemoryLimitError: it takes more; the message has every limit that is passed, what takes most, and the table.
        CompilerError: what is known stays below, and the rest was not measured.
    """
    passed = [memory for memory, limit in limits.items() if limit is not None and _taken(report, memory) > limit]
    if passed:
        lines = [_passed(report, memory, limits[memory] or 0) for memory in passed]
        ways = [f"give layers fewer {_WAYS[memory]}, or raise {_option(memory)}" for memory in passed]
        raise MemoryLimitError("\n".join([*lines, "", memory_table(report), ""]), hints=ways)
    asked = [memory for memory, limit in limits.items() if limit is not None]
    if asked and not report.measured:
        options, unknown = (" and ".join(each) for each in (map(_option, asked), [UNMEASURED[one] for one in asked]))
        raise CompilerError(f"{options} must know the {unknown} too (nothing was compiled)", hints=[INSTALL])


def _passed(report: MemoryReport, memory: Memory, limit: int) -> str:
    largest = ", ".join(f"{name} {count:,}" for name, count in _largest(report, memory))
    taken = f"{report.least}{_taken(report, memory):,}"
    return f"the network must take at most {limit:,} bytes of {memory} (it takes {taken}; most: {largest})"


def _taken(report: MemoryReport, memory: Memory) -> int:
    return report.flash_bytes if memory == "flash" else report.ram_bytes


def _option(memory: Memory) -> str:
    """As the command line has it, and Python."""
    return f"--{_OPTIONS[memory].replace('_', '-')} (in Python `{_OPTIONS[memory]}`)"


def _largest(report: MemoryReport, memory: Memory) -> Sequence[tuple[str, int]]:
    parts = [part for part in report.parts if KEPT_IN[part.purpose] == memory]
    found = [(f"{part.purpose} of {part.layer}", part.bytes) for part in parts]
    found += [(name, count) for name, count in report.shares(memory).items() if name not in PURPOSES]
    return sorted(found, key=lambda each: -each[1])[:_NAMED]
