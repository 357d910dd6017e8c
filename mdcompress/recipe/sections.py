"""What a recipe says besides the policies: network, data, teacher, distillation, training; and Recipe, the whole."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from intsnn.yaml.file import RuleError
from intsnn.yaml.wording import seen
from mdcompress.recipe.data import DataSpec
from mdcompress.recipe.distilling import DistillSpec
from mdcompress.recipe.keys import ReadBy, ReadWhere, RecipeSection
from mdcompress.recipe.nir import NirSpec
from mdcompress.recipe.policies import CalibrateSpec, QuantizeSpec
from mdcompress.recipe.values import Builder, RunName, StepCounts, is_nir_file
from mdcompress.runs.manifest import Stage
from mdcompress.trust.names import NamedCode


class ModelSpec(RecipeSection):
    """The float network."""

    builder: Annotated[Builder, ReadBy(Stage.TRAIN, Stage.QUANTIZE)] = Field(
        description="Import path `module:function` of a function without arguments that returns the nn.Module, or a "
        "`.nir` file.",
    )
    weights: str | None = Field(
        None,
        description="Checkpoint of the float network (.safetensors, .pt, .pth.tar, .ckpt, ...); null: train it first, "
        "see `teacher`, or take those of the `.nir` file.",
    )
    nir: NirSpec | None = Field(None, description="How the neurons of a `.nir` file are read.")

    @property
    def trained(self) -> str | None:
        """The file with the network's weights, where they are not to be trained."""
        return self.builder if self.weights is None and self.is_nir else self.weights

    @property
    def is_nir(self) -> bool:
        """Whether the network is a `.nir` file."""
        return is_nir_file(self.builder)

    @model_validator(mode="after")
    def _options_have_a_file(self) -> ModelSpec:
        if self.nir is not None and not self.is_nir:
            message = f"is for networks from a `.nir` file (the builder is {self.builder!r})"
            raise RuleError(message, hint="delete it, or name the file: builder: path/to/net.nir", field="nir")
        return self


class OptimizerSpec(RecipeSection):
    """The optimizer of a training."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="Which optimizer.")
    lr: float = Field(5e-4, gt=0, description="Learning rate at the start.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay.")
    momentum: Annotated[float, ReadWhere("name is sgd", lambda given: given["name"] == "sgd")] = Field(
        0.9, ge=0, lt=1, description="Momentum; only sgd has it."
    )


class TeacherSpec(RecipeSection):
    """Training of the float network, used only where there are no weights."""

    epochs: int = Field(20, ge=1, description="Passes over the training data.")
    optimizer: OptimizerSpec = Field(OptimizerSpec(lr=2e-3), description="The teacher's optimizer.")
    time_steps: StepCounts | None = Field(
        None,
        description="Numbers of steps that the network is trained for at once, so that students of each begin with "
        "weights that serve it; the last is that of `data`. null: that alone.",
    )
    autocast: Literal["none", "bfloat16"] = Field(
        "none",
        description="What convolutions and products are computed in during its training; `bfloat16` is faster where "
        "the device has it. Validation and everything after stay float32.",
    )


class NormStatisticsSpec(RecipeSection):
    """What a student's batch norms do in its training: until they are frozen they follow the batches."""

    freeze_after: int | None = Field(
        None,
        ge=0,
        description="Epochs after which training uses the running mean and variance, as evaluation does, and moves "
        "them no more; gain and offset are still trained. 0: from the start; null: never.",
    )
    remeasure: Annotated[
        int, ReadWhere("freeze_after is null or above 0", lambda given: given["freeze_after"] != 0)
    ] = Field(
        8,
        ge=0,
        description="The last batches of each epoch over which mean and variance of a student's batch norms are "
        "measured anew before it is validated and kept, unless they are frozen. 0: the running averages, which lag "
        "behind weights of few bits.",
    )


class TrainSpec(RecipeSection):
    """How the student is trained; all but `optimizer` and `batch_norm` holds for the teacher too."""

    optimizer: Annotated[OptimizerSpec, ReadBy(Stage.DISTILL)] = Field(
        OptimizerSpec(), description="The student's optimizer."
    )
    schedule: Literal["cosine", "constant"] = Field("cosine", description="How the learning rate goes to its end.")
    grad_clip: float | None = Field(1.0, gt=0, description="Largest norm of the gradient; null: not limited.")
    patience: int | None = Field(
        None, ge=1, description="Epochs without a better validation after which training ends; null: it never does."
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of a moving average of the weights, which is validated and kept in their place; null: none.",
    )
    batch_norm: Annotated[NormStatisticsSpec, ReadBy(Stage.DISTILL)] = Field(
        NormStatisticsSpec(), description="Statistics of the student's batch norms."
    )
    deterministic: bool = Field(
        True,
        description="Whether a training on a GPU ends in the same bits each time; false: it takes the algorithms that "
        "it finds the fastest. On a CPU each training repeats.",
    )
    checkpoint_every: Annotated[int, ReadBy()] = Field(  # where a training can go on, not where it ends
        50,
        ge=1,
        description="Steps after which the state of a training is written, besides at the end of each epoch: a "
        "kill loses no more. Those of large networks are large: hundreds on a GPU.",
    )


