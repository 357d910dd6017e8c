"""Mean and variance of a student's batch norms, measured over some batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mdcompress.layers.affine import QuantAffine
from mdcompress.layers.norms import BatchNorm
from mdcompress.layers.step_norms import plain_norms
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.student import Student


@torch.no_grad()
def measure_statistics(student: Student, inputs: Sequence[Tensor]) -> None:
    """Put the means over `inputs` of each batch's mean and (unbiased) variance in place of the running ones.

    One pass in training mode, in which each layer sees what the normalized layers before it send; the student is in
    evaluation mode afterwards. Running averages lag behind weights of few bits, whose integers jump while training
    moves them (Nagel et al. 2022, "Overcoming Oscillations in Quantization-Aware Training", section 5.1).

    Args:
        student: a student.
        inputs: x [T, N, ...] each.
    """
    norms = _norms(student)
    if norms and inputs:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.zero_()
        student.train()
        try:
            for x in inputs:
                student.run(x)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    student.eval()


def _norms(student: Student) -> tuple[BatchNorm, ...]:
    owners = [layer for layer in student.layers.values() if isinstance(layer, QuantSynapse | QuantAffine)]
    return tuple(dict.fromkeys(norm for layer in owners if layer.norm is not None for norm in plain_norms(layer.norm)))
