"""A recipe and its changes -> a teacher or student of one seed, trained, measured and stored as a Result.

The teacher of a seed is trained once and kept in the work folder; a training that was killed goes on from its
checkpoint there. All of it is deterministic: a file that was deleted comes back the same on the same machine.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, assert_never

from torch import Tensor, nn

import mdcompress as md
from benchmarks.experiment_costs import costs
from benchmarks.experiment_exports import exported
from benchmarks.experiment_store import Layer, Result, Store, digest, machine, packed
from mdcompress.data import Batch, Batches, DataSplits, calibration, load_data
from mdcompress.evaluation import evaluate
from mdcompress.evaluation.mismatch import LayerMismatch, mean_membrane, measure_mismatch
from mdcompress.pipeline.networks import seeded
from mdcompress.recipe import DataSpec, Recipe, TeacherSpec, TrainSpec, dump_recipe, load_recipe
from mdcompress.student import Student
from mdcompress.student.weights import load_weights, save_weights
from mdcompress.tracing import trace
from mdcompress.training import teacher_settings
from mdcompress.trust import GIVEN
from mdcompress.zoo.builders import build_network

Kind = Literal["teacher", "control", "student"]
Part = Literal["validation", "test"]
TUNING = "_tuning"  # ends the name of a loader whose test part is of the training part
OF_TEACHER = "_teacher"  # ends the name of a loader that has more training samples
_NEWER_DATA = {  # keys of `data` that are newer than the stored results -> their lines where they change nothing
    "size": "  size: null",
    "cache": "  cache: false",
    "augment": "  augment: {crop: 0, flip: false, cutout: 0, roll: 0, drop: 0.0}",
    "workers": "  workers: 0",
    "pin_memory": "  pin_memory: false",
}
_NEWER_MEMBRANE = ("    epochs: null", "    potential: before_reset")  # likewise of `distill.membrane`
_NEWER_TRAIN = {"deterministic": "  deterministic: true", "checkpoint_every": "  checkpoint_every: 50"}  # likewise


@dataclass(frozen=True)
class Task:
    """One network to train and measure.

    Attributes:
        kind: a student; a teacher; or a control, the teacher trained on for as many epochs as a student.
        experiment: what it is part of.
        recipe: a recipe's path, or the name of a shipped one.
        variant: what the tables call it.
        changes: of the recipe, as `--set` takes them.
        input_steps: teacher and student see the first so many steps of each sample; None: all.
        costs: what of an inference is measured besides (experiment_costs.py); empty: nothing.
        compared: so many test samples are compared with the exported graph at least, whole batches; None: all.
        mismatch: the parts on which a student's membranes are held against the teacher's.
        plan: digest of the plan that was fixed before the test part was read; None: there is none.
    """

    kind: Kind
    experiment: str
    recipe: str
    variant: str
    changes: tuple[str, ...] = ()
    input_steps: int | None = None
    costs: tuple[str, ...] = ()
    compared: int | None = None
    mismatch: tuple[Part, ...] = ("validation", "test")
    plan: str | None = None

    def of_seed(self, seed: int) -> Recipe:
        """The recipe with its changes and a seed."""
        path = Path(self.recipe)
        written = path.read_text("utf-8") if path.is_file() else ""  # a shipped recipe's name
        return _changed(self.recipe, self.changes, written).model_copy(update={"seed": seed})


@cache
def _changed(recipe: str, changes: tuple[str, ...], written: str) -> Recipe:
    """The recipe with its changes; `written` is its text, so that another one is read anew."""
    return load_recipe(recipe, changes=changes)


@dataclass(frozen=True)
class Workplace:
    """Where experiments run: their data, files that need not be kept, results, device."""

    data_folder: Path | None
    work: Path
    store: Store
    device: str = "cpu"


def group_of(recipe: Recipe) -> str:
    """What shares a teacher: `cifar10` for `benchmarks.experiment_data:cifar10`."""
    return recipe.data.name.rpartition(":")[2]


def setting_of(recipe: Recipe) -> str:
    """The bits: `4bit` for the recipe `cifar10_4bit`."""
    return recipe.name.removeprefix(f"{group_of(recipe).removesuffix(TUNING)}_")


def key_of(task: Task, seed: int) -> str:
    """The key under which the store has the task's result: a digest of all that decides it."""
    recipe = task.of_seed(seed)
    match task.kind:
        case "teacher":
            return _teacher_key(recipe, task.input_steps)
        case "control":
            training = (_training_text(recipe.train), str(recipe.distill.epochs))
            return digest("control", _teacher_key(recipe, task.input_steps), *training)
        case "student":
            texts = (_without_newer_keys(dump_recipe(_without_words(recipe))), *code_of(recipe))
            return digest("student", *texts, str(task.input_steps))
        case _:
            assert_never(task.kind)


