"""`compare`: several runs -> one table, and with a folder comparison.csv, .json and .html. No torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from intsnn.files import write_atomically
from mdcompress.pipeline.report import Report, table
from mdcompress.runs import Destination, chosen_run

if TYPE_CHECKING:
    from mdcompress.pipeline.pages import Comparison

CSV_FILE, JSON_FILE, PAGE_FILE = "comparison.csv", "comparison.json", "comparison.html"
COMPARISON_SCHEMA = "mdcompress.comparison/1"


def compare(runs: Sequence[str], *, hardwares: Literal["equal", "any"], output: Destination | None) -> Report:
    """Set runs side by side; they are only read.

    Args:
        runs: folders, or names under runs/.
        hardwares: whether all must be priced on the same description.
        output: where table, document and page go; None: they are only printed.

    Raises:
        UsageError: there are fewer than two runs, or one is there twice.
        RunError: a result is stale, or runs cannot stand side by side.
    """
    from mdcompress.pipeline.pages import compare_runs

    if output is not None:
        output.require_free(CSV_FILE, JSON_FILE, PAGE_FILE)
    folders = [chosen_run(run) for run in runs]
    for folder in folders:
        folder.settle()
    found = compare_runs(folders, hardwares=hardwares)
    document = {"schema": COMPARISON_SCHEMA, **asdict(found)}
    paths = () if output is None else tuple(output.folder / name for name in _write(found, output))
    return Report(_text(found), document, paths)


def _write(found: Comparison, output: Destination) -> Sequence[str]:
    from mdcompress.pipeline.pages import comparison_page

    document = {"schema": COMPARISON_SCHEMA, **asdict(found)}
    texts = {
        CSV_FILE: found.to_csv(),
        JSON_FILE: json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        PAGE_FILE: comparison_page(found),
    }
    with output.writing("the comparison") as folder:
        for name, text in texts.items():
            write_atomically(folder / name, text.encode())
    return tuple(texts)


def _text(found: Comparison) -> str:
    """Runs as columns, since there are more figures than runs."""
    from mdcompress.pipeline.pages import comparison_columns

    heads, rows = comparison_columns(found)
    names = [row[0] for row in rows]
    lines = [[head, *(row[index] for row in rows)] for index, head in enumerate(heads) if index]
    return table([found.data, *names], lines, numbers=names)
