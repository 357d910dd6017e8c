"""A graph and one sample -> a firmware that takes its steps, marks each, and puts out the answer after each."""

from __future__ import annotations

from intsnn.arithmetic import IntArray
from intsnn.graph import IntGraph


def steps_program(graph: IntGraph, x: IntArray, name: str) -> str:
    """The text of its main. x: integers [T, *input shape]."""
    frames = x.reshape(len(x), -1)
    rows = ",\n".join("{" + ", ".join(map(str, frame)) + "}" for frame in frames.tolist())
    values = {
        "NAME": name,
        "UPPER": name.upper(),
        "STEPS": str(len(frames)),
        "WORD": "int8_t" if graph.input.signed else "uint8_t",
        "ROWS": rows,
    }
    text = _MAIN
    for word, value in values.items():
        text = text.replace(f"@{word}@", value)
    return text


_MAIN = """\
#include <stdint.h>
#include "@NAME@.h"

#define OUT (*(volatile uint32_t *)0x40000000u) /* registers of tests/support/cortex_m4.py */
#define MARK (*(volatile uint32_t *)0x40000008u)

static const @WORD@ frames[@STEPS@][@UPPER@_INPUT_SIZE] = {@ROWS@};
static struct @NAME@ net;
static int32_t answer[@UPPER@_OUTPUT_SIZE];

int main(void)
{
    @NAME@_reset(&net);
    MARK = 0;
    for (int step = 0; step < @STEPS@; step++) {
        @NAME@_step(&net, frames[step]);
        MARK = 0;
        @NAME@_answer(&net, answer);
        for (int i = 0; i < @UPPER@_OUTPUT_SIZE; i++) {
            OUT = (uint32_t)answer[i];
        }
    }
    return 0;
}
"""
