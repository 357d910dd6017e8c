"""What a recipe says besides the policies: network, data, teacher, distillation, training; and Recipe, the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from intsnn.yaml.file import RuleError, StrictModel
from mdcompress.data.names import DATA_SETS, DEFAULT_FOLDER, EVENT_SETS, Encoding
from mdcompress.recipe.calibrating import CalibrateSpec
from mdcompress.recipe.nir import NirSpec
from mdcompress.recipe.policies import QuantizeSpec
from mdcompress.recipe.values import (
    Builder,
    DataName,
    LayerWeights,
    NeuronPatterns,
    RunName,
    StepCounts,
    WeightBits,
    as_tuple,
    is_nir_file,
)

LossSteps = Literal["steps", "mean"]


class ModelSpec(StrictModel):
    """The float network."""

    builder: Builder = Field(
        description="Import path `module:function` of a function without arguments that returns the nn.Module, or a "
        "`.nir` file.",
    )
    weights: str | None = Field(
        None,
        description="Checkpoint of the float network (.safetensors, .pt); null: train it first, see `teacher`, or take "
        "those of the `.nir` file.",
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


class TaskLossSpec(StrictModel):
    """Cross-entropy with the labels."""

    weight: float = Field(1.0, ge=0, description="Factor of this loss in the sum.")
    on: LossSteps = Field(
        "mean", description="`steps`: the mean of each step's loss (TET); `mean`: the loss of the mean over steps."
    )


class LogitLossSpec(StrictModel):
    """KL(teacher || student) * temperature^2 of the softened outputs."""

    weight: float = Field(4.0, ge=0, description="Factor of this loss in the sum.")
    temperature: float = Field(4.0, gt=0, description="What both logits are divided by before the softmax.")
    on: LossSteps = Field("mean", description="Whether each step's logits are compared, or their mean over steps.")


class LayerLossSpec(StrictModel):
    """A loss that compares neuron layers one by one: what is common to those of membranes and of firing rates."""

    weight: float = Field(0.1, ge=0, description="Factor of this loss in the sum.")
    match: NeuronPatterns = Field(
        "**",
        description="Which neurons: names, globs, `re:` regular expressions, or `@stage_ends`, the last layer before "
        "each change of shape; each must match at least one.",
    )
    layer_weights: LayerWeights = Field(
        {},
        description="Weights of layers in the mean over layers, by pattern as in `match`; a later one wins, a layer "
        "that none matches has 1.",
    )

    @property
    def patterns(self) -> tuple[str, ...]:
        """`match` as a tuple."""
        return as_tuple(self.match)


class MembraneLossSpec(LayerLossSpec):
    """Distance between the membrane potentials of student and teacher, before reset."""

    weight: float = Field(1.0, ge=0, description="Factor of this loss in the sum.")
    distance: Literal["mse", "cosine", "firing", "emd", "moments"] = Field(
        "mse",
        description="Neuron by neuron `mse`, the mean squared difference, `cosine`, 1 - cosine similarity, or "
        "`firing`, the divergence of firing probabilities under a noisy threshold, which looks where spikes are "
        "decided; between distributions `emd`, the Earth Mover's distance, or `moments`, the divergence of fitted "
        "Gaussians.",
    )
    pool: Literal["channel", "layer"] = Field(
        "channel", description="Whose potentials make one distribution of `emd` and `moments`."
    )
    normalize: Literal["threshold", "variance", "none"] = Field(
        "threshold", description="What potentials are measured in: the threshold, the teacher's spread, or as they are."
    )
    align: Literal["first_steps", "mean", "last_step"] = Field(
        "first_steps",
        description="What is compared where the student has fewer steps: the teacher's first steps, the means over "
        "steps, or the last steps.",
    )


class RateLossSpec(LayerLossSpec):
    """Squared difference between the firing rates of student and teacher."""

    unit: Literal["neuron", "channel"] = Field("neuron", description="Whose rate: each neuron's, or each channel's.")
    align: Literal["first_steps", "mean"] = Field(
        "mean",
        description="What is compared where the student has fewer steps: the teacher's rate over its first steps, or "
        "over all.",
    )


class BitStage(StrictModel):
    """A part of the training in which layers have more bits than planned."""

    epoch: int = Field(ge=0, description="How many epochs are done when it begins; the first stage begins at 0.")
    weight: WeightBits | None = Field(
        None, description="The least bits of a weight: layers with fewer have these for now; null: those planned."
    )
    membrane: int | None = Field(
        None, ge=2, le=16, description="The least bits of a membrane, likewise; null: those planned."
    )


class DistillSpec(StrictModel):
    """Training of the quantized student: the sum of the losses that are not null."""

    epochs: int = Field(10, ge=0, description="Passes over the training data; 0: calibration only.")
    task: TaskLossSpec | None = Field(TaskLossSpec(), description="Cross-entropy with the labels; null: off.")
    logits: LogitLossSpec | None = Field(LogitLossSpec(), description="The teacher's outputs; null: off.")
    membrane: MembraneLossSpec | None = Field(
        MembraneLossSpec(), description="The teacher's membrane potentials; null: off."
    )
    rates: RateLossSpec | None = Field(None, description="The teacher's firing rates; null: off.")
    weights: Literal["train", "keep"] = Field(
        "train",
        description="What is trained: `train`, everything; `keep`, all but weights and their ranges, so that their "
        "integers stay as they were calibrated: gain and offset of batch norms, biases, ranges of membranes.",
    )
    best: Literal["accuracy", "loss"] = Field(
        "accuracy",
        description="The epoch that is kept: `accuracy`, the one of the highest on validation samples; `loss`, the one "
        "of the lowest sum of the losses above on them. Keep by loss what is to follow its teacher.",
    )
    time_steps: StepCounts | None = Field(
        None,
        description="Numbers of steps that students are trained for, under the one teacher; null: those of `data`.",
    )
    students: Literal["one", "each"] = Field(
        "one",
        description="`one` student is trained for all of time_steps at once; with `each` there is a student for each, "
        "in runs/<name>/T1, T2, ….",
    )
    gradual: tuple[BitStage, ...] = Field(
        (),
        description="Stages of falling bits, for example `[{epoch: 0, weight: 8}, {epoch: 3}]`; in the last one all "
        "layers must have the bits planned for them. The student is the best epoch of that one.",
    )

    @model_validator(mode="after")
    def _each_student_has_its_steps(self) -> DistillSpec:
        if self.students == "each" and self.time_steps is None:
            raise RuleError(
                "must be one where time_steps is null (got 'each')",
                hint="list the students' numbers of steps, for example `time_steps: [1, 2, 4]`",
                field="students",
            )
        return self

    @model_validator(mode="after")
    def _bits_fall(self) -> DistillSpec:
        starts = [stage.epoch for stage in self.gradual]
        if starts and self.weights == "keep":
            message = "must be empty where weights keep their integers: a stage fits their ranges anew"
            raise RuleError(message, hint="leave `gradual` out, or write `weights: train`", field="gradual")
        if starts and starts[0] != 0:
            message = f"must begin with a stage at epoch 0 (got {starts[0]})"
            raise RuleError(message, hint="write `epoch: 0` at the first", field="gradual")
        for before, after in pairwise(self.gradual):
            if after.epoch <= before.epoch:
                message = f"must have increasing epochs (got {before.epoch}, then {after.epoch})"
                raise RuleError(message, hint="sort the stages by epoch", field="gradual")
            for part in ("weight", "membrane"):
                bits = [getattr(stage, part) or 0 for stage in (before, after)]
                if bits[1] > bits[0]:
                    message = f"must have falling {part} bits (got {bits[0] or 'those planned'}, then {bits[1]})"
                    raise RuleError(message, hint="begin with the most bits", field="gradual")
        if starts and self.epochs and starts[-1] >= self.epochs:
            message = f"must reach its last stage before the end: epoch {starts[-1]} of {self.epochs}"
            raise RuleError(message, hint="begin it earlier, or train for more epochs", field="gradual")
        return self

    @model_validator(mode="after")
    def _has_a_loss(self) -> DistillSpec:
        sections = (self.task, self.logits, self.membrane, self.rates)
        if self.epochs and not any(section.weight for section in sections if section is not None):
            raise RuleError(
                "must have a loss: task, logits, membrane and rates are all null or of weight 0",
                hint="give one of them a weight, or set epochs to 0",
            )
        return self


class DataSpec(StrictModel):
    """What the network is trained, calibrated and tested on."""

    name: DataName = Field(
        "digits",
        description=f"A data set ({', '.join(DATA_SETS)}), or the import path of one's own loaders.",
    )
    time_steps: int = Field(4, ge=1, description="T: how many steps a sample is shown.")
    encoding: Encoding = Field(
        "direct",
        description="How an image becomes T frames: `direct` repeats it, `rate` draws spikes with the intensity as "
        "probability, `events` moves it before a simulated event camera; event sets are binned as they were recorded.",
    )
    batch_size: int = Field(64, ge=1, description="Samples in a batch.")
    calibration_samples: int = Field(512, ge=1, description="Training samples from which scales are found.")
    folder: str | None = Field(None, description=f"Where the data set's files lie; null: {DEFAULT_FOLDER}/.")

    @model_validator(mode="after")
    def _events_are_not_drawn(self) -> DataSpec:
        if self.encoding == "rate" and self.name in EVENT_SETS:
            message = f"must be direct or events for {self.name}, which is made of events (got 'rate')"
            raise RuleError(message, hint="write `events`", field="encoding")
        return self


class NormStatisticsSpec(StrictModel):
    """What a student's batch norms do in its training: until they are frozen they follow the batches."""

    freeze_after: int | None = Field(
        None,
        ge=0,
        description="Epochs after which training uses the running mean and variance, as evaluation does, and moves "
        "them no more; gain and offset are still trained. 0: from the start; null: never.",
    )
    remeasure: int = Field(
        8,
        ge=0,
        description="The last batches of each epoch over which mean and variance of a student's batch norms are "
        "measured anew before it is validated and kept, unless they are frozen. 0: the running averages, which lag "
        "behind weights of few bits.",
    )


