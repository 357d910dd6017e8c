"""A mapped graph -> how long each node is busy, and when: one function for each schedule rule.

M columns share a converter or an adder tree, one clock a tree; accumulators take a clock for each row that the layer
has on an array, active or not; an array read is rounded up to whole clocks; D copies of a layer work on D positions at
a time:

    synapse   ceil(positions / D) * input bits * (t_read + M*t_convert + one clock to accumulate); 0 in the steps
              for which its sums are held
    neuron, pool, sum, product, readout   ceil(elements / lanes) clocks
    requantization   0: a pipeline stage of the node that reads it

layer_by_layer: nothing overlaps. In each of T steps every node runs once, after the one before it.
row_pipeline: every node works at the same time, step after step and row after row. With d_i the time of row i and A_i
the time when the rows that row i reads exist (latest over the inputs of a sum), i counting the rows of all steps:

    end_i = max(end_{i-1}, A_i) + d_i = D_i + max_{j <= i} (A_j - D_{j-1}),    D_i = d_0 + ... + d_i

A recurrent synapse and its neuron take turns, row by row, since each needs what the other wrote in the step before: d
is the sum of their times, so a step never begins before the last row of the step before it is done.

Where layers take turns on the arrays (mapping/reloading.py), each group is loaded, then runs all steps of all samples
of a batch under the rule, then the next one is; the latency is that of the whole batch, up to its last result, and the
interval the latency over the samples:

    sum over groups of  load + latency of the group + (samples - 1) * interval of the group

The next inference may enter when the busiest node is free; membranes are ready for it, and buffers never fill up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as ByName
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeVar, assert_never

import numpy as np
import numpy.typing as npt

from intsnn.estimation.loading import group_loads
from intsnn.hardware.catalogue import Item
from intsnn.hardware.spec import HardwareSpec
from intsnn.mapping import Mapping
from intsnn.mapping.flows import Flow
from intsnn.mapping.reloading import Reload

FloatArray = npt.NDArray[np.float64]
Steps = tuple[float, ...]
TimeT = TypeVar("TimeT", float, FloatArray)
_NO_TIME: FloatArray = np.zeros(1)


@dataclass(frozen=True)
class Busy:
    """Time a node works in one inference, ns, under every rule."""

    node: str
    time_ns: float


@dataclass(frozen=True)
class Interval:
    """When a node works on one step: from its first row to its last, ns. Within it may wait for rows."""

    node: str
    step: int
    start_ns: float
    end_ns: float


@dataclass(frozen=True)
class Timeline:
    """One inference under a rule. interval_ns: time from one inference to the next where they follow each other.

    intervals: of every node that takes time, in the order of the graph, step by step. Where layers take turns,
    latency_ns is that of the batch, and intervals are those of its first inference in each group: neither loads nor the
    other inferences.
    """

    rule: str
    latency_ns: float
    interval_ns: float
    intervals: tuple[Interval, ...]


def schedule(mapping: Mapping, *, time_steps: int) -> tuple[Busy, ...]:
    """Busy time of every node, loads apart; a layer in several parts works on every position for each of them."""
    turns = mapping.reload
    parts = {} if turns is None else {layer.name: len(turns.parts_of(layer.name)) for layer in mapping.layers}
    busy = step_times(mapping, time_steps).items()
    return tuple(Busy(name, math.fsum(steps) * parts.get(name, 1)) for name, steps in busy)


def timeline(mapping: Mapping, *, time_steps: int) -> Timeline:
    """When every node works under the hardware's own rule.

    Where layers take turns: group after group, first its load, then all of its samples; intervals are of the first.
    """
    if mapping.reload is not None:
        return _group_after_group(mapping, mapping.reload, time_steps)
    busy = step_times(mapping, time_steps)
    match mapping.hardware.schedule.rule:
        case "layer_by_layer":
            return _layer_by_layer(mapping, busy)
        case "row_pipeline":
            return _row_pipeline(mapping, busy)
        case rule:
            assert_never(rule)


def latency_of(mapping: Mapping, *, time_steps: int) -> float:
    """Time of one inference under the hardware's own rule, ns: that of the timeline, without its intervals."""
    return float(latencies_of_chips([mapping], time_steps)[0, -1])


def latencies_of_chips(mappings: Sequence[Mapping], time_steps: int) -> FloatArray:
    """Time of an inference of one step, of two, up to so many, ns, [chips, T]: no step waits for one that follows it.

    Args:
        mappings: at least one, of one network under one rule. Where layers take turns, in the same groups on all; else
            copies may differ too.
        time_steps: the most steps.
    """
    first = mappings[0]
    if first.reload is not None:
        return _latencies_of_groups(mappings, first.reload, time_steps)
    return _latencies(first, _times_of_chips(mappings, time_steps))


