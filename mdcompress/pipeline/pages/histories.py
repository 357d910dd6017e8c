"""history.csv -> the curves of a training: accuracies and losses by epoch, and the epoch that was kept."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from intsnn.errors import reading

Points = tuple[tuple[float, float], ...]  # (epoch, value)

_OF_THE_EPOCH = ("epoch", "learning_rate", "train_accuracy", "best", "seconds")
_OF_VALIDATION = "validation_"


@dataclass(frozen=True)
class Curves:
    """A training by epoch. accuracies in percent, losses as trained, totals: the trained losses on validation.

    layers: the losses of single layers, `membrane/<neuron>`. kept: the epoch whose network is the result.
    """

    epochs: int
    accuracies: Mapping[str, Points]
    losses: Mapping[str, Points]
    totals: Mapping[str, Points]
    layers: Mapping[str, Points]
    kept: int | None


def read_curves(path: Path) -> Curves:
    """Read the history that `train` or `distill` wrote.

    Raises:
        UnreadableFileError: the file is no such history.
    """
    with reading(path, "the history of a training"):
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8")), strict=True))
        return _curves(rows)


def _curves(rows: Sequence[Mapping[str, str]]) -> Curves:
    names = list(rows[0]) if rows else []
    trained = [name for name in names if name not in _OF_THE_EPOCH and not name.startswith(_OF_VALIDATION)]
    kept = [int(row["epoch"]) for row in rows if row["best"] == "1"]
    return Curves(
        epochs=max((int(row["epoch"]) for row in rows), default=0),
        accuracies={
            **_named(rows, {"training": "train_accuracy"}, 100.0),
            **_named(rows, _at_each_t(names, "accuracy", "validation"), 100.0),
        },
        losses=_named(rows, {name: name for name in trained if "/" not in name}),
        totals=_named(rows, _at_each_t(names, "total", "total, validation")),
        layers=_named(rows, {name: name for name in trained if "/" in name}),
        kept=kept[0] if kept else None,
    )


def _at_each_t(names: Sequence[str], figure: str, words: str) -> Mapping[str, str]:
    """Label -> column of a figure of the validation; T is said where there are several."""
    start = f"{_OF_VALIDATION}{figure}_T"
    found = [name for name in names if name.startswith(start)]
    if len(found) == 1:
        return {words: found[0]}
    return {f"{words}, T = {name.removeprefix(start)}": name for name in found}


def _named(rows: Sequence[Mapping[str, str]], columns: Mapping[str, str], factor: float = 1.0) -> Mapping[str, Points]:
    curves = {label: _points(rows, column, factor) for label, column in columns.items()}
    return {label: points for label, points in curves.items() if points}


def _points(rows: Sequence[Mapping[str, str]], column: str, factor: float) -> Points:
    points = [(float(row["epoch"]), factor * float(row[column])) for row in rows if row.get(column)]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError(f"{column} must be finite")
    return tuple(points)
