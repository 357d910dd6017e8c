"""Spikes of one layer, the student's and the teacher's -> the distance of their firing rates."""

from __future__ import annotations

from typing import Literal, assert_never

from torch import Tensor

from mdcompress.losses.alignment import comparable

RateAlign = Literal["first_steps", "mean"]
RateUnit = Literal["neuron", "channel"]


def rate_loss(student: Tensor, teacher: Tensor, *, align: RateAlign = "mean", unit: RateUnit = "neuron") -> Tensor:
    """Squared difference of firing rates, the features of an SNN that KDSNN (Xu et al. 2023) distils.

    L = mean_{n,u} (r_s - r_t)^2,   r = mean of the spikes over steps (and over a channel's positions)

    Args:
        student: spikes s_s, shape [T_s, N, C, ...]; gradients go through the surrogate.
        teacher: s_t, shape [T_t, N, C, ...] with T_t >= T_s; no gradient flows into it.
        align: mean compares with the teacher's rate over all its steps, first_steps over its first T_s.
        unit: whose rate is compared, sample by sample: each neuron's, or each channel's.
    """
    teacher = comparable(teacher, student)
    match align:
        case "mean":
            difference = student.mean(0) - teacher.mean(0)
        case "first_steps":
            difference = student.mean(0) - teacher[: len(student)].mean(0)
        case _:
            assert_never(align)
    match unit:
        case "neuron":
            return difference.square().mean()
        case "channel":
            of_channels = difference.flatten(2).mean(-1) if difference.dim() > 2 else difference
            return of_channels.square().mean()
        case _:
            assert_never(unit)