class Recipe(RecipeSection):
    """Everything that decides the result, except the network's own structure."""

    model_config = ConfigDict(title="recipe")

    name: Annotated[RunName, ReadBy()] = Field(description="The recipe's name, and that of its folder: runs/<name>.")
    summary: Annotated[str, ReadBy()] = Field("", description="One sentence for people.")
    model: Annotated[ModelSpec | None, ReadBy(Stage.QUANTIZE)] = Field(
        None, description="The float network; --model and --weights win over it."
    )
    quantize: Annotated[QuantizeSpec, ReadBy(Stage.QUANTIZE)] = Field(
        QuantizeSpec(), description="How each part of the network is quantized."
    )
    calibrate: Annotated[CalibrateSpec, ReadBy(Stage.QUANTIZE)] = Field(
        CalibrateSpec(), description="How scales are found from data when the network is quantized."
    )
    teacher: Annotated[TeacherSpec, ReadBy(Stage.TRAIN)] = Field(
        TeacherSpec(), description="Training of the float network, where it has no weights."
    )
    distill: Annotated[DistillSpec, ReadBy(Stage.DISTILL)] = Field(
        DistillSpec(), description="Training of the quantized student under the float teacher."
    )
    data: Annotated[DataSpec, ReadBy(Stage.TRAIN, Stage.QUANTIZE, Stage.DISTILL, Stage.EXPORT)] = Field(
        DataSpec(), description="What it is trained, calibrated and tested on."
    )
    train: Annotated[TrainSpec, ReadBy(Stage.TRAIN, Stage.DISTILL)] = Field(
        TrainSpec(), description="How the student is trained."
    )
    seed: Annotated[int, ReadBy(Stage.TRAIN, Stage.QUANTIZE, Stage.DISTILL)] = Field(
        0, ge=0, le=2**32 - 1, description="Start of all random numbers."
    )
    threads: Annotated[int | None, ReadBy(Stage.TRAIN, Stage.QUANTIZE, Stage.DISTILL)] = Field(
        None,
        ge=1,
        description="Threads that torch computes with on a CPU; with another number a training ends elsewhere. null: 1 "
        "where a batch takes fewer than 10^9 multiply-adds, which more threads make no faster; else as many as torch "
        "takes (the cores, or OMP_NUM_THREADS).",
    )

    @property
    def named_code(self) -> tuple[NamedCode, ...]:
        """All code that the recipe names by import path."""
        network = [] if self.model is None or self.model.is_nir else [NamedCode("model.builder", self.model.builder)]
        other = self.distill.teacher
        teacher = [] if other is None else [NamedCode("distill.teacher.builder", other.builder)]
        loaders = [NamedCode("data.name", self.data.name)] if ":" in self.data.name else []
        return (*network, *teacher, *loaders)

    @property
    def student_step_counts(self) -> tuple[int, ...]:
        """The numbers of steps that students are trained for, increasing."""
        return self.distill.time_steps or (self.data.time_steps,)

    @property
    def student_time_steps(self) -> int:
        """T of the student's calibration, test and export: the most it is trained for."""
        return max(self.student_step_counts)

    @field_validator("*")
    @classmethod
    def _no_key_is_idle(cls, value: object) -> object:
        for idle in value.idle_keys() if isinstance(value, RecipeSection) else ():
            raise RuleError(
                f"must be {idle.spelled_default}, as it has no effect: it is read only where {idle.where.words} "
                f"{seen(idle.value)}",
                hint=f"delete it, or see to it that {idle.where.words}",
                field=".".join(map(str, idle.path)),
            )
        return value

    @model_validator(mode="after")
    def _teacher_is_trained_for_all_steps(self) -> Recipe:
        steps = self.teacher.time_steps
        if steps is not None and steps[-1] != self.data.time_steps:
            raise RuleError(
                f"must end with data.time_steps, {self.data.time_steps}, which the teacher runs on (got {list(steps)})",
                hint=f"end the list with {self.data.time_steps}, or set data.time_steps to its last number",
                field="teacher.time_steps",
            )
        return self

    @model_validator(mode="after")
    def _teacher_sees_all_steps(self) -> Recipe:
        longest = max(self.distill.time_steps or (0,))
        if longest > self.data.time_steps:
            raise RuleError(
                f"must be at most data.time_steps, {self.data.time_steps}: the teacher sees no more (got {longest})",
                hint="leave the larger numbers out, or raise data.time_steps",
                field="distill.time_steps",
            )
        return self
