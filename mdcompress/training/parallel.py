"""A global batch and P processes -> each one's share, and sums that make their steps one step on the whole batch.

The loss of a batch of N is sum_p n_p/N * L_p, with L_p the mean over the n_p samples of process p; gradients are summed
over processes. All losses but `emd`, which looks at the samples it is given, are means over samples or of moments over
all processes (`statistics.moments`), so that the sum is the loss one process would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdcompress.processes import Processes


@dataclass(frozen=True)
class Share:
    """One process's part of a batch: x [T, n, ...], y [n], and n/N.

    A batch of fewer samples than processes is given whole to each, with weight 1/P.
    """

    x: Tensor
    y: Tensor
    weight: float
    correct_weight: float


def share(processes: Processes, x: Tensor, y: Tensor) -> Share:
    """The samples r, r + P, r + 2P, … of rank r."""
    count, size = len(y), processes.size
    if count < size:
        return Share(x, y, 1.0 / size, 1.0 / size)
    mine = slice(processes.rank, None, size)
    return Share(x[:, mine], y[mine], len(y[mine]) / count, 1.0)


def whole_batch(processes: Processes, part: Share, parts: Mapping[str, Tensor], correct: Tensor) -> Tensor:
    """Losses and number of correct answers of the whole batch, from those of each share; equal in every process.

    float64 [number of parts + 1], on the device: who reads it waits for the step.
    """
    losses = torch.stack([loss.detach() for loss in parts.values()]).double()
    if processes.size == 1:
        return torch.cat([losses, correct.double()[None]])
    return processes.sum(torch.cat([losses * part.weight, correct.double()[None] * part.correct_weight]))


def sum_gradients(processes: Processes, parameters: Sequence[nn.Parameter]) -> None:
    """Put the sum over processes in place of each gradient; one message for all of them."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if processes.size == 1 or not gradients:
        return
    total = processes.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, summed in zip(gradients, torch.split(total, [each.numel() for each in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
