"""What is counted, as data: how often an item happens, and how many are built."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.hardware.catalogue import Item

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EventCount:
    """How often an item happens at a node in each step, mean per sample; `bits` where its cost depends on a width."""

    node: str
    item: Item
    bits: float | None
    steps: tuple[float, ...]

    @property
    def total(self) -> float:
        """Over all steps."""
        return math.fsum(self.steps)


@dataclass(frozen=True)
class InstanceCount:
    """How many of an item are built for a node."""

    node: str
    item: Item
    bits: float | None
    count: int


@dataclass(frozen=True)
class Columns:
    """Counts side by side, [n, T] of events, [n, 1] of instances. keys: each item and width once; which: of a count."""

    numbers: FloatArray
    keys: tuple[tuple[Item, float | None], ...]
    which: IntArray

    @classmethod
    def of(cls, counts: Sequence[EventCount | InstanceCount], numbers: FloatArray) -> Columns:
        """Of some counts."""
        places: dict[tuple[Item, float | None], int] = {}
        which = [places.setdefault((one.item, one.bits), len(places)) for one in counts]
        return cls(numbers, tuple(places), np.array(which, dtype=np.int64))


@dataclass(frozen=True)
class EventCounts:
    """Every event of one inference, and every instance of the chip."""

    time_steps: int
    events: tuple[EventCount, ...]
    instances: tuple[InstanceCount, ...]

    @cached_property
    def event_columns(self) -> Columns:
        """The events, [n, T]."""
        numbers = np.array([event.steps for event in self.events]).reshape(len(self.events), self.time_steps)
        return Columns.of(self.events, numbers)

    @cached_property
    def instance_columns(self) -> Columns:
        """The instances, [n, 1]."""
        return Columns.of(self.instances, np.array([[float(one.count)] for one in self.instances]).reshape(-1, 1))

    @cached_property
    def node_starts(self) -> tuple[int, ...]:
        """Where the instances of each node begin: they stand node by node. The last entry is their number."""
        lengths = (len(list(built)) for _, built in itertools.groupby(self.instances, key=lambda one: one.node))
        return tuple(itertools.accumulate(lengths, initial=0))

    def total(self, item: Item) -> float:
        """Events of an item over all nodes and steps."""
        return math.fsum(event.total for event in self.events if event.item is item)

    def built(self, item: Item) -> int:
        """Instances of an item on the chip."""
        return sum(instance.count for instance in self.instances if instance.item is item)
