"""Result to stdout, the rest to stderr; tables that paste into Markdown; errors that instruct."""

from __future__ import annotations

import dataclasses
import json
import re
import time
import warnings
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intsnn.errors import InvalidFileError, ParityError, Problem, UsageError
from mdcompress.cli.console import Console, Detail, OutputFormat, on_terminal, problem_documents, report_error
from mdcompress.cli.group import quiet_libraries
from mdcompress.cli.progress import ConsoleListener, Job, epoch_line, resumed_line, stopped_line
from mdcompress.errors import PlanError, RunError
from mdcompress.pipeline.report import Report, percent, size, table, written
from mdcompress.runs import RunDirectory
from mdcompress.training import EpochRecord, Resumed, StepRecord, Stopped, Validation
from mdcompress.training.history import untrained

REPORT = Report("| a |", {"accuracy": 0.5, "name": "Ω"}, (Path("runs/4bit/model.onnx"), Path("golden.npz")))


def test_table_is_markdown_with_numbers_on_the_right() -> None:
    assert table(["network", "accuracy"], [["teacher", "98.3 %"], ["a|b", "7 %"]], numbers=["accuracy"]) == (
        "| network | accuracy |\n| ------- | -------: |\n| teacher |   98.3 % |\n| a\\|b    |      7 % |"
    )


def test_table_without_rows_has_its_header() -> None:
    assert table(["node"], []) == "| node |\n| ---- |"


@given(st.lists(st.lists(st.text(max_size=8), min_size=3, max_size=3), max_size=5))
def test_table_has_one_line_a_row_whatever_the_cells_hold(rows: list[list[str]]) -> None:
    lines = table(["one", "two", "three"], rows, numbers=["two"]).split("\n")
    assert len(lines) == len(rows) + 2
    assert len({len(line) for line in lines}) == 1
    assert all(line.replace("\\|", "").count("|") == 4 for line in lines)


def test_result_goes_to_stdout_in_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    Console(OutputFormat.TEXT).show(REPORT)
    assert capsys.readouterr() == ("| a |\n", "")
    Console(OutputFormat.JSON).show(REPORT)
    assert json.loads(capsys.readouterr().out) == REPORT.document
    Console(OutputFormat.PATHS).show(REPORT)
    assert capsys.readouterr() == ("runs/4bit/model.onnx\ngolden.npz\n", "")


def test_notes_go_to_stderr_and_not_at_all_where_only_paths_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    Console().note("working")
    Console(OutputFormat.JSON).note("working")
    assert capsys.readouterr() == ("", "working\nworking\n")
    Console(OutputFormat.PATHS).note("working")
    assert capsys.readouterr() == ("", "")


def test_percent_and_sizes_are_for_people(tmp_path: Path) -> None:
    assert percent(0.98333) == "98.33 %" and percent(1) == "100.00 %"
    known = {0: "0 bytes", 999: "999 bytes", 51_200: "51.2 KB", 250_000: "250 KB", 2_300_000: "2.3 MB"}
    for count, words in known.items():
        path = tmp_path / f"{count}.bin"
        path.write_bytes(b"x" * count)
        assert size(path) == words


def test_size_beyond_megabytes_is_in_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as stream:
        stream.truncate(3_400_000_000)  # sparse: takes no room
    assert size(path) == "3.4 GB"


def test_written_files_are_listed_with_the_folder_once(tmp_path: Path) -> None:
    paths = [tmp_path / "model.onnx", tmp_path / "golden.npz"]
    for path in paths:
        path.write_bytes(b"12")
    assert written(paths) == f"wrote {tmp_path}/model.onnx (2 bytes), golden.npz (2 bytes)"


