"""The true size of a graph, and how much smaller that is than floats: counted by hand."""

from __future__ import annotations

import numpy as np

from intsnn.footprint import Size, compression_of, footprint_of
from intsnn.graph import IntGraph, IntInput, IntLinear, IntNeuron, IntReadout, IntRequant


def integers(*values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def two_layers() -> IntGraph:
    """[3, 2] weights of 4 bits; 3 neurons of 6 bits, whose spikes a late reset keeps; [2, 3] weights of 1.58 bits."""
    zero = integers(0)
    return IntGraph((
        IntInput("x", (), (2,), 1, False, 1.0),
        IntLinear("a", ("x",), (3,), integers([1, 0], [2, -8], [0, 3]), 4),
        IntRequant("a.requant", ("a",), (3,), integers(5, 3, 7), zero, 2, 1.0),
        IntNeuron("n", ("a.requant",), (3,), leak=integers(1), drive=zero, threshold=integers(2), reset="soft",
                  reset_value=zero, soft_amount=integers(2), guard_bits=0, bit_width=6, initial=0, scale=1.0,
                  timing="after_leak"),
        IntLinear("b", ("n",), (2,), integers([1, 0, 1], [0, -1, 0]), 1.58),
        IntReadout("y", ("b",), (2,), "last", 0.5),
    ))  # fmt: skip


def test_every_number_counts_at_its_own_bits() -> None:
    found = footprint_of(two_layers())
    assert found.counts("weight") == {1.58: 6, 4: 6} and found.counts("membrane") == {6: 3}
    assert found.bits("weights") == 6 * 4 + 6 * 2
    assert found.bits("constants") == 3 * 3 + 2 + 1 + 2 + 2  # multipliers, shift; leak, threshold, amount
    assert found.bits("state") == 3 * 6 + 3 * 1
    assert found.bits() == 36 + 16 + 21


def test_the_same_network_in_floats_and_in_bytes() -> None:
    found = compression_of(two_layers())
    assert found.deployed == Size(36 / 8, 16 / 8, 21 / 8)
    assert found.int8 == Size(12.0, 16 / 8, (3 * 8 + 3) / 8)
    assert found.float32 == Size(12 * 4.0, (3 + 1 + 1 + 1) * 4.0, (3 * 32 + 3) / 8)  # a shift is no number of floats
    assert found.ratio("float32") == (48 + 24) / (36 / 8 + 2) and found.ratio("deployed") == 1
    assert found.state_ratio("int8") == 27 / 21
