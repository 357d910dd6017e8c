"""report.html of a run: everything on it is from the files of the folder, and what was not run is said."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from intsnn.errors import UnreadableFileError
from mdcompress.pipeline.pages.charts import LOOKS, Axis, line_chart, marker
from mdcompress.pipeline.pages.facts import read_facts, read_mismatch
from mdcompress.pipeline.pages.histories import read_curves
from mdcompress.pipeline.pages.scores import final_score, scores_of
from mdcompress.pipeline.pages.trainings import training_section
from mdcompress.runs import RunDirectory
from mdcompress.runs.manifest import Stage
from tests.support.command_line import copy_finished_run, invoke
from tests.support.elements import attribute, part, words

Element = ElementTree.Element
RUN = Path("runs") / "tiny"


@pytest.fixture(autouse=True)
def _finished_run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a whole run, as the working directory."""
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)


def page_of(run: Path) -> Element:
    """report.html, parsed: it is strict."""
    return ElementTree.fromstring((run / "report.html").read_text("utf-8").partition("\n")[2])


def section(page: Element, name: str) -> str:
    return words(part(page, f".//section[@id='{name}']"))


def test_the_page_says_what_the_command_line_said() -> None:
    """Accuracies, mismatch, sizes, parity and hardware: the same words and units."""
    page, printed = page_of(RUN), Path("stdout").read_text("utf-8")
    rows = [re.split(r" *\| *", line.strip("| ")) for line in printed.splitlines() if line.startswith("|")]
    cells = {cell for row in rows for cell in row if re.search(r"\d", cell)}
    said = words(part(page, "body"))
    assert len(cells) > 20
    assert {cell for cell in cells if cell not in said} == set()
    for line in printed.splitlines():
        if line.startswith(("parity ", "activity ", "input ", "size ", "numbers ")):
            assert " ".join(line.split()[1:]) in said


def test_titles_say_whose_the_page_is() -> None:
    page = page_of(RUN)
    assert words(part(page, "head/title")) == "tiny: a compressed network"
    assert words(part(page, ".//h1")) == "tiny"
    assert words(part(page, ".//div[@id='hardware']//h2")) == "tiny on rram_64x64_65nm"


def test_accuracies_stand_with_their_number_of_samples() -> None:
    found = section(page_of(RUN), "accuracy")
    assert "359" in found and "One test sample is 0.28 points." in found
    scores = scores_of(read_facts(RunDirectory(RUN)))
    assert [score.network for score in scores] == ["teacher", "quantized", "distilled"]
    assert {score.samples for score in scores} == {359}
    assert final_score(read_facts(RunDirectory(RUN))) == scores[-1]


def test_curves_are_those_of_the_history() -> None:
    curves = read_curves(RUN / "history.csv")
    rows = list(csv.DictReader((RUN / "history.csv").read_text().splitlines()))
    kept = [int(row["epoch"]) for row in rows if row["best"] == "1"]
    assert curves.kept == kept[0] and curves.epochs == 1
    assert curves.accuracies["validation"][0] == (0.0, 100 * float(rows[0]["validation_accuracy_T2"]))
    assert curves.losses["task"] == ((1.0, float(rows[1]["task"])),)
    assert "membrane/neuron" in curves.layers
    page = section(page_of(RUN), "training")
    assert f"kept: epoch {kept[0]}" in page and f"{curves.losses['total'][0][1]:.4g}" in page


def test_the_sum_of_the_losses_stands_with_the_weights_of_its_parts() -> None:
    distill = read_facts(RunDirectory(RUN)).recipe.distill
    assert distill.task and distill.logits and distill.membrane and distill.rates is None
    terms = (
        f"total = {distill.task.weight:g} × task + {distill.logits.weight:g} × logits + {distill.membrane.weight:g} ×"
    )
    page = section(page_of(RUN), "training")
    assert page.count("Parts of the loss, each before its weight, and their weighted total") == 1
    assert f"{terms} membrane" in page and page.count("total = ") == 1


