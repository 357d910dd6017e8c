"""`mdcompress search` on a finished run of a tiny network."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intsnn.hardware import load_hardware
from mdcompress.data import Batches, DataSplits, load_data
from mdcompress.evaluation import evaluate
from mdcompress.pipeline import networks
from mdcompress.pipeline.searched_students import upper_bound
from mdcompress.pipeline.workspace import Workspace
from mdcompress.recipe import load_recipe
from mdcompress.student.weights import load_student
from tests.support.command_line import Finished, copy_finished_run, invoke, snapshot

pytestmark = pytest.mark.usefixtures("one_thread", "drawn_as_shipped")

SPACE = ("--bits", "2,4", "--membrane-bits", "4", "--steps", "1,2", "--crossbar", "32,64")
SEARCH = ("search", "--run", "tiny", *SPACE, "--trials", "5", "--samples", "40", "--first", "20", "--loss", "60")


class Untouchable:
    """Samples that nobody may look at."""

    def __iter__(self) -> Iterator[object]:
        raise AssertionError("the test split was read")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Finished]]:
    """A folder with a finished run and a search of it, in which the test split cannot be read."""
    folder = tmp_path_factory.mktemp("searched")
    copy_finished_run(tmp_path_factory.getbasetemp(), folder)
    load = networks.load_splits

    def without_test(workspace: Workspace) -> DataSplits:
        untouchable: Batches = Untouchable()  # type: ignore[assignment]  # all that it may be asked fails
        return replace(load(workspace), test=untouchable)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("mdcompress.pipeline.searching.load_splits", without_test)
        yield folder, invoke(*SEARCH)


@pytest.fixture
def folder(searched: tuple[Path, Finished], monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, as the working folder."""
    monkeypatch.chdir(searched[0])
    return searched[0]


def test_a_search_says_and_writes_what_it_found(searched: tuple[Path, Finished]) -> None:
    folder, result = searched
    assert result.code == 0, result.err
    assert "trial 0: T=2" in result.err
    assert "dominated by no other" in result.out and "uniform start" in result.out
    found = folder / "runs" / "tiny" / "search"
    with (found / "search.csv").open() as file:
        rows = list(csv.DictReader(file))
    document = json.loads((found / "search.json").read_text())
    assert {int(row["trial"]) for row in rows} == set(range(5)) == {one["trial"] for one in document["trials"]}
    assert {row["crossbar"] for row in rows if row["crossbar"]} == {"32", "64"}
    best = [row for row in rows if row["pareto"] == "yes"]
    assert best and len(best) == len(document["pareto"])
    assert {row["recipe"] for row in best} == {str(p.relative_to(found)) for p in (found / "recipes").iterdir()}
    assert {row["hardware"] for row in best} == {str(p.relative_to(found)) for p in (found / "hardware").iterdir()}
    assert (found / "search.svg").read_text().startswith("<?xml")


def test_the_same_command_has_nothing_left_to_do_and_more_trials_go_on(folder: Path) -> None:
    before = snapshot(folder / "runs" / "tiny" / "search")
    again = invoke(*SEARCH)
    assert again.code == 0 and "trial " not in again.err.replace("--trial", "")
    assert snapshot(folder / "runs" / "tiny" / "search") == before
    more = invoke(*SEARCH, "--trials", "6", "-q")
    assert more.code == 0 and "search/search.csv" in more.out
    after = snapshot(folder / "runs" / "tiny" / "search")
    assert {name: after[name] for name in before if name.startswith("trials/")} == {
        name: content for name, content in before.items() if name.startswith("trials/")
    }
    assert "trials/5.json" in after


def test_recipes_make_the_very_students_on_the_very_designs(folder: Path) -> None:
    """`run` takes both files as they are; its student has the accuracy of the trial on the samples of the search."""
    found = folder / "runs" / "tiny" / "search"
    point = json.loads((found / "search.json").read_text())["pareto"][0]
    recipe = load_recipe(found / point["recipe"])
    assert recipe.student_time_steps == point["point"]["time_steps"]
    described = load_hardware(found / point["description"])
    assert (
        described.name.startswith("rram_64x64_65nm_")
        and f"rows: {point['point']['crossbar']}" in (found / point["description"]).read_text()
    )
    arguments = ("run", "--recipe", str(found / point["recipe"]), "--hardware", str(found / point["description"]))
    result = invoke(*arguments, "--set", "distill.epochs=0")
    assert result.code == 0, result.err
    student = load_student(folder / "runs" / recipe.name / "quantized.safetensors")
    validation = load_data(recipe.data, seed=recipe.seed).validation.first(40, seed=recipe.seed)
    steps = recipe.student_time_steps
    assert evaluate(student, validation, time_steps=steps).accuracy == pytest.approx(point["accuracy"], abs=1e-12)


