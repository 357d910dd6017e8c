"""Hypothesis strategies of integer graphs that use every node and every option of a neuron, hardware or not."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from intsnn.arithmetic import IntType
from intsnn.checking.proofs import CONV_READS, LINEAR_READS
from intsnn.graph import IntGraph, Shape, Sizes
from intsnn.graph.bounds import INT32, MAX_TIME_STEPS, TensorRole, carries
from tests.support.graph_builder import GraphBuilder, NeuronOptions, Reset, Spike, Timing
from tests.support.intgraphs import int_graphs

_MOST_VALUES = 48  # of a tensor, so that the naive loops stay fast
BITS = (1, 1.58, 2, 3, 4, 8)


def any_graphs() -> st.SearchStrategy[IntGraph]:
    """A graph of the common nodes, or one of all of them."""
    return st.one_of(int_graphs(), wide_graphs(), wide_graphs())


def weighted_graphs() -> st.SearchStrategy[IntGraph]:
    """Any graph that a crossbar chip can hold: it has a synapse."""
    return any_graphs().filter(lambda graph: bool(graph.all_synapses))


def graphs_of_any_length() -> st.SearchStrategy[IntGraph]:
    """Any graph with a synapse that runs for any number of steps."""
    return weighted_graphs().filter(lambda graph: graph.time_steps is None)


@st.composite
def wide_graphs(draw: st.DrawFn) -> IntGraph:
    """A random legal graph over maps of 0 to 3 axes: up to three blocks, then a readout."""
    build = GraphBuilder(np.random.default_rng(draw(st.integers(0, 2**16))))
    rank = draw(st.integers(0, 3))
    shape = (draw(st.integers(1, 4)), *(draw(st.integers(2, {1: 7, 2: 4, 3: 3}[rank])) for _ in range(rank)))
    x = build.input(shape, bit_width=draw(st.sampled_from((8, 1, 4))), signed=draw(st.booleans()))
    time_steps = draw(st.sampled_from((None, None, 1, 3)))
    for _ in range(draw(st.integers(0, 3))):
        x = _block(draw, build, x, time_steps)
    _head(draw, build, x)
    return build.graph(drawn="by Hypothesis")


def _block(draw: st.DrawFn, build: GraphBuilder, x: str, time_steps: int | None) -> str:
    """A synapse or a rearrangement, requant, neurons, and perhaps what two neurons' spikes make together."""
    x = _fitting(build, _rearranged(draw, build, _values(build, x)))
    weighted = draw(st.sampled_from((_conv, _conv, _transposed, _linear, _unweighted)))(draw, build, x)
    steps = time_steps if draw(st.booleans()) else None
    current = build.requant(weighted, per_channel=draw(st.booleans()), time_steps=steps)
    if draw(st.integers(0, 3)) == 0:
        current = build.concat(current, current)
    if len(build.shape(current)) > 1 and draw(st.integers(0, 2)) == 0:
        current = _pooled(draw, build, current)
    spikes = _neuron(draw, build, current)
    if draw(st.booleans()):
        spikes = _together(draw, build, spikes, _neuron(draw, build, current))
    return spikes


def _carries(build: GraphBuilder, x: str) -> TensorRole:
    return carries(IntGraph(tuple(build.nodes)))[x]


def _values(build: GraphBuilder, x: str) -> str:
    """Potentials are currents: through another neuron they are spikes."""
    return x if _carries(build, x) is TensorRole.VALUES else build.neuron(x)


def _bits(build: GraphBuilder) -> float:
    return BITS[int(build.random.integers(len(BITS)))]


