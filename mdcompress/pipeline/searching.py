"""`search`: float network, samples and a description -> students on designs that no other beats, with their recipes.

A study in a folder is what several processes and machines, and a command that was killed, go on with
(`search/study.py`). Each process writes the result anew when it has ended: that of all trials so far.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from intsnn.errors import UsageError
from intsnn.files import write_atomically
from mdcompress.errors import PlanError, SearchError
from mdcompress.pipeline.networks import (
    first_samples,
    fitted,
    load_splits,
    seeded,
    teacher_weights,
    torch_device,
    trained_network,
)
from mdcompress.pipeline.report import Report
from mdcompress.pipeline.searched_students import Chip, Network, Standard, Students, labelled
from mdcompress.pipeline.threads import own_threads_afterwards, use_threads
from mdcompress.pipeline.workspace import Workspace, stages_reading
from mdcompress.recipe import dump_recipe
from mdcompress.runs import Destination, Overwrite, settle
from mdcompress.runs.manifest import Stage, file_hash

if TYPE_CHECKING:
    from intsnn.exploration.design_space import DesignSpace
    from intsnn.hardware import HardwareSpec
    from mdcompress.bits.sensitivity import BitSensitivity
    from mdcompress.search.costs import Cost
    from mdcompress.search.outcome import Outcome
    from mdcompress.search.result import SearchResult, StartKind
    from mdcompress.search.space import SearchedPart, StudentChoice, StudentSpace
    from mdcompress.search.study import Question, SearchStudy, Start

FOLDER = "search"  # in the run, where no other is named
CSV_FILE, JSON_FILE, PICTURE_FILE = "search.csv", "search.json", "search.svg"
RECIPES_FOLDER, HARDWARE_FOLDER = "recipes", "hardware"
RANKING_SAMPLES = 128  # training samples to calibrate on and validation samples to compare on, for the mixed starts
UNIFORM_BITS = (2, 4, 8)  # those of the shipped recipes

Starts = Literal["ranked", "uniform"]


@dataclass(frozen=True)
class SearchChoice:
    """What is searched.

    bits: of each part that is searched, what every layer may have. time_steps: what T may be; empty: 1, 2, 4, ... and
    that of the data. hardware: a description's name or file; space: designs around it. costs: what is kept low beside
    a high accuracy. trials: how many the study shall have in all. starts: `ranked` tries, behind uniform bits, bits
    that go to the layers that lose most without them. seed: of the search. output: the study's
    folder; None: in the run.
    """

    bits: Mapping[SearchedPart, Sequence[float]]
    time_steps: tuple[int, ...]
    hardware: str
    space: DesignSpace
    costs: tuple[Cost, ...]
    standard: Standard
    trials: int
    starts: Starts = "ranked"
    seed: int = 0
    output: Path | None = None


@own_threads_afterwards()
def search(workspace: Workspace, choice: SearchChoice) -> Report:
    """Evaluate trials until the study has as many as are asked for, and write what all of them found.

    Raises:
        UsageError: Optuna is not installed, or the description has rules of its own that know no designs.
        RunError: the folder holds a search that was set otherwise.
        PlanError: the recipe does not fit the network.
        SearchError: no student of the search can be compared.
    """
    require_optuna()
    workspace.require_one_student()
    chip = Chip(_described(choice.hardware), choice.space, choice.costs)
    weights = teacher_weights(workspace)
    from mdcompress.search.study import open_study

    students = _students(workspace, weights, choice, chip)
    output = choice.output or workspace.run.file(FOLDER)
    question = _question(workspace, weights, choice, chip, students.space)
    study = open_study(output, question, lambda: _starts(workspace, students, choice))
    reference = [start.indices for start in study.starts]

    def evaluate(indices: Mapping[str, int]) -> Outcome:
        return students.evaluate_whole(indices) if indices in reference else students.evaluate(indices)

    study.work(evaluate, trials=choice.trials, tell=lambda number, one: workspace.note(_said(number, one, students)))
    return _written(workspace, study, students, chip)


def require_optuna() -> None:
    """UsageError where the optimizer is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("a search needs Optuna (it is not installed)", hints=["pip install 'mdcompress[search]'"])