def test_other_settings_need_another_folder(folder: Path) -> None:
    result = invoke(*SEARCH, "--loss", "50")
    assert result.code == 1 and "`points` was 60.0, now it is 50.0" in result.err and "--output" in result.err


def test_coarse_converters_compete_with_the_accuracy_of_chips(folder: Path) -> None:
    arguments = ("search", "--run", "tiny", "--bits", "4", "--membrane-bits", "4", "--steps", "2", "--trials", "1")
    coarse = ("--adc-bits", "lossless,3", "--chips", "1", "--samples", "30", "--loss", "90", "--against", "energy")
    result = invoke(*arguments, *coarse, "--output", "coarse", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    with (folder / "coarse" / "search.csv").open() as file:
        rows = {row["adc_bits"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    (trial,) = document["trials"]
    assert (
        "3" in rows and rows["3"] <= trial["accuracy"] and rows.get("lossless", trial["accuracy"]) == trial["accuracy"]
    )


def test_hopeless_students_are_left_after_a_first_look(folder: Path) -> None:
    """No start can be lowered so far, so the first that is drawn at one bit is left."""
    space = ("--bits", "1,8", "--membrane-bits", "2,8", "--steps", "1,2", "--starts", "uniform", "--against", "energy")
    limits = ("--trials", "12", "--samples", "200", "--first", "100", "--loss", "0.5", "--output", "strict")
    result = invoke("search", "--run", "tiny", *space, *limits, "--json")
    assert result.code == 0, result.err
    left = [one for one in json.loads(result.out)["trials"] if one["reason"]]
    assert any(one["samples"] == 100 and one["designs"] == 0 for one in left), left


def test_students_can_be_trained_for_a_while(folder: Path) -> None:
    """At fewer steps than the float network has, and without a first look, which would not see the training."""
    space = ("--bits", "2", "--membrane-bits", "2", "--steps", "1", "--starts", "uniform", "--against", "energy")
    found = []
    for epochs in ("0", "2"):
        limits = (
            "--trials",
            "1",
            "--samples",
            "200",
            "--loss",
            "95",
            "--epochs",
            epochs,
            "--output",
            f"trained{epochs}",
        )
        result = invoke("search", "--run", "tiny", *space, *limits, "--json")
        assert result.code == 0, result.err
        found += json.loads(result.out)["trials"]
    assert found[0]["accuracy"] < found[1]["accuracy"] and found[1]["samples"] == found[0]["samples"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--steps", "3"), 2, "T must be at most data.time_steps, 2"),
        (("--against", "speed"), 2, "must be of energy, latency, area"),
        (("--bits", "9"), 2, "must be of 1, 1.58, 2"),
        (("--norm-bits", "4,8", "--set", "quantize.batch_norm.mode=power_of_two"), 2, "mode is quantize or fold"),
        (("--hardware", "spikesim"), 2, "has rules of its own"),
        (("--converter", "survey,timly_65nm"), 2, "there is no converter 'timly_65nm'"),
        (
            ("--trials", "1", "--samples", "20", "--loss", "0", "--bits", "1", "--output", "none"),
            1,
            "trials found none",
        ),
    ],
)
def test_what_cannot_be_searched_is_an_error(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = invoke("search", "--run", "tiny", *arguments)
    assert (result.code, message in result.err) == (code, True), result.err


def test_without_the_optimizer_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke(*SEARCH)
    assert result.code == 2 and "pip install 'mdcompress[search]'" in result.err


def test_upper_bound_by_hand() -> None:
    """Wilson's bound at z = 3: of 0 right of 9, z^2 / (n + z^2) = 1/2."""
    assert upper_bound(0.0, 9) == pytest.approx(0.5)
    assert upper_bound(1.0, 9) == pytest.approx(1.0)
    assert 0.5 < upper_bound(0.5, 100) < upper_bound(0.5, 10) < 1
