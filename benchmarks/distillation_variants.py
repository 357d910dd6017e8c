"""What the ablation compares, and the small grid from which its settings are chosen. All are changes of a recipe.

A change is what `--set` takes, so that every row of the tables is a command:
`mdcompress run --recipe RECIPE --seed SEED --weights TEACHER --set CHANGE --set CHANGE …`, where TEACHER is what
`mdcompress train --recipe RECIPE --seed SEED --set data.name=benchmarks.experiment_data:…_teacher` wrote.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never, get_args

from benchmarks.experiment_store import Result
from benchmarks.experiment_students import TUNING, Task, key_of, setting_of
from mdcompress.recipe import load_recipe

Changes = tuple[str, ...]
Variant = Literal[
    "calibration only", "QAT", "+ logits", "+ membrane", "+ both", "rounding only", "rounding, + both", "near",
]  # fmt: skip
Field = Literal[
    "rate of many bits", "rate of QAT", "logits", "rate of + logits", "membrane", "rate of + membrane", "both",
    "rate of + both",
]  # fmt: skip

STUDENTS: tuple[Variant, ...] = ("calibration only", "QAT", "+ logits", "+ membrane", "+ both")
# the first and the last of them with nothing fitted but the ranges: every weight is rounded by itself
FROM_ROUNDING: tuple[Variant, ...] = ("rounding only", "rounding, + both")
# both parts, and membranes that count ten times: in the loss, and in which epoch is kept
NEAR: Variant = "near"
NEARER = (
    "train.optimizer.lr=2e-3", "distill.membrane.distance=mse", "distill.membrane.weight=10", "distill.best=loss",
    "distill.guard=none",
)  # fmt: skip
KEPT_WEIGHTS = ("distill.weights=keep", "train.batch_norm.freeze_after=0")  # at many bits
ROUNDING = ("calibrate.weights=nearest", "calibrate.statistics=keep", "calibrate.offsets=keep")
EVERY: tuple[Variant, ...] = (*STUDENTS, *FROM_ROUNDING, NEAR)
TEACHER, CONTROL = "teacher", "teacher, trained on"
FEW_BITS_CONTROL = "teacher, trained on at the rate of few bits"  # where QAT has another there

NO_LOGITS, NO_MEMBRANE = "distill.logits=null", "distill.membrane=null"
MEMBRANE_WEIGHT, LOGITS_WEIGHT = "distill.membrane.weight=", "distill.logits.weight="
FEW_BITS = ("2bit", "ternary")  # settings whose variants have each a learning rate; the others share another
RATES = (2e-4, 5e-4, 2e-3)
LOGIT_GRID = ((1.0, 4.0), (4.0, 4.0), (16.0, 4.0))  # weight, temperature
MEMBRANE_GRID = (
    ("mse", 0.1),
    ("mse", 1.0),
    ("cosine", 1.0),
    ("firing", 0.1),
    ("moments", 0.1),  # its values are some ten times those of mse
)
# of the weights of membrane and logits that were chosen one without the other: each does part of the other's work
BOTH_FACTORS = ((0.1, 1.0), (0.3, 1.0), (1.0, 1.0))
TIE = 0.1  # points of mean accuracy on the samples for tuning that decide nothing


@dataclass(frozen=True)
class Choice:
    """The changes that tuning chose; empty: as the recipe says.

    many_bits_rate: of every training of such settings. few_bits_rates: of a variant at few bits; of QAT while it has
    none of its own. logits, membrane: of the part, tried alone. both: where both are on, after the others.
    """

    many_bits_rate: Changes = ()
    few_bits_rates: Mapping[Variant, Changes] = field(default_factory=dict)
    logits: Changes = ()
    membrane: Changes = ()
    both: Changes = ()

    def rate(self, setting: str, variant: Variant) -> Changes:
        """The learning rate of a variant at a setting; QAT's for one that has none of its own."""
        if setting not in FEW_BITS:
            return self.many_bits_rate
        return self.few_bits_rates.get(variant, self.few_bits_rates.get("QAT", ()))

    def changes(self, variant: Variant, setting: str) -> Changes:
        """What makes a recipe of a setting that variant."""
        rate = self.rate(setting, variant)
        match variant:
            case "calibration only":
                return ("distill.epochs=0",)
            case "QAT":
                return (*rate, NO_LOGITS, NO_MEMBRANE)
            case "+ logits":
                return (*rate, *self.logits, NO_MEMBRANE)
            case "+ membrane":
                return (*rate, NO_LOGITS, *self.membrane)
            case "+ both":
                return (*rate, *self.logits, *self.membrane, *self.both)
            case "rounding only":
                return (*ROUNDING, *self.changes("calibration only", setting))
            case "rounding, + both":
                return (*ROUNDING, *self.changes("+ both", setting))
            case "near" if setting in FEW_BITS:
                return NEARER
            case "near":
                return (*NEARER, *KEPT_WEIGHTS)
            case _:
                assert_never(variant)

    def scaled(self, membrane: float, logits: float) -> Changes:
        """The chosen weights of membrane and logits times factors; where none is chosen, those of the recipes."""
        weights = (
            (MEMBRANE_WEIGHT, _written(MEMBRANE_WEIGHT, self.membrane, default=1.0), membrane),
            (LOGITS_WEIGHT, _written(LOGITS_WEIGHT, self.logits, default=4.0), logits),
        )
        return tuple(f"{name}{weight * factor:g}" for name, weight, factor in weights)

    def deciding(self, decided: Field, changes: Changes) -> Choice:
        """This choice with one field decided."""
        match decided:
            case "rate of many bits":
                return replace(self, many_bits_rate=changes)
            case "logits":
                return replace(self, logits=changes)
            case "membrane":
                return replace(self, membrane=changes)
            case "both":
                return replace(self, both=changes)
            case "rate of QAT" | "rate of + logits" | "rate of + membrane" | "rate of + both":
                return replace(self, few_bits_rates={**self.few_bits_rates, _RATES_OF[decided]: changes})
            case _:
                assert_never(decided)


