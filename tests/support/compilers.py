"""A machine without a C compiler, for a test."""

import sys

import pytest


def hide_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler on the PATH, none in CC, and no package that brings one."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)
