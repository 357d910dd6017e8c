"""A graph and an input -> a C program that proves emitted code: the interpreter's golden vectors, and their comparison.

Of every neuron the spikes and the membranes of each step are kept as a hash (FNV-1a, 32 bits: spikes a byte each,
membranes four, the lowest first), of every step the whole answer so far. The program needs the memory of one layer,
not of all: it runs once for every neuron, and hashes that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from intsnn.arithmetic import IntArray
from intsnn.execution.interpreter import checked_input, evaluate
from intsnn.graph import IntGraph, IntReadout
from intsnn.graph.fingerprint import fingerprint
from intsnn.microcontroller.placeholders import filled

MOST_BYTES = 8192  # of vectors, so that the test fits beside a small network
MOST_SAMPLES = 8
_OFFSET, _PRIME = 2166136261, 16777619  # FNV-1a of 32 bits (draft-eastlake-fnv)
_LOWEST = -(2**31)  # C has no literal for it


@dataclass(frozen=True)
class Vectors:
    """What the test compares. N samples, T steps.

    frames: [N, T or 1, input size]; one where all steps of a sample read the same. answers: [N, T, output size], the
    readout so far. hashes: [N, neuron, T, 2] of spikes and of membranes.
    """

    frames: IntArray
    answers: IntArray
    hashes: IntArray

    @property
    def bytes_stored(self) -> int:
        """What the vectors take as constants of the program."""
        return self.frames.size + 4 * (self.answers.size + self.hashes.size)


def golden_vectors(graph: IntGraph, x: IntArray) -> Vectors:
    """Run the interpreter on the first samples of x, as many as fit into MOST_BYTES, one at least.

    Args:
        graph: legal.
        x: integers [T, N, *input shape].

    Raises:
        InputError: x does not fit the graph.
    """
    checked = checked_input(graph, x)
    first = _vectors(graph, checked[:, :1])
    fitting = min(MOST_SAMPLES, checked.shape[1], MOST_BYTES // first.bytes_stored)
    return _vectors(graph, checked[:, :fitting]) if fitting > 1 else first


def test_program(graph: IntGraph, vectors: Vectors, name: str) -> str:
    """The text of `test_<name>.c`."""
    samples, steps, _ = vectors.answers.shape
    sizes = [int(np.prod(neuron.shape)) for neuron in graph.neurons]
    values = {
        "HASH": fingerprint(graph),
        "SAMPLES": str(samples),
        "STEPS": str(steps),
        "FRAMES": str(vectors.frames.shape[1]),
        "LARGEST": str(max(sizes, default=1)),
        "WORD": "int8_t" if graph.input.signed else "uint8_t",
        "INPUTS": _table(vectors.frames),
        "ANSWERS": _table(vectors.answers),
        "TRACED": _traced([neuron.name for neuron in graph.neurons], sizes, vectors) if sizes else "",
        "TRACE": _COMPARE_NEURON if sizes else "",
        "CALLS": _CALLS if sizes else "",
        "NAME": name,  # the last: the texts above have it
        "UPPER": name.upper(),
    }
    return filled(_PROGRAM, values)


def _vectors(graph: IntGraph, x: IntArray) -> Vectors:
    steps, samples = x.shape[:2]
    hashes = []
    answers = x
    for step in evaluate(graph, x):
        if step.spikes is not None and step.membrane is not None:
            hashes.append((_hashes(step.spikes, "<u1"), _hashes(step.membrane, "<i4")))
        if isinstance(step.node, IntReadout):
            answers = _so_far(step.node, step.inputs[0])
    frames = x.reshape(steps, samples, -1).swapaxes(0, 1)
    if (frames == frames[:, :1]).all():
        frames = frames[:, :1]
    stacked = np.array(hashes, dtype=np.int64).reshape(len(hashes), 2, steps, samples).transpose(3, 0, 2, 1)
    return Vectors(frames, answers.reshape(steps, samples, -1).swapaxes(0, 1), stacked)


def _so_far(readout: IntReadout, x: IntArray) -> IntArray:
    """The answer after each step, [T, N, ...]."""
    match readout.mode:
        case "sum":
            return x.cumsum(axis=0)
        case "max":
            return np.maximum.accumulate(x, axis=0)
        case "last" | "steps":
            return x
        case _:
            assert_never(readout.mode)


def _hashes(values: IntArray, word: str) -> list[list[int]]:
    """The hash of each step and sample."""
    return [[_hash(sample.astype(word).tobytes()) for sample in step] for step in values]


def _hash(content: bytes) -> int:
    found = _OFFSET
    for byte in content:
        found = (found ^ byte) * _PRIME & 0xFFFFFFFF
    return found


def _traced(names: list[str], sizes: list[int], vectors: Vectors) -> str:
    return (
        f"static const uint32_t sizes[@UPPER@_NEURONS] = {_table(np.array(sizes))};\n"
        f"static const uint32_t hashes[SAMPLES][@UPPER@_NEURONS][STEPS][2] = {_table(vectors.hashes, 'u')};\n"
        "#if __STDC_HOSTED__\n"
        f"static const char *const neurons[@UPPER@_NEURONS] = {{{', '.join(map(_text, names))}}};\n"
        "#endif\n"
        "static uint8_t spikes[LARGEST];\nstatic int32_t membranes[LARGEST];\n"
    )


def _text(name: str) -> str:
    """A string of C: what is not plain ASCII stands as an octal escape of its UTF-8."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in name.encode())
    return f'"{"".join(plain)}"'


