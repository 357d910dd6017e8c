"""A search without a network: students of three parameters, accuracy and costs by formula, and a process that works."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from intsnn.exploration.design_space import DesignPoint
from mdcompress.search.outcome import Outcome, PricedDesign, outcome
from mdcompress.search.study import Question, SearchStudy, Start, open_study

SIZES = {"weight a": 4, "weight b": 4, "time_steps": 3}
STARTS = (
    Start("least", "uniform", {"weight a": 0, "weight b": 0, "time_steps": 2}),
    Start("most", "uniform", {"weight a": 3, "weight b": 3, "time_steps": 2}),
)
TRIALS = 14


def point(crossbar: int = 64, column_mux: int = 8) -> DesignPoint:
    """A design with the given axes."""
    return DesignPoint(
        crossbar=crossbar, cell_bits=2, adc_bits="lossless", column_mux=column_mux, encoding="offset", mapping="auto",
        gating="none", schedule="row_pipeline", array_budget="+25%", weight_bits=None, membrane_bits=None, time_steps=4,
    )  # fmt: skip


def design(
    accuracy: float, energy: float, latency: float = 1.0, area: float = 1.0, *, crossbar: int = 64
) -> PricedDesign:
    """A priced design."""
    return PricedDesign(point(crossbar), accuracy, energy, latency, area)


def evaluated(indices: Mapping[str, int]) -> Outcome:
    """More of anything is more accurate and dearer; the least of all are hopeless."""
    a, b, steps = (indices[name] for name in SIZES)
    accuracy = 1 - (0.2 / 2**a + 0.05 / 2**b + 0.04 / 2**steps)
    energy = (1 + steps) * (4 + a + 2 * b)
    reason = "too low" if accuracy < 0.8 else ""
    return outcome(indices, accuracy=accuracy, samples=100, designs=[design(accuracy, energy)], reason=reason)


def question(seed: int = 0, sizes: Mapping[str, int] = SIZES, **settings: str) -> Question:
    """What the search asks."""
    return Question(sizes=sizes, costs=("energy",), seed=seed, settings={"network": "a formula", **settings})


def opened(folder: Path, seed: int = 0, **settings: str) -> SearchStudy:
    """The study in a folder."""
    return open_study(folder, question(seed, SIZES, **settings), lambda: STARTS)


def work(folder: Path, *, seed: int = 0) -> dict[int, Outcome]:
    """Work until all trials have ended; what they found."""
    study = opened(folder, seed)
    study.work(evaluated, trials=TRIALS, tell=lambda number, found: None)
    return study.outcomes()


def main(folder: str, log: str, die_at: str) -> None:
    """A process that works in a folder and logs each evaluation; it kills itself in that of the number `die_at`."""

    def logged(indices: Mapping[str, int]) -> Outcome:
        with Path(log).open("a") as file:
            file.write(f"{sorted(indices.items())}\n")
        done = len(Path(log).read_text().splitlines())
        if die_at and done == int(die_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluated(indices)

    opened(Path(folder)).work(logged, trials=TRIALS, tell=lambda number, found: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
