"""Native code beside float frameworks and onnxruntime: whole networks, one layer at each rate, latency of the digits.

    python -m benchmarks native_speed --data-folder FOLDER > docs/results/native_speed.md

(from the checkout, on a quiet machine.) Everything that is compared is timed in one process, in turn, each round in
another order; ratios are those of a round. Before any time is taken, answers of native code and of onnxruntime are
compared, and must be equal.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

import intsnn
import mdcompress as md
from benchmarks.native_baselines import CHANNELS_LAST, CONTIGUOUS, FloatAnswer, baselines, compiled
from benchmarks.native_layers import LAYERS, Layer, driven, layer_graph
from benchmarks.native_networks import BUILDERS, firing_network, graph_of, images, rates
from intsnn import IntGraph
from intsnn.activity.additions import synaptic_additions
from intsnn.arithmetic import IntArray
from intsnn.compiling.compiler import find_compiler
from intsnn.graph import IntConv
from intsnn.native import Form, NativeSession
from intsnn.onnx.file import build_model
from intsnn.onnx.runtime import open_session
from mdcompress import zoo
from mdcompress.data import calibration, load_data
from mdcompress.pipeline.report import table
from mdcompress.pipeline.timing import Call, Timing, interleaved, times_as_fast
from mdcompress.recipe import load_recipe

RATE = 0.12  # of every neuron node, on training images
CALIBRATION_SAMPLES, SHOWN_SAMPLES = 32, 16
RECIPES = ("4bit", "8bit")
BATCHES, THREADS = (1, 16), (1, 2)
SWEPT_RATES = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.60)
SWEPT_SAMPLES = 4
PILOT_ROUNDS = 3
NATIVE, ONNX, COMPILED = "native", "onnxruntime", "torch.compile"
Words = npt.NDArray[np.integer]
Sliced = TypeVar("Sliced", Tensor, npt.NDArray[np.integer])
Part = Literal["networks", "layers", "digits"]
FORMS: tuple[Form, ...] = ("events", "dense", "auto")
PARTS: tuple[Part, ...] = ("networks", "layers", "digits")


@dataclass(frozen=True)
class Subject:
    """A float network, its integer graphs by recipe, and images: real x [T, N, C, H, W] and integers."""

    name: str
    network: nn.Module
    graphs: Mapping[str, IntGraph]
    real: Tensor
    integers: IntArray


def subjects(names: Sequence[str], folder: Path, *, recipes: Sequence[str], rate: float) -> Iterator[Subject]:
    """Networks that fire at this rate, calibrated by shipped recipes."""
    training, test = images(folder, CALIBRATION_SAMPLES), images(folder, SHOWN_SAMPLES, part="test")
    for name in names:
        network = firing_network(BUILDERS[name], training, rate=rate)
        students = {recipe: graph_of(network, training[:, :SHOWN_SAMPLES], recipe=recipe) for recipe in recipes}
        integers = {recipe: student.quantize_input(test).numpy() for recipe, (student, _) in students.items()}
        assert len({each.tobytes() for each in integers.values()}) == 1, "one input scale for both"
        graphs = {recipe: graph for recipe, (_, graph) in students.items()}
        yield Subject(name, network, graphs, test, integers[recipes[0]])


# ---------------------------------------------------------------------- whole networks


def engines(subject: Subject, threads: int, *, with_compile: bool) -> dict[str, tuple[Call, ...]]:
    """Name -> a call for each batch of BATCHES, one batch of images after the other. Floats have two memory formats."""
    found: dict[str, tuple[Call, ...]] = {}
    floats = baselines(subject.network)
    if with_compile:
        floats[f"{COMPILED}, float32"] = compiled(subject.network)
        floats[f"{COMPILED}, bfloat16"] = compiled(subject.network, dtype=torch.bfloat16)
    for name, answer in floats.items():
        found[name] = tuple(_in_turn([_float_call(answer, x, threads) for x in _parts(subject.real, batch)])
                            for batch in BATCHES)  # fmt: skip
    narrow = subject.integers.astype(np.uint8)
    for recipe, graph in subject.graphs.items():
        native = intsnn.compile(graph, threads=threads)
        _require_equal(graph, native, narrow, place=f"{subject.name}, {recipe}")
        batches = [[np.ascontiguousarray(x) for x in _parts(narrow, batch)] for batch in BATCHES]
        found[f"{ONNX}, {recipe}"] = tuple(_onnx_call(graph, each, threads) for each in batches)
        found[f"{NATIVE}, {recipe}"] = tuple(_in_turn([partial(native.answer, x) for x in each]) for each in batches)
    return found


def _in_their_best_format(calls: Mapping[str, Call]) -> dict[str, Call]:
    """Of the two memory formats of a framework the one that is faster in some rounds before; all other calls."""
    formats = {name: call for name, call in calls.items() if name.endswith((CONTIGUOUS, CHANNELS_LAST))}
    pilot = interleaved(formats, rounds=PILOT_ROUNDS)
    fastest: dict[str, str] = {}
    for name in sorted(formats, key=lambda name: pilot[name].median):
        fastest.setdefault(name.rpartition(", ")[0], name)
    return {name: call for name, call in calls.items() if name not in formats or name in fastest.values()}


def _float_call(answer: FloatAnswer, x: Tensor, threads: int) -> Call:
    def call() -> None:
        torch.set_num_threads(threads)
        answer(x)

    return call


def _parts(x: Sliced, batch: int) -> list[Sliced]:
    """[T, N, ...] as batches: the images differ in how much fires, so that one alone would say little."""
    return [x[:, first : first + batch] for first in range(0, x.shape[1], batch)]


def _in_turn(calls: Sequence[Call]) -> Call:
    """One call that does the next of several each time."""
    turn = itertools.cycle(calls)
    return lambda: next(turn)()


def _onnx_call(graph: IntGraph, batches: Sequence[Words], threads: int) -> Call:
    """model.onnx as a user runs it: the answer alone, without the checks of `OnnxSession`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = build_model(graph).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return _in_turn([partial(session.run, ["logits"], {"x": x}) for x in batches])


