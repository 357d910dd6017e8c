"""Logits of student and teacher, and labels -> losses of the answer."""

from __future__ import annotations

from typing import Literal, assert_never

from torch import Tensor
from torch.nn import functional

from mdcompress.losses.alignment import comparable

Over = Literal["mean", "steps"]


def task_loss(logits: Tensor, y: Tensor, *, on: Over = "mean") -> Tensor:
    """Cross-entropy with the labels.

    mean:  L = CE(1/T sum_t z_t, y)      (MS-ResNet, Hu et al. 2024)
    steps: L = 1/T sum_t CE(z_t, y)      (TET, Deng et al. 2022)

    Args:
        logits: z, shape [T, N, K].
        y: classes, int64, shape [N].
        on: whether time is averaged before or after the cross-entropy.
    """
    match on:
        case "mean":
            return functional.cross_entropy(logits.mean(0), y)
        case "steps":
            return functional.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)))
        case _:
            assert_never(on)


def logit_loss(student: Tensor, teacher: Tensor, *, temperature: float = 4.0, on: Over = "mean") -> Tensor:
    """Divergence of the softened answers (Hinton et al. 2015), averaged over the batch.

    KD(z_s, z_t) = tau^2 * 1/N sum_n KL(softmax(z_t/tau) || softmax(z_s/tau))
    mean:  L = KD(mean over T_s of z_s, mean over T_t of z_t): a student of few steps learns the teacher's full answer
    steps: L = 1/T_s sum_{t<T_s} KD(z_s[t], z_t[t]): step by step, the form of "temporal decoupling" (ICML 2025)

    Args:
        student: z_s, shape [T_s, N, K].
        teacher: z_t, shape [T_t, N, K], T_t >= T_s.
        temperature: tau > 0; tau -> infinity gives 1/(2K) * squared distance of the centred logits.
        on: whether time is averaged before or after the divergence.
    """
    teacher = comparable(teacher, student)
    match on:
        case "mean":
            student, teacher = student.mean(0), teacher.mean(0)
        case "steps":
            student, teacher = student.flatten(0, 1), teacher[: len(student)].flatten(0, 1)
        case _:
            assert_never(on)
    log_student = functional.log_softmax(student / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher / temperature, dim=-1)
    return temperature**2 * functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
