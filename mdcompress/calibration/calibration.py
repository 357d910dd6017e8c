"""calibrate(student, batches): scales from data, then batch-norm statistics, without any training.

1. the input's scale from its values (`ranges`); 2. each stream's unit, so that the stored membranes of its neurons lose
least (`stream_units`); 3. where asked, weights rounded for the membrane (`reconstruction`); 4. batch-norm statistics of
the quantized network (`norm_statistics`); 5. where asked, offsets (`offset_correction`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from mdcompress.calibration.norm_statistics import measure_statistics
from mdcompress.calibration.offset_correction import correct_offsets
from mdcompress.calibration.ranges import input_reach
from mdcompress.calibration.reconstruction import reconstruct_weights
from mdcompress.calibration.stream_units import fit_units, widen_to_bounds
from mdcompress.data.inputs import Batch, inputs_of
from mdcompress.errors import CalibrationError
from mdcompress.modes import evaluating
from mdcompress.recipe import CalibrateSpec
from mdcompress.student import Student


def _unheard(_what: str) -> None:
    """Nobody is told."""


DEFAULT_SPEC = CalibrateSpec(offsets="keep")  # what needs no teacher of a recipe's defaults


def calibrate(
    student: Student,
    batches: Iterable[Batch],
    *,
    spec: CalibrateSpec = DEFAULT_SPEC,
    teacher: nn.Module | None = None,
    tell: Callable[[str], None] = _unheard,
) -> Student:
    """Find scales and batch-norm statistics; returns the student.

    Args:
        student: as `quantize` made it.
        batches: x [T, N, ...], or (x, y).
        spec: the recipe's `calibrate` section; without one its defaults, but for the offsets, which are kept.
        teacher: the float network, which `offsets: correct` compares with.
        tell: is told what is done now, in a few words.

    Returns:
        The same student, calibrated: its scales and statistics are set in place.

    Raises:
        CalibrationError: the data are empty or not finite, or the teacher is missing.
        InputError: the data are of another shape.
    """
    if spec.offsets == "correct" and teacher is None:
        raise CalibrationError(
            "calibrate.offsets: correct compares with the float network (none is given)",
            hints=["give teacher=, the float network", "or set offsets to keep"],
        )
    device = student.input.scale.device
    inputs = inputs_of(batches, device)
    if not sum(x.numel() for x in inputs):
        raise CalibrationError(
            f"calibration needs at least one sample (got {len(inputs)} batches, empty)",
            hints=["give some training data"],
        )
    tell("range of the input")
    reach = input_reach(inputs, spec, bit_width=student.input.largest_bit_width)
    student.input.fit(torch.cat([torch.unique(x) for x in inputs]), reach=reach)
    with torch.no_grad(), evaluating(student):
        tell("scales of membranes")
        fit_units(student, inputs, spec)
        if spec.weights == "reconstruct":
            tell("rounding of weights")
            reconstruct_weights(student, inputs)
        if spec.statistics == "recompute":
            tell("statistics of norms")
            measure_statistics(student, inputs)
        if teacher is not None and spec.offsets == "correct":
            tell("offsets")
            correct_offsets(student, teacher, inputs)
        widen_to_bounds(student)  # last: statistics and offsets say how much a layer can send
    return student
