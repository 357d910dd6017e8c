"""A graph and an input -> the folder of C that a firmware project takes, and what it takes of flash and RAM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy.typing as npt

from intsnn.activity import Activity, measure
from intsnn.activity.additions import SynapticAdditions, synaptic_additions
from intsnn.emission.source import portable_source
from intsnn.errors import UsageError
from intsnn.execution.interpreter import checked_input
from intsnn.files import write_folder
from intsnn.graph import IntGraph
from intsnn.microcontroller.footprint_report import MemoryReport, memory_report
from intsnn.microcontroller.golden_test import golden_vectors
from intsnn.microcontroller.limits import Limits, require_memory
from intsnn.microcontroller.memory_table import memory_table, memory_words
from intsnn.microcontroller.naming import require_c_name
from intsnn.microcontroller.package import package
from intsnn.microcontroller.package_readme import steps_words


@dataclass(frozen=True)
class CPackage:
    """A network as C.

    Attributes:
        name: that every name of the C begins with.
        files: their content by name.
        max_steps: the most steps from one reset to the next, `NAME_MAX_STEPS`; None: any number.
        report: what the code takes of flash and RAM.
        additions: synaptic additions of a step, by layer.
    """

    name: str
    files: Mapping[str, bytes]
    max_steps: int | None
    report: MemoryReport
    additions: tuple[SynapticAdditions, ...]

    def in_words(self) -> dict[str, str]:
        """Steps, flash, RAM and synaptic additions, each in a line."""
        return {"steps": steps_words(self.name, self.max_steps), **memory_words(self.report, self.additions)}

    def table(self) -> str:
        """One row a layer, in Markdown."""
        return memory_table(self.report, self.additions)


def write_c(
    graph: IntGraph,
    folder: str | Path,
    *,
    name: str,
    x: npt.ArrayLike,
    max_flash: int | None = None,
    max_ram: int | None = None,
) -> CPackage:
    """Write a graph as C11 for a microcontroller: `NAME.c`, `NAME.h`, a test, a Makefile, a README.

    Args:
        graph: legal.
        folder: made where there is none; files of these names are replaced, all or none, and others stay.
        name: what every name of the C begins with: letters, digits and underscores, the first a letter.
        x: integers [T, N, *input shape], in the range of the graph's input. The test's golden vectors are made of its
            first samples; synaptic additions are measured on all.
        max_flash: bytes of flash that it may take; None: any number.
        max_ram: the same of RAM, state and stack.

    Returns:
        What was written, and what it takes.

    Raises:
        GraphError: the graph breaks a rule of FORMAT.md.
        InputError: x does not fit the graph.
        UsageError: C or C++ does not allow the name, or a limit is no number of bytes.
        MemoryLimitError: it takes more than it may; nothing is written.
        CompilerError: a limit is set, and nothing is there to measure the code with.
    """
    for limit, given in (("max_flash", max_flash), ("max_ram", max_ram)):
        if given is not None and (not isinstance(given, int) or given < 1):
            raise UsageError(f"{limit} must be a whole number of bytes (got {given!r})", hints=["64 KiB are 64 * 1024"])
    made = c_package(graph, name=name, x=x, limits={"flash": max_flash, "RAM": max_ram})
    write_folder(folder, made.files)
    return made


def c_package(
    graph: IntGraph,
    *,
    name: str,
    x: npt.ArrayLike,
    limits: Limits | None = None,
    activity: Activity | None = None,
) -> CPackage:
    """What `write_c` writes. activity: as measured on x, where that was done.

    Raises:
        GraphError, InputError, UsageError, MemoryLimitError, CompilerError: as of `write_c`.
    """
    source = portable_source(graph, require_c_name(name))
    report = memory_report(graph, source)
    require_memory(report, limits or {})
    array = checked_input(graph, x)
    additions = synaptic_additions(graph, activity or measure(graph, [array]))
    vectors = golden_vectors(graph, array)
    files = package(graph, source, vectors=vectors, report=report, additions=additions)
    return CPackage(name, files, source.longest_run, report, additions)
