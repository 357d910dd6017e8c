"""The campaign of damaged files: mutations are drawn anew from their keys, and each outcome has its column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Never

import pytest

from benchmarks.fuzz import COLUMNS, FAULTS
from benchmarks.fuzz_formats import FORMATS, Format
from benchmarks.fuzz_mutations import mutated
from benchmarks.fuzz_process import _read
from intsnn.errors import GraphError, InvalidFileError, UnreadableFileError

LIGHT = [one for one in FORMATS if one.name in ("accuracies", "model.onnx", "golden.npz", "idx.gz", "png", "nir")]


@pytest.mark.parametrize("one", LIGHT, ids=lambda one: one.name)
def test_a_key_gives_one_mutation_and_others_give_others(one: Format, tmp_path: Path) -> None:
    one.write(tmp_path / one.file)
    whole = (tmp_path / one.file).read_bytes()
    found = [mutated(whole, one.container, key=f"0/{number}") for number in range(24)]
    again = [mutated(whole, one.container, key=f"0/{number}") for number in range(24)]
    assert again == found and len({*found}) > 16 and sum(content != whole for content in found) > 16


def _raises(error: BaseException) -> Callable[[Path], Never]:
    def read(_: Path) -> Never:
        raise error

    return read


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda _: "as before", "same"),
        (lambda _: "otherwise", "other"),
        (_raises(GraphError("a rule")), "refused"),
        (_raises(InvalidFileError("a file", [])), "refused"),
        (_raises(OSError("gone")), "refused"),
        (_raises(UnreadableFileError("a file", [])), "unforeseen"),
        (_raises(MemoryError()), "memory"),
        (_raises(_caused(GraphError("a rule"), MemoryError())), "memory"),
        (_raises(RuntimeError("DefaultCPUAllocator: can't allocate memory")), "memory"),
        (_raises(RuntimeError("no idea")), "traceback"),
        (_raises(KeyboardInterrupt()), "traceback"),
    ],
)
def test_each_outcome_has_its_kind(read: Callable[[Path], str], kind: str) -> None:
    one = replace(FORMATS[0], read=read)
    assert _read(one, Path("changed"), "as before")[0] == kind and kind in COLUMNS
    assert (kind in FAULTS) == (kind in ("memory", "traceback"))


def test_another_meaning_is_silent_where_a_digest_must_have_told() -> None:
    one = replace(FORMATS[0], read=lambda _: "otherwise", has_digest=True)
    assert _read(one, Path("changed"), "as before") == ("silent", "") and "silent" in FAULTS
