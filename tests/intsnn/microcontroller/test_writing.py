"""`intsnn.write_c`: a graph in Python -> the folder of C."""

from __future__ import annotations

from pathlib import Path

import pytest

import intsnn
from intsnn.errors import InputError, MemoryLimitError, UsageError
from intsnn.files import write_folder
from tests.support.c_programs import compilations, run_golden_test
from tests.support.intgraphs import dense_graph, random_input

GRAPH = dense_graph()
X = random_input(GRAPH)
FILES = ["Makefile", "README.md", "digits.c", "digits.h", "test_digits.c"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_is_made_and_gives_the_golden_vectors(tmp_path: Path) -> None:
    folder = tmp_path / "firmware" / "network"
    made = intsnn.write_c(GRAPH, folder, name="digits", x=X)
    assert names(folder) == FILES == sorted(made.files) and names(folder.parent) == ["network"]
    assert "answers, spikes and membranes equal" in run_golden_test(folder, compilations()[0], name="digits")
    assert (made.name, made.max_steps) == ("digits", 51_130_563)
    assert made.report.measured is not None and made.report.flash_bytes > 200
    assert [each.most for each in made.additions] == [12 * 10, 10 * 8, 8 * 4]
    assert made.in_words()["steps"] == "at most 51,130,563 from one reset to the next (DIGITS_MAX_STEPS)"


def test_folder_of_the_user_keeps_what_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "digits.c").write_text("old")
    (tmp_path / "firmware.c").write_text("int main(void);")
    intsnn.write_c(GRAPH, tmp_path, name="digits", x=X)
    assert names(tmp_path) == sorted([*FILES, "firmware.c"]) and (tmp_path / "digits.c").read_text() != "old"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "class"}, UsageError, "no keyword of C or C"),
        ({"max_flash": "64KiB"}, UsageError, r"max_flash must be a whole number of bytes \(got '64KiB'\)"),
        ({"max_ram": 0}, UsageError, r"max_ram must be a whole number of bytes \(got 0\)"),
        ({"x": X[..., :3]}, InputError, "must have shape"),
        ({"max_flash": 64, "max_ram": 8}, MemoryLimitError, "(?s)64 bytes of flash.*8 bytes of RAM"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    change: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    arguments = {"name": "digits", "x": X, **change}
    with pytest.raises(error, match=message):
        intsnn.write_c(GRAPH, tmp_path / "c", **arguments)  # type: ignore[arg-type]  # one is refused
    assert names(tmp_path) == []


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a").write_text("old")
    with pytest.raises(FileNotFoundError):
        write_folder(tmp_path / "c", {"a": b"new", "no/folder": b""})
    assert names(tmp_path) == ["c"] and (tmp_path / "c" / "a").read_text() == "old"
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="must be a folder"):
        write_folder(tmp_path / "file", {"a": b"new"})
