"""Kept or measured statistics: what is asked for, and the table."""

from __future__ import annotations

from benchmarks.kept_statistics import OPTIONS, page


def test_every_option_says_what_becomes_of_the_statistics() -> None:
    """The recipe `8bit` keeps them, so that the default has to be asked for."""
    assert [each.statistics for each in OPTIONS.values()] == ["recompute", "keep", "keep"]
    only = OPTIONS["rounding only"]
    assert only.weights == "nearest" and only.offsets == "keep"


def test_the_table_has_means_over_the_seeds() -> None:
    seeds = [
        {option: (0.002, 0.01 * n) for n, option in enumerate(OPTIONS, start=1)},
        {option: (0.001, 0.03 * n) for n, option in enumerate(OPTIONS, start=1)},
    ]
    text = page({("digits", "8bit"): seeds})
    assert [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")] == [
        "digits", "8bit", "2", "0.0200", "0.0400", "0.0600", "1.50", "1.50", "1.50",
    ]  # fmt: skip
