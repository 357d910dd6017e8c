"""Sizes read from an object file: those of functions whose frames and calls are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from intsnn.errors import CompilerError
from intsnn.microcontroller.measuring import measured_sizes
from intsnn.microcontroller.object_file import object_sizes

STATE = "struct net { int a[3]; };\n"
CHAIN = """
#include <stdint.h>
#define APART __attribute__((noinline))
static const int32_t table[64] = {1, 2, 3};
void sink(volatile int32_t *values);
static APART int32_t leaf(int32_t a) { volatile int32_t values[10] = {a}; sink(values); return values[3]; }
static APART int32_t wide(int32_t a) { volatile int32_t values[50] = {a}; sink(values); return values[9]; }
int32_t top(int32_t a);
int32_t top(int32_t a) { return leaf(a) + wide(a + table[a & 63]) + leaf(a); }
"""


def test_stack_is_that_of_the_deepest_path_and_constants_are_apart_from_code() -> None:
    sizes = measured_sizes(STATE, CHAIN, name="net")
    assert sizes is not None
    assert 50 * 4 < sizes.stack_bytes < 50 * 4 + 10 * 4  # top calls wide; leaf lies beside it, not below
    assert sizes.constant_bytes == 64 * 4 and sizes.variable_bytes == 3 * 4
    assert 40 < sizes.code_bytes < 400
    assert "sink" in sizes.libraries


def test_tail_call_is_a_call() -> None:
    code = CHAIN.replace("return leaf(a) + wide(a + table[a & 63]) + leaf(a);", "return wide(a + leaf(a));")
    sizes = measured_sizes(STATE, code, name="net")
    assert sizes is not None and 50 * 4 < sizes.stack_bytes < 50 * 4 + 10 * 4


def test_function_that_calls_itself_has_no_deepest_stack() -> None:
    code = "int f(int a); void g(volatile int *); int f(int a) { volatile int v[3]; g(v); return f(a - 1) + f(a - 2); }"
    with pytest.raises(ValueError, match="calls itself"):
        measured_sizes(STATE, code, name="net")


def test_other_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int a;")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-musl", "-c", "a.c", "-o", "a.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    for content in (b"", b"nothing", (tmp_path / "a.o").read_bytes()):
        with pytest.raises(ValueError, match="32-bit little-endian ELF"):
            object_sizes(content)


def test_compiler_that_refuses_the_code_is_quoted() -> None:
    with pytest.raises(CompilerError, match=r"must compile the network for a Cortex-M4 .*expected") as raised:
        measured_sizes("", "int a = ;", name="broken")
    assert raised.value.hints


def test_nothing_is_measured_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert measured_sizes(STATE, CHAIN, name="net") is None
