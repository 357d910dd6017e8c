"""Everything that is chosen about a drawn network, as data: its layers, its neurons, its axes, its containers."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal, get_args

from tests.support.styles_neurons import NeuronStyle, Numbers, draw_neuron, draw_numbers
from tests.support.styles_planted import NEED_LAYERS_OF_PIXELS, plant

Axes = Literal["TN", "NT", "last", "still", "(TN)", "(NT)"]
Inner = Literal["TN", "NT", "last", "folded_TN", "folded_NT"]
Topology = Literal["conv", "linear", "single"]
Major = Literal["sequence", "loop", "step"]  # layer after layer over all steps, step after step, one step in a call
Norm = Literal["none", "folded", "bn3d", "tdbn", "per_step"]
Pool = Literal["none", "avg", "max", "F.avg", "F.max", "adaptive", "F.adaptive"]
Pad = Literal["inside", "function", "module", ""]
POOLS: tuple[Pool, ...] = get_args(Pool)
Container = Literal["module", "function", "explicit", "hidden", "inline", "update"]  # update(layer, x, state)
Answer = Literal["mean", "sum", "last", "T N K", "N T K", "list", "membrane"]


@dataclass(frozen=True)
class Layer:
    """A layer with weights, its neuron (none behind the head) and a pool."""

    name: str
    kind: Literal["conv", "depthwise", "linear"]
    inputs: int
    outputs: int
    bias: bool
    pad: Pad
    norm: Norm
    pool: Pool
    shape: tuple[int, ...]  # of its neurons
    numbers: Numbers | None

    @property
    def pooled(self) -> tuple[int, ...]:
        """The shape behind the pool."""
        return self.shape if self.pool == "none" else (self.shape[0], self.shape[1] // 2, self.shape[2] // 2)


@dataclass(frozen=True)
class Plan:
    """All choices of a style. Names are those of the options; every number of it follows from the seed."""

    seed: int
    topology: Topology
    major: Major
    input: Axes
    inner: Inner
    container: Container
    states_in: Literal["locals", "list", "dict", "attributes"]
    numbers_as: Literal["literal", "attribute"]
    walk: Literal["index", "iterate", "unbind"]
    collect: Literal["stack", "cat", "zeros", "empty_like", "list"]
    applying: Literal["frames", "wrapper", "loop_wrapper", "subclass"]
    entry: Literal["repeat", "expand", "unsqueeze_", "stack", "written", "reuse"]
    residual: Literal["none", "spikes", "currents"]
    head: Literal["linear", "spiking"]
    answer: Answer
    readout_decay: float  # of a membrane that is the answer; 1.0 only adds up
    fixed_steps: bool
    reset_name: Literal["reset", "reset_state"]
    steps: int
    batch: int
    neuron: NeuronStyle
    layers: tuple[Layer, ...]

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of a step of the input, without the batch."""
        return (2, 8, 8) if self.topology == "conv" else (self.layers[0].inputs,)

    @property
    def spiking(self) -> tuple[Layer, ...]:
        """The layers that have a neuron."""
        return tuple(layer for layer in self.layers if layer.numbers is not None)

    @property
    def threshold(self) -> float:
        """The one threshold of a spike function that knows it."""
        assert self.layers[0].numbers is not None
        value = self.layers[0].numbers.values["th"]
        return value if isinstance(value, float) else value[0]


