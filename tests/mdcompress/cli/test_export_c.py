"""`export --format c`: the folder, the report, the limits."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from mdcompress.runs import RunDirectory
from mdcompress.runs.manifest import Stage
from tests.support.c_programs import compilations, run_golden_test
from tests.support.command_line import invoke, snapshot

RUN = RunDirectory(Path("runs/tiny"))
pytestmark = pytest.mark.usefixtures("finished")
FILES = ["Makefile", "README.md", "test_tiny.c", "tiny.c", "tiny.h"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_is_written_recorded_and_equal_to_the_student() -> None:
    result = invoke("export", "--force", "--format", "c")
    assert result.code == 0, result.err
    assert names(RUN.file("c")) == FILES
    record = RUN.record(Stage.EXPORT)
    assert record is not None and {f"c/{name}" for name in FILES} < set(record.outputs)
    assert "answers, spikes and membranes equal" in run_golden_test(
        RUN.file("c").resolve(), compilations()[0], name="tiny"
    )


def test_report_of_memory_and_additions_is_printed_recorded_and_in_the_readme() -> None:
    result = invoke("export", "--force", "--format", "c")
    record = RUN.record(Stage.EXPORT)
    assert record is not None and record.summary + "\n" == result.out
    lines = {line.split()[0]: line for line in result.out.splitlines() if line.strip()}
    assert "bytes (weights 2,368" in lines["flash"] and "code" in lines["flash"]  # 64 * 32 + 32 * 10 at 8 bits
    assert "from one reset to the next (TINY_MAX_STEPS)" in lines["steps"]
    assert "stack" in lines["RAM"] and "2,368 synaptic additions a step at most" in lines["additions"]
    assert record.measured["synaptic_additions_most"] == 2368
    assert 0 < record.measured["synaptic_additions"] < 2368
    assert 2368 < record.measured["flash_bytes"] < 8192 and 32 < record.measured["ram_bytes"] < 2048
    table = [line for line in result.out.splitlines() if line.startswith("|")]
    readme = RUN.file("c/README.md").read_text()
    assert len(table) > 5 and "\n".join(table) in readme and f"{record.measured['flash_bytes']:,.0f} bytes" in readme


def test_export_without_c_takes_the_folder_of_the_student_before_away() -> None:
    assert invoke("export", "--force", "--format", "c").code == 0
    assert invoke("export", "--force").code == 0
    assert not RUN.file("c").exists()
    assert invoke("run").code == 0  # nothing is stale


def test_export_of_another_name_leaves_nothing_of_the_one_before() -> None:
    assert invoke("export", "--force", "--format", "c").code == 0
    RUN.file("c/tiny.o").write_text("what was built here")
    result = invoke("export", "--force", "--format", "c", "--name", "digits", "-q")
    assert names(RUN.file("c")) == ["Makefile", "README.md", "digits.c", "digits.h", "test_digits.c"]
    assert str(RUN.file("c/digits.c")) in result.out.splitlines()


def test_folder_that_changed_makes_the_export_stale() -> None:
    assert invoke("export", "--force", "--format", "c").code == 0
    assert invoke("run").code == 0
    RUN.file("c/tiny.c").write_text("int other;")
    result = invoke("run")
    assert result.code == 1 and "c/tiny.c is not what `export` wrote" in result.err


@pytest.mark.parametrize(
    ("option", "limit", "says"),
    [
        ("--max-ram", "64", "at most 64 bytes of RAM"),
        ("--max-flash", "2KiB", "at most 2,048 bytes of flash"),
    ],
)
def test_network_that_is_too_large_is_not_written_and_what_takes_most_is_named(
    option: str, limit: str, says: str, finished: Path
) -> None:
    before = snapshot(finished)
    result = invoke("export", "--force", "--format", "c", option, limit)
    assert result.code == 3 and says in result.err and option in result.err
    if option == "--max-flash":
        assert "most: weights of hidden 2,048, code" in result.err
    assert snapshot(finished) == before


def test_limits_that_are_both_passed_are_both_named_with_the_table_and_nothing_is_written(finished: Path) -> None:
    before = snapshot(finished)
    result = invoke("export", "--force", "--format", "c", "--max-flash", "2KiB", "--max-ram", "64")
    assert result.code == 3
    assert "at most 2,048 bytes of flash" in result.err and "at most 64 bytes of RAM" in result.err
    assert "| hidden" in result.err and "--max-flash" in result.err and "--max-ram" in result.err
    assert snapshot(finished) == before


def test_c_is_called_as_the_recipe_wherever_the_run_stands() -> None:
    RUN.path.rename("elsewhere")
    assert invoke("export", "--run", "elsewhere", "--force", "--format", "c").code == 0
    assert names(Path("elsewhere/c")) == FILES


def test_network_that_fits_is_written() -> None:
    assert invoke("export", "--force", "--format", "c", "--max-ram", "4K", "--max-flash", "16KiB").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--max-ram", "4K"), "are for --format c"),
        (("--max-flash", "4K", "--format", "nir"), "are for --format c"),
        (("--name", "digits"), "are for --format c"),
        (("--format", "c", "--name", "4bit"), "'net_4bit'"),
        (("--format", "c", "--max-ram", "4KB"), "24KiB"),
        (("--format", "c", "--max-ram", "0"), "24KiB"),
        (("--format", "c", "--max-ram", "1.0001K"), "24KiB"),
        (("--format", "c", "--max-ram", "much"), "24KiB"),
    ],
)
def test_what_is_asked_wrongly_is_refused_before_any_work(
    arguments: tuple[str, ...], says: str, finished: Path
) -> None:
    before = snapshot(finished)
    result = invoke("export", "--force", *arguments)
    assert result.code == 2 and says in result.err
    assert snapshot(finished) == before


def test_size_may_have_a_unit_and_a_fraction() -> None:
    result = invoke("export", "--force", "--format", "c", "--max-ram", "0.0625 KiB")
    assert result.code == 3 and "at most 64 bytes" in result.err


def test_without_a_compiler_the_code_is_said_to_be_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ziglang" else find_spec(name))
    result = invoke("export", "--force", "--format", "c", "--json")
    assert result.code == 0
    summary = RUN.manifest().stages["export"].summary
    for line in ("flash      at least ", "RAM        at least ", "the code comes on top", "the stack comes on top"):
        assert line in summary
    measured = json.loads(result.out)["measured"]
    assert measured["flash_bytes_at_least"] < 4096 and "flash_bytes" not in measured
    limited = invoke("export", "--force", "--format", "c", "--max-flash", "64KiB")
    assert (
        limited.code == 1
        and "--max-flash (in Python `max_flash`) must know the code too" in limited.err
        and "mdcompress[native]" in limited.err
    )
    assert invoke("export", "--force", "--format", "c", "--max-flash", "1KiB").code == 3  # that is sure
