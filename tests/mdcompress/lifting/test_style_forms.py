"""The styles of docs/frameworks/styles.md: each is read, or refused in the words of its row."""

from __future__ import annotations

from dataclasses import replace

import pytest

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.tracing.conventions import fit
from tests.support.style_forms import PAGE, Style, page
from tests.support.style_row import Row
from tests.support.style_rows_read import READ
from tests.support.style_rows_refused import ONE_LINE, REFUSED


@pytest.mark.parametrize("row", READ, ids=lambda row: row.name)
def test_a_style_that_is_read_has_the_equations_of_its_row(row: Row) -> None:
    style = Style(row)
    fitted = fit(style.build(), style.sample())
    assert fitted.convention == row.calls
    assert "; ".join(finding.words for finding in fitted.findings) == row.says


@pytest.mark.parametrize("row", [*ONE_LINE, *REFUSED], ids=lambda row: row.name)
def test_a_style_that_is_refused_is_refused_in_the_words_of_its_row(row: Row) -> None:
    style = Style(row)
    with pytest.raises(TraceError) as caught:
        fit(style.build(), style.sample())
    assert row.says and row.says in caught.value.message
    assert caught.value.hints


@pytest.mark.parametrize("row", ONE_LINE, ids=lambda row: row.name)
def test_with_the_other_line_it_is_compressed_and_its_integers_are_equal(row: Row) -> None:
    style = Style(replace(row, code=row.instead))
    x = style.sample()
    report = md.verify(md.compress(style.build(), x, "8bit", [x]), x)
    assert report.equal and report.spikes > 0


def test_the_page_has_the_styles_of_these_rows() -> None:
    """python -m tests.support.style_forms."""
    assert len(READ) + len(ONE_LINE) + len(REFUSED) >= 50
    assert PAGE.read_text("utf-8") == page()
