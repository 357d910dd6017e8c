"""mdcompress: spiking networks to exact integers, from recipe to hardware report.

The public names load their room when they are first used: `import mdcompress` alone does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mdcompress._version import __version__

if TYPE_CHECKING:
    from mdcompress import zoo
    from mdcompress.calibration import calibrate
    from mdcompress.calibration.norm_statistics import with_statistics
    from mdcompress.compression import compress
    from mdcompress.evaluation import evaluate
    from mdcompress.evaluation.verification import verify
    from mdcompress.graph import NeuronModel, SnnGraph
    from mdcompress.nir import from_nir, integers_from_nir, to_nir, write_nir
    from mdcompress.pipeline.in_python import Run, run
    from mdcompress.planning import QuantPlan, plan
    from mdcompress.recipe import Recipe, load_recipe
    from mdcompress.student import Student
    from mdcompress.student.lowering import lower
    from mdcompress.student.observation import observe
    from mdcompress.student.quantizing import quantize
    from mdcompress.student.weights import load_student, load_weights, save_student, save_weights
    from mdcompress.tracing import BatchFirst, BatchFirstAnswer, Stepped, StepsFolded, StillImage, trace
    from mdcompress.training import distill, train_network

_ROOMS = {
    "BatchFirst": "tracing",
    "BatchFirstAnswer": "tracing",
    "NeuronModel": "graph",
    "QuantPlan": "planning",
    "Recipe": "recipe",
    "Run": "pipeline.in_python",
    "SnnGraph": "graph",
    "Stepped": "tracing",
    "StepsFolded": "tracing",
    "StillImage": "tracing",
    "Student": "student",
    "calibrate": "calibration",
    "compress": "compression",
    "distill": "training",
    "evaluate": "evaluation",
    "from_nir": "nir",
    "integers_from_nir": "nir",
    "load_recipe": "recipe",
    "load_student": "student.weights",
    "load_weights": "student.weights",
    "lower": "student.lowering",
    "observe": "student.observation",
    "plan": "planning",
    "run": "pipeline.in_python",
    "quantize": "student.quantizing",
    "save_student": "student.weights",
    "save_weights": "student.weights",
    "to_nir": "nir",
    "trace": "tracing",
    "train_network": "training",
    "verify": "evaluation.verification",
    "with_statistics": "calibration.norm_statistics",
    "write_nir": "nir",
}

__all__ = [
    "BatchFirst",
    "BatchFirstAnswer",
    "NeuronModel",
    "QuantPlan",
    "Recipe",
    "Run",
    "SnnGraph",
    "Stepped",
    "StepsFolded",
    "StillImage",
    "Student",
    "__version__",
    "calibrate",
    "compress",
    "distill",
    "evaluate",
    "from_nir",
    "integers_from_nir",
    "load_recipe",
    "load_student",
    "load_weights",
    "lower",
    "observe",
    "plan",
    "quantize",
    "run",
    "save_student",
    "save_weights",
    "to_nir",
    "trace",
    "train_network",
    "verify",
    "with_statistics",
    "write_nir",
    "zoo",
]


if not TYPE_CHECKING:  # a type checker shall see the names above alone, and a misspelt one

    def __getattr__(name: str) -> object:
        """Import the room of a public name at its first use."""
        if name == "zoo":
            return importlib.import_module("mdcompress.zoo")
        if name in _ROOMS:
            return getattr(importlib.import_module(f"mdcompress.{_ROOMS[name]}"), name)
        raise AttributeError(f"module 'mdcompress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
