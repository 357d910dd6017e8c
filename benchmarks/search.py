"""A search beside uniform bits, on samples that it used and on the test samples that it never read; a Markdown page.

    python -m benchmarks search --data-folder DATA --work WORK > docs/results/search.md

Of each case the float network is trained and `mdcompress search` is run in WORK; both go on where they were stopped.
Then the students of the Pareto set and the uniform ones are made again from the data and scored on the test split.
Nothing is chosen there: a uniform design counts as beaten on the test split where a design of the Pareto set, as the
validation samples gave it, is as good in every cost and in the accuracy on test samples, and better in one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mdcompress as md
from intsnn.analog.accuracy import answers
from intsnn.engines import Work, open_engine
from intsnn.shares import percent
from mdcompress import zoo
from mdcompress.data import DataSplits, calibration, load_data
from mdcompress.pipeline.evaluating import integers_for
from mdcompress.recipe import Recipe, load_kept_recipe
from mdcompress.search.space import LayerBits, SearchedPart, StudentChoice, StudentSpace
from mdcompress.student.weights import load_weights
from mdcompress.trust import GIVEN
from mdcompress.zoo.builders import build_network

ROOT = Path(__file__).resolve().parents[1]
COSTS = ("energy_pj", "latency_ns", "area_um2")
Document = Mapping[str, Any]  # parts of search.json
OnTest = Callable[[int], float]  # trial -> accuracy on the test split


@dataclass(frozen=True)
class Case:
    """What is searched: options of `train`, how many trials, and what the page says of it."""

    name: str
    what: str
    options: tuple[str, ...]
    trials: int


CASES = (
    Case("digits", "`digits_snn`, embedded digits, T = 4: 4 synapses, 3 neurons", ("--recipe", "4bit"), 60),
    Case(
        "mnist",
        "`conv_snn` of 16 channels on MNIST (28 x 28), T = 4: 4 synapses, 3 neurons; 20,000 training images, 1 epoch",
        (
            "--recipe", "4bit", "--model", "benchmarks.search:mnist_network",
            "--set", "data={name: 'benchmarks.experiment_data:mnist_teacher', time_steps: 4, calibration_samples: 128}",
            "--set", "teacher.epochs=1",
        ),
        40,
    ),
)  # fmt: skip


def mnist_network() -> nn.Module:
    """Three convolutions for 28 x 28 grey images: as many weights as the digits' network, twelve times the pixels."""
    return zoo.conv_snn(in_channels=1, image_size=28, channels=16)


