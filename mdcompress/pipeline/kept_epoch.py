"""The history of a distillation -> which epoch was kept and what the others were worth: figures and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mdcompress.pipeline.report import percent, table

if TYPE_CHECKING:
    from mdcompress.recipe import Recipe
    from mdcompress.training import Choice, EpochRecord

_EPOCHS = {  # as the run's record names them -> as people read them
    "kept": "kept",
    "calibrated": "calibrated",
    "most_accurate": "most accurate",
    "lowest_loss": "lowest total loss",
}
SCORES = ("epoch", "validation accuracy", "loss on labels", "total loss", "spike rate")
_BY = {"accuracy": "the most accurate on validation samples", "loss": "the lowest total loss on validation samples"}
_BETTER = {"accuracy": "was more accurate", "loss": "had a lower total loss"}


def kept_measured(history: Sequence[EpochRecord], choice: Choice) -> dict[str, float]:
    """As the run's record has them: `best_epoch`, how many epochs were refused; epoch and scores of each of four.

    They are the epoch that is kept, epoch 0 (the calibrated student), the most accurate and that of the lowest total
    loss; of each validation accuracy, loss on the labels, total loss and spikes per neuron and step. Means over the T
    of validation.
    """
    from mdcompress.training import what_was_kept

    if not history:
        return {"best_epoch": 0}
    found = what_was_kept(history, choice)
    records = {
        "kept": found.kept,
        "calibrated": history[0],
        "most_accurate": found.most_accurate,
        "lowest_loss": found.lowest_loss,
    }
    scores = {
        name: {
            "epoch": record.epoch,
            "validation_accuracy": record.validation_accuracy,
            "validation_label_loss": record.validation_loss,
            "validation_total_loss": record.validation_total or 0.0,
            "validation_rate": record.validation_rate or 0.0,
        }
        for name, record in records.items()
    }
    figures = {f"{name}_{key}": float(value) for name, each in scores.items() for key, value in each.items()}
    return {"best_epoch": found.kept.epoch, "epochs": history[-1].epoch, "refused_epochs": len(found.refused)} | figures


def kept_in_words(recipe: Recipe, measured: Mapping[str, float]) -> str:
    """Which epoch was kept and why, and the scores of the four; measured: as `kept_measured` has it.

    Runs of earlier versions have the number of the epoch alone, and before that not even it.
    """
    if recipe.distill.epochs == 0:
        return "kept       the calibrated student: distill.epochs is 0"
    if "kept_epoch" not in measured:
        best = measured.get("best_epoch")
        return "" if best is None else f"kept       {_named(best)}"
    return f"{_reason(recipe, measured)}\n\n{_score_table(measured)}"


def _reason(recipe: Recipe, measured: Mapping[str, float]) -> str:
    by, kept, refused = recipe.distill.best, measured["kept_epoch"], int(measured["refused_epochs"])
    allowed = " that is not refused" if refused else ""
    why = _BY[by] + allowed if kept else f"no other{allowed} {_BETTER[by]} on validation samples"
    line = f"kept       {_named(kept)} of {measured['epochs']:.0f}: {why} (distill.best: {by})"
    if not refused:
        return line
    several, them = (f"{refused} epochs, which are", "them") if refused > 1 else ("1 epoch, which is", "it")
    return (
        f"{line}\nrefused    {several} less accurate on validation samples than the calibrated student by more than "
        f"chance (McNemar's test; `--set distill.guard=none` allows {them})"
    )


def _score_table(measured: Mapping[str, float]) -> str:
    return table(SCORES, kept_scores(measured), numbers=SCORES[1:])


def kept_scores(measured: Mapping[str, float]) -> list[list[str]]:
    """A row of SCORES for each epoch, the one that is kept first; one that is several of them has one row.

    None of a run of an earlier version, or where nothing was trained.
    """
    if "kept_epoch" not in measured:
        return []
    names: dict[float, list[str]] = {}
    for name, words in _EPOCHS.items():
        names.setdefault(measured[f"{name}_epoch"], []).append(words)
    first = {measured[f"{name}_epoch"]: name for name in reversed(_EPOCHS)}
    return [
        [
            f"{epoch:.0f}: {', '.join(words)}",
            percent(measured[f"{first[epoch]}_validation_accuracy"]),
            f"{measured[f'{first[epoch]}_validation_label_loss']:.4f}",
            f"{measured[f'{first[epoch]}_validation_total_loss']:.4f}",
            percent(measured[f"{first[epoch]}_validation_rate"]),
        ]
        for epoch, words in names.items()
    ]


def _named(epoch: float) -> str:
    return f"epoch {epoch:.0f}" if epoch else "the calibrated student, epoch 0"