def draw_plan(seed: int, *, attempt: int = 0, single: bool = False, fault: str = "") -> Plan:
    """A plan; `single`: one linear layer, its neurons, and the mean of their spikes (or the spikes).

    attempt: of a seed's draws, which. fault: what is planted in the neurons.
    """
    dice = random.Random(f"{seed} {attempt}")
    major: Major = dice.choices(("sequence", "loop", "step"), (5, 5, 0 if fault else 1))[0]
    steps = dice.randint(4 if fault else 3, 5)
    inner, entered = _axes(major, dice)
    neuron = plant(draw_neuron(dice), fault) if fault else draw_neuron(dice)
    topology: Topology = dice.choices(("conv", "linear"), (3, 1))[0]
    topology = "single" if single else "conv" if fault in NEED_LAYERS_OF_PIXELS else topology
    fixed = entered in ("still", "(TN)", "(NT)") or dice.random() < 0.3
    plan = Plan(
        seed=seed,
        topology=topology,
        major=major,
        input=entered,
        inner=inner,
        container=_container(major, dice),
        states_in="attributes" if major == "step" else dice.choice(("locals", "list", "dict", "attributes")),
        numbers_as=dice.choice(("literal", "attribute")),
        walk=dice.choice(("index", "index", "iterate", "unbind")),
        collect=dice.choice(("stack", "stack", "cat", "zeros", "empty_like", "list")),
        applying=dice.choice(("frames", "wrapper", "loop_wrapper", "subclass")),
        entry=_entry(major, dice),
        residual=dice.choices(("none", "spikes", "currents"), (3, 1, 1))[0] if topology == "conv" else "none",
        head="spiking" if single else dice.choices(("linear", "spiking"), (4, 1))[0],
        answer=_answer(dice, entered, major),
        readout_decay=dice.choice((1.0, 0.9, 0.5, 0.8)),
        fixed_steps=fixed,
        reset_name=dice.choice(("reset", "reset_state")),
        steps=steps,
        batch=dice.choice((6, 7)),
        neuron=neuron,
        layers=(),
    )
    plan = _agreeing(plan)
    return replace(plan, layers=_layers(plan, dice))


def _axes(major: Major, dice: random.Random) -> tuple[Inner, Axes]:
    """The axes inside a network, and those of what it is given."""
    if major == "step":
        return "TN", "TN"
    entered: Axes = dice.choices(("TN", "NT", "last", "still", "(TN)", "(NT)"), (6, 5, 2, 5, 1, 1))[0]
    inside: dict[Axes, tuple[Inner, ...]] = {
        "TN": ("TN", "TN", "NT", "folded_TN"),
        "NT": ("NT", "NT", "TN", "last", "folded_NT"),
        "last": ("last", "last", "TN"),
        "still": ("TN", "TN", "NT", "last", "folded_TN", "folded_NT"),
        "(TN)": ("folded_TN",),
        "(NT)": ("folded_NT",),
    }
    return dice.choice(inside[entered]), entered


def _container(major: Major, dice: random.Random) -> Container:
    match major:
        case "sequence":
            return dice.choice(("module", "module", "module", "function", "inline", "hidden"))
        case "loop":
            return dice.choice(("explicit", "hidden", "function", "inline", "inline", "update"))
        case _:
            return dice.choice(("hidden", "inline"))


def _entry(major: Major, dice: random.Random) -> Literal["repeat", "expand", "unsqueeze_", "stack", "written", "reuse"]:
    if major == "loop":
        return dice.choice(("reuse", "repeat", "expand"))
    return dice.choice(("repeat", "expand", "unsqueeze_", "stack", "written"))


def _answer(dice: random.Random, entered: Axes, major: Major) -> Answer:
    if major == "step":
        return "T N K"  # its caller collects the steps
    answer: Answer = dice.choices(("mean", "sum", "last", "T N K", "N T K", "list", "membrane"), (5, 2, 1, 2, 2, 1, 2))[
        0
    ]
    return "T N K" if answer == "N T K" and entered not in ("NT", "last", "(NT)", "still") else answer


