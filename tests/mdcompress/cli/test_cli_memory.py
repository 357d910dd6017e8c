"""Freed memory is kept for the next tensors: what the system does not give anew it need not fill with zeros."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mdcompress.cli.memory import keep_freed_memory
from tests.support.command_line import invoke

COUNT = """
import resource, sys
from mdcompress.cli.memory import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [b"a" * (8 * 2**20) for _ in range(12)]  # as the tensors of a step, all freed at its end
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
found = [faults() for _ in range(4)]
print(found[-1])
"""
PAGES = 12 * 8 * 2**20 // 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_pages_of_freed_blocks_are_used_again() -> None:
    if not keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "given back")
    )
    assert kept < PAGES / 10 and given_back > PAGES / 2


@pytest.fixture
def as_python_starts() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("as_python_starts")
def test_a_command_looks_for_garbage_seldom() -> None:
    assert invoke("--version").code == 0
    assert gc.get_threshold()[0] >= 10_000 and gc.isenabled()
