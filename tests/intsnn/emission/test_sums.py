"""Accumulators, blocks and packed weights by hand."""

from __future__ import annotations

import numpy as np
import pytest

from intsnn.arithmetic import Bounds, IntArray
from intsnn.emission import walked
from intsnn.emission.storage import Element, Store
from intsnn.emission.sums import Sums, accumulator, block_size, sums_of
from intsnn.emission.targets import HOST, MICROCONTROLLER
from intsnn.graph import IntConv, IntLinear

ONE = (1, 1)
BINARY, WIDE = Bounds(0, 1), Bounds(-(10**6), 10**6)


def sums(weight: IntArray, *, element: Element = "bit", read: Bounds = BINARY, interval: Bounds = WIDE) -> Sums:
    """A convolution 3x3 over 4 channels, or as many as the weight has."""
    shape = (weight.shape[0], 5, 5)
    node = IntConv("conv", ("x",), shape, weight, 8, ONE, ONE, ONE, 1)
    return sums_of("conv", "conv", node, Store((weight.shape[1], 5, 5), "last", element, 64), interval, read)


def filled(value: int, channels: int = 4, outputs: int = 3) -> IntArray:
    return np.full((outputs, channels, 3, 3), value)


@pytest.mark.parametrize(
    ("largest", "wanted"),
    [(7, ("int8", 18)), (-8, ("int8", 15)), (15, ("int8", 8)), (16, ("int16", 2047)), (127, ("int16", 258))],
)
def test_rows_of_spikes_are_added_until_they_could_overflow(largest: int, wanted: tuple[str, int]) -> None:
    assert accumulator(sums(filled(largest))) == wanted


def test_sums_that_are_proved_to_fit_are_never_flushed() -> None:
    assert accumulator(sums(filled(7), interval=Bounds(-128, 127))) == ("int8", 0)
    assert accumulator(sums(filled(7), interval=Bounds(-128, 128))) == ("int8", 18)
    assert accumulator(sums(filled(100), interval=Bounds(-32768, 32767))) == ("int16", 0)
    assert accumulator(sums(filled(127), interval=Bounds(0, 40000))) == ("int16", 258)


def test_values_are_multiplied_in_16_bits_or_32() -> None:
    pixels = Bounds(0, 255)
    assert accumulator(sums(filled(7), element="uint8", read=pixels)) == ("int16", 32767 // (7 * 255))
    assert accumulator(sums(filled(127), element="uint8", read=pixels)) == ("int32", 0)
    assert accumulator(sums(filled(1), element="uint8", read=pixels, interval=Bounds(-9, 9))) == ("int16", 0)


@pytest.mark.parametrize(("read", "repeats"), [((0, 8), 8), ((0, 9), 0), ((0, 3), 3), ((-1, 3), 0)])
def test_counts_of_up_to_8_are_repeated(read: tuple[int, int], repeats: int) -> None:
    found = sums(filled(7), element="uint8" if read[0] >= 0 else "int8", read=Bounds(*read))
    assert found.repeats == repeats and found.has_values == (repeats == 0)
    assert sums(filled(7)).repeats == 0 and not sums(filled(7)).has_values


def test_sums_are_of_16_bits_where_they_are_proved_to_fit() -> None:
    assert sums(filled(1), interval=Bounds(-32768, 32767)).element == "int16"
    assert sums(filled(1), interval=Bounds(-32769, 0)).element == "int32"
    assert sums(filled(1)).element_for(MICROCONTROLLER) == "int32"


def test_weights_of_a_convolution_are_by_kernel_place_and_input() -> None:
    weight = np.arange(3 * 4 * 9).reshape(3, 4, 3, 3)
    found = sums(weight)
    assert found.weight.shape == (9, 4, 3)
    assert found.weight[5, 2, 1] == weight[1, 2, 1, 2]


def test_linear_layer_over_a_map_is_a_convolution_as_large_as_the_map() -> None:
    weight = np.arange(2 * 24).reshape(2, 24)
    node = IntLinear("linear", ("flat",), (2,), weight, 8)
    store = Store((4, 2, 3), "last", "bit", 64)
    found = sums_of("linear", "linear", node, store, Bounds(-1, 1), Bounds(0, 1))
    assert [(axis.size, axis.kernel, axis.outputs) for axis in found.axes] == [(2, 2, 1), (3, 3, 1)]
    assert found.weight[1 * 3 + 2, 3, 1] == weight[1, 3 * 6 + 1 * 3 + 2]  # place (1, 2), channel 3


@pytest.mark.parametrize(
    ("outputs", "host", "micro"),
    [(3, 16, 3), (64, 64, 64), (70, 80, 64), (128, 128, 64), (200, 64, 64), (256, 128, 64)],
)
def test_blocks_of_output_channels(outputs: int, host: int, micro: int) -> None:
    layer = [sums(filled(1, outputs=outputs))]
    assert block_size(HOST, layer) == host
    assert block_size(MICROCONTROLLER, layer) == micro


def test_two_bits_a_weight_by_hand() -> None:
    rows = np.array([[-2, -1, 0, 1, 1]])
    assert walked._packed(rows, 2).tolist() == [[0b11_10_01_00, 0b00_00_00_11]]


def test_four_bits_a_weight_by_hand() -> None:
    rows = np.array([[-8, 7, 0]])
    assert walked._packed(rows, 4).tolist() == [[0xF0, 0x08]]


def test_eight_bits_a_weight_are_as_they_are() -> None:
    rows = np.array([[-128, 127]])
    assert walked._packed(rows, 8) is rows


@pytest.mark.parametrize(("low", "high", "bits"), [(-2, 1, 2), (-2, 2, 4), (-8, 7, 4), (-9, 7, 8), (0, 1, 2)])
def test_weights_take_the_fewest_bits(low: int, high: int, bits: int) -> None:
    weight = filled(low)
    weight[0, 0, 0, 0] = high
    assert walked._packed_bits(sums(weight)) == bits
