"""C as text: names that C allows, and lines indented by their braces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def identifier(name: str) -> str:
    """A name as C allows it: letters, digits and underscores; no two in a row, none at the ends, no digit first."""
    found = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "node"
    return f"n_{found}" if found[0].isdigit() else found


def indented(lines: Iterable[str]) -> str:
    """Lines with four spaces for each brace that is open, and no more empty lines than one."""
    depth, found = 0, list[str]()
    for line in lines:
        text = line.strip()
        if text.startswith("#"):
            found.append(text)
            continue
        closing = len(text) - len(text.lstrip("}"))
        found.append("    " * (depth - closing) + text if text else "")
        depth += text.count("{") - text.count("}")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(found)) + "\n"


def row_major(names: Sequence[str], sizes: Sequence[int]) -> str:
    """The row-major place of an index, as C; 0 of no axes."""
    found = ""
    for name, size in zip(names, sizes, strict=True):
        found = f"({found}) * {size} + {name}" if found else name
    return found or "0"


def loop(name: str, count: int | str, *, start: int | str = 0, step: int | str = 1) -> str:
    """The head of a loop, with its opening brace."""
    advance = f"{name}++" if step == 1 else f"{name} += {step}"
    return f"for (int {name} = {start}; {name} < {count}; {advance}) {{"
