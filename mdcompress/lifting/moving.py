"""A pattern of places as slices, reshapes, permutations and joins of whole tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from mdcompress.lifting.cells import Pattern


@dataclass(frozen=True)
class Move:
    """One source as it is read: reshaped to `split`, each axis cut to `cuts`, permuted by `order`, reshaped to `shape`.

    All is of a sample; the axes in front of it stay. repeats: how often each place of a map then stands in a row along
    each of its axes, as of an upsampling.
    """

    node: int
    split: tuple[int, ...]
    cuts: tuple[tuple[int, int], ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    repeats: int = 1

    def __call__(self, x: Tensor, leading: int) -> Tensor:
        """Do it to x, which has `leading` axes in front of a sample's."""
        front = x.shape[:leading]
        if tuple(x.shape[leading:]) != self.split:
            x = x.reshape(*front, *self.split)
        for axis, (start, stop) in enumerate(self.cuts):
            if (start, stop) != (0, self.split[axis]):
                x = x[(slice(None),) * (leading + axis) + (slice(start, stop),)]
        if self.order != tuple(range(len(self.order))):
            x = x.permute(*range(leading), *(leading + axis for axis in self.order))
        if tuple(x.shape[leading:]) != self.shape:
            x = x.reshape(*front, *self.shape)
        if self.repeats == 1:
            return x
        larger = F.interpolate(x.flatten(0, leading - 1), scale_factor=self.repeats, mode="nearest")
        return larger.reshape(*front, *larger.shape[1:])


@dataclass(frozen=True)
class Gathering:
    """What a node reads: moves of one source or of several, which are joined along an axis of the sample."""

    moves: tuple[Move, ...]
    axis: int = 0

    @property
    def sources(self) -> tuple[int, ...]:
        """The nodes that are read."""
        return tuple(move.node for move in self.moves)

    def __call__(self, values: Mapping[int, Tensor], leading: int) -> Tensor:
        """The tensor that is read, of the values of nodes."""
        parts = [move(values[move.node], leading) for move in self.moves]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=leading + self.axis)


def gathering(pattern: Pattern, shapes: Mapping[int, tuple[int, ...]]) -> Gathering | None:
    """How whole tensors give a pattern without constants; None where no few moves do."""
    single = _move(pattern.nodes, pattern.places, pattern.shape, shapes) or _upsampled(pattern, shapes)
    if single is not None:
        return Gathering((single,))
    for axis in range(len(pattern.shape)):
        moves = _joined(pattern, axis, shapes)
        if moves is not None and _gives(Gathering(moves, axis), pattern, shapes):
            return Gathering(moves, axis)
    return None


