"""A training inside a stage: where its state is kept, who follows it, and what is said when it is interrupted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import TENSORBOARD_FOLDER, Overwrite, StartedStage, discard_states, make_folder

if TYPE_CHECKING:
    from mdcompress.training import EpochRecord, Event, Progress


@dataclass(frozen=True)
class Training:
    """checkpoint: the file of its state; one that exists is resumed. progress: whom to tell."""

    checkpoint: Path
    progress: Progress

    def history(self) -> tuple[EpochRecord, ...]:
        """The epochs done, those before an interruption among them; none where there was nothing to train."""
        from mdcompress.training import read_history

        return read_history(self.checkpoint) if self.checkpoint.exists() else ()


@contextlib.contextmanager
def resumable(workspace: Workspace, started: StartedStage) -> Iterator[Training]:
    """Follow a training; when it is interrupted, say how to go on.

    States of trainings with other settings are deleted only with --force. A process that does not write only trains.
    """
    checkpoint = started.checkpoint
    if not workspace.writes:
        yield Training(checkpoint, _unheard)
        return
    refuse_other_trainings(workspace, started)
    make_folder(checkpoint.parent)
    discard_states(started.other_checkpoints())
    started.describe_checkpoint()
    try:
        from mdcompress.training.tensorboard import tensorboard_log

        log = workspace.run.file(TENSORBOARD_FOLDER) / started.stage.value
        with workspace.listener.training(started.stage.value) as progress, tensorboard_log(log) as logged:
            yield Training(checkpoint, _both(progress, logged))
    except BaseException as error:
        if checkpoint.exists() and not _has_begun(checkpoint):
            checkpoint.unlink()  # there is nothing in it to go on from, and it must not stand in another's way
        elif checkpoint.exists() and isinstance(error, KeyboardInterrupt):
            workspace.listener.note(f"state saved in {checkpoint}; the same command goes on from there")
        raise
    finally:
        if not checkpoint.exists():
            started.checkpoint_origin.unlink(missing_ok=True)


def _both(one: Progress, other: Progress) -> Progress:
    def tell(event: Event) -> None:
        one(event)
        other(event)

    return tell


def _unheard(_event: Event) -> None:
    """Rank 0 tells."""


def _has_begun(checkpoint: Path) -> bool:
    """Whether a training has done a step that its state holds: the first state is written before the first step."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, framework="numpy") as file:
            header = json.loads(file.metadata()["mdcompress"])
            return (header["epoch"], header["step"]) != (1, 0)
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError):
        return True  # damaged or foreign: its error is on the way, and the file stays for people to look at


def refuse_other_trainings(workspace: Workspace, started: StartedStage) -> None:
    """RunError where a training with other settings was interrupted, unless --force was given."""
    if workspace.overwrite is Overwrite.NEVER:
        started.refuse_other_checkpoints()
