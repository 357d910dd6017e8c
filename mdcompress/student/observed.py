"""What one forward pass of a float network or a student showed: the type that both views share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Observation:
    """What one forward pass showed, in real units.

    output: what the network returned; logits: per step [T, N, K]; potentials: membrane before reset, by neuron name,
    [T, N, *shape]; spikes: likewise; membranes: likewise after reset, which the next step begins with (of a student not
    yet rounded to what is stored).
    """

    output: Tensor
    logits: Tensor
    potentials: Mapping[str, Tensor]
    spikes: Mapping[str, Tensor]
    membranes: Mapping[str, Tensor] = field(default_factory=dict)


class Computed(Mapping[str, ValueT]):
    """A value for each name, computed when it is first asked for: what no loss compares costs nothing."""

    def __init__(self, names: Collection[str], compute: Callable[[str], ValueT]) -> None:
        self._names, self._compute = tuple(names), compute
        self._known: dict[str, ValueT] = {}

    def __getitem__(self, name: str) -> ValueT:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._known:
            self._known[name] = self._compute(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
