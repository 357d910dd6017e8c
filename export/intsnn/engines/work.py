"""A graph and an amount of work -> seconds that each engine would take, compiling and loading included.

    seconds = start + steps * (multiplications * each + values * each)

The figures of one engine are a fit to a few networks on one machine (`benchmarks/activity_speed.py`). They only serve
to choose, and are off by a factor on another machine; a wrong choice costs time, never a value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from intsnn.graph import IntGraph, IntMatMul
from intsnn.graph.windows import multiplications

EngineName = Literal["native", "onnxruntime", "interpreter"]


@dataclass(frozen=True)
class Work:
    """How much a session will be given in all: samples of `time_steps` steps."""

    samples: int
    time_steps: int

    @property
    def steps(self) -> int:
        """Steps of one sample each."""
        return self.samples * self.time_steps


@dataclass(frozen=True)
class Size:
    """What one step of one sample is made of: multiplications of dense layers, and values of all tensors."""

    nodes: int
    multiplications: int
    values: int

    @classmethod
    def of(cls, graph: IntGraph) -> Size:
        """The size of a graph."""
        synapses = sum(map(multiplications, graph.all_synapses))
        products = sum(
            math.prod(node.shape) * graph.node(node.inputs[0]).shape[-1] for node in graph.of_type(IntMatMul)
        )
        return cls(len(graph), synapses + products, sum(math.prod(node.shape) for node in graph))


@dataclass(frozen=True)
class _Speed:
    """Seconds: to start, and for each node when it starts; for each multiplication and value of a step."""

    start: float
    per_node: float
    per_multiplication: float
    per_value: float


_SPEEDS: dict[EngineName, _Speed] = {
    "interpreter": _Speed(0, 0, 1.5e-10, 3e-8),
    "onnxruntime": _Speed(0.15, 8e-3, 3e-11, 2e-9),
    "native": _Speed(0.05, 8e-3, 4e-12, 5e-10),
}
_COMPILING = _Speed(0.3, 0.13, 0, 0)  # on top, where a library is not there yet


def seconds(engine: EngineName, size: Size, work: Work) -> float:
    """What the engine takes, if it has not to compile."""
    return _seconds(_SPEEDS[engine], size, work)


def compiling_seconds(size: Size) -> float:
    """What the C compiler takes."""
    return _seconds(_COMPILING, size, Work(0, 0))


def _seconds(speed: _Speed, size: Size, work: Work) -> float:
    each = size.multiplications * speed.per_multiplication + size.values * speed.per_value
    return speed.start + size.nodes * speed.per_node + work.steps * each