def _fitting(build: GraphBuilder, x: str) -> str:
    """Values that a convolution reads, of a size that naive loops can run: else through a slice and a neuron."""
    while math.prod(build.shape(x)) > _MOST_VALUES:
        axis = int(np.argmax(build.shape(x)))
        x = build.slice(x, axis, 0, (build.shape(x)[axis] + 1) // 2)
    seen = build.bounds(x).hull
    if any(limit.low <= seen.low and seen.high <= limit.high for limit in CONV_READS):
        return x
    return build.neuron(build.requant(x))


def _rearranged(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    """The same values in another order, or fewer of them."""
    shape = build.shape(x)
    match draw(st.integers(0, 5)):
        case 0 if len(shape) > 1:
            return build.transpose(x, *draw(st.permutations(range(len(shape)))))
        case 1 if shape[-1] % 2 == 0 and len(shape) < 4:
            return build.reshape(x, *shape[:-1], 2, shape[-1] // 2)
        case 2 if len(shape) > 1:
            return build.reshape(x, shape[0] * shape[1], *shape[2:])
        case 3 if max(shape) > 1:
            axis = draw(st.sampled_from([axis for axis, size in enumerate(shape) if size > 1]))
            start = draw(st.integers(0, shape[axis] - 1))
            return build.slice(x, axis, start, draw(st.integers(start + 1, shape[axis])))
        case 4:
            return build.sum(x, draw(st.integers(0, len(shape) - 1)))
        case _:
            return x


def _windows(draw: st.DrawFn, shape: Shape) -> tuple[Sizes, Sizes, Sizes]:
    """Kernel, padding and dilation that fit the axes of a map."""
    kernel = tuple(draw(st.integers(1, 3)) for _ in shape[1:])
    dilation = tuple(draw(st.sampled_from((1, 1, 2))) for _ in shape[1:])
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    missing = ((r - size + 1) // 2 for r, size in zip(reach, shape[1:], strict=True))
    padding = tuple(max(least, draw(st.integers(0, r - 1)) // 2) for least, r in zip(missing, reach, strict=True))
    return kernel, padding, dilation


def _groups(draw: st.DrawFn, channels: int) -> int:
    return draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))


def _conv(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    shape = build.shape(x)
    if len(shape) == 1:
        return _linear(draw, build, x)
    kernel, padding, dilation = _windows(draw, shape)
    groups = _groups(draw, shape[0])
    return build.conv(
        x,
        groups * draw(st.integers(1, 2)),
        kernel=kernel,
        stride=tuple(draw(st.integers(1, 2)) for _ in kernel),
        padding=padding,
        dilation=dilation,
        groups=groups,
        bit_width=_bits(build),
    )


def _transposed(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    shape = build.shape(x)
    if len(shape) == 1:
        return _linear(draw, build, x)
    kernel = tuple(draw(st.integers(1, 3)) for _ in shape[1:])
    dilation, stride = (tuple(draw(st.integers(1, 2)) for _ in kernel) for _ in range(2))
    reach = zip(kernel, dilation, shape[1:], strict=True)
    padding = tuple(draw(st.integers(0, (k - 1) * d)) if size > 2 else 0 for k, d, size in reach)
    padding = tuple(p // 2 for p in padding)
    groups = _groups(draw, shape[0])
    return build.conv_transpose(
        x,
        groups * draw(st.integers(1, 2)),
        kernel=kernel,
        stride=stride,
        padding=padding,
        output_padding=tuple(draw(st.integers(0, 1)) for _ in kernel),
        dilation=dilation,
        groups=groups,
        bit_width=_bits(build),
    )


def _linear(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    return build.linear(x, draw(st.integers(1, 5)), bit_width=_bits(build))


def _unweighted(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    """A batch norm of values, or attention: scores of each row with each row, and what they weigh."""
    shape = build.shape(x)
    if len(shape) == 1 or draw(st.booleans()):
        return x
    last = tuple(range(len(shape)))
    scores = build.matmul(x, build.transpose(x, *last[:-2], last[-1], last[-2]))
    return build.matmul(scores, x) if build.bounds(scores).hull.magnitude <= LINEAR_READS.high else scores


def _pooled(draw: st.DrawFn, build: GraphBuilder, x: str) -> str:
    sizes = build.shape(x)[1:]
    kernel = tuple(draw(st.integers(1, min(3, size))) for size in sizes)
    return build.pool(
        x,
        draw(st.sampled_from(("max", "sum"))),
        kernel=kernel,
        stride=tuple(draw(st.integers(1, 2)) for _ in kernel),
        padding=tuple(draw(st.integers(0, k // 2)) for k in kernel),
    )


def _together(draw: st.DrawFn, build: GraphBuilder, left: str, right: str) -> str:
    """Two tensors of spikes as one; two of potentials are only added."""
    if {_carries(build, left), _carries(build, right)} == {TensorRole.CURRENT}:
        return build.add(left, right)
    left, right = _values(build, left), _values(build, right)
    match draw(st.integers(0, 4)):
        case 0:
            return build.add(left, right)
        case 1:
            return build.concat(left, right)
        case 2 if build.bounds(left).hull.high <= 1:
            return build.multiply(left, right, mode="inhibit")
        case 3:
            axis = draw(st.integers(0, len(build.shape(left)) - 1))
            return build.multiply(build.sum(left, axis), right)
        case _:
            return build.multiply(left, right)


def _neuron(draw: st.DrawFn, build: GraphBuilder, current: str) -> str:
    guard_bits, bit_width = draw(st.integers(0, 6)), draw(st.sampled_from((2, 4, 8, 16)))
    word = IntType(bit_width, signed=True)
    reset: Reset = draw(st.sampled_from(("hard", "soft", "none")))
    shared = draw(st.booleans())
    count = 1 if shared else build.shape(current)[0]
    return build.neuron(
        current,
        reset=reset,
        leak=build.random.integers(0, 2**guard_bits + 1, count),
        guard_bits=guard_bits,
        bit_width=bit_width,
        per_channel=not shared,
        driven=draw(st.booleans()),
        initial=draw(st.integers(max(word.low, -9), min(word.high, 9))),
        options=neuron_options(draw, reset),
    )


def neuron_options(draw: st.DrawFn, reset: Reset) -> NeuronOptions:
    """Options that go together."""
    lates: dict[Reset, Timing] = {"hard": "masked", "soft": "after_leak", "none": "same_step"}
    late = lates[reset]
    timing: Timing = draw(st.sampled_from(("same_step", late)))
    doubles = reset == "soft" and timing == "same_step" and draw(st.integers(0, 3)) == 0
    spike: Spike = "binary" if doubles or timing == "masked" else draw(st.sampled_from(("binary", "floor", "round")))
    return NeuronOptions(
        spike=spike,
        max_spikes=1 if spike == "binary" else draw(st.sampled_from((1, 3, 15))),
        timing=timing,
        floor=draw(st.sampled_from(("none", "none", "before_fire", "after_reset"))),
        rearm="double" if doubles else "plain",
        synapse_shift=draw(st.sampled_from((None, None, 0, 3))),
        output=draw(st.sampled_from(("spikes", "spikes", "spikes", "potential"))),
        recurrent=draw(st.sampled_from(("none", "none", "none", "dense", "depthwise"))),
    )


def _head(draw: st.DrawFn, build: GraphBuilder, x: str) -> None:
    """The readout reads spikes or potentials, or what a linear layer makes of spikes."""
    if draw(st.booleans()):
        x = build.sum(x, len(build.shape(x)) - 1)
        x = build.add(x, x, x)
    fits = _carries(build, x) is TensorRole.VALUES and build.bounds(x).hull.magnitude <= LINEAR_READS.high
    if fits and draw(st.booleans()):
        x = build.linear(build.flatten(x), draw(st.integers(1, 4)), bit_width=4)
    summed = ("sum",) if build.bounds(x).hull.magnitude * MAX_TIME_STEPS <= INT32.high else ()
    build.readout(x, mode=draw(st.sampled_from(("steps", "last", "max", *summed))))