def test_files_of_several_folders_are_listed_with_each_folder(tmp_path: Path) -> None:
    paths = [tmp_path / folder / name for folder in ("T1", "T2") for name in ("model.onnx", "golden.npz")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12")
    assert written(paths).count(f"{tmp_path}/") == 2 and f"{tmp_path}/T2/model.onnx" in written(paths)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RunError("no run", hints=["start one"]), 1, "error: no run\n    hint: start one\n"),
        (PlanError("no match"), 2, "error: no match\n"),
        (UsageError("no such thing"), 2, "error: no such thing\n"),
        (ParityError("they differ"), 3, "error: they differ\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
        (click.ClickException("odd"), 1, "error: odd\n"),
        (click.UsageError("no such option"), 2, "error: no such option\n"),
        (OSError(28, "No space left on device", "model.onnx"), 1, "error: model.onnx: No space left on device\n"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_no_traceback(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_error(error, detail=Detail.MESSAGE) == code
    assert capsys.readouterr() == ("", text)


def test_invalid_file_is_rendered_as_the_design_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [
        Problem("bad.yaml", 10, 5, "quantize.weight.granularity", "must be one of per_tensor, per_channel"),
        Problem("bad.yaml", 7, 5, "quantize.weight.bitwidth", "unknown key", "the key is `bit_width`"),
    ]
    assert report_error(InvalidFileError("bad.yaml is not a valid recipe", problems), detail=Detail.MESSAGE) == 2
    assert capsys.readouterr().err == (
        "error: bad.yaml is not a valid recipe (2 problems)\n"
        "  bad.yaml:7:5   quantize.weight.bitwidth: unknown key\n"
        "      hint: the key is `bit_width`\n"
        "  bad.yaml:10:5  quantize.weight.granularity: must be one of per_tensor, per_channel\n"
    )


def test_problems_of_a_file_are_json_values() -> None:
    error = InvalidFileError("bad", [Problem("bad.yaml", 7, 5, "seed", "unknown key", "delete it")])
    assert problem_documents(error) == [
        {"file": "bad.yaml", "line": 7, "column": 5, "path": "seed", "message": "unknown key", "hint": "delete it"}
    ]


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_bug_of_ours_shows_its_traceback_and_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TypeError, match="NoneType") as caught:
        RunDirectory(None).file("x")  # type: ignore[arg-type]  # raises in our own code
    assert report_error(caught.value, detail=Detail.MESSAGE) == 1
    text = capsys.readouterr().err
    assert text.count("Traceback (most recent call last)") == 1
    assert "error: this is a bug in mdcompress" in text and "TypeError: unsupported" in text and "report it" in text


def test_error_of_a_users_own_function_is_named_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(raised(ZeroDivisionError("oh")), detail=Detail.MESSAGE) == 1
    text = capsys.readouterr().err
    assert "test_console:raised failed: ZeroDivisionError: oh (test_console.py, line " in text
    assert "Traceback (most" not in text and "bug in mdcompress" not in text


def test_error_that_a_library_raises_for_a_user_is_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    report_error(caught.value, detail=Detail.MESSAGE)
    assert "failed: JSONDecodeError" in capsys.readouterr().err


def test_figure_of_a_result_is_all_that_is_printed_where_it_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    Console(OutputFormat.PATHS).show(Report("text", {}, (Path("a"),), 0.5))
    assert capsys.readouterr().out == "0.5\n"


def test_debug_shows_the_traceback_of_any_error_once(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (RunError("no run"), ZeroDivisionError("oh")):
        report_error(raised(error), detail=Detail.TRACEBACK)
        assert capsys.readouterr().err.count("Traceback (most recent call last)") == 1


class Terminal:
    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def test_terminal_that_cannot_redraw_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not on_terminal()
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert on_terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert not on_terminal()


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_no_color_is_honoured_on_a_terminal(
    no_color: str, colored: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mdcompress.cli.console.on_terminal", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    report_error(RunError("no run"), detail=Detail.MESSAGE)
    assert ("\x1b[" in capsys.readouterr().err) is colored


EPOCH = EpochRecord(
    epoch=3,
    epochs=10,
    learning_rate=1e-3,
    losses={"total": 0.412, "task": 0.21, "logits": 0.15, "membrane": 0.052, "membrane/neuron1": 0.01},
    train_accuracy=0.951,
    validation=(Validation(1, 0.9, 0.5), Validation(4, 0.98, 0.3)),
    seconds=2.14,
)
STEP = StepRecord(epoch=3, epochs=10, step=2, steps=17, learning_rate=1e-3, loss=0.4)


def test_epoch_is_one_line() -> None:
    assert epoch_line("distill", EPOCH) == (
        "distill 3/10  loss 0.4120 (task 0.2100, logits 0.1500, membrane 0.0520)  train 95.10 %  "
        "validation 94.00 % (T=1 90.00 %, T=4 98.00 %)  2.1 s"
    )


def test_epoch_of_one_loss_and_one_length_names_neither() -> None:
    record = dataclasses.replace(EPOCH, losses={"total": 0.5}, validation=EPOCH.validation[:1])
    assert epoch_line("train", record) == "train 3/10  loss 0.5000  train 95.10 %  validation 90.00 %  2.1 s"


def test_the_network_as_it_came_has_a_validation_alone() -> None:
    start = untrained((Validation(4, 0.958, 0.5),), epochs=10)
    assert epoch_line("distill", start) == "distill 0/10  validation 95.80 %"
    assert stopped_line("distill", Stopped(5, 0)) == (
        "distill: stopped after epoch 5, none was better than the network as it came"
    )


def test_the_loss_on_validation_stands_behind_the_accuracy_where_it_decides() -> None:
    scores = (Validation(1, 0.9, 0.5, 1.25), Validation(4, 0.98, 0.3, 0.75))
    start = untrained(scores, epochs=10)
    assert epoch_line("distill", start) == ("distill 0/10  validation 94.00 % (T=1 90.00 %, T=4 98.00 %), loss 1.0000")


def test_resumed_training_says_where_it_goes_on() -> None:
    assert resumed_line("train", Resumed(3, 12, ())).startswith("train: going on with epoch 3, after step 12, from")
    assert resumed_line("train", Resumed(4, 0, ())).startswith("train: going on with epoch 4, from")


def test_log_has_a_line_an_epoch_and_none_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleListener(Console()).training("distill") as progress:
        for event in (Resumed(3, 0, ()), STEP, EPOCH, Stopped(7, 4)):
            progress(event)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == [epoch_line("distill", EPOCH), "distill: stopped after epoch 7, none was better than epoch 4"]


def test_terminal_shows_a_bar_and_keeps_the_epochs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mdcompress.cli.progress.on_terminal", lambda: True)
    with ConsoleListener(Console()).training("distill") as progress:
        for event in (STEP, EPOCH):
            progress(event)
    out, err = capsys.readouterr()
    assert out == "" and "distill 3/10  loss 0.4120" in err


def test_a_log_has_a_line_of_what_goes_on_where_nothing_was_said_for_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mdcompress.cli.progress.QUIET_SECONDS", 0.0)
    listener = ConsoleListener(Console())
    with listener.job({"train": 10.0, "quantize": 3.0}), listener.stage("quantize", "network and data"):
        listener.doing("scales of membranes")
        time.sleep(0.7)
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("quantize, scales of membranes: 0 % of all stages after ")


def test_a_job_knows_how_much_of_all_its_stages_is_done_and_what_is_left() -> None:
    """10 of 13 parts and half of the other 3 are done after 23 s: 11.5 parts in 23 s, so 1.5 parts take 3 s."""
    job = Job({"train": 10.0, "distill": 3.0}, {"train": 1.0, "distill": 0.5}, "distill", "epoch 2/4", started=100.0)
    assert job.share == 11.5 / 13 and job.left(123.0) == "about 3 s left"
    assert job.line(123.0) == "distill, epoch 2/4: 88 % of all stages after 23 s, about 3 s left"
    assert Job({"eval": 1.0}, stage="eval", started=100.0).line(112.0) == "eval: 12 s so far"
    assert Job({"train": 1.0}, {"train": 0.01}).left(time.monotonic()) == "", "too little is done to tell"


def test_steps_and_stages_move_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = ConsoleListener(Console())
    with listener.job({"distill": 3.0, "export": 1.0}):
        (job,) = listener._jobs
        with listener.stage("distill", "network and data"), listener.training("distill") as progress:
            progress(STEP)
            assert job.done == {"distill": (2 + 2 / 17) / 10} and job.doing == "epoch 3/10, loss 0.4000"
        assert job.share == 0.75
    assert listener._jobs == []


def test_no_bar_where_only_paths_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mdcompress.cli.progress.on_terminal", lambda: True)
    with ConsoleListener(Console(OutputFormat.PATHS)).training("distill") as progress:
        progress(EPOCH)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("/home/me/.venv/lib/python3.12/site-packages/brevitas/scaling.py", 0),
        ("/usr/lib/python3/dist-packages/library.py", 0),
        (r"C:\Users\me\Lib\site-packages\library.py", 0),
        ("/home/me/network.py", 1),
    ],
)
def test_what_the_compiler_says_of_an_installed_file_does_not_reach_the_user(file: str, said: int) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        quiet_libraries()
        compile("1 is 1", file, "eval")
    assert [warning.category for warning in heard] == [SyntaxWarning] * said


def test_a_stage_says_what_it_does_from_its_first_line_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a stage says more, its beginning has a name; before the first stage of a job, so has that."""
    monkeypatch.setattr("mdcompress.cli.progress.QUIET_SECONDS", 0.0)
    listener = ConsoleListener(Console())
    with listener.stage("quantize", "network and data"):
        time.sleep(0.6)
    with listener.job({"train": 1.0, "export": 1.0}):
        time.sleep(0.6)
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"quantize, network and data: \d s so far", first)
    assert re.fullmatch(r"starting: 0 % of all stages after \d s", second)