def measure(task: Task, seed: int, place: Workplace, splits: DataSplits) -> Result:
    """Train the network and measure it."""
    match task.kind:
        case "teacher":
            return _teacher_result(task, seed, place, splits)
        case "control":
            return _control_result(task, seed, place, splits)
        case "student":
            return _student_result(task, seed, place, splits)
        case _:
            assert_never(task.kind)


def teachers_recipe(recipe: Recipe) -> Recipe:
    """The recipe with the data its teacher is trained on: those of `<group>_teacher`, if there is such a loader.

    `nmnist_less` and `nmnist_same` share `nmnist_teacher`, where neither has one of its own. It is a recipe's
    `data.name` because a user has the same two steps: `mdcompress run` of a recipe on much data trains and keeps a
    network, and another on little data takes it by `--weights`.
    """
    module, _, function = recipe.data.name.rpartition(":")
    if not module:
        return recipe
    group = function.removesuffix(TUNING)
    names = (f"{each}{OF_TEACHER}" for each in (group, group.rpartition("_")[0]))
    name = next((each for each in names if hasattr(importlib.import_module(module), each)), None)
    if name is None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"name": f"{module}:{name}"})})


def _teacher_key(recipe: Recipe, input_steps: int | None) -> str:
    """Digest of network, data, the teacher's training, seed; the student's optimizer and norms have no part."""
    plain = _without_words(teachers_recipe(recipe))
    assert plain.model is not None
    training = teacher_settings(plain.teacher, plain.train)
    others = (plain.teacher.model_dump_json(), _training_text(training))
    texts = (plain.model.model_dump_json(), _data_text(plain.data), *others)
    return digest("teacher", *texts, *code_of(recipe), str(plain.seed), str(input_steps))


def code_of(recipe: Recipe) -> tuple[str, ...]:
    """The code of the modules that the recipe names for network and data, without comments and docstrings.

    Sizes and options stand there: with others, a stored result is that of another experiment.
    """
    assert recipe.model is not None
    return tuple(_code(path.partition(":")[0]) for path in (recipe.model.builder, recipe.data.name) if ":" in path)


def _without_newer_keys(written: str) -> str:
    """A recipe's text without the lines of keys that are newer than the stored results, where they change nothing.

    By loss that is `guard: none`: an epoch was kept whatever its accuracy. By accuracy the guard has no effect.
    """
    newer = [
        "threads: null",
        "  guard: none",
        "  sparsity: null",
        "  teacher: null",
        *_NEWER_DATA.values(),
        *_NEWER_TRAIN.values(),
        *_NEWER_MEMBRANE,
        *(["  guard: accuracy"] if "  best: accuracy\n" in written else []),
    ]
    return "".join(line for line in written.splitlines(keepends=True) if line.rstrip("\n") not in newer)


def _data_text(data: DataSpec) -> str:
    """The section as JSON, likewise without newer keys."""
    return _without_defaults(data, DataSpec(name=data.name), _NEWER_DATA)


def _training_text(training: TrainSpec) -> str:
    """Likewise of a training."""
    return _without_defaults(training, TrainSpec(), _NEWER_TRAIN)


def _without_defaults(section: DataSpec | TrainSpec, usual: DataSpec | TrainSpec, newer: Iterable[str]) -> str:
    return section.model_dump_json(exclude={key for key in newer if getattr(section, key) == getattr(usual, key)})


def _code(module: str) -> str:
    return _without_comments(inspect.getsource(importlib.import_module(module)))


@cache
def _without_comments(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def _without_words(recipe: Recipe) -> Recipe:
    """The recipe without what decides nothing: its summary, and where the data lie."""
    return recipe.model_copy(update={"summary": "", "data": recipe.data.model_copy(update={"folder": None})})


def load_splits(recipe: Recipe, place: Workplace, *, input_steps: int | None) -> DataSplits:
    """The recipe's data, cut to the first `input_steps` steps."""
    splits = load_data(recipe.data, seed=recipe.seed, folder=place.data_folder, consent=GIVEN)
    if input_steps is None:
        return splits
    return replace(
        splits,
        train=FirstSteps(splits.train, input_steps),
        validation=FirstSteps(splits.validation, input_steps),
        test=FirstSteps(splits.test, input_steps),
    )


@dataclass(frozen=True)
class Opened:
    """Recipes of one data set by path, with a seed, their data, and their trained float network."""

    recipes: Mapping[str, Recipe]
    splits: DataSplits
    teacher: nn.Module


def opened(paths: Sequence[str], seed: int, place: Workplace, changes: Sequence[str] = ()) -> Opened:
    """Data are read, and the network is trained, for the first recipe: the others have the same."""
    recipes = {path: load_recipe(path, changes=[f"seed={seed}", *changes]) for path in paths}
    first = recipes[paths[0]]
    splits = load_splits(first, place, input_steps=None)
    return Opened(recipes, splits, teacher_network(first, place, input_steps=None))


@dataclass(frozen=True)
class FirstSteps:
    """Batches whose samples end after `steps` steps: x [T, N, ...] -> x[:steps]."""

    whole: Batches
    steps: int

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.whole)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the current epoch."""
        for x, y in self.whole:
            yield x[: self.steps], y

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next walk."""
        self.whole.set_epoch(epoch)

    def first(self, samples: int, *, seed: int) -> FirstSteps:
        """At most `samples` of the samples, in an order that no epoch changes."""
        return FirstSteps(self.whole.first(samples, seed=seed), self.steps)