def _require_equal(graph: IntGraph, native: NativeSession, x: Words, *, place: str) -> None:
    answers = native.answer(x)
    assert np.array_equal(answers, open_session(graph).answer(x)), f"{place}: native and onnxruntime differ"
    assert answers.any(), f"{place}: nothing but zeros is compared"


def network_section(subject: Subject, *, rounds: int, threads_tried: Sequence[int], with_compile: bool) -> str:
    """Rates, a table of all engines, and what follows from it."""
    additions = {recipe: _additions(graph, subject.integers) for recipe, graph in subject.graphs.items()}
    rows, claims = [], []
    for threads in threads_tried:
        calls = engines(subject, threads, with_compile=with_compile)
        for index, batch in enumerate(BATCHES):
            _say(f"{subject.name}: {threads} threads, batch {batch}")
            found = interleaved(
                _in_their_best_format({name: each[index] for name, each in calls.items()}), rounds=rounds
            )
            rows += [_row(name, timing, found, threads, batch, additions) for name, timing in found.items()]
            claims += [_claims(found, threads, batch)]
            _say(" | ".join(claims[-1]))
    return "\n\n".join([
        f"## {TITLES[subject.name]}",
        _rates_table(subject),
        table(_CLAIMS, claims, numbers=[*_CLAIMS[:3], *_CLAIMS[4:]]),
        table(_HEADER, rows, numbers=_HEADER[1:]),
    ])  # fmt: skip


TITLES = {
    "vgg9": "VGG-9 (64, 64, pool, 128, 128, pool, 256, 256, 256, pool, linear 1024, linear 10)",
    "msresnet18": "MS-ResNet-18 (stem of 64, 8 blocks of 64 to 512)",
}
_HEADER = [
    "engine",
    "threads",
    "batch",
    "ms a batch",
    "quartiles",
    "ms a sample",
    "10^9 additions/s",
    "native is faster",
]
_CLAIMS = [
    "threads", "batch", "native than eager float32", "the fastest", "than torch.compile", "than bfloat16, eager",
    "compiled", "than onnxruntime",
]  # fmt: skip


def _rates_table(subject: Subject) -> str:
    found = {recipe: rates(graph, torch.from_numpy(subject.integers)) for recipe, graph in subject.graphs.items()}
    names = list(next(iter(found.values())))
    rows = [[name, *(f"{100 * found[recipe][name]:.1f} %" for recipe in found)] for name in names]
    return table(["neurons", *found], rows, numbers=list(found))


def _additions(graph: IntGraph, x: IntArray) -> float:
    """Weights added for a sample in the convolutions behind the first, which reads images and no spikes."""
    convolutions = {node.name for node in graph.of_type(IntConv)[1:]}
    counted = synaptic_additions(graph, intsnn.measure(graph, [x]))
    return math.fsum(each.mean for each in counted if each.name in convolutions) * len(x)


def _row(
    name: str, timing: Timing, found: Mapping[str, Timing], threads: int, batch: int, additions: Mapping[str, float]
) -> list[str]:
    low, high = timing.spread
    recipe = name.rpartition(", ")[2]
    rate = f"{additions[recipe] * batch / timing.median / 1e9:.1f}" if name.startswith(NATIVE) else ""
    native = found[_native_name(found)]
    return [
        name, str(threads), str(batch), _ms(timing.median), f"{_ms(low)} to {_ms(high)}", _ms(timing.median / batch),
        rate, "" if name.startswith(NATIVE) else str(times_as_fast(native, timing)),
    ]  # fmt: skip


