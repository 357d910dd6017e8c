"""Integer graphs made by hand, one for each thing a network can have beyond layers of plain neurons."""

from __future__ import annotations

import numpy as np

from intsnn.graph import IntGraph
from tests.support.graph_builder import GraphBuilder, NeuronOptions, Reset

NEURON_KINDS: dict[str, tuple[Reset, NeuronOptions]] = {
    "soft, after the leak": ("soft", NeuronOptions(timing="after_leak")),
    "hard, masked": ("hard", NeuronOptions(timing="masked")),
    "floor": ("soft", NeuronOptions(spike="floor", max_spikes=15)),
    "floor, hard": ("hard", NeuronOptions(spike="floor", max_spikes=3)),
    "floor, after the leak": ("soft", NeuronOptions(spike="floor", max_spikes=3, timing="after_leak")),
    "round": ("soft", NeuronOptions(spike="round", max_spikes=4)),
    "floor of the potential before firing": ("hard", NeuronOptions(floor="before_fire")),
    "floor of the potential after the reset": ("soft", NeuronOptions(floor="after_reset")),
    "double rearm": ("soft", NeuronOptions(rearm="double")),
    "synaptic state": ("hard", NeuronOptions(synapse_shift=3)),
    "synaptic state, masked": ("hard", NeuronOptions(synapse_shift=2, timing="masked")),
    "recurrent": ("hard", NeuronOptions(recurrent="dense")),
    "recurrent, after the leak": ("soft", NeuronOptions(recurrent="depthwise", timing="after_leak")),
    "recurrent with synaptic state and floor": (
        "soft",
        NeuronOptions(spike="floor", max_spikes=3, floor="after_reset", synapse_shift=3, recurrent="dense"),
    ),
    "potential": ("none", NeuronOptions(output="potential")),
}


def neuron_graph(kind: str, *, on_map: bool = False, seed: int = 8) -> IntGraph:
    """Two layers of one kind of neuron, a leak for each channel; the second reads the first."""
    build = GraphBuilder(np.random.default_rng(seed))
    reset, options = NEURON_KINDS[kind]
    x = build.input((3, 4, 4)) if on_map else build.input((9,))
    for _ in range(2):
        weighted = build.conv(x, 4) if on_map else build.linear(x, 8)
        current = build.requant(weighted)
        leak = build.random.integers(4, 9, build.shape(current)[0])
        x = build.neuron(current, reset=reset, leak=leak, guard_bits=3, bit_width=8, driven=True, options=options)
        if options.output == "potential":
            x = build.neuron(x)
    build.readout(x, mode="max" if on_map else "last")
    return build.graph(kind=kind)


def attention_graph(seed: int = 3) -> IntGraph:
    """A small spikformer block: q, k, v of two heads, (q k^T) v, then the ways of SEW to join: ADD, AND, IAND.

    With the default seed both products have pairs of spikes to multiply.
    """
    build = GraphBuilder(np.random.default_rng(seed))
    x = build.neuron(build.requant(build.conv(build.input((3, 4, 4)), 4, stride=(2, 2))))
    tokens = build.reshape(x, 4, 4)  # (C, L)
    q, k, v = (_heads(build, _projected(build, tokens)) for _ in range(3))
    scores = build.matmul(q, build.transpose(k, 0, 2, 1))
    weighed = build.reshape(build.transpose(build.matmul(scores, v), 0, 2, 1), 4, 4)
    attended = build.neuron(build.requant(weighed, per_channel=False))
    both = build.multiply(attended, tokens)
    stopped = build.multiply(attended, _projected(build, attended), mode="inhibit")
    gated = build.multiply(build.neuron(build.requant(build.sum(both, 1))), stopped)
    joined = build.concat(both, stopped, build.slice(build.add(gated, tokens), 0, 1, 3))
    build.readout(build.requant(build.linear(build.flatten(joined), 3)), mode="last")
    return build.graph(form="attention")


def _projected(build: GraphBuilder, tokens: str) -> str:
    return build.neuron(
        build.requant(build.conv(tokens, 4, kernel=(1,), stride=(1,), padding=(0,), dilation=(1,))), leak=3
    )


def _heads(build: GraphBuilder, x: str) -> str:
    """(C, L) -> (heads, L, C / heads)."""
    return build.transpose(build.reshape(x, 2, 2, 4), 0, 2, 1)


def counts_attention_graph(seed: int = 4) -> IntGraph:
    """Attention of counts: scores that fit no byte weigh bytes; a second pair is signed."""
    build = GraphBuilder(np.random.default_rng(seed))
    x = build.input((4, 4), bit_width=4, signed=True)
    scores = build.matmul(x, build.transpose(x, 1, 0))  # up to 4 * 8 * 8
    weighed = build.neuron(build.requant(build.matmul(scores, x)))
    small = build.neuron(build.requant(build.matmul(x, weighed)), leak=3)
    build.readout(build.linear(build.flatten(build.concat(weighed, small, x)), 3), mode="max")
    return build.graph(form="attention of counts")


def maps_graph(rank: int, seed: int = 5) -> IntGraph:
    """An encoder and decoder over maps of 1 to 3 axes: convolution, both pools, transposed convolution."""
    build = GraphBuilder(np.random.default_rng(seed))
    size = {1: 12, 2: 6, 3: 4}[rank]
    ones, twos, threes = ((number,) * rank for number in (1, 2, 3))
    x = build.input((2, *(size,) * rank), signed=True)
    x = build.neuron(build.requant(build.conv(x, 4, kernel=threes, stride=ones, padding=ones, dilation=ones, groups=2)))
    x = build.pool(x, "sum", kernel=twos, stride=twos, padding=(0,) * rank)
    x = build.conv_transpose(
        x, 4, kernel=threes, stride=twos, padding=ones, output_padding=ones, dilation=ones, groups=2
    )
    x = build.pool(build.requant(x), "max", kernel=twos, stride=ones, padding=ones)
    build.readout(build.flatten(build.neuron(x, reset="soft")), mode="max")
    return build.graph(form=f"{rank}-d")


def norm_per_step_graph(time_steps: int = 4, seed: int = 6) -> IntGraph:
    """Batch norm through time: requants with one row per step, for all channels or for each."""
    build = GraphBuilder(np.random.default_rng(seed))
    x = build.requant(build.conv(build.input((2, 4, 4)), 4), time_steps=time_steps)
    x = build.neuron(x, leak=2)
    x = build.neuron(build.requant(build.linear(build.flatten(x), 6), per_channel=False, time_steps=time_steps))
    build.readout(build.linear(x, 3))
    return build.graph(norm="per step")


def wide_hand_made_graphs() -> dict[str, IntGraph]:
    """All of them, by name."""
    graphs = {f"{kind}{' on a map' if on_map else ''}": neuron_graph(kind, on_map=on_map)
              for kind in NEURON_KINDS for on_map in (False, True)}  # fmt: skip
    graphs |= {
        "attention": attention_graph(),
        "attention of counts": counts_attention_graph(),
        "norm per step": norm_per_step_graph(),
    }
    return graphs | {f"{rank}-d maps": maps_graph(rank) for rank in (1, 2, 3)}


def still_network() -> IntGraph:
    """8-bit input of 4 -> 3 outputs of 4-bit weights -> neurons -> 2 outputs."""
    build = GraphBuilder(np.random.default_rng(0))
    first = build.requant(build.linear(build.input((4,), bit_width=8), 3, bit_width=4))
    build.readout(build.linear(build.neuron(first), 2, bit_width=4))
    return build.graph()
