"""Limits of flash and RAM: what passes them is named, with what takes most."""

from __future__ import annotations

import pytest

from intsnn.errors import CompilerError, MemoryLimitError
from intsnn.microcontroller.footprint_report import SHARED, Memory, MemoryReport, Part
from intsnn.microcontroller.limits import require_memory
from intsnn.microcontroller.memory_table import memory_table
from intsnn.microcontroller.object_file import ObjectSizes

PARTS = (
    Part("conv", "weights", 1000),
    Part("conv", "parameters", 24),
    Part("lif", "state", 300),
    Part("head", "weights", 400),
    Part(SHARED, "buffers", 700),
)
MEASURED = MemoryReport(PARTS, ObjectSizes(500, 1500, 1008, 96, ()))  # 2000 bytes of flash, 1104 of RAM
UNMEASURED = MemoryReport(PARTS, None)  # at least 1424 and 1000
FLASH = "at most 1,999 bytes of flash .it takes 2,000; most: weights of conv 1,000, code 576,"
RAM = "at most 10 bytes of RAM .it takes 1,104; most: buffers of all layers in turn 700,"


@pytest.mark.parametrize(("memory", "limit", "message"), [("flash", 1999, FLASH), ("RAM", 10, RAM)])
def test_limit_that_is_passed_names_what_takes_most(memory: Memory, limit: int, message: str) -> None:
    with pytest.raises(MemoryLimitError, match=message) as raised:
        require_memory(MEASURED, {memory: limit})
    (hint,) = raised.value.hints
    assert raised.value.exit_code == 3
    assert f"--max-{memory.lower()}" in hint and f"`max_{memory.lower()}`" in hint
    assert memory_table(MEASURED) in raised.value.message


def test_limits_that_are_both_passed_are_both_named_in_one_error() -> None:
    with pytest.raises(MemoryLimitError, match=f"(?s){FLASH}.*{RAM}") as raised:
        require_memory(MEASURED, {"flash": 1999, "RAM": 10})
    assert raised.value.message.count(memory_table(MEASURED)) == 1
    assert ["--max-flash" in hint for hint in raised.value.hints] == [True, False]


def test_limit_that_is_kept_is_silent() -> None:
    require_memory(MEASURED, {"flash": 2000, "RAM": 1104})
    require_memory(MEASURED, {"flash": 2000, "RAM": None})
    require_memory(UNMEASURED, {"flash": None, "RAM": None})
    require_memory(UNMEASURED, {})


def test_limit_needs_what_was_not_measured_unless_it_is_passed_without() -> None:
    with pytest.raises(CompilerError, match=r"--max-ram \(in Python `max_ram`\) must know the stack too"):
        require_memory(UNMEASURED, {"RAM": 4000})
    with pytest.raises(CompilerError, match=r"--max-flash .* and --max-ram .* must know the code and stack too"):
        require_memory(UNMEASURED, {"flash": 4000, "RAM": 4000})
    with pytest.raises(MemoryLimitError, match="it takes at least 1,000; most"):
        require_memory(UNMEASURED, {"flash": 4000, "RAM": 900})