def _native_name(found: Mapping[str, Timing]) -> str:
    """Native code of the first recipe."""
    return next(name for name in found if name.startswith(NATIVE))


def _claims(found: Mapping[str, Timing], threads: int, batch: int) -> list[str]:
    """Native code of the first recipe beside the fastest of each kind."""
    native = found[_native_name(found)]

    def beside(names: Sequence[str]) -> tuple[str, str]:
        there = [name for name in names if name in found]
        if not there:
            return "-", "-"
        fastest = min(there, key=lambda name: found[name].median)
        return str(times_as_fast(native, found[fastest])), fastest

    eager = [name for name in found if name.split(",")[0] in ("torch", "SpikingJelly", "snnTorch")]
    half = [name for name in found if name.startswith("torch bfloat16")]
    ratio, fastest = beside(eager)
    return [
        str(threads), str(batch), ratio, fastest, beside([f"{COMPILED}, float32"])[0], beside(half)[0],
        beside([f"{COMPILED}, bfloat16"])[0], beside([_native_name(found).replace(NATIVE, ONNX)])[0],
    ]  # fmt: skip


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.4g}"


# ---------------------------------------------------------------------- one layer at each rate


def layers_section(*, rounds: int) -> str:
    """For each layer: event-driven, dense and chosen kernels at each rate, beside torch's own layer."""
    parts = ["## One layer at each rate", _LAYERS_TEXT]
    for layer in LAYERS:
        header = [
            "rate", "events ms", "dense ms", "chosen ms", "empty ms", "chosen / better", "10^9 additions/s",
            "beyond empty", "torch ms",
        ]  # fmt: skip
        rows = [_layer_row(layer, rate, rounds=rounds) for rate in SWEPT_RATES]
        parts += [f"### {layer.name}", table(header, rows, numbers=header)]
    return "\n\n".join(parts)


def _layer_row(layer: Layer, rate: float, *, rounds: int) -> list[str]:
    graph, x = layer_graph(layer), driven(layer, rate, samples=SWEPT_SAMPLES)
    _say(f"{layer.name}: {rate:.0%}")
    sessions = {kind: intsnn.compile(graph, threads=1, synapses=kind) for kind in FORMS}
    expected = intsnn.run_onnx(graph, x).output
    for kind, session in sessions.items():
        assert np.array_equal(session.answer(x), expected), f"{layer.name} at {rate}: {kind} differs"
    calls: dict[str, Call] = {kind: partial(session.answer, x) for kind, session in sessions.items()}
    calls |= {"empty": partial(sessions["auto"].answer, np.zeros_like(x)), "torch": _torch_layer(graph, x)}
    found = interleaved(calls, rounds=rounds)
    better = min((found["events"], found["dense"]), key=lambda timing: timing.median)
    ratio = times_as_fast(better, found["auto"])
    additions, whole, empty = layer.additions(x.astype(np.int64)), found["auto"].median, found["empty"].median
    shown = [_ms(found[kind].median) for kind in (*FORMS, "empty")]
    speeds = [f"{additions / seconds / 1e9:.1f}" for seconds in (whole, whole - empty)]
    return [f"{rate:.0%}", *shown, str(ratio), *speeds, _ms(found["torch"].median)]


def _torch_layer(graph: IntGraph, x: Words) -> Call:
    """The float layer alone, without neuron, in the faster memory format."""
    weight = torch.from_numpy(graph.synapses[0].weight.astype(np.float32))
    merged = torch.from_numpy(x.reshape(-1, *x.shape[2:]).astype(np.float32))
    if weight.ndim == 2:
        return _inferred(lambda: nn.functional.linear(merged, weight))
    last, weight_last = (each.contiguous(memory_format=torch.channels_last) for each in (merged, weight))
    return _inferred(lambda: nn.functional.conv2d(last, weight_last, padding=1))


def _inferred(call: Call) -> Call:
    def inferred() -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            call()

    return inferred


# ---------------------------------------------------------------------- digits