def command(*words: str) -> None:
    """`mdcompress …` in the checkout, so that recipes find this module; what it says goes to stderr."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "export")])
    environment = {**os.environ, "PYTHONPATH": paths, "MDCOMPRESS_TRUST": os.pathsep.join([str(ROOT), "/"])}
    subprocess.run(
        [sys.executable, "-m", "mdcompress", *words], cwd=ROOT, env=environment, stdout=sys.stderr, check=True
    )


def searched(case: Case, run: Path, data: Sequence[str]) -> Document:
    """The search of a case, as search.json has it."""
    if not (run / "teacher.safetensors").is_file():
        command("train", *case.options, "--run", str(run), *data)
    command("search", "--run", str(run), "--trials", str(case.trials), *data)
    document: Document = json.loads((run / "search" / "search.json").read_text("utf-8"))
    return document


class Tested:
    """Students of a run on its whole test split.

    Args:
        run: the folder of the run.
        data_folder: where data files lie.
    """

    def __init__(self, run: Path, data_folder: Path | None) -> None:
        self._recipe = load_kept_recipe(run / "recipe.yaml")
        self._run, self._splits = run, self._loaded(data_folder)
        self.accuracy = cache(self._accuracy)

    def _loaded(self, folder: Path | None) -> DataSplits:
        return load_data(self._recipe.data, seed=self._recipe.seed, folder=folder, consent=GIVEN)

    def _accuracy(self, bits: tuple[tuple[str, float], ...], time_steps: int) -> float:
        """Of the calibrated student; its integers run on the fastest engine."""
        recipe = _recipe_of(self._recipe, dict(bits), time_steps, self._run / "teacher.safetensors")
        batches = [x for x, _ in calibration(self._splits, recipe.data.calibration_samples, seed=recipe.seed)]
        torch.manual_seed(recipe.seed)
        assert recipe.model is not None
        network = build_network(recipe.model.builder, consent=GIVEN)
        load_weights(network, self._run / "teacher.safetensors")
        student = md.compress(network.eval(), batches[0][:, :2], recipe, [x[:time_steps] for x in batches])
        session = open_engine(md.lower(student), work=Work(len(self._splits.test) * 64, time_steps)).session
        right = count = 0
        for x, y in self._splits.test:
            found = answers(session.answer(integers_for(session.graph.input, x[:time_steps].numpy())))
            right, count = right + int((found == y.numpy()).sum()), count + len(y)
        return right / count


def _recipe_of(base: Recipe, bits: Mapping[str, float], time_steps: int, weights: Path) -> Recipe:
    layers = []
    for name, width in bits.items():
        part, _, node = name.partition(" ")
        known: dict[str, SearchedPart] = {"weight": "weight", "membrane": "membrane", "batch_norm": "batch_norm"}
        layers.append(LayerBits(known[part], node, (width,), 1))
    choice = StudentChoice(bits, time_steps)
    return StudentSpace(tuple(layers), (time_steps,)).recipe(base, choice, name="tested", weights=weights)


# ------------------------------------------------------------------ the page


def section(case: Case, found: Document, tested: Tested) -> str:
    """A case as Markdown."""
    students = {one["trial"]: one for one in found["trials"]}

    def on_test(trial: int) -> float:
        one = students[trial]
        return tested.accuracy(tuple(one["bits"].items()), one["time_steps"])

    rows = [uniform_row(one, found["pareto"], students, on_test) for one in found["uniform"]]
    compared = sum(not one["reason"] for one in found["trials"])
    return "\n".join(
        [
            f"## {case.name}",
            "",
            f"{case.what}. {len(students)} trials, {compared} compared; designs: arrays of 32 to 256, 4, 8 or 16 "
            f"columns to a converter, on `{found['hardware']}`. Float network: {percent(found['float_accuracy'])} on "
            f"the {found['samples']} validation samples.",
            "",
            "| uniform bits, T = 4 | validation | test | uJ | found: trial | T | weights | membranes | validation "
            "| test | uJ | designs beaten, validation | designs beaten, test |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "Students of the Pareto set, each on its design of the least energy:",
            "",
            "| trial | T | weights | membranes | validation | test | uJ | us | mm2 |",
            "|---|---|---|---|---|---|---|---|---|",
            *[student_row(point, students[point["trial"]], on_test) for point in cheapest(found["pareto"])],
        ]
    )


def uniform_row(one: Document, pareto: Sequence[Document], students: Mapping[int, Document], on_test: OnTest) -> str:
    """A uniform start on its cheapest design, and the cheapest found one that beats it on validation samples."""
    mine, by = one["designs"][0], one["designs"][0]["beaten_by"]
    right = on_test(one["trial"])
    on_validation = sum(design["beaten_by"] is not None for design in one["designs"])
    better = sum(
        any(beats(point, design, on_test(point["trial"]), right) for point in pareto) for design in one["designs"]
    )
    head = f"| {one['start']} | {percent(mine['accuracy'])} | {percent(right)} | {micro(mine['energy_pj'])} "
    cells = "| - " * 7 if by is None else _found_cells(by, students[by["trial"]], on_test)
    count = len(one["designs"])
    return f"{head}{cells}| {on_validation} of {count} | {better} of {count} |"


def _found_cells(by: Document, student: Document, on_test: OnTest) -> str:
    return (
        f"| {by['trial']} | {student['time_steps']} | {student['weight']:.2f} | {student['membrane']:.2f} "
        f"| {percent(by['accuracy'])} | {percent(on_test(by['trial']))} | {micro(by['energy_pj'])} "
    )


def beats(point: Document, design: Document, found: float, wanted: float) -> bool:
    """Whether a point is as good in every cost and on the test split, and better in one."""
    costs = [(point[cost], design[cost]) for cost in COSTS]
    as_good = all(mine <= other for mine, other in costs) and found >= wanted
    return as_good and (found > wanted or any(mine < other for mine, other in costs))


def cheapest(pareto: Sequence[Document]) -> list[Document]:
    """Of each student the point of the least energy; they come sorted by it."""
    found: dict[int, Document] = {}
    for point in pareto:
        found.setdefault(point["trial"], point)
    return list(found.values())


def student_row(point: Document, student: Document, on_test: OnTest) -> str:
    """One student of the Pareto set."""
    return (
        f"| {point['trial']} | {student['time_steps']} | {student['weight']:.2f} | {student['membrane']:.2f} "
        f"| {percent(point['accuracy'])} | {percent(on_test(point['trial']))} | {micro(point['energy_pj'])} "
        f"| {point['latency_ns'] * 1e-3:.2f} | {point['area_um2'] * 1e-6:.3f} |"
    )


def micro(picojoules: float) -> str:
    """As uJ."""
    return f"{picojoules * 1e-6:.4f}"


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path, help="folder of mnist.npz")
    parser.add_argument("--work", type=Path, default=Path("search_work"), help="folder of runs and studies")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], help="else all")
    given = parser.parse_args()
    data = [] if given.data_folder is None else ["--data-folder", str(given.data_folder.resolve())]
    sections = []
    for case in CASES:
        if given.cases is None or case.name in given.cases:
            run = given.work.resolve() / case.name
            sections.append(section(case, searched(case, run, data), Tested(run, given.data_folder)))
    print(page(sections))


def page(sections: Sequence[str]) -> str:
    """The sections with what they have in common."""
    return "\n\n".join(["# Search: found bits, T and designs beside uniform bits", COMMON, *sections])


COMMON = f"""\
`python -m benchmarks search --data-folder DATA`, search seed 0, recipe seed 0, {platform.machine()}, torch \
{torch.__version__.split("+")[0]}; students are calibrated, not trained.

Uniform bits come in two kinds: with the recipe's overrides, as the shipped recipes `2bit`, `4bit` and `8bit` have \
them (first and last synapse at 8 bits), and everywhere. Each is on every design of the search that none of its others \
dominates in energy, latency and area; the row shows that of the least energy. A design is *beaten* by one that is as \
good in accuracy and all three costs and better in one. The test split was never read by the search. On it, a uniform \
design is beaten where some design of the set that the validation samples gave does so; which one may differ.

2 bits everywhere are the fewest bits that are searched. No student has fewer in any layer, so fewer steps beat it, or \
fewer spikes and narrower words, which no number of bits promises."""


if __name__ == "__main__":
    main()
