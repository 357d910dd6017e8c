"""A report's Markdown tables on a terminal and as LaTeX."""

from __future__ import annotations

import io
import sys

import pytest

from mdcompress.cli.console import Console, OutputFormat
from mdcompress.cli.tables import Table, blocks, for_latex, for_terminal
from mdcompress.pipeline.report import Report, table
from tests.support.command_line import invoke

TEXT = "before\n\n" + table(["layer", "share"], [["a|b", "5 %"], ["conv_1", "12 %"]], numbers=["share"]) + "\nafter"


def test_a_table_is_found_with_its_cells_and_sides() -> None:
    found = Table(("layer", "share"), (("a|b", "5 %"), ("conv_1", "12 %")), (False, True))
    assert list(blocks(TEXT)) == ["before", "", found, "after"]
    assert list(blocks("| no table |\n- a line")) == ["| no table |", "- a line"]


def test_a_terminal_has_aligned_columns_without_bars() -> None:
    assert for_terminal(TEXT, width=40, color=False).split("\n") == [
        "before", "", "layer    share", "──────────────", "a|b        5 %", "conv_1    12 %", "after",
    ]  # fmt: skip


def test_a_table_fits_the_width_and_loses_no_word() -> None:
    long = table(["node", "policy"], [["conv", "8-bit weights per channel, float scale, learned range"] for _ in "ab"])
    lines = for_terminal(long, width=40, color=False).split("\n")
    assert max(map(len, lines)) <= 40 and " ".join(" ".join(lines).split()).count("learned range") == 2


def test_latex_is_a_tabular_with_what_it_needs_escaped() -> None:
    assert for_latex(TEXT) == "\n".join(
        [
            "% before", "", r"\begin{tabular}{lr}", r"\toprule", r"layer & share \\", r"\midrule", r"a|b & 5 \% \\",
            r"conv\_1 & 12 \% \\", r"\bottomrule", r"\end{tabular}", "% after",
        ]
    )  # fmt: skip


def test_a_pipe_gets_markdown_and_a_terminal_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    report = Report(TEXT, {})
    Console(OutputFormat.TEXT).show(report)
    assert capsys.readouterr().out == f"{TEXT}\n"
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    Console(OutputFormat.TEXT).show(report)
    assert "| layer" not in screen.getvalue() and "layer    share" in screen.getvalue()


def test_forms_of_the_result_exclude_each_other() -> None:
    result = invoke("check", "recipe.yaml", "--json", "--latex")
    assert result.code == 2 and "--json and --latex are forms of the result; choose one" in result.err


@pytest.mark.parametrize(
    ("typed", "meant"), [("quantise", "quantize"), ("estimate", "estimate-hw"), ("exprot", "export")]
)
def test_a_misspelt_command_is_told_the_nearest(typed: str, meant: str) -> None:
    result = invoke(typed)
    assert result.code == 2 and f"there is no command {typed!r}; did you mean `mdcompress {meant}`?" in result.err
