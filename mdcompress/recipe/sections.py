"""What a recipe says besides the policies: network, data, teacher, distillation, training; and Recipe, the whole."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from intsnn.yamlfile import RuleError, StrictModel
from mdcompress.patterns import check_pattern
from mdcompress.recipe.policies import QuantizeSpec

IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
DATA_NAME = r"[a-z0-9_]+"
RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # also a folder's name, on every file system


def _import_path(value: str) -> str:
    if not re.fullmatch(IMPORT_PATH, value, re.ASCII):
        hint = "write it as in `mdcompress.zoo:digits_snn`"
        raise RuleError(f"must be an import path `module:function` (got {value!r})", hint=hint)
    return value


def _data_name(value: str) -> str:
    if not re.fullmatch(f"{DATA_NAME}|{IMPORT_PATH}", value, re.ASCII):
        message = f"must be the name of a data set or an import path `module:function` (got {value!r})"
        raise RuleError(message, hint="write it as in `cifar10` or `my_package.data:loaders`")
    return value


def _run_name(value: str) -> str:
    if not re.fullmatch(RUN_NAME, value, re.ASCII):
        message = f"must be letters, digits, `.`, `_` and `-`, as it names a folder (got {value!r})"
        raise RuleError(message, hint="write it as in `4bit`")
    return value


LossSteps = Literal["steps", "mean"]


class ModelSpec(StrictModel):
    """The float network."""

    builder: Annotated[str, AfterValidator(_import_path)] = Field(
        description="Import path `module:function` of a function without arguments that returns the nn.Module.",
    )
    weights: str | None = Field(
        None, description="Checkpoint of the float network (.safetensors, .pt); null: train it first, see `teacher`."
    )


class OptimizerSpec(StrictModel):
    """The optimizer of a training."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="Which optimizer.")
    lr: float = Field(5e-4, gt=0, description="Learning rate at the start.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum; only sgd has it.")


class TeacherSpec(StrictModel):
    """Training of the float network, used only where there are no weights."""

    epochs: int = Field(20, ge=1, description="Passes over the training data.")
    optimizer: OptimizerSpec = Field(OptimizerSpec(lr=2e-3), description="The teacher's optimizer.")


class TaskLossSpec(StrictModel):
    """Cross-entropy with the labels."""

    weight: float = Field(1.0, ge=0, description="Factor of this loss in the sum.")
    on: LossSteps = Field(
        "mean", description="`steps`: the mean of each step's loss (TET); `mean`: the loss of the mean over steps."
    )


class LogitLossSpec(StrictModel):
    """KL(teacher || student) * temperature^2 of the softened outputs."""

    weight: float = Field(1.0, ge=0, description="Factor of this loss in the sum.")
    temperature: float = Field(4.0, gt=0, description="What both logits are divided by before the softmax.")
    on: LossSteps = Field("mean", description="Whether each step's logits are compared, or their mean over steps.")


def _neuron_patterns(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    for pattern in (value,) if isinstance(value, str) else value:
        check_pattern(pattern, roles=())
    if not value:
        raise RuleError("must name at least one neuron (got an empty list)", hint="write `**` for all of them")
    return value


class MembraneLossSpec(StrictModel):
    """Distance between the membrane potentials of student and teacher, before reset."""

    weight: float = Field(0.1, ge=0, description="Factor of this loss in the sum.")
    match: Annotated[str | tuple[str, ...], AfterValidator(_neuron_patterns)] = Field(
        "**", description="Which neurons: names, globs or `re:` regular expressions; each must match at least one."
    )
    distance: Literal["mse", "cosine"] = Field("mse", description="Mean squared difference, or 1 - cosine similarity.")
    normalize: Literal["threshold", "variance", "none"] = Field(
        "threshold", description="What potentials are measured in: the threshold, the teacher's spread, or as they are."
    )
    align: Literal["first_steps", "mean", "last_step"] = Field(
        "first_steps",
        description="What is compared where the student has fewer steps: the teacher's first steps, the means over "
        "steps, or the last steps.",
    )


def _increasing(value: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if value is not None and list(value) != sorted(set(value)):
        raise RuleError(f"must increase, each number once (got {list(value)})", hint="sort the list")
    return value


class DistillSpec(StrictModel):
    """Training of the quantized student: the sum of the losses that are not null."""

    epochs: int = Field(10, ge=0, description="Passes over the training data; 0: calibration only.")
    task: TaskLossSpec | None = Field(TaskLossSpec(), description="Cross-entropy with the labels; null: off.")
    logits: LogitLossSpec | None = Field(LogitLossSpec(), description="The teacher's outputs; null: off.")
    membrane: MembraneLossSpec | None = Field(
        MembraneLossSpec(), description="The teacher's membrane potentials; null: off."
    )
    time_steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, AfterValidator(_increasing)] = Field(
        None,
        min_length=1,
        description="Numbers of steps that the student is trained for in turn, under the one teacher; null: those of "
        "`data`.",
    )

    @model_validator(mode="after")
    def _has_a_loss(self) -> DistillSpec:
        weights = [section.weight for section in (self.task, self.logits, self.membrane) if section is not None]
        if self.epochs and not any(weights):
            raise RuleError(
                "must have a loss: task, logits and membrane are all null or of weight 0",
                hint="give one of them a weight, or set epochs to 0",
            )
        return self


class DataSpec(StrictModel):
    """What the network is trained, calibrated and tested on."""

    name: Annotated[str, AfterValidator(_data_name)] = Field(
        "digits",
        description="A data set by name (digits is shipped), or the import path `module:function` of one's own.",
    )
    time_steps: int = Field(4, ge=1, description="T: how many steps a sample is shown.")
    encoding: Literal["direct", "rate", "events"] = Field(
        "direct",
        description="How an image becomes T frames: `direct` repeats it, `rate` draws spikes with the intensity as "
        "probability, `events` moves it before a simulated event camera.",
    )
    batch_size: int = Field(64, ge=1, description="Samples in a batch.")
    calibration_samples: int = Field(512, ge=1, description="Training samples from which scales are found.")
    folder: str | None = Field(None, description="Where the data set's files lie; not needed by digits.")


class TrainSpec(StrictModel):
    """How the student is trained."""

    optimizer: OptimizerSpec = Field(OptimizerSpec(), description="The student's optimizer.")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="How the learning rate goes to its end.")
    grad_clip: float | None = Field(1.0, gt=0, description="Largest norm of the gradient; null: not limited.")


class Recipe(StrictModel):
    """Everything that decides the result, except the network's own structure."""

    model_config = ConfigDict(title="recipe")

    name: Annotated[str, AfterValidator(_run_name)] = Field(
        description="The recipe's name, and that of its folder: runs/<name>."
    )
    summary: str = Field("", description="One sentence for people.")
    model: ModelSpec | None = Field(None, description="The float network; --model and --weights win over it.")
    quantize: QuantizeSpec = Field(QuantizeSpec(), description="How each part of the network is quantized.")
    teacher: TeacherSpec = Field(TeacherSpec(), description="Training of the float network, where it has no weights.")
    distill: DistillSpec = Field(
        DistillSpec(), description="Training of the quantized student under the float teacher."
    )
    data: DataSpec = Field(DataSpec(), description="What it is trained, calibrated and tested on.")
    train: TrainSpec = Field(TrainSpec(), description="How the student is trained.")
    seed: int = Field(0, ge=0, lt=2**32, description="Start of all random numbers.")

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