def digits_section(*, rounds: int) -> str:
    """One image at a time through the trained digits student."""
    recipe = load_recipe("4bit")
    splits = load_data(recipe.data, seed=recipe.seed)
    torch.manual_seed(recipe.seed)
    network = zoo.digits_snn()
    md.train_network(
        network, train=splits.train, validate=splits.validation, spec=recipe.teacher, settings=recipe.train,
        seed=recipe.seed,
    )  # fmt: skip
    batches = [x for x, _ in calibration(splits, recipe.data.calibration_samples, seed=recipe.seed)]
    student = md.compress(network, batches[0][:, :2], recipe, batches)
    graph = md.lower(student)
    test = torch.cat([x for x, _ in splits.test], dim=1)
    x = student.quantize_input(test).numpy().astype(np.uint8)
    native, image = intsnn.compile(graph, threads=1), np.ascontiguousarray(x[:, :1])
    _require_equal(graph, native, x, place="digits")
    floats = {name: _float_call(answer, test[:, :1], 1) for name, answer in baselines(network.eval()).items()}
    calls: dict[str, Call] = {NATIVE: partial(native.answer, image), ONNX: _onnx_call(graph, [image], 1), **floats}
    found = interleaved(calls, rounds=rounds)
    header = ["engine", "us an image", "quartiles", "native is faster"]
    rows = [
        [name, f"{1e6 * timing.median:.1f}", " to ".join(f"{1e6 * end:.1f}" for end in timing.spread),
         "" if name == NATIVE else str(times_as_fast(found[NATIVE], timing))]
        for name, timing in found.items()
    ]  # fmt: skip
    note = f"Answers are equal on all {x.shape[1]} test images."
    return "\n\n".join(["## Digits, one image at a time, one thread", note, table(header, rows, numbers=header[1:])])


# ---------------------------------------------------------------------- the page


_HEAD = """\
# Native code beside float frameworks and onnxruntime

`{command}` prints this page.

{machine}

Every figure is a median of {rounds} rounds; in a round each engine is timed once, in turn and in another order, after a
call that warms it up, and each at least for 20 ms. Ratios are medians of the rounds' own ratios, with the interval of a
sign test (95 %). `native is faster` and the ratios are of native code at 4 bits. Answers of native code and
onnxruntime were equal on all inputs before any time was taken. Float networks have folded batch norms, layers without
memory take all steps at once, still images go through the first layer once, as in native code, and nothing is recorded
(`inference_mode`). Each framework has the memory format, contiguous or channels last, that was faster in {pilot} rounds
before. torch.compile and bfloat16 stand by themselves; bfloat16 changes spikes. 10^9 additions/s: synaptic additions of
the convolutions behind the first, in the time of the whole network."""

_LAYERS_TEXT = f"""\
Binary input of {SWEPT_SAMPLES} samples x 4 steps, 4-bit weights, one thread, with packing of the input, requant and
neuron. `chosen` is what the session takes by itself; its ratio to the better of the other two must not exceed 1.2.
torch: the float32 layer alone, channels last, without neuron. Additions are those of the input that was drawn, in a
second of `chosen`, and in a second of what it takes beyond an input without spikes (`empty`: packing, requant,
neuron)."""


def _machine(rate: float) -> str:
    processor = platform.processor() or platform.machine()
    features: set[str] = set()
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file():
        lines = dict(line.split(":", 1) for line in cpu.read_text().splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in lines.items()}
        processor, features = named.get("model name", processor), set(named.get("flags", "").split())
    shown = [name for name in ("avx2", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_bf16") if name in features]
    return (
        f"Machine: {processor}, {os.cpu_count()} cores ({', '.join(shown) or 'features unknown'}), load "
        f"{os.getloadavg()[0]:.2f} at the start; {find_compiler().version}; torch {version('torch')}, SpikingJelly "
        f"{version('spikingjelly')}, snnTorch {version('snntorch')}, onnxruntime {version('onnxruntime')}. Images: "
        f"CIFAR-10 (JPEG q75). Networks: biases set layer by layer so that every neuron node fires at {rate:.0%} on "
        f"training images, then the shipped recipes, seed 0."
    )


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path, required=True, help="where cifar10_jpeg_q75.npz lies")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--networks", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument(
        "--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="the first is held against"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=list(THREADS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rate", type=float, default=RATE, help="spikes per neuron and step of every neuron node")
    parser.add_argument("--without-compile", action="store_true", help="leave torch.compile out, which takes minutes")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    given = ["FOLDER" if each == str(chosen.data_folder) else each for each in sys.argv[1:]]
    command = f"python -m benchmarks native_speed {shlex.join(given)}"
    _print(_HEAD.format(command=command, machine=_machine(chosen.rate), rounds=chosen.rounds, pilot=PILOT_ROUNDS))
    with_compile = not chosen.without_compile
    if "networks" in chosen.parts:
        for subject in subjects(chosen.networks, chosen.data_folder, recipes=chosen.recipes, rate=chosen.rate):
            _print(
                "\n"
                + network_section(
                    subject, rounds=chosen.rounds, threads_tried=chosen.threads, with_compile=with_compile
                )
            )
    if "layers" in chosen.parts:
        _print("\n" + layers_section(rounds=chosen.rounds))
    if "digits" in chosen.parts:
        _print("\n" + digits_section(rounds=chosen.rounds))


def _print(part: str) -> None:
    """At once: what comes later takes minutes."""
    sys.stdout.write(part + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
