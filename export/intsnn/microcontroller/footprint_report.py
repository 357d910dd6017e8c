"""Emitted code -> what it takes of a microcontroller's flash and RAM, layer by layer.

Constants and state are known from the source. The size of the code and the depth of the stack are measured: the source
is compiled for a Cortex-M4 with the compiler of the package `ziglang`, where that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from intsnn.emission.source import Source
from intsnn.emission.tables import Table
from intsnn.graph import IntGraph
from intsnn.microcontroller.measuring import measured_sizes
from intsnn.microcontroller.object_file import ObjectSizes

Memory = Literal["flash", "RAM"]
Purpose = Literal["weights", "parameters", "state", "buffers"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
KEPT_IN: Mapping[Purpose, Memory] = {"weights": "flash", "parameters": "flash", "state": "RAM", "buffers": "RAM"}
INSTALL = "pip install 'mdcompress[native]' brings the compiler"
SHARED = "all layers in turn"  # whose buffers are one memory
UNMEASURED: Mapping[Memory, str] = {"flash": "code", "RAM": "stack"}  # where nothing was compiled


@dataclass(frozen=True)
class Part:
    """What one layer takes for one purpose, in bytes."""

    layer: str
    purpose: Purpose
    bytes: int


@dataclass(frozen=True)
class MemoryReport:
    """What the code of a network takes: exactly where it was measured, else at least.

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
        """`31,204 bytes (weights 27,000, parameters 1,204, code 3,000)`; `at least ...` where nothing was compiled."""
        shares = self.shares(memory)
        named = ", ".join(f"{purpose} {count:,}" for purpose, count in shares.items())
        missing = "" if self.measured else f"; the {UNMEASURED[memory]} comes on top, not measured: {INSTALL}"
        return f"{self.least}{sum(shares.values()):,} bytes ({named}{missing})"

    @property
    def least(self) -> str:
        """`at least ` before a number of bytes that is not all; nothing where it is."""
        return "" if self.measured else "at least "

    @property
    def figures(self) -> Mapping[str, int]:
        """`flash_bytes` and `ram_bytes`; `..._at_least` where nothing was compiled."""
        end = "" if self.measured else "_at_least"
        return {f"flash_bytes{end}": self.flash_bytes, f"ram_bytes{end}": self.ram_bytes}


def memory_report(graph: IntGraph, source: Source) -> MemoryReport:
    """What the code of a graph takes; code and stack only where ziglang is installed.

    Raises:
        CompilerError: it is installed and does not compile the code.
    """
    return MemoryReport(parts_of(graph, source), measured_sizes(source.header, source.code, name=source.name))


def parts_of(graph: IntGraph, source: Source) -> tuple[Part, ...]:
    """What is known without compiling the code: constants and state of each layer, and the buffers of all."""
    tables = [Part(each.part, _purpose(each), each.size) for each in source.tables]
    state = [Part(name, "state", size) for name, size in source.state.items()]
    order = {node.name: place for place, node in enumerate(graph)}
    parts = sorted([*tables, *state], key=lambda part: order.get(part.layer, -1))
    return (*parts, Part(SHARED, "buffers", source.buffer_bytes))


def _purpose(table: Table) -> Purpose:
    return "weights" if table.name.endswith("_weight") else "parameters"
