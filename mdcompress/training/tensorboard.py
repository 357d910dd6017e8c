"""A training's events -> a TensorBoard log, where tensorboard is installed (the extra `tensorboard`)."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from mdcompress.runs.writing import as_run_error
from mdcompress.training.history import EpochRecord, Event, Progress, Resumed, StepRecord, Stopped

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@contextlib.contextmanager
def tensorboard_log(folder: Path) -> Iterator[Progress]:
    """What it yields writes each epoch into `folder`; nothing is written where tensorboard is not installed.

    The folder is begun anew: a resumed training writes the epochs before its interruption again, so that none is there
    twice. A link in its place is removed, not followed.

    Raises:
        RunError: it cannot be written.
    """
    if importlib.util.find_spec("tensorboard") is None:
        yield _ignore
        return
    from torch.utils.tensorboard import SummaryWriter

    with as_run_error(folder):
        for place in (folder.parent, folder):
            if place.is_symlink():
                place.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        writer = SummaryWriter(str(folder))
    with writer:
        yield _Log(writer, folder)


class _Log:
    """Writes epochs as they end."""

    def __init__(self, writer: SummaryWriter, folder: Path) -> None:
        self._writer, self._folder = writer, folder

    def __call__(self, event: Event) -> None:
        with as_run_error(self._folder):
            self._tell(event)

    def _tell(self, event: Event) -> None:
        match event:
            case Resumed():
                for record in event.history:
                    self._write(record)
            case EpochRecord():
                self._write(event)
            case StepRecord() | Stopped():
                pass  # they are for people who watch; the log has epochs
            case _:
                assert_never(event)
        self._writer.flush()

    def _write(self, record: EpochRecord) -> None:
        scalars = {f"loss/{name}": loss for name, loss in record.losses.items()}
        scalars["learning_rate"] = record.learning_rate
        if record.train_accuracy is not None:
            scalars["accuracy/train"] = record.train_accuracy
        for score in record.validation:
            scalars[f"accuracy/validation_T{score.time_steps}"] = score.accuracy
            scalars[f"loss/validation_T{score.time_steps}"] = score.loss
            if score.total is not None:
                scalars[f"loss/validation_total_T{score.time_steps}"] = score.total
            if score.rate is not None:
                scalars[f"rate/validation_T{score.time_steps}"] = score.rate
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, record.epoch)


def _ignore(_event: Event) -> None:
    """Nobody asked for a log."""