# ---------------------------------------------------------------------- teachers


def teacher_network(recipe: Recipe, place: Workplace, *, input_steps: int | None) -> nn.Module:
    """The trained float network, from the work folder or trained and put there."""
    path = place.work / f"teacher-{_teacher_key(recipe, input_steps)}.safetensors"
    network = _fresh(recipe)
    if not path.exists():
        splits = load_splits(teachers_recipe(recipe), place, input_steps=input_steps)
        _trained(network, recipe, splits, place, spec=recipe.teacher, path=path)
    load_weights(network, path)
    return network.to(place.device).eval()


def _teacher_result(task: Task, seed: int, place: Workplace, splits: DataSplits) -> Result:
    started, recipe = time.monotonic(), task.of_seed(seed)
    network = teacher_network(recipe, place, input_steps=task.input_steps)
    return _float_result(task, recipe, network, splits, place=place, started=started)


def _control_result(task: Task, seed: int, place: Workplace, splits: DataSplits) -> Result:
    """The teacher after as many more epochs as a student has, with a student's optimizer and schedule."""
    started, recipe = time.monotonic(), task.of_seed(seed)
    network = teacher_network(recipe, place, input_steps=task.input_steps)
    if recipe.distill.epochs:
        spec = TeacherSpec(epochs=recipe.distill.epochs, optimizer=recipe.train.optimizer)
        path = place.work / f"control-{key_of(task, seed)}.safetensors"
        _trained(network, recipe, splits, place, spec=spec, path=path)
        path.unlink()
    return _float_result(task, recipe, network, splits, place=place, started=started)


def _fresh(recipe: Recipe) -> nn.Module:
    assert recipe.model is not None
    with seeded(recipe.seed):
        return build_network(recipe.model.builder, consent=GIVEN)


def _trained(
    network: nn.Module, recipe: Recipe, splits: DataSplits, place: Workplace, *, spec: TeacherSpec, path: Path
) -> None:
    """Train in place, resumably, and write the weights to `path`."""
    place.work.mkdir(parents=True, exist_ok=True)
    checkpoint = path.with_suffix(".checkpoint")
    md.train_network(
        network, train=splits.train, validate=splits.validation, spec=spec, settings=recipe.train, seed=recipe.seed,
        checkpoint=checkpoint, device=place.device,
    )  # fmt: skip
    save_weights(network, path)
    checkpoint.unlink()


def _float_result(
    task: Task, recipe: Recipe, network: nn.Module, splits: DataSplits, *, place: Workplace, started: float
) -> Result:
    samples = _calibration_samples(recipe, splits, place)
    at = {steps: _at_steps(network, samples, steps) for steps in recipe.teacher.time_steps or (len(samples[0]),)}
    validation, test = (
        {each: 100 * evaluate(own, part, time_steps=each).accuracy for each, own in at.items()}
        for part in (splits.validation, splits.test)
    )
    return Result(
        key=key_of(task, recipe.seed),
        experiment=task.experiment,
        group=group_of(recipe),
        setting="float",
        variant=task.variant,
        seed=recipe.seed,
        changes=task.changes,
        validation=validation,
        test=test,
        seconds=time.monotonic() - started,
        machine=machine(place.device),
        plan=task.plan,
    )


# ---------------------------------------------------------------------- students


