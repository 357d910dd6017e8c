"""A graph compiled for this machine: answers, traces, and one step after the other. Equal to the interpreter's."""

from __future__ import annotations

import ctypes
import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.checking.stages import require_proved_steps
from intsnn.compiling.cache import load_library, shared_library, stored_library
from intsnn.compiling.compiler import Compiler, host_flags
from intsnn.emission.memory import ALIGNMENT
from intsnn.emission.source import Source, host_source
from intsnn.errors import InputError, UsageError
from intsnn.execution.interpreter import Trace, checked_run, checked_steps
from intsnn.graph import IntGraph, IntNeuron, Shape
from intsnn.graph.windows import multiplications

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
        UsageError: an argument is none of these; or the cache folder, or a library in it, belongs to someone else.
    """
    _require_options(threads, compiler, flags, synapses)
    source = host_source(graph, _NAME)
    library = load_library(shared_library(host_text(source), compiler=compiler, flags=flags))
    return NativeSession(graph, library, source, threads=threads or _cores(), synapses=synapses)


def _require_options(threads: object, compiler: object, flags: object, synapses: object) -> None:
    if threads is not None and not _is_count(threads):
        raise UsageError(
            f"threads must be a whole number, at least 1 (got {threads!r})", hints=["None is one for each core"]
        )
    if compiler is not None and not isinstance(compiler, Compiler):
        raise UsageError(
            f"compiler must be a Compiler (got {compiler!r})",
            hints=["set the variable CC to choose one; intsnn.compiling.compiler.find_compiler() gives what is used"],
        )
    if flags is not None and not _are_words(flags):
        hint = f"flags={shlex.split(flags)!r}" if isinstance(flags, str) else 'for example flags=["-std=c11", "-O1"]'
        raise UsageError(f"flags must be a list of words (got {flags!r})", hints=[hint])
    if synapses not in _FORMS:
        raise UsageError(
            f"synapses must be one of {', '.join(_FORMS)} (got {synapses!r})", hints=["`auto` is the fastest"]
        )


def _is_count(value: object) -> bool:
    """Whether it is a whole number, Python's or NumPy's, of at least 1."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1


def _are_words(value: object) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return all(isinstance(word, str) for word in value)


def stored_session(graph: IntGraph, *, compiler: Compiler) -> NativeSession | None:
    """What `compile` with this compiler gives, if its library is in the cache; nothing is compiled."""
    source = host_source(graph, _NAME)
    library = stored_library(host_text(source), compiler=compiler, flags=host_flags(compiler))
    return None if library is None else NativeSession(graph, load_library(library), source, threads=_cores())


def host_text(source: Source) -> str:
    """One translation unit that a library is compiled from: header and code, with the trace."""
    return f"#define {source.name.upper()}_TRACE\n{source.header}{source.code}"


