"""Points -> line charts, pairs of amounts -> bars, as SVG whose lines differ by dash and marker, not colour alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intsnn.report.html.markup import Html, join, number, share, tag
from mdcompress.pipeline.pages.histories import Points

LOOKS = 7  # .l0 to .l6 in run.css
_WIDTH, _HEIGHT = 420.0, 250.0  # the chart's own px; it is scaled to its place
_VIEW = f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}"
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 12.0, 12.0, 38.0
_TICKS = 5
_MARKED = 40  # more points than this are a line without markers
_SIDE = 3.4  # px, half of a marker


@dataclass(frozen=True)
class Axis:
    """A range of values and where it is drawn, from `start` to `end` px."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """The px of a value."""
        low, high, here = (math.log10(one) if self.logarithmic else one for one in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (here - low) / (high - low)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round values inside the range, at most nine of them."""
        return _decades(self.low, self.high) if self.logarithmic else _round_values(self.low, self.high)


def line_chart(lines: Mapping[str, Points], *, y_label: str, kept: int | None, logarithmic: bool = False) -> Html:
    """Lines over epochs, with a legend below.

    Args:
        lines: by name; each has a point at least.
        y_label: what stands on the y axis, with its unit.
        kept: the epoch that is marked; None: none.
        logarithmic: whether the y axis is, where all values are above 0.
    """
    values = [value for points in lines.values() for _, value in points]
    epochs = [epoch for points in lines.values() for epoch, _ in points]
    x = Axis(min(epochs), max(max(epochs), min(epochs) + 1), _LEFT + 8, _WIDTH - _RIGHT - 8)
    low, high = _widened(min(values), max(values), logarithmic=logarithmic and min(values) > 0)
    y = Axis(low, high, _HEIGHT - _BOTTOM, _TOP, logarithmic and low > 0)
    drawn = (_line(points, index, x, y) for index, points in enumerate(lines.values()))
    y_label = f"{y_label}, log scale" if y.logarithmic else y_label
    chart = tag("svg", join([*_grid(x, y, "epoch", y_label), *_kept(kept, x), *drawn]), viewBox=_VIEW, class_="chart")
    return tag("div", chart, line_legend(list(lines), kept))


def scatter_chart(points: Mapping[str, tuple[float, float]], *, x_label: str, y_label: str) -> Html:
    """A point with a marker of its own for each name, which a legend has too, and stands beside the point."""
    xs, ys = [x for x, _ in points.values()], [y for _, y in points.values()]
    x = Axis(*_widened(min(xs), max(xs), logarithmic=False), _LEFT + 8, _WIDTH - _RIGHT - 8)
    y = Axis(*_widened(min(ys), max(ys), logarithmic=False), _HEIGHT - _BOTTOM, _TOP)
    drawn = [
        _point(name, index, x.place(point[0]), y.place(point[1])) for index, (name, point) in enumerate(points.items())
    ]
    chart = tag("svg", join([*_grid(x, y, x_label, y_label), *drawn]), viewBox=_VIEW, class_="chart")
    entries = (tag("li", _mark(index), name) for index, name in enumerate(points))
    return tag("div", chart, tag("ul", *entries, class_="legend"))


def line_legend(names: Sequence[str], kept: int | None = None) -> Html:
    """A sample of each line with its name; the dotted line of the kept epoch too."""
    entries = [tag("li", _sample(index), name) for index, name in enumerate(names)]
    if kept is not None:
        dotted = tag("svg", tag("line", x1=15, x2=15, y1=0, y2=12, class_="kept"), class_="sample", viewBox="0 0 30 12")
        entries.append(tag("li", dotted, f"kept: epoch {kept}"))
    return tag("ul", *entries, class_="legend")


@dataclass(frozen=True)
class Pair:
    """One row: an amount before and after, in words too, and what both are held against."""

    name: str
    before: float
    after: float
    words: str
    against: float | None = None


def paired_bars(rows: Sequence[Pair]) -> Html:
    """Two bars a row over one scale: `before` an outline, `after` filled; what they are held against a black mark."""
    most = max((amount for row in rows for amount in (row.before, row.after, row.against or 0.0)), default=0.0) or 1.0
    return tag("div", *(_pair(row, most) for row in rows), class_="rows pairs")


def pair_legend(before: str, after: str, against: str | None = None) -> Html:
    """What outline, filled bar and mark are."""
    drawn = [
        (tag("rect", x=1, y=1, width=28, height=10, class_="before"), before),
        (tag("rect", x=1, y=1, width=28, height=10, class_="after"), after),
        *([(tag("line", x1=15, x2=15, y1=0, y2=12, class_="mark"), against)] if against else []),
    ]
    entries = (tag("li", tag("svg", mark, class_="sample", viewBox="0 0 30 12"), words) for mark, words in drawn)
    return tag("ul", *entries, class_="legend")