class TrainSpec(StrictModel):
    """How the student is trained; all but `optimizer` and `batch_norm` holds for the teacher too."""

    optimizer: OptimizerSpec = Field(OptimizerSpec(), description="The student's optimizer.")
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
    batch_norm: NormStatisticsSpec = Field(NormStatisticsSpec(), description="Statistics of the student's batch norms.")


class Recipe(StrictModel):
    """Everything that decides the result, except the network's own structure."""

    model_config = ConfigDict(title="recipe")

    name: RunName = Field(description="The recipe's name, and that of its folder: runs/<name>.")
    summary: str = Field("", description="One sentence for people.")
    model: ModelSpec | None = Field(None, description="The float network; --model and --weights win over it.")
    quantize: QuantizeSpec = Field(QuantizeSpec(), description="How each part of the network is quantized.")
    calibrate: CalibrateSpec = Field(
        CalibrateSpec(), description="How scales are found from data when the network is quantized."
    )
    teacher: TeacherSpec = Field(TeacherSpec(), description="Training of the float network, where it has no weights.")
    distill: DistillSpec = Field(
        DistillSpec(), description="Training of the quantized student under the float teacher."
    )
    data: DataSpec = Field(DataSpec(), description="What it is trained, calibrated and tested on.")
    train: TrainSpec = Field(TrainSpec(), description="How the student is trained.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Start of all random numbers.")

    @property
    def student_step_counts(self) -> tuple[int, ...]:
        """The numbers of steps that students are trained for, increasing."""
        return self.distill.time_steps or (self.data.time_steps,)

    @property
    def student_time_steps(self) -> int:
        """T of the student's calibration, test and export: the most it is trained for."""
        return max(self.student_step_counts)

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
