"""A graph and inputs -> its activity: a session gives the spikes, and what they make each synapse read is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from intsnn.activity.activity import Activity, activity_of
from intsnn.activity.counting import Counting, counting_for
from intsnn.activity.occupancy import Cut, FloatArray, sharing, usual_cuts
from intsnn.activity.planes import SAMPLES, Planes, Words, count_ones, unpacked
from intsnn.activity.reads import Integers, read_tensors, words_of
from intsnn.engines import AUTO, EngineChoice, Session, Size, Work, open_engine
from intsnn.errors import InputError
from intsnn.execution.interpreter import checked_run
from intsnn.graph import IntGraph, IntMatMul, IntNeuron, IntRecurrentNeuron, Synapse

_VALUES_AT_ONCE = 1 << 28  # spikes of all neurons, samples and steps held at a time, in bytes


def measure(
    graph: IntGraph,
    batches: Iterable[npt.ArrayLike],
    *,
    cuts: Iterable[Cut] = (),
    engine: EngineChoice | Session = AUTO,
) -> Activity:
    """Run a graph on batches [T, N, *input shape] of integers and count.

    Args:
        graph: the network.
        batches: its inputs.
        cuts: ways of cutting rows to count idle arrays of, besides the usual ones (each where a layer allows it).
        engine: what runs the graph: `auto`, `native`, `onnxruntime`, `interpreter`, or a session of this graph. All
            give the same counts.

    Returns:
        Spikes and values per node and step, mean per sample.

    Raises:
        InputError: there is no batch, or T differs between batches.
        CompilerError: `native` is asked for, and there is no C compiler.
    """
    counter = _Counter(graph, tuple(cuts))
    tools: _Tools | None = None
    totals: dict[str, FloatArray] = {}
    time_steps, samples, constant = 0, 0, True
    for batch in batches:
        array = checked_run(graph, batch)
        if samples and len(array) != time_steps:
            raise InputError(f"every batch must have the same number of steps (got {time_steps} and {len(array)})")
        time_steps, samples = len(array), samples + array.shape[1]
        constant = constant and np.array_equal(array[1:], array[:-1])
        tools = tools or _Tools.opened(graph, engine, _work(batches, array))
        for part in _parts(graph, array):
            for name, counts in tools.done(counter.counts(part, tools.session.spikes(part), tools.counting)):
                totals[name] = totals.get(name, 0.0) + counts
    if samples == 0:
        raise InputError(
            "the activity needs at least one batch (got none)", hints=["give batches of shape [T, N, ...]"]
        )
    means = {name: counts / samples for name, counts in totals.items()}
    found = activity_of(graph, means, counter.cuts, source="measured", samples=samples, time_steps=time_steps)
    return replace(found, constant_input=constant)


Job = tuple[str, Callable[[], FloatArray]]  # the name of a result, and what counts it


@dataclass(frozen=True)
class _Tools:
    """What makes spikes, and what counts them."""

    session: Session
    counting: Counting

    @classmethod
    def opened(cls, graph: IntGraph, engine: EngineChoice | Session, work: Work) -> _Tools:
        """Those for an amount of work."""
        session = open_engine(graph, engine, work=work).session if isinstance(engine, str) else engine
        return cls(session, counting_for(work.steps * Size.of(graph).values))

    def done(self, jobs: Iterable[Job]) -> Iterator[tuple[str, FloatArray]]:
        """Do jobs with the session's threads; their results in the order of the jobs."""
        if self.session.threads == 1:
            yield from ((name, count()) for name, count in jobs)
            return
        with ThreadPoolExecutor(self.session.threads, thread_name_prefix="activity") as pool:
            for name, found in [(name, pool.submit(count)) for name, count in jobs]:
                yield name, found.result()


