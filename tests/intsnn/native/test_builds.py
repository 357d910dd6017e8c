"""Compilers, levels of optimization and vector instructions give the interpreter's values; sanitizers are silent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import intsnn.emission.merged as merged_module
import intsnn.emission.segments as segments_module
import intsnn.emission.source as source_module
from intsnn.compiling.cache import shared_library
from intsnn.emission.memory import Layout, Lifetime, placed
from intsnn.emission.segments import Kept
from intsnn.emission.source import host_source
from intsnn.emission.targets import Target
from intsnn.execution.interpreter import run
from tests.support.native_sessions import (
    FORMS,
    Build,
    assert_same,
    builds,
    changing_input,
    hand_graphs,
    library_of,
    opened,
    sessions,
    sources_of,
    spikes_of_equal_runs,
)
from tests.support.paths import ROOT

GRAPHS = tuple(hand_graphs().values())
PLAIN, OPTIMIZED = builds("-O0"), builds("-O3")
TRAPS = {"gcc": "-fsanitize-undefined-trap-on-error", "zig": "-fsanitize-trap=undefined"}
UNDEFINED = tuple(
    build
    for name, trap in TRAPS.items()
    for build in builds("-O0", "-fsanitize=undefined", trap, "-nostdlib")
    if build.name in (f"{name} -O0 native",)
)
POISON, GAP = 0xA5, 256


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are cut before every linear layer behind a neuron; the windows of some convolutions are not merged.

    As if weights were large.
    """
    monkeypatch.setattr(segments_module, "_LARGE_BYTES", 0)
    monkeypatch.setattr(merged_module, "_LARGEST_BYTES", 500)


