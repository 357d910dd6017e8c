"""The exported graph of a run and its files -> how much smaller the network has become."""

from __future__ import annotations

from intsnn.report.html.blocks import Section, table
from intsnn.report.html.markup import tag
from mdcompress.pipeline.pages.blocks import facts, missing
from mdcompress.pipeline.report import byte_count
from mdcompress.pipeline.sizes import SIZE_COLUMNS, Sizes, overridden_in_words, size_lines, size_rows

_WORDS = (
    "As deployed: every number at its own bits, weights packed; float32 and int8: the same network with numbers of 32 "
    "and 8 bits. Together: weights and constants. State: membranes and all else that lives from step to step."
)


def sizes_section(sizes: Sizes | None, asked: float) -> Section:
    """Bytes in each form, numbers by bits, and the files; `asked`: the recipe's bits of a weight."""
    if sizes is None:
        return Section("sizes", "Sizes", (missing("`export` has not been run."),))
    shown = table(SIZE_COLUMNS, size_rows(sizes))
    lines = facts((name, words.strip()) for name, _, words in (line.partition(" ") for line in _lines(sizes, asked)))
    files = table(("file", "size"), ((what, byte_count(count)) for what, count in sizes.files.items()))
    return Section("sizes", "Sizes", (lines, shown, tag("p", _WORDS), files))


def _lines(sizes: Sizes, asked: float) -> list[str]:
    return [*size_lines(sizes).splitlines(), *filter(None, [overridden_in_words(asked, sizes.compression.weights)])]