def _described(name: str) -> HardwareSpec:
    from intsnn.hardware import HardwareSpec, load_hardware

    described = load_hardware(name)
    if not isinstance(described, HardwareSpec):
        raise UsageError(
            f"{described.name} has rules of its own that know no bit widths or arrays of another size",
            hints=["search on a description such as rram_64x64_65nm, or spikesim_fixed for SpikeSim's constants"],
        )
    return described


def _students(workspace: Workspace, weights: Path, choice: SearchChoice, chip: Chip) -> Students:
    from mdcompress.graph import NeuronModel
    from mdcompress.planning import plan
    from mdcompress.search.space import students_of

    recipe, splits = workspace.recipe, load_splits(workspace)
    found = fitted(workspace, trained_network(workspace, weights), splits)
    if not found.graph.of(NeuronModel):
        raise PlanError(
            f"the network has no spiking neuron ({workspace.model.builder})",
            hints=["put one behind each layer but the last, for example mdcompress.zoo.LIF instead of nn.ReLU"],
        )
    use_threads(workspace, found.graph)
    if choice.bits.get("batch_norm") and recipe.quantize.batch_norm.mode == "power_of_two":
        raise UsageError(
            "bits of norms are read where quantize.batch_norm.mode is quantize or fold (it is power_of_two)",
            hints=["leave --norm-bits out, or add `--set quantize.batch_norm.mode=quantize`"],
        )
    steps = choice.time_steps or _doubling(recipe.data.time_steps)
    if max(steps) > recipe.data.time_steps:
        raise UsageError(
            f"T must be at most data.time_steps, {recipe.data.time_steps}: the float network sees no more "
            f"(got {max(steps)})",
            hints=["leave the larger numbers out of --steps"],
        )
    space = students_of(found.graph, plan(recipe, found.graph), choice.bits, steps)
    network = Network(found.network, found.graph, weights, splits)
    return Students(workspace, network, space, standard=choice.standard, chip=chip)


