"""A neuron class as a user makes it, for the page that shows what is supported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Sample:
    """A class at an import path; `arguments` is what stands in the brackets, `given` may hold a sample."""

    module: str
    name: str
    arguments: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> nn.Module:
        """The neuron, in evaluation mode."""
        given = {name: value.make() if isinstance(value, Sample) else value for name, value in self.given.items()}
        made: nn.Module = getattr(importlib.import_module(self.module), self.name)(**given)
        return made.eval()


def sample(module: str, name: str, **given: object) -> Sample:
    """A sample whose arguments read as they are given."""
    return Sample(module, name, ", ".join(f"{key}={value!r}" for key, value in given.items()), given)
