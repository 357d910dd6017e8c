"""Where the distance of membranes lies, by hand."""

from __future__ import annotations

from dataclasses import astuple

import pytest
import torch

from benchmarks.membrane_distance import page, place_of_distance


def test_parts_of_the_distance_are_those_of_the_steps_they_lie_in() -> None:
    """Squares 1, 4, 9, 2.25: 16.25 in all. Far below is the third, near the threshold the first."""
    teacher = torch.tensor([0.5, -0.5, -3.0, 3.0])
    student = torch.tensor([1.5, 1.5, -6.0, 1.5])
    found = place_of_distance(student, teacher, torch.tensor([False, False, True, True]))
    assert astuple(found) == pytest.approx(
        (16.25 / 4, 100 * 11.25 / 16.25, 50, 100 * 9 / 16.25, 25, 100 * 1 / 16.25, 25)
    )


def test_the_page_has_means_over_the_seeds() -> None:
    one, other = (
        place_of_distance(torch.tensor([0.0, 2.0]), torch.tensor(teacher), torch.tensor([True, False]))
        for teacher in ([1.0, 2.0], [3.0, 2.0])
    )
    (line,) = [
        each for each in page({("mnist", "calibrated", "n"): [one, other]}).splitlines() if "calibrated |" in each
    ]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["mnist", "calibrated", "n", "2.500", "100 in 50", "0 in 0", "50 in 25"]
