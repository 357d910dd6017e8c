"""A graph and what its code takes -> the README.md of the folder: files, functions, input, memory, tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from intsnn.arithmetic import IntType
from intsnn.emission.source import Source
from intsnn.graph import IntGraph, IntInput, IntReadout
from intsnn.microcontroller.footprint_report import INSTALL, MemoryReport
from intsnn.microcontroller.memory_table import LayerAdditions, memory_table, memory_words
from intsnn.microcontroller.placeholders import filled


def readme(
    graph: IntGraph, source: Source, *, steps: int, report: MemoryReport, additions: Sequence[LayerAdditions] = ()
) -> str:
    """The text of README.md. steps: time steps of the golden vectors, for which the network was trained."""
    name = source.name
    word = IntType(graph.input.bit_width, graph.input.signed)
    values = {
        "NAME": name,
        "UPPER": name.upper(),
        "STEPS": str(steps),
        "STREAM": _stream(graph, source),
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
        "COMPILED": _COMPILED if report.measured else _NOT_COMPILED,
    }
    return filled(_README, values)


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


def steps_words(name: str, max_steps: int | None) -> str:
    """How many steps there may be from one reset to the next, in a line."""
    return (
        "any number from one reset to the next"
        if max_steps is None
        else (f"at most {max_steps:,} from one reset to the next ({name.upper()}_MAX_STEPS)")
    )


def _stream(graph: IntGraph, source: Source) -> str:
    """How long a stream may go on without a reset."""
    limit = f"`{source.name.upper()}_MAX_STEPS`"
    if source.longest_run is None:
        return f"A stream may go on without it for ever\n  ({limit} is `INT32_MAX`): nothing is summed over the steps."
    end = f"After so many `{source.name}_step` does nothing and returns 0, else 1."
    if graph.time_steps is not None:
        return f"The network has norms for\n  {limit} = {graph.time_steps} steps: a sample has exactly so many. {end}"
    proof = "up to which every sum of the answer is proved\n  to fit int32"
    return f"A stream goes on without it for at\n  most {limit} = {source.longest_run:,} steps, {proof}. {end}"


_COMPILED = """\
Compiled with `-Os` for a Cortex-M4; the stack is that of the deepest call. `memcpy` and `memset` come with the compiler
and are not counted."""

_NOT_COMPILED = f"""\
These are the tables and the struct: nothing was compiled when this was written. Code and stack come on top; {INSTALL},
and an export with it measures them."""

_README = """\
# @NAME@

A spiking network in integers, as C11 without a library: no floating point, no allocation, no variables but the struct
that you give. Written by `mdcompress export --format c`, or by `intsnn.write_c` from Python; what is written next time
takes the place of these files, so copy them into your project.

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
- **Steps**: one call a time step; it was trained for @STEPS@. `@NAME@_reset` before each sample. @STREAM@
- **Output**: `@UPPER@_OUTPUT_SIZE` values of shape @OUTPUT_SHAPE@. @ANSWER@
- **C++**: the header has `extern "C"`; compile `@NAME@.c` as C and link it.
- **Several networks** stand side by side in one program: export each under a name of its own (`--name`), and give each
  stream of samples a struct of its own.

## Memory

@MEMORY@

@TABLE@

@COMPILED@ The input and the logits are the caller's.

## Test

`make test` compiles the code and the test with `@UPPER@_TRACE` defined and compares spikes, membranes and answers with
those of the integer graph. On a microcontroller, compile both files with `-ffreestanding -D@UPPER@_TRACE`: `main` then
returns the number of differences and prints nothing.
"""
