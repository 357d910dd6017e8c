"""Whole runs: what is printed, written, skipped, done again and refused."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from benchmarks.file_operations import Died, Operations
from intsnn import analog
from intsnn import hardware as hardware_room
from mdcompress.pipeline.report import JsonValue
from mdcompress.pipeline.workspace import flattened
from mdcompress.recipe import recipes_folder
from mdcompress.runs import STAGE_FILES, RunDirectory
from mdcompress.runs.manifest import Stage
from tests.support.command_line import environment, invoke, snapshot, write_tiny_files

if TYPE_CHECKING:
    from mdcompress.student import Student

RUN = RunDirectory(Path("runs/tiny"))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tiny_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def remove(*stages: Stage) -> None:
    for stage in stages:
        for path in RUN.files(stage):
            path.unlink()
    document = json.loads(RUN.file("run.json").read_text())
    kept = {name: record for name, record in document["stages"].items() if name not in {s.value for s in stages}}
    RUN.file("run.json").write_text(json.dumps({**document, "stages": kept}))


# ---------------------------------------------------------------------- a whole run


def test_run_prints_accuracies_parity_and_hardware_on_stdout_and_the_rest_on_stderr(finished: Path) -> None:
    out, err = (finished / "stdout").read_text(), (finished / "stderr").read_text()
    head = r"\| network +\| test accuracy \| membrane mismatch \|\n\| -+ \| -+: \| -+: \|\n"
    assert re.search(head + r"\| teacher +\| +[\d.]+ % \| +- \|", out)
    measured = RunDirectory(finished / "runs" / "tiny").manifest().stages["distill"].measured
    for network, when in (("quantized", "before"), ("distilled", "after")):
        mismatch = f"{measured[f'membrane_mismatch_{when}']:.4f}"
        assert re.search(rf"\| {network} +\| +[\d.]+ % \| +{re.escape(mismatch)} \|", out)
    witnesses = "student = interpreter = onnxruntime = native"
    assert re.search(rf"^parity +{witnesses} on 64 samples x 2 steps: [\d,]+ spikes", out, re.M)
    assert "| Energy per inference |" in out
    assert re.search(
        r"^kept +(epoch \d|the calibrated student, epoch 0) of \d+: .*\(distill.best: accuracy\)$", out, re.M
    )
    assert re.search(r"\| 0: [a-z ,]*calibrated[a-z ,]* +\| +[\d.]+ % \| +[\d.]+ \| +[\d.]+ \|", out)
    assert "wrote" not in out and "train 2/2" not in out
    assert "train 2/2  loss" in err and "wrote runs/tiny/teacher.safetensors" in err
    assert "\x1b" not in out + err


def test_run_leaves_the_files_of_every_stage_and_nothing_else(finished: Path) -> None:
    expected = {name for names in STAGE_FILES.values() for name in names} | {"recipe.yaml", "run.json", "tensorboard"}
    assert {path.name for path in RUN.path.iterdir()} == expected


def test_record_of_a_run_says_how_each_file_came_about(finished: Path) -> None:
    record = RUN.record(Stage.QUANTIZE)
    assert record is not None
    assert list(record.inputs) == ["teacher.safetensors"]
    assert record.command == "mdcompress run --recipe tiny.yaml" and record.seed == 0 and record.version
    assert record.settings["data.calibration_samples"] == "128" and "distill.epochs" not in record.settings


def test_finished_run_is_not_done_again_and_prints_the_same(finished: Path) -> None:
    before = snapshot(finished)
    result = invoke("run")
    assert result.code == 0 and result.out == (finished / "stdout").read_text()
    assert result.err.splitlines() == [f"{stage.value}: up to date" for stage in Stage]
    assert snapshot(finished) == before


def test_run_of_another_seed_is_another_run(finished: Path) -> None:
    result = invoke("run", "--recipe", "tiny.yaml", "--seed", "1")
    assert result.code == 1 and "`seed` was 0, now it is 1" in result.err


def test_forced_run_does_again_what_is_stale_and_what_follows_from_it(finished: Path) -> None:
    before = snapshot(finished)
    changes = ("distill.epochs=2", "distill.membrane=null", "train.optimizer.lr=0.005")
    result = invoke("run", *(word for change in changes for word in ("--set", change)), "--force")
    assert result.code == 0, result.err
    assert "train: up to date" in result.err and "quantize: up to date" in result.err
    assert re.search(r"distill: .*`distill\.epochs` was 1, now it is 2", result.err) and "distill 2/2" in result.err
    changed = {name for name, content in snapshot(finished).items() if before.get(name) != content}
    assert {"runs/tiny/distilled.safetensors", "runs/tiny/recipe.yaml", "runs/tiny/run.json"} <= changed
    assert not {"runs/tiny/teacher.safetensors", "runs/tiny/quantized.safetensors"} & changed
    assert invoke("run").err.count("up to date") == len(Stage)


def test_run_goes_on_where_it_stopped(finished: Path) -> None:
    before = snapshot(finished)
    remove(Stage.ESTIMATE, Stage.EXPORT)
    result = invoke("run")
    assert result.code == 0 and result.err.count("up to date") == 3
    after = snapshot(finished)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"runs/tiny/run.json", "runs/tiny/report.html"}  # times; the rest is equal


def test_json_of_a_run_is_one_document(finished: Path) -> None:
    result = invoke("run", "--json")
    document = json.loads(result.out)
    assert document["run"] == "runs/tiny" and list(document["test_accuracy"]) == ["teacher", "quantized", "distilled"]
    assert [stage["stage"] for stage in document["stages"]] == [stage.value for stage in Stage]
    assert document["stages"][3]["measured"]["parity_samples"] == 64


def test_quiet_prints_paths_that_exist_and_nothing_else(finished: Path) -> None:
    result = invoke("run", "-q")
    assert result.err == "" and all(Path(line).is_file() for line in result.out.splitlines())
    assert "runs/tiny/model.onnx" in result.out.splitlines()


def test_accuracy_below_the_limit_ends_with_3_after_the_result(finished: Path) -> None:
    result = invoke("run", "--min-accuracy", "1.0")
    assert result.code == 3 and "distilled" in result.out
    assert "error: the test accuracy must be at least 100.00 %" in result.err and "hint:" in result.err
    assert invoke("run", "--min-accuracy", "0.1").code == 0


def test_dry_run_prints_each_node_and_writes_nothing(empty: Path) -> None:
    before = snapshot(empty)
    for command in ("run", "quantize"):
        result = invoke(command, "--recipe", "tiny.yaml", "--set", "quantize.weight.bit_width=3", "--dry-run")
        assert result.code == 0, result.err
        assert re.search(r"\| node +\| kind +\| shape +\| policy", result.out)
        assert re.search(r"\| hidden +\| synapse +\| 32 +\| 3-bit weights per channel", result.out)
        assert "quantize.weight" in result.out
    assert snapshot(empty) == before


def test_dry_run_is_one_json_document_too(finished: Path) -> None:
    rows = json.loads(invoke("quantize", "--dry-run", "--weights", "runs/tiny/teacher.safetensors", "--json").out)
    assert [row["node"] for row in rows if row["kind"] == "synapse"] == ["hidden", "head"]


# ---------------------------------------------------------------------- killed after a file operation


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "folder", "at_once"),
    [
        (["explore", "--crossbar", "32,64", "--output", "designs"], "designs", 6),
        (["estimate-hw", "--output", "figures"], "figures", 4),
        (["estimate-hw"], "runs/tiny", 4),
        (["export", "--samples", "4", "--engine", "interpreter", "--format", "c"], "runs/tiny", 12),
    ],
)  # fmt: skip
def test_command_that_is_killed_after_a_file_operation_goes_on_when_it_is_given_again(
    finished: Path, arguments: list[str], folder: str, at_once: int
) -> None:
    remove(Stage.ESTIMATE, *([Stage.EXPORT] if arguments[0] == "export" else []))
    shutil.copytree(finished / "runs", finished / "before")
    with Operations(finished) as operations:
        whole = invoke(*arguments)
    assert whole.code == 0, whole.err
    expected = {name: content for name, content in snapshot(Path(folder)).items() if name != "run.json"}
    for last in range(1, operations.count, at_once):  # after the last one it has ended
        shutil.rmtree(folder)
        if folder == "runs/tiny":
            shutil.copytree("before/tiny", folder)
        with Operations(finished, last=last), contextlib.suppress(Died):
            invoke(*arguments)
        again = invoke(*arguments)
        assert again.code == 0 and again.out == whole.out, f"operation {last}: {again.err}"
        found = {name: content for name, content in snapshot(Path(folder)).items() if name != "run.json"}
        assert found == expected, f"operation {last}: {found.keys() ^ expected.keys()}"


def test_same_command_with_a_finished_result_shows_it(finished: Path) -> None:
    first = invoke("export", "--samples", "8", "--force")
    assert first.code == 0, first.err
    assert "must not hold a result of `export` yet" in invoke("export", "--samples", "8").err
    remove(Stage.ESTIMATE, Stage.EXPORT)
    first = invoke("export", "--samples", "8")
    before = snapshot(finished)
    again = invoke("export", "--samples", "8")
    assert (again.code, again.out) == (0, first.out) and "export: up to date" in again.err
    assert snapshot(finished) == before
    assert invoke("export", "--samples", "9").code == 1  # another one would replace it


def test_run_without_its_pictures_is_up_to_date(finished: Path) -> None:
    for picture in RUN.path.glob("*.svg"):
        picture.unlink()
    result = invoke("run")
    assert result.code == 0 and result.err.count("up to date") == len(Stage), result.err


# ---------------------------------------------------------------------- stage by stage


def test_stages_one_by_one_give_what_a_whole_run_gives(finished: Path) -> None:
    for command in ("train", "quantize", "distill", "export", "estimate-hw"):
        arguments = [command, "--recipe", "tiny.yaml", "--run", "apart"]
        result = invoke(*arguments)
        assert result.code == 0, result.err
        assert "wrote runs/apart/" in result.err
    for name in ("teacher.safetensors", "plan.yaml", "model.onnx", "golden.npz", "activity.json", "hardware.json"):
        assert RUN.file(name).read_bytes() == (finished / "runs/apart" / name).read_bytes(), name


def test_own_network_and_weights_need_no_training(finished: Path) -> None:
    weights = "runs/tiny/teacher.safetensors"
    result = invoke(
        "run", "--recipe", "tiny.yaml", "--run", "mine", "--weights", weights, "--model", "tiny_network:build"
    )
    assert result.code == 0, result.err
    assert "train" not in {line.split()[0] for line in result.err.splitlines()}
    teacher = [line for line in result.out.splitlines() if "teacher" in line]
    assert teacher == [line for line in (finished / "stdout").read_text().splitlines() if "teacher" in line]


def test_weights_given_to_quantize_are_kept_in_the_run(finished: Path) -> None:
    weights = "runs/tiny/teacher.safetensors"
    assert invoke("quantize", "--recipe", "tiny.yaml", "--run", "mine", "--weights", weights).code == 0
    forgotten = invoke("distill", "--recipe", "tiny.yaml", "--run", "mine")
    assert forgotten.code == 1 and "`model.weights` was" in forgotten.err
    assert "`--run runs/mine` without --recipe" in forgotten.err
    assert invoke("distill", "--run", "runs/mine").code == 0


def test_export_is_of_the_quantized_student_where_there_is_no_distilled_one(finished: Path) -> None:
    remove(Stage.ESTIMATE, Stage.EXPORT, Stage.DISTILL)
    assert invoke("export", "--samples", "8").code == 0
    record = RUN.record(Stage.EXPORT)
    assert record is not None and list(record.inputs) == ["quantized.safetensors"]
    assert record.measured["parity_samples"] == 8
    assert invoke("distill").code == 0
    result = invoke("estimate-hw")
    assert (
        result.code == 1
        and "now there is a distilled one" in result.err
        and "`mdcompress export --force`" in result.err
    )


def test_export_that_is_not_equal_ends_with_3_and_writes_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mdcompress.student.lowering
    from intsnn.graph import IntGraph, IntNeuron

    remove(Stage.ESTIMATE, Stage.EXPORT)
    lower = mdcompress.student.lowering.lower

    def lower_wrongly(student: Student) -> IntGraph:
        graph = lower(student)
        nodes = [
            dataclasses.replace(node, threshold=node.threshold + 1) if isinstance(node, IntNeuron) else node
            for node in graph
        ]
        return IntGraph(tuple(nodes), graph.metadata)

    monkeypatch.setattr(mdcompress.student.lowering, "lower", lower_wrongly)
    before = snapshot(finished)
    result = invoke("export", "--samples", "300")
    assert result.code == 3 and result.out == ""
    assert "'neuron'" in result.err and "student has" in result.err and "hint:" in result.err
    assert snapshot(finished) == before


def test_distillation_of_no_epochs_keeps_the_quantized_student(finished: Path) -> None:
    result = invoke("run", "--set", "distill.epochs=0", "--force", "--json")
    assert result.code == 0, result.err
    accuracy = json.loads(result.out)["test_accuracy"]
    assert accuracy["distilled"] == accuracy["quantized"]


# ---------------------------------------------------------------------- eval, estimate-hw, check


def test_exported_model_is_as_accurate_as_the_student_it_came_from(finished: Path) -> None:
    student, model = (json.loads(invoke("eval", *file, "--json").out) for file in ([], ["runs/tiny/model.onnx"]))
    assert student["accuracy"] == model["accuracy"] and student["samples"] == model["samples"] > 300
    assert student["file"] == "runs/tiny/distilled.safetensors"
    assert student["neurons"]["neuron"]["spike_rate"] > 0


def test_eval_prints_accuracy_and_what_neurons_do(finished: Path) -> None:
    result = invoke("eval", "runs/tiny/quantized.safetensors", "--recipe", "tiny.yaml")
    assert re.match(r"runs/tiny/quantized\.safetensors: test accuracy [\d.]+ % on \d+ samples x 2 steps\n", result.out)
    assert re.search(r"\| neuron +\| +[\d.]+ % \| +[\d.]+ % \|", result.out)


def test_eval_takes_the_weights_of_the_float_network_too(finished: Path) -> None:
    """`train` has measured the same; a float network has rates, and no words to saturate."""
    teacher = Path("runs/tiny/teacher.safetensors")
    torch.save(load_file(teacher), "teacher.pt")
    record = json.loads(Path("runs/tiny/run.json").read_text("utf-8"))
    for file in (str(teacher), "teacher.pt"):
        scored = json.loads(invoke("eval", file, "--run", "tiny", "--json").out)
        assert scored["accuracy"] == record["stages"]["train"]["measured"]["test_accuracy"]
        assert scored["neurons"]["neuron"]["spike_rate"] > 0 and scored["neurons"]["neuron"]["saturated"] is None


@pytest.mark.parametrize("file", ["last.ckpt", "best.pth.tar"])
def test_what_was_taken_out_of_a_checkpoint_is_said(finished: Path, file: str) -> None:
    state = load_file(Path("runs/tiny/teacher.safetensors"))
    torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 3}, file)
    said = f"{file}: the weights are 'state_dict' of the file; 'model.' taken off before their names"
    result = invoke("quantize", "--recipe", "tiny.yaml", "--run", file.replace(".", "_"), "--weights", file)
    assert result.code == 0 and said in result.err
    assert said in invoke("eval", file, "--run", "tiny").err


def test_run_eval_and_the_record_say_the_same_of_the_size(finished: Path) -> None:
    """64 x 32 + 32 x 10 weights, 32 neurons; first layer and head of 8 bits, as both are of the tiny network."""
    whole, model, student = (
        json.loads(invoke(*command, "--json").out)["sizes"]
        for command in (["run", "--recipe", "tiny.yaml"], ["eval", "runs/tiny/model.onnx"], ["eval", "--run", "tiny"])
    )
    measured = json.loads((finished / "runs/tiny/run.json").read_text())["stages"]["export"]["measured"]
    assert whole["weights_by_bits"] == {"8": 64 * 32 + 32 * 10} and sum(whole["membranes_by_bits"].values()) == 32
    assert whole["float32_bytes"]["weights"] == 4 * whole["int8_bytes"]["weights"] == 4 * 2368
    assert measured["ratio_to_float32"] == whole["ratio"]["float32"] > 3
    for other in (model, student):
        assert {**other, "file_bytes": {}} == {**whole, "file_bytes": {}}
    for what, name in (("float weights", "teacher"), ("student", "distilled"), ("integer ONNX", "model")):
        suffix = "onnx" if name == "model" else "safetensors"
        assert whole["file_bytes"][what] == (finished / f"runs/tiny/{name}.{suffix}").stat().st_size
    assert "| as deployed |" in invoke("eval", "runs/tiny/model.onnx").out


def test_eval_prints_the_accuracy_alone_where_it_is_to_be_quiet(finished: Path) -> None:
    for file in ([], ["runs/tiny/model.onnx"]):
        quiet, whole = invoke("eval", *file, "-q"), invoke("eval", *file, "--json")
        assert float(quiet.out) == json.loads(whole.out)["accuracy"] and quiet.err == ""


def test_traceback_of_ones_own_function_is_shown_with_debug(finished: Path) -> None:
    result = invoke(
        "train", "--run", "new", "--recipe", "tiny.yaml", "--model", "tiny_network:build_wrongly", "--debug"
    )
    assert result.code == 1 and "Traceback" in result.err and "bug in mdcompress" not in result.err


def test_eval_below_the_limit_ends_with_3(finished: Path) -> None:
    assert invoke("eval", "runs/tiny/model.onnx", "--min-accuracy", "1").code == 3


def test_integers_of_the_command_line_are_those_of_the_student(finished: Path) -> None:
    from intsnn.onnx.file import read_onnx
    from mdcompress.pipeline.evaluating import integers_for
    from mdcompress.student.weights import load_student

    x = torch.linspace(-0.5, 1.5, 2 * 3 * 64).reshape(2, 3, 1, 8, 8)
    expected = load_student(RUN.file("distilled.safetensors")).quantize_input(x).numpy()
    assert np.array_equal(integers_for(read_onnx(RUN.file("model.onnx")).input, x.numpy()), expected)
    assert expected.min() == 0 < expected.max()


def test_figures_of_a_run_are_kept_and_printed(finished: Path) -> None:
    assumed = ["--rate", "0.5", "--time-steps", "2"]
    result = invoke("estimate-hw", *assumed, "--force", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert document["workload"]["activity"] == "assumed"
    assert document == json.loads(RUN.file("hardware.json").read_text())
    assert "`rate` was 0.5, now it is null" in invoke("run").err
    assert invoke("run", "--force").out == (finished / "stdout").read_text()


def test_description_of_ones_own_is_an_input_like_any_other(finished: Path) -> None:
    mine = finished / "mine.yaml"
    mine.write_text((Path(inspect.getfile(hardware_room)).parent / "rram_64x64_65nm.yaml").read_text())
    assert invoke("estimate-hw", "--hardware", "mine.yaml", "--force").code == 0
    assert invoke("run", "--hardware", "mine.yaml").err.endswith("estimate-hw: up to date\n")
    mine.write_text(mine.read_text() + "# a change\n")
    result = invoke("run", "--hardware", "mine.yaml")
    assert result.code == 1 and "mine.yaml changed since `estimate-hw` read it" in result.err


def test_model_without_a_run_is_priced_with_measured_or_assumed_activity(finished: Path) -> None:
    measured = invoke("estimate-hw", "runs/tiny/model.onnx")
    assert measured.code == 0 and "| Energy per inference |" in measured.out and measured.err == ""
    assumed = invoke("estimate-hw", "runs/tiny/model.onnx", "--rate", "0.9", "--time-steps", "2", "--output", "figures")
    assert assumed.code == 0 and assumed.out != measured.out
    assert "wrote figures/hardware.json" in assumed.err and "| " in Path("figures/hardware.md").read_text()
    elsewhere = invoke("estimate-hw", "runs/tiny/model.onnx", "--activity", "runs/tiny/activity.json")
    assert elsewhere.out == measured.out


def test_figures_of_a_run_go_into_another_folder_and_the_run_stays_as_it_is(finished: Path) -> None:
    before = snapshot(finished)
    for number, question in enumerate([["--hardware", "sram_digital"], ["--rate", "0.5", "--time-steps", "2"]]):
        result = invoke("estimate-hw", *question, "--output", f"figures{number}")
        assert result.code == 0 and f"wrote figures{number}/hardware.json" in result.err, result.err
    assert {name: content for name, content in snapshot(finished).items() if "figures" not in name} == before


def test_figures_in_a_folder_of_ones_own_are_replaced_only_by_force(finished: Path) -> None:
    assert invoke("estimate-hw", "--output", "runs/tiny/hardware/sram_digital", "--hardware", "sram_digital").code == 0
    before = snapshot(finished)
    for arguments in (["estimate-hw"], ["estimate-hw", "runs/tiny/model.onnx"]):
        again = invoke(*arguments, "--output", "runs/tiny/hardware/sram_digital")
        assert (
            again.code == 1 and "found hardware.json, hardware.md, report.html" in again.err and "--force" in again.err
        )
    assert snapshot(finished) == before
    assert invoke("eval", "--run", "tiny").code == 0  # a folder of figures inside a run is no part of it
    assert invoke("estimate-hw", "--output", "runs/tiny/hardware/sram_digital", "--force").code == 0
    assert snapshot(finished) != before


def test_file_in_a_run_is_judged_with_the_recipe_beside_it(finished: Path) -> None:
    shutil.copytree(RUN.path, "runs/other")
    for arguments in (["eval"], ["estimate-hw"]):
        result = invoke(*arguments, "runs/other/model.onnx", "--json")
        assert result.code == 0, result.err
    alone = invoke("eval", "runs/other/distilled.safetensors", "--json")
    assert json.loads(alone.out)["file"] == "runs/other/distilled.safetensors"


def test_nothing_is_done_before_all_that_can_be_checked_is(finished: Path) -> None:
    before = snapshot(finished)
    new = ["run", "--recipe", "tiny.yaml", "--run", "new"]
    for wrong in (["--hardware", "tpu"], ["--device", "abacus"], ["--weights", "nowhere.pt"]):
        result = invoke(*new, *wrong)
        assert result.code in (1, 2) and "starting" not in result.err and snapshot(finished) == before


@pytest.mark.parametrize("line", ["export --force", "quantize --dry-run", "analog", "eval", "sensitivity", "bench"])
def test_a_device_that_is_not_there_is_refused_by_every_command_that_takes_one(finished: Path, line: str) -> None:
    before = snapshot(finished)
    result = invoke(*line.split(), "--run", "tiny", "--device", "abacus")
    assert result.code == 2 and "--device must be one that torch can use here (got 'abacus'" in result.err, result.err
    assert snapshot(finished) == before


def test_check_prints_a_line_a_file_and_the_problems(finished: Path) -> None:
    Path("bad.yaml").write_text("schema: mdcompress.recipe/1\nname: bad\nseeds: 0\n")
    hardware = str(Path(inspect.getfile(hardware_room)).parent / "rram_64x64_65nm.yaml")
    result = invoke("check", "tiny.yaml", "runs/tiny/model.onnx", "bad.yaml", hardware)
    assert result.code == 2
    lines = result.out.splitlines()
    assert lines[0] == "tiny.yaml: valid recipe tiny" and lines[2] == "bad.yaml: invalid (1 problem)"
    assert lines[3] == f"{hardware}: valid hardware description rram_64x64_65nm"
    assert re.fullmatch(r"runs/tiny/model\.onnx: valid integer graph of \d+ nodes", lines[1])
    assert "bad.yaml:3:1  seeds: unknown key" in result.err and "hint:" in result.err


def test_check_knows_every_kind_of_file_that_the_toolkit_reads(finished: Path) -> None:
    shipped = [*sorted(recipes_folder().glob("*.yaml")), *description_files()]
    result = invoke("check", *map(str, shipped), "runs/tiny/activity.json")
    assert result.code == 0, result.err
    found = [line.partition(": valid ")[2] for line in result.out.splitlines()]
    for what in ("recipe 4bit", "hardware description spikesim", "hardware description sram_digital"):
        assert what in found
    assert "analog description rram_wan_1day" in found
    assert re.fullmatch(r"activity of \d+ neuron layers? over \d+ steps", found[-1])


def description_files() -> list[Path]:
    """Hardware and analog descriptions as they are shipped."""
    return [
        path
        for module in (hardware_room, analog)
        for path in sorted(Path(inspect.getfile(module)).parent.glob("*.yaml"))
    ]


def test_check_as_json_holds_the_place_of_every_problem(finished: Path) -> None:
    Path("bad.yaml").write_text("schema: mdcompress.recipe/1\nname: bad\nseeds: 0\n")
    bad, good = json.loads(invoke("check", "bad.yaml", "tiny.yaml", "--json").out)
    assert (bad["valid"], good["valid"]) == (False, True) and good["problems"] == []
    assert (bad["problems"][0]["line"], bad["problems"][0]["path"]) == (3, "seeds")


def test_check_prints_the_valid_files_where_only_paths_are_wanted(finished: Path) -> None:
    assert invoke("check", "tiny.yaml", "stdout", "-q").out == "tiny.yaml\n"


# ---------------------------------------------------------------------- interruption


@pytest.mark.slow
def test_interrupted_training_ends_with_130_and_the_same_command_goes_on_to_the_same_weights(empty: Path) -> None:
    arguments = ["train", "--recipe", "tiny.yaml", "--set", "teacher.epochs=40"]
    command = [sys.executable, "-m", "mdcompress", *arguments]
    # a test run in the background of a shell ignores SIGINT, and its children would inherit that
    hearing = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, cwd=empty, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=hearing
    ) as process:
        assert process.stderr is not None
        seen = ""
        while "train 2/40" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        process.send_signal(signal.SIGINT)
        seen += process.stderr.read()
    assert process.returncode == 130, seen
    assert "interrupted" in seen and "state saved in runs/tiny/train.last-" in seen and "Traceback" not in seen
    assert not RUN.file("teacher.safetensors").exists()

    resumed = invoke(*arguments)  # weights depend on the number of threads: here and there one
    assert resumed.code == 0 and "train: going on with epoch" in resumed.err, resumed.err
    assert not list(RUN.path.glob("*.last-*"))
    assert len(RUN.file("teacher_history.csv").read_text().splitlines()) == 41
    assert "accuracy" in RUN.file("teacher_training.svg").read_text()
    whole = invoke(*arguments, "--run", "whole")
    assert "going on" not in whole.err
    assert Path("runs/whole/teacher.safetensors").read_bytes() == RUN.file("teacher.safetensors").read_bytes()


def test_interrupted_run_says_where_its_state_is_and_goes_on(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt_in_epoch_2(_: object, event: object) -> None:
        if getattr(event, "epoch", 0) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mdcompress.cli.progress._Lines.__call__", interrupt_in_epoch_2)
        result = invoke("run", "--recipe", "tiny.yaml")
    assert result.code == 130 and "state saved in runs/tiny/train.last-" in result.err
    assert {path.suffix for path in RUN.path.iterdir() if path.is_file()} == {".safetensors", ".json"} and RUN.record(
        Stage.TRAIN
    ) is None
    result = invoke("run", "--recipe", "tiny.yaml")
    assert result.code == 0 and "train: going on with epoch 2, from the state" in result.err
    assert not list(RUN.path.glob("*.last-*"))


def interrupt_training(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Path:
    """A training that ends in its second epoch; returns the file of its state."""

    def interrupt_in_epoch_2(_: object, event: object) -> None:
        if getattr(event, "epoch", 0) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mdcompress.cli.progress._Lines.__call__", interrupt_in_epoch_2)
        assert invoke(*arguments).code == 130
    (state,) = RUN.path.glob("*.last-*.safetensors")
    return state


def test_interrupted_training_with_other_settings_is_refused_and_deleted_only_with_force(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = interrupt_training(monkeypatch, "train", "--recipe", "tiny.yaml", "--set", "teacher.epochs=60")
    before = snapshot(empty)
    for command in ("train", "run"):
        refused = invoke(command, "--recipe", "tiny.yaml", "--set", "teacher.epochs=3")
        assert refused.code == 1 and f"an interrupted training with other settings is here: {state}" in refused.err
        assert "`teacher.epochs` was 60, now it is 3" in refused.err and "--force" in refused.err
        assert snapshot(empty) == before
    forced = invoke("train", "--recipe", "tiny.yaml", "--set", "teacher.epochs=3", "--force")
    assert forced.code == 0 and "going on" not in forced.err, forced.err
    assert not list(RUN.path.glob("*.last-*"))


def test_training_that_fails_before_its_first_step_leaves_no_state(empty: Path) -> None:
    failed = invoke("train", "--recipe", "tiny.yaml", "--model", "tiny_network:build_for_other_images")
    assert failed.code == 1 and "the network fails in 'hidden' (Linear), which takes [..., 100]" in failed.err, (
        failed.err
    )
    assert not list(RUN.path.glob("*.last-*"))


def test_damaged_state_is_an_error_and_stays(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = interrupt_training(monkeypatch, "train", "--recipe", "tiny.yaml")
    state.write_bytes(state.read_bytes()[:-100])
    result = invoke("train", "--recipe", "tiny.yaml")
    assert result.code == 1 and "must be a whole safetensors file" in result.err and state.exists(), result.err


def test_interrupted_distillation_of_another_student_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(Stage.ESTIMATE, Stage.EXPORT, Stage.DISTILL)
    state = interrupt_training(monkeypatch, "distill", "--set", "distill.epochs=3")
    shutil.copy(state, RUN.file("distill.last-0.safetensors"))
    RUN.file("distill.last-0.json").write_text(
        state.with_suffix(".json").read_text().replace('quantized.safetensors": "', 'quantized.safetensors": "0')
    )
    refused = invoke("distill", "--set", "distill.epochs=3")
    assert refused.code == 1 and "(file quantized.safetensors is not the same one)" in refused.err, refused.err
    assert invoke("quantize", "--force").code == 0
    assert not list(RUN.path.glob("*.last-*"))  # replaced on purpose: no state can go on from it


def test_interrupted_training_of_unknown_settings_is_refused_too(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = interrupt_training(monkeypatch, "train", "--recipe", "tiny.yaml")
    state.with_suffix(".json").unlink()
    refused = invoke("train", "--recipe", "tiny.yaml", "--seed", "1")
    assert refused.code == 1 and "what it was started with is not known" in refused.err and state.exists()


def test_interrupt_before_there_is_a_state_promises_none(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mdcompress.training.train_network", interrupt)
    result = invoke("train", "--recipe", "tiny.yaml")
    assert result.code == 130 and "state saved" not in result.err
    assert not list(RUN.path.glob("*.last-*"))


def test_interrupt_outside_a_training_ends_with_130(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mdcompress.recipe.files.read_yaml", interrupt)
    result = invoke("run", "--recipe", "tiny.yaml")
    assert result.code == 130 and result.err.strip() == "interrupted"


def test_reader_that_goes_away_ends_the_command_quietly(finished: Path) -> None:
    command = [sys.executable, "-m", "mdcompress", "check", *["tiny.yaml"] * 20]
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(command, env=environment(), stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        _, err = process.communicate()
    assert process.returncode == 1 and err == ""


# ---------------------------------------------------------------------- settings


def test_settings_are_the_leaves_of_the_recipe() -> None:
    value: JsonValue = {"seed": 0, "data": {"name": "digits", "sizes": [1, 2]}, "model": None, "empty": {}}
    assert dict(flattened(value, ())) == {
        "seed": "0",
        "data.name": '"digits"',
        "data.sizes": "[1, 2]",
        "model": "null",
        "empty": "{}",
    }


plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(plain, plain)
def test_settings_differ_exactly_when_the_recipes_differ(left: JsonValue, right: JsonValue) -> None:
    first, second = (dict(flattened({"recipe": value}, ())) for value in (left, right))
    assert (first == second) == (left == right)


# ---------------------------------------------------------------------- overrides that leave nothing to the recipe

ENDS = 'quantize.overrides=[{match: ["@first", "@last"], weight: {bit_width: 8}}]'


def test_overrides_that_leave_no_layer_at_the_recipes_bits_are_said(empty: Path) -> None:
    """hidden has 64 * 32 = 2,048 weights, head 32 * 10 = 320: both are ends, so that 4 bits are nowhere."""
    arguments = ("--recipe", "tiny.yaml", "--dry-run", "--set", "quantize.weight.bit_width=4")
    shown = invoke("quantize", *arguments, "--set", ENDS)
    assert shown.code == 0, shown.err
    said = (
        "overrides  no weight has the 4 bits of quantize.weight, as quantize.overrides say otherwise: 8 bits 100.0 % "
        "(`--set 'quantize.overrides=[]'` gives every layer 4 bits)"
    )
    assert shown.out.splitlines()[-1] == said
    rows = json.loads(invoke("quantize", *arguments, "--set", ENDS, "--json").out)
    assert [(row["weights"], row["weight_bits"]) for row in rows if "weights" in row] == [(2048, 8), (320, 8)]
    (hint,) = re.findall(r"--set '([^']+)'", said)
    mended = invoke("quantize", *arguments, "--set", ENDS, "--set", hint)
    assert "overrides" not in mended.out and mended.out.count("4-bit weights") == 2


def test_a_run_says_the_share_of_weights_at_each_number_of_bits_where_few_have_the_recipes(finished: Path) -> None:
    """2,048 of 2,368 weights, 86.5 %, have 8 bits where hidden alone is overridden; head has 4."""
    hidden = "quantize.overrides=[{match: hidden, weight: {bit_width: 8}}]"
    changes = ("--set", "quantize.weight.bit_width=4", "--set", hidden, "--set", "distill.epochs=0")
    result = invoke("run", *changes, "--force", "--json")
    assert result.code == 0, result.err
    (stage,) = (one for one in json.loads(result.out)["stages"] if one["stage"] == "quantize")
    assert {key: value for key, value in stage["measured"].items() if key.startswith("weights_of")} == {
        "weights_of_8_bits": 2048,
        "weights_of_4_bits": 320,
    }
    said = (
        "13.5 % of the weights have the 4 bits of quantize.weight, as quantize.overrides say otherwise: 8 bits 86.5 %, "
    )
    assert said in invoke("run", *changes).out and said in Path("runs/tiny/report.html").read_text("utf-8")
    assert said in invoke("quantize", *changes, "--force").out
