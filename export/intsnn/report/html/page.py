"""A hardware report -> one HTML page: style and pictures inside, no script, nothing loaded from anywhere."""

from __future__ import annotations

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


def to_html(report: HardwareReport) -> str:
    """The whole report as one page that needs no network; the same report gives the same text."""
    sections = (
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
    body = tag("body", header(report), _contents(sections), tag("main", *map(section, sections)), _footer())
    return f"<!doctype html>\n{tag('html', _head(report), body, lang='en').text}\n"


def _head(report: HardwareReport) -> Html:
    style = files("intsnn.report.html").joinpath("style.css").read_text("utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"Hardware figures: {report.hardware}"),
        tag("style", Html(style)),
    )


def _contents(sections: tuple[Section, ...]) -> Html:
    return tag("nav", *(tag("a", one.heading, href=f"#{one.anchor}") for one in sections), aria_label="Contents")


def _footer() -> Html:
    return tag("footer", tag("p", "Written by mdcompress estimate-hw. The same figures stand in hardware.json."))
