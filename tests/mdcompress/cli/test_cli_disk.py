"""Commands on a folder that is full, read-only, not theirs or in use, or has links that somebody put there."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from pathlib import Path

import pytest

from mdcompress.runs.lock import LOCK_NAME, locked
from tests.support.command_line import invoke, snapshot

WRITING = {  # command -> the folder it writes to, and a file that it writes second or later
    "explore --crossbar 32,64 --output designs": ("designs", "exploration.svg"),
    "estimate-hw --output figures": ("figures", "hardware.md"),
    "estimate-hw --force": ("runs/tiny", "hardware.md"),
    "export --samples 4 --engine interpreter --force": ("runs/tiny", "golden.npz"),
    "sensitivity --bits 4 --samples 8 --output bits": ("bits", "sensitivity.csv"),
    "bench --batch 1 --rounds 1 --output timings": ("timings", "bench.md"),
}

pytestmark = pytest.mark.usefixtures("one_thread")

REASONS = (errno.ENOSPC, errno.EACCES, errno.EROFS)


@pytest.mark.parametrize(("command", "number"), [*zip(WRITING, itertools.cycle(REASONS))])
def test_file_that_cannot_be_written_is_named_and_nothing_is_lost(
    finished: Path, monkeypatch: pytest.MonkeyPatch, command: str, number: int
) -> None:
    before, (folder, file) = snapshot(finished), WRITING[command]
    make = tempfile.mkstemp

    def made(*, prefix: str, dir: Path) -> tuple[int, str]:  # as tempfile has it
        if prefix == f".{file}.":
            raise OSError(number, os.strerror(number))
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr("tempfile.mkstemp", made)
    result = invoke(*command.split())
    assert result.code == 1 and result.out == ""
    assert f"error: {folder}/{file}: " in result.err and f"cannot be written ({os.strerror(number)})" in result.err
    assert f"hint: nothing in {folder} was changed" in result.err
    monkeypatch.undo()
    assert snapshot(finished) == before


@pytest.mark.parametrize("command", WRITING)
def test_second_command_on_a_folder_is_refused(finished: Path, command: str) -> None:
    folder, _ = WRITING[command]
    with locked(Path(folder), "mdcompress run --recipe tiny.yaml"):
        before = snapshot(finished)
        result = invoke(*command.split())
        assert result.code == 1 and f"one command at a time writes to {folder} (now `mdcompress run" in result.err
        assert snapshot(finished) == before


@pytest.mark.parametrize("command", WRITING)
def test_planted_link_is_replaced_and_what_it_leads_to_stays(finished: Path, command: str) -> None:
    folder, file = WRITING[command]
    (finished / "mine").mkdir()
    (finished / "mine" / "file").write_text("untouched")
    Path(folder).mkdir(exist_ok=True)
    for name, target in ((file, "mine/file"), (LOCK_NAME, "mine/file"), (".mdcompress-writing-1", "mine")):
        Path(folder, name).unlink(missing_ok=True)
        Path(folder, name).symlink_to(finished / target)
    result = invoke(*command.split(), *([] if "--force" in command else ["--force"]))
    assert result.code == 0, result.err
    assert not Path(folder, file).is_symlink() and Path(folder, file).stat().st_size > 20
    assert snapshot(finished / "mine") == {"file": b"untouched"}
    assert not list(Path(folder).glob(".mdcompress*"))
