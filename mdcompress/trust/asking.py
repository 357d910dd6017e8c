"""Consent to the code that one file names: remembered, given by --trust, by the environment, or asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from intsnn.errors import UsageError
from mdcompress.trust.names import NamedCode, place_of
from mdcompress.trust.remembering import remember, remembered

VARIABLE = "MDCOMPRESS_TRUST"


class Trust(Enum):
    """Whether the user said beforehand that the code may run."""

    ASKED_FOR = "asked for"
    GIVEN = "given"


@dataclass(frozen=True)
class FileConsent:
    """What the user agreed to of the code that `file` names.

    named: all of it. typed: what the command line names itself; that is consent. folders: where files will name it
    again, besides that of `file`: the run, which keeps the recipe. ask: puts a question to the user, None where there
    is no terminal. tell: says a line. agreed: what was agreed to in this process.
    """

    file: Path
    named: tuple[NamedCode, ...]
    typed: frozenset[NamedCode]
    folders: tuple[Path, ...]
    trust: Trust
    ask: Callable[[str], bool] | None
    tell: Callable[[str], None]
    agreed: set[NamedCode] = field(default_factory=set, compare=False, repr=False)

    def require(self, code: NamedCode) -> None:
        """UsageError where the user does not agree to run this code; all that the file names is asked for at once."""
        here = Path.cwd().resolve()
        if code in self.agreed:
            return
        if _given_by_environment(self._home, here):
            return
        if code in self.typed:
            self._agree((code,), here)
            return
        open_questions = self._not_remembered(here)
        if code not in open_questions:
            return
        if self.trust is not Trust.GIVEN and not self._says_yes(open_questions):
            raise self._refusal(open_questions)
        self._agree(open_questions, here)

    @property
    def _home(self) -> Path:
        return self.file.resolve().parent

    def _not_remembered(self, here: Path) -> tuple[NamedCode, ...]:
        known = remembered()
        return tuple(
            code
            for code in self.named
            if not code.is_own
            and code not in self.typed
            and not any(trusted.covers(code, self._home, here) for trusted in known)
        )

    def _says_yes(self, codes: tuple[NamedCode, ...]) -> bool:
        if self.ask is None:
            return False
        listed = "\n".join(f"  {line}" for line in map(_with_place, codes))
        return self.ask(
            f"{self.file} names code, which would run with your rights:\n{listed}\nLook at it before you agree. "
            f"Run it, now and whenever a file in {self._home} names it?"
        )

    def _agree(self, codes: tuple[NamedCode, ...], here: Path) -> None:
        self.agreed.update(codes)
        folders = [folder.resolve() for folder in self.folders]
        asked = [self._home] if not self.typed.issuperset(codes) else []
        try:
            remember(codes, list(dict.fromkeys([*asked, *folders])), working_folder=here)
        except OSError as error:
            self.tell(f"your consent is not remembered: {error.filename}: {error.strerror}")

    def _refusal(self, codes: tuple[NamedCode, ...]) -> UsageError:
        listed = "; ".join(map(_with_place, codes))
        elsewhere = "code is looked for in the folder where you are and on PYTHONPATH: go to the folder that holds it"
        return UsageError(
            f"{self.file} names code, and code of a file runs only where you agree: {listed}",
            hints=[
                *([] if all(map(place_of, codes)) else [elsewhere]),
                "look at it; where you trust it, add --trust, which is remembered for this folder",
                f"in scripts: set {VARIABLE} to the folders whose files you trust, here "
                f"{os.pathsep.join(map(str, dict.fromkeys([self._home, Path.cwd().resolve()])))}",
            ],
        )


def _with_place(code: NamedCode) -> str:
    place = place_of(code)
    return f"{code} ({place})" if place else f"{code} (not found)"


def _given_by_environment(*needed: Path) -> bool:
    """Whether each folder is one of those in `$MDCOMPRESS_TRUST`, or lies below one.

    The folder of the file that names, and the one where it is run from: the code is looked for in the latter.
    """
    listed = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    for folder in listed:
        if not folder.is_absolute():
            raise UsageError(
                f"{VARIABLE} must be whole paths of folders, with {os.pathsep!r} between them (got {str(folder)!r})",
                hints=[f"write {Path(folder).absolute()}, if that is what you trust"],
            )
    trusted = [folder.resolve() for folder in listed]
    return bool(trusted) and all(any(folder.is_relative_to(one) for one in trusted) for folder in needed)
