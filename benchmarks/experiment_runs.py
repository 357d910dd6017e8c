"""Tasks x seeds -> results in a store: what has no result yet is done, by one process or several."""

from __future__ import annotations

import argparse
import multiprocessing
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from benchmarks.experiment_store import Result, Store
from benchmarks.experiment_students import Task, Workplace, group_of, key_of, load_splits, measure, report
from intsnn.errors import IntsnnError
from mdcompress.data import DataSplits
from mdcompress.errors import RunError


@dataclass(frozen=True)
class Unit:
    """What one process does in a row: the tasks of one data set and seed, which share their teachers."""

    group: str
    seed: int
    tasks: tuple[Task, ...]


def units_of(tasks: Sequence[Task], seeds: Sequence[int]) -> tuple[Unit, ...]:
    """All first seeds, then all second ones, so that a half-done experiment has every data set."""
    groups = {task: group_of(task.of_seed(0)) for task in tasks}
    return tuple(
        Unit(group, seed, tuple(task for task in tasks if groups[task] == group))
        for seed in seeds
        for group in dict.fromkeys(groups.values())
    )


def run_units(units: Sequence[Unit], place: Workplace, *, processes: int) -> None:
    """Bring every unit's results into the store. A unit that fails does not keep the others from being done.

    Errors: RunError after all, where units failed.
    """
    if processes == 1:
        answers = [_attempt(unit, place) for unit in units]
    else:
        context = multiprocessing.get_context("spawn")  # torch does not survive a fork after it has used threads
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_use_one_thread) as pool:
            answers = list(pool.map(_attempt, units, [place] * len(units)))
    failed = [answer for answer in answers if answer is not None]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(units)} units failed; the first: {failed[0]}",
            hints=["mend the cause and start again: what is done is not done again"],
        )


def stored(units: Sequence[Unit], place: Workplace) -> tuple[list[Result], int]:
    """The results that the store has of these units, in their order, and how many are missing."""
    found = place.store.results()
    wanted = [key_of(task, unit.seed) for unit in units for task in unit.tasks]
    rows = [found[key] for key in wanted if key in found]
    return rows, len(wanted) - len(rows)


def origin(rows: Sequence[Result], *, missing: int, command: str, networks: str = "students") -> str:
    """Where a page comes from, and what of the plan is still to be done."""
    machines = "; ".join(dict.fromkeys(row.machine for row in rows))
    state = "All of the plan is done." if missing == 0 else f"**{missing} {networks} of the plan are not done yet.**"
    return f"`{command}` writes this page from the results of `run` with the same options ({machines}). {state}"


def exactness(rows: Sequence[Result]) -> str:
    """How much of the students was compared with their graphs, and how many batches differ."""
    found = [row.exactness for row in rows if row.exactness is not None]
    values, differing = sum(each.values for each in found), sum(each.differing for each in found)
    return (
        f"Student and exported graph in onnxruntime were compared on all test samples of {len(found)} students: "
        f"{values:,} values, {differing} batches differ."
    )


def run_unit(unit: Unit, place: Workplace) -> None:
    """Measure the unit's tasks that have no result yet, in their order."""
    done = set(place.store.results())
    loaded: dict[str, DataSplits] = {}
    for task in unit.tasks:
        key = key_of(task, unit.seed)
        if key in done:
            continue
        recipe = task.of_seed(unit.seed)
        wanted = f"{recipe.data.model_dump_json()} {task.input_steps}"
        if wanted not in loaded:
            loaded[wanted] = load_splits(recipe, place, input_steps=task.input_steps)
        result = measure(task, unit.seed, place, loaded[wanted])
        place.store.append(result)
        done.add(key)
        report(result)


def _attempt(unit: Unit, place: Workplace) -> str | None:
    """Run the unit; what went wrong, in words. An error that is not ours ends the experiment with its traceback."""
    try:
        run_unit(unit, place)
    except IntsnnError as error:
        return f"{unit.group}, seed {unit.seed}: {error}"
    return None


def _use_one_thread() -> None:
    """Several processes on as many cores: more threads would wait for each other."""
    torch.set_num_threads(1)


# ---------------------------------------------------------------------- command line


class Page(Protocol):
    """What writes a page of results."""

    def __call__(self, rows: Sequence[Result], *, missing: int, command: str) -> str:
        """`missing`: how many networks are planned and not done; `command`: that which prints the page."""
        ...


def experiment_parser(description: str | None, *, store: str) -> argparse.ArgumentParser:
    """A parser of `run` and `page` with the options of a place."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("run", "page"))
    add_place_options(parser, store=store)
    return parser


def run_or_print(units: Sequence[Unit], options: argparse.Namespace, page: Page, *, name: str) -> None:
    """Do what `experiment_parser` was given, of the benchmark `name`."""
    place = place_of(options)
    match options.mode:
        case "run":
            run_units(units, place, processes=options.processes)
        case "page":
            print_page(units, place, page, command=f"python -m benchmarks {name} {shlex.join(sys.argv[1:])}")


def print_page(units: Sequence[Unit], place: Workplace, page: Page, *, command: str) -> None:
    """The page of what is there."""
    rows, missing = stored(units, place)
    sys.stdout.write(page(rows, missing=missing, command=command) + "\n")


def add_place_options(parser: argparse.ArgumentParser, *, store: str) -> None:
    """--store, --work, --data-folder, --device, --processes."""
    parser.add_argument("--store", type=Path, default=Path(store), help="the results, one JSON line each")
    parser.add_argument("--work", type=Path, default=Path("runs/experiments"), help="teachers and checkpoints")
    parser.add_argument("--data-folder", type=Path, help="the folder that holds the data sets' files")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1)


def place_of(options: argparse.Namespace) -> Workplace:
    """The chosen place."""
    return Workplace(options.data_folder, options.work, Store(options.store), options.device)
