"""The epochs of a training -> a CSV with a line for each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from intsnn.files import write_atomically
from mdcompress.training.choosing import BY_ACCURACY, Choice, best_epoch
from mdcompress.training.history import EpochRecord


def write_history(history: Iterable[EpochRecord], path: Path, *, choice: Choice = BY_ACCURACY) -> None:
    """Write one line an epoch, numbers as Python spells them, so that they read back equal.

    Columns: epoch, learning_rate, a loss each, train_accuracy; for each t validation_accuracy_T<t>,
    validation_loss_T<t> and, of a student, validation_total_T<t> and validation_rate_T<t>; best, 1 for the epoch that
    the trained network holds; seconds. Epoch 0 has no losses and train_accuracy.
    """
    records = list(history)
    rows = [_row(record) for record in records]
    best = best_epoch(records, choice).epoch if records else None
    for record, row in zip(records, rows, strict=True):
        row["best"] = "1" if record.epoch == best else "0"
        row["seconds"] = f"{record.seconds:.2f}"
    columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def _row(record: EpochRecord) -> dict[str, str]:
    row = {"epoch": str(record.epoch), "learning_rate": repr(record.learning_rate)}
    row |= {name: repr(loss) for name, loss in record.losses.items()}
    if record.train_accuracy is not None:
        row["train_accuracy"] = repr(record.train_accuracy)
    for score in record.validation:
        row[f"validation_accuracy_T{score.time_steps}"] = repr(score.accuracy)
        row[f"validation_loss_T{score.time_steps}"] = repr(score.loss)
        for name, value in (("total", score.total), ("rate", score.rate)):
            if value is not None:
                row[f"validation_{name}_T{score.time_steps}"] = repr(value)
    return row
