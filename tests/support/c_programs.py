"""The folder of C of a graph in a test's own folder, and programs of it for this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intsnn.arithmetic import IntArray
from intsnn.emission.source import Source, portable_source
from intsnn.graph import IntGraph
from intsnn.microcontroller.footprint_report import MemoryReport, memory_report, parts_of
from intsnn.microcontroller.golden_test import golden_vectors
from intsnn.microcontroller.package import package

NAME = "drawn"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
WARNINGS_OF_CPP = ("-std=c++11", *WARNINGS[1:])
ZIG = (sys.executable, "-m", "ziglang", "cc")
ZIG_OF_CPP = (*ZIG[:-1], "c++")


@dataclass(frozen=True)
class Compilation:
    """A compiler of C with its flags, for a program that runs here."""

    name: str
    command: tuple[str, ...]


def compilations() -> tuple[Compilation, ...]:
    """With sanitizers, without optimization and with all: by gcc where there is one, and by zig.

    zig's own check of undefined behaviour ends the program with a trap.
    """
    found = [
        Compilation(f"zig {level}", (*ZIG, level, "-fsanitize=undefined", "-fsanitize-trap=undefined"))
        for level in ("-O0", "-O3")
    ]
    if gcc := shutil.which("gcc"):
        sanitized = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")
        found += [Compilation(f"gcc {level}", (gcc, level, *sanitized)) for level in ("-O0", "-O3")]
    return tuple(found)


def write_package(graph: IntGraph, x: IntArray, folder: Path, *, name: str = NAME) -> None:
    """Write the folder of C. Its sizes are not measured: that compiles the code, as these tests do anyway."""
    source = portable_source(graph, name)
    _write(graph, source, x, folder, report=MemoryReport(parts_of(graph, source), None))


def write_measured_package(graph: IntGraph, x: IntArray, folder: Path) -> MemoryReport:
    """Write the folder of C; what it takes, measured."""
    source = portable_source(graph, NAME)
    report = memory_report(graph, source)
    _write(graph, source, x, folder, report=report)
    return report


def _write(graph: IntGraph, source: Source, x: IntArray, folder: Path, *, report: MemoryReport) -> None:
    for file, content in package(graph, source, vectors=golden_vectors(graph, x), report=report).items():
        (folder / file).write_bytes(content)


def cpp_compilers() -> tuple[Compilation, ...]:
    """g++ where there is one, and zig's."""
    gpp = shutil.which("g++")
    return (
        Compilation("zig c++", (*ZIG_OF_CPP, "-fno-sanitize=undefined")),
        *([Compilation("g++", (gpp,))] if gpp else []),
    )


def compile_here(
    folder: Path,
    compilation: Compilation,
    sources: Sequence[str],
    *,
    flags: Sequence[str] = (),
    warnings: Sequence[str] = WARNINGS,
) -> Path:
    """A program of these sources, compiled without a warning."""
    program = folder / "program"
    command = [*compilation.command, *warnings, *flags, "-o", str(program), *sources]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0 and not result.stderr, f"{compilation.name}: {result.stderr}"
    return program


def run_golden_test(folder: Path, compilation: Compilation, *, name: str = NAME) -> str:
    """Compile the code and its test, and run it; what it printed. AssertionError where anything differs."""
    trace = f"-D{name.upper()}_TRACE"
    program = compile_here(folder, compilation, [f"{name}.c", f"test_{name}.c"], flags=[trace])
    return run_program(program)


def run_program(program: Path) -> str:
    """What a program printed; AssertionError where it failed."""
    alone = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # leaks are looked for with ptrace, which not all allow
    result = subprocess.run([program], capture_output=True, text=True, check=False, timeout=120, env=alone)
    assert result.returncode == 0, f"{result.returncode}: {result.stdout}{result.stderr}"
    return result.stdout
