"""The page of extremes: what is exact, what is refused, and what would be neither."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import extremes
from benchmarks.extremes import Case, each_norm, outcome


def broken(_: nn.Module) -> None:
    raise ZeroDivisionError("planted")


def test_each_kind_is_told_from_the_others() -> None:
    assert outcome(Case("dead", extremes.each_weight(torch.Tensor.zero_))).kind == "exact"
    refused = outcome(Case("NaN", x=torch.full((4, 2, 1, 8, 8), float("nan"))))
    assert refused.kind == "refused" and "must be finite" in refused.said
    assert outcome(Case("planted", broken)).said == "ZeroDivisionError: planted"


def test_the_page_counts_its_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(extremes, "CASES", (Case("as it is"), Case("planted", broken)))
    assert extremes.main() == 1
    printed = capsys.readouterr().out
    assert "2 rows: 1 exact, 0 refused, 1 neither." in printed and "| planted | neither |" in printed


def test_norms_that_send_far_more_than_sums_hold_are_exact_too() -> None:
    """Gains of 1e30 with norms of powers of two: found refused at lowering, since the unit came from spikes alone."""
    case = Case("far", each_norm(weight=1e30), {"batch_norm": {"mode": "power_of_two"}})
    assert outcome(case).kind == "exact"
