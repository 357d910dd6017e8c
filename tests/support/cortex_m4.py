"""C sources -> a bare image for an Arm Cortex-M4 -> what it does in an emulator: what it wrote, how many instructions,
how deep its stack.

Flash and RAM lie where they do on a real part, in their real sizes: what reads, writes or jumps elsewhere faults. The
compiler is that of the package `ziglang`, the emulator is Unicorn: both come by pip.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unicorn import (
    UC_ARCH_ARM,
    UC_HOOK_BLOCK,
    UC_MODE_MCLASS,
    UC_MODE_THUMB,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
)
from unicorn.arm_const import UC_ARM_REG_SP, UC_CPU_ARM_CORTEX_M4

FLASH, RAM, REGISTERS = 0x08000000, 0x20000000, 0x40000000  # RM0090, memory map; the registers are the emulator's own
OUT, EXIT, MARK = 0, 4, 8  # offsets: a word of output; the exit code, which ends the run; a line between two steps
KIB = 1024
PAGE_BYTES = 4 * KIB  # what the emulator maps memory in
TARGET = ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
MOST_SECONDS = 120
_FIRMWARE = Path(__file__).parent / "firmware"
_UNTOUCHED = 0xA5  # what the stack holds before anything was put there


@dataclass(frozen=True)
class Image:
    """A linked program, and the memory that it was linked for, in bytes."""

    path: Path
    flash_bytes: int
    ram_bytes: int


@dataclass(frozen=True)
class Execution:
    """What a program did.

    words: what it wrote to OUT. instructions: between one MARK and the next where they were counted, to the block.
    stack_bytes: the deepest it went. flash_used, ram_used: bytes of the image in flash, and of its variables in RAM.
    """

    exit_code: int
    words: tuple[int, ...]
    instructions: tuple[int, ...]
    stack_bytes: int
    flash_used: int
    ram_used: int


def build_image(
    sources: Sequence[Path],
    folder: Path,
    *,
    flags: Sequence[str] = ("-Os",),
    flash_kib: int = 64,
    ram_kib: int = 24,
) -> Image:
    """Compile and link without a warning, with the start-up code; AssertionError with the compiler's words else."""
    image = Image(folder / "image.elf", flash_kib * KIB, ram_kib * KIB)
    script = folder / "memory.ld"
    script.write_text(_memory(image) + (_FIRMWARE / "sections.ld").read_text())
    places = ["-T", str(script), "-Wl,--gc-sections", "-Wl,--entry=reset_handler"]
    command = [sys.executable, "-m", "ziglang", "cc", *TARGET, *WARNINGS, "-ffreestanding", "-ffunction-sections"]
    command += [*flags, *places, "-o", str(image.path), str(_FIRMWARE / "start.c"), *map(str, sources)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0 and not result.stderr, result.stderr
    return image


def execute(image: Image) -> Execution:
    """Run an image from reset until it writes EXIT; UcError where it leaves its memory."""
    return _executed(image, _Observer)


def count_instructions(image: Image) -> Execution:
    """The same, with the instructions between its marks; many times slower."""
    return _executed(image, _Counter)


def _executed(image: Image, observer: type[_Observer]) -> Execution:
    machine, segments = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS), _segments(image.path.read_bytes())
    machine.ctl_set_cpu_model(UC_CPU_ARM_CORTEX_M4)
    machine.mem_map(FLASH, _whole_pages(image.flash_bytes), UC_PROT_READ | UC_PROT_EXEC)
    machine.mem_map(RAM, _whole_pages(image.ram_bytes), UC_PROT_READ | UC_PROT_WRITE)
    for segment in segments:
        machine.mem_write(segment.physical, segment.content)
    variables = max((s.address + s.size for s in segments if s.address >= RAM), default=RAM) - RAM
    machine.mem_write(RAM + variables, bytes([_UNTOUCHED]) * (image.ram_bytes - variables))
    seen = observer(machine)
    stack, entry = struct.unpack("<II", machine.mem_read(FLASH, 8))
    machine.reg_write(UC_ARM_REG_SP, stack)
    machine.emu_start(entry, FLASH + image.flash_bytes, timeout=MOST_SECONDS * 1_000_000)
    assert seen.exit_code is not None, f"the program did not end in {MOST_SECONDS} s"
    left = bytes(machine.mem_read(RAM + variables, image.ram_bytes - variables))
    free = len(left) - len(left.lstrip(bytes([_UNTOUCHED])))
    assert free, "the stack met the variables"
    return Execution(
        exit_code=seen.exit_code,
        words=tuple(seen.words),
        instructions=tuple(after - before for before, after in zip(seen.marks, seen.marks[1:], strict=False)),
        stack_bytes=len(left) - free,
        flash_used=sum(len(segment.content) for segment in segments),
        ram_used=variables,
    )


