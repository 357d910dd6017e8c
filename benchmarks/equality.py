"""Student = interpreter = onnxruntime = native: every digits recipe, every framework's networks, drawn graphs.

    python -m benchmarks equality recipes
    python -m benchmarks equality frameworks
    python -m benchmarks equality students --count 5000 --seed 1 --samples 300
    python -m benchmarks equality graphs --count 1000 --seed 16
    python -m benchmarks equality graphs --count 300 --seed 17 --portable

`recipes` trains each shipped recipe on the embedded digits and compares the whole test split. `frameworks` runs
`tests/frameworks` and counts what its networks are compared on. `students` compresses drawn networks of PyTorch by
drawn recipes, and compares the student, the interpreter and onnxruntime, whichever version is installed. `graphs`
compares the interpreter with native code of drawn graphs, or with that for a microcontroller, compiled for this
machine. Exit code 1: something differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from intsnn.arithmetic import IntArray
from intsnn.errors import GraphError
from intsnn.execution.interpreter import run
from intsnn.execution.parity import ParityReport, compare
from intsnn.graph import IntGraph
from intsnn.native import compile as compile_native
from mdcompress.compression import compress
from mdcompress.evaluation import verification
from mdcompress.student.lowering import lower
from tests.support.c_programs import Compilation, compilations, run_golden_test, write_package
from tests.support.intgraphs import graph_inputs
from tests.support.native_sessions import FORMS, quick_flags
from tests.support.networks import NETWORKS, make_input, make_network
from tests.support.networks import recipes as drawn_recipes
from tests.support.wide_graphs import any_graphs

ROOT = Path(__file__).resolve().parents[1]
DIGITS_RECIPES = ("2bit", "4bit", "4bit_ends", "8bit", "ternary")
WHOLE_SPLIT = 1_000_000  # samples: as many as there are
Comparison = Callable[[IntGraph, IntArray], list[ParityReport]]
WITNESSES = ("student", "interpreter", "onnxruntime", "native")


@dataclass
class Tally:
    """Comparisons, and the spikes and membranes compared in them. refused: draws of which no graph could be made."""

    runs: int = 0
    values: int = 0
    spikes: int = 0
    refused: int = 0
    differing: list[str] = field(default_factory=list)

    def add(self, report: ParityReport) -> None:
        """Count one comparison."""
        self.runs += 1
        self.values += report.values
        self.spikes += report.spikes
        if not report.equal:
            self.differing.append(str(report))

    def __str__(self) -> str:
        return (
            f"{self.runs:,} comparisons, {self.values:,} spikes and membranes, {self.spikes:,} spikes: "
            f"{len(self.differing)} differ{f'; {self.refused:,} refused' if self.refused else ''}"
        )


class FrameworkNetworks:
    """A plugin of pytest: counts what `verify` compares, and requires that native code is a witness."""

    def __init__(self) -> None:
        self.tally = Tally()

    @pytest.fixture(autouse=True)
    def _counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        verify_graph = verification.verify_graph

        def counted(*arguments: object, **named: object) -> ParityReport:
            report = verify_graph(*arguments, **named)  # type: ignore[arg-type]  # handed on as they are
            assert report.witnesses == WITNESSES
            self.tally.add(report)
            return report

        monkeypatch.setattr(verification, "verify_graph", counted)


def recipes(names: list[str]) -> int:
    """Train each recipe and export it with its whole test split as samples, which fails where a value differs."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            _mdcompress(folder, "run", "--recipe", name)
            document = _mdcompress(folder, "export", "--run", name, "--force", "--samples", str(WHOLE_SPLIT))
            measured: dict[str, float] = json.loads(document)["measured"]
            counts = {key: int(measured[f"parity_{key}"]) for key in ("samples", "values", "spikes")}
            print(f"{name}: {', '.join(f'{count:,} {key}' for key, count in counts.items())}: 0 differ", flush=True)
    return 0


