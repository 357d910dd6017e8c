"""A recipe: everything that decides how a network is compressed, as a checked and frozen value."""

from intsnn.weight_bits import TERNARY_BITS, WEIGHT_BITS
from mdcompress.recipe.data import AugmentSpec, DataSpec
from mdcompress.recipe.distilling import (
    BitStage,
    DistillSpec,
    LayerLossSpec,
    LogitLossSpec,
    MembraneLossSpec,
    OtherTeacherSpec,
    RateLossSpec,
    SparsitySpec,
    TaskLossSpec,
)
from mdcompress.recipe.files import (
    RECIPE_SCHEMA,
    dump_recipe,
    find_recipe,
    load_kept_recipe,
    load_recipe,
    recipes_folder,
    shipped_recipes,
)
from mdcompress.recipe.nir import NirSpec
from mdcompress.recipe.policies import (
    BatchNormPolicy,
    CalibrateSpec,
    InputPolicy,
    MembranePolicy,
    Override,
    QuantizeSpec,
    WeightPolicy,
)
from mdcompress.recipe.sections import (
    ModelSpec,
    NormStatisticsSpec,
    OptimizerSpec,
    Recipe,
    TeacherSpec,
    TrainSpec,
)

__all__ = [
    "RECIPE_SCHEMA",
    "TERNARY_BITS",
    "WEIGHT_BITS",
    "AugmentSpec",
    "BatchNormPolicy",
    "BitStage",
    "CalibrateSpec",
    "DataSpec",
    "DistillSpec",
    "InputPolicy",
    "LayerLossSpec",
    "LogitLossSpec",
    "MembraneLossSpec",
    "MembranePolicy",
    "ModelSpec",
    "NirSpec",
    "NormStatisticsSpec",
    "OptimizerSpec",
    "OtherTeacherSpec",
    "Override",
    "QuantizeSpec",
    "RateLossSpec",
    "Recipe",
    "SparsitySpec",
    "TaskLossSpec",
    "TeacherSpec",
    "TrainSpec",
    "WeightPolicy",
    "dump_recipe",
    "find_recipe",
    "load_kept_recipe",
    "load_recipe",
    "recipes_folder",
    "shipped_recipes",
]
