"""A folder of the user's own for results, which no run records."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mdcompress.errors import RunError
from mdcompress.runs.commit import committed, discard, held
from mdcompress.runs.writing import make_folder


class Overwrite(Enum):
    """Whether a stage may replace the files it wrote before."""

    NEVER = "never"
    REPLACE = "replace"


@dataclass(frozen=True)
class Destination:
    """A folder for results, and whether those in it may be replaced.

    held_as: what `held_destination` calls the results of its command while it works.
    """

    folder: Path
    overwrite: Overwrite
    held_as: str | None = None

    def require_free(self, *names: str) -> None:
        """RunError where files of these names are there and may not be replaced."""
        found = [name for name in names if (self.folder / name).exists()]
        if found and self.overwrite is Overwrite.NEVER:
            raise RunError(
                f"{self.folder} must not hold such results yet (found {', '.join(found)})",
                hints=["choose another folder, or add --force to replace them"],
            )

    @contextlib.contextmanager
    def writing(self, what: str) -> Iterator[Path]:
        """A folder to write results into, under their final names; all of them go into the destination, or none.

        Args:
            what: is written, for errors: `the table of designs`.
        """
        make_folder(self.folder)
        name = self.held_as or "result"
        with committed(self.folder, name, what=what) as staging:
            yield staging
        if self.held_as is None:
            discard(self.folder, name)


@contextlib.contextmanager
def held_destination(folder: Path, overwrite: Overwrite, command: str) -> Iterator[Destination]:
    """The folder, kept from other commands until the end; what an interrupted command left in it is finished.

    The results of this very command, where it was killed before its end, may be replaced: it goes on by doing it again.
    """
    digest = hashlib.sha256(command.encode()).hexdigest()[:8]
    with held(folder, command, name=digest) as was_interrupted:
        yield Destination(folder, Overwrite.REPLACE if was_interrupted else overwrite, digest)
