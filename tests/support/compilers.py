"""What compiles for a test: the compiler with fewer flags, as shipped, or none."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from intsnn.compiling.compiler import find_compiler, host_flags
from intsnn.engines import choice

SHIPPED = choice._SOON  # the flags for little work
_IS_X86 = platform.machine() in ("x86_64", "AMD64")
PLAIN = (
    *SHIPPED,
    *(("-mno-avx2", "-mno-avx512bw") if _IS_X86 else ()),
)  # half the time: the header of the others is long


def compile_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled for little work names no vector instructions: to read their header takes half the time.

    They are tested where native code is the subject.
    """
    monkeypatch.setattr(choice, "_SOON", PLAIN)


def compile_as_shipped(monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """The flags that users' code has, and more behind them."""
    monkeypatch.setattr(choice, "_SOON", (*SHIPPED, *more))


def header_read_before(folder: Path) -> tuple[str, ...]:
    """Flags by which GCC takes the header of vector instructions as it read it once: half the time of a compilation.

    None where there is no such header, or the compiler is another one.
    """
    compiler = find_compiler()
    if not _IS_X86 or any(other in compiler.version for other in ("clang", "zig")):
        return ()
    header = folder / "vectors.h"
    header.write_text("#include <immintrin.h>\n")
    flags = [flag for flag in host_flags(compiler) if flag != "-shared"]
    command = [*compiler.command, *flags, *SHIPPED, "-x", "c-header", str(header), "-o", f"{header}.gch"]
    subprocess.run(command, check=True, timeout=120)
    return ("-include", str(header))


def hide_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler on the PATH, none in CC, and no package that brings one."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)
