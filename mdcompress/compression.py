"""compress: trace, plan, quantize and calibrate in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn

from mdcompress.adapters import Adapter
from mdcompress.calibration import Batch, calibrate
from mdcompress.planning import plan
from mdcompress.recipe import Recipe, load_recipe
from mdcompress.student import Student
from mdcompress.tracing import trace
from mdcompress.transform import quantize


def compress(
    model: nn.Module,
    sample: Tensor,
    recipe: Recipe | str | Path,
    batches: Iterable[Batch],
    *,
    adapters: Sequence[Adapter] = (),
) -> Student:
    """A calibrated student of `model`, ready to distil, verify or lower.

    Args:
        model: float spiking network, called as model(sample).
        sample: [T, N, ...], float.
        recipe: a recipe, the path of one, or the name of a shipped one ("4bit").
        batches: calibration data, x [T, N, ...] or (x, y).
        adapters: for neurons of one's own (`mdcompress.adapters.NeuronAdapter`).
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    graph = trace(model, sample, adapters=adapters)
    student = quantize(model, graph, plan(recipe, graph))
    return calibrate(student, batches, spec=recipe.calibrate, teacher=model)