def marker(index: int, x: float, y: float, *, title: str = "") -> Html:
    """The marker of the line or point with this number, at a place; each number has a shape of its own."""
    side = _SIDE
    shapes = (
        f"M{_xy(x - side, y)}a{side} {side} 0 1 0 {2 * side} 0a{side} {side} 0 1 0 {-2 * side} 0z",  # disc
        f"M{_xy(x - side, y - side)}h{2 * side}v{2 * side}h{-2 * side}z",  # square
        f"M{_xy(x, y - side - 0.6)}l{side + 0.6} {2 * side}h{-2 * side - 1.2}z",  # triangle
        f"M{_xy(x, y - side - 1)}l{side + 1} {side + 1}l{-side - 1} {side + 1}l{-side - 1} {-side - 1}z",  # diamond
        f"M{_xy(x, y + side + 0.6)}l{side + 0.6} {-2 * side}h{-2 * side - 1.2}z",  # triangle, upside down
        f"M{_xy(x - side, y - side)}l{2 * side} {2 * side}m0 {-2 * side}l{-2 * side} {2 * side}",  # cross
        f"M{_xy(x - side, y)}h{2 * side}m{-side} {-side}v{2 * side}",  # plus
    )
    children = [tag("title", title)] if title else []
    return tag("path", *children, d=shapes[index % LOOKS], class_=f"m l{index % LOOKS}")


def _line(points: Points, index: int, x: Axis, y: Axis) -> Html:
    places = [(x.place(epoch), y.place(value)) for epoch, value in points]
    path = tag("path", d="M" + "L".join(_xy(*place) for place in places), class_=f"line l{index % LOOKS}")
    if len(points) > _MARKED:
        return path
    marks = (
        marker(index, *place, title=f"epoch {number(epoch)}: {value:.4g}")
        for place, (epoch, value) in zip(places, points, strict=True)
    )
    return tag("g", path, join(marks))


def _sample(index: int) -> Html:
    line = tag("path", d="M1 6H29", class_=f"line l{index % LOOKS}")
    return tag("svg", line, marker(index, 15, 6), class_="sample", viewBox="0 0 30 12")


def _mark(index: int) -> Html:
    return tag("svg", marker(index, 15, 6), class_="sample", viewBox="0 0 30 12")


def _point(name: str, index: int, x: float, y: float) -> Html:
    """The point and its name: to the left of it in the right half of the chart."""
    left = x > _WIDTH / 2
    words = tag("text", name, x=x - 9 if left else x + 9, y=y + 4, class_="named end" if left else "named")
    return tag("g", marker(index, x, y, title=name), words)


def _grid(x: Axis, y: Axis, x_label: str, y_label: str) -> list[Html]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    drawn = [tag("line", x1=_LEFT, x2=right, y1=bottom, y2=bottom, class_="axis")]
    for tick in y.ticks:
        place = y.place(tick)
        drawn.append(tag("line", x1=_LEFT, x2=right, y1=place, y2=place, class_="grid"))
        drawn.append(tag("text", f"{tick:g}", x=_LEFT - 6, y=place + 4, class_="tick end"))
    ticks = [tick for tick in x.ticks if x_label != "epoch" or tick == int(tick)]
    drawn += [tag("text", f"{tick:g}", x=x.place(tick), y=bottom + 15, class_="tick middle") for tick in ticks]
    drawn.append(tag("text", x_label, x=(_LEFT + right) / 2, y=_HEIGHT - 5, class_="tick middle"))
    middle = (_TOP + bottom) / 2
    turned = f"rotate(-90 12 {number(middle)})"
    return [*drawn, tag("text", y_label, x=12, y=middle, transform=turned, class_="tick middle")]


def _kept(kept: int | None, x: Axis) -> list[Html]:
    if kept is None:
        return []
    place = x.place(kept)
    return [tag("line", x1=place, x2=place, y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="kept")]


def _pair(row: Pair, most: float) -> Html:
    bars = [
        tag("rect", x="0%", y="8%", width=share(row.before / most), height="36%", class_="before"),
        tag("rect", x="0%", y="54%", width=share(row.after / most), height="40%", class_="after"),
    ]
    if row.against is not None:
        place = share(row.against / most)
        bars.append(tag("line", x1=place, x2=place, y1="0%", y2="100%", class_="mark"))
    drawn = tag("svg", *bars, class_="pair")
    value = tag("span", row.words, class_="value")
    return tag("div", tag("span", row.name, class_="name"), drawn, value, class_="row")


def _widened(low: float, high: float, *, logarithmic: bool) -> tuple[float, float]:
    """A little room on both sides, so that no marker is cut, and some where all values are one."""
    if logarithmic:
        return low / 1.15, high * 1.15
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _round_values(low: float, high: float) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten, about _TICKS of them."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def _decades(low: float, high: float) -> tuple[float, ...]:
    """1, 2 and 5 times powers of ten; powers alone where those are many, round values where there are hardly any."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    found = (factor * 10.0**power for power in powers for factor in factors)
    ticks = tuple(tick for tick in found if low <= tick <= high)
    return ticks if len(ticks) > 1 else _round_values(low, high)


def _xy(x: float, y: float) -> str:
    return f"{number(x)} {number(y)}"
