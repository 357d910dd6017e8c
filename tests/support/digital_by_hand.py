"""An independent digital unit for tests: computes nodes by counted additions, comparisons and ANDs, nothing else free.

Shifts by constants, selections and inverted bits are wiring. The values must come out exactly; the counts are what a
lane has to be built for, the most over all channels of each part of the update.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from intsnn.arithmetic import Bounds, word_bits
from intsnn.graph import IntNeuron, IntRecurrentNeuron
from intsnn.hardware.catalogue import Item
from tests.support.naive import Place, recurrent_current

Part = tuple[str, Item]
NumberOf = Callable[[str], int]  # a neuron's number by name, of one channel
Matrix = list[list[int]]


@dataclass
class Unit:
    """Counts operations by the part of the work they belong to."""

    counts: Counter[Part] = field(default_factory=Counter)
    part: str = ""

    def add(self, left: int, right: int) -> int:
        self.counts[self.part, Item.NEURON_ADD] += 1
        return left + right

    def at_least(self, left: int, right: int) -> bool:
        self.counts[self.part, Item.NEURON_COMPARE] += 1
        return left >= right

    def is_zero(self, value: int) -> bool:
        self.counts[self.part, Item.NEURON_COMPARE] += 1
        return value == 0

    def scaled(self, constant: int, value: int) -> int:
        """constant * value by shifts, and an addition for each signed digit of the constant beyond the first."""
        terms, shift = [], 0
        while constant:
            if constant & 1:
                digit = 2 - (constant & 3)  # 1 or -1: the next bit is then 0
                terms.append(digit * (value << shift))
                constant -= digit
            constant, shift = constant >> 1, shift + 1
        total = terms[0] if terms else 0
        for term in terms[1:]:
            total = self.add(total, term)
        return total


@dataclass
class State:
    """What a neuron keeps from step to step: the words that are read and written, by name, and their widths."""

    membrane: int
    synapse: int = 0
    spikes: int = 0
    widths: dict[str, int] = field(default_factory=dict)


def update(node: IntNeuron, j: int, place: Place, state: State, last: dict[Place, int]) -> tuple[int, int, Unit]:
    """One step of one neuron: its spikes, its potential, and the unit that computed it; the state is written."""
    unit, of = Unit(), _channel(node, place)
    state.widths["membrane"] = node.bit_width
    if isinstance(node, IntRecurrentNeuron):
        unit.part = "recurrent"
        j = unit.add(j, recurrent_current(node, last, place))
    y = j
    if any(node.synapse_leak.tolist()):
        unit.part, state.widths["synapse"] = "synapse", node.bit_width
        y = unit.add(y, unit.scaled(of("synapse_leak"), state.synapse))
        y = _driven(unit, y, node.synapse_drive.tolist(), of("synapse_drive"))
        state.synapse = _stored(y >> node.synapse_shift, node.bit_width)
    unit.part = "leak"
    x = unit.add(unit.scaled(of("leak"), state.membrane), y) if any(node.leak.tolist()) else y
    x = _driven(unit, x, node.drive.tolist(), of("drive"))
    x = _reset_late(unit, node, x, state, of)
    if node.floor == "before_fire":
        x = x if unit.at_least(x, of("floor_value")) else of("floor_value")
    s = _fired(unit, node, x, state.membrane, of)
    if node.timing == "same_step":
        x = _reset(unit, node, x, s, of)
    if node.floor == "after_reset":
        x = x if unit.at_least(x, of("floor_value")) else of("floor_value")
    state.membrane, state.spikes = _stored(x >> node.guard_bits, node.bit_width), s
    return s, x, unit


def _driven(unit: Unit, x: int, drives: list[int], drive: int) -> int:
    return unit.add(x, drive) if any(drives) else x


def _reset_late(unit: Unit, node: IntNeuron, x: int, state: State, of: NumberOf) -> int:
    unit.part = "reset"
    if node.timing != "same_step":
        state.widths["spikes"] = _bits(node.max_spikes)
    if node.timing == "masked":
        return of("reset_value") if state.spikes else x
    return _taken_off(unit, node, x, state.spikes, of) if node.timing == "after_leak" else x


def _reset(unit: Unit, node: IntNeuron, x: int, s: int, of: NumberOf) -> int:
    unit.part = "reset"
    if node.reset == "hard":
        return of("reset_value") if s else x
    return _taken_off(unit, node, x, s, of) if node.reset == "soft" else x


def _taken_off(unit: Unit, node: IntNeuron, x: int, s: int, of: NumberOf) -> int:
    """x - rho*s: rho, shifted, is taken off or not for each bit of the spike count."""
    for bit in range(_bits(node.max_spikes)):
        x = unit.add(x, -(of("soft_amount") << bit) * (s >> bit & 1))
    return x


def _fired(unit: Unit, node: IntNeuron, x: int, membrane: int, of: NumberOf) -> int:
    unit.part = "fire"
    if node.rearm == "double":
        above = unit.at_least(membrane, (of("level") >> node.guard_bits) + 1)
        x = unit.add(x, -of("level") if above else 0)
    if node.spike == "binary":
        return int(unit.at_least(x, of("threshold")))
    return _levels(unit, node, x, of)


def _levels(unit: Unit, node: IntNeuron, x: int, of: NumberOf) -> int:
    """floor((x - theta + level) / level) bit by bit; to round, half a level more, and a tie clears the lowest bit."""
    level, bits, rounds = of("level"), _bits(node.max_spikes), node.spike == "round"
    left, count = unit.add(2 * x, -(2 * of("threshold") - (3 if rounds else 2) * level)), 0
    for bit in reversed(range(bits)):
        step = 2 * level << bit
        fits = unit.at_least(left, step)
        left = unit.add(left, -step if fits else 0)
        count += fits << bit
    if rounds and unit.is_zero(left) and count % 2:
        count -= 1  # the lowest bit cleared: a gate
    if node.max_spikes != 2**bits - 1:
        count = node.max_spikes if unit.at_least(count, node.max_spikes) else count
    return count


def _bits(largest: int) -> int:
    return next(bits for bits in itertools.count(1) if largest < 2**bits)


def _stored(value: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return min(max(value, -half), half - 1)


def _channel(node: IntNeuron, place: Place) -> NumberOf:
    def of(name: str) -> int:
        values = getattr(node, name)
        return int(values[0] if len(values) == 1 else values[place[0]])

    return of


@dataclass(frozen=True)
class Words:
    """Words of an operand: their bits, and whether they are spikes."""

    bits: int
    spikes: bool

    @classmethod
    def of(cls, interval: Bounds) -> Words:
        return cls(word_bits(interval), interval.low >= 0 and interval.high <= 1)


def products(left: Matrix, right: Matrix, words: tuple[Words, Words]) -> tuple[Matrix, Counter[Item]]:
    """(n, d) @ (d, m): ANDs of bits where one operand is spikes, else whole products; and additions."""
    counts: Counter[Item] = Counter()
    found = []
    for row in left:
        found.append([_dot(row, list(column), words, counts) for column in zip(*right, strict=True)])
    return found, counts


def _dot(row: list[int], column: list[int], words: tuple[Words, Words], counts: Counter[Item]) -> int:
    terms = [product(a, b, words, counts) for a, b in zip(row, column, strict=True)]
    counts[Item.PRODUCT_ADD] += len(terms) - 1
    return sum(terms)


def product(a: int, b: int, words: tuple[Words, Words], counts: Counter[Item]) -> int:
    """A spike takes or leaves every bit of the other word, in two's complement; the top bit of it counts negative."""
    if not (words[0].spikes or words[1].spikes):
        counts[Item.PRODUCT_MULTIPLY] += 1
        return a * b
    spike, word, bits = (a, b, words[1].bits) if words[0].spikes else (b, a, words[0].bits)
    counts[Item.PRODUCT_AND] += bits
    taken = [spike & (word >> bit & 1) for bit in range(bits)]
    unsigned = sum(bit << index for index, bit in enumerate(taken))
    return unsigned - (taken[-1] << bits) if word < 0 else unsigned