class NativeSession:
    """A compiled graph. `run` and `answer` take whole samples; `reset` and `step` one step after the other.

    Not for use by several threads at once: it spreads the samples over threads itself.

    Attributes:
        graph: what was compiled.
        threads: how many share the samples.
        max_steps: the most steps of a run, and of a stream from one `reset` to the next: what the graph has norms for,
            or up to which the sums of the readout are proved to fit int32. None: any number.
    """

    def __init__(
        self, graph: IntGraph, library: ctypes.CDLL, source: Source, *, threads: int, synapses: Form = "auto"
    ) -> None:
        self.graph = graph
        self._form = synapses
        self.threads = threads
        self._library = _typed(library)
        self.max_steps = source.longest_run
        self._channels_last = source.channels_last
        self._tables = _aligned(len(source.block))
        self._tables[: len(source.block)] = np.frombuffer(source.block, np.uint8)
        self._nets: list[npt.NDArray[np.uint8]] = []
        self._as_stored = False
        self._stream: _Stream | None = None
        self._neuron_sizes = np.array([int(np.prod(node.shape)) for node in graph.neurons] or [0], dtype=np.int64)
        self._sizes = _address(self._neuron_sizes)
        self._out, self._per_step = graph.output.shape, graph.output.mode == "steps"
        self._is_large = sum(map(multiplications, graph.all_synapses)) >= _LARGE
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="intsnn") if threads > 1 else None

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

        They are views of memory in the order in which the network works: of maps mostly with the channels last.

        Args:
            x: as for `run`.

        Raises:
            InputError: as for `run`.
        """
        array = self._checked(x)
        shapes = {node.name: (*array.shape[:2], *self._stored_shape(node)) for node in self.graph.neurons}
        spikes = {name: np.empty(shape, np.uint8) for name, shape in shapes.items()}
        self._run(array, list(spikes.values()), [], as_stored=True)
        return {
            name: np.moveaxis(values, -1, 2) if name in self._channels_last else values
            for name, values in spikes.items()
        }

    def _stored_shape(self, node: IntNeuron) -> Shape:
        channels, *axes = node.shape
        return (*axes, channels) if node.name in self._channels_last else node.shape

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
            InputError: it is no whole number, or less than 1.
        """
        if not _is_count(samples):
            raise InputError(
                f"samples must be a whole number, at least 1 (got {samples!r})", hints=["reset(1) for a single stream"]
            )
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
        frames = self._stored(checked_steps(self.graph, array[None]))[0]
        if self._stream is None:
            self.reset(len(frames))
        stream = self._stream
        assert stream is not None
        if len(frames) != len(stream.nets):
            raise InputError(
                f"a step must have {len(stream.nets)} samples, as the reset said (got {len(frames)})",
                hints=[f"call reset({len(frames)}) before a new set of streams"],
            )
        if self.max_steps is not None and stream.steps >= self.max_steps:
            norms, proof = "for which this graph has its norms", "for which the readout is proved to fit int32"
            raise InputError(
                f"a stream must have at most {self.max_steps} steps, {norms if self.graph.time_steps else proof}",
                hints=["call reset() where a new sample begins"],
            )
        stream.steps += 1
        answers = np.empty((len(frames), *self.graph.output.shape), np.int32)
        for net, frame, answer in zip(stream.nets, frames, answers, strict=True):
            self._library.network_step(_address(net), _address(frame))
            self._library.network_answer(_address(net), _address(answer))
        return answers.astype(np.int64)

    def _checked(self, x: npt.ArrayLike) -> npt.NDArray[np.integer]:
        array = checked_run(self.graph, x)
        hint = "run the sequence in parts with reset and step, and add up the answers in 64 bit"
        require_proved_steps(len(array), self.max_steps, hint=hint)
        return self._stored(array)

    def _stored(self, array: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        return np.ascontiguousarray(array, dtype=np.int8 if self.graph.input.signed else np.uint8)

    def _outputs(self, x: npt.NDArray[np.integer], kind: type[np.integer]) -> dict[str, npt.NDArray[np.integer]]:
        return {node.name: np.empty((*x.shape[:2], *node.shape), kind) for node in self.graph.neurons}

    def _run(
        self,
        x: npt.NDArray[np.integer],
        spikes: Sequence[npt.NDArray[np.integer]],
        membranes: Sequence[npt.NDArray[np.integer]],
        *,
        as_stored: bool = False,
    ) -> npt.NDArray[np.int32]:
        time_steps, samples = x.shape[:2]
        shape = (time_steps, samples, *self._out) if self._per_step else (samples, *self._out)
        answer = np.empty(shape, np.int32)
        pointers = [(ctypes.c_void_p * len(given))(*map(_address, given)) if given else None
                    for given in (spikes, membranes)]  # fmt: skip
        run, given, out = self._library.network_run, _address(x), _address(answer)

        def work(net: int, first: int, last: int, part: int, parts: int) -> None:
            run(net, given, time_steps, samples, first, last, out, *pointers, self._sizes, part, parts)

        shares = self._shares(samples)
        if as_stored != self._as_stored:
            self._as_stored = as_stored
            for net in self._nets:
                self._library.network_as_stored(_address(net), int(as_stored))
        if len(shares) > 1:
            assert self._pool is not None
            waiting = [self._pool.submit(work, *share) for share in shares[1:]]
            work(*shares[0])
            for each in waiting:
                each.result()
        else:
            work(*shares[0])
        return answer

    def _shares(self, samples: int) -> list[tuple[int, int, int, int, int]]:
        """What each thread does: the network it works on, its samples, and which part of their work.

        Samples are spread over threads; a large network shares one sample among them where there are fewer samples.
        """
        teams = min(self.threads, samples)
        size = self.threads // teams if self._is_large else 1
        while len(self._nets) < teams:
            self._nets.append(self._net())
        ends = [samples * team // teams for team in range(teams + 1)]
        return [
            (_address(self._nets[team]), ends[team], ends[team + 1], part, size)
            for team in range(teams)
            for part in range(size)
        ]

    def _net(self) -> npt.NDArray[np.uint8]:
        """The state of one network, and where its constants are."""
        net = _aligned(int(self._library.network_size()))
        self._library.network_tables(_address(net), _address(self._tables))
        self._library.network_form(_address(net), _FORMS[self._form])
        self._library.network_as_stored(_address(net), int(self._as_stored))
        return net


@dataclass
class _Stream:
    """Networks that take one step after the other, and the steps taken."""

    nets: list[npt.NDArray[np.uint8]]
    steps: int = 0


_LARGE = 20_000_000  # multiplications of a step, as a dense layer has them, from which threads gain more than they wait


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """Zeros that start where a vector may."""
    room = np.zeros(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size]


def _address(array: npt.NDArray[np.generic]) -> int:
    address: int = array.__array_interface__["data"][0]  # three times as fast as `.ctypes.data`
    return address


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.network_size.restype = ctypes.c_size_t
    library.network_size.argtypes = []
    library.network_tables.argtypes = [pointer, pointer]
    library.network_reset.argtypes = [pointer]
    library.network_step.argtypes = [pointer, pointer]
    library.network_answer.argtypes = [pointer, pointer]
    library.network_run.argtypes = [pointer, pointer, *[number] * 4, *[pointer] * 4, ctypes.c_int, ctypes.c_int]
    library.network_form.argtypes = library.network_as_stored.argtypes = [pointer, ctypes.c_int]
    for name in ("form", "as_stored", "tables", "reset", "step", "answer", "run"):
        getattr(library, f"network_{name}").restype = None
    return library
