"""What a student returns and what its teacher returns -> losses. Pure functions; no gradient flows into a teacher.

Letters as in `mdcompress.graph`: T steps (T_s the student's, T_t >= T_s the teacher's), N batch, K classes. The
formulas are this project's choices; each names where its form comes from.
"""

from mdcompress.distances import (
    MOMENT_FLOOR,
    SILENT_NORM,
    VARIANCE_FLOOR,
    Moments,
    earth_movers_distance,
    gaussian_divergence,
    own_moments,
)
from mdcompress.losses.distillation import (
    LossParts,
    compared_neurons,
    distillation_loss,
    firing_neurons,
    layer_threshold,
    layer_weights,
    mean_rate,
    stage_ends,
)
from mdcompress.losses.parts import logit_loss, membrane_loss, membrane_mismatch, rate_loss, sparsity_loss, task_loss

__all__ = [
    "MOMENT_FLOOR",
    "SILENT_NORM",
    "VARIANCE_FLOOR",
    "LossParts",
    "Moments",
    "compared_neurons",
    "distillation_loss",
    "earth_movers_distance",
    "firing_neurons",
    "gaussian_divergence",
    "layer_threshold",
    "layer_weights",
    "logit_loss",
    "mean_rate",
    "membrane_loss",
    "membrane_mismatch",
    "own_moments",
    "rate_loss",
    "sparsity_loss",
    "stage_ends",
    "task_loss",
]
