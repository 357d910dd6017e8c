"""Native sessions compiled by one compiler with one set of flags, many graphs in one library, and what they compute.

As a program it runs a library in a process of its own, since a check of undefined behaviour ends it with a trap.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.compiling.cache import load_library, shared_library
from intsnn.compiling.compiler import Compiler, find_compiler, host_flags
from intsnn.compiling.processor import processor_features
from intsnn.emission.source import Source, host_source
from intsnn.execution.interpreter import Trace, run
from intsnn.graph import IntGraph
from intsnn.native import Form, NativeSession
from tests.support.c_programs import ZIG
from tests.support.graph_builder import GraphBuilder
from tests.support.hand_made_graphs import wide_hand_made_graphs
from tests.support.intgraphs import dense_graph, random_input, residual_graph

FORMS: tuple[Form, ...] = ("auto", "events", "dense")
_FLAGS = ("-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
_FUNCTIONS = ("size", "tables", "form", "as_stored", "reset", "step", "answer", "run")
_KERNELS = ("common.h", "bits64.h", "lists.h")


@dataclass(frozen=True)
class Build:
    """A compiler with all of its flags."""

    name: str
    compiler: Compiler
    flags: tuple[str, ...]


def quick_flags() -> tuple[str, ...]:
    """This machine's own flags, with the least optimization that is not none."""
    return (*host_flags(find_compiler()), "-O1")


def builds(level: str, *more: str) -> tuple[Build, ...]:
    """gcc, where there is one, and zig, for each set of vector instructions that this processor has."""
    gcc, found = shutil.which("gcc"), []
    for instructions in _instructions():
        if gcc is not None:
            march = f"-march={instructions}"
            found.append(Build(f"gcc {level} {instructions}", Compiler((gcc,), "gcc"), (*_FLAGS, level, march, *more)))
        march = f"-march={instructions.replace('-', '_')}"
        flags = (*_FLAGS, level, march, *(more or ("-fno-sanitize=undefined", "-nostdlib")))
        found.append(Build(f"zig {level} {instructions}", Compiler(ZIG, "zig"), flags))
    return tuple(found)


def _instructions() -> list[str]:
    """Of x86 the machine's own (AVX-512 where it has it), AVX2 and the first 64-bit processors'; else the machine's."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ["native"]
    has_avx2 = any(" avx2 " in f"{line} " for line in processor_features())
    return ["native", *(["x86-64-v3"] if has_avx2 else []), "x86-64"]


def hand_graphs() -> dict[str, IntGraph]:
    """Every kind of node and neuron, by name."""
    return {**wide_hand_made_graphs(), "dense": dense_graph(), "residual": residual_graph(), "seven": _seven_wide()}


def _seven_wide() -> IntGraph:
    """Maps of 7 places a line: no number of places that are summed at a time divides it."""
    build = GraphBuilder(np.random.default_rng(7))
    x = build.neuron(build.requant(build.conv(build.input((3, 7, 7)), 5)))
    build.readout(build.requant(build.conv(x, 4)), mode="steps")
    return build.graph()


def sessions(graphs: Sequence[IntGraph], build: Build, *, form: Form = "auto") -> list[NativeSession]:
    """A session for each graph, all in one library."""
    sources = sources_of(graphs)
    return opened(graphs, sources, library_of(sources, build), form)


def sources_of(graphs: Sequence[IntGraph]) -> list[Source]:
    """The code of each, with its number in the name."""
    return [host_source(graph, f"network{k}") for k, graph in enumerate(graphs)]


def library_of(sources: Sequence[Source], build: Build) -> Path:
    """One library of them all: the kernels once, the functions of graph k with its number in their names."""
    folder = files("intsnn.emission") / "kernels"
    kernels = "\n".join((folder / name).read_text(encoding="utf-8") for name in _KERNELS) + "\n"
    texts = [kernels]
    for k, source in enumerate(sources):
        assert source.code.startswith(kernels)
        own = f"#define NETWORK{k}_TRACE\n{source.header}{source.code.removeprefix(kernels)}"
        texts.append(re.sub(r"\b(stage|STAGE)(?=\d)", rf"\g<1>_{k}_", own))
    return shared_library("".join(texts), compiler=build.compiler, flags=build.flags)


def opened(graphs: Sequence[IntGraph], sources: Sequence[Source], path: Path, form: Form) -> list[NativeSession]:
    """A session for each graph of a library."""
    library, found = load_library(path), []
    for k, (graph, source) in enumerate(zip(graphs, sources, strict=True)):
        named = SimpleNamespace(**{f"network_{name}": getattr(library, f"network{k}_{name}") for name in _FUNCTIONS})
        found.append(NativeSession(graph, cast("object", named), source, threads=1, synapses=form))  # type: ignore[arg-type]  # has the same functions
    return found


def changing_input(graph: IntGraph, *, samples: int = 2, seed: int = 0) -> IntArray:
    """More steps than are worked on at a time, one of which is as the one before it."""
    x = random_input(graph, time_steps=graph.time_steps or 6, samples=samples, seed=seed)
    x[2] = x[1]
    return x


def assert_same(trace: Trace, expected: Trace) -> None:
    """Every spike, membrane and answer."""
    assert np.array_equal(trace.output, expected.output)
    assert trace.per_step == expected.per_step
    for seen, wanted in ((trace.spikes, expected.spikes), (trace.membranes, expected.membranes)):
        assert list(seen) == list(wanted)
        for name, values in wanted.items():
            assert np.array_equal(seen[name], values), name


def spikes_of_equal_runs(found: Sequence[NativeSession]) -> int:
    """The spikes of all sessions, each equal to the interpreter in everything."""
    count = 0
    for session in found:
        x = changing_input(session.graph)
        expected = run(session.graph, x)
        assert_same(session.run(x), expected)
        count += sum(int(spikes.sum()) for spikes in expected.spikes.values())
    return count


def main(library: str, every: str) -> None:
    """Run the library of every so manieth hand-made graph in every form; print the spikes."""
    graphs = list(hand_graphs().values())[:: int(every)]
    sources = sources_of(graphs)
    counts = [spikes_of_equal_runs(opened(graphs, sources, Path(library), form)) for form in FORMS]
    sys.stdout.write(f"{counts[0]} spikes equal\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
