"""One teacher, a student for each T: what is written, said, refused and resumed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from intsnn.errors import InvalidFileError
from intsnn.yaml.file import read_yaml_text
from mdcompress.calibration.norm_statistics import with_statistics
from mdcompress.compression import compress
from mdcompress.data import calibration, load_data
from mdcompress.evaluation import evaluate
from mdcompress.recipe import RECIPE_SCHEMA, Recipe, load_recipe
from mdcompress.student.weights import load_student, load_weights
from mdcompress.training import EpochRecord, Event
from mdcompress.trust import GIVEN
from mdcompress.zoo.builders import build_network
from tests.support.command_line import TINY_RECIPE, Finished, invoke, write_tiny_files
from tests.support.training_cases import assert_same_state, state_of

pytestmark = pytest.mark.slow
MANY = TINY_RECIPE.replace("name: tiny", "name: many").replace(
    "distill: {epochs: 1}",
    "distill: {epochs: 1, time_steps: [1, 2], students: each, membrane: null}\ntrain: {optimizer: {lr: 0.005}}",
)
RUN = Path("runs/many")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe of two students and its trained teacher."""
    folder = tmp_path_factory.mktemp("taught")
    write_tiny_files(folder)
    (folder / "many.yaml").write_text(MANY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert invoke("train", "--recipe", "many.yaml").code == 0
    return folder


@pytest.fixture
def here(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(taught, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def both(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A copy of that folder in which both students have been distilled, and how the command ended."""
    folder = Path(shutil.copytree(taught, tmp_path_factory.mktemp("both"), dirs_exist_ok=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, invoke("distill", "--json")


@pytest.fixture
def distilled(both: tuple[Path, Finished], monkeypatch: pytest.MonkeyPatch) -> Finished:
    """The command that distilled both students; its folder is the working folder."""
    folder, result = both
    assert result.code == 0, result.err
    monkeypatch.chdir(folder)
    return result


def students() -> list[bytes]:
    return [(RUN / f"T{steps}" / "distilled.safetensors").read_bytes() for steps in (1, 2)]


def test_each_student_is_a_run_of_its_own_under_the_one_teacher(distilled: Finished) -> None:
    document = json.loads(distilled.out)
    assert set(document["teacher"]) == {"test_accuracy", "test_accuracy_T2", "threads"}
    assert [found["time_steps"] for found in document["students"]] == [1, 2]
    for steps in (1, 2):
        record = json.loads((RUN / f"T{steps}" / "run.json").read_text())["stages"]["distill"]
        assert record["settings"]["distill.time_steps"] == f"[{steps}]"
        assert str((RUN / "teacher.safetensors").absolute()) in record["inputs"]
        assert record["measured"]["test_accuracy"] == record["measured"][f"test_accuracy_T{steps}"]
        mismatch = json.loads((RUN / f"T{steps}" / "mismatch.json").read_text())
        assert mismatch["time_steps"] == steps
        assert mismatch["membrane_after"] == record["measured"]["membrane_mismatch_after"]
    one, two = students()
    assert one != two

    exported = invoke("export", "--run", "runs/many/T1")
    assert exported.code == 0, exported.err
    assert "on 64 samples x 1 step:" in exported.out
    tested = invoke("eval", "runs/many/T1/model.onnx", "--json")
    assert json.loads(tested.out)["time_steps"] == 1
    assert json.loads(tested.out)["accuracy"] == document["students"][0]["measured"]["test_accuracy"]

    again = invoke("distill")
    assert again.code == 0 and again.err.count("up to date") == 4
    assert "| runs/many/T2 |" in again.out and "wrote" not in again.err
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in again.out.splitlines() if "|" in line]
    assert rows[0][:4] == ["T", "calibrated", "distilled", "best epoch"]
    assert [row[0] for row in rows[2:]] == ["1", "2"] and [row[3] for row in rows[2:]] == ["1", "1"]


@pytest.mark.usefixtures("distilled")
def test_a_refused_command_leaves_the_recipe_of_the_students() -> None:
    refused = invoke("distill", "--set", "distill.epochs=2")
    assert refused.code == 1 and "is stale" in refused.err
    again = invoke("distill")
    assert again.code == 0 and again.err.count("up to date") == 4


def test_an_interrupted_second_student_goes_on_and_the_first_is_not_repeated(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("--set", "distill.epochs=2")
    assert invoke("distill", *changes).code == 0
    expected = students()
    for steps in (1, 2):
        shutil.rmtree(RUN / f"T{steps}")

    seen: list[int] = []

    def interrupt(_: object, event: Event) -> None:
        seen.extend([event.epoch] if isinstance(event, EpochRecord) else [])
        if seen == [0, 1, 2, 0, 1]:  # the first epoch of the second student is done
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mdcompress.cli.progress._Lines.__call__", interrupt)
        stopped = invoke("distill", *changes)
    assert stopped.code == 130 and "state saved in runs/many/T2/distill.last-" in stopped.err
    resumed = invoke("distill", *changes)
    assert resumed.code == 0, resumed.err
    assert resumed.err.count("up to date") == 3 and "going on with epoch 2" in resumed.err
    assert students() == expected


def test_a_kept_calibrated_student_is_said(here: Path) -> None:
    ruinous = ("--set", "train.optimizer.lr=100")
    several = invoke("distill", *ruinous)
    assert several.code == 0, several.err
    assert several.out.count("| 0: calibrated |") == 2
    alone = ("--recipe", "many.yaml", "--weights", "runs/many/teacher.safetensors", "--set", "distill.students=one")
    for run, changes, words in (
        ("one", ruinous, "kept       the calibrated student, epoch 0 of "),
        ("none", ("--set", "distill.epochs=0"), "kept       the calibrated student: distill.epochs is 0"),
    ):
        chosen = (*alone, "--run", run, "--set", "distill.time_steps=[1]", *changes)
        assert invoke("quantize", *chosen).code == 0
        told = invoke("distill", *chosen)
        assert words in told.out, (told.out, told.err)


@pytest.mark.usefixtures("drawn_as_shipped")
def test_a_whole_run_ends_with_one_table(here: Path) -> None:
    result = invoke("run", "--recipe", "many.yaml", "--min-accuracy", "1.0")
    assert result.code == 3
    assert "train: up to date" in result.err and "student of T = 2, in runs/many/T2" in result.err
    assert result.out.startswith("teacher    test accuracy ") and result.out.count("| runs/many/T") == 2
    assert all((RUN / f"T{steps}" / "report.html").is_file() for steps in (1, 2))
    for steps, word in ((1, "step"), (2, "steps")):
        equal = (
            rf"T = {steps}: parity +student = interpreter = onnxruntime = native on 64 samples x {steps} {word}: "
            r"[\d,]+ spikes"
        )
        assert re.search(equal, result.out), result.out
        price = json.loads((RUN / f"T{steps}" / "run.json").read_text("utf-8"))["stages"]["estimate-hw"]["measured"]
        assert re.search(rf"\| +{steps} \| +[\d.]+ x \| +{price['energy_pj'] / 1e6:.4g} \|", result.out), result.out
    assert "one student for each T" in (RUN / "students.svg").read_text("utf-8")
    page = (RUN / "report.html").read_text("utf-8")
    assert "<h1>many</h1>" in page and page.count('href="T1/report.html"') == page.count('href="T2/report.html"') == 1
    for label in ("Test accuracy", "Weights and constants", "Energy per inference"):
        (alt,) = re.findall(rf">{label}<.*?Bars: ([^\"<]*)", page, re.DOTALL)[:1]
        assert re.fullmatch(r"many/T1 [^,]+, many/T2 [^,]+\.", alt), alt
    again = json.loads(invoke("run", "--recipe", "many.yaml", "--json").out)
    assert [found["time_steps"] for found in again["exported"]] == [1, 2]
    assert all(found["export"]["parity_values"] > 0 for found in again["exported"])


@pytest.mark.parametrize("command", ["quantize", "export", "eval", "estimate-hw"])
def test_a_command_for_one_student_says_which_there_are(here: Path, command: str) -> None:
    (RUN / "T1").mkdir()
    (RUN / "T1" / "recipe.yaml").write_text((RUN / "recipe.yaml").read_text("utf-8"), "utf-8")
    result = invoke(command)
    assert result.code == 2
    assert "this command works on one student" in result.err
    assert "choose one: `--run runs/many/T1`" in result.err


@pytest.mark.usefixtures("distilled")
def test_a_students_run_without_its_folder_is_asked_back() -> None:
    result = invoke("eval", "--run", "many/T1")
    assert result.code == 1 and "did you mean `--run runs/many/T1`?" in result.err


def test_where_no_student_is_yet_the_hint_is_how_to_make_them(here: Path) -> None:
    result = invoke("quantize", "--recipe", "many.yaml", "--run", "later")
    assert result.code == 2
    assert "make them: `mdcompress distill --recipe many.yaml --run later`" in result.err


def test_one_student_of_several_lengths_is_tested_at_each(here: Path) -> None:
    changes = ("--run", "shared", "--recipe", "many.yaml", "--set", "distill.students=one")
    weights = ("--weights", "runs/many/teacher.safetensors")
    assert invoke("quantize", *changes, *weights).code == 0
    result = invoke("distill", *changes, *weights, "--json")
    assert result.code == 0, result.err
    measured = json.loads(result.out)["measured"]
    assert {"test_accuracy_T1", "test_accuracy_T2"} <= measured.keys()
    assert measured["test_accuracy"] == measured["test_accuracy_T2"]
    each = {str(steps): measured[f"test_accuracy_T{steps}"] for steps in (1, 2)}
    assert invoke("export", "--run", "shared").code == 0
    for file in ([], ["runs/shared/model.onnx"]):
        tested = json.loads(invoke("eval", *file, "--run", "shared", "--json").out)
        assert tested["accuracy_at_time_steps"] == each and tested["accuracy"] == each["2"]
        told = invoke("eval", *file, "--run", "shared").out
        assert "x 1 step\n" in told and "x 2 steps" in told


def test_accuracies_of_other_steps_than_the_teachers_say_theirs(here: Path) -> None:
    changes = ("--run", "short", "--recipe", "many.yaml", "--set", "distill.students=one")
    weights = ("--weights", "runs/many/teacher.safetensors")
    quantized = invoke("quantize", *changes, *weights, "--set", "distill.time_steps=[1]")
    assert re.search(
        r"teacher    test accuracy \S+ % at T = 2\nquantized  test accuracy \S+ % at T = 1\n", quantized.out
    )
    whole = invoke("run", *changes, *weights, "--force")
    rows = [line.split("|")[1:5] for line in whole.out.splitlines() if line.startswith("| ")][:5]
    assert [[row[0].strip(), row[1].strip()] for row in rows] == [
        ["network", "T"], ["---------", "--:"], ["teacher", "2"], ["quantized", "2"], ["distilled", "1"],
    ]  # fmt: skip
    assert [row[3].strip() == "-" for row in rows] == [False, False, True, False, True], "mismatch is that of T = 2"


def test_a_teacher_of_several_lengths_is_tested_at_each(here: Path) -> None:
    result = invoke(
        "train", "--recipe", "many.yaml", "--run", "versatile", "--set", "teacher.time_steps=[1, 2]", "--json"
    )
    assert result.code == 0, result.err
    measured = json.loads(result.out)["measured"]
    assert measured["test_accuracy"] == measured["test_accuracy_T2"] and 0 <= measured["test_accuracy_T1"] <= 1
    history = (here / "runs/versatile/teacher_history.csv").read_text("utf-8").splitlines()[0]
    assert "validation_accuracy_T1" in history and "validation_accuracy_T2" in history


def test_each_student_needs_a_number_of_steps() -> None:
    text = f"schema: {RECIPE_SCHEMA}\nname: r\ndistill: {{students: each}}\n"
    with pytest.raises(InvalidFileError, match="must be one where time_steps is null") as caught:
        read_yaml_text(text, "r.yaml", Recipe, schema=RECIPE_SCHEMA)
    assert "time_steps: [1, 2, 4]" in str(caught.value)


NORMED = """\
from torch import nn
from mdcompress.zoo import LIF

class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1, self.norm1, self.neuron1 = nn.Linear(64, 16, bias=False), nn.BatchNorm1d(16), LIF(tau=2.0)
        self.layer2, self.norm2, self.neuron2 = nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16), LIF(tau=2.0)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.neuron1(self.norm1(self.layer1(x.flatten(2)).flatten(0, 1)).unflatten(0, x.shape[:2]))
        x = self.neuron2(self.norm2(self.layer2(x).flatten(0, 1)).unflatten(0, x.shape[:2]))
        return self.head(x).mean(0)
"""


def test_network_at_fewer_steps_has_the_statistics_of_its_calibration_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second layer of a network reads fewer spikes at the first step than later: accuracy and student know it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "normed_network.py").write_text(NORMED)
    text = TINY_RECIPE.replace("name: tiny", "name: normed").replace("tiny_network:build", "normed_network:Normed")
    text = text.replace("teacher: {", "teacher: {time_steps: [1, 2], ").replace("{epochs: 1}", "{time_steps: [1]}")
    (tmp_path / "normed.yaml").write_text(text)
    trained = invoke("train", "--recipe", "normed.yaml", "--json")
    assert trained.code == 0, trained.err
    quantized = invoke("quantize", "--recipe", "normed.yaml", "--json")
    assert quantized.code == 0, quantized.err

    recipe = load_recipe("normed.yaml")
    network = build_network("normed_network:Normed", consent=GIVEN).eval()
    load_weights(network, "runs/normed/teacher.safetensors")
    splits = load_data(recipe.data, seed=0)
    samples = [x[:1] for x, _ in calibration(splits, 128, seed=0)]
    at_one = with_statistics(network, samples)
    accuracy = evaluate(at_one, splits.test, time_steps=1).accuracy
    assert json.loads(trained.out)["measured"]["test_accuracy_T1"] == accuracy
    assert accuracy != evaluate(network, splits.test, time_steps=1).accuracy
    scored = invoke("eval", "runs/normed/teacher.safetensors", "--json")
    assert json.loads(scored.out)["accuracy_at_time_steps"]["1"] == accuracy
    whole = next(iter(splits.train))[0]
    expected = compress(network, whole, recipe, samples)
    assert_same_state(load_student("runs/normed/quantized.safetensors"), state_of(expected))
