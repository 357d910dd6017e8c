"""What is counted, as data: how often an item happens, and how many are built."""

from __future__ import annotations

import math
from dataclasses import dataclass

from intsnn.hardware.catalogue import Item


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
class EventCounts:
    """Every event of one inference, and every instance of the chip."""

    time_steps: int
    events: tuple[EventCount, ...]
    instances: tuple[InstanceCount, ...]

    def total(self, item: Item) -> float:
        """Events of an item over all nodes and steps."""
        return math.fsum(event.total for event in self.events if event.item is item)

    def built(self, item: Item) -> int:
        """Instances of an item on the chip."""
        return sum(instance.count for instance in self.instances if instance.item is item)