def _mdcompress(folder: str, *arguments: str) -> str:
    """What one command prints; SystemExit where it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")])}
    command = [sys.executable, "-m", "mdcompress", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def frameworks() -> int:
    """Run the tests of the frameworks; how many comparisons of four witnesses they made."""
    counter = FrameworkNetworks()
    options = ["-q", "--assert=plain", "-p", "no:cacheprovider"]  # plain: what is loaded already cannot be rewritten
    code = int(pytest.main([*options, str(ROOT / "tests" / "frameworks")], plugins=[counter]))
    print(f"frameworks: {counter.tally}")
    return code


def drawn(count: int, *, start: int, compared: Callable[[st.DataObject], list[ParityReport]]) -> int:
    """Compare so many draws."""
    tally, began = Tally(), time.monotonic()

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def all_of_them(data: st.DataObject) -> None:
        try:
            for report in compared(data):
                tally.add(report)
        except GraphError as error:  # a clear refusal: sums that 32 bits are not proved to hold
            tally.refused += 1
            print(f"refused: {error.message}", file=sys.stderr, flush=True)
        if tally.runs % 100 == 0:
            print(f"{tally}; {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    all_of_them()
    print(f"drawn: {tally}", *tally.differing, sep="\n")
    return 1 if tally.differing else 0


def of_graphs(
    compared: Callable[[IntGraph, IntArray], list[ParityReport]],
) -> Callable[[st.DataObject], list[ParityReport]]:
    """A drawn graph on a drawn input."""

    def one(data: st.DataObject) -> list[ParityReport]:
        graph = data.draw(any_graphs())
        return compared(graph, data.draw(graph_inputs(graph)))

    return one


def of_students(samples: int) -> Callable[[st.DataObject], list[ParityReport]]:
    """A drawn network, compressed by a drawn recipe, on its calibration and on input beyond the calibrated range."""

    def one(data: st.DataObject) -> list[ParityReport]:
        draw = data.draw(NETWORKS)
        network, calibration = make_network(draw)
        student = compress(network, calibration[:, :1], data.draw(drawn_recipes()), [calibration])
        x = torch.cat([calibration, 1.5 * make_input(draw, samples=samples)], dim=1)
        return [verification.verify_graph(student, lower(student), x, native=None)]

    return one


def on_host(graph: IntGraph, x: IntArray) -> list[ParityReport]:
    """Native code in each form of its synapses, against the interpreter."""
    expected, flags = run(graph, x), quick_flags()
    return [
        compare(
            expected, compile_native(graph, threads=1, flags=flags, synapses=form).run(x), names=("interpreter", form)
        )
        for form in FORMS
    ]


def portable(compilation: Compilation) -> Comparison:
    """Code for a microcontroller with its golden test, which ends the program where something differs."""

    def compared(graph: IntGraph, x: IntArray) -> list[ParityReport]:
        expected = run(graph, x)
        with tempfile.TemporaryDirectory() as folder:
            write_package(graph, x, Path(folder))
            run_golden_test(Path(folder), compilation)
        return [compare(expected, expected)]  # for the counts: the program has compared them

    return compared


def main() -> int:
    """One of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("recipes", help="recipes on the embedded digits, whole test split")
    one.add_argument("--names", nargs="+", default=list(DIGITS_RECIPES), help="which (default: all)")
    parts.add_parser("frameworks", help="networks of tests/frameworks")
    pupils = parts.add_parser("students", help="drawn networks, compressed by drawn recipes")
    pupils.add_argument("--count", type=int, default=1000, help="networks (default 1000)")
    pupils.add_argument("--seed", type=int, default=1, help="of the draws (default 1)")
    pupils.add_argument("--samples", type=int, default=300, help="inputs of each (default 300)")
    many = parts.add_parser("graphs", help="drawn graphs")
    many.add_argument("--count", type=int, default=1000, help="graphs (default 1000)")
    many.add_argument("--seed", type=int, default=16, help="of the draws (default 16)")
    many.add_argument("--compilation", type=int, default=0, help="of tests.support.c_programs.compilations, for it")
    many.add_argument("--portable", action="store_true", help="the form for a microcontroller, with sanitizers")
    options = parser.parse_args()
    match options.part:
        case "recipes":
            return recipes(options.names)
        case "frameworks":
            return frameworks()
        case "students":
            print(f"onnxruntime {onnxruntime.__version__}", flush=True)
            return drawn(options.count, start=options.seed, compared=of_students(options.samples))
        case _:
            compared = portable(compilations()[options.compilation]) if options.portable else on_host
            return drawn(options.count, start=options.seed, compared=of_graphs(compared))


if __name__ == "__main__":
    sys.exit(main())
