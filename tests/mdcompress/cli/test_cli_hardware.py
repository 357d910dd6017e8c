"""`estimate-hw --against` and `explore` from the command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

import intsnn
from intsnn.activity import measure, write_activity
from intsnn.execution.golden import write_golden
from intsnn.graph import IntGraph
from intsnn.onnx.file import write_onnx
from tests.support.command_line import copy_finished_run, environment, invoke, snapshot, spawn
from tests.support.intgraphs import dense_graph, random_input, residual_graph

FOLDER = Path(intsnn.__file__).parent / "hardware"


def write_model(folder: Path, graph: IntGraph) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_onnx(graph, folder / "model.onnx")
    write_activity(measure(graph, [random_input(graph)]), folder / "activity.json")
    return folder / "model.onnx"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_model(tmp_path / "mine", residual_graph()).relative_to(tmp_path)


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_a_model_is_held_against_a_named_baseline(model: Path, name: str) -> None:
    result = invoke("estimate-hw", str(model), "--against", name)
    assert result.code == 0, result.err
    heads = "int8 | ratio" if name == "int8" else f"int8 | ratio to int8 | {name} | ratio to {name}"
    assert f"| figure | {model} | {heads} |" in result.out
    assert "EDAP" in result.out and "the same spikes" in result.out
    assert sorted(path.name for path in model.parent.iterdir()) == ["activity.json", "model.onnx"]


def test_a_comparison_is_one_json_document(model: Path) -> None:
    document = json.loads(invoke("estimate-hw", str(model), "--against", "float32", "--json").out)
    edap = document["figures"][0]
    assert edap["figure"] == "edap_pj_ns_um2" and edap["gain"] == pytest.approx(edap["against"] / edap["value"])
    assert document["against"] == "float32" and document["assumptions"]
    (beside,) = document["beside"]
    alone = json.loads(invoke("estimate-hw", str(model), "--against", "int8", "--json").out)
    assert beside == alone and alone["against"] == "int8" and alone["beside"] == []


def test_a_comparison_is_kept_where_a_folder_is_named(model: Path) -> None:
    arguments = ("estimate-hw", str(model), "--against", "float32", "--output", "figures", "--picture", "png")
    result = invoke(*arguments)
    names = ["comparison.json", "comparison.md", "comparison.png", "comparison.svg"]
    assert result.code == 0 and sorted(path.name for path in Path("figures").iterdir()) == names
    assert Path("figures/comparison.md").read_text() == result.out
    assert "against float32" in Path("figures/comparison.svg").read_text()
    assert invoke(*arguments).code == 1


def test_a_model_is_held_against_another_model_with_its_own_activity(model: Path) -> None:
    write_model(Path("other"), dense_graph())
    for against in ("other/model.onnx", "other"):
        result = invoke("estimate-hw", str(model), "--against", against)
        assert result.code == 0, result.err
        assert "dense operations DIFFERS" in result.out


def test_a_run_is_found_by_its_name(model: Path) -> None:
    write_model(Path("runs/small"), dense_graph())
    result = invoke("estimate-hw", str(model), "--against", "small", "--rate", "0.1", "--time-steps", "2")
    assert result.code == 0, result.err
    assert "activity: assumed" in result.out


def test_nothing_of_that_name_is_an_error(model: Path) -> None:
    result = invoke("estimate-hw", str(model), "--against", "float64")
    assert result.code == 2
    assert "'float64'" in result.err and "float32, float16, int8" in result.err


def test_another_technology_is_refused_unless_told(model: Path) -> None:
    arguments = ("estimate-hw", str(model), "--against", "int8", "--against-hardware", "rram_128x128_22nm")
    refused = invoke(*arguments)
    assert refused.code == 2 and "compared on one technology" in refused.err
    told = invoke(*arguments, "--across-technologies")
    assert told.code == 0 and "technology DIFFERS" in told.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--across-technologies",), "need --against"),
        (("--against-hardware", "sram_digital"), "need --against"),
        (("--picture", "png"), "--picture needs --against"),
        (("--against", "int8", "--run", "4bit"), "give one of them"),
    ],
)
def test_options_that_do_not_go_together_are_errors(model: Path, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("estimate-hw", str(model), *arguments)
    assert result.code == 2 and message in result.err


def test_a_model_without_an_activity_beside_it_is_an_error(model: Path) -> None:
    write_onnx(dense_graph(), Path("bare.onnx"))
    result = invoke("estimate-hw", str(model), "--against", "bare.onnx")
    assert result.code == 1 and "bare" not in result.out and "activity.json" in result.err


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "tiny"


def test_a_finished_run_is_compared_and_explored_and_left_as_it_is(run: Path) -> None:
    before = snapshot(run)
    compared = invoke("estimate-hw", "--against", "float32")
    assert compared.code == 0, compared.err
    assert "x lower" in compared.out and "measured on" in compared.out
    explored = invoke("explore", "--run", "tiny", "--column-mux", "4,8", "--steps", "1,2")
    assert explored.code == 0, explored.err
    assert "dominated by no other" in explored.out
    assert snapshot(run) == before


GRID = ("--crossbar", "32,64", "--cell-bits", "1,2", "--array-budget", "none,300", "--encoding", "offset,differential")


def test_designs_are_explored_and_written(model: Path) -> None:
    result = invoke("explore", str(model), *GRID, "--steps", "1,4", "--output", "designs")
    assert result.code == 0, result.err
    assert "dominated by no other" in result.out and "adc_conversion" in result.out
    with Path("designs/exploration.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 32
    assert Path("designs/exploration.svg").read_text().startswith("<?xml")
    assert "exploration.csv" in result.err
    again = invoke("explore", str(model), "--column-mux", "4,8", "--output", "designs")
    assert again.code == 1 and "found exploration.csv, exploration.svg" in again.err and "--force" in again.err
    assert invoke("explore", str(model), "--column-mux", "4,8", "--output", "designs", "--force").code == 0
    assert len(Path("designs/exploration.csv").read_text().splitlines()) == 3


def test_designs_are_one_json_document(model: Path) -> None:
    document = json.loads(invoke("explore", str(model), "--adc-bits", "lossless,6,12", "--json").out)
    assert [design["point"]["adc_bits"] for design in document["designs"]] == ["lossless", 6]
    assert [design["exact"] for design in document["designs"]] == [True, False]
    assert document["infeasible"][0]["adc_bits"] == 12


def test_accuracies_join_the_exploration(model: Path) -> None:
    Path("accuracies.csv").write_text("weight_bits,accuracy\n2,0.90\n4,0.95\n")
    result = invoke("explore", str(model), "--weight-bits", "2,4", "--accuracies", "accuracies.csv")
    assert result.code == 0, result.err
    assert "90.00 %" in result.out and "95.00 %" in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--cell-bits", "two"), 2, "must be numbers, with commas between them (got 'two')"),
        (("--cell-bits", "1,9"), 2, "cell_bits must be between 1 and 8 (got 9)"),
        (("--adc-bits", "17"), 2, "adc_bits must be between 1 and 16 (got 17)"),
        (("--weight-bits", "nan"), 2, "weight_bits must be between 1 and 64 (got nan)"),
        (
            ("--encoding", "ternary"),
            2,
            "offset, differential, analog_differential or twos_complement, with commas",
        ),
        (("--crossbar", "0"), 2, "crossbar must be at least 1"),
        (("--hardware", "spikesim"), 2, "know no bit widths"),
        (("--steps", "9"), 2, "time_steps must lie between 1 and the activity's 4"),
        (("--run", "4bit"), 2, "give one of them"),
        (("--accuracies", "missing.csv"), 1, "no such file"),
        (("--cell-bits", "8"), 1, "no design of the space"),
    ],
)
def test_what_cannot_be_explored_is_an_error(model: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = invoke("explore", str(model), *arguments)
    assert result.code == code and message in result.err, result.err


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("technology: {", "technology {", ("not a valid hardware description", "this is not YAML")),
        ("    interpolation: quadratic\n", "", ("components.multiplier: bits and interpolation go together\n",)),
        ("n: jia_2020_65nm\n", "n: jia_65nm\n", ("there is no converter 'jia_65nm'", "did you mean `jia_2020_65nm`?")),
        ('arrays: "+25%"', 'arrays: "-25%"', ("must be an integer or text such as", '"20 mm2"', "(got '-25%')")),
        ("rows: 64", "rows: 1024", ("adc_conversion is priced from 1 to 10 bits (got 12)", "inside the table")),
    ],
)
def test_check_says_what_is_wrong_with_a_description(tmp_path: Path, old: str, new: str, messages: list[str]) -> None:
    text = (FOLDER / "rram_64x64_65nm.yaml").read_text()
    assert text.count(old) == 1
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace(old, new))
    result = invoke("check", str(mine))
    assert result.code == 2 and all(message in result.err for message in messages), result.err


def test_a_named_converter_prices_an_estimate_and_is_an_axis(model: Path) -> None:
    """The cheaper converter costs less, says its source, and is one row of an exploration."""
    energies = {}
    for name in ("survey", "timely_65nm"):
        result = invoke("estimate-hw", str(model), "--converter", name, "--json")
        document = json.loads(result.out)
        energies[name] = document["totals"]["energy_pj"]
        sources = {entry["component"]: entry["source"] for entry in document["provenance"]}
        assert ("TIMELY" if name == "timely_65nm" else "Murmann") in sources["adc_conversion"]
    assert energies["timely_65nm"] < energies["survey"]
    explored = json.loads(invoke("explore", str(model), "--converter", "survey,timely_65nm", "--json").out)
    assert {one["point"]["converter"]: one["energy_pj"] for one in explored["designs"]} == pytest.approx(energies)


@pytest.mark.parametrize(
    ("hardware", "converter", "message"),
    [
        ("rram_64x64_65nm", "timly_65nm", "did you mean `timely_65nm`?"),
        ("sram_digital", "timely_65nm", "has no converters to price"),
        ("spikesim", "timely_65nm", "know no converters"),
    ],
)
def test_a_converter_that_cannot_be_is_an_error(model: Path, hardware: str, converter: str, message: str) -> None:
    result = invoke("estimate-hw", str(model), "--hardware", hardware, "--converter", converter)
    assert result.code == 2 and message in result.err, result.err


PRICING = ("estimate-hw", "explore", "analog")


@pytest.mark.parametrize(
    ("commands", "arguments", "code", "message"),
    [
        (PRICING, ("--hardware", "rram_64x64_65mn"), 2, "did you mean `rram_64x64_65nm`?"),
        (PRICING, ("--hardware", "none.yaml"), 1, "no such file"),
        (PRICING, ("--hardware", "broken.yaml"), 2, "not a valid hardware description"),
        (PRICING, ("--run", "small"), 2, "either MODEL.onnx or a run"),
        (("estimate-hw", "explore"), ("--converter", "timly_65nm"), 2, "there is no converter 'timly_65nm'"),
        (("estimate-hw", "explore"), ("--converter", "timely_65nm", "--hardware", "sram_digital"), 2, "no converters"),
        (("estimate-hw", "explore"), ("--activity", "none.json"), 1, "no such file"),
        (("estimate-hw", "explore"), ("--activity", "other/activity.json"), 1, "must be of the graph"),
        (("estimate-hw", "explore"), ("--rate", "0.1"), 2, "--time-steps is missing"),
        (("explore", "analog"), ("--hardware", "spikesim"), 2, "rules"),
        (("explore --accuracy", "analog"), ("--analog", "gold"), 2, "no analog description 'gold'"),
        (("analog",), ("--hardware", "sram_digital"), 2, "digital and exact"),
        (("estimate-hw",), ("--against", "int8", "--against-hardware", "sram"), 2, "no hardware description 'sram'"),
    ],
)
def test_every_command_ends_alike(
    model: Path, commands: tuple[str, ...], arguments: tuple[str, ...], code: int, message: str
) -> None:
    """A name that is not known, and options that do not go together, are wrong usage; a file that is not there is not.

    The same for a file of another graph: nothing is wrong with the command line, only it cannot be done.
    """
    write_model(Path("other"), dense_graph())
    graph = residual_graph()
    write_golden(graph, model.with_name("golden.npz"), x=random_input(graph, samples=8))
    Path("broken.yaml").write_text("schema: mdcompress.hardware/1\n")
    for command in commands:
        name, *more = command.split()
        result = invoke(name, str(model), *more, *arguments)
        assert (result.code, message in result.err) == (code, True), f"{command}: {result.err}"


def test_exploring_imports_no_torch(model: Path) -> None:
    script = (
        "import sys; from mdcompress.cli import main\n"
        f"try: main(['explore', {str(model)!r}, '--column-mux', '4,8'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'brevitas', 'matplotlib')))"
    )
    Path("probe.py").write_text(script)
    done = subprocess.run([sys.executable, "probe.py"], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dominated by no other" in done.stdout


def test_the_command_runs_as_a_program(model: Path, tmp_path: Path) -> None:
    result = spawn("explore", str(model), "--column-mux", "4,8", "-q", "--output", "designs", folder=tmp_path)
    assert result.code == 0, result.err
    assert result.out.split() == ["designs/exploration.csv", "designs/exploration.svg"]


def test_explore_measures_accuracies_on_chips_where_they_matter(model: Path) -> None:
    """Half of the golden samples calibrate, half judge; the sentences say on what, and what it saves."""
    graph = residual_graph()
    write_golden(graph, model.with_name("golden.npz"), x=random_input(graph, samples=8))
    arguments = ("explore", str(model), "--accuracy", "--adc-bits", "lossless,5,6", "--chips", "2", "--loss", "100")
    result = invoke(*arguments)
    assert result.code == 0, result.err
    assert "Judged by agreement with the exact network on 4 samples, 2 chips of `calibrated`" in result.out
    assert "of the best with lossless converters" in result.out
    document = json.loads(invoke(*arguments, "--json").out)
    assert document["judgement"]["samples"] == 4 and document["judgement"]["exact"] == 1
    assert all(design["accuracy"] is not None for design in document["designs"] if design["pareto"])


def test_accuracies_are_measured_or_read_not_both(model: Path) -> None:
    result = invoke("explore", str(model), "--accuracy", "--accuracies", "table.csv")
    assert result.code == 2 and "got --accuracy and --accuracies" in result.err
