"""`mdcompress compare`: runs side by side, in every form, and what cannot stand side by side."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.command_line import copy_finished_run, invoke, snapshot
from tests.support.elements import part, words

TINY, TWIN = Path("runs/tiny"), Path("runs/twin")


@pytest.fixture(autouse=True)
def _two_runs(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run and a copy of it."""
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TINY, TWIN)


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text("utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, "utf-8")


def measured(run: Path, stage: str) -> dict[str, float]:
    found = json.loads((run / "run.json").read_text())["stages"][stage]["measured"]
    assert isinstance(found, dict)
    return found


def test_the_table_has_a_column_for_each_run_and_no_run_is_changed() -> None:
    before = snapshot(Path())
    done = invoke("compare", "runs/tiny", "twin")
    assert done.code == 0, done.err
    assert snapshot(Path()) == before
    lines = (re.split(r" *\| *", line.strip("| ")) for line in done.out.splitlines())
    rows = {head: cells for head, *cells in lines}
    assert rows["digits"] == ["tiny", "twin"]
    accuracy = measured(TINY, "distill")["test_accuracy"]
    assert rows["test accuracy"] == [f"{100 * accuracy:.2f} %"] * 2
    assert rows["test samples"] == ["359"] * 2
    assert rows["smaller than float32"] == [f"{measured(TINY, 'export')['ratio_to_float32']:.1f} x"] * 2
    assert rows["Energy per inference"][0] in Path("stdout").read_text(), "the words of `run`"


def test_json_csv_and_page_have_the_same_figures() -> None:
    done = invoke("compare", "tiny", "twin", "--json", "--output", "side")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document == json.loads(Path("side/comparison.json").read_text("utf-8"))
    rows = list(csv.DictReader(Path("side/comparison.csv").read_text().splitlines()))
    energy = measured(TINY, "estimate-hw")["energy_pj"]
    assert [run["energy_pj"] for run in document["runs"]] == [energy, energy]
    assert [float(row["energy_pj"]) for row in rows] == [energy, energy]
    page = ElementTree.fromstring(Path("side/comparison.html").read_text("utf-8").partition("\n")[2])
    assert words(part(page, ".//h1")) == "tiny, twin"
    assert f"{energy / 1e6:.4g}"[:4] in words(part(page, ".//section[@id='figures']"))
    style = words(part(page, "head/style"))
    used = {name for element in page.iter() for name in element.get("class", "").split()}
    assert [name for name in used if not re.search(rf"\.{name}\b", style)] == []
    again = invoke("compare", "tiny", "twin", "--output", "side")
    assert again.code == 1 and "comparison.csv" in again.err and "--force" in again.err


def test_runs_of_one_name_are_told_apart_by_their_folders() -> None:
    shutil.copytree(TINY, Path("elsewhere/tiny"))
    done = invoke("compare", "tiny", "elsewhere/tiny", "--output", "side")
    assert done.code == 0, done.err
    assert re.search(r"^\| digits +\| +runs/tiny \| +elsewhere/tiny \|$", done.out, flags=re.MULTILINE)


def test_a_stage_that_was_not_run_is_a_dash_or_said() -> None:
    manifest = json.loads((TWIN / "run.json").read_text())
    for stage in ("estimate-hw", "export", "distill"):
        del manifest["stages"][stage]
    (TWIN / "run.json").write_text(json.dumps(manifest))
    done = invoke("compare", "tiny", "twin", "--output", "side")
    assert done.code == 0, done.err
    assert re.search(r"network +\| +distilled \| +quantized", done.out)
    assert re.search(r"hardware +\| +rram_64x64_65nm \| +not priced", done.out)
    assert re.search(r"Energy per inference \| +\S+ uJ \| +- \|", done.out)


@pytest.mark.parametrize("line", ["tiny", "tiny tiny", "tiny runs/tiny"])
def test_one_run_is_no_comparison(line: str) -> None:
    done = invoke("compare", *line.split())
    assert done.code == 2 and "hint: name" in done.err


def test_other_data_are_refused() -> None:
    edit(TWIN / "recipe.yaml", lambda text: text.replace("name: digits", "name: mnist"))
    edit(TWIN / "run.json", lambda text: text.replace('\\"digits\\"', '\\"mnist\\"'))
    done = invoke("compare", "tiny", "twin")
    assert done.code == 1
    assert "the same data: runs/tiny has digits, runs/twin mnist" in done.err and "hint:" in done.err


def test_another_test_part_is_refused() -> None:
    edit(TWIN / "run.json", lambda text: text.replace('"test_samples": 359.0', '"test_samples": 300.0'))
    done = invoke("compare", "tiny", "twin")
    assert done.code == 1 and "the same test samples: runs/tiny has 359 (labels" in done.err


def test_own_loaders_need_a_record_of_their_test_part() -> None:
    """A record of an earlier version does not say it; a named data set has one test part."""
    for run in (TINY, TWIN):
        edit(run / "run.json", lambda text: re.sub(r'"test_(samples|labels_crc32)": [\d.]+,\s*', "", text))
    assert invoke("compare", "tiny", "twin").code == 0
    for run in (TINY, TWIN):
        edit(run / "recipe.yaml", lambda text: text.replace("name: digits", "name: my_data:loaders"))
        edit(run / "run.json", lambda text: text.replace('\\"digits\\"', '\\"my_data:loaders\\"'))
    done = invoke("compare", "tiny", "twin")
    assert done.code == 1 and "which test samples its accuracy is of" in done.err


def test_other_hardware_is_refused_or_asked_for() -> None:
    assert invoke("estimate-hw", "--run", "twin", "--hardware", "sram_digital", "--force").code == 0
    done = invoke("compare", "tiny", "twin")
    assert done.code == 1 and 'hardware "rram_64x64_65nm"' in done.err and "--across-hardware" in done.err
    done = invoke("compare", "tiny", "twin", "--across-hardware")
    assert done.code == 0 and re.search(r"hardware +\| +rram_64x64_65nm \| +sram_digital", done.out)


def test_a_run_whose_inferences_share_loads_is_compared_by_the_time_of_one() -> None:
    """One array, fewer than a copy takes, and batches of 4: a quarter of the batch's latency stands there."""
    text = (files("intsnn") / "hardware" / "rram_64x64_65nm.yaml").read_text("utf-8")
    described = text.replace('arrays: "+25%"}', "arrays: 1}\nreload: {samples: 4}")
    assert described != text
    Path("mine.yaml").write_text(described)
    assert invoke("estimate-hw", "--run", "twin", "--hardware", "mine.yaml", "--force").code == 0
    totals = json.loads((TWIN / "hardware.json").read_text("utf-8"))["totals"]
    found = json.loads(invoke("compare", "tiny", "twin", "--across-hardware", "--json").out)["runs"]
    assert found[1]["latency_ns"] == totals["inference_time_ns"] == totals["latency_ns"] / 4
    assert found[0]["latency_ns"] == measured(TINY, "estimate-hw")["latency_ns"]


def test_a_stale_result_is_refused() -> None:
    (TWIN / "model.onnx").write_bytes((TWIN / "model.onnx").read_bytes() + b"\0")
    done = invoke("compare", "tiny", "twin")
    assert done.code == 1 and "is stale" in done.err and "mdcompress run --run runs/twin --force" in done.err


def test_a_folder_without_a_run_is_named() -> None:
    done = invoke("compare", "tiny", "nowhere")
    assert done.code == 1 and "runs/nowhere must hold a run" in done.err
