"""The run directory and its record: nothing half-written, nothing overwritten unasked, nothing stale read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdcompress.errors import RunError
from mdcompress.runs import (
    Origin,
    RunDirectory,
    chosen_run,
    existing_runs,
    make_folder,
    named_run,
    only_run,
    write_text,
)
from mdcompress.runs.manifest import Manifest, Stage, StageRecord, manifest_text, read_manifest

SETTINGS = {
    "model.builder": '"zoo:net"',
    "teacher.epochs": "20",
    "quantize.weight.bit_width": "4",
    "distill.epochs": "10",
}
TEACHER, STUDENT = "teacher.safetensors", "quantized.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "4bit")


def finish(
    run: RunDirectory,
    stage: Stage,
    files: Mapping[str, str],
    *,
    inputs: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
) -> None:
    chosen = {key: SETTINGS[key] for key in keys}
    origin = Origin(tuple(run.file(name) for name in inputs), chosen, "name: 4bit\n", "mdcompress test", 0)
    with run.start(stage, origin).writing(measured={"test_accuracy": 0.5}, summary="done") as folder:
        for name, text in files.items():
            (folder / name).write_text(text)


def finish_train_and_quantize(run: RunDirectory) -> None:
    finish(run, Stage.TRAIN, {TEACHER: "weights"}, keys=("teacher.epochs",))
    finish(run, Stage.QUANTIZE, {STUDENT: "student"}, inputs=(TEACHER,), keys=("quantize.weight.bit_width",))


def test_finished_stage_is_recorded_with_the_hashes_of_what_it_read_and_wrote(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    record = run.record(Stage.QUANTIZE)
    assert record is not None
    assert list(record.inputs) == [TEACHER] and list(record.outputs) == [STUDENT]
    assert record.command == "mdcompress test" and record.seed == 0 and record.summary == "done"
    assert record.measured == {"test_accuracy": 0.5}
    assert run.file("recipe.yaml").read_text() == "name: 4bit\n"


def test_recorded_hash_is_the_sha256_of_the_file(run: RunDirectory) -> None:
    finish(run, Stage.TRAIN, {TEACHER: "abc"})
    record = run.record(Stage.TRAIN)
    assert record is not None  # FIPS 180-2, appendix B.1: the SHA-256 of "abc"
    assert record.outputs[TEACHER] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_finished_stage_is_not_stale(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    assert run.stale(Stage.TRAIN, SETTINGS) == run.stale(Stage.QUANTIZE, SETTINGS) == ()
    run.require(Stage.QUANTIZE, SETTINGS, command="mdcompress quantize")


def test_stage_that_never_ran_is_asked_for_by_its_command(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="must hold the result of `train`") as caught:
        run.require(Stage.TRAIN, SETTINGS, command="mdcompress train --recipe 4bit")
    assert caught.value.hints == ("run `mdcompress train --recipe 4bit`",)


def test_changed_setting_is_named_with_both_values(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    changed = {**SETTINGS, "quantize.weight.bit_width": "3"}
    assert run.stale(Stage.QUANTIZE, changed) == ("`quantize.weight.bit_width` was 4, now it is 3",)
    assert run.stale(Stage.TRAIN, changed) == ()
    with pytest.raises(RunError, match=r"stale: `quantize\.weight\.bit_width` was 4, now it is 3") as caught:
        run.require(Stage.QUANTIZE, changed, command="mdcompress quantize")
    again, before = caught.value.hints
    assert again == "run `mdcompress quantize --force`" and f"`--run {run.path}` without --recipe" in before


def test_setting_that_is_gone_makes_the_stage_stale(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    assert run.stale(Stage.TRAIN, {}) == ("`teacher.epochs` was 20, now it is absent",)


def test_setting_that_no_stage_depends_on_may_change(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    assert run.stale(Stage.QUANTIZE, {**SETTINGS, "distill.epochs": "3", "new.key": "1"}) == ()


def test_change_before_a_stage_makes_it_stale_too(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    changed = {**SETTINGS, "teacher.epochs": "5"}
    assert run.stale(Stage.QUANTIZE, changed) == ("`teacher.epochs` was 20, now it is 5",)


def test_input_that_was_replaced_makes_the_stage_stale(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    finish(run, Stage.TRAIN, {TEACHER: "other weights"}, keys=("teacher.epochs",))
    assert run.stale(Stage.QUANTIZE, SETTINGS) == (f"{run.file(TEACHER)} changed since `quantize` read it",)


def test_output_that_was_edited_is_not_taken_for_the_stages_result(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    run.file(STUDENT).write_text("edited")
    assert run.stale(Stage.QUANTIZE, SETTINGS) == (f"{run.file(STUDENT)} is not what `quantize` wrote",)


def test_stage_that_files_made_stale_is_to_be_run_again(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    run.file(TEACHER).write_text("others")
    with pytest.raises(RunError, match="changed since") as caught:
        run.require(Stage.QUANTIZE, SETTINGS, command="mdcompress quantize")
    assert caught.value.hints == ("run `mdcompress quantize --force`",)


def test_output_that_is_gone_is_missed(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    run.file(STUDENT).unlink()
    assert run.stale(Stage.QUANTIZE, SETTINGS) == (f"{run.file(STUDENT)} is gone",)


def test_picture_that_is_gone_leaves_the_result_valid(run: RunDirectory) -> None:
    finish(run, Stage.TRAIN, {TEACHER: "weights", "teacher_training.svg": "<svg/>"})
    run.file("teacher_training.svg").unlink()
    assert run.stale(Stage.TRAIN, SETTINGS) == ()
    assert run.written_files(Stage.TRAIN) == (run.file(TEACHER),)
    run.file("teacher_training.svg").write_text("another")
    assert "is not what `train` wrote" in run.stale(Stage.TRAIN, SETTINGS)[0]


def test_input_that_is_gone_leaves_the_result_valid(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    run.file(TEACHER).unlink()
    assert run.stale(Stage.QUANTIZE, SETTINGS) == ()


def test_run_that_was_copied_elsewhere_is_not_stale(run: RunDirectory, tmp_path: Path) -> None:
    finish_train_and_quantize(run)
    moved = RunDirectory(run.path.rename(tmp_path / "elsewhere"))
    assert moved.stale(Stage.QUANTIZE, SETTINGS) == ()


def test_file_outside_the_run_is_recorded_by_its_whole_path(run: RunDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "mine.pt"
    outside.write_text("weights")
    origin = Origin((outside,), {}, "", "mdcompress quantize", 0)
    with run.start(Stage.QUANTIZE, origin).writing(measured={}, summary="") as folder:
        (folder / STUDENT).write_text("student")
    record = run.record(Stage.QUANTIZE)
    assert record is not None and list(record.inputs) == [str(outside)]
    outside.write_text("other")
    assert run.stale(Stage.QUANTIZE, {}) == (f"{outside} changed since `quantize` read it",)


def test_export_of_the_quantized_student_is_stale_once_there_is_a_distilled_one(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    finish(run, Stage.EXPORT, {"model.onnx": "graph"}, inputs=(STUDENT,))
    assert run.stale(Stage.EXPORT, SETTINGS) == ()
    finish(run, Stage.DISTILL, {"distilled.safetensors": "student"}, inputs=(STUDENT,))
    assert "now there is a distilled one" in run.stale(Stage.EXPORT, SETTINGS)[0]
    finish(run, Stage.EXPORT, {"model.onnx": "graph"}, inputs=("distilled.safetensors",))
    assert run.stale(Stage.EXPORT, SETTINGS) == ()


def test_stage_that_fails_while_it_writes_leaves_nothing_behind(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    started = run.start(Stage.QUANTIZE, Origin((), {}, "name: other\n", "", 0))
    with (
        pytest.raises(RunError, match=r"`quantize` cannot be written \(disk full\)"),
        started.writing(measured={}, summary="") as folder,
    ):
        (folder / STUDENT).write_text("half a stud")
        raise OSError("disk full")
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_interrupt_while_a_stage_writes_leaves_nothing_behind(run: RunDirectory) -> None:
    started = run.start(Stage.TRAIN, Origin((), {}, "", "", 0))
    with pytest.raises(KeyboardInterrupt), started.writing(measured={}, summary="") as folder:
        (folder / TEACHER).write_text("half")
        raise KeyboardInterrupt
    assert list(run.path.iterdir()) == [] and run.record(Stage.TRAIN) is None


def write_c(run: RunDirectory, **files: str) -> None:
    started = run.start(Stage.EXPORT, Origin((), {}, "name: tiny\n", "mdcompress export", 0))
    with started.writing(measured={}, summary="") as folder:
        (folder / "model.onnx").write_text("model")
        (folder / "c").mkdir()
        for name, text in files.items():
            (folder / "c" / name).write_text(text)


def test_folder_takes_the_place_of_the_one_before_with_all_in_it(run: RunDirectory) -> None:
    write_c(run, one="1", two="2")
    (run.file("c") / "built").write_text("by hand")
    write_c(run, one="new", three="3")
    assert {path.name: path.read_text() for path in run.file("c").iterdir()} == {"one": "new", "three": "3"}
    record = run.record(Stage.EXPORT)
    assert record is not None and set(record.outputs) == {"model.onnx", "c/one", "c/three"}
    assert not list(run.path.glob(".*"))


def test_file_of_a_folder_that_was_edited_makes_the_stage_stale(run: RunDirectory) -> None:
    write_c(run, one="1")
    assert run.stale(Stage.EXPORT, {}) == ()
    (run.file("c") / "one").write_text("other")
    assert run.stale(Stage.EXPORT, {}) == (f"{run.file('c') / 'one'} is not what `export` wrote",)


def test_change_of_an_input_while_the_stage_works_makes_it_stale(run: RunDirectory) -> None:
    finish(run, Stage.TRAIN, {TEACHER: "weights"})
    started = run.start(Stage.QUANTIZE, Origin((run.file(TEACHER),), {}, "", "", 0))
    run.file(TEACHER).write_text("trained again meanwhile")
    with started.writing(measured={}, summary="") as folder:
        (folder / STUDENT).write_text("student of the first weights")
    assert run.stale(Stage.QUANTIZE, {}) == (f"{run.file(TEACHER)} changed since `quantize` read it",)


def test_result_that_is_there_is_not_overwritten_unasked(run: RunDirectory) -> None:
    run.refuse_to_overwrite(Stage.QUANTIZE)
    finish_train_and_quantize(run)
    with pytest.raises(RunError, match=r"must not hold a result of `quantize` yet \(found quantized") as caught:
        run.refuse_to_overwrite(Stage.QUANTIZE)
    assert "--force" in caught.value.hints[0]


def test_state_of_a_training_is_named_by_what_it_was_started_with(run: RunDirectory) -> None:
    finish(run, Stage.TRAIN, {TEACHER: "weights"})
    origin = Origin((run.file(TEACHER),), {"distill.epochs": "10"}, "", "", 0)
    same = run.start(Stage.DISTILL, origin).checkpoint
    assert same == run.start(Stage.DISTILL, origin).checkpoint
    other_setting = run.start(Stage.DISTILL, Origin(origin.inputs, {"distill.epochs": "9"}, "", "", 0)).checkpoint
    run.file(TEACHER).write_text("others")
    other_input = run.start(Stage.DISTILL, origin).checkpoint
    assert len({same, other_setting, other_input}) == 3


def test_discarding_the_states_of_one_training_keeps_those_of_another(run: RunDirectory) -> None:
    make_folder(run.path)
    states = [run.file(f"{name}.safetensors") for name in ("train.last-00000000", "distill.last-1", "distill.last-2")]
    for state in states:
        state.write_text("")
    run.discard_checkpoints(Stage.DISTILL)
    assert [state.exists() for state in states] == [True, False, False]


def test_manifest_reads_back_equal(run: RunDirectory) -> None:
    finish_train_and_quantize(run)
    manifest = run.manifest()
    write_text(run.file("run.json"), manifest_text(manifest))
    assert run.manifest() == manifest
    assert json.loads(run.file("run.json").read_text())["schema"] == "mdcompress.run/1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": "mdcompress.run/2", "stages": {}}',
        '{"schema": "mdcompress.run/1", "stages": {"train": {}}}',
        '{"schema": "mdcompress.run/1", "stages": {}, "more": 1}',
        "\x00\x01",
    ],
)
def test_record_that_is_damaged_or_foreign_is_an_error_with_its_place(run: RunDirectory, text: str) -> None:
    make_folder(run.path)
    run.file("run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json must be the record of a run") as caught:
        run.manifest()
    assert "move" in caught.value.hints[0]


def test_record_that_is_a_folder_is_an_error(run: RunDirectory) -> None:
    run.file("run.json").mkdir(parents=True)
    with pytest.raises(RunError, match="must be the record of a run"):
        run.manifest()


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    settings_then=st.dictionaries(st.sampled_from(["a", "b.c", "d"]), texts),
    settings_now=st.dictionaries(st.sampled_from(["a", "b.c", "d", "e"]), texts),
)
def test_stage_is_stale_exactly_when_a_setting_of_its_own_changed(
    tmp_path: Path, settings_then: dict[str, str], settings_now: dict[str, str]
) -> None:
    run = RunDirectory(tmp_path)
    with run.start(Stage.TRAIN, Origin((), settings_then, "", "", 0)).writing(measured={}, summary="") as folder:
        (folder / TEACHER).write_text("weights")
    changed = [key for key, value in settings_then.items() if settings_now.get(key) != value]
    assert len(run.stale(Stage.TRAIN, settings_now)) == len(changed)


@settings(deadline=None)
@given(measured=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False)), summary=texts)
def test_any_record_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, measured: dict[str, float], summary: str
) -> None:
    folder = tmp_path_factory.mktemp("record")
    record = StageRecord({}, {}, {}, "1", summary, 0, "", 0.0, measured, summary)
    manifest = Manifest().with_record(Stage.TRAIN, record)
    write_text(folder / "run.json", manifest_text(manifest))
    assert read_manifest(folder) == manifest


def test_the_only_run_is_the_one_that_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="there is none"):
        only_run()
    finish(named_run("4bit"), Stage.TRAIN, {TEACHER: "weights"})
    make_folder(Path("runs/no-run-yet"))
    assert only_run() == RunDirectory(Path("runs/4bit"))


def test_several_runs_are_listed_and_one_must_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("8bit", "4bit"):
        finish(named_run(name), Stage.TRAIN, {TEACHER: "weights"})
    assert [run.path.name for run in existing_runs()] == ["4bit", "8bit"]
    with pytest.raises(RunError, match=r"there are 2: runs/4bit, runs/8bit") as caught:
        only_run()
    assert caught.value.hints == ("choose one, for example `--run 4bit`",)


def test_run_is_chosen_by_name_or_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(Path("mine"))
    assert chosen_run("4bit").path == Path("runs/4bit")
    assert chosen_run("mine").path == Path("mine")
    assert chosen_run("some/where").path == Path("some/where")


def test_file_where_the_run_should_be_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(RunError, match="must be a folder"):
        chosen_run("./file")
    with pytest.raises(RunError, match=r"must be writable \(got: File exists\)"):
        make_folder(Path("file"))
    with pytest.raises(RunError, match=r"must be writable \(got: Not a directory\)"):
        make_folder(Path("file/below"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up"])
def test_name_that_leads_out_of_runs_is_an_error(name: str) -> None:
    with pytest.raises(RunError, match="plain folder name"):
        named_run(name)


def test_text_that_cannot_be_written_leaves_the_old_text(tmp_path: Path) -> None:
    target = tmp_path / "recipe.yaml"
    write_text(target, "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "\ud800")
    assert target.read_text() == "old\n" and list(tmp_path.iterdir()) == [target]


def test_unwritable_place_is_an_error_that_names_it() -> None:
    with pytest.raises(RunError, match="/proc/nothing must be writable"):
        make_folder(Path("/proc/nothing"))
    with pytest.raises(RunError, match=r"/proc/recipe\.yaml must be writable"):
        write_text(Path("/proc/recipe.yaml"), "name: 4bit\n")
