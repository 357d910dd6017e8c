"""A pattern of places is given back exactly by slices, reshapes, permutations and joins, or not at all."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdcompress.lifting.cells import Pattern
from mdcompress.lifting.moving import Gathering, gathering

FAR = 1000  # the numbers of a second node's places begin here


def pattern(numbers: Tensor) -> Pattern:
    """Of a sample that holds numbers of places; node 1 from FAR on."""
    flat = numbers.reshape(-1).long()
    return Pattern(flat // FAR, flat % FAR, torch.zeros(len(flat), dtype=torch.float64), tuple(numbers.shape))


def places(shape: tuple[int, ...], node: int = 0) -> Tensor:
    return torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape) + node * FAR


def assert_given_back(found: Gathering, shapes: dict[int, tuple[int, ...]], numbers: Tensor) -> None:
    """With one and with two axes in front, of numbered values."""
    values = {node: places(shape, node)[None] + 10000 * torch.arange(2).reshape(2, *(1 for _ in shape))
              for node, shape in shapes.items()}  # fmt: skip
    expected = numbers[None] + 10000 * torch.arange(2).reshape(2, *(1 for _ in numbers.shape))
    assert torch.equal(found(values, 1), expected)
    by_step = {node: value[None].expand(3, *value.shape) for node, value in values.items()}
    assert torch.equal(found(by_step, 2), expected[None].expand(3, *expected.shape))


@st.composite
def rearranged(draw: st.DrawFn) -> tuple[dict[int, tuple[int, ...]], Tensor]:
    """The shapes of one or two nodes, and a tensor of their places after some moves."""
    sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3)
    shapes = {0: tuple(draw(sizes))}
    x = places(shapes[0])
    for _ in range(draw(st.integers(0, 4))):
        match draw(st.sampled_from(["permute", "reshape", "slice", "upsample", "cat", "join"])):
            case "permute":
                x = x.permute(draw(st.permutations(range(x.dim()))))
            case "reshape":
                front = draw(st.sampled_from([k for k in range(1, x.numel() + 1) if x.numel() % k == 0]))
                x = x.reshape(front, -1) if draw(st.booleans()) else x.reshape(-1)
            case "slice":
                axis = draw(st.integers(0, x.dim() - 1))
                start = draw(st.integers(0, x.shape[axis] - 1))
                length = draw(st.integers(1, x.shape[axis] - start))
                x = x.narrow(axis, start, length)
            case "upsample" if x.dim() in (2, 3) and x.numel() <= 64:
                x = F.interpolate(x[None], scale_factor=draw(st.sampled_from([2, 3])), mode="nearest")[0]
            case "cat" if x.numel() <= 64:
                axis = draw(st.integers(0, x.dim() - 1))
                x = torch.cat([x.narrow(axis, draw(st.integers(0, x.shape[axis] - 1)), 1), x], axis)
            case "join" if 1 not in shapes:
                shapes[1] = tuple(x.shape)
                x = torch.cat([x, places(shapes[1], 1)], draw(st.integers(0, x.dim() - 1)))
            case _:
                pass
    return shapes, x.contiguous()


@settings(max_examples=300, deadline=None)
@given(rearranged())
def test_moves_are_given_back_exactly_or_not_at_all(drawn: tuple[dict[int, tuple[int, ...]], Tensor]) -> None:
    shapes, numbers = drawn
    found = gathering(pattern(numbers), shapes)
    if found is not None:
        assert_given_back(found, {node: shapes[node] for node in found.sources}, numbers)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_places_at_all_are_given_back_exactly_or_not_at_all(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    count = data.draw(st.integers(1, 8))
    total = math.prod(shape)
    flat = data.draw(st.lists(st.integers(0, total - 1), min_size=count, max_size=count))
    numbers = torch.tensor(flat, dtype=torch.float64)
    found = gathering(pattern(numbers), {0: shape})
    if found is not None:
        assert_given_back(found, {0: shape}, numbers)


X = places((4, 3, 2))
FOUND = {
    "as it is": X,
    "flattened": X.reshape(-1),
    "one channel": X[2],
    "one number": X[2, 1, 1].reshape(1),
    "permuted": X.permute(2, 0, 1),
    "a slice of a permutation": X.permute(1, 2, 0)[:, :, 1:3],
    "heads": X.reshape(2, 2, 6).permute(0, 2, 1),
    "every second channel": X[::2],
    "upsampled": F.interpolate(X[None], scale_factor=2, mode="nearest")[0],
    "channels in another order": torch.cat([X[2:], X[:2]]),
    "joined with a second node": torch.cat([X, places((1, 3, 2), 1)]),
    "joined along a row": torch.cat([places((4, 3, 1), 1), X], 2),
}


@pytest.mark.parametrize("name", FOUND)
def test_common_moves_are_found(name: str) -> None:
    shapes = {0: (4, 3, 2), 1: (1, 3, 2) if "second" in name else (4, 3, 1)}
    found = gathering(pattern(FOUND[name].contiguous()), shapes)
    assert found is not None
    assert_given_back(found, {node: shapes[node] for node in found.sources}, FOUND[name])


def test_a_shuffle_of_many_places_is_not_found() -> None:
    numbers = places((80,))[torch.randperm(80, generator=torch.Generator().manual_seed(0))]
    assert gathering(pattern(numbers), {0: (80,)}) is None
