"""A session: one graph, ready to run as often as one likes. Every engine's gives the same values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from intsnn.arithmetic import IntArray
from intsnn.execution.interpreter import Trace, evaluate, run
from intsnn.graph import IntGraph


class Session(Protocol):
    """What the sessions of all engines can do. Inputs are integers [T, N, *input shape], in the range of the input."""

    @property
    def graph(self) -> IntGraph:
        """The graph that it runs."""

    @property
    def threads(self) -> int:
        """How many share its work, and may share what is done with its answers."""

    def run(self, x: npt.ArrayLike) -> Trace:
        """Output, spikes and membranes, as `intsnn.run` gives them."""

    def answer(self, x: npt.ArrayLike) -> IntArray:
        """The output alone, [N, *shape] or [T, N, *shape]."""

    def spikes(self, x: npt.ArrayLike) -> Mapping[str, npt.NDArray[np.integer]]:
        """Every neuron's spikes alone, by its name, [T, N, *shape]: 0 to 255, in a narrow type."""


@dataclass(frozen=True)
class InterpreterSession:
    """The graph in NumPy, node by node."""

    graph: IntGraph

    @property
    def threads(self) -> int:
        """One."""
        return 1

    def run(self, x: npt.ArrayLike) -> Trace:
        """Output, spikes and membranes."""
        return run(self.graph, x)

    def answer(self, x: npt.ArrayLike) -> IntArray:
        """The output alone."""
        *_, last = evaluate(self.graph, x)
        return last.output

    def spikes(self, x: npt.ArrayLike) -> dict[str, npt.NDArray[np.integer]]:
        """Every neuron's spikes alone."""
        steps = evaluate(self.graph, x)
        return {step.node.name: step.spikes.astype(np.uint8) for step in steps if step.spikes is not None}