def test_the_pricing_that_writes_the_page_stands_in_how_it_was_made() -> None:
    """Its own command, not that of the pricing that was recorded before."""
    record = read_facts(RunDirectory(RUN)).manifest.stages["estimate-hw"]
    assert f"estimate-hw-with this page{record.version}{record.command}" in section(page_of(RUN), "stages")
    assert invoke("estimate-hw", "--run", "tiny", "--force").code == 0
    assert "estimate-hw --run tiny --force" in section(page_of(RUN), "stages")


def test_the_bits_of_the_input_are_those_of_the_plan() -> None:
    plan = read_facts(RunDirectory(RUN)).layers
    (given,) = [layer.input.bit_width for layer in plan if layer.input is not None]
    rows = [
        [words(cell) for cell in row.iter("td")] for row in part(page_of(RUN), ".//section[@id='layers']").iter("tr")
    ]
    (cells,) = [row for row in rows if row[:1] == ["input"]]
    assert cells[3:6] == [f"up to {given} bits", "-", "-"]


def test_the_page_needs_nothing_but_itself_and_styles_all_it_uses() -> None:
    page = page_of(RUN)
    assert not {element.tag for element in page.iter()} & {"script", "link", "img", "iframe", "object"}
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {link.get("href", "")[1:] for link in page.iter("a")} <= set(ids)
    style = words(part(page, "head/style"))
    assert "url(" not in style and "@import" not in style
    used = {name for element in page.iter() for name in element.get("class", "").split()}
    assert {"l0", "before", "after", "stack"} <= used
    assert [name for name in used if not re.search(rf"\.{name}\b", style)] == []


def test_every_cell_names_its_column_so_that_a_narrow_screen_loses_none() -> None:
    for table in page_of(RUN).iter("table"):
        heads = [words(head) for head in table.iter("th")]
        for row in part(table, "tbody").iter("tr"):
            assert [cell.get("data-column", "") for cell in row.iter("td")] == heads


@pytest.mark.slow
def test_a_stage_that_was_not_run_is_said() -> None:
    done = invoke("quantize", "--recipe", "tiny.yaml", "--run", "other", "--weights", str(RUN / "teacher.safetensors"))
    assert done.code == 0, done.err
    assert invoke("export", "--run", "other").code == 0
    assert invoke("estimate-hw", "--run", "other").code == 0
    page = page_of(Path("runs/other"))
    assert "`train` has not been run: the weights come from runs/tiny/teacher.safetensors." in section(page, "training")
    for name in ("training", "mismatch", "rates", "accuracy"):
        assert "`distill` has not been run" in section(page, name)
    assert "distilled" not in section(page, "accuracy")
    assert section(page, "stages").count("not run") == 2


def test_a_file_that_is_not_what_its_stage_wrote_is_not_shown() -> None:
    (RUN / "mismatch.json").write_text("{}")
    (RUN / "history.csv").unlink()
    assert invoke("estimate-hw", "--run", "tiny", "--force").code == 0
    page = page_of(RUN)
    assert "mismatch.json is gone or no longer what `distill` wrote." in section(page, "mismatch")
    assert "history.csv is gone or no longer what `distill` wrote." in section(page, "training")


def test_figures_in_another_folder_come_with_the_page_of_the_run() -> None:
    assert invoke("estimate-hw", "--run", "tiny", "--hardware", "sram_digital", "--output", "figures").code == 0
    page = page_of(Path("figures"))
    assert words(part(page, ".//h1")) == "tiny"
    assert words(part(page, ".//div[@id='hardware']//h2")) == "tiny on sram_digital"


def test_what_distill_said_of_the_kept_epoch_is_there() -> None:
    facts = read_facts(RunDirectory(RUN))
    record = replace(facts.manifest.stages["distill"], summary="distilled  x\nkept       epoch 1 of 1: why\n\n| a |")
    changed = replace(facts, manifest=facts.manifest.with_record(Stage.DISTILL, record))
    page = ElementTree.fromstring(f"<main>{''.join(one.text for one in training_section(changed).content)}</main>")
    assert "kept epoch 1 of 1: why" in words(page) and "| a |" not in words(page)


def test_one_of_several_students_is_named_with_its_run() -> None:
    shutil.copytree(RUN, RUN / "T2")
    assert read_facts(RunDirectory(RUN / "T2")).name == "tiny/T2"


