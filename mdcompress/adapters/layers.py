"""Layers of a library that hold no neuron: which of them do what torch's do, and which do not."""

from __future__ import annotations

from torch import nn

from mdcompress.adapters import shipped
from mdcompress.adapters.base import LayerClasses


def does_as_torch(module: nn.Module) -> bool:
    """Whether a subclass of one of torch's layers has a forward of torch or of a library, which does the same."""
    origin = getattr(getattr(module.forward, "__func__", None), "__module__", "")
    trusted = ("torch.nn.", *(package for classes in _all() for package in classes.packages))
    return origin.startswith(trusted) and not any(type(module).__name__ in classes.rescaled for classes in _all())


def is_library_dropout(module: nn.Module) -> bool:
    """Whether it is a library's own dropout, which is nothing in evaluation."""
    kind = type(module)
    return any(kind.__name__ in classes.dropouts and kind.__module__.startswith(classes.packages) for classes in _all())


def has_step_scales(module: nn.Module) -> bool:
    """Whether a batch norm multiplies every step by a factor of its own."""
    names = {base.__name__ for base in type(module).__mro__}
    return any(not names.isdisjoint(classes.step_scaled) for classes in _all())


def _all() -> tuple[LayerClasses, ...]:
    return tuple(library.layers for library in shipped.ADAPTERS if library.layers is not None)
