"""Bit planes against the values that they stand for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intsnn.activity.counting import CompiledCounting, Counting, NumpyCounting, counting_for
from intsnn.activity.planes import (
    SAMPLES,
    Planes,
    Word,
    _counted_by_halves,
    added,
    added_along,
    count_ones,
    joined_or,
    packed,
    unpacked,
)
from intsnn.arithmetic import Bounds, IntArray

COUNTINGS: list[Counting] = [NumpyCounting(), counting_for(10**12)]  # the second is compiled
WORDS = st.builds(Word, st.integers(1, 12), st.booleans())


def planes_of(x: IntArray, word: Word) -> Planes:
    """The same planes by NumPy and by C."""
    first, second = (packed(x, word, pack=counting.pack) for counting in COUNTINGS)
    assert np.array_equal(first.words, second.words)
    return first


def tensor(word: Word, shape: tuple[int, ...], seed: int) -> IntArray:
    low = -(2 ** (word.bits - 1)) if word.signed else 0
    return np.random.default_rng(seed).integers(low, low + 2**word.bits, shape)


@st.composite
def tensors(draw: st.DrawFn, word: Word) -> IntArray:
    """[T, N, *shape] over the whole word; up to 64 samples."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    samples = draw(st.sampled_from((1, 2, 7, 8, 9, 63, SAMPLES)))
    return tensor(word, (draw(st.integers(1, 3)), samples, *shape), draw(st.integers(0, 2**16)))


@given(st.data(), WORDS)
def test_values_come_back(data: st.DataObject, word: Word) -> None:
    x = data.draw(tensors(word))
    planes = planes_of(x, word)
    assert planes.words.shape == (word.bits, len(x), *x.shape[2:])
    assert np.array_equal(unpacked(planes, x.shape[1]), x)
    assert np.array_equal(count_ones(planes.active), (x != 0).sum(axis=1))


def test_large_tensors_are_packed_in_parts_of_steps() -> None:
    x = np.random.default_rng(0).integers(0, 2, (5, 11, 3, 110, 110))
    assert np.array_equal(unpacked(planes_of(x, Word(1, signed=False)), 11), x)


@given(st.data(), WORDS, st.integers(0, 5))
def test_a_wider_word_holds_the_same_values(data: st.DataObject, word: Word, more: int) -> None:
    x = data.draw(tensors(word))
    wider = Word(word.bits + more, word.signed)
    assert np.array_equal(unpacked(planes_of(x, word).to(wider), x.shape[1]), x)
    assert np.array_equal(planes_of(x, wider).to(word).words, planes_of(x, word).words)


@given(st.data(), WORDS, WORDS)
def test_adders_give_the_sum(data: st.DataObject, first: Word, second: Word) -> None:
    x = data.draw(tensors(first))
    y = tensor(second, x.shape, 1)
    wide = Word(15, signed=True)
    total = added([planes_of(x, first), planes_of(y, second), planes_of(x, first)], wide)
    assert np.array_equal(unpacked(total, x.shape[1]), 2 * x + y)


@given(st.data(), WORDS)
def test_adders_give_the_sum_along_an_axis(data: st.DataObject, word: Word) -> None:
    x = data.draw(tensors(word))
    axis = data.draw(st.integers(0, x.ndim - 3))
    total = added_along(planes_of(x, word), axis, Word(15, word.signed))
    assert np.array_equal(unpacked(total, x.shape[1]), x.sum(axis=2 + axis, keepdims=True))


@given(st.integers(1, 9), st.integers(1, 9))
def test_neighbours_are_joined_and_the_last_are_fewer(length: int, size: int) -> None:
    words = np.random.default_rng(length).integers(0, 2**63, (2, length, 3)).astype(np.uint64)
    found = joined_or(words, size, axis=1)
    assert found.shape[1] == math.ceil(length / size)
    for block in range(found.shape[1]):
        expected = np.bitwise_or.reduce(words[:, block * size : (block + 1) * size], axis=1)
        assert np.array_equal(found[:, block], expected)


@pytest.mark.parametrize("word", [0, 1, 2**64 - 1, 0xF0F0, 2**63, 0x0123456789ABCDEF])
def test_ones_are_counted_without_numpy_2_too(word: int) -> None:
    words = np.array([[word]], dtype=np.uint64)
    assert count_ones(words).tolist() == _counted_by_halves(words).tolist() == [[word.bit_count()]]


def test_the_word_of_an_interval() -> None:
    assert Word.holding(Bounds(0, 4)) == Word(3, signed=False)
    assert Word.holding(Bounds(-1, 4)) == Word(4, signed=True)


def test_the_second_way_to_count_is_compiled() -> None:
    assert isinstance(COUNTINGS[1], CompiledCounting)
