"""A graph and what its code takes -> the README.md of the folder: files, functions, input, memory, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, assert_never

from intsnn.arithmetic import IntType
from intsnn.graph import IntGraph, IntInput, IntReadout
from intsnn.microcontroller.footprint_report import PURPOSES, MemoryReport
from intsnn.microcontroller.placeholders import filled


class LayerAdditions(Protocol):
    """Synaptic additions of one layer in one step: with no input at 0, and as measured (mean)."""

    @property
    def name(self) -> str:
        """The layer."""
        ...

    @property
    def most(self) -> int:
        """With no input at 0."""
        ...

    @property
    def mean(self) -> float:
        """As measured, over samples and steps."""
        ...


def readme(
    graph: IntGraph, *, name: str, steps: int, report: MemoryReport, additions: Sequence[LayerAdditions] = ()
) -> str:
    """The text of README.md. steps: time steps of the golden vectors, for which the network was trained."""
    word = IntType(graph.input.bit_width, graph.input.signed)
    values = {
        "NAME": name,
        "UPPER": name.upper(),
        "STEPS": str(steps),
        "EXACTLY": f" The network runs for exactly {graph.time_steps} steps." if graph.time_steps else "",
        "WORD": "int8_t" if graph.input.signed else "uint8_t",
        "LOW": str(word.low),
        "HIGH": str(word.high),
        "SCALE": f"{graph.input.scale:.9g}",
        "INPUT_SHAPE": _shape(graph.input.shape),
        "OUTPUT_SHAPE": _shape(graph.output.shape),
        "WORKED": _worked(graph.input),
        "ANSWER": _answer(graph.output),
        "MEMORY": "\n".join(f"- **{what}** {words}" for what, words in memory_words(report, additions).items()),
        "TABLE": memory_table(report, additions),
    }
    return filled(_README, values)


def memory_words(report: MemoryReport, additions: Sequence[LayerAdditions] = ()) -> dict[str, str]:
    """Flash, RAM and synaptic additions, each in a line."""
    words = {"flash": report.in_words("flash"), "RAM": report.in_words("RAM")}
    if additions:
        most, mean = sum(each.most for each in additions), sum(each.mean for each in additions)
        words["additions"] = f"{most:,} synaptic additions a step at most, {mean:,.0f} measured (mean)"
    return words


def memory_table(report: MemoryReport, additions: Sequence[LayerAdditions] = ()) -> str:
    """One row a layer, in Markdown: bytes by purpose, synaptic additions a step."""
    counted = {each.name: each for each in additions}
    header = ["layer", *(f"{purpose} [bytes]" for purpose in PURPOSES)]
    if additions:
        header += ["additions a step, at most", "measured"]
    rows = [_row(layer, report, counted) for layer in dict.fromkeys([*report.layers, *counted])]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = [f"{'-' * width}" if at == 0 else f"{'-' * (width - 1)}:" for at, width in enumerate(widths)]
    return "\n".join(_line(cells, widths) for cells in (header, rule, *rows))


def _row(layer: str, report: MemoryReport, counted: Mapping[str, LayerAdditions]) -> list[str]:
    cells = [layer, *(_number(report.of(layer, purpose)) for purpose in PURPOSES)]
    if not counted:
        return cells
    found = counted.get(layer)
    return [*cells, *(["-", "-"] if found is None else [f"{found.most:,}", f"{found.mean:,.0f}"])]


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in
                      enumerate(zip(cells, widths, strict=True)))  # fmt: skip
    return f"| {' | '.join([first, *others])} |"


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _worked(node: IntInput) -> str:
    """One real value on its way to an integer, by hand: a third of the range."""
    word = IntType(node.bit_width, node.signed)
    count = word.high // 3 + (word.high < 3)
    real = count * node.scale
    large = f"{2 * word.high * node.scale:.9g} is too large and becomes {word.high}"
    return f"{real:.9g} / {node.scale:.9g} = {count}; {large}"


def _answer(readout: IntReadout) -> str:
    unit = f"One unit is worth {readout.scale:.9g}; the class is the largest."
    match readout.mode:
        case "sum":
            return f"The answer is the sum over the steps so far. {unit}"
        case "last":
            return f"The answer is that of the last step. {unit}"
        case "max":
            return f"The answer is the largest of the steps so far. {unit}"
        case "steps":
            return f"The answer is that of the step just done: ask after every step, and take the mean. {unit}"
        case _:
            assert_never(readout.mode)


_README = """\
# @NAME@

A spiking network in integers, as C11 without a library: no floating point, no allocation, no variables but the struct
that you give. Written by `mdcompress export --format c`; the next export replaces this folder, so copy it into your
project.

| file | what it is |
|---|---|
| `@NAME@.h`, `@NAME@.c` | the network: add both to your firmware |
| `test_@NAME@.c` | golden vectors: every spike, membrane and answer of some samples, by hash |
| `Makefile` | `make test` here; `make @NAME@.o CC=...` for a microcontroller |

## Use

```c
#include "@NAME@.h"

static struct @NAME@ net; /* all state */

int classify(const @WORD@ *x)
{
    int32_t logits[@UPPER@_OUTPUT_SIZE];
    int best = 0;
    @NAME@_reset(&net);
    for (int step = 0; step < @STEPS@; step++) {
        @NAME@_step(&net, x); /* or the frame of this step */
    }
    @NAME@_answer(&net, logits);
    for (int i = 1; i < @UPPER@_OUTPUT_SIZE; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}
```

- **Input** `x`: `@UPPER@_INPUT_SIZE` values of shape @INPUT_SHAPE@, row-major, channels first, `@WORD@` in
  @LOW@..@HIGH@: `round(real value / @SCALE@)`, clipped to that range. @WORKED@.
- **Steps**: one call a time step; it was trained for @STEPS@.@EXACTLY@ `@NAME@_reset` before each sample; a stream goes
  on without.
- **Output**: `@UPPER@_OUTPUT_SIZE` values of shape @OUTPUT_SHAPE@. @ANSWER@

- **Several networks** stand side by side in one program: export each under a name of its own (`--name`), and give each
  stream of samples a struct of its own.

## Memory

@MEMORY@

@TABLE@

Compiled with `-Os` for a Cortex-M4; the stack is that of the deepest call. The input and the logits are the caller's.

## Test

`make test` compiles the code and the test with `@UPPER@_TRACE` defined and compares spikes, membranes and answers with
those of the integer graph. On a microcontroller, compile both files with `-ffreestanding -D@UPPER@_TRACE`: `main` then
returns the number of differences and prints nothing.
"""
