"""Options that `explore` and `search` have in common: axes of a design space, each several values, and judging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from intsnn.hardware.chip import Encoding, Gating, KernelMapping, ScheduleRule
from mdcompress.cli.options import AnalogOption, Callback, Decorator

Value = TypeVar("Value")


def values(
    flag: str, name: str, parse: Callable[[str], Value], *, help: str, what: str = "numbers"
) -> Callable[..., Callable[..., None]]:
    """An option that takes several values, `32,64,128`, as a tuple; nothing: the axis stays as it is."""

    def split(_context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[Value, ...]:
        try:
            return tuple(parse(part.strip()) for part in text.split(",")) if text else ()
        except ValueError:
            raise click.BadParameter(
                f"must be {what}, with commas between them (got {text!r})", param=parameter
            ) from None

    return click.option(flag, name, metavar="VALUE,…", callback=split, help=help)


def _adc_bits(text: str) -> int | str:
    return text if text == "lossless" else int(text)


def _words(flag: str, name: str, allowed: Any, *, help: str) -> Callable[..., Callable[..., None]]:
    """An option that takes several of the words of a Literal."""
    words: tuple[str, ...] = get_args(allowed)

    def word(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return values(flag, name, word, help=f"{help}: {', '.join(words)}.", what=f"{', '.join(words[:-1])} or {words[-1]}")


def _budget(text: str) -> int | str | None:
    if text.startswith("+") and text.endswith("%"):
        float(text[1:-1])
        return text
    if text.endswith("mm2"):
        float(text.removesuffix("mm2"))
        return text
    return None if text == "none" else int(text)


def _step(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _side(text: str) -> int | str:
    rows, between, columns = text.partition("x")
    return f"{int(rows)}x{int(columns)}" if between else int(text)


def design_options(callback: Callback) -> Callback:
    """The axes of a chip, by the names of DesignSpace."""
    for option in reversed(
        (
            values("--crossbar", "crossbar", _side, help="Sides of square arrays, or rows x columns: 128x64."),
            values("--cell-bits", "cell_bits", int, help="Bits of a cell."),
            values(
                "--adc-bits",
                "adc_bits",
                _adc_bits,
                help="Resolutions of the converters, or lossless.",
                what="numbers or lossless",
            ),
            values(
                "--converter", "converter", str, help="Converters by name, of the description or shipped.", what="names"
            ),
            values("--column-mux", "column_mux", int, help="Columns that share a converter."),
            _words("--encoding", "encoding", Encoding, help="Encodings of the sign"),
            _words("--mapping", "mapping", KernelMapping, help="How kernels lie on arrays"),
            _words("--gating", "gating", Gating, help="What idle inputs switch off"),
            _words("--schedule", "schedule", ScheduleRule, help="What runs at the same time"),
            values(
                "--array-budget",
                "array_budget",
                _budget,
                help="Arrays that copies of layers may fill, +5% more than one copy of each, 20mm2 (area of the arrays "
                "alone, without tiles, buffers and lanes), or none. Fewer than one copy of each takes: layers are "
                "loaded by turns.",
                what="numbers, +5%, 20mm2 or none",
            ),
        )
    ):
        callback = option(callback)
    return callback


def steps_option(help: str) -> Decorator:
    """--steps: numbers of time steps."""
    return values("--steps", "steps", _step, help=help, what="numbers of at least 1")


def chip_options(when: str) -> Decorator:
    """--analog and --chips: on what designs run; `when` they do, as the help begins."""

    def decorated(callback: Callback) -> Callback:
        analog = click.option(
            "--analog",
            cls=AnalogOption,
            metavar="NAME|FILE",
            default="calibrated",
            show_default=True,
            help=f"{when}: cells, wires and the range of converters.",
        )
        chips = click.option(
            "--chips", type=click.IntRange(1), default=3, show_default=True, help=f"{when}: chips a design."
        )
        return analog(chips(callback))

    return decorated


def loss_option(points: float, help: str) -> Decorator:
    """--loss: points of accuracy that what is compared may lose."""
    return click.option("--loss", type=click.FloatRange(0, 100), default=points, show_default=True, help=help)