def _table(values: IntArray, suffix: str = "") -> str:
    """Nested braces; the innermost axis fills lines."""
    if values.ndim > 1:
        return "{" + ",\n".join(_table(part, suffix) for part in values) + "}"
    return "{" + "\n".join(_lines(_literal(int(value)) + suffix for value in values)) + "}"


def _literal(value: int) -> str:
    return str(value) if value != _LOWEST else f"{value + 1} - 1"


def _lines(words: Iterable[str], width: int = 110) -> Iterable[str]:
    line = ""
    for word in words:
        if line and len(line) + len(word) > width:
            yield line
            line = ""
        line += f"{word}, "
    yield line.removesuffix(" ").removesuffix(",")


_PROGRAM = """\
/* Golden vectors of @NAME@: what the integer graph makes of @SAMPLES@ samples in @STEPS@ steps.
   Graph @HASH@.

   Compile it with @NAME@.c, both with @UPPER@_TRACE defined. On a host `main` prints what it found and returns 0
   where all is equal; without an operating system (-ffreestanding) it prints nothing and returns the number of
   differences. */
#include <stdint.h>
#if __STDC_HOSTED__
#include <stdio.h>
#endif
#include "@NAME@.h"

#ifndef @UPPER@_TRACE
#error "define @UPPER@_TRACE for this file and for @NAME@.c: the test reads spikes and membranes"
#endif
#if @UPPER@_INPUT_SIZE == 0 || @UPPER@_OUTPUT_SIZE == 0
#error "@NAME@.h is of another network"
#endif

#define SAMPLES @SAMPLES@
#define STEPS @STEPS@
#define FRAMES @FRAMES@ /* kept of a sample; 1 where every step reads the same */
#define LARGEST @LARGEST@ /* neurons of the largest layer */

static const @WORD@ inputs[SAMPLES][FRAMES][@UPPER@_INPUT_SIZE] = @INPUTS@;
static const int32_t answers[SAMPLES][STEPS][@UPPER@_OUTPUT_SIZE] = @ANSWERS@; /* the readout so far */
@TRACED@static struct @NAME@ net;

int main(void);

static void differs(int *differences, unsigned sample, unsigned step, const char *what, const char *where)
{
#if __STDC_HOSTED__
    if (*differences == 0) {
        (void)printf("@NAME@: sample %u, step %u: %s%s must be what the graph says\\n", sample, step, what, where);
    }
#else
    (void)sample;
    (void)step;
    (void)what;
    (void)where;
#endif
    *differences += 1;
}

static int compare_answers(unsigned sample)
{
    int differences = 0;
    int32_t answer[@UPPER@_OUTPUT_SIZE];
    @NAME@_reset(&net);
    for (unsigned step = 0; step < STEPS; step++) {
        int same = 1;
        @NAME@_step(&net, inputs[sample][step % FRAMES]);
        @NAME@_answer(&net, answer);
        for (unsigned i = 0; i < @UPPER@_OUTPUT_SIZE; i++) {
            same &= answer[i] == answers[sample][step][i];
        }
        if (!same) {
            differs(&differences, sample, step, "the answer", "");
        }
    }
    return differences;
}

@TRACE@int main(void)
{
    int differences = 0;
    for (unsigned sample = 0; sample < SAMPLES; sample++) {
        differences += compare_answers(sample);
@CALLS@    }
#if __STDC_HOSTED__
    if (differences != 0) {
        (void)printf("@NAME@: %d differences\\n", differences);
        return 1;
    }
    (void)printf("@NAME@: %d samples x %d steps: answers, spikes and membranes equal\\n", SAMPLES, STEPS);
#endif
    return differences;
}
"""

_CALLS = """\
        for (unsigned neuron = 0; neuron < @UPPER@_NEURONS; neuron++) {
            differences += compare_neuron(sample, neuron);
        }
"""

_COMPARE_NEURON = """\
static uint32_t hashed(uint32_t hash, uint32_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        hash = (hash ^ ((value >> (8u * i)) & 255u)) * 16777619u;
    }
    return hash;
}

static int compare_neuron(unsigned sample, unsigned neuron)
{
    int differences = 0;
#if __STDC_HOSTED__
    const char *name = neurons[neuron];
#else
    const char *name = "";
#endif
    @NAME@_reset(&net);
    for (unsigned i = 0; i < @UPPER@_NEURONS; i++) {
        net.spikes[i] = i == neuron ? spikes : 0;
        net.membranes[i] = i == neuron ? membranes : 0;
    }
    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t spiked = 2166136261u;
        uint32_t stored = 2166136261u;
        @NAME@_step(&net, inputs[sample][step % FRAMES]);
        for (unsigned i = 0; i < sizes[neuron]; i++) {
            spiked = hashed(spiked, spikes[i], 1u);
            stored = hashed(stored, (uint32_t)membranes[i], 4u);
        }
        if (spiked != hashes[sample][neuron][step][0]) {
            differs(&differences, sample, step, "spikes of ", name);
        }
        if (stored != hashes[sample][neuron][step][1]) {
            differs(&differences, sample, step, "membranes of ", name);
        }
    }
    return differences;
}

"""
