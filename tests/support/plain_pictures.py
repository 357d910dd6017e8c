"""Pictures that are drawn whole, but not laid out, or as users get them."""

from __future__ import annotations

import pytest

from intsnn import pictures


def draw_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make room for legends and labels takes two fifths of the time of a picture, and pictures half of a tiny run's.

    The layout is tested where pictures are the subject, and by all commands that run in a process of their own.
    """
    monkeypatch.setattr(pictures, "_LAYOUT", None)


def draw_as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout that users' pictures have."""
    monkeypatch.setattr(pictures, "_LAYOUT", "constrained")