def test_words_from_files_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    facts = read_facts(RunDirectory(RUN))
    from intsnn.activity import read_activity
    from intsnn.estimation.estimation import estimate
    from intsnn.onnx.file import read_onnx
    from mdcompress.pipeline.pages import run_page

    report = estimate(read_onnx(RUN / "model.onnx"), read_activity(RUN / "activity.json"), "rram_64x64_65nm")
    recipe = facts.recipe.model_copy(update={"name": evil, "summary": evil})
    record = replace(facts.manifest.stages["export"], command=evil, summary=f"parity {evil}")
    changed = replace(facts, recipe=recipe, manifest=facts.manifest.with_record(Stage.EXPORT, record))
    text = run_page(changed, report, sizes=None, command=evil)
    page = ElementTree.fromstring(text.partition("\n")[2])
    assert "script" not in {element.tag for element in page.iter()} and words(page).count("alert(1)") >= 4


@pytest.mark.parametrize("text", ["", "epoch,best\n", "epoch,best,seconds\n1,1", "epoch,best,total\nx,1,0.5\n"])
def test_a_history_that_is_none_is_an_error_or_empty(text: str, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    if "x" in text:
        with pytest.raises(UnreadableFileError, match=r"history\.csv"):
            read_curves(path)
    else:
        assert read_curves(path).losses == {}


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_history_of_no_numbers_is_an_error(number: str, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(f"epoch,best,total\n1,1,{number}\n")
    with pytest.raises(UnreadableFileError, match="total must be finite"):
        read_curves(path)


def test_a_mismatch_of_another_schema_is_an_error() -> None:
    found = json.loads((RUN / "mismatch.json").read_text())
    (RUN / "mismatch.json").write_text(json.dumps({**found, "schema": "mdcompress.mismatch/9"}))
    with pytest.raises(UnreadableFileError, match=r"mismatch\.json"):
        read_mismatch(RUN / "mismatch.json")


def test_axes_by_hand() -> None:
    axis = Axis(0.0, 10.0, 100.0, 200.0)
    assert axis.place(2.5) == 125.0
    assert axis.ticks == (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    turned = Axis(0.01, 1.0, 200.0, 0.0, logarithmic=True)
    assert turned.place(0.1) == pytest.approx(100.0)
    assert turned.ticks == pytest.approx((0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0))
    narrow = Axis(2.1, 4.9, 0.0, 1.0, logarithmic=True)
    assert narrow.ticks == (3.0, 4.0), "round values where hardly a power of ten is in it"


def test_validation_totals_and_several_t_have_names_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    head = "epoch,total,validation_accuracy_T1,validation_accuracy_T2,validation_total_T1,validation_total_T2,best"
    path.write_text(f"{head}\n1,0.5,0.25,0.5,2.0,3.0,1\n")
    curves = read_curves(path)
    assert curves.accuracies == {"validation, T = 1": ((1.0, 25.0),), "validation, T = 2": ((1.0, 50.0),)}
    assert list(curves.totals) == ["total, validation, T = 1", "total, validation, T = 2"]


def test_lines_are_told_apart_without_colour() -> None:
    """Each has a shape of its own in chart and legend; a single point and equal values are drawn too."""
    shapes = {re.sub(r"^M\S+ \S+?(?=[a-z])", "", attribute(parsed(marker(i, 0, 0).text), "d")) for i in range(LOOKS)}
    assert len(shapes) == LOOKS
    chart = parsed(line_chart({"a": ((1.0, 5.0),), "b": ((1.0, 5.0),)}, y_label="y", kept=1, logarithmic=True).text)
    assert [path.get("class") for path in part(chart, "svg").iter("path")] == ["line l0", "m l0", "line l1", "m l1"]
    assert "nan" not in ElementTree.tostring(chart, "unicode")
    assert "y, log scale" in words(chart)
    plain = line_chart({"a": ((1.0, 5.0),)}, y_label="y", kept=None)
    assert "log scale" not in words(parsed(plain.text))


def parsed(text: str) -> Element:
    return ElementTree.fromstring(text)
