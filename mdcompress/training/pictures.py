"""A training's history and mismatch -> pictures (SVG). The same numbers give the same file.

Without matplotlib (the extra `plots`) there is no picture: the numbers are all in files of their own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intsnn.files import write_atomically
from mdcompress.evaluation.mismatch import MismatchReport
from mdcompress.training.choosing import BY_ACCURACY, Choice, best_epoch, what_was_kept
from mdcompress.training.history import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER, TEACHER = "#8794a3", "#c2410c", "#1f2937"

_LAYERS = {  # parts of the loss that are made of layers -> what is drawn of them
    "membrane": "membrane loss of each layer",
    "rates": "rates loss of each layer",
    "sparsity": "spikes per neuron and step",
}


def draw_training(history: Sequence[EpochRecord], path: Path, *, choice: Choice = BY_ACCURACY) -> None:
    """Accuracies, loss parts, each layer's membrane and firing-rate loss over the epochs; no epochs, no picture.

    The epoch that is kept by `choice` is marked in each, and beside it the most accurate and that of the lowest loss.
    """
    if not history or not _can_draw():
        return
    names = list(dict.fromkeys(name for record in history for name in record.losses))
    layers = {part: [name for name in names if name.startswith(f"{part}/")] for part in _LAYERS}
    panels = 2 + sum(bool(found) for found in layers.values())
    with _figure(panels, path) as axes:
        _draw_accuracy(axes[0], history, choice)
        _draw_totals(axes[1], history, choice)
        _draw_losses(axes[1], history, [name for name in names if "/" not in name], "loss")
        for panel, (part, found) in zip(axes[2:], ((p, f) for p, f in layers.items() if f), strict=True):
            _draw_losses(panel, history, found, _LAYERS[part])


def draw_mismatch(report: MismatchReport, path: Path) -> None:
    """Each layer's membrane mismatch before and after distillation, and its firing rates beside the teacher's."""
    if not _can_draw():
        return
    names = list(report.before)
    places = range(len(names))
    with _figure(2, path) as axes:
        for offset, layers, color, label in (
            (-0.2, report.before, BEFORE, "calibrated"),
            (0.2, report.after, AFTER, "distilled"),
        ):
            x = [place + offset for place in places]
            axes[0].bar(x, [layers[name].membrane for name in names], 0.4, color=color, label=label)
            axes[1].bar(x, [layers[name].student_rate for name in names], 0.4, color=color, label=label)
        rates = [report.after[name].teacher_rate for name in names]
        axes[1].plot(places, rates, "_", color=TEACHER, markersize=14, label="teacher")
        axes[0].set_ylabel("membrane mismatch, thresholds squared")
        axes[1].set_ylabel("spikes per neuron and step")
        for panel in axes:
            panel.set_xticks(list(places), names, rotation=60, ha="right", fontsize=7)
            panel.legend(frameon=False, fontsize=8)


def _can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


@contextlib.contextmanager
def _figure(panels: int, path: Path) -> Iterator[list[Axes]]:
    """Axes side by side, written to `path` at the end."""
    import matplotlib  # read where a picture is wanted: it takes a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "mdcompress", "svg.fonttype": "none", "text.usetex": False}):
        figure = Figure(figsize=(4.6 * panels, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        yield list(figure.subplots(1, panels, squeeze=False)[0])
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
        write_atomically(path, picture.getvalue())


def _draw_accuracy(axes: Axes, history: Sequence[EpochRecord], choice: Choice) -> None:
    trained = [(record.epoch, 100 * record.train_accuracy) for record in history if record.train_accuracy is not None]
    axes.plot(*zip(*trained, strict=True), color=BEFORE, marker=".", label="training")
    epochs = [record.epoch for record in history]
    for index, score in enumerate(history[0].validation):
        values = [100 * record.validation[index].accuracy for record in history]
        axes.plot(epochs, values, marker=".", label=f"validation, T={score.time_steps}")
    _mark_epochs(axes, history, choice)
    _name_epochs(axes, history)
    axes.set_ylabel("accuracy, %")
    axes.legend(frameon=False, fontsize=8)


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
    for name in names:
        axes.plot(
            [record.epoch for record in trained],
            [record.losses[name] for record in trained],
            marker=".",
            label=name.partition("/")[2] or name,
        )
    axes.set_yscale("log" if all(record.losses[name] > 0 for record in trained for name in names) else "linear")
    _name_epochs(axes, history)
    axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=7)


def _name_epochs(axes: Axes, history: Sequence[EpochRecord]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_xlim(history[0].epoch - 0.5, history[-1].epoch + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
