"""Whether code that was named may be imported and run."""

from __future__ import annotations

from typing import Protocol

from intsnn.errors import UsageError
from mdcompress.trust.names import NamedCode


class Consent(Protocol):
    """Knows what the user agreed to."""

    def require(self, code: NamedCode) -> None:
        """UsageError unless this code may be imported and run."""
        ...


class _Given:
    """The program that calls has chosen the code."""

    def require(self, code: NamedCode) -> None:
        """Everything may run."""


class _Refused:
    """Nobody was asked."""

    def require(self, code: NamedCode) -> None:
        """UsageError: nothing may run."""
        raise UsageError(
            f"{code} is code to be run, and this program has not said that it may be",
            hints=[
                "look at it; where you trust it, pass consent=mdcompress.trust.GIVEN",
                "or import and call it yourself",
            ],
        )


GIVEN: Consent = _Given()
REFUSED: Consent = _Refused()
