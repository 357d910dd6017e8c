"""What the C is written for: a host that has wide registers and memory, or a microcontroller that has neither."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """The choices that the emitter asks for.

    word_bits: bits of the words that hold spikes. steps: time steps that a node works on before the next node does.
    has_lists: whether spikes are listed before a convolution reads them, and sums are made in vector registers.
    has_tables: whether constants stand in the source; else they are one block of bytes that the caller gives.
    """

    word_bits: int
    steps: int
    has_lists: bool
    has_tables: bool


HOST = Target(word_bits=64, steps=4, has_lists=True, has_tables=False)
MICROCONTROLLER = Target(word_bits=32, steps=1, has_lists=False, has_tables=True)
