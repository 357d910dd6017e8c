"""What a student learns from and how it is trained towards it: the `distill` section of a recipe."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from intsnn.yaml.file import RuleError
from mdcompress.distances import DISTANCES_IN_WORDS, NORMALIZED, POOLED, Distance, Normalize, Pool
from mdcompress.recipe.keys import ReadBy, ReadWhere, RecipeSection
from mdcompress.recipe.values import (
    Counterparts,
    ImportPath,
    LayerTargets,
    LayerWeights,
    NeuronPatterns,
    StepCounts,
    WeightBits,
    as_tuple,
)
from mdcompress.runs.manifest import Stage

LossSteps = Literal["steps", "mean"]  # whether time is averaged before the loss or after it
Align = Literal["first_steps", "mean", "last_step"]
RateAlign = Literal["first_steps", "mean"]
RateUnit = Literal["neuron", "channel"]
Criterion = Literal["accuracy", "loss"]
Guard = Literal["accuracy", "none"]
RateOf = Literal["network", "operations", "layer"]
Reads = Literal["steps", "mean"]
Potential = Literal["before_reset", "after_reset"]


def _one_of(distances: tuple[Distance, ...]) -> str:
    return f"distance is {' or '.join(distances)}"


class TaskLossSpec(RecipeSection):
    """Cross-entropy with the labels."""

    weight: float = Field(1.0, ge=0, description="Factor of this loss in the sum.")
    on: LossSteps = Field(
        "mean", description="`steps`: the mean of each step's loss (TET); `mean`: the loss of the mean over steps."
    )


class LogitLossSpec(RecipeSection):
    """KL(teacher || student) * temperature^2 of the softened outputs."""

    weight: float = Field(4.0, ge=0, description="Factor of this loss in the sum.")
    temperature: float = Field(4.0, gt=0, description="What both logits are divided by before the softmax.")
    on: LossSteps = Field("mean", description="Whether each step's logits are compared, or their mean over steps.")


class LayerLossSpec(RecipeSection):
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
    """Distance between the membrane potentials of student and teacher."""

    weight: float = Field(1.0, ge=0, description="Factor of this loss in the sum.")
    epochs: int | None = Field(
        None,
        ge=1,
        description="How many epochs it counts in, from the first; null: all. After them, and where the epoch is "
        "chosen by loss, it has weight 0.",
    )
    potential: Potential = Field(
        "before_reset",
        description="Which potentials: those that are compared with the threshold, or `after_reset`, those that a "
        "neuron carries into the next step.",
    )
    distance: Distance = Field("mse", description=DISTANCES_IN_WORDS)
    pool: Annotated[Pool, ReadWhere(_one_of(POOLED), lambda given: given["distance"] in POOLED)] = Field(
        "channel", description=f"Whose potentials make one distribution of {' and '.join(f'`{d}`' for d in POOLED)}."
    )
    normalize: Annotated[Normalize, ReadWhere(_one_of(NORMALIZED), lambda given: given["distance"] in NORMALIZED)] = (
        Field(
            "threshold",
            description="What potentials are measured in: the threshold (a third of the teacher's spread where that is "
            "more), the teacher's spread, or as they are.",
        )
    )
    align: Align = Field(
        "first_steps",
        description="What is compared where the student has fewer steps: the teacher's first steps, the means over "
        "steps, or the last steps.",
    )


class RateLossSpec(LayerLossSpec):
    """Squared difference between the firing rates of student and teacher."""

    unit: RateUnit = Field("neuron", description="Whose rate: each neuron's, or each channel's.")
    align: RateAlign = Field(
        "mean",
        description="What is compared where the student has fewer steps: the teacher's rate over its first steps, or "
        "over all.",
    )


class SparsitySpec(LayerLossSpec):
    """Firing rates of the student above a target: fewer spikes, and the energy that they take."""

    weight: float = Field(
        1.0, ge=0, description="Factor of this loss in the sum: what a spike per neuron and step costs."
    )
    target: float = Field(0.0, ge=0, lt=1, description="The rate, in spikes per neuron and step, above which it costs.")
    per: RateOf = Field(
        "network",
        description="Whose rate: `network`, the one of all matched neurons together; `operations`, the same, but a "
        "spike counts as often as there are synaptic operations that it causes; `layer`, that of each layer.",
    )
    layer_targets: Annotated[LayerTargets, ReadWhere("per is layer", lambda given: given["per"] == "layer")] = Field(
        {}, description="Targets of single layers, by pattern as in `match`; a later one wins over it and `target`."
    )


class BitStage(RecipeSection):
    """A part of the training in which layers have more bits than planned."""

    epoch: int = Field(ge=0, description="How many epochs are done when it begins; the first stage begins at 0.")
    weight: WeightBits | None = Field(
        None, description="The least bits of a weight: layers with fewer have these for now; null: those planned."
    )
    membrane: int | None = Field(
        None, ge=2, le=16, description="The least bits of a membrane, likewise; null: those planned."
    )


class OtherTeacherSpec(RecipeSection):
    """Another network to learn from than the float network that becomes the student: any with the same classes."""

    builder: ImportPath = Field(
        description="Import path `module:function` of a function without arguments that returns the nn.Module."
    )
    weights: str | None = Field(
        None, description="Its checkpoint, as `model.weights`; null: as the function returns it."
    )
    reads: Reads = Field(
        "steps",
        description="What it is given of a batch: `steps`, all of it, [T, N, ...]; `mean`, the mean over the steps, "
        "[N, ...], as an ANN takes it.",
    )
    neurons: Counterparts = Field(
        {},
        description="Which of its neuron layers stands beside which of the student's, `student's name: its name`; one "
        "that is not named stands beside that of its own name.",
    )


class DistillSpec(RecipeSection):
    """Training of the quantized student: the sum of the losses that are not null."""

    epochs: int = Field(10, ge=0, description="Passes over the training data; 0: calibration only.")
    task: TaskLossSpec | None = Field(TaskLossSpec(), description="Cross-entropy with the labels; null: off.")
    logits: LogitLossSpec | None = Field(LogitLossSpec(), description="The teacher's outputs; null: off.")
    membrane: MembraneLossSpec | None = Field(
        MembraneLossSpec(), description="The teacher's membrane potentials; null: off."
    )
    rates: RateLossSpec | None = Field(None, description="The teacher's firing rates; null: off.")
    sparsity: SparsitySpec | None = Field(None, description="Firing rates above a target; null: off.")
    teacher: OtherTeacherSpec | None = Field(
        None,
        description="Another network to learn from; null: the float network itself, which the student is made of in "
        "any case.",
    )
    weights: Literal["train", "keep"] = Field(
        "train",
        description="What is trained: `train`, everything; `keep`, all but weights and their ranges, so that their "
        "integers stay as they were calibrated: gain and offset of batch norms, biases, ranges of membranes.",
    )
    best: Criterion = Field(
        "accuracy",
        description="The epoch that is kept: `accuracy`, the one of the highest on validation samples; `loss`, the one "
        "of the lowest sum of the losses above on them. Keep by loss what is to follow its teacher.",
    )
    guard: Annotated[Guard, ReadWhere("best is loss", lambda given: given["best"] == "loss")] = Field(
        "accuracy",
        description="`accuracy`: an epoch is not kept that is less accurate on validation samples than the calibrated "
        "student by more than chance; `none`: the lowest loss is kept, whatever the accuracy.",
    )
    time_steps: Annotated[StepCounts | None, ReadBy(Stage.QUANTIZE, Stage.DISTILL, Stage.EXPORT)] = Field(
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
    def _other_teacher_has_what_is_compared(self) -> DistillSpec:
        inner = [name for name in ("membrane", "rates") if getattr(self, name) is not None]
        if self.teacher is None:
            return self
        if self.teacher.reads == "mean" and inner:
            raise RuleError(
                "must be null where the other teacher reads the mean over the steps: an ANN has no membranes or spikes",
                hint=f"write `{inner[0]}: null`, and learn from its answers",
                field=inner[0],
            )
        if self.teacher.neurons and not inner:
            message = "must be empty where neither membranes nor rates are compared"
            raise RuleError(message, hint="delete it, or give `membrane` back", field="teacher.neurons")
        if self.logits is None and not inner:
            message = "must be null where nothing is learned from it: logits, membrane and rates are null"
            raise RuleError(message, hint="delete it, or give `logits` back", field="teacher")
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

    @model_validator(mode="after")
    def _has_a_loss_to_the_end(self) -> DistillSpec:
        if self.membrane is None or self.membrane.epochs is None:
            return self
        others = (self.task, self.logits, self.rates)
        if not any(section.weight for section in others if section is not None):
            raise RuleError(
                f"must be null where membranes are all that is learned from (got {self.membrane.epochs}): the epochs "
                "after it would have no loss",
                hint="leave it out, or give task, logits or rates a weight",
                field="membrane.epochs",
            )
        return self
