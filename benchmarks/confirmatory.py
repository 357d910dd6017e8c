"""What membranes and logits add to training on labels: a plan that is fixed before the test part is read.

    python -m benchmarks confirmatory converge --data-folder FOLDER   # teachers of more and more epochs
    python -m benchmarks confirmatory tune --data-folder FOLDER       # as many trials of every variant
    python -m benchmarks confirmatory plan                            # writes a data set's plan from them; commit it
    python -m benchmarks confirmatory run --data-folder FOLDER        # refuses a plan that is not committed
    python -m benchmarks confirmatory longer --data-folder FOLDER     # what was chosen for twice the epochs
    python -m benchmarks confirmatory page > docs/results/confirmatory.md

(from the checkout, with OMP_NUM_THREADS=1.) Each result is a line of the store; a command that was stopped is given
again and goes on. `converge`, `tune` and `longer` train on the tuning seeds and score on samples of the training part
that no training sees. `--data-sets` names those that a step is done for; the page has all. Another experiment has plans
and a store of its own.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.confirmatory_design import CONFIRMATORY, DATA_SETS, SEARCHES, TRAINED, DataSet
from benchmarks.confirmatory_page import page
from benchmarks.confirmatory_page_of_plan import Told
from benchmarks.confirmatory_plan import ANALYSIS, Plan, plan_path, read_plan, require_committed, units, write_plan
from benchmarks.confirmatory_tuning import (
    ENOUGH,
    Chosen,
    choices,
    converged,
    convergence,
    convergence_units,
    longer,
    longer_units,
    next_units,
)
from benchmarks.experiment_runs import add_place_options, place_of, run_units, stored
from benchmarks.experiment_students import Workplace
from mdcompress.errors import RunError

SEEDS: Mapping[str, tuple[int, ...]] = {
    "nmnist": tuple(range(1000, 1010)),
    "mnist": tuple(range(1000, 1010)),
}


def converge(data_sets: Sequence[DataSet], place: Workplace, *, processes: int) -> None:
    """Train the teachers of each number of epochs."""
    for data in data_sets:
        run_units(convergence_units(data), place, processes=processes)
        done = converged(convergence(data, place.store.results()))
        sys.stderr.write(f"{data.name}: teachers are done after {done} epochs\n")


def tune(data_sets: Sequence[DataSet], place: Workplace, *, processes: int) -> None:
    """Climb the rungs of every search."""
    for data in data_sets:
        epochs = _teacher_epochs(data, place)
        while missing := next_units(data, epochs, place.store.results()):
            run_units(missing, place, processes=processes)
        for chosen in choices(data, epochs, place.store.results()):
            sys.stderr.write(f"{data.name}, {chosen.search}: {chosen.variant} {' '.join(chosen.best.candidate)}\n")


def lengthen(data: DataSet, place: Workplace, *, processes: int) -> None:
    """Train what was chosen for twice the epochs, on the tuning seeds."""
    epochs = _teacher_epochs(data, place)
    run_units(longer_units(data, epochs, choices(data, epochs, place.store.results())), place, processes=processes)


def plan_of(data: DataSet, place: Workplace, seeds: tuple[int, ...]) -> Plan:
    """What the tuning results of a data set fix.

    Raises:
        RunError: a search is not done.
    """
    epochs = _teacher_epochs(data, place)
    made = choices(data, epochs, place.store.results())
    if len(made) < len(SEARCHES) * len(TRAINED):
        raise RunError(
            f"{data.name}: every search must be done before the plan is fixed ({len(made)} of "
            f"{len(SEARCHES) * len(TRAINED)} are)",
            hints=["do them: `tune`", "or leave the data set out: `--data-sets`"],
        )
    chosen = {
        search: {each.variant: each.best.candidate for each in made if each.search == search} for search in SEARCHES
    }
    return Plan(data.name, seeds, epochs, data.student_epochs, chosen, ANALYSIS)


def run(path: Path, data: DataSet, place: Workplace, *, processes: int) -> None:
    """Train and measure every network of a committed plan that is not there yet.

    Raises:
        RunError: the plan is not committed, or the store has results of another one.
    """
    require_committed(path)
    plan = read_plan(path)
    others = sorted(
        {
            str(row.plan)
            for row in place.store.results().values()
            if row.experiment == CONFIRMATORY and row.group.startswith(f"{data.name}_") and row.plan != plan.digest
        }
    )
    if others:
        raise RunError(
            f"{place.store.path}: results must be of the plan {plan.digest} (some are of {', '.join(others)})",
            hints=[f"take the plan that they were run with from git: {path}"],
        )
    run_units(units(plan, data), place, processes=processes)


def print_page(folder: Path, data_sets: Mapping[str, DataSet], place: Workplace, *, command: str) -> None:
    """The page of what is there: plans in a folder, trials and results in the store."""
    found = place.store.results()
    paths = {name: plan_path(folder, name) for name in data_sets}
    plans = {name: read_plan(path) for name, path in paths.items() if path.exists()}
    rows, missing = stored([unit for name, plan in plans.items() for unit in units(plan, data_sets[name])], place)
    epochs = {name: made for name, data in data_sets.items() if (made := convergence(data, found))}
    trials: dict[str, tuple[Chosen, ...]] = {}
    twice: dict[str, tuple[tuple[float, ...], ...]] = {}
    for name, made in epochs.items():
        done, data = converged(made), data_sets[name]
        trials[name] = () if done is None else choices(data, done, found)
        twice[name] = () if done is None else tuple(longer(data, done, each, found) for each in trials[name])
    told = Told(plans, data_sets, epochs, trials, twice, rows, missing)
    sys.stdout.write(page(told, command=command) + "\n")


def _teacher_epochs(data: DataSet, place: Workplace) -> int:
    made = convergence(data, place.store.results())
    epochs = converged(made)
    if epochs is None:
        raise RunError(
            f"{data.name}: teachers must be done before students are tuned (of {data.teacher_epochs} epochs "
            f"{len(made)} numbers are tried, and twice as many never gained less than {ENOUGH} points)",
            hints=["try them: `converge`", "or try more epochs: `teacher_epochs` in confirmatory_design.py"],
        )
    return epochs


def main() -> None:
    """One step of the experiment."""
    options = _options()
    place = place_of(options)
    chosen = [DATA_SETS[name] for name in options.data_sets]
    match options.mode:
        case "converge":
            converge(chosen, place, processes=options.processes)
        case "tune":
            tune(chosen, place, processes=options.processes)
        case "longer":
            for data in chosen:
                lengthen(data, place, processes=options.processes)
        case "plan":
            for data in chosen:
                write_plan(plan_of(data, place, SEEDS[data.name]), plan_path(options.plans, data.name))
        case "run":
            for data in chosen:
                run(plan_path(options.plans, data.name), data, place, processes=options.processes)
        case "page":
            command = f"python -m benchmarks confirmatory {shlex.join(sys.argv[1:])}"
            print_page(options.plans, DATA_SETS, place, command=command)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("converge", "tune", "plan", "run", "longer", "page"))
    parser.add_argument("--data-sets", nargs="+", default=list(DATA_SETS), choices=tuple(DATA_SETS))
    parser.add_argument("--plans", type=Path, default=Path("docs/results"), help="the folder of the plans")
    add_place_options(parser, store="docs/results/confirmatory.jsonl")
    return parser.parse_args()


if __name__ == "__main__":
    main()
