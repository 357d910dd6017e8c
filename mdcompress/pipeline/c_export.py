"""The integer graph -> the folder of C that `export --format c` writes, and what it takes of a microcontroller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.files import write_atomically
from mdcompress.runs import C_FOLDER

if TYPE_CHECKING:
    from intsnn.activity import Activity
    from intsnn.arithmetic import IntArray
    from intsnn.graph import IntGraph


@dataclass(frozen=True)
class CForm:
    """How the C is named (None: as the recipe), and the bytes of flash and RAM that it may take (None: any).

    Raises:
        UsageError: C does not allow the name.
    """

    name: str | None = None
    max_flash: int | None = None
    max_ram: int | None = None

    def __post_init__(self) -> None:
        from intsnn.microcontroller.naming import require_c_name

        if self.name is not None:
            require_c_name(self.name)


ANY_C = CForm()


@dataclass(frozen=True)
class CPackage:
    """The files by name, what is said of them, and the figures for the record."""

    files: Mapping[str, bytes]
    summary: str
    measured: Mapping[str, float]

    def write(self, folder: Path) -> None:
        """Write the files into a new folder."""
        folder.mkdir()
        for name, content in self.files.items():
            write_atomically(folder / name, content)


def c_package(graph: IntGraph, x: IntArray, *, activity: Activity, name: str, form: CForm) -> CPackage:
    """Emit the C and hold it to the limits.

    Args:
        graph: the network.
        x: integers [T, N, ...], of which the golden vectors are made.
        activity: measured on them.
        name: of the recipe.
        form: name and limits.

    Raises:
        MemoryLimitError: it takes more flash or RAM than it may.
    """
    from intsnn.activity.additions import synaptic_additions
    from intsnn.emission.source import portable_source
    from intsnn.microcontroller.footprint_report import memory_report, require_memory
    from intsnn.microcontroller.golden_test import golden_vectors
    from intsnn.microcontroller.naming import c_name
    from intsnn.microcontroller.package import package
    from intsnn.microcontroller.package_readme import memory_table, memory_words

    chosen = form.name or c_name(name)
    source = portable_source(graph, chosen)
    report = memory_report(graph, source)
    require_memory(report, "flash", form.max_flash)
    require_memory(report, "RAM", form.max_ram)
    additions = synaptic_additions(graph, activity)
    files = package(graph, source, vectors=golden_vectors(graph, x), report=report, additions=additions)
    measured = {
        "flash_bytes": report.flash_bytes,
        "ram_bytes": report.ram_bytes,
        "synaptic_additions_most": sum(each.most for each in additions),
        "synaptic_additions": sum(each.mean for each in additions),
    }
    words = {"c": f"{chosen}.c, {chosen}.h in {C_FOLDER}/", **memory_words(report, additions)}
    lines = [*(f"{what:<10} {said}" for what, said in words.items()), "", memory_table(report, additions)]
    return CPackage(files, "\n".join(lines), measured)