def _gives(gathering: Gathering, pattern: Pattern, shapes: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether the moves give the pattern, tried on numbered places."""
    numbered = {
        node: (torch.arange(math.prod(shapes[node]), dtype=torch.float64) + node / 1024).reshape(1, *shapes[node])
        for node in gathering.sources
    }
    return torch.equal(gathering(numbered, 1).reshape(-1), pattern.places + pattern.nodes / 1024)


def _joined(pattern: Pattern, axis: int, shapes: Mapping[int, tuple[int, ...]]) -> tuple[Move, ...] | None:
    """The moves whose results, joined along an axis, are the pattern."""
    nodes = pattern.nodes.reshape(pattern.shape).movedim(axis, 0).reshape(pattern.shape[axis], -1)
    places = pattern.places.reshape(pattern.shape)
    if not bool((nodes == nodes[:, :1]).all()):
        return None
    starts = _runs(nodes[:, 0].tolist(), places.movedim(axis, 0).reshape(len(nodes), -1)[:, 0].tolist())
    if len(starts) > 64:
        return None
    moves = []
    for start, stop in pairwise(starts):
        part = places.narrow(axis, start, stop - start)
        shape = tuple(part.shape)
        own = torch.full((part.numel(),), int(nodes[start, 0]))
        part_pattern = Pattern(own, part.reshape(-1), torch.zeros(part.numel(), dtype=torch.float64), shape)
        move = _move(own, part_pattern.places, shape, shapes) or _upsampled(part_pattern, shapes)
        if move is None:
            return None
        moves.append(move)
    return tuple(moves)


def _runs(nodes: Sequence[int], places: Sequence[int]) -> list[int]:
    """Where another source begins along an axis, or the same one anew; the end is the last."""
    starts, stride = [0], None
    for k in range(1, len(nodes)):
        step = places[k] - places[k - 1]
        if nodes[k] != nodes[k - 1] or (stride is not None and step != stride):
            starts.append(k)
            stride = None
        else:
            stride = step
    return [*starts, len(nodes)]


def _upsampled(pattern: Pattern, shapes: Mapping[int, tuple[int, ...]]) -> Move | None:
    """The move of a map whose places stand several times in a row along each axis; None where they do not."""
    places, node = pattern.places.reshape(pattern.shape), int(pattern.nodes[0])
    rank = len(pattern.shape) - 1
    if rank not in (1, 2) or node < 0 or not bool((pattern.nodes == node).all()):
        return None
    for times in (2, 4, 8, 3, 16):
        if any(size % times for size in pattern.shape[1:]):
            continue
        small = places[(slice(None), *(slice(None, None, times),) * rank)]
        large = small
        for axis in range(1, rank + 1):
            large = large.repeat_interleave(times, dim=axis)
        if torch.equal(large, places):
            flat = small.reshape(-1)
            move = _move(torch.full_like(flat, node), flat, tuple(small.shape), shapes)
            return None if move is None else replace(move, repeats=times)
    return None


def _move(nodes: Tensor, places: Tensor, shape: tuple[int, ...], shapes: Mapping[int, tuple[int, ...]]) -> Move | None:
    """The one move that gives these places of a source; None where there is none."""
    node = int(nodes[0])
    if node < 0 or not bool((nodes == node).all()):
        return None
    own = shapes[node]
    total = math.prod(own)
    if len(places) == total and torch.equal(places, torch.arange(total)):
        return Move(node, own, tuple((0, size) for size in own), tuple(range(len(own))), shape)
    digits = _digits(places)
    if digits is None:
        return None
    offset, strides = int(places[0]), sorted(stride for _, stride in digits)
    split: list[int] = []  # innermost first
    cuts: list[tuple[int, int]] = []
    where: dict[int, int] = {}  # from a digit to its axis in `split`
    innermost = strides[0] if strides else total
    if innermost > 1:
        split.append(innermost)
        cuts.append((offset % innermost, offset % innermost + 1))
    for place in sorted(range(len(digits)), key=lambda each: digits[each][1]):
        size, stride = digits[place]
        following = next((each for each in strides if each > stride), total)
        if following % stride or following // stride < size:
            return None
        where[place] = len(split)
        extent = following // stride
        start = (offset // stride) % extent
        split.append(extent)
        cuts.append((start, start + size))
    if math.prod(split) != total or any(stop > size for (_, stop), size in zip(cuts, split, strict=True)):
        return None
    axes = len(split)
    order = [axes - 1 - where[place] for place in reversed(range(len(digits)))]
    order += [axis for axis in range(axes) if axis not in order]  # cut to one place
    move = Move(node, tuple(reversed(split)), tuple(reversed(cuts)), tuple(order), shape)
    made = move(torch.arange(total).reshape(own), 0).reshape(-1)
    return move if torch.equal(made, places) else None


def _digits(places: Tensor) -> list[tuple[int, int]] | None:
    """(size, stride) such that place(i) = places[0] + sum of digit k of i times stride k, innermost first."""
    distance = places - places[0]
    digits: list[tuple[int, int]] = []
    block = 1
    while block < len(distance):
        if len(distance) % block:
            return None
        rows = distance.reshape(-1, block)
        stride = int(rows[1, 0])
        if stride <= 0:
            return None
        expected = rows[0] + stride * torch.arange(len(rows))[:, None]
        agree = (rows == expected).all(1)
        run = int((~agree).nonzero()[0]) if not bool(agree.all()) else len(agree)
        size = next((k for k in range(min(run, len(rows)), 1, -1) if len(rows) % k == 0), 1)
        if size == 1:
            return None
        digits.append((size, stride))
        block *= size
    return digits
