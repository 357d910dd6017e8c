"""Training: a float teacher, or a student under its teacher; resumable after a kill, equal bits for equal seeds."""

from mdcompress.training.checkpoint import read_history
from mdcompress.training.distillation import distill
from mdcompress.training.history import (
    EpochRecord,
    Event,
    Progress,
    Resumed,
    StepRecord,
    Stopped,
    Validation,
    best_epoch,
    write_history,
)
from mdcompress.training.teaching import teacher_settings, train_network

__all__ = [
    "EpochRecord",
    "Event",
    "Progress",
    "Resumed",
    "StepRecord",
    "Stopped",
    "Validation",
    "best_epoch",
    "distill",
    "read_history",
    "teacher_settings",
    "train_network",
    "write_history",
]
