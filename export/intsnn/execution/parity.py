"""Compares executions that must be equal and finds the first place where they are not: node, then step, then index.

First in graph order, because whatever comes after a difference differs too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.errors import ParityError
from intsnn.execution.interpreter import Trace

Quantity = Literal["spike", "membrane", "output"]


@dataclass(frozen=True)
class Difference:
    """The first place where two witnesses differ.

    step: t, or None for an output summed over T. index: (sample, then the place in the per-sample shape).
    """

    witnesses: tuple[str, str]
    node: str
    quantity: Quantity
    step: int | None
    index: tuple[int, ...]
    values: tuple[int, int]

    def __str__(self) -> str:
        (left, right), (mine, other) = self.witnesses, self.values
        when = "" if self.step is None else f", step {self.step}"
        sample, *place = self.index
        where = f"{self.quantity} of {self.node!r}{when}, sample {sample}, index {tuple(place)}"
        return f"{where}: {left} has {mine}, {right} has {other}"


@dataclass(frozen=True)
class ParityReport:
    """What a comparison saw.

    values: spikes and membranes compared, per pair of witnesses. spikes: how many were seen (none: nothing was
    proved about firing). silent: neurons that never fired.
    """

    witnesses: tuple[str, ...]
    samples: int
    time_steps: int
    values: int
    spikes: int
    silent: tuple[str, ...]
    first_difference: Difference | None

    @property
    def equal(self) -> bool:
        """Whether every spike, membrane and output value is the same for all witnesses."""
        return self.first_difference is None

    def __str__(self) -> str:
        if self.first_difference is not None:
            return f"{' and '.join(self.first_difference.witnesses)} differ at the {self.first_difference}"
        size = f"{self.samples} sample{_plural(self.samples)} x {self.time_steps} step{_plural(self.time_steps)}"
        line = f"{' = '.join(self.witnesses)} on {size}: {self.values:,} spikes and membranes equal"
        if self.silent:
            line += f" (never fired: {', '.join(self.silent)})"
        return line


def compare(reference: Trace, other: Trace, *, names: tuple[str, str] = ("interpreter", "onnxruntime")) -> ParityReport:
    """Compare two executions of one graph on one input, value by value (==).

    Args:
        reference: one run.
        other: another run.
        names: what a report calls the two.

    Returns:
        A report: `.equal`, `.values` compared, `.spikes` seen, and the first difference in graph order, time and place.

    Raises:
        ParityError: the runs are of different graphs or inputs, so that nothing can be compared.
    """
    return compare_all({names[0]: reference, names[1]: other})


def compare_all(traces: Mapping[str, Trace]) -> ParityReport:
    """Compare executions by any number of witnesses, each with the next; the first names what was run.

    Args:
        traces: by name of the witness, in the order they are reported.
    """
    if len(traces) < 2:
        raise ParityError(f"a comparison needs two witnesses (got {len(traces)})", hints=["give another execution"])
    witnesses, traces = tuple(traces), _with_known_axes(traces)
    for names in pairwise(witnesses):
        _require_comparable(names, traces[names[0]], traces[names[1]])
    reference = traces[witnesses[0]]
    differences = [_first_difference(pair, traces[pair[0]], traces[pair[1]]) for pair in pairwise(witnesses)]
    found = [difference for difference in differences if difference is not None]
    time_steps, samples = _extent(reference)
    return ParityReport(
        witnesses=witnesses,
        samples=samples,
        time_steps=time_steps,
        values=2 * sum(spikes.size for spikes in reference.spikes.values()),
        spikes=sum(int(spikes.sum()) for spikes in reference.spikes.values()),
        silent=tuple(name for name, spikes in reference.spikes.items() if not spikes.any()),
        first_difference=_earliest(found, reference),
    )


def merge_batches(reports: Sequence[ParityReport]) -> ParityReport:
    """One report for a comparison made batch by batch: samples add up; the first difference counts samples from 0."""
    if not reports:
        raise ParityError("a merged report needs at least one batch (got none)", hints=["give more data"])
    first, samples, difference = reports[0], 0, None
    for report in reports:
        if difference is None and report.first_difference is not None:
            sample, *place = report.first_difference.index
            difference = replace(report.first_difference, index=(samples + sample, *place))
        samples += report.samples
    return replace(
        first,
        samples=samples,
        values=sum(report.values for report in reports),
        spikes=sum(report.spikes for report in reports),
        silent=tuple(name for name in first.silent if all(name in report.silent for report in reports)),
        first_difference=difference,
    )


def require_equal(report: ParityReport) -> None:
    """Raise ParityError at the first difference."""
    if not report.equal:
        raise ParityError(
            f"{' = '.join(report.witnesses)} must hold on every spike, membrane and output; {report}",
            hints=["the graph is then not the network: export again; if it stays, report it with model.onnx"],
        )


def _plural(count: int) -> str:
    return "" if count == 1 else "s"


def _with_known_axes(traces: Mapping[str, Trace]) -> dict[str, Trace]:
    """All traces with `per_step` as the first says that has it; else told by the shape.

    The shapes alone cannot always tell: [T, N, K] and a map's [N, C, L] look alike.
    """
    said = [trace.per_step for trace in traces.values() if trace.per_step is not None]
    first = next(iter(traces.values()))
    sizes = next((spikes.shape[:2] for spikes in first.spikes.values()), first.output.shape[:2])
    looks_so = first.output.ndim % 2 == 1 and first.output.shape[:2] == sizes
    return {name: replace(trace, per_step=said[0] if said else looks_so) for name, trace in traces.items()}


def _extent(trace: Trace) -> tuple[int, int]:
    """(T, N) of a run, from its first neuron; from the output where there is none (a sum then counts as one step)."""
    for spikes in trace.spikes.values():
        return int(spikes.shape[0]), int(spikes.shape[1])
    if trace.per_step:
        return int(trace.output.shape[0]), int(trace.output.shape[1])
    return 1, int(trace.output.shape[0])


def _require_comparable(names: tuple[str, str], left: Trace, right: Trace) -> None:
    shapes = [{place: array.shape for place, array in _tensors(trace)} for trace in (left, right)]
    if shapes[0] != shapes[1]:
        place = next(p for p in {**shapes[0], **shapes[1]} if shapes[0].get(p) != shapes[1].get(p))
        seen = " and ".join(str(shape.get(place, "none")) for shape in shapes)
        message = f"{names[0]} and {names[1]} must have run one graph on one input (got shapes {seen} of {place})"
        raise ParityError(message, hints=["compare runs of the same graph on the same samples and steps"])


def _tensors(trace: Trace) -> Iterator[tuple[str, IntArray]]:
    for name, spikes in trace.spikes.items():
        yield f"{name}.spikes", spikes
    for name, membrane in trace.membranes.items():
        yield f"{name}.membrane", membrane
    yield "output", trace.output


def _first_difference(names: tuple[str, str], left: Trace, right: Trace) -> Difference | None:
    for name in left.spikes:
        pairs: dict[Quantity, tuple[IntArray, IntArray]] = {
            "spike": (left.spikes[name], right.spikes[name]),
            "membrane": (left.membranes[name], right.membranes[name]),
        }
        found = [_difference(names, name, quantity, *pair) for quantity, pair in pairs.items()]
        differing = [difference for difference in found if difference is not None]
        if differing:
            # min is stable: at one step the spike is reported, which the membrane follows
            return min(differing, key=lambda difference: difference.step or 0)
    return _output_difference(names, left, right)


def _difference(
    names: tuple[str, str], node: str, quantity: Quantity, left: IntArray, right: IntArray
) -> Difference | None:
    """The first differing element of two [T, N, ...] arrays."""
    if np.array_equal(left, right):
        return None
    step, *index = (int(place) for place in np.argwhere(left != right)[0])
    values = (int(left[(step, *index)]), int(right[(step, *index)]))
    return Difference(names, node, quantity, step, tuple(index), values)


def _output_difference(names: tuple[str, str], left: Trace, right: Trace) -> Difference | None:
    if left.per_step:
        return _difference(names, "output", "output", left.output, right.output)
    found = _difference(names, "output", "output", left.output[None], right.output[None])
    return None if found is None else replace(found, step=None)


def _earliest(found: Sequence[Difference], reference: Trace) -> Difference | None:
    """The difference that comes first in graph order, then in time; of equal ones the first pair of witnesses."""
    order = {name: place for place, name in enumerate(reference.spikes)}
    return min(found, key=lambda d: (order.get(d.node, len(order)), d.step or 0), default=None)
