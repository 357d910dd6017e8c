"""Training: a float teacher, or a student under its teacher; resumable after a kill, equal bits for equal seeds."""

from mdcompress.training.checkpoint import read_history
from mdcompress.training.choosing import Choice, Kept, best_epoch, what_was_kept
from mdcompress.training.distillation import choice_of, distill
from mdcompress.training.history import (
    EpochRecord,
    Event,
    Progress,
    Resumed,
    StepRecord,
    Stopped,
    Validation,
)
from mdcompress.training.history_table import write_history
from mdcompress.training.other_teacher import OtherTeacher
from mdcompress.training.teaching import teacher_settings, train_network

__all__ = [
    "Choice",
    "EpochRecord",
    "Event",
    "Kept",
    "OtherTeacher",
    "Progress",
    "Resumed",
    "StepRecord",
    "Stopped",
    "Validation",
    "best_epoch",
    "choice_of",
    "distill",
    "read_history",
    "teacher_settings",
    "train_network",
    "what_was_kept",
    "write_history",
]
