"""compress: fit, trace, plan, quantize and calibrate in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn

from mdcompress.adapters import Adapter
from mdcompress.calibration import calibrate
from mdcompress.calibration.norm_statistics import with_statistics
from mdcompress.data.inputs import Batch, inputs_of
from mdcompress.data.still import repeated
from mdcompress.errors import CalibrationError
from mdcompress.planning import plan
from mdcompress.recipe import Recipe, load_recipe
from mdcompress.student import Student
from mdcompress.student.quantizing import quantize
from mdcompress.tracing.conventions import fit


def compress(
    model: nn.Module,
    sample: Tensor,
    recipe: Recipe | str | Path,
    batches: Iterable[Batch],
    *,
    adapters: Sequence[Adapter] = (),
    time_steps: int | None = None,
) -> Student:
    """A calibrated student of `model`, ready to distil, verify or lower.

    Args:
        model: float spiking network, in any style; how it wants to be called is found (`tracing.conventions.fit`).
            It may stand inside torch.compile or DataParallel.
        sample: [T, N, ...], float; T is that of the network's training.
        recipe: a recipe, the path of one, or the name of a shipped one ("4bit").
        batches: calibration data, x [T_s, N, ...] or (x, y). With T_s < T, all the same, it becomes a student of T_s
            steps: it starts from the network at T_s (`with_statistics`), unless `calibrate.statistics` is keep.
        adapters: for neurons of one's own (`mdcompress.adapters.NeuronAdapter`).
        time_steps: T, where sample and batches are images [N, ...], as those of torchvision: each is given at every
            step.

    Returns:
        The student, calibrated, on the device of `model`; `model` is not changed. What was read off its code stands in
        `student.findings`.

    Raises:
        TraceError: the network cannot be read as a graph.
        PlanError: the recipe does not fit the network.
        CalibrationError: the batches are empty, not finite, or of different T.
        InvalidFileError: the recipe's file has problems; each has its line.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    inputs = inputs_of(batches, sample.device)
    if time_steps is not None:
        sample, *inputs = (repeated(x, time_steps) for x in (sample, *inputs))
    found = fit(model, sample, adapters=adapters)
    model, graph = found.network, found.graph
    lengths = sorted({len(x) for x in inputs})
    if lengths and lengths[0] < len(sample):
        if len(lengths) > 1:
            raise CalibrationError(
                f"batches of fewer steps than the sample's {len(sample)} must have the same number (got {lengths})",
                hints=["cut them all to the student's steps: x[:T]"],
            )
        model = with_statistics(model, inputs)
    student = quantize(model, graph, plan(recipe, graph).with_findings(found.findings))
    return calibrate(student, inputs, spec=recipe.calibrate, teacher=model)
