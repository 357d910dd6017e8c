"""An object file of a 32-bit Arm compiler (ELF) -> bytes of code, of constants, and of the deepest stack.

It must be compiled with a section for each function and with stack sizes (`-ffunction-sections -fstack-size-section`):
the calls between functions are then relocations, and the deepest stack is the longest path through them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

# ELF for the Arm Architecture (IHI0044), System V ABI, chapter 4
_PROGRAM, _SYMBOLS, _RELOCATIONS = 1, 2, 9  # sh_type
_WRITABLE, _ALLOCATED, _EXECUTABLE = 1, 2, 4  # sh_flags
_CALLS = (10, 30)  # R_ARM_THM_CALL, R_ARM_THM_JUMP24
_UNDEFINED, _FIRST_RESERVED = 0, 0xFF00  # st_shndx


@dataclass(frozen=True)
class ObjectSizes:
    """What a program takes of flash and of RAM, and the stack that it needs, in bytes.

    variable_bytes: of its global and static variables. libraries: functions of the compiler's or C library that it
    calls; neither their code nor their stack is counted.
    """

    code_bytes: int
    constant_bytes: int
    variable_bytes: int
    stack_bytes: int
    libraries: tuple[str, ...]


def object_sizes(content: bytes) -> ObjectSizes:
    """The sizes of an object file.

    Raises:
        ValueError: it is no 32-bit little-endian ELF file, or a function calls itself.
    """
    if content[:6] != b"\x7fELF\x01\x01":
        raise ValueError("an object file must be 32-bit little-endian ELF")
    file = _ObjectFile(content)
    frames, calls = dict(file.frames()), file.calls()
    depths = [_deepest(section, frames, calls, ()) for section in frames]
    return ObjectSizes(
        code_bytes=sum(section.size for section in file.sections if section.is_code),
        constant_bytes=sum(section.size for section in file.sections if section.is_constant),
        variable_bytes=sum(section.size for section in file.sections if section.is_variable),
        stack_bytes=max(depths, default=0),
        libraries=tuple(sorted({name for name in file.undefined() if not name.startswith("__aeabi_unwind")})),
    )


@dataclass(frozen=True)
class _Section:
    """One line of the section table; `link` and `about` are sh_link and sh_info."""

    kind: int
    flags: int
    offset: int
    size: int
    link: int
    about: int
    name: str

    @property
    def is_code(self) -> bool:
        return bool(self.flags & _EXECUTABLE)

    @property
    def is_constant(self) -> bool:
        """What is loaded, neither run nor written: no unwind tables, which a bare program leaves out."""
        kept = self.kind == _PROGRAM and self.flags & (_WRITABLE | _ALLOCATED | _EXECUTABLE) == _ALLOCATED
        return kept and not self.name.startswith(".ARM.")

    @property
    def is_variable(self) -> bool:
        return self.flags & (_WRITABLE | _ALLOCATED) == _WRITABLE | _ALLOCATED


@dataclass(frozen=True)
class _ObjectFile:
    content: bytes

    @cached_property
    def sections(self) -> tuple[_Section, ...]:
        (table,), (size, count, names) = self._read("<I", 32), self._read("<3H", 46)
        rows = [self._read("<10I", table + size * index) for index in range(count)]
        texts = rows[names][4]
        return tuple(
            _Section(row[1], row[2], row[4], row[5], row[6], row[7], self._text(texts + row[0])) for row in rows
        )

    def frames(self) -> Iterator[tuple[int, int]]:
        """Bytes of stack of the function in each section of code: its number, the size as LEB128 after an address."""
        for section in self.sections:
            if section.name == ".stack_sizes":
                yield section.link, self._unsigned(section.offset + 4)

    def calls(self) -> Mapping[int, frozenset[int]]:
        """The sections of the functions that each section of code calls."""
        symbols = self._symbols()
        return {
            section.about: frozenset(
                symbols[about >> 8][1]
                for _, about in self._rows(section, "<2I")
                if about & 0xFF in _CALLS and _UNDEFINED < symbols[about >> 8][1] < _FIRST_RESERVED
            )
            for section in self.sections
            if section.kind == _RELOCATIONS and self.sections[section.about].is_code
        }

    def undefined(self) -> Iterator[str]:
        """The names of the functions that other files must bring."""
        return (name for name, section in self._symbols() if section == _UNDEFINED and name)

    def _symbols(self) -> list[tuple[str, int]]:
        """The name and the section of every symbol."""
        table = next(section for section in self.sections if section.kind == _SYMBOLS)
        texts = self.sections[table.link].offset
        return [(self._text(texts + row[0]), row[5]) for row in self._rows(table, "<IIIBBH")]

    def _rows(self, section: _Section, form: str) -> Iterator[tuple[int, ...]]:
        return struct.iter_unpack(form, self.content[section.offset : section.offset + section.size])

    def _read(self, form: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(form, self.content, offset)

    def _text(self, offset: int) -> str:
        return self.content[offset : self.content.index(b"\0", offset)].decode()

    def _unsigned(self, offset: int) -> int:
        """An unsigned LEB128: seven bits a byte, the lowest first; the top bit says that another follows."""
        value, shift = 0, 0
        while True:
            byte = self.content[offset]
            value |= (byte & 0x7F) << shift
            offset, shift = offset + 1, shift + 7
            if byte < 0x80:
                return value


def _deepest(
    section: int, frames: Mapping[int, int], calls: Mapping[int, frozenset[int]], above: tuple[int, ...]
) -> int:
    """The stack of a function and of the deepest that it calls."""
    if section in above:
        raise ValueError("a function that calls itself has no deepest stack")
    below = (_deepest(called, frames, calls, (*above, section)) for called in calls.get(section, frozenset()))
    return frames.get(section, 0) + max(below, default=0)
