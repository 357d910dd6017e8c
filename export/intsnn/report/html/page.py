"""A hardware report -> one HTML page: style and pictures inside, no script, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from intsnn.estimation.report import HardwareReport
from intsnn.report.html.assumptions import assumptions_section
from intsnn.report.html.blocks import Section, section
from intsnn.report.html.breakdown import area_section, energy_section
from intsnn.report.html.chip import mapping_section
from intsnn.report.html.glance import glance_section
from intsnn.report.html.header import header, totals_section
from intsnn.report.html.markup import Html, tag
from intsnn.report.html.origins import (
    comparison_section,
    limits_section,
    loading_section,
    nodes_section,
    origins_section,
)
from intsnn.report.html.rates import activity_section
from intsnn.report.html.timeline import time_section
from intsnn.report.html.tornado import sensitivity_section


@dataclass(frozen=True)
class Part:
    """A part of a page: what stands at its top, and its sections."""

    top: Html
    sections: tuple[Section, ...]


def to_html(report: HardwareReport, *, of: str = "") -> str:
    """The whole report as one page that needs no network; the same report gives the same text.

    Args:
        report: the figures.
        of: whose they are, for the title: `model.onnx`.
    """
    title = f"Hardware figures: {' on '.join(filter(None, (of, report.hardware)))}"
    part = Part(header(report, of=of), hardware_sections(report))
    return document(
        title, (part,), footer="Written by mdcompress estimate-hw. The same figures stand in hardware.json."
    )


def hardware_sections(report: HardwareReport) -> tuple[Section, ...]:
    """All that a page says of the hardware, for a page that says more than that."""
    return (
        totals_section(report),
        glance_section(report),
        assumptions_section(report),
        limits_section(report),
        energy_section(report),
        time_section(report),
        area_section(report),
        mapping_section(report),
        loading_section(report),
        activity_section(report),
        sensitivity_section(report),
        comparison_section(report),
        nodes_section(report),
        origins_section(report),
    )


def document(title: str, parts: Sequence[Part], *, footer: str, style: str = "") -> str:
    """A page of these parts, with a list of its sections below the first one's top.

    Args:
        title: what a browser's tab says.
        parts: one after the other.
        footer: the last sentence.
        style: rules beside those of the style sheet.
    """
    first, *others = parts
    content = (
        first.top,
        _contents([one for part in parts for one in part.sections]),
        tag("main", *map(section, first.sections), *(child for part in others for child in _following(part))),
        tag("footer", tag("p", footer)),
    )
    return f"<!doctype html>\n{tag('html', _head(title, style), tag('body', *content), lang='en').text}\n"


def _following(part: Part) -> Iterator[Html]:
    yield part.top
    yield from map(section, part.sections)


def _head(title: str, more_style: str) -> Html:
    style = files("intsnn.report.html").joinpath("style.css").read_text("utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style + more_style)),
    )


def _contents(sections: Iterable[Section]) -> Html:
    return tag("nav", *(tag("a", one.heading, href=f"#{one.anchor}") for one in sections), aria_label="Contents")
