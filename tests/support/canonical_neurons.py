"""Drawn canonical neurons, a student that holds one neuron layer, and the equations once more, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from mdcompress.calibration import calibrate
from mdcompress.graph import (
    Carries,
    Comparator,
    FloorKind,
    InputSpec,
    NeuronModel,
    Numbers,
    ReadoutSpec,
    Rearm,
    ResetKind,
    ResetTiming,
    SnnGraph,
    SnnNode,
    SpikeKind,
    SynapseOperator,
    SynapseSpec,
    TensorShape,
)
from mdcompress.planning import plan
from mdcompress.recipe import Recipe
from mdcompress.student import Student

PLAIN = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "hard", 0.0, 1.0, 0.0)


def spelled_out(model: NeuronModel, currents: Sequence[float]) -> list[tuple[float, float]]:
    """(s, v) of every step of one neuron in plain Python: `NeuronModel`, line by line."""
    v, i, s, seen = one(model.initial), 0.0, 0.0, []
    for x in currents:
        i = x if model.synapse_decay is None else one(model.synapse_decay) * i + one(model.synapse_gain) * x
        h = one(model.decay) * v + one(model.input_gain) * i + one(model.drive)
        if model.timing == "after_leak" and model.reset == "soft":
            h -= one(model.soft_amount) * s
        if model.timing == "masked" and s > 0:
            h = 0.0
        if model.floor == "before_fire":
            h = max(h, one(model.floor_value))
        compared = h - one(model.threshold) if model.rearm == "double" and v > one(model.threshold) else h
        s = fired(model, compared)
        v = h
        if model.timing == "same_step" and model.reset == "hard" and s > 0:
            v = one(model.reset_value)
        if model.timing == "same_step" and model.reset == "soft":
            v = h - one(model.soft_amount) * s
        if model.floor == "after_reset":
            v = max(v, one(model.floor_value))
        seen.append((s, v))
    return seen


def one(number: Numbers) -> float:
    """A number of a model whose numbers are the layer's."""
    assert not isinstance(number, tuple)
    return number


def fired(model: NeuronModel, h: float) -> float:
    threshold = one(model.threshold)
    if model.spike == "binary":
        return float(h >= threshold if model.comparator == "greater_equal" else h > threshold)
    levels = h / threshold
    count = math.floor(levels) if model.spike == "floor" else round(levels)  # round is half to even
    return float(min(max(count, 0), math.inf if model.max_spikes is None else model.max_spikes))


@dataclass(frozen=True)
class OptionDraw:
    """Options that go together."""

    reset: ResetKind
    timing: ResetTiming
    spike: SpikeKind
    max_spikes: int | None
    rearm: Rearm
    floor: FloorKind
    comparator: Comparator


OPTIONS = (
    st.builds(
        OptionDraw,
        reset=st.sampled_from(["hard", "soft", "none"]),
        timing=st.just("same_step"),
        spike=st.just("binary"),
        max_spikes=st.just(1),
        rearm=st.just("plain"),
        floor=st.sampled_from(["none", "before_fire", "after_reset"]),
        comparator=st.sampled_from(["greater", "greater_equal"]),
    )
    | st.builds(
        OptionDraw,
        reset=st.sampled_from(["hard", "soft", "none"]),
        timing=st.just("same_step"),
        spike=st.sampled_from(["floor", "round"]),
        max_spikes=st.sampled_from([None, 1, 3, 4]),
        rearm=st.just("plain"),
        floor=st.sampled_from(["none", "before_fire", "after_reset"]),
        comparator=st.just("greater_equal"),
    )
    | st.builds(
        OptionDraw,
        reset=st.just("soft"),
        timing=st.just("after_leak"),
        spike=st.sampled_from(["binary", "floor"]),
        max_spikes=st.just(1),
        rearm=st.just("plain"),
        floor=st.sampled_from(["none", "before_fire", "after_reset"]),
        comparator=st.just("greater_equal"),
    )
    | st.sampled_from(
        [
            OptionDraw("hard", "masked", "binary", 1, "plain", "none", "greater"),
            OptionDraw("soft", "same_step", "binary", 1, "double", "none", "greater"),
        ]
    )
)


def numbers(values: st.SearchStrategy[float], channels: int) -> st.SearchStrategy[Numbers]:
    return values | st.lists(values, min_size=channels, max_size=channels).map(tuple)


@st.composite
def neuron_models(draw: st.DrawFn, *, channels: int) -> NeuronModel:
    """A model whose numbers are the layer's or each channel's."""
    option = draw(OPTIONS)
    decays = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])

    def number(*values: float) -> Numbers:
        return draw(numbers(st.sampled_from(values), channels))

    synapse = draw(st.booleans())
    return NeuronModel(
        decay=draw(numbers(decays, channels)),
        input_gain=number(0.5, 1.0, 0.1),
        drive=number(0.0, 0.05, -0.1),
        threshold=number(0.5, 1.0, 1.3),
        comparator=option.comparator,
        reset=option.reset,
        reset_value=number(0.0, -0.25) if (option.reset, option.timing) == ("hard", "same_step") else 0.0,
        soft_amount=number(0.4, 1.0),
        initial=draw(st.sampled_from([0.0, 0.25])) if draw(st.booleans()) else 0.0,
        synapse_decay=draw(numbers(decays, channels)) if synapse else None,
        synapse_gain=number(1.0, 0.75) if synapse else 1.0,
        spike=option.spike,
        max_spikes=option.max_spikes,
        timing=option.timing,
        floor=option.floor,
        floor_value=number(0.0, -0.5) if option.floor != "none" else 0.0,
        rearm=option.rearm,
    )


def startable(model: NeuronModel) -> NeuronModel:
    """The model with v(0) = 0 where channels of different gain could not start alike."""
    return model if isinstance(model.current_gain, float) else replace(model, initial=0.0)


def neuron_graph(model: NeuronModel, *, inputs: int, shape: TensorShape, time_steps: int) -> SnnGraph:
    """Input, one synapse, the neuron, its spikes."""
    convolves = len(shape) == 3
    weight = (shape[0], inputs, 1, 1) if convolves else (shape[0], inputs)
    operator: SynapseOperator = "conv2d" if convolves else "linear"
    spec = SynapseSpec(operator, weight, (1, 1), (0, 0), (1, 1), 1, True, None)
    return SnnGraph(
        (
            SnnNode("input", InputSpec(), (), (inputs, *shape[1:]), Carries.INPUT),
            SnnNode("synapse", spec, ("input",), shape, Carries.CURRENT),
            SnnNode("neuron", model, ("synapse",), shape, Carries.SPIKES),
            SnnNode("readout", ReadoutSpec("steps"), ("neuron",), shape, Carries.SPIKES),
        ),
        time_steps,
    )


def neuron_student(
    model: NeuronModel, x: Tensor, *, recipe: Recipe, shape: TensorShape, spread: float = 0.5
) -> Student:
    """A calibrated student of one neuron layer that fires on x [T, N, inputs, ...].

    spread: of the weights, in thresholds; 0 gives weights of 0.05 that no membrane saturates under.
    """
    graph = neuron_graph(model, inputs=x.shape[2], shape=shape, time_steps=len(x))
    student = Student(graph, plan(recipe, graph))
    gain = torch.tensor(model.current_gain).mean() / torch.tensor(model.threshold).mean()
    layer = student.synapse("synapse").layer
    with torch.no_grad():
        layer.weight.normal_(0.05 + 0.3 * spread, spread, generator=torch.Generator().manual_seed(0))
        layer.weight.div_(float(gain))
        layer.bias.fill_(0.1 / float(gain))
    return calibrate(student, [x])