def _student_result(task: Task, seed: int, place: Workplace, splits: DataSplits) -> Result:
    """Calibrate and distil one student, and measure it; its layers and its export too, unless settings are tuned."""
    started, recipe = time.monotonic(), task.of_seed(seed)
    key, steps = key_of(task, seed), recipe.student_step_counts
    teacher = teacher_network(recipe, place, input_steps=task.input_steps)
    student = calibrated(recipe, teacher, splits, place)
    tuned = group_of(recipe).endswith(TUNING)
    beside = _at_steps(teacher, _calibration_samples(recipe, splits, place), recipe.student_time_steps)
    parts = {} if tuned else {part: getattr(splits, part) for part in task.mismatch}
    before = {name: _mismatch(recipe, student, beside, part) for name, part in parts.items()}
    _distilled(student, teacher, recipe, splits, place, key=key)
    longest = recipe.student_time_steps
    scored = steps if tuned else tuple(each for each in steps if each != longest)
    test = {each: 100 * evaluate(student, splits.test, time_steps=each).accuracy for each in scored}
    exact = None if tuned else exported(student, splits.test, steps=longest, compared=task.compared)
    after = {name: _mismatch(recipe, student, beside, part) for name, part in parts.items()}
    return Result(
        key=key,
        experiment=task.experiment,
        group=group_of(recipe),
        setting=setting_of(recipe),
        variant=task.variant,
        seed=seed,
        changes=task.changes,
        validation={each: 100 * evaluate(student, splits.validation, time_steps=each).accuracy for each in steps},
        test=test if exact is None else {**test, longest: exact.accuracy},
        seconds=time.monotonic() - started,
        machine=machine(place.device),
        layers=_layers(before["validation"], after["validation"]) if "validation" in parts else None,
        exactness=None if exact is None else exact.exactness,
        test_mismatch=(mean_membrane(before["test"]), mean_membrane(after["test"])) if "test" in parts else None,
        costs=costs(student, splits.test, steps=longest, names=task.costs) if task.costs else None,
        right=None if exact is None else packed(exact.right),
        plan=task.plan,
    )


def calibrated(recipe: Recipe, teacher: nn.Module, splits: DataSplits, place: Workplace) -> Student:
    """The quantized network with its scales from training samples, not trained."""
    samples = _calibration_samples(recipe, splits, place)
    with seeded(recipe.seed):
        return md.compress(teacher, samples[0][:, :2], recipe, [x[: recipe.student_time_steps] for x in samples])


def _at_steps(network: nn.Module, samples: list[Tensor], steps: int) -> nn.Module:
    """A float network at T = `steps`, as `mdcompress.pipeline.networks.at_steps` has it; `samples` at all steps."""
    return network if steps == len(samples[0]) else md.with_statistics(network, [x[:steps] for x in samples])


def _calibration_samples(recipe: Recipe, splits: DataSplits, place: Workplace) -> list[Tensor]:
    """x [T, N, ...] each, on the device; T is that of the data."""
    samples = calibration(splits, recipe.data.calibration_samples, seed=recipe.seed)
    return [x.to(place.device) for x, _ in samples]


def _distilled(
    student: Student, teacher: nn.Module, recipe: Recipe, splits: DataSplits, place: Workplace, *, key: str
) -> None:
    """Train in place, resumably; the checkpoint is deleted at the end."""
    place.work.mkdir(parents=True, exist_ok=True)
    checkpoint = place.work / f"student-{key}.checkpoint"
    md.distill(
        student, teacher=teacher, train=splits.train, validate=splits.validation, spec=recipe.distill,
        settings=recipe.train, seed=recipe.seed, checkpoint=checkpoint, device=place.device,
    )  # fmt: skip
    checkpoint.unlink(missing_ok=True)  # none is written where there is nothing to train


def _mismatch(recipe: Recipe, student: Student, teacher: nn.Module, part: Batches) -> Mapping[str, LayerMismatch]:
    """On as many samples of a part as calibration takes of the training samples."""
    batches = list(part.first(recipe.data.calibration_samples, seed=recipe.seed))
    graph = trace(teacher, batches[0][0][:, :2].to(student.input.scale.device))
    return measure_mismatch(student, teacher, graph, batches, time_steps=recipe.student_time_steps)


def _layers(before: Mapping[str, LayerMismatch], after: Mapping[str, LayerMismatch]) -> dict[str, Layer]:
    return {
        name: Layer(
            membrane_before=layer.membrane,
            membrane_after=after[name].membrane,
            teacher_rate=layer.teacher_rate,
            rate_before=layer.student_rate,
            rate_after=after[name].student_rate,
        )
        for name, layer in before.items()
    }


def report(result: Result) -> None:
    """A line on stderr."""
    exact = "" if result.exactness is None else f", {result.exactness.differing} batches differ"
    sys.stderr.write(
        f"{result.experiment} {result.group} {result.setting} {result.variant} seed {result.seed}: "
        f"validation {result.chosen_by:.2f} %, test {result.accuracy:.2f} %, {result.seconds:.0f} s{exact}\n"
    )
    sys.stderr.flush()
