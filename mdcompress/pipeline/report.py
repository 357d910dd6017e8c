"""A command's result in every form it can be asked for, and the words and tables that it is made of. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from intsnn.shares import percent as percent  # of all that this package prints

_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9}

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]


@dataclass(frozen=True)
class Report:
    """A command's result, in every form it can be asked for.

    text: lines and tables that paste into Markdown. document: what `--json` prints. paths: the files it is about.
    figure: the one number that -q prints instead of the paths.
    """

    text: str
    document: JsonValue
    paths: tuple[Path, ...] = ()
    figure: float | None = None


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> str:
    """A Markdown table with aligned columns; the columns named in `numbers` stand on the right."""
    cells = [[_cell(text) for text in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    right = [name in numbers for name in header]
    rule = ["-" * (width - 1) + (":" if at_right else "-") for width, at_right in zip(widths, right, strict=True)]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(_line(line, widths, right) for line in lines)


def bits_in_words(bit_width: float) -> str:
    """`1 bit`, `4 bits`, `1.58 bits`."""
    return f"{bit_width:g} bit{'' if bit_width == 1 else 's'}"


def size(path: Path) -> str:
    """The size of a file for people: `51.3 KB`."""
    return byte_count(path.stat().st_size)


def byte_count(count: float) -> str:
    """Bytes for people: `812 bytes`, `51.3 KB`, `125 KB` (1 KB = 1000 bytes)."""
    if count < 1000:
        return f"{count:.0f} bytes"
    unit = next((unit for unit, bytes_each in _UNITS.items() if count < 1000 * bytes_each), "GB")
    number = count / _UNITS[unit]
    return f"{number:.{1 if number < 100 else 0}f} {unit}"


def written(paths: Sequence[Path]) -> str:
    """`wrote runs/4bit/model.onnx (51 KB), golden.npz`: where, with sizes; each folder is said once."""
    folders = [path.parent for path in paths]
    names = [
        f"{path if folders.index(path.parent) == index else path.name} ({size(path)})"
        for index, path in enumerate(paths)
    ]
    return f"wrote {', '.join(names)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        text.rjust(width) if at_right else text.ljust(width)
        for text, width, at_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"
