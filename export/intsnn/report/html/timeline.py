"""When each node works on which time step -> a Gantt picture: a row for each node, a bar for each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from intsnn.estimation.report import HardwareReport, Unavailable
from intsnn.estimation.schedule import Busy, Interval
from intsnn.report.html.blocks import Section, figure, table
from intsnn.report.html.markup import Html, join, share, tag
from intsnn.report.words import best_unit, readable
from intsnn.shares import percent

_SHADES = 4  # .s0 to .s3 in style.css
_MOST_BARS = 4000  # more are not told apart, and make the page heavy
_SMALL = 0.002  # bars of a node that are shorter than this share of the latency are not drawn
_TICKS = 5
_RULES = {
    "layer_by_layer": "Layer by layer: nothing overlaps.",
    "row_pipeline": "Row pipeline: a node starts as soon as the rows that it reads exist; within a bar it may wait.",
    "sum": "The rules give no times of their own: nodes are drawn one after the other, steps alike.",
}


@dataclass(frozen=True)
class _Line:
    """One node: the time that it works in one inference, ns, and when."""

    node: str
    busy_ns: float
    spans: tuple[Interval, ...]

    @property
    def spanned_ns(self) -> float:
        """Length of its bars, ns: the time that it works and, in a pipeline, waits for rows."""
        return math.fsum(span.end_ns - span.start_ns for span in self.spans)


def time_section(report: HardwareReport) -> Section:
    """When each node works in one inference."""
    if isinstance(report.latency, Unavailable):
        return Section("time", "Time", (tag("p", f"Not available: {report.latency.reason}."),))
    lines = _lines(report, report.latency)
    if not lines:
        return Section("time", "Time", (tag("p", "No node takes time of its own."),))
    return Section("time", "Time", (_gantt(lines, report),))


def _lines(report: HardwareReport, latency: Sequence[Busy]) -> list[_Line]:
    busy = {one.node: one.time_ns for one in latency if one.time_ns}
    intervals = _in_sequence(report, busy) if report.timeline is None else report.timeline.intervals
    spans: dict[str, list[Interval]] = {name: [] for name in (node.name for node in report.nodes) if name in busy}
    for interval in intervals:
        spans[interval.node].append(interval)
    return [_Line(name, busy[name], tuple(found)) for name, found in spans.items()]


def _in_sequence(report: HardwareReport, busy: dict[str, float]) -> list[Interval]:
    """In each step every node after the one before it."""
    steps, now, found = report.workload.time_steps, 0.0, []
    for step in range(steps):
        for name in (node.name for node in report.nodes if node.name in busy):
            found.append(Interval(name, step, now, now + busy[name] / steps))
            now = found[-1].end_ns
    return found


def _gantt(lines: Sequence[_Line], report: HardwareReport) -> Html:
    whole_ns, steps = report.latency_ns, report.workload.time_steps
    seen = [line for line in lines if line.spanned_ns >= _SMALL * whole_ns]
    drawn = min(steps, max(1, _MOST_BARS // len(seen)))
    end_ns = whole_ns if drawn == steps else max(span.end_ns for line in seen for span in line.spans[:drawn])
    longest = max(lines, key=lambda line: line.busy_ns)
    divisor, unit = best_unit(whole_ns, "ns")
    rows = (_row(line, drawn, end_ns, report.batch * line.busy_ns / whole_ns) for line in seen)
    rule = "sum" if report.timeline is None else report.timeline.rule
    return figure(
        "Nodes over time, a shade for each step",
        tag("div", *rows, _axis(end_ns / divisor, unit), class_="rows gantt"),
        alt=f"Gantt picture of {drawn} of {steps} steps. {longest.node} works longest: "
        f"{percent(report.batch * longest.busy_ns / whole_ns, 1)} of {readable(whole_ns / divisor)} {unit}.",
        numbers=_numbers(lines, divisor, unit),
        note=" ".join([_RULES[rule], *_turns(report), *_left_out(len(lines) - len(seen), drawn, steps)]),
    )


def _turns(report: HardwareReport) -> list[str]:
    """What is drawn where layers take turns: the first inference of a batch, without loads; shares are of the batch."""
    found = report.programming
    if isinstance(found, Unavailable) or found.groups == 1:
        return []
    if report.batch == 1:
        return ["Layers take turns: before each group of them its weights are loaded, which is not drawn."]
    return [
        f"Layers take turns, on the time of {report.batch:,} inferences: of each group the first inference is drawn, "
        f"not its load before and not the {report.batch - 1:,} others after. Busy is the share of the batch's time "
        f"with the work of all {report.batch:,}."
    ]


def _row(line: _Line, steps: int, end_ns: float, part: float) -> Html:
    spans = join(_span(span, end_ns) for span in line.spans[:steps])
    drawn = tag("svg", spans, class_="bar")
    value = tag("span", f"{percent(part, 1)} busy", class_="value")
    return tag("div", tag("span", line.node, class_="name"), drawn, value, class_="row")


def _span(span: Interval, end_ns: float) -> Html:
    title = tag("title", f"{span.node}, step {span.step + 1}: {readable(span.start_ns)} to {readable(span.end_ns)} ns")
    return tag(
        "rect",
        title,
        x=share(span.start_ns / end_ns),
        width=share((span.end_ns - span.start_ns) / end_ns),
        class_=f"s{span.step % _SHADES}",
    )


def _axis(end: float, unit: str) -> Html:
    ticks = (tag("span", readable(end * tick / (_TICKS - 1))) for tick in range(_TICKS))
    between = tag("div", *ticks, class_="ticks")
    return tag("div", tag("span", class_="name"), between, tag("span", unit, class_="value"), class_="row")


def _left_out(small: int, drawn: int, steps: int) -> list[str]:
    words = (
        [f"{small} nodes whose bars take less than {percent(_SMALL, 1)} of the time are not drawn."] if small else []
    )
    return [*words, f"The first {drawn} of {steps} steps are drawn."] if drawn < steps else words


def _numbers(lines: Sequence[_Line], divisor: float, unit: str) -> Html:
    columns = ("node", f"works in one inference, {unit}", f"first start, {unit}", f"last end, {unit}")
    rows = (
        (
            line.node,
            readable(line.busy_ns / divisor),
            readable(min((span.start_ns for span in line.spans), default=math.nan) / divisor),
            readable(max((span.end_ns for span in line.spans), default=math.nan) / divisor),
        )
        for line in lines
    )
    return table(columns, rows)
