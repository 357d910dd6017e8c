"""Networks in drawn styles of research code are taken unchanged, and read rightly; planted faults are refused."""

from __future__ import annotations

import pytest

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.tracing.conventions import fit
from tests.support.styles import Style, draw, draw_planted
from tests.support.styles_judge import judge
from tests.support.styles_planted import FAULTS, HARMLESS


@pytest.mark.parametrize("seed", range(48))
def test_a_drawn_network_is_read_as_what_it_is(seed: int) -> None:
    style = draw(seed)
    verdict = judge(style)
    assert verdict.kind == "recognised", shown(style, f"{verdict.kind}: {verdict.words}")


@pytest.mark.parametrize("seed", range(100, 106))
def test_a_drawn_network_is_compressed_and_its_integers_are_equal(seed: int) -> None:
    style = draw(seed)
    x = style.x_steps()
    student = md.compress(style.build(), x, "8bit", [x])
    report = md.verify(student, x)
    assert report.equal and report.spikes > 0, shown(style, f"{report.first_difference}")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refused(fault: str, seed: int) -> None:
    style = draw_planted(seed, fault)
    try:
        fit(style.build().to(style.dtype), style.x_steps().to(style.dtype))
    except TraceError:
        return
    pytest.fail(shown(style, f"accepted, though {FAULTS[fault]}"))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fault", HARMLESS)
def test_what_equals_a_canonical_neuron_is_equal_or_refused(fault: str, seed: int) -> None:
    style = draw_planted(seed, fault)
    verdict = judge(style)
    assert verdict.kind != "wrong", shown(style, verdict.words)


def shown(style: Style, words: str) -> str:
    """What went wrong, with what repeats it."""
    return f"{words}\n{style}\n{style.source()}"