_RATES_OF: Mapping[Field, Variant] = {
    "rate of many bits": "QAT",
    "rate of QAT": "QAT",
    "rate of + logits": "+ logits",
    "rate of + membrane": "+ membrane",
    "rate of + both": "+ both",
}


def _written(name: str, changes: Changes, *, default: float) -> float:
    return next((float(change.removeprefix(name)) for change in changes if change.startswith(name)), default)


@dataclass(frozen=True)
class Stage:
    """One step of the search: candidates for a field of the choice, scored as a variant, all else as chosen so far."""

    field: Field
    variant: Variant
    candidates: tuple[Changes, ...]


FIELDS: tuple[Field, ...] = get_args(Field)


@dataclass(frozen=True)
class Tuned:
    """The recipes of a search and its seeds: the rate of many bits is chosen on some, the rest on those of few bits."""

    many_bits: tuple[str, ...]
    few_bits: tuple[str, ...]
    seeds: tuple[int, ...]

    def of(self, field: Field) -> tuple[str, ...]:
        """Those that decide a field."""
        return self.many_bits if field == "rate of many bits" else self.few_bits


def stage(decided: Field, chosen: Choice) -> Stage:
    """The candidates for a field; those for `both` follow from what was chosen for its parts."""
    match decided:
        case "rate of many bits" | "rate of QAT" | "rate of + logits" | "rate of + membrane" | "rate of + both":
            return Stage(decided, _RATES_OF[decided], tuple((f"train.optimizer.lr={rate:g}",) for rate in RATES))
        case "logits":
            pairs = ((f"{LOGITS_WEIGHT}{w:g}", f"distill.logits.temperature={t:g}") for w, t in LOGIT_GRID)
            return Stage(decided, "+ logits", tuple(pairs))
        case "membrane":
            pairs = ((f"distill.membrane.distance={d}", f"{MEMBRANE_WEIGHT}{w:g}") for d, w in MEMBRANE_GRID)
            return Stage(decided, "+ membrane", tuple(pairs))
        case "both":
            return Stage(decided, "+ both", tuple(chosen.scaled(*factors) for factors in BOTH_FACTORS))
        case _:
            assert_never(decided)


