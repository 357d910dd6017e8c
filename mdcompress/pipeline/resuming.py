"""A training inside a stage: where its state is kept, who follows it, and what is said when it is interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdcompress.pipeline.workspace import Workspace
from mdcompress.runs import StartedStage, make_folder

if TYPE_CHECKING:
    from mdcompress.training import EpochRecord, Progress


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
    """Follow a training; when it is interrupted, say how to go on."""
    checkpoint = started.checkpoint
    make_folder(checkpoint.parent)
    try:
        with workspace.listener.training(started.stage.value) as progress:
            yield Training(checkpoint, progress)
    except KeyboardInterrupt:
        if checkpoint.exists():
            workspace.listener.note(f"state saved in {checkpoint}; the same command goes on from there")
        raise