def _times_of_chips(mappings: Sequence[Mapping], time_steps: int) -> dict[str, FloatArray]:
    """`step_times` of each, [chips, T] by node."""
    times = [step_times(mapping, time_steps) for mapping in mappings]
    return {name: np.array([one[name] for one in times]) for name in times[0]}


def _latencies(mapping: Mapping, busy: ByName[str, FloatArray]) -> FloatArray:
    """[chips, T], of nodes that are busy for [chips, T]."""
    match mapping.hardware.schedule.rule:
        case "layer_by_layer":
            until = np.stack([np.cumsum(steps, axis=-1) for steps in busy.values()], axis=-1)
            return np.array([[math.fsum(nodes) for nodes in chip] for chip in until.tolist()])
        case "row_pipeline":
            last: FloatArray = np.max([end[..., -1] for end in _row_ends(mapping, busy).values()], axis=0)
            return last
        case rule:
            assert_never(rule)


def _group_after_group(mapping: Mapping, reload: Reload, time_steps: int) -> Timeline:
    now, found = 0.0, list[Interval]()
    for index, load in enumerate(group_loads(mapping, reload)):
        alone = timeline(_group(mapping, reload, index), time_steps=time_steps)
        start = now + load.time_ns
        found += [replace(one, start_ns=one.start_ns + start, end_ns=one.end_ns + start) for one in alone.intervals]
        now = start + _of_all_samples(alone.latency_ns, alone.interval_ns, reload.samples)
    return Timeline(mapping.hardware.schedule.rule, now, now / reload.samples, tuple(found))


def _latencies_of_groups(mappings: Sequence[Mapping], reload: Reload, time_steps: int) -> FloatArray:
    now = np.zeros((len(mappings), time_steps))
    for index, load in enumerate(group_loads(mappings[0], reload)):
        group = _group(mappings[0], reload, index)
        times = _times_of_chips([replace(group, hardware=one.hardware) for one in mappings], time_steps)
        latencies = _latencies(group, times)
        intervals = _intervals(group, times, latencies) if reload.samples > 1 else np.zeros_like(latencies)
        now = now + load.time_ns + _of_all_samples(latencies, intervals, reload.samples)
    return now


def _intervals(mapping: Mapping, busy: ByName[str, FloatArray], latencies: FloatArray) -> FloatArray:
    """Time from one inference to the next where they follow each other, [chips, T]."""
    found = np.empty_like(latencies)
    for chip, last in np.ndindex(latencies.shape):
        alone = {name: steps[chip] for name, steps in busy.items()}
        found[chip, last] = _interval_ns(mapping, alone, float(latencies[chip, last]), last + 1)
    return found


def _of_all_samples(latency_ns: TimeT, interval_ns: TimeT, samples: int) -> TimeT:
    return latency_ns + (samples - 1) * interval_ns


def _interval_ns(mapping: Mapping, busy: ByName[str, FloatArray], latency_ns: float, steps: int) -> float:
    """Time from one inference of so many steps to the next where they follow each other."""
    match mapping.hardware.schedule.rule:
        case "layer_by_layer":
            return latency_ns
        case "row_pipeline":
            return max(float(_flow_ns(flow, busy)[:steps].sum()) for flow in mapping.flows)
        case rule:
            assert_never(rule)


def _group(mapping: Mapping, reload: Reload, index: int) -> Mapping:
    """What works while a group is loaded; what it reads of other groups is there from the start."""
    layers = mapping.groups[index]
    loaded = {layer.name for layer in layers}
    flows = [one for one in mapping.flows if one.inputs and (reload.stages[one.name] == index or one.name in loaded)]
    rows = {one.name: len(one.needs) for one in mapping.flows}
    others = dict.fromkeys(name for one in flows for name in one.inputs)
    there = {one.name for one in flows}
    sources = tuple(Flow(name, (), (0,) * rows[name]) for name in others if name not in there)
    digital = tuple(node for node in mapping.digital if reload.stage_of(node) == index)
    return Mapping(mapping.hardware, layers, digital, (*sources, *flows))


def step_times(mapping: Mapping, time_steps: int) -> dict[str, tuple[float, ...]]:
    """What each node is busy in each step, ns; a layer whose sums are held is busy in the first of them alone."""
    clock_ns, rows_of = mapping.hardware.technology.clock_ns, read_rows(mapping)
    reads_ns = {rows: array_read_ns(mapping.hardware, rows=rows) for rows in sorted(set(rows_of))}
    found: dict[str, tuple[float, ...]] = {}
    for layer, rows in zip(mapping.layers, rows_of, strict=True):
        step_ns, read = layer.rounds * layer.input_bits * reads_ns[rows], layer.read_steps(time_steps)
        found[layer.name] = (step_ns,) * read + (0.0,) * (time_steps - read)
    return found | {node.name: (node.clocks * clock_ns,) * time_steps for node in mapping.digital}


