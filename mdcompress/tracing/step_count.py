"""How many steps a network makes by itself, where that is not how many its sample has: counted by its comparisons.

Where a network loops `for _ in range(4)`, each of its comparisons with a threshold is called four times from one line,
of however many steps the sample is. Nothing is concluded from the count alone: it is tried.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mdcompress.adapters.base import copied
from mdcompress.lifting import Calling

_COMPARISONS = frozenset(
    ["gt", "ge", "lt", "le", "greater", "greater_equal", "less", "less_equal", "heaviside", "sign", "round", "floor"]
)
_LONG = 17  # steps of the sample that is counted on: a prime, so that a network that follows its sample is known by it


def own_steps(network: nn.Module, sample: Tensor, calling: Calling) -> int | None:
    """How often each line of a network compares, however long its sample is; None where that says nothing.

    Args:
        network: it is left as it is.
        sample: [T, N, ...].
        calling: how it is called; not step by step.
    """
    times = math.ceil(_LONG / len(sample))
    x = sample.repeat(times, *(1 for _ in sample.shape[1:]))[:_LONG]
    copy, counting = copied(network, {}).cpu().float().eval(), _Counting()  # code that says .float() is of float32
    try:
        with torch.no_grad(), counting:
            copy(calling.arrange(x.detach().cpu().float()).clone())
    except Exception:  # whatever the user's own forward raises: it is not called so
        return None
    found = math.gcd(*counting.calls.values()) if counting.calls else 0
    return None if found < 2 or found % _LONG == 0 else found


class _Counting(TorchFunctionMode):
    """Counts comparisons by the calls that led to them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple[object, ...]] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "").strip("_") in _COMPARISONS:
            self.calls[_path(sys._getframe(1))] += 1
        return func(*args, **(kwargs or {}))


def _path(frame: FrameType | None) -> tuple[object, ...]:
    """Where a call comes from: the lines that led to it, and whose methods they are of."""
    path: list[object] = []
    while frame is not None and frame.f_code is not own_steps.__code__:
        path += [frame.f_code, frame.f_lineno, id(frame.f_locals.get("self"))]
        frame = frame.f_back
    return tuple(path)