def tuning_tasks(step: Stage, chosen: Choice, tuned: Tuned, more: Changes) -> dict[Changes, tuple[Task, ...]]:
    """The students of each candidate: one for each recipe, on the samples that are there for tuning."""
    return {
        candidate: tuple(
            Task(
                "student",
                "tuning",
                recipe,
                " ".join(candidate),
                (
                    *more,
                    _tuning_data(recipe, more),
                    *chosen.deciding(step.field, candidate).changes(step.variant, _setting(recipe)),
                ),
            )
            for recipe in tuned.of(step.field)
        )
        for candidate in step.candidates
    }


def scores(
    tasks: Mapping[Changes, Sequence[Task]], seeds: Sequence[int], found: Mapping[str, Result]
) -> dict[Changes, float]:
    """Mean accuracy of each candidate over recipes and seeds, in percent; {} while one of their results is missing."""
    keys = {candidate: [key_of(task, seed) for task in each for seed in seeds] for candidate, each in tasks.items()}
    if any(key not in found for each in keys.values() for key in each):
        return {}
    return {candidate: statistics.fmean(found[key].accuracy for key in each) for candidate, each in keys.items()}


@dataclass(frozen=True)
class Decision:
    """What a stage of the search chose, and the scores of all its candidates."""

    step: Stage
    chosen: Changes
    scores: Mapping[Changes, float]


def decisions(tuned: Tuned, found: Mapping[str, Result], *, more: Changes = ()) -> tuple[Decision, ...]:
    """The stages whose results are all there, in their order.

    Chosen is the first candidate, which is the gentlest, of those less than TIE points under the best score.
    """
    made: list[Decision] = []
    for each in FIELDS:
        chosen = choice_of(made)
        step = stage(each, chosen)
        scored = scores(tuning_tasks(step, chosen, tuned, more), tuned.seeds, found)
        if not scored:
            break
        enough = max(scored.values()) - TIE
        made.append(Decision(step, next(each for each in step.candidates if scored[each] > enough), scored))
    return tuple(made)


def choice_of(made: Sequence[Decision]) -> Choice:
    """All that was decided."""
    chosen = Choice()
    for decision in made:
        chosen = chosen.deciding(decision.step.field, decision.chosen)
    return chosen


def ablation_tasks(recipes: Sequence[str], chosen: Choice, more: Changes) -> tuple[Task, ...]:
    """Teacher and controls of each data set, then every variant of every recipe.

    A control has the rate of QAT. Where that is another at few bits than at many, there is a control at each.
    """
    by_data: dict[str, list[str]] = {}
    for recipe in recipes:
        by_data.setdefault(load_recipe(recipe, changes=more).data.name, []).append(recipe)
    floats = [
        task
        for same in by_data.values()
        for task in (Task("teacher", "ablation", same[0], TEACHER, more), *_controls(same, chosen, more))
    ]
    students = [
        Task("student", "ablation", recipe, variant, (*more, *chosen.changes(variant, _setting(recipe))))
        for recipe in recipes
        for variant in EVERY
    ]
    return (*floats, *students)


def _controls(recipes: Sequence[str], chosen: Choice, more: Changes) -> tuple[Task, ...]:
    """Of one data set: under the first recipe of many bits, and under the first of few, where the rate is another."""
    few, many = ([each for each in recipes if (_setting(each) in FEW_BITS) is wanted][:1] for wanted in (True, False))
    firsts = [*many, *few]
    changes = [(*more, *chosen.rate(_setting(recipe), "QAT")) for recipe in firsts]
    trained = [load_recipe(recipe, changes=each).train for recipe, each in zip(firsts, changes, strict=True)]
    wanted = zip(firsts, changes, trained, (CONTROL, FEW_BITS_CONTROL), strict=False)
    return tuple(
        Task("control", "ablation", recipe, variant, each)
        for recipe, each, train, variant in wanted
        if variant == CONTROL or train != trained[0]
    )


def _setting(recipe: str) -> str:
    return setting_of(load_recipe(recipe))


def _tuning_data(recipe: str, more: Changes) -> str:
    return f"data.name={load_recipe(recipe, changes=more).data.name}{TUNING}"
