"""A student of T_s steps and a teacher of T_t >= T_s steps -> what is compared with what."""

from __future__ import annotations

from typing import Literal, assert_never

from torch import Tensor

from mdcompress.errors import TrainingError

Align = Literal["first_steps", "mean", "last_step"]


def align_steps(student: Tensor, teacher: Tensor, align: Align) -> tuple[Tensor, Tensor]:
    """Both over the same steps: student [T_s, N, ...] and teacher [T_t, N, ...] -> [A, N, ...] each.

    first_steps: A = T_s, the teacher's first steps (causal: needs no later one); mean: A = 1, means over each one's own
    steps; last_step: A = 1, the last step of each.
    """
    match align:
        case "first_steps":
            return student, teacher[: len(student)]
        case "mean":
            return student.mean(0, keepdim=True), teacher.mean(0, keepdim=True)
        case "last_step":
            return student[-1:], teacher[-1:]
        case _:
            assert_never(align)


def comparable(teacher: Tensor, student: Tensor) -> Tensor:
    """The teacher without its gradient; TrainingError unless it has the student's shape per step, and T_t >= T_s."""
    if len(teacher) < len(student) or teacher.shape[1:] != student.shape[1:]:
        raise TrainingError(
            "the teacher must have the student's shape per step, and at least its steps "
            f"(teacher {list(teacher.shape)}, student {list(student.shape)})",
            hints=["run the teacher on all T steps of the batch, the student on the first of them"],
        )
    return teacher.detach()
