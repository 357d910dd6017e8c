"""A graph and its emitted code -> the folder that a firmware project takes: code, test, Makefile, README."""

from __future__ import annotations

from collections.abc import Sequence

from intsnn.emission.source import Source
from intsnn.graph import IntGraph
from intsnn.microcontroller.footprint_report import MemoryReport
from intsnn.microcontroller.golden_test import Vectors, test_program
from intsnn.microcontroller.memory_table import LayerAdditions
from intsnn.microcontroller.package_readme import readme
from intsnn.microcontroller.placeholders import filled

CROSS_COMPILER = "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb"
ZIG_COMPILER = "python -m ziglang cc -target thumb-freestanding-eabi -mcpu=cortex_m4 -ffreestanding"


def package(
    graph: IntGraph,
    source: Source,
    *,
    vectors: Vectors,
    report: MemoryReport,
    additions: Sequence[LayerAdditions] = (),
) -> dict[str, bytes]:
    """The files of the folder, by name.

    Args:
        graph: the network.
        source: the code that was emitted for it (`portable_source`).
        vectors: what the test compares (`golden_vectors`).
        report: what the code takes (`memory_report`).
        additions: synaptic additions of a step, by layer.

    Returns:
        `<name>.c`, `<name>.h`, `test_<name>.c`, `Makefile`, `README.md`.
    """
    name, steps = source.name, vectors.answers.shape[1]
    texts = {
        f"{name}.c": f'#include "{name}.h"\n\n{source.code}',
        f"{name}.h": source.header,
        f"test_{name}.c": test_program(graph, vectors, name),
        "Makefile": makefile(name),
        "README.md": readme(graph, source, steps=steps, report=report, additions=additions),
    }
    return {file: text.encode() for file, text in texts.items()}


def makefile(name: str) -> str:
    """Builds the test on this machine, and the object file for any other."""
    values = {"NAME": name, "UPPER": name.upper(), "CROSS": CROSS_COMPILER, "ZIG": ZIG_COMPILER}
    return filled(_MAKEFILE, values)


_MAKEFILE = """\
# Here: `make test`. For a microcontroller, one of
#   make @NAME@.o CC='@CROSS@'
#   make @NAME@.o CC='@ZIG@'
CFLAGS ?= -Os
WARNINGS = -Wall -Wextra -Wconversion -Wpedantic

@NAME@.o: @NAME@.c @NAME@.h
	$(CC) -std=c11 $(WARNINGS) $(CFLAGS) -c -o $@ @NAME@.c

test: test_@NAME@
	./test_@NAME@

test_@NAME@: test_@NAME@.c @NAME@.c @NAME@.h
	$(CC) -std=c11 $(WARNINGS) $(CFLAGS) -D@UPPER@_TRACE -o $@ test_@NAME@.c @NAME@.c

clean:
	rm -f @NAME@.o test_@NAME@

.PHONY: test clean
"""