def _agreeing(plan: Plan) -> Plan:
    """Options that would not be written together, changed."""
    neuron = plan.neuron
    if neuron.planted:  # some faults know the step
        plan = replace(plan, container="module" if plan.major == "sequence" else "inline")
    if (
        plan.major != "sequence"
        and plan.container != "inline"
        and plan.container != "hidden"
        and neuron.start == "none"
    ):
        neuron = replace(neuron, start="zeros")
    if plan.inner == "last" and plan.applying != "loop_wrapper":
        plan = replace(plan, applying="loop_wrapper")
    if plan.major == "sequence" and plan.container == "hidden" and plan.inner.startswith("folded"):
        plan = replace(plan, container="module")
    if plan.container == "update" and plan.residual == "currents":
        plan = replace(plan, residual="spikes")
    if plan.topology == "single" and plan.answer in ("membrane", "last"):
        plan = replace(plan, answer="mean")
    if plan.head == "spiking" and plan.answer == "membrane":
        plan = replace(plan, answer="mean")
    if plan.inner.startswith("folded") and plan.collect == "list":
        plan = replace(plan, collect="stack")
    return replace(plan, neuron=neuron)


def _layers(plan: Plan, dice: random.Random) -> tuple[Layer, ...]:
    classes = dice.randint(3, 6)
    layers: list[Layer] = []
    if plan.topology == "conv":
        layers += _convolutions(plan, dice)
    flat = 12
    if layers:
        channels, height, width = layers[-1].pooled
        flat = channels * height * width
    if plan.topology == "linear" or (plan.topology == "conv" and dice.random() < 0.4):
        layers.append(_linear("fc1", flat, 12, dice))
        flat = 12
    head = _linear("fc1" if plan.topology == "single" else "head", flat, classes, dice)
    spiking = [*layers, head] if plan.head == "spiking" else layers
    layers = [_numbered(layer, plan.neuron, dice) for layer in spiking]
    layers += [] if plan.head == "spiking" else [head]
    if plan.neuron.compared == "constant":  # one spike function knows the threshold of all layers
        layers = [_with_threshold(layer, layers[0]) for layer in layers]
    return tuple(layers)


def _convolutions(plan: Plan, dice: random.Random) -> list[Layer]:
    width = dice.choice((4, 6))
    two = plan.residual != "none" or dice.random() < 0.5
    norm = _norm(plan, dice)
    pad: Pad = dice.choices(("inside", "function", "module"), (4, 1, 1))[0]
    bias, side = dice.random() < 0.5, 8
    first = Layer(
        name="conv1", kind="conv", inputs=2, outputs=width, bias=bias, pad=pad, norm=norm,
        pool="none" if plan.residual != "none" else dice.choice(POOLS), shape=(width, side, side), numbers=None,
    )  # fmt: skip
    if not two:
        return [first if first.pool != "none" else replace(first, pool="avg")]
    second = replace(
        first,
        name="conv2",
        kind=dice.choice(("conv", "conv", "depthwise")),
        inputs=width,
        pool=dice.choice(POOLS[1:]),
        shape=first.pooled,
    )
    return [first, second]


def _norm(plan: Plan, dice: random.Random) -> Norm:
    norm: Norm = dice.choice(("none", "folded", "tdbn", "per_step", "bn3d"))
    if plan.container == "update":
        return "none"
    folded = plan.major == "sequence" and plan.inner.startswith("folded")
    if norm == "bn3d" and (plan.major != "sequence" or folded):
        return "folded"
    return "folded" if norm == "per_step" and (plan.major == "step" or folded) else norm


def _linear(name: str, inputs: int, outputs: int, dice: random.Random) -> Layer:
    return Layer(
        name=name, kind="linear", inputs=inputs, outputs=outputs, bias=dice.random() < 0.7, pad="", norm="none",
        pool="none", shape=(outputs,), numbers=None,
    )  # fmt: skip


def _numbered(layer: Layer, neuron: NeuronStyle, dice: random.Random) -> Layer:
    return replace(layer, numbers=draw_numbers(neuron, channels=layer.outputs, dice=dice))


def _with_threshold(layer: Layer, first: Layer) -> Layer:
    if layer.numbers is None:
        return layer
    assert first.numbers is not None
    values = {**layer.numbers.values, "th": first.numbers.values["th"]}
    return replace(layer, numbers=replace(layer.numbers, values=values))
