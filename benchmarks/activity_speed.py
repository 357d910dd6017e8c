"""Time to measure the activity of VGG-9 at 3x32x32, T = 4: by the interpreter and by native code, in turn.

    python -m benchmarks activity_speed [--data-folder FOLDER]

Each round measures the same network with each engine, batch by batch; a figure is the median of the rounds. Before any
time is taken, both give one activity, equal in every count. Without a data folder the images are random.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.native_networks import BUILDERS, firing_network, graph_of, images
from intsnn.activity import measure
from intsnn.engines import InterpreterSession, Session
from intsnn.graph import IntGraph
from intsnn.native import compile as compile_graph
from mdcompress.pipeline.report import table

RATE = 0.12  # of every neuron node
BATCH = 64
CALIBRATION_SAMPLES = 32


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path, help="where CIFAR-10 lies; without it images are random")
    parser.add_argument("--network", choices=["vgg9", "msresnet18"], default="vgg9")
    parser.add_argument("--samples", type=int, default=1000, help="images that native code measures in a round")
    parser.add_argument("--interpreted", type=int, default=64, help="images that the interpreter measures in a round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    graph, x = _network(given.network, given.data_folder, given.samples)
    sys.stdout.write(_measured(graph, x, interpreted=given.interpreted, rounds=given.rounds) + "\n")


def _network(name: str, folder: Path | None, samples: int) -> tuple[IntGraph, npt.NDArray[np.integer]]:
    """The integer graph, and integer images [4, samples, 3, 32, 32]."""
    torch.manual_seed(0)
    shown = torch.rand(1, samples, 3, 32, 32).repeat(4, 1, 1, 1, 1) if folder is None else images(folder, samples)
    few = shown[:, :CALIBRATION_SAMPLES]
    student, graph = graph_of(firing_network(BUILDERS[name], few, rate=RATE), few, recipe="4bit")
    return graph, student.quantize_input(shown).numpy()


def _measured(graph: IntGraph, x: npt.NDArray[np.integer], *, interpreted: int, rounds: int) -> str:
    started = time.perf_counter()
    sessions = {threads: compile_graph(graph, threads=threads) for threads in (1, 2)}
    compiled = time.perf_counter() - started
    few = x[:, :interpreted]
    activity = measure(graph, [few], engine=sessions[2])
    assert activity == measure(graph, [few], engine=InterpreterSession(graph))
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "the interpreter alone, nothing counted": (lambda: InterpreterSession(graph).spikes(few), interpreted),
        "activity by the interpreter": (_measuring(graph, few, InterpreterSession(graph)), interpreted),
    }
    for threads, session in sessions.items():
        words = f"{threads} thread{'s' if threads > 1 else ''}"
        runs[f"native code alone, {words}"] = (_in_batches(session, x), x.shape[1])
        runs[f"activity by native code, {words}"] = (_measuring(graph, x, session), x.shape[1])
    found = _in_turn(runs, rounds)
    reference = found["activity by the interpreter"]
    rows = [[what, f"{1000 * each:.2f}", f"{reference / each:.1f}"] for what, each in found.items()]
    header = ["what", "ms a sample", "times as fast"]
    what = (
        f"{x.shape[1]} images ({interpreted} in the interpreter), T = {len(x)}, mean spike rate "
        f"{activity.mean_rate:.3f}; median of {rounds} rounds; compiled, or found in the cache, in {compiled:.1f} s"
    )
    return f"{what}\n\n{table(header, rows, numbers=header[1:])}"


def _measuring(graph: IntGraph, x: npt.NDArray[np.integer], session: Session) -> Callable[[], object]:
    return lambda: measure(graph, _batches(x), engine=session)


def _in_batches(session: Session, x: npt.NDArray[np.integer]) -> Callable[[], object]:
    def run() -> None:
        for batch in _batches(x):
            session.spikes(batch)

    return run


def _batches(x: npt.NDArray[np.integer]) -> list[npt.NDArray[np.integer]]:
    return [x[:, start : start + BATCH] for start in range(0, x.shape[1], BATCH)]


def _in_turn(runs: dict[str, tuple[Callable[[], object], int]], rounds: int) -> dict[str, float]:
    """Median seconds a sample of each; every round runs all of them."""
    seen: dict[str, list[float]] = {what: [] for what in runs}
    for _ in range(rounds):
        for what, (run, samples) in runs.items():
            started = time.perf_counter()
            run()
            seen[what].append((time.perf_counter() - started) / samples)
    return {what: statistics.median(each) for what, each in seen.items()}


if __name__ == "__main__":
    main()