class _Counter:
    """What is counted of one graph.

    cuts: of each synapse, by name.
    """

    def __init__(self, graph: IntGraph, more: Sequence[Cut]) -> None:
        self.graph, self.words = graph, words_of(graph)
        self.cuts = {node.name: _cuts_of(node, more) for node in graph.all_synapses}
        self._synapses = {
            name: tuple(node for node in graph.all_synapses if node.inputs[0] == name) for name in self.words
        }

    def counts(self, x: Integers, spikes: Mapping[str, Integers], counting: Counting) -> Iterator[Job]:
        """What counts each neuron, synapse and product on at most 64 samples; values are packed on the way."""
        read: dict[str, Planes] = {}
        for node, planes in read_tensors(self.graph, x, spikes, words=self.words, pack=counting.pack):
            read[node.name] = planes
            if isinstance(node, IntNeuron):
                yield node.name, partial(_neuron_counts, planes)
            for synapse in self._synapses[node.name]:
                before = isinstance(node, IntRecurrentNeuron) and synapse.name == node.recurrent_synapse.name
                seen = planes.previous_step() if before else planes
                yield synapse.name, partial(_synapse_counts, synapse, seen, self.cuts[synapse.name], counting)
        for product in self.graph.of_type(IntMatMul):
            left, right = (read[name] for name in product.inputs)
            yield product.name, partial(_product_counts, left.active, right.active, samples=x.shape[1])


def _synapse_counts(node: Synapse, x: Planes, cuts: Sequence[Cut], counting: Counting) -> FloatArray:
    """[4 + 3 for each cut, T]: active inputs, row activations, row pulses, input sum; then occupancies."""
    steps = x.words.shape[1]
    if steps > 1 and not (x.words[:, 1:] != x.words[:, :1]).any():  # a still image, given anew at each step
        return _synapse_counts(node, Planes(x.words[:, :1], x.signed), cuts, counting).repeat(steps, axis=1)
    found = counting.count(node, x.words, cuts)
    active = found if x.binary else counting.count(node, x.active[None], ())
    counts = [active.ones[0], active.used[0], found.used.sum(axis=0), x.weights @ found.ones]
    return np.concatenate([np.array(counts, np.float64), found.occupied.reshape(-1, steps)])


def _product_counts(left: Words, right: Words, *, samples: int) -> FloatArray:
    """[3, T]: active values of both operands, and pairs of which neither is 0."""
    a, b = (unpacked(Planes(words[None], signed=False), samples) for words in (left, right))
    pairs = a.sum(axis=-2) * b.sum(axis=-1)  # of each head and inner index d
    return np.stack([_per_step(part) for part in (a, b, pairs)])


def _neuron_counts(x: Planes) -> FloatArray:
    """The sum of all values of each step, [1, T]."""
    total: FloatArray = x.weights @ np.stack([_per_step(count_ones(words)) for words in x.words])
    return total[None]


def _per_step(x: npt.NDArray[np.int64]) -> FloatArray:
    """[T, ...] -> the sum of each step, [T]."""
    sums: FloatArray = x.sum(axis=tuple(range(1, x.ndim))).astype(np.float64)  # in whatever order it lies in memory
    return sums


def _parts(graph: IntGraph, x: Integers) -> Iterator[Integers]:
    """X [T, N, ...] in parts of samples that fit a word, and whose spikes fit in memory."""
    spikes = len(x) * sum(int(np.prod(node.shape)) for node in graph.neurons)
    together = max(1, min(SAMPLES, _VALUES_AT_ONCE // max(1, spikes)))
    for start in range(0, x.shape[1], together):
        yield x[:, start : start + together]


def _work(batches: Iterable[npt.ArrayLike], first: Integers) -> Work:
    """How much there is to do: known where the batches are counted, else the first stands for all."""
    count = len(batches) if isinstance(batches, Sized) else 1
    return Work(samples=count * first.shape[1], time_steps=len(first))


def _cuts_of(node: Synapse, more: Sequence[Cut]) -> tuple[Cut, ...]:
    """The usual cuts, then those of `more` that the layer allows; each once."""
    groups, per_group, kernel = sharing(node)
    heights = {"kernel_split": per_group, "im2col": per_group * kernel}
    fitting = (
        cut
        for cut in more
        if cut.rows <= heights[cut.mapping]
        and cut.groups <= groups
        and (cut.groups == 1 or cut.rows == heights[cut.mapping])
    )
    return tuple(dict.fromkeys((*usual_cuts(node), *fitting)))
