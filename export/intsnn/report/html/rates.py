"""Spike counts -> the rate of each neuron layer, mean and step by step, and how often arrays would be idle."""

from __future__ import annotations

import math
from collections.abc import Sequence

from intsnn.activity import NeuronActivity
from intsnn.estimation.report import HardwareReport
from intsnn.report.html.blocks import Section, figure, table
from intsnn.report.html.markup import Html, join, share, tag
from intsnn.report.words import or_dash, readable
from intsnn.shares import percent

_MOST_STEPS = 64  # more marks in a row are not told apart


def activity_section(report: HardwareReport) -> Section:
    """How often neurons fire, and what the synapses see of it."""
    neurons = () if report.basis is None else report.basis.activity.neurons
    content = (_rates(neurons, report), _inputs(report)) if neurons else (_inputs(report),)
    return Section("activity", "Activity", content)


def _rates(neurons: Sequence[NeuronActivity], report: HardwareReport) -> Html:
    most = max((rate for neuron in neurons for rate in _steps(neuron)), default=0.0) or 1.0
    mean, workload = report.workload.mean_rate, report.workload
    origin = f"measured on {workload.samples:,} samples" if workload.activity == "measured" else "assumed, not measured"
    highest = max(neurons, key=lambda neuron: neuron.rate)
    return figure(
        "Spikes per neuron and step",
        tag("div", *(_row(neuron, most) for neuron in neurons), class_="rows"),
        alt=f"Bars with a mark for each step. Mean {percent(mean, 1)}; {highest.name} fires most, "
        f"{percent(highest.rate, 1)}.",
        numbers=_numbers(neurons),
        note=f"Bar: mean over {workload.time_steps} steps; marks: single steps. All neurons: {percent(mean, 1)}, "
        f"{origin}. The full width is {percent(most, 1)}.",
    )


def _row(neuron: NeuronActivity, most: float) -> Html:
    bar = tag("rect", x="0%", width=share(neuron.rate / most), class_="c4")
    marks = (
        tag("line", tag("title", f"step {index}: {percent(rate, 1)}"), x1=share(rate / most), x2=share(rate / most),
            y1="10%", y2="90%", class_="mark")
        for index, rate in enumerate(_steps(neuron)[:_MOST_STEPS], start=1)
    )  # fmt: skip
    drawn = tag("svg", bar, join(marks), class_="bar")
    value = tag("span", percent(neuron.rate, 1), class_="value")
    return tag("div", tag("span", neuron.name, class_="name"), drawn, value, class_="row")


def _steps(neuron: NeuronActivity) -> list[float]:
    return [spikes / neuron.size for spikes in neuron.spikes]


def _numbers(neurons: Sequence[NeuronActivity]) -> Html:
    steps = len(neurons[0].spikes)
    shown = range(min(steps, _MOST_STEPS))
    columns = ("layer", "neurons", "spikes per inference", "mean", *(f"step {index + 1}" for index in shown))
    rows = (
        (
            neuron.name,
            f"{neuron.size:,}",
            readable(math.fsum(neuron.spikes)),
            percent(neuron.rate, 1),
            *(percent(_steps(neuron)[index], 1) for index in shown),
        )
        for neuron in neurons
    )
    return table(columns, rows)


def _inputs(report: HardwareReport) -> Html:
    """What each synapse reads of it."""
    columns = ("synapse", "arrays", "active inputs", "idle arrays", "synaptic operations", "of dense")
    rows = [
        (
            node.name,
            or_dash(node.arrays),
            percent(node.input_rate, 1),
            percent(node.idle_arrays, 1),
            readable(node.effective_operations),
            percent(2 * node.effective_operations / node.dense_operations if node.dense_operations else None, 1),
        )
        for node in report.nodes
        if node.input_rate is not None
    ]
    words = (
        "An array is idle in a read in which none of its rows is active; of dense: operations on inputs that are not 0."
    )
    return tag("div", tag("h3", "What the synapses read"), tag("p", words), table(columns, rows))
