"""The C kernels against Python: lists of what is active, bits in words, rounding; with each set of instructions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intsnn.compiling.cache import shared_library
from tests.support.native_sessions import Build, builds

SLACK, GUARD, PAD = 64, 0xEE, 4
KERNELS = files("intsnn.emission") / "kernels"
SEEN = f'#define PAD {PAD}\n#define SEEN __attribute__((visibility("default"))) void\n'
SHARED = """
SEEN pack(void *words, uint8_t *values, int n) { nn_pack(words, values, n); }
SEEN unpack(uint8_t *values, const void *words, int n) { nn_unpack(values, words, n); }
SEEN set_bit(void *words, int place, int value) { nn_set_bit(words, place, value); }
SEEN bit(const void *words, int place, int32_t *value) { *value = nn_bit(words, place); }
SEEN half_even(int32_t a, int32_t level, int32_t *value) { *value = nn_half_even(a, level); }
"""
LISTS = "".join(
    f"""
SEEN bits{size}(const void *bits, int lines, int width, int channels, uint{size}_t *list, uint32_t *start)
{{ nn_list_bits{size}(bits, lines, width, channels, PAD, list, start); }}
SEEN counts{size}(const uint8_t *v, int lines, int width, int channels, int most, uint{size}_t *list, uint32_t *start)
{{ nn_list_counts{size}(v, lines, width, channels, PAD, most, list, start); }}
SEEN values{size}(const int16_t *v, int lines, int width, int channels, uint{size}_t *list, int16_t *found,
                  uint32_t *start)
{{ nn_list_int16_{size}(v, lines, width, channels, PAD, list, found, start); }}
SEEN merge{size}(uint16_t *to, const uint{size}_t *list, int count, int scale, int base)
{{ nn_merge{size}(to, list, count, scale, base); }}
"""
    for size in (16, 32)
)
MAPS = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 140), st.integers(0, 2**16), st.integers(0, 4))


def drawn(shape: tuple[int, ...], seed: int, quarter: int, most: int) -> npt.NDArray[np.int64]:
    """Values 0 to most, of which `quarter` in 4 are not 0; the last one is."""
    random = np.random.default_rng(seed)
    made = random.integers(1, most + 1, shape) * (random.random(shape) < quarter / 4)
    made[..., -1] = most
    return made


def in_words(values: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.unsignedinteger]:
    """The last axis as words, little end first."""
    words = np.zeros((*values.shape[:-1], -(-values.shape[-1] // bits)), dtype=f"uint{bits}")
    for place, value in np.ndenumerate(values):
        words[(*place[:-1], place[-1] // bits)] |= words.dtype.type(int(value) << (place[-1] % bits))
    return words


def listed(values: npt.NDArray[np.int64]) -> tuple[list[list[int]], list[int]]:
    """For each place of [lines, width, channels] its entries, as often as the value says; where each begins.

    An entry is place * (channels + 1) + channel; a place is filled up to a multiple of PAD with channel `channels`.
    """
    width, channels = values.shape[1:]
    entries = [
        [place * (channels + 1) + c for c in range(channels) for _ in range(abs(int(line[place, c])))]
        for line in values
        for place in range(width)
    ]
    for k, each in enumerate(entries):
        each += [k % width * (channels + 1) + channels] * (-len(each) % PAD)
    return entries, [0, *np.cumsum([len(each) for each in entries]).tolist()]


@pytest.fixture(params=builds("-O1"), ids=lambda build: build.name)
def host(request: pytest.FixtureRequest) -> ctypes.CDLL:
    return compiled(request.param, ("common.h", "bits64.h", "lists.h"), SHARED + LISTS)


@pytest.fixture(params=builds("-O1")[:2], ids=lambda build: build.name)
def portable(request: pytest.FixtureRequest) -> ctypes.CDLL:
    return compiled(request.param, ("common.h", "bits32.h"), SHARED)


def compiled(build: Build, kernels: tuple[str, ...], more: str) -> ctypes.CDLL:
    text = "\n".join((KERNELS / name).read_text(encoding="utf-8") for name in kernels)
    path: Path = shared_library(f"{text}\n{SEEN}{more}", compiler=build.compiler, flags=build.flags)
    return ctypes.CDLL(str(path))


def address(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def room(values: npt.NDArray[np.int64]) -> int:
    """Entries that the list of a map can have."""
    lines, width, _ = values.shape
    entries: int = int(np.abs(values).sum()) + PAD * lines * width
    return entries


def guarded(count: int, kind: str) -> npt.NDArray[np.unsignedinteger]:
    return np.full(count + 2 * SLACK, GUARD, kind)


def assert_listed(
    seen: npt.NDArray[np.unsignedinteger],
    start: npt.NDArray[np.unsignedinteger],
    values: npt.NDArray[np.int64],
    *,
    order: Callable[[list[int]], list[int]] = list,
) -> None:
    """Each place has its entries, and nothing behind the slack is written."""
    entries, starts = listed(values)
    assert start.tolist() == starts
    for k, wanted in enumerate(entries):
        assert order(seen[starts[k] : starts[k + 1]].tolist()) == wanted
    assert (seen[starts[-1] + SLACK :] == GUARD).all()


@pytest.mark.parametrize("size", [16, 32])
def test_bits_are_listed_place_by_place(host: ctypes.CDLL, size: int) -> None:
    @settings(max_examples=60)
    @given(MAPS)
    @example((1, 1, 64, 0, 4))
    @example((2, 2, 128, 0, 0))
    @example((1, 3, 65, 0, 4))
    def holds(drawn_map: tuple[int, int, int, int, int]) -> None:
        *shape, seed, quarter = drawn_map
        values = drawn(tuple(shape), seed, quarter, 1)
        seen, start = guarded(room(values), f"uint{size}"), np.zeros(shape[0] * shape[1] + 1, np.uint32)
        words = in_words(values, 64)
        getattr(host, f"bits{size}")(address(words), *shape, address(seen), address(start))
        assert_listed(seen, start, values)

    holds()


def test_entries_reach_the_end_of_16_bits(host: ctypes.CDLL) -> None:
    values = np.zeros((1, 1024, 63), np.int64)  # with the filler's channel 64 a place
    values[0, 1023, 62] = values[0, 512, 0] = values[0, 511, 62] = 1
    seen, start = guarded(3 * PAD, "uint16"), np.zeros(1025, np.uint32)
    words = in_words(values, 64)
    host.bits16(address(words), 1, 1024, 63, address(seen), address(start))
    assert seen[: 3 * PAD : PAD].tolist() == [32766, 32768, 65534]
    assert seen[PAD - 1 : 3 * PAD : PAD].tolist() == [32767, 32831, 65535]


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("most", [1, 3, 8])
def test_counts_are_listed_as_often_as_they_say(host: ctypes.CDLL, size: int, most: int) -> None:
    @settings(max_examples=40)
    @given(MAPS)
    def holds(drawn_map: tuple[int, int, int, int, int]) -> None:
        *shape, seed, quarter = drawn_map
        values = drawn(tuple(shape), seed, quarter, most)
        seen, start = guarded(room(values), f"uint{size}"), np.zeros(shape[0] * shape[1] + 1, np.uint32)
        counts = values.astype(np.uint8)
        getattr(host, f"counts{size}")(address(counts), *shape, most, address(seen), address(start))
        assert_listed(seen, start, values, order=sorted)

    holds()


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_pieces_of_lists_are_merged(host: ctypes.CDLL, size: int, count: int) -> None:
    """Entries of a line from 1000 on, in eighths of rows of 128 bytes; nothing behind the slack is written."""
    entries = np.random.default_rng(count).integers(1000, 3000, count + SLACK)
    piece, seen = entries.astype(f"uint{size}"), guarded(count, "uint16")
    getattr(host, f"merge{size}")(address(seen), address(piece), count, 16, -1000)
    assert seen[:count].tolist() == [16 * (entry - 1000) for entry in entries[:count].tolist()]
    assert (seen[count + SLACK :] == GUARD).all()


@pytest.mark.parametrize("size", [16, 32])
def test_values_that_are_not_0_are_listed_with_their_values(host: ctypes.CDLL, size: int) -> None:
    values = np.random.default_rng(0).integers(-1, 2, (3, 4, 70)) * 300
    signed = values.astype(np.int16)
    seen, found = guarded(room(values), f"uint{size}"), np.full(room(values) + SLACK, 7, np.int16)
    start = np.zeros(13, np.uint32)
    getattr(host, f"values{size}")(address(signed), 3, 4, 70, address(seen), address(found), address(start))
    assert_listed(seen, start, (values != 0).astype(np.int64))
    is_filler = seen[: start[-1]] % 71 == 70
    assert np.array_equal(found[: start[-1]][~is_filler], values[values != 0])
    assert not found[: start[-1]][is_filler].any()


@pytest.mark.parametrize("n", [1, 31, 32, 33, 63, 64, 65, 127, 128, 130])
@pytest.mark.parametrize("quarter", [0, 1, 4])
def test_bytes_are_packed_and_unpacked(host: ctypes.CDLL, n: int, quarter: int) -> None:
    assert_packed(host, drawn((n,), n, quarter, 1), 64)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 64, 70])
def test_bytes_are_packed_and_unpacked_for_a_microcontroller(portable: ctypes.CDLL, n: int) -> None:
    assert_packed(portable, drawn((n,), n, 2, 1), 32)


def assert_packed(library: ctypes.CDLL, values: npt.NDArray[np.int64], bits: int) -> None:
    """Bytes -> words with zeros behind the last; words -> as many bytes; single bits."""
    n, words = len(values), in_words(values, bits)
    room = np.full(len(words) * bits, 1, np.uint8)  # what lies behind the last value is no bit
    room[:n] = values
    packed = guarded(len(words), f"uint{bits}")
    library.pack(address(packed), address(room), n)
    assert np.array_equal(packed[: len(words)], words) and (packed[len(words) :] == GUARD).all()
    unpacked = guarded(n, "uint8")
    library.unpack(address(unpacked), address(words), n)
    assert np.array_equal(unpacked[:n], values) and (unpacked[n:] == GUARD).all()
    one, single = np.zeros(1, np.int32), np.zeros_like(words)
    for place, value in enumerate(values):
        library.bit(address(words), place, address(one))
        assert one[0] == value
        library.set_bit(address(single), place, int(value))
    assert np.array_equal(single, words)


@settings(max_examples=200)
@given(st.integers(0, 2**20), st.integers(1, 2**12))
@example(5, 2)
@example(7, 2)
@example(3, 2)
@example(0, 1)
@example(2**30, 3)
def test_ties_go_to_the_even_number(a: int, level: int) -> None:
    library = compiled(builds("-O1")[0], ("common.h", "bits64.h", "lists.h"), SHARED + LISTS)
    found = np.zeros(1, np.int32)
    library.half_even(a, level, address(found))
    assert found[0] == round(Fraction(a, level))
