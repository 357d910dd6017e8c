"""`mdcompress analog`: a run with labels, a model beside its golden values, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intsnn.execution.golden import write_golden
from intsnn.onnx.file import write_onnx
from tests.support.command_line import copy_finished_run, invoke
from tests.support.intgraphs import dense_graph, random_input


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model.onnx with the golden.npz beside it."""
    graph = dense_graph()
    write_onnx(graph, tmp_path / "model.onnx")
    write_golden(graph, tmp_path / "golden.npz", x=random_input(graph, samples=20))
    return tmp_path / "model.onnx"


def test_a_model_is_measured_on_its_golden_inputs(model: Path) -> None:
    result = invoke("analog", str(model), "--chips", "2", "--noise", "0", "--noise", "3", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    found = (document["samples"], document["seeds"], document["exact_accuracy"])
    assert found == (10, [0, 1], None)  # the other half of the samples calibrates
    assert [point["noise"] for point in document["points"]] == [0, 3]
    assert document["points"][0]["agreement"]["mean"] == 1.0 and document["points"][0]["accuracy"] is None


def test_the_table_has_a_row_for_each_size_of_the_noise(model: Path) -> None:
    result = invoke("analog", str(model), "--chips", "2", "--samples", "5")
    assert result.code == 0, result.err
    assert "2 chips, 5 samples x 4 steps" in result.out
    rows = [line.split("|")[1:-1] for line in result.out.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in rows[0]] == ["noise", "agreement", "sd", "lowest", "highest"]
    assert [row[0].strip() for row in rows[2:]] == ["0", "0.5", "1", "2"]


def test_a_calibrated_description_takes_half_of_the_golden_samples(model: Path) -> None:
    result = invoke("analog", str(model), "--analog", "rram_wires_1ohm", "--noise", "1", "--json")
    assert json.loads(result.out)["samples"] == 10


def test_column_gains_can_be_had_with_any_description_and_left_out_of_one_that_has_them(model: Path) -> None:
    arguments = ["analog", str(model), "--noise", "0", "--json", "--column-gains"]
    gained = json.loads(invoke(*arguments, "calibrated", "--analog", "rram_wan_1day").out)
    plain = json.loads(invoke(*arguments, "none", "--analog", "rram_wires_1ohm").out)
    assert (gained["column_gains"], gained["samples"]) == ("calibrated", 10)  # half of the samples calibrates
    assert (plain["column_gains"], plain["samples"]) == ("none", 10)
    shown = invoke("analog", str(model), "--chips", "1", "--noise", "0", "--column-gains", "calibrated").out
    assert "rram_wan_1day with calibrated column gains: 1 chip," in shown


@pytest.mark.usefixtures("drawn_as_shipped")
def test_the_sweep_is_kept_where_a_folder_is_named(model: Path, tmp_path: Path) -> None:
    arguments = [
        "analog",
        str(model),
        "--chips",
        "2",
        "--noise",
        "0",
        "--noise",
        "1",
        "--output",
        str(tmp_path / "out"),
    ]
    result = invoke(*arguments, "--picture", "pdf")
    assert result.code == 0, result.err
    names = ["analog.json", "analog.md", "analog.pdf", "analog.svg"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / "analog.md").read_text() == result.out
    assert "mean of 2 chips, worst to best" in (tmp_path / "out" / "analog.svg").read_text()
    assert invoke(*arguments).code == 1


def test_one_golden_sample_is_too_few_to_calibrate(tmp_path: Path) -> None:
    graph = dense_graph()
    write_onnx(graph, tmp_path / "model.onnx")
    write_golden(graph, tmp_path / "golden.npz", x=random_input(graph, samples=1))
    result = invoke("analog", str(tmp_path / "model.onnx"), "--analog", "rram_wires_1ohm")
    assert result.code == 2 and "besides those that are judged" in result.err


@pytest.mark.parametrize("description", ["rram_wan_1day", "rram_wires_1ohm"])
def test_a_run_is_measured_on_its_test_split_with_labels(
    description: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["--analog", description, "--chips", "2", "--samples", "30", "--noise", "0", "--noise", "1"]
    result = invoke("analog", *arguments)
    assert result.code == 0, result.err
    assert "exact accuracy" in result.out and "| agreement" in result.out
    document = json.loads(invoke("analog", *arguments, "--json").out)
    assert document["samples"] == 30 and 0.5 < document["exact_accuracy"] <= 1
    exact = document["points"][0]["accuracy"]["mean"]
    assert description != "rram_wan_1day" or exact == document["exact_accuracy"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--hardware", "spikesim"], 2, "describe no arrays"),
        (["--analog", "gold"], 2, "no analog description 'gold'"),
        (["--run", "mine"], 2, "either MODEL.onnx or a run"),
        (["--noise", "-1"], 2, "-1"),
        (["--column-gains", "best"], 2, "'best' is not one of 'none', 'calibrated'"),
        (["--analog", "rram_wan_1days"], 2, "did you mean `rram_wan_1day`?"),
    ],
)
def test_what_cannot_be_measured_is_an_error(model: Path, arguments: list[str], code: int, message: str) -> None:
    result = invoke("analog", str(model), *arguments)
    assert result.code == code and message in result.err


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    result = invoke("analog", str(tmp_path / "none.onnx"))
    assert result.code == 1 and "no such file" in result.err
