"""A graph compiled for this machine: answers, traces, and one step after the other. Equal to the interpreter's."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.checking.stages import longest_run
from intsnn.errors import InputError
from intsnn.execution.interpreter import Trace, checked_frames, checked_input
from intsnn.graph import IntGraph
from intsnn.native.cache import load_library, shared_library, stored_library
from intsnn.native.compiler import Compiler, host_flags
from intsnn.native.memory import ALIGNMENT
from intsnn.native.source import Source, host_source

_NAME = "network"
Form = Literal["auto", "events", "dense"]  # how synapses are summed: as fits, active inputs alone, all inputs
_FORMS: Mapping[Form, int] = {"auto": 0, "events": 1, "dense": 2}


def compile(
    graph: IntGraph,
    *,
    threads: int | None = None,
    compiler: Compiler | None = None,
    flags: Sequence[str] | None = None,
    synapses: Form = "auto",
) -> NativeSession:
    """Compile a graph to machine code, or take it from the cache.

    Args:
        graph: legal.
        threads: that work on samples at the same time; None: one for each core that this process may use.
        compiler: None: `$CC`, or the first of cc, gcc, clang and the package ziglang that works.
        flags: all flags of the compiler; None: those of the fastest library, `host_flags(compiler)`.
        synapses: `auto`: each layer adds the rows of what is active, or all rows where so much is active that this is
            faster; `events` and `dense` for one of the two alone, to compare (dense where the processor can).

    Returns:
        A session; many runs, one compilation.

    Raises:
        CompilerError: there is no C compiler, or it fails.
        GraphError: the graph breaks a rule of FORMAT.md.
        UsageError: the cache folder, or a library in it, belongs to someone else.
    """
    source = host_source(graph, _NAME)
    library = load_library(shared_library(host_text(source), compiler=compiler, flags=flags))
    return NativeSession(graph, library, source.block, threads=threads or _cores(), synapses=synapses)


def is_compiled(graph: IntGraph, *, compiler: Compiler) -> bool:
    """Whether `compile` with this compiler finds its library in the cache."""
    text = host_text(host_source(graph, _NAME))
    return stored_library(text, compiler=compiler, flags=host_flags(compiler)) is not None


def host_text(source: Source) -> str:
    """One translation unit that a library is compiled from: header and code, with the trace."""
    return f"#define {source.name.upper()}_TRACE\n{source.header}{source.code}"


class NativeSession:
    """A compiled graph. `run` and `answer` take whole samples; `reset` and `step` one step after the other.

    Not for use by several threads at once: it spreads the samples over threads itself.
    """

    def __init__(
        self, graph: IntGraph, library: ctypes.CDLL, tables: bytes, *, threads: int, synapses: Form = "auto"
    ) -> None:
        self.graph = graph
        self._form = synapses
        self.threads = threads
        self._library = _typed(library)
        self._longest_run = longest_run(graph)
        self._tables = _aligned(len(tables))
        self._tables[: len(tables)] = np.frombuffer(tables, np.uint8)
        self._nets: list[npt.NDArray[np.uint8]] = []
        self._stream: _Stream | None = None
        self._sizes = np.array([int(np.prod(node.shape)) for node in graph.neurons] or [0], dtype=np.int64)

    def run(self, x: npt.ArrayLike) -> Trace:
        """Run whole samples and keep every spike and membrane.

        Args:
            x: integers [T, N, *input shape], in the range of the graph's input.

        Returns:
            As `intsnn.run` gives it.

        Raises:
            InputError: x has another shape, is no integers, leaves the range, or has more steps than are proved.
        """
        array = self._checked(x)
        spikes, membranes = self._outputs(array, np.uint8), self._outputs(array, np.int32)
        answer = self._run(array, list(spikes.values()), list(membranes.values()))
        return Trace(
            answer.astype(np.int64),
            {name: values.astype(np.int64) for name, values in spikes.items()},
            {name: values.astype(np.int64) for name, values in membranes.items()},
            per_step=self.graph.output.mode == "steps",
        )

    def spikes(self, x: npt.ArrayLike) -> dict[str, npt.NDArray[np.uint8]]:
        """The spikes of every neuron by name, [T, N, *shape], and nothing else.

        Args:
            x: as for `run`.

        Raises:
            InputError: as for `run`.
        """
        array = self._checked(x)
        spikes = self._outputs(array, np.uint8)
        self._run(array, list(spikes.values()), [])
        return {name: values.astype(np.uint8, copy=False) for name, values in spikes.items()}

    def answer(self, x: npt.ArrayLike) -> IntArray:
        """The readout alone, [N, *shape] or [T, N, *shape], int64.

        Args:
            x: as for `run`.

        Raises:
            InputError: as for `run`.
        """
        return self._run(self._checked(x), [], []).astype(np.int64)

    def reset(self, samples: int = 1) -> None:
        """Put `samples` networks to rest, side by side, for `step`.

        Args:
            samples: N of the steps that follow.

        Raises:
            InputError: it is less than 1.
        """
        if samples < 1:
            raise InputError(f"samples must be at least 1 (got {samples})", hints=["reset(1) for a single stream"])
        self._stream = _Stream([self._net() for _ in range(samples)])
        for net in self._stream.nets:
            self._library.network_reset(_address(net))

    def step(self, x: npt.ArrayLike) -> IntArray:
        """Take one step of every stream; the first call resets.

        Args:
            x: integers [N, *input shape].

        Returns:
            The readout so far, [N, *shape]: the sum, the last or the largest value; of a graph that gives every step
            the one of this step. int64.

        Raises:
            InputError: x does not fit, N is not that of the reset, or the stream is longer than is proved.
        """
        array = np.asarray(x)
        if array.shape[1:] != self.graph.input.shape or not len(array):
            expected = ", ".join(["N", *map(str, self.graph.input.shape)])
            raise InputError(
                f"a step must have shape [{expected}] (got {list(array.shape)})",
                hints=["one sample of shape [...] is x[None]; whole sequences go to run or answer"],
            )
        frames = self._stored(checked_frames(self.graph, array[None]))[0]
        if self._stream is None:
            self.reset(len(frames))
        stream = self._stream
        assert stream is not None
        if len(frames) != len(stream.nets):
            raise InputError(
                f"a step must have {len(stream.nets)} samples, as the reset said (got {len(frames)})",
                hints=[f"call reset({len(frames)}) before a new set of streams"],
            )
        if stream.steps >= self._longest_run:
            reason = "for which the readout is proved to fit int32"
            reason = reason if self.graph.time_steps is None else "for which this graph has its norms"
            raise InputError(
                f"a stream must have at most {self._longest_run} steps, {reason}",
                hints=["call reset() where a new sample begins"],
            )
        stream.steps += 1
        answers = np.empty((len(frames), *self.graph.output.shape), np.int32)
        for net, frame, answer in zip(stream.nets, frames, answers, strict=True):
            self._library.network_step(_address(net), _address(frame))
            self._library.network_answer(_address(net), _address(answer))
        return answers.astype(np.int64)

    def _checked(self, x: npt.ArrayLike) -> npt.NDArray[np.integer]:
        array = checked_input(self.graph, x)
        if len(array) > self._longest_run:
            raise InputError(
                f"the input must have at most {self._longest_run} steps, for which the readout is proved to fit int32"
                f" (got {len(array)})",
                hints=["run the sequence in parts with reset and step, and add up the answers in 64 bit"],
            )
        return self._stored(array)

    def _stored(self, array: IntArray) -> npt.NDArray[np.integer]:
        return np.ascontiguousarray(array, dtype=np.int8 if self.graph.input.signed else np.uint8)

    def _outputs(self, x: npt.NDArray[np.integer], kind: type[np.integer]) -> dict[str, npt.NDArray[np.integer]]:
        return {node.name: np.empty((*x.shape[:2], *node.shape), kind) for node in self.graph.neurons}

    def _run(
        self,
        x: npt.NDArray[np.integer],
        spikes: Sequence[npt.NDArray[np.integer]],
        membranes: Sequence[npt.NDArray[np.integer]],
    ) -> npt.NDArray[np.int32]:
        time_steps, samples = x.shape[:2]
        per_step = self.graph.output.mode == "steps"
        shape = (*((time_steps,) if per_step else ()), samples, *self.graph.output.shape)
        answer = np.empty(shape, np.int32)
        parts = min(self.threads, samples)
        ends = [samples * part // parts for part in range(parts + 1)]
        while len(self._nets) < parts:
            self._nets.append(self._net())
        pointers = [(ctypes.c_void_p * len(given))(*map(_address, given)) if given else None
                    for given in (spikes, membranes)]  # fmt: skip

        def work(part: int) -> None:
            self._library.network_run(
                _address(self._nets[part]), _address(x), time_steps, samples, ends[part], ends[part + 1],
                _address(answer), *pointers, _address(self._sizes),
            )  # fmt: skip

        if parts == 1:
            work(0)
        else:
            with ThreadPoolExecutor(parts) as pool:
                list(pool.map(work, range(parts)))
        return answer

    def _net(self) -> npt.NDArray[np.uint8]:
        """The state of one network, and where its constants are."""
        net = _aligned(int(self._library.network_size()))
        self._library.network_tables(_address(net), _address(self._tables))
        self._library.network_form(_address(net), _FORMS[self._form])
        return net


@dataclass
class _Stream:
    """Networks that take one step after the other, and the steps taken."""

    nets: list[npt.NDArray[np.uint8]]
    steps: int = 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """Zeros that start where a vector may."""
    room = np.zeros(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size]


def _address(array: npt.NDArray[np.generic]) -> int:
    return array.ctypes.data


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.network_size.restype = ctypes.c_size_t
    library.network_size.argtypes = []
    library.network_tables.argtypes = [pointer, pointer]
    library.network_reset.argtypes = [pointer]
    library.network_step.argtypes = [pointer, pointer]
    library.network_answer.argtypes = [pointer, pointer]
    library.network_run.argtypes = [pointer, pointer, number, number, number, number, *[pointer] * 4]
    library.network_form.argtypes = [pointer, ctypes.c_int]
    for name in ("form", "tables", "reset", "step", "answer", "run"):
        getattr(library, f"network_{name}").restype = None
    return library