@pytest.mark.parametrize("k", range(len(PLAIN)), ids=[build.name for build in PLAIN])
def test_all_graphs_are_equal_without_optimization(k: int) -> None:
    """By the first compiler with each set of instructions; the second compiles each graph with one of them."""
    is_second = PLAIN[k].compiler != PLAIN[0].compiler
    share = GRAPHS[k // 2 :: len(PLAIN) // 2] if is_second else GRAPHS
    assert spikes_of_equal_runs(sessions(share, PLAIN[k])) > 100


@pytest.mark.usefixtures("cut")
def test_all_graphs_are_equal_with_either_form_of_every_synapse() -> None:
    sources = sources_of(GRAPHS)
    library = library_of(sources, PLAIN[0])
    for form in FORMS[1:]:
        assert spikes_of_equal_runs(opened(GRAPHS, sources, library, form)) > 1000


@pytest.mark.parametrize("k", range(len(OPTIMIZED)), ids=[build.name for build in OPTIMIZED])
def test_graphs_are_equal_with_all_optimization(k: int) -> None:
    """Each graph in one build, each build with its share: compiling takes long."""
    share = GRAPHS[(k + 1) % len(OPTIMIZED) :: len(OPTIMIZED)]
    assert spikes_of_equal_runs(sessions(share, OPTIMIZED[k])) > 100


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("build", UNDEFINED, ids=lambda build: build.name)
def test_nothing_undefined_is_done(build: Build) -> None:
    every = 1 if build.name.startswith("gcc") else 7  # zig takes minutes for all of them
    library = library_of(sources_of(GRAPHS[::every]), build)
    command = [sys.executable, "-m", "tests.support.native_sessions", str(library), str(every)]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "spikes equal" in done.stdout, done.stderr


def test_what_is_undefined_ends_the_process(tmp_path: Path) -> None:
    """The check above can fail."""
    build = UNDEFINED[0]
    text = '__attribute__((visibility("default"))) int wrong(int a) { return a + 1; }\n'
    library = shared_library(text, compiler=build.compiler, flags=build.flags)
    (tmp_path / "call.py").write_text(f"import ctypes\nctypes.CDLL({str(library)!r}).wrong(2**31 - 1)\n")
    done = subprocess.run([sys.executable, tmp_path / "call.py"], capture_output=True, check=False)
    assert done.returncode < 0


@pytest.mark.usefixtures("cut")
def test_no_address_outside_of_what_is_given_is_touched() -> None:
    """Arrays of NumPy have zones around them that must not be touched, where this library stands before all others."""
    gcc = shutil.which("gcc")
    runtime = "" if gcc is None else _printed(gcc, "-print-file-name=libasan.so")
    if not Path(runtime).is_absolute():
        return  # the folder of C is tested so with zig
    build = next(build for build in builds("-O0", "-fsanitize=address") if build.compiler.command == (gcc,))
    library = library_of(sources_of(GRAPHS), build)
    command = [sys.executable, "-m", "tests.support.native_sessions", str(library), "1"]
    environment = {**_environment(), "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "spikes equal" in done.stdout, done.stderr[-3000:]


@pytest.mark.usefixtures("cut")
def test_no_tensor_leaves_its_place_and_none_is_read_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tensor at a place of its own between gaps; tensors and gaps hold garbage before every run."""
    layouts: list[tuple[Layout, list[Lifetime]]] = []
    waiting: list[tuple[Kept, dict[str, int]]] = []

    def apart(tensors: list[Lifetime]) -> Layout:
        offsets, size = _spread({tensor.name: tensor.size for tensor in tensors})
        layouts.append((Layout(offsets, size), tensors))
        return layouts[-1][0]

    def kept_apart(sizes: dict[str, int], target: Target) -> Kept:
        offsets, size = _spread(sizes) if sizes else ({}, 0)
        waiting.append((Kept(offsets, size, 2 * target.steps), sizes))
        return waiting[-1][0]

    monkeypatch.setattr(source_module, "placed", apart)
    monkeypatch.setattr(source_module, "kept", kept_apart)
    sources = sources_of(GRAPHS)
    assert sum(bool(sizes) for _, sizes in waiting) > 3
    library = library_of(sources, PLAIN[0])
    found = [session for form in FORMS for session in opened(GRAPHS, sources, library, form)]
    for session, (layout, tensors), (kept, sizes) in zip(found, layouts * 3, waiting * 3, strict=True):
        x = changing_input(session.graph)
        net = session._net()
        shared, waits = net[: layout.size], net[layout.size :][: kept.step_bytes * kept.vectors]
        shared[:] = waits[:] = POISON
        session._nets.append(net)
        assert_same(session.run(x), run(session.graph, x))
        _require_poison(shared, layout.offsets, {tensor.name: tensor.size for tensor in tensors})
        for step in waits.reshape(kept.vectors, -1):
            _require_poison(step, kept.offsets, sizes)


def _spread(sizes: dict[str, int]) -> tuple[dict[str, int], int]:
    """Places with gaps between them, and the end of the last gap."""
    offsets, at = {}, GAP
    for name, size in sizes.items():
        offsets[name] = at
        at += -(-size // 64) * 64 + GAP
    return offsets, at


def _require_poison(memory: npt.NDArray[np.uint8], offsets: dict[str, int], sizes: dict[str, int]) -> None:
    """The gaps between the tensors are as they were."""
    gaps = np.ones(len(memory), dtype=bool)
    for name, size in sizes.items():
        gaps[offsets[name] :][:size] = False
    assert not len(memory) or (gaps.sum() >= GAP and (memory[gaps] == POISON).all())


def test_memory_is_shared_over_a_step() -> None:
    """Without which the test above would say less."""
    graph = hand_graphs()["residual"]
    seen: list[tuple[int, int]] = []

    def counted(tensors: list[Lifetime]) -> Layout:
        layout = placed(tensors)
        seen.append((layout.size, sum(tensor.size for tensor in tensors)))
        return layout

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_module, "placed", counted)
        host_source(graph)
    assert seen[0][0] < seen[0][1]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")])}


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
