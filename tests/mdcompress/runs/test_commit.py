"""A result goes into its folder whole, whenever the command is killed; and one command at a time writes there."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks.file_operations import Died, Operations
from mdcompress.errors import RunError
from mdcompress.runs import Destination, Origin, Overwrite, RunDirectory, existing_runs, held_destination, settle
from mdcompress.runs.commit import COMMIT, WRITING
from mdcompress.runs.lock import LOCK_NAME, locked
from mdcompress.runs.manifest import Stage
from tests.support.command_line import environment

COMMAND = "mdcompress export"
LEFT = (".writing-abc", ".run.json.abcd1234", ".recipe.yaml.abcd1234", ".train.last-1.safetensors.partial")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "tiny")


def write_stage(run: RunDirectory, stage: Stage, files: Mapping[str, str]) -> None:
    """A stage, as the pipeline does it; where the run has its result, nothing is done."""
    with run.held(COMMAND):
        if run.record(stage) is not None and run.record(stage).measured == {"files": len(files)}:  # type: ignore[union-attr]
            return
        started = run.start(stage, Origin((), {"key": "1"}, "name: tiny\n", COMMAND, 0))
        started.describe_checkpoint()
        started.checkpoint.write_text("state")
        with started.writing(measured={"files": len(files)}, summary="") as folder:
            for name, text in files.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    """Every file below, without what tells the time."""
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    if "run.json" in found:
        found["run.json"] = str(RunDirectory(folder).manifest().stages.keys())
    return found


def assert_survives_each_kill(work: Callable[[], None], folder: Path, prepare: Callable[[], None]) -> int:
    """`work` is killed after each of its file operations and done again; how many kills there were."""
    prepare()
    work()
    expected = contents(folder)
    for last in range(1, 1000):
        prepare()
        with Operations(folder.parent, last=last) as operations, contextlib.suppress(Died):
            work()
        if operations.count < last:
            return last - 1
        work()
        assert contents(folder) == expected, f"killed after operation {last}"
    raise AssertionError("the work has no end")


def emptied(folder: Path) -> None:
    subprocess.run(["rm", "-rf", str(folder)], check=True)


FIRST = {"model.onnx": "model", "golden.npz": "golden", "c/one.c": "1", "c/one.h": "2", "model.nir": "nir"}
SECOND = {"model.onnx": "other model", "golden.npz": "other golden", "activity.json": "new"}


def test_stage_that_is_killed_after_any_file_operation_is_finished_by_the_same_command(run: RunDirectory) -> None:
    kills = assert_survives_each_kill(
        lambda: write_stage(run, Stage.EXPORT, FIRST), run.path, lambda: emptied(run.path)
    )
    assert kills > 20


def test_stage_that_replaces_a_result_is_finished_too_and_what_it_has_no_more_goes(run: RunDirectory) -> None:
    def prepare() -> None:
        emptied(run.path)
        write_stage(run, Stage.EXPORT, FIRST)
        (run.file("c") / "built").write_text("by hand")

    assert assert_survives_each_kill(lambda: write_stage(run, Stage.EXPORT, SECOND), run.path, prepare) > 20
    assert contents(run.path).keys() == {*SECOND, "recipe.yaml", "run.json"}


def test_folder_of_a_result_is_replaced_whole_after_any_kill(run: RunDirectory) -> None:
    def prepare() -> None:
        emptied(run.path)
        write_stage(run, Stage.EXPORT, FIRST)

    again = {"c/two.c": "2"}
    assert_survives_each_kill(lambda: write_stage(run, Stage.EXPORT, again), run.path, prepare)
    assert contents(run.path).keys() == {"c/two.c", "recipe.yaml", "run.json"}


def test_results_in_a_folder_of_ones_own_are_finished_by_the_same_command(tmp_path: Path) -> None:
    folder = tmp_path / "designs"
    command = "mdcompress explore --output designs"

    def work() -> None:
        ended = contextlib.suppress(RunError)  # then there is nothing left to do
        with ended, held_destination(folder, Overwrite.NEVER, command) as output:
            output.require_free("one", "two")
            with output.writing("designs") as staging:
                for name in ("one", "two"):
                    (staging / name).write_text(name)

    assert_survives_each_kill(work, folder, lambda: emptied(folder))
    assert contents(folder) == {"one": "one", "two": "two"}


def test_only_the_command_that_was_killed_may_replace_what_it_wrote(tmp_path: Path) -> None:
    def write(command: str) -> None:
        with held_destination(tmp_path, Overwrite.NEVER, command) as output:
            output.require_free("one")
            with output.writing("designs") as staging:
                (staging / "one").write_text(command)
            raise KeyboardInterrupt  # between the commit and the end

    with Operations(tmp_path) as operations, pytest.raises(KeyboardInterrupt):
        write("explore")
    (tmp_path / "one").unlink()
    with Operations(tmp_path, last=operations.count - 2), pytest.raises(Died):
        write("explore")
    assert [path.name for path in tmp_path.glob(f"{COMMIT}*")]
    with pytest.raises(KeyboardInterrupt):
        write("explore")
    with pytest.raises(RunError, match="must not hold such results yet"):
        write("explore --other")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_result_that_counts_is_put_into_place_for_a_command_that_reads(run: RunDirectory) -> None:
    with Operations(run.path.parent) as operations:
        write_stage(run, Stage.EXPORT, SECOND)
    whole, found = contents(run.path), 0
    for last in range(operations.count):
        emptied(run.path)
        with Operations(run.path.parent, last=last), contextlib.suppress(Died):
            write_stage(run, Stage.EXPORT, SECOND)
        if not list(run.path.glob(f"{COMMIT}*")):
            continue
        found += 1
        settle(run.path)
        assert contents(run.path) == whole
    assert found > 5


def test_run_whose_recipe_is_not_in_its_place_yet_is_found(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hidden = Path("runs/tiny") / f"{COMMIT}train"
    hidden.mkdir(parents=True)
    (hidden / "recipe.yaml").write_text("name: tiny\n")
    assert [found.path for found in existing_runs()] == [Path("runs/tiny")]


def test_what_killed_commands_of_any_version_left_is_removed(run: RunDirectory) -> None:
    run.path.mkdir()
    (run.path / f"{WRITING}abc").mkdir()
    (run.path / f"{WRITING}abc" / "model.onnx").write_text("half")
    (run.path / LEFT[0]).mkdir()
    for name in (*LEFT[1:], "train.last-0.json"):
        (run.path / name).write_text("left")
    write_stage(run, Stage.EXPORT, SECOND)
    assert contents(run.path).keys() == {*SECOND, "recipe.yaml", "run.json"}


def fill_with_rubbish(run: RunDirectory) -> None:
    write_stage(run, Stage.EXPORT, SECOND)
    (run.path / f"{WRITING}abc").mkdir()
    for name in (f"{WRITING}abc/model.onnx", LOCK_NAME, *LEFT[1:], "train.last-0.json"):
        (run.path / name).write_text("left")


def test_command_that_only_reads_removes_what_counts_for_nothing_too(run: RunDirectory) -> None:
    fill_with_rubbish(run)
    with locked(run.path, COMMAND):
        run.settle()
        assert (run.path / f"{WRITING}abc" / "model.onnx").exists() and (run.path / LEFT[1]).exists()
    run.settle()
    assert contents(run.path).keys() == {*SECOND, "recipe.yaml", "run.json"}


def test_command_that_only_reads_works_where_nothing_can_be_removed(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with_rubbish(run)

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("mdcompress.runs.lock.os.open", denied)
    run.settle()
    assert (run.path / f"{WRITING}abc").exists()
    (run.path / f"{COMMIT}export").mkdir()
    with pytest.raises(RunError, match="must be writable"):
        run.settle()


def test_file_of_a_lock_is_a_command_at_work_where_there_are_no_locks(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with_rubbish(run)

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unknown)
    run.settle()
    assert (run.path / f"{WRITING}abc").exists()
    with run.held(COMMAND):
        assert not (run.path / f"{WRITING}abc").exists()


def test_state_of_an_interrupted_training_stays(run: RunDirectory) -> None:
    run.path.mkdir()
    for name in ("train.last-0.json", "train.last-0.safetensors"):
        run.file(name).write_text("hours of work")
    write_stage(run, Stage.EXPORT, SECOND)
    assert run.file("train.last-0.safetensors").exists() and run.file("train.last-0.json").exists()


# ---------------------------------------------------------------------- links


@pytest.mark.parametrize("name", ["model.onnx", "run.json", "recipe.yaml", "c", LOCK_NAME, f"{COMMIT}export",
                                  f"{WRITING}1", ".writing-1", "export.last-x.json"])  # fmt: skip
def test_planted_link_never_leads_elsewhere(run: RunDirectory, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("untouched")
    run.path.mkdir()
    is_folder = name == "c" or "export" in name or "riting" in name
    run.file(name).symlink_to(elsewhere if is_folder else elsewhere / "mine")
    if name != "run.json":
        write_stage(run, Stage.EXPORT, FIRST)
        assert contents(run.path).keys() >= {"model.onnx", "c/one.c", "recipe.yaml", "run.json"}
    else:  # what it leads to is no record
        with pytest.raises(RunError, match="must be the record of a run"):
            write_stage(run, Stage.EXPORT, FIRST)
    assert contents(elsewhere) == {"mine": "untouched"}


def test_hidden_folder_deletes_nothing_outside_of_the_run(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("untouched")
    hidden = run.path / f"{COMMIT}export"
    hidden.mkdir(parents=True)
    (hidden / ".outdated").write_text("../mine\nsub/mine\n..")
    (hidden / "run.json").write_text('{"schema": "mdcompress.run/1", "stages": {}}')
    settle(run.path)
    assert (tmp_path / "mine").read_text() == "untouched" and not hidden.exists()


# ---------------------------------------------------------------------- two at once


def test_second_command_on_a_run_is_told_which_one_is_at_work(run: RunDirectory) -> None:
    with run.held("mdcompress train --recipe tiny"), pytest.raises(RunError) as caught, run.held(COMMAND):
        pass
    assert f"(now `mdcompress train --recipe tiny` (process {os.getpid()}) does)" in caught.value.message
    assert "wait until it has finished" in caught.value.hints[0]
    with run.held(COMMAND):
        pass
    assert not run.path.exists()  # it was made for the lock, and nothing came


def test_lock_of_a_killed_process_holds_nobody_up(run: RunDirectory) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from mdcompress.runs.lock import locked\n"
        "with locked(Path(sys.argv[1]), 'mdcompress train'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(run.path)], env=environment(), check=False)
    assert killed.returncode == -9 and run.file(LOCK_NAME).exists()
    write_stage(run, Stage.EXPORT, SECOND)
    assert not run.file(LOCK_NAME).exists()


def test_reader_leaves_a_result_to_the_command_that_is_at_work(run: RunDirectory) -> None:
    with locked(run.path, COMMAND):
        hidden = run.path / f"{COMMIT}export"
        hidden.mkdir()
        (hidden / "model.onnx").write_text("new")
        run.settle()
        assert hidden.exists()
    run.settle()
    assert not hidden.exists() and run.file("model.onnx").read_text() == "new"


# ---------------------------------------------------------------------- disk full, no permission, moved


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_file_that_cannot_be_written_is_named_with_what_it_was_to_be(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    from intsnn.files import write_atomically

    write_stage(run, Stage.EXPORT, FIRST)
    before = contents(run.path)
    started = run.start(Stage.EXPORT, Origin((), {}, "", COMMAND, 0))

    def fail(**_: object) -> int:
        raise OSError(number, os.strerror(number))

    with pytest.raises(RunError) as caught, started.writing(measured={}, summary="") as folder:
        write_atomically(folder / "model.onnx", b"model")
        monkeypatch.setattr("tempfile.mkstemp", fail)
        write_atomically(folder / "golden.npz", b"golden")
    named = f"{run.file('golden.npz')}: the result of `export` cannot be written ({os.strerror(number)})"
    assert caught.value.message == named and f"nothing in {run.path} was changed" in caught.value.hints[0]
    assert contents(run.path) == before


def test_place_that_is_taken_by_a_folder_is_named_and_the_result_is_kept(run: RunDirectory) -> None:
    run.file("model.onnx").mkdir(parents=True)
    with pytest.raises(RunError, match=r"model\.onnx must give way to the new result \(Is a directory\)") as caught:
        write_stage(run, Stage.EXPORT, SECOND)
    assert f"whole in {run.path / COMMIT}export" in caught.value.hints[0]
    run.file("model.onnx").rmdir()
    run.settle()
    assert contents(run.path).keys() == {*SECOND, "recipe.yaml", "run.json"}


def test_run_that_is_moved_while_a_stage_works_is_an_error_and_nothing_is_written(
    run: RunDirectory, tmp_path: Path
) -> None:
    write_stage(run, Stage.TRAIN, {"teacher.safetensors": "weights"})
    started = run.start(Stage.EXPORT, Origin((), {}, "", COMMAND, 0))
    run.path.rename(tmp_path / "moved")
    moved = pytest.raises(RunError, match="must stay where it is while `export` works")
    with moved, started.writing(measured={}, summary=""):
        raise AssertionError("there is nowhere to write to")
    assert not run.path.exists()


def test_folder_that_nothing_can_be_written_to_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="/proc/nothing must be writable"), RunDirectory(Path("/proc/nothing")).held("x"):
        raise AssertionError("it must not begin")


def test_destination_without_a_command_keeps_no_hidden_folder(tmp_path: Path) -> None:
    with Destination(tmp_path / "new", Overwrite.NEVER).writing("figures") as folder:
        (folder / "one").write_text("1")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one"]
