"""What student and teacher did -> the parts of the loss: answers, membrane potentials and firing rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from mdcompress.distances import Distance, Moments, Normalize, Pool, own_moments, potential_distance
from mdcompress.errors import TrainingError
from mdcompress.recipe.distilling import Align, LossSteps, RateAlign, RateOf, RateUnit


def task_loss(logits: Tensor, y: Tensor, *, on: LossSteps = "mean") -> Tensor:
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


def logit_loss(student: Tensor, teacher: Tensor, *, temperature: float = 4.0, on: LossSteps = "mean") -> Tensor:
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


def membrane_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    threshold: float,
    distance: Distance = "mse",
    normalize: Normalize = "threshold",
    align: Align = "first_steps",
    pool: Pool = "channel",
    moments_of: Moments = own_moments,
) -> Tensor:
    """Distance of one layer's membrane potentials, the idea of MD-SNN (arXiv 2512.04443).

    L = d(h_s, h_t) after both were brought to the same steps; the formula of each d is in `potential_distance`.

    Args:
        student: h_s before reset in real units, shape [T_s, N, ...].
        teacher: h_t, shape [T_t, N, ...] with T_t >= T_s; no gradient flows into it.
        threshold: theta of the layer.
        distance: d.
        normalize: what mse and emd are measured in.
        align: which steps are compared (`align_steps`).
        pool: whose potentials make one distribution of emd and moments.
        moments_of: mean and variance of potentials, for moments and for `variance`.

    Raises:
        TrainingError: the teacher has another shape per step, or fewer steps.
    """
    student, teacher = align_steps(student, comparable(teacher, student), align)
    return potential_distance(
        student,
        teacher,
        threshold=threshold,
        distance=distance,
        normalize=normalize,
        pool=pool,
        moments_of=moments_of,
    )


def membrane_mismatch(student: Tensor, teacher: Tensor, *, threshold: float) -> Tensor:
    """mean ((h_s - h_t) / theta)^2 over the student's steps: what reports call the mismatch, in squared thresholds.

    Unlike the loss of `normalize: threshold` it is in this unit however wide the potentials of the layer are.

    Args:
        student: h_s before reset in real units, shape [T_s, N, ...].
        teacher: h_t, shape [T_t, N, ...] with T_t >= T_s.
        threshold: theta of the layer.
    """
    return membrane_loss(student, teacher, threshold=threshold, normalize="none") / threshold**2


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


def sparsity_loss(
    rates: Mapping[str, Tensor],
    *,
    targets: Mapping[str, float],
    weights: Mapping[str, float],
    neurons: Mapping[str, float],
    per: RateOf = "network",
) -> Tensor:
    """How far firing rates are above a target; 0 where they are not.

    network, operations: L = max(sum_l w_l n_l r_l / sum_l w_l n_l - target, 0)
    layer:               L = sum_l w_l max(r_l - target_l, 0) / sum_l w_l

    r_l = mean_{t,n,u} s: spikes per neuron and step. With `operations` n_l are synaptic operations, and the rate is the
    share of them that is done. Linear, so that the pressure on a spike is the same until the
    target is reached, and none beyond (a target for synaptic operations, squared: Sorbaro et al. 2020, "Optimizing the
    energy consumption of spiking neural networks for neuromorphic applications"; the form is ours).

    Args:
        rates: r_l by layer, scalars with a gradient.
        targets: target_l; with `network` and `operations` they are all the same.
        weights: w_l.
        neurons: n_l, how many neurons the layer has, or how many operations all of them would cause.
        per: whose rate is held to a target.
    """
    match per:
        case "network" | "operations":
            shares = {name: weights[name] * neurons[name] for name in rates}
            rate = torch.stack([shares[name] * each for name, each in rates.items()]).sum() / math.fsum(shares.values())
            return functional.relu(rate - next(iter(targets.values())))
        case "layer":
            above = [weights[name] * functional.relu(rate - targets[name]) for name, rate in rates.items()]
            return torch.stack(above).sum() / math.fsum(weights[name] for name in rates)
        case _:
            assert_never(per)


def align_steps(student: Tensor, teacher: Tensor, align: Align) -> tuple[Tensor, Tensor]:
    """Both over the same steps: student [T_s, N, ...] and teacher [T_t, N, ...] -> [A, N, ...] each.

    first_steps: A = T_s, the teacher's first steps (causal: needs no later one); mean: A = 1, means over each one's own
    steps; last_step: A = 1, the last step of each.
    """
    match align:
        case "first_steps":
            return student, teacher if len(teacher) == len(student) else teacher[: len(student)]
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
    return teacher.detach() if teacher.requires_grad else teacher
