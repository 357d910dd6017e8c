"""What compiles for a test: the compiler with fewer flags, as shipped, or none."""

import platform
import sys

import pytest

from intsnn.engines import choice

SHIPPED = choice._SOON  # the flags for little work
_IS_X86 = platform.machine() in ("x86_64", "AMD64")
PLAIN = (
    *SHIPPED,
    *(("-mno-avx2", "-mno-avx512bw") if _IS_X86 else ()),
)  # half the time: the header of the others is long


def compile_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled for little work names no vector instructions: to read their header takes half the time.

    They are tested where native code is the subject.
    """
    monkeypatch.setattr(choice, "_SOON", PLAIN)


def compile_as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags that users' code has."""
    monkeypatch.setattr(choice, "_SOON", SHIPPED)


def hide_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler on the PATH, none in CC, and no package that brings one."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)
