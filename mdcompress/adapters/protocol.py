"""Methods that a class may have for this tool, told from methods that only share a name with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn


def method_of(module: nn.Module, name: str) -> Callable[[], Any] | None:
    """The method `name`, where it can be called without arguments; None where it means something else.

    A part or a class that a module holds under that name is no method of it.
    """
    method: Callable[[], Any] | None = getattr(module, name, None)
    if not callable(method) or isinstance(method, nn.Module | type) or not takes_nothing(method):
        return None
    return method


def takes_nothing(method: Callable[..., Any]) -> bool:
    """Whether a function can be called without arguments; False where Python cannot tell."""
    try:
        inspect.signature(method).bind()
    except (TypeError, ValueError):  # an argument is missing; a function of C without a signature
        return False
    return True
