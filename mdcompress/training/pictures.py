"""A training's history and mismatch -> pictures. The same numbers give the same files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.pictures import GREY, INK, ORANGE, figure, legend_beside, log_scale, name_layers, series
from mdcompress.evaluation.mismatch import MismatchReport
from mdcompress.training.choosing import BY_ACCURACY, Choice, best_epoch, what_was_kept
from mdcompress.training.history import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER, TEACHER = GREY, ORANGE, INK

_LAYERS = {  # parts of the loss that are made of layers -> what is drawn of them
    "membrane": "membrane loss of each layer",
    "rates": "rates loss of each layer",
    "sparsity": "spikes per neuron and step",
}


def draw_training(history: Sequence[EpochRecord], *paths: Path, title: str, choice: Choice = BY_ACCURACY) -> None:
    """Accuracies, loss parts, each layer's membrane and firing-rate loss over the epochs; no epochs, no picture.

    The epoch that is kept by `choice` is marked in each, and beside it the most accurate and that of the lowest loss.
    """
    if not history:
        return
    names = list(dict.fromkeys(name for record in history for name in record.losses))
    layers = {part: [name for name in names if name.startswith(f"{part}/")] for part in _LAYERS}
    panels = 2 + sum(bool(found) for found in layers.values())
    with figure(paths, title=title, panels=panels, width=5.2) as axes:
        _draw_accuracy(axes[0], history, choice)
        _draw_totals(axes[1], history, choice)
        _draw_losses(axes[1], history, [name for name in names if "/" not in name], "loss")
        for panel, (part, found) in zip(axes[2:], ((p, f) for p, f in layers.items() if f), strict=True):
            _draw_losses(panel, history, found, _LAYERS[part])


def draw_mismatch(report: MismatchReport, *paths: Path, title: str) -> None:
    """Each layer's membrane mismatch before and after distillation, and its firing rates beside the teacher's."""
    names = list(report.before)
    places = range(len(names))
    with figure(paths, title=title, panels=2, width=max(4.6, 0.25 * len(names))) as axes:
        for offset, layers, color, hatch, label in (
            (-0.2, report.before, BEFORE, "", "calibrated"),
            (0.2, report.after, AFTER, "///", "distilled"),
        ):
            x = [place + offset for place in places]
            heights = ([layers[name].membrane for name in names], [layers[name].student_rate for name in names])
            for panel, values in zip(axes, heights, strict=True):
                panel.bar(x, values, 0.4, color=color, hatch=hatch, edgecolor="white", label=label)
        rates = [report.after[name].teacher_rate for name in names]
        axes[1].plot(places, rates, "_", color=TEACHER, markersize=14, label="teacher")
        axes[0].set_ylabel("membrane mismatch, thresholds squared")
        axes[1].set_ylabel("spikes per neuron and step")
        for panel in axes:
            name_layers(panel, names)
        legend_beside(axes[1])


def _draw_accuracy(axes: Axes, history: Sequence[EpochRecord], choice: Choice) -> None:
    trained = [(record.epoch, 100 * record.train_accuracy) for record in history if record.train_accuracy is not None]
    axes.plot(*zip(*trained, strict=True), color=BEFORE, marker=".", linestyle="--", label="training")
    epochs = [record.epoch for record in history]
    for index, score in enumerate(history[0].validation):
        values = [100 * record.validation[index].accuracy for record in history]
        look = series(index)
        axes.plot(epochs, values, color=look.color, marker=look.marker, label=f"validation, T={score.time_steps}")
    _mark_epochs(axes, history, choice)
    _name_epochs(axes, history)
    axes.set_ylabel("accuracy, %")
    legend_beside(axes)


def _draw_totals(axes: Axes, history: Sequence[EpochRecord], choice: Choice) -> None:
    """The trained losses of a student on validation."""
    found = [(each.epoch, each.validation_total) for each in history if each.validation_total is not None]
    if found:
        axes.plot(*zip(*found, strict=True), color=TEACHER, marker=".", linestyle="--", label="total, validation")
        _mark_epochs(axes, history, choice)


def _mark_epochs(axes: Axes, history: Sequence[EpochRecord], choice: Choice) -> None:
    """The epoch that is kept, and those that the criteria alone would keep; of a float network there is one."""
    marks = [(best_epoch(history, choice), "kept", "-")]
    if history[0].validation_total is not None:
        found = what_was_kept(history, choice)
        marks += [(found.most_accurate, "most accurate", "--"), (found.lowest_loss, "lowest loss", ":")]
    for record, label, style in marks:
        axes.axvline(record.epoch, color=AFTER, linewidth=0.9, linestyle=style, label=label)


def _draw_losses(axes: Axes, history: Sequence[EpochRecord], names: Sequence[str], label: str) -> None:
    trained = [record for record in history if record.losses]
    for place, name in enumerate(names):
        look = series(place)
        axes.plot(
            [record.epoch for record in trained],
            [record.losses[name] for record in trained],
            color=look.color,
            marker=look.marker,
            markersize=4,
            linestyle=look.linestyle,
            label=name.partition("/")[2] or name,
        )
    if all(record.losses[name] > 0 for record in trained for name in names):
        log_scale(axes, "y")
    _name_epochs(axes, history)
    axes.set_ylabel(label)
    legend_beside(axes)


def _name_epochs(axes: Axes, history: Sequence[EpochRecord]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_xlim(history[0].epoch - 0.5, history[-1].epoch + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