@dataclass
class _Observer:
    """Keeps what is written to the registers."""

    machine: Uc
    words: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    exit_code: int | None = None
    executed: int = 0

    def __post_init__(self) -> None:
        self.machine.mmio_map(REGISTERS, PAGE_BYTES, _read_nothing, None, self._on_write, None)

    def _on_write(self, machine: Uc, offset: int, size: int, value: int, data: object) -> None:
        if offset == OUT:
            self.words.append(value)
        elif offset == MARK:
            self.marks.append(self.executed)
        elif offset == EXIT:
            self.exit_code = value - (1 << 32) * (value >> 31)
            machine.emu_stop()


@dataclass
class _Counter(_Observer):
    """Counts instructions too: those of every block that is entered."""

    blocks: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.machine.hook_add(UC_HOOK_BLOCK, self._on_block)

    def _on_block(self, machine: Uc, address: int, size: int, data: object) -> None:
        place = (address, size)
        if place not in self.blocks:
            self.blocks[place] = _instructions(bytes(machine.mem_read(address, size)))
        self.executed += self.blocks[place]


def _memory(image: Image) -> str:
    flash = f"flash (rx) : ORIGIN = {FLASH:#x}, LENGTH = {image.flash_bytes}"
    return f"MEMORY {{ {flash} ram (rw) : ORIGIN = {RAM:#x}, LENGTH = {image.ram_bytes} }}\n"


def _read_nothing(machine: Uc, offset: int, size: int, data: object) -> int:
    return 0


def _instructions(code: bytes) -> int:
    """How many Thumb instructions stand there: a half-word that starts with 0b11101, 0b11110 or 0b11111 has a second.

    Arm v7-M Architecture Reference Manual, A5.1.
    """
    count, halves, at = 0, struct.unpack(f"<{len(code) // 2}H", code), 0
    while at < len(halves):
        at += 2 if halves[at] >> 11 >= 0b11101 else 1
        count += 1
    return count


def _whole_pages(size: int) -> int:
    assert size % PAGE_BYTES == 0, f"memory is a multiple of {PAGE_BYTES} bytes here (got {size})"
    return size


@dataclass(frozen=True)
class _Segment:
    """A piece of the program: where it runs, where it is stored, what is stored, how large it is when it runs."""

    address: int
    physical: int
    content: bytes
    size: int


def _segments(elf: bytes) -> list[_Segment]:
    """What the program header table of a 32-bit little-endian ELF file says to load."""
    assert elf[:6] == b"\x7fELF\x01\x01", "no 32-bit little-endian ELF file"
    (table,), (entry_bytes, count) = struct.unpack_from("<I", elf, 28), struct.unpack_from("<HH", elf, 42)
    headers = (struct.unpack_from("<8I", elf, table + entry_bytes * index) for index in range(count))
    loaded = 1  # PT_LOAD
    return [
        _Segment(address, physical, elf[offset : offset + stored], size)
        for kind, offset, address, physical, stored, size, _, _ in headers
        if kind == loaded and size
    ]