def _doubling(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... below `most`, and `most`."""
    powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return (*powers, most)


def _question(workspace: Workspace, weights: Path, choice: SearchChoice, chip: Chip, space: StudentSpace) -> Question:
    """All that processes of one study must agree on; where files lie is not part of it."""
    from intsnn.hardware.loading import dump_hardware
    from mdcompress.search.study import Question

    read = {Stage.QUANTIZE, *([Stage.DISTILL] if choice.standard.epochs else [])}
    recipe = {
        key: value for key, value in workspace.settings.items() if key != "model.weights" and read & stages_reading(key)
    }
    own = {
        "weights": file_hash(weights),
        "hardware": hashlib.sha256(dump_hardware(chip.described).encode()).hexdigest(),
        "designs": json.dumps(asdict(chip.space)),
        "students": json.dumps([[layer.name, layer.bits] for layer in space.layers] + [list(space.time_steps)]),
        "starts": choice.starts,
        **{key: json.dumps(value) for key, value in asdict(choice.standard).items()},
    }
    return Question(sizes=space.sizes, costs=choice.costs, seed=choice.seed, settings={**recipe, **own})


# ------------------------------------------------------------------ the first students


def _starts(workspace: Workspace, students: Students, choice: SearchChoice) -> list[Start]:
    """Uniform bits, as the recipe has them with its overrides and for all layers alike; then mixed ones."""
    from mdcompress.planning import plan
    from mdcompress.search.space import flat_choice, mixed_choices, planned_choice, with_uniform_bits
    from mdcompress.search.study import Start

    space, graph = students.space, students.graph
    named: list[tuple[str, StartKind, StudentChoice]] = []
    for bits in UNIFORM_BITS:
        planned = planned_choice(space, plan(with_uniform_bits(workspace.recipe, bits), graph))
        named.append((f"{bits} bits, with the recipe's overrides", "uniform", planned))
        named.append((f"{bits} bits everywhere", "uniform", flat_choice(space, bits)))
    if choice.starts == "ranked" and space.sizes:
        workspace.note("measuring what each layer loses, for starts with mixed bits")
        mixed = mixed_choices(space, _ranking(workspace, students))
        named += [(f"mixed bits {number}", "mixed", one) for number, one in enumerate(mixed, start=1)]
    found: dict[tuple[tuple[str, int], ...], Start] = {}
    for name, kind, one in named:
        if (indices := space.indices(one)) is not None:
            found.setdefault(tuple(indices.items()), Start(name, kind, indices))
        else:
            workspace.note(f"{name}: not tried first, as not all of its bits are searched")
    return list(found.values())


def _ranking(workspace: Workspace, students: Students) -> BitSensitivity:
    """What each layer loses at few bits, where all others have the most that are searched."""
    from mdcompress.bits.sensitivity import measure_sensitivity
    from mdcompress.search.space import measured_bits, most_bits

    recipe, space, splits = workspace.recipe, students.space, students.splits
    device = torch_device(workspace)
    calibration = first_samples(splits.train, RANKING_SAMPLES, seed=recipe.seed).to(device)
    x, y = labelled(splits.validation.first(RANKING_SAMPLES, seed=recipe.seed))
    steps = space.time_steps[-1]
    with seeded(recipe.seed):
        return measure_sensitivity(
            students.network_at(steps),
            students.graph,
            students.recipe(most_bits(space), name="most"),
            calibration=[calibration[:steps]],
            samples=(x[:steps].to(device), y.to(device)),
            bits=measured_bits(space),
        )


# ------------------------------------------------------------------ the result


def _result(workspace: Workspace, study: SearchStudy, students: Students, chip: Chip) -> SearchResult:
    from mdcompress.search.result import SearchResult

    outcomes = study.outcomes()
    return SearchResult(
        recipe=workspace.recipe.name,
        hardware=chip.described.name,
        costs=chip.costs,
        float_accuracy=students.float_accuracy,
        least=students.least,
        samples=students.samples,
        outcomes=outcomes,
        students={trial: students.figures(one.indices) for trial, one in outcomes.items()},
        starts=study.started(outcomes),
        running=study.running(),
    )


def _written(workspace: Workspace, study: SearchStudy, students: Students, chip: Chip) -> Report:
    """The report of all trials so far, and the files of it: one process at a time writes them."""
    from mdcompress.search.tables import json_text, result_table

    with study.turn():
        found = _result(workspace, study, students, chip)
        if not found.pareto:
            raise SearchError(
                f"a search must find a student to compare, and {len(found.outcomes)} trials found none: "
                f"{_first_reason(found)}",
                hints=["allow for a larger --loss, or more bits; the same command with more --trials goes on"],
            )
        settle(study.folder)
        _write(study.folder, found, students, chip)
    paths = tuple(path for name in (CSV_FILE, JSON_FILE, PICTURE_FILE) if (path := study.folder / name).is_file())
    recipes = sorted((study.folder / RECIPES_FOLDER).glob("*.yaml"))
    return Report(result_table(found), json.loads(json_text(found)), (*paths, *recipes))


def _write(folder: Path, found: SearchResult, students: Students, chip: Chip) -> None:
    from intsnn.exploration.design_space import hardware_at
    from intsnn.hardware.loading import dump_hardware
    from mdcompress.search.plot import write_picture
    from mdcompress.search.tables import csv_text, json_text

    with Destination(folder, Overwrite.REPLACE).writing("the result of `search`") as staging:
        write_atomically(staging / CSV_FILE, csv_text(found).encode())
        write_atomically(staging / JSON_FILE, json_text(found).encode())
        if importlib.util.find_spec("matplotlib") is not None:
            write_picture(found, staging / PICTURE_FILE)
        for part in (RECIPES_FOLDER, HARDWARE_FOLDER):
            (staging / part).mkdir()
        for trial in dict.fromkeys(point.trial for point in found.pareto):
            name = found.recipe_name(trial)
            recipe = students.recipe(students.space.choice(found.outcomes[trial].indices), name=name)
            write_atomically(staging / RECIPES_FOLDER / f"{name}.yaml", dump_recipe(recipe).encode())
        for point in found.hardware_numbers:
            name = found.hardware_name(point)
            hardware = hardware_at(point, chip.described).model_copy(
                update={"name": name, "summary": f"A design of {chip.described.name} that `mdcompress search` found."}
            )
            write_atomically(staging / HARDWARE_FOLDER / f"{name}.yaml", dump_hardware(hardware).encode())


def _first_reason(found: SearchResult) -> str:
    return next((one.reason for one in found.outcomes.values() if one.reason), "no design of the space can be built")


def _said(number: int, one: Outcome, students: Students) -> str:
    from mdcompress.search.tables import trial_in_words

    return trial_in_words(number, students.figures(one.indices), one)