def _layer_by_layer(mapping: Mapping, busy: ByName[str, Steps]) -> Timeline:
    members = [name for flow in mapping.flows for name in flow.members if name in busy]
    found, now = [], 0.0
    for step in range(len(next(iter(busy.values())))):
        for node in members:
            if busy[node][step]:
                found.append(Interval(node, step, now, now + busy[node][step]))
                now += busy[node][step]
    latency_ns = math.fsum(sum(steps) for steps in busy.values())
    return Timeline("layer_by_layer", latency_ns, latency_ns, tuple(found))


def _row_pipeline(mapping: Mapping, times: ByName[str, Steps]) -> Timeline:
    found: list[Interval] = []
    busy = {name: np.array(steps) for name, steps in times.items()}
    ends = _row_ends(mapping, busy)
    for flow in mapping.flows:
        found += _turns(flow, busy, ends[flow.name])
    latency_ns = max(float(end[-1, -1]) for end in ends.values())
    return Timeline(
        "row_pipeline",
        latency_ns,
        _interval_ns(mapping, busy, latency_ns, len(next(iter(times.values())))),
        tuple(found),
    )


def _turns(flow: Flow, busy: ByName[str, FloatArray], ends: FloatArray) -> list[Interval]:
    """From a member's turn in the first row of a step to its turn in the last, step by step."""
    found, rows = [], ends.shape[1]
    left = _flow_ns(flow, busy) / rows
    for name in flow.members:
        turn_ns = busy.get(name, _NO_TIME) / rows
        start, left = left, left - turn_ns
        if turn_ns.any():
            both = zip((ends[:, 0] - start).tolist(), (ends[:, -1] - left).tolist(), strict=True)
            found += [Interval(name, step, *pair) for step, pair in enumerate(both) if turn_ns[step]]
    return found


def _flow_ns(flow: Flow, busy: ByName[str, FloatArray]) -> FloatArray:
    """Time of all that work in turn, in each step; one 0 where none takes time."""
    first, *others = (busy.get(name, _NO_TIME) for name in flow.members)
    return sum(others, start=first)


def _row_ends(mapping: Mapping, busy: ByName[str, FloatArray]) -> dict[str, FloatArray]:
    """When each row is done, [..., T, rows] by node, in the order of the graph; the input is there from the start.

    `busy`: [..., T] of each node, of one chip or of several at once.
    """
    ends: dict[str, FloatArray] = {}
    steps = next(iter(busy.values())).shape
    for flow in mapping.flows:
        if not flow.inputs:
            ends[flow.name] = np.zeros((*steps, len(flow.needs)))
            continue
        first, *others = (_rows_needed(ends[name], flow.needs) for name in flow.inputs)
        ends[flow.name] = _done(reduce(np.maximum, others, first), _flow_ns(flow, busy))
    return ends


def _rows_needed(ends: FloatArray, needs: tuple[int, ...]) -> FloatArray:
    """When the last of the rows that each row needs is there; of fewer rows than it needs, when all are."""
    rows = ends.shape[-1]
    if needs == tuple(range(1, rows + 1)):
        return ends
    found: FloatArray = ends[..., np.minimum(needs, rows) - 1]
    return found


def _done(ready: FloatArray, flow_ns: FloatArray) -> FloatArray:
    """When rows that are ready for their turn are done, all steps in one line; flow_ns: of all rows of a step."""
    row_ns = np.broadcast_to(flow_ns[..., None] / ready.shape[-1], ready.shape)
    line = (*ready.shape[:-2], -1)
    row_ns, waiting = row_ns.reshape(line), ready.reshape(line)
    before = np.cumsum(row_ns, axis=-1) - row_ns
    done: FloatArray = before + row_ns + np.maximum.accumulate(waiting - before, axis=-1)
    return done.reshape(ready.shape)


def read_rows(mapping: Mapping) -> tuple[int, ...]:
    """The rows of each layer that make its reads longer: 1 where all are read at once."""
    one_by_one = mapping.hardware.crossbar.readout == "accumulator"
    return tuple(layer.rows_of_an_array if one_by_one else 1 for layer in mapping.layers)


def array_read_ns(hardware: HardwareSpec, *, rows: int) -> float:
    """One read of an array of so many used rows, all columns converted or summed, and accumulated, whole clocks, ns."""
    clock_ns = hardware.technology.clock_ns
    match hardware.crossbar.readout:
        case "converter":
            column_ns = hardware.latency_ns(Item.ADC_CONVERSION, hardware.crossbar.resolution)
        case "adder_tree":
            column_ns = clock_ns
        case "accumulator":
            column_ns = rows * clock_ns
        case readout:
            assert_never(readout)
    busy_ns = hardware.latency_ns(Item.CELL_READ) + hardware.crossbar.column_mux * column_ns + clock_ns
    return math.ceil(busy_ns / clock_ns - 1e-9) * clock_ns  # 1e-9: a sum that is whole up to rounding is whole
