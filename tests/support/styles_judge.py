"""What the tool made of a drawn network, judged by what is known of the draw: recognised, refused, or read wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.graph import Carries, NeuronModel
from mdcompress.graph.neuron import channel_values
from mdcompress.tracing.conventions import Fitted, fit
from tests.support.float_graph import run_float_graph
from tests.support.styles import Style, author_axes
from tests.support.styles_neurons import Truth, Values
from tests.support.styles_reference import Run

Kind = Literal["recognised", "refused", "wrong"]
Read = dict[str, str | tuple[float, ...]]


@dataclass(frozen=True)
class Verdict:
    """kind, and of a refusal the tool's message, of a wrong reading the differences."""

    kind: Kind
    words: str = ""


def judge(style: Style) -> Verdict:
    """Fit the network to x [T, N, ...], and compare answer, spikes and parameters with the author's own.

    In float64 where the author's code runs in it, else in float32.
    """
    x = style.x_steps().to(style.dtype)
    network, untouched = (style.build().to(style.dtype) for _ in range(2))
    with torch.no_grad():
        own = style.call(untouched, author_axes(style, x))
    try:
        fitted = fit(network, x)
    except TraceError as error:
        return Verdict("refused", error.message)
    expected = Run(own, style.reference(untouched, x).spikes)
    found = [*_changed(network, untouched), *behaviour(fitted, x, expected), *parameters(fitted, style.neurons)]
    return Verdict("wrong", "; ".join(found)) if found else Verdict("recognised")


def _changed(network: nn.Module, untouched: nn.Module) -> Iterator[str]:
    before, after = untouched.state_dict(), network.state_dict()
    if set(before) != set(after) or any(not torch.equal(before[name], after[name]) for name in before):
        yield "the user's network was changed"


def behaviour(fitted: Fitted, x: Tensor, expected: Run) -> Iterator[str]:
    """The fitted network's answer, and the answer and spikes of its graph, beside the author's."""
    limit = 1e-9 if x.dtype == torch.float64 else 1e-4
    with torch.no_grad():
        answer = fitted.network(x)
        graph = run_float_graph(fitted.graph, fitted.network, x)
    for name, other in (("the fitted network", answer), ("the graph", graph.answer)):
        if other.shape != expected.answer.shape:
            yield f"{name} answers {list(other.shape)}, the author's network {list(expected.answer.shape)}"
        elif not torch.allclose(other.to(expected.answer), expected.answer, rtol=limit, atol=limit):
            yield f"{name} answers another thing, by {float((other - expected.answer).abs().max()):.3g} at most"
    if len(graph.spikes) != len(expected.spikes):
        yield f"{len(graph.spikes)} neurons were found, there are {len(expected.spikes)}"
        return
    for (name, spikes), own in zip(graph.spikes.items(), expected.spikes, strict=True):
        if spikes.shape != own.shape:
            yield f"{name} has spikes {list(spikes.shape)}, not {list(own.shape)}"
        elif not torch.equal(spikes.round().to(own), own):
            yield f"{name}: {int((spikes.round() != own).sum())} of {own.numel()} spikes differ"


def parameters(fitted: Fitted, truths: tuple[Truth, ...]) -> Iterator[str]:
    nodes = [node for node in fitted.graph.of(NeuronModel) if node.carries is Carries.SPIKES]
    if len(nodes) != len(truths):
        return  # said of the spikes
    for node, truth in zip(nodes, truths, strict=True):
        assert isinstance(node.spec, NeuronModel)
        read, known = of_model(node.spec), of_truth(truth)
        for name in known:
            if not _same(read[name], known[name]):
                yield f"{node.name}: {name} is read as {read[name]}, and is {known[name]}"


def _same(one: str | tuple[float, ...], other: str | tuple[float, ...]) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    length = max(len(one), len(other))
    pairs = zip(one * (length // len(one)), other * (length // len(other)), strict=True)
    return all(abs(a - b) <= 1e-5 * max(1.0, abs(b)) for a, b in pairs)


# ------------------------------------------------------------------ parameters without unit: in thresholds


def of_model(model: NeuronModel) -> Read:
    """A read neuron; see `_read`."""
    synapse = model.synapse_decay if model.synapse_decay is not None else 0.0
    return _read(
        model,
        gain=model.current_gain,
        synapse=synapse,
        kind=(model.reset, model.timing, model.spike, str(model.max_spikes), model.floor),
        reset_value=model.reset_value,
    )


def of_truth(truth: Truth) -> Read:
    """A drawn neuron; see `_read`."""
    return _read(
        truth,
        gain=truth.gain,
        synapse=truth.synapse_decay or 0.0,
        kind=(truth.reset, truth.timing, truth.spike, str(truth.max_spikes), truth.floor),
        reset_value=truth.reset_value,
    )


def _read(
    neuron: NeuronModel | Truth,
    *,
    gain: Values,
    synapse: Values,
    kind: tuple[str, str, str, str, str],
    reset_value: Values,
) -> Read:
    """What tells neurons apart, all membranes in thresholds.

    A soft reset is what it takes off the next potential: decay * amount, or the amount where it comes after the leak;
    these two are one neuron. So are two floors, before a spike or after it, in most cases: the spikes decide.
    """
    reset, timing, spike, most, floor = kind
    threshold = neuron.threshold
    found: Read = {
        "decay": channel_values(neuron.decay),
        "synapse decay": channel_values(synapse),
        "gain": _ratio(gain, threshold),
        "drive": _ratio(neuron.drive, threshold),
        "initial": _ratio(neuron.initial, threshold),
        "reset": "masked" if timing == "masked" else reset,
        "spike": spike,
        "comparator": neuron.comparator if spike == "binary" else f"at most {most}",
        "floor": "none" if floor == "none" else "some",
    }
    if found["reset"] == "hard":  # a floor after the reset, or before the next spike, lifts what lies below it
        found["reset value"] = _lifted(_ratio(reset_value, threshold), _ratio(neuron.floor_value, threshold), floor)
    if reset == "soft":
        amount = _ratio(neuron.soft_amount, threshold)
        found["taken off"] = amount if timing == "after_leak" else _product(neuron.decay, amount)
    if floor != "none":
        found["floor value"] = _ratio(neuron.floor_value, threshold)
    return found


def _lifted(values: tuple[float, ...], floors: tuple[float, ...], floor: str) -> tuple[float, ...]:
    """Reset values that an after-reset floor has been applied to."""
    if floor != "after_reset":
        return values
    width = max(len(values), len(floors))
    wide = (each * (width // len(each)) for each in (values, floors))
    return tuple(max(pair) for pair in zip(*wide, strict=True))


def _ratio(value: Values, threshold: Values) -> tuple[float, ...]:
    values, by = channel_values(value), channel_values(threshold)
    length = max(len(values), len(by))
    return tuple(a / b for a, b in zip(values * (length // len(values)), by * (length // len(by)), strict=True))


def _product(value: Values, by: tuple[float, ...]) -> tuple[float, ...]:
    return _ratio(value, tuple(1 / one for one in by))
