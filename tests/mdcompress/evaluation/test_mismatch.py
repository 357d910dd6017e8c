"""Mismatch of membranes and rates: by hand, as JSON and table, in pictures and in TensorBoard."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from mdcompress.errors import DataError, RunError
from mdcompress.evaluation.mismatch import LayerMismatch, MismatchReport, measure_mismatch
from mdcompress.pipeline.distilling import mismatch_table
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.training import EpochRecord, Resumed, StepRecord, Validation
from mdcompress.training.history import untrained
from mdcompress.training.pictures import draw_mismatch, draw_training
from mdcompress.training.tensorboard import tensorboard_log
from tests.support.training_cases import Shuffled, float_network, tiny_student

BEFORE = {"a": LayerMismatch(0.5, 0.25, 0.5, 0.3), "b": LayerMismatch(0.1, 0.2, 0.1, 0.2)}
AFTER = {"a": LayerMismatch(0.125, 0.25, 0.375, 0.2), "b": LayerMismatch(0.3, 0.2, 0.25, 0.1)}
REPORT = MismatchReport(4, 128, BEFORE, AFTER)


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return float_network()


def test_a_network_beside_itself_has_no_mismatch(teacher: nn.Module) -> None:
    student = tiny_student(teacher)
    found = measure_mismatch(student, student, student.graph, Shuffled(), time_steps=3)
    assert found["neuron"].membrane == 0.0 and found["neuron"].rate_difference == 0.0
    assert found["neuron"].student_rate == found["neuron"].teacher_rate > 0.0


def test_the_figures_of_uneven_batches_are_those_of_all_samples_at_once(teacher: nn.Module) -> None:
    student, data = tiny_student(teacher), Shuffled(samples=40, batch_size=16)
    graph = trace(teacher, data.x[:, :2])
    found = measure_mismatch(student, teacher, graph, data, time_steps=2)["neuron"]
    x = data.x[:2]
    with torch.no_grad():
        seen, target = observe(student.eval(), student.graph, x), observe(teacher.eval(), graph, x)
    rates = seen.spikes["neuron"].mean(0), target.spikes["neuron"].mean(0)
    assert found.membrane == pytest.approx(
        float((seen.potentials["neuron"] - target.potentials["neuron"]).square().mean()), rel=1e-5
    )  # the threshold is 1
    assert found.rate_difference == pytest.approx(float((rates[0] - rates[1]).abs().mean()))
    assert (found.student_rate, found.teacher_rate) == pytest.approx((float(rates[0].mean()), float(rates[1].mean())))
    assert found.membrane > 0.0


def test_no_samples_are_an_error(teacher: nn.Module) -> None:
    student = tiny_student(teacher)
    with pytest.raises(DataError, match="at least one batch"):
        measure_mismatch(student, student, student.graph, [], time_steps=1)


def test_means_are_over_layers_and_json_holds_every_figure() -> None:
    assert (REPORT.membrane_before, REPORT.membrane_after) == pytest.approx((0.3, 0.2125))
    document = json.loads(REPORT.to_json())
    assert document["schema"] == "mdcompress.mismatch/1" and document["time_steps"] == 4
    assert [layer["neuron"] for layer in document["layers"]] == ["a", "b"]
    assert document["layers"][0]["before"]["membrane"] == 0.5
    assert document["layers"][0]["after"]["rate_difference"] == 0.2


def test_the_table_has_a_line_for_each_layer() -> None:
    lines = mismatch_table(REPORT).splitlines()
    assert lines[-1] == "Mean over layers: 0.3000 before, 0.2125 after."
    row = next(line for line in lines if line.startswith("| a"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "a", "0.5000", "0.1250", "25.00 %", "50.00 %", "37.50 %", "30.00 %", "20.00 %",
    ]  # fmt: skip


# ------------------------------------------------------------------ pictures and log


def record(epoch: int, **losses: float) -> EpochRecord:
    named = {name.replace("__", "/"): loss for name, loss in losses.items()}
    scores = (Validation(1, 0.5, 1.0), Validation(3, 0.5 + epoch / 10, 1.0))
    return EpochRecord(epoch, 2, 0.1, named, 0.5, scores, 1.0)


HISTORY = [
    untrained((Validation(1, 0.5, 1.0), Validation(3, 0.4, 1.0)), epochs=2),
    record(1, total=2.0, task=1.5, membrane=0.5, membrane__a=0.6, membrane__b=0.4, rates__a=0.0),
    record(2, total=1.0, task=0.8, membrane=0.2, membrane__a=0.3, membrane__b=0.1, rates__a=0.1),
]


@pytest.mark.usefixtures("drawn_as_shipped")
def test_pictures_name_what_they_show_and_are_equal_for_equal_numbers(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw_training(HISTORY, tmp_path / name, title="tiny: training")
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    for words in (
        "tiny: training",
        "validation, T=3",
        "membrane loss of each layer",
        "rates loss of each layer",
        "accuracy, %",
    ):
        assert words in text
    assert "total, validation" not in text
    scored = [dataclasses.replace(each, validation=(Validation(1, 0.5, 1.0, 2.0),)) for each in HISTORY]
    draw_training(scored, tmp_path / "scored.svg", title="tiny: training")
    assert "total, validation" in (tmp_path / "scored.svg").read_text()
    draw_mismatch(REPORT, tmp_path / "mismatch.svg", title="tiny: mismatch")
    text = (tmp_path / "mismatch.svg").read_text()
    assert all(words in text for words in ("calibrated", "distilled", "teacher", "spikes per neuron and step"))


def test_a_resumed_training_is_in_the_log_once_and_whole(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "log"
    with tensorboard_log(folder) as tell:
        tell(StepRecord(1, 2, 1, 6, 0.1, 2.0))
        tell(HISTORY[0])
        tell(HISTORY[1])
    with tensorboard_log(folder) as tell:
        tell(Resumed(2, 0, tuple(HISTORY[:2])))
        tell(HISTORY[2])
    log = EventAccumulator(str(folder))
    log.Reload()
    assert [(each.step, each.value) for each in log.Scalars("loss/total")] == [(1, 2.0), (2, 1.0)]
    assert [each.value for each in log.Scalars("accuracy/validation_T3")] == pytest.approx([0.4, 0.6, 0.7])
    assert [each.step for each in log.Scalars("accuracy/train")] == [1, 2]
    assert not [name for name in log.Tags()["scalars"] if "total_T" in name]


def test_the_log_has_the_loss_on_validation_that_decides(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tensorboard_log(tmp_path) as tell:
        tell(dataclasses.replace(HISTORY[1], validation=(Validation(3, 0.5, 1.0, 2.5),)))
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    assert [each.value for each in log.Scalars("loss/validation_total_T3")] == [2.5]


def test_link_in_place_of_the_log_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train").write_text("untouched")
    (tmp_path / "tensorboard").symlink_to(tmp_path / "mine")
    with tensorboard_log(tmp_path / "tensorboard" / "train") as tell:
        tell(HISTORY[0])
    assert (tmp_path / "mine" / "train").read_text() == "untouched"
    assert not (tmp_path / "tensorboard").is_symlink() and list((tmp_path / "tensorboard" / "train").iterdir())


def test_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "log").write_text("a file")
    with pytest.raises(RunError, match="log must be writable"), tensorboard_log(tmp_path / "log"):
        pass


def test_without_tensorboard_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    with tensorboard_log(tmp_path / "log") as tell:
        tell(HISTORY[0])
    assert not (tmp_path / "log").exists()
