"""A name of code, `module:function`, and where its module would come from. Nothing is imported to find that out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

OWN_MODULE = "mdcompress.zoo"  # the networks that recipes may name without a question: they do nothing but build


@dataclass(frozen=True)
class NamedCode:
    """`name`, as `module:function`, and the key that holds it: `model.builder`, `data.name`, …"""

    key: str
    name: str

    @property
    def module(self) -> str:
        """The module's import path."""
        return self.name.partition(":")[0]

    @property
    def function(self) -> str:
        """The name in it."""
        return self.name.partition(":")[2]

    @property
    def is_own(self) -> bool:
        """Whether it is a network that comes with mdcompress."""
        return f"{self.module}.".startswith(f"{OWN_MODULE}.")

    def __str__(self) -> str:
        return f"{self.key}: {self.name}"


def place_of(code: NamedCode) -> str | None:
    """The file or folder that Python would look into first; None where there is none.

    It is that of the outermost package: to look for one inside would run the package.
    """
    outermost = code.module.partition(".")[0]
    spec = PathFinder.find_spec(outermost, [*sys.path, str(Path.cwd())])
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)
