"""Where in time a tensor of the pass stands, and which of its leading axes are steps and samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, assert_never

from torch import Tensor

from mdcompress.adapters.axes import Axes
from mdcompress.graph import TensorShape

Span = Literal["all", "step", "still", "sum", "mean", "max"]

_FOLDINGS: tuple[tuple[Axes, ...], ...] = (  # axes that a reshape may turn into one another
    (("T", "N"), ("TN",)),
    (("N", "T"), ("NT",)),
    (("N",), ("1", "N"), ("N", "1")),
)
_TURNED: dict[Axes, Axes] = {
    ("T", "N"): ("N", "T"), ("N", "T"): ("T", "N"), ("1", "N"): ("N", "1"), ("N", "1"): ("1", "N"),
}  # fmt: skip

AS_MANY_STEPS = "give a sample with as many steps as the network makes: in a recipe `data.time_steps`"


@dataclass(frozen=True)
class Position:
    """What part of time a tensor holds.

    span: all steps; one step; still, the same at every step; or a sum, mean or maximum over steps.
    axes: what its leading axes are; the rest is the shape of one sample at one step.
    step: of a `step`, which one; of a `sum`, the last one it holds.
    """

    span: Span
    axes: Axes
    step: int = 0

    @property
    def foldings(self) -> tuple[Axes, ...]:
        """The leading axes that a reshape may give the tensor, its own first."""
        family = next(family for family in _FOLDINGS if self.axes in family)
        return (self.axes, *(axes for axes in family if axes not in (self.axes, ("N", "1"))))

    @property
    def turned(self) -> Position | None:
        """The same with its two leading axes exchanged; None where it has only one."""
        return replace(self, axes=_TURNED[self.axes]) if self.axes in _TURNED else None

    def with_axes(self, axes: Axes) -> Position:
        """The same part of time under other leading axes."""
        return replace(self, axes=axes)

    def describe(self) -> str:
        """In words, for messages."""
        match self.span:
            case "all":
                return "all steps"
            case "step":
                return f"step {self.step}"
            case "still":
                return "what is the same at every step"
            case "sum":
                return f"the sum of steps 0 to {self.step}"
            case "mean" | "max":
                return f"the {self.span} over time"
            case _:
                assert_never(self.span)


@dataclass(frozen=True)
class Extent:
    """How many steps and samples the pass has."""

    time_steps: int
    batch: int

    def sizes(self, axes: Axes) -> tuple[int, ...]:
        """The sizes of leading axes."""
        both = self.time_steps * self.batch
        of = {"T": self.time_steps, "N": self.batch, "TN": both, "NT": both, "1": 1}
        return tuple(of[axis] for axis in axes)

    def per_sample(self, tensor: Tensor, axes: Axes) -> TensorShape | None:
        """The shape of one sample at one step; None where the leading axes have other sizes."""
        shape = tuple(tensor.shape)
        return shape[len(axes) :] if shape[: len(axes)] == self.sizes(axes) else None
