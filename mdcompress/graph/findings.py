"""What was read off a network's code, where no class said it. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was read as what: the node, the place in the user's code, and in words."""

    name: str
    place: str
    words: str
