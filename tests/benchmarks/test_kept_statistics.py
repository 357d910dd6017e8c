"""Kept or measured statistics: what is asked for, and the table."""

from __future__ import annotations

import mdcompress as md
from benchmarks.kept_statistics import OPTIONS, Found, page


def test_every_option_says_what_becomes_of_the_statistics() -> None:
    """The recipe `8bit` keeps them, so that the default has to be asked for."""
    asked = {option: md.load_recipe("8bit", changes=[change]).calibrate for option, change in OPTIONS.items()}
    assert [each.statistics for each in asked.values()] == ["recompute", "keep", "keep"]
    assert asked["rounding only"].weights == "nearest" and asked["rounding only"].offsets == "keep"


def test_the_table_has_means_over_the_seeds() -> None:
    found = {option: [Found(0.01 * n, 0.002), Found(0.03 * n, 0.001)] for n, option in enumerate(OPTIONS, start=1)}
    text = page({("digits", "8bit"): found})
    assert [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")] == [
        "digits", "8bit", "2", "0.0200", "0.0400", "0.0600", "1.50", "1.50", "1.50",
    ]  # fmt: skip
