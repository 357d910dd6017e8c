"""A study in a folder, on which several processes and machines work: who evaluates which trial, and what was found.

    study.journal     Optuna's journal: a line of JSON for each operation; no pickles
    trials/7.json     what trial 7 found (outcome.py), there before the journal says that it has ended
    working/7/        locked by the process that evaluates trial 7

Trials are drawn one process at a time (`runs.lock.turn`). A trial that was drawn and whose folder nobody has locked is
that of a killed process: the next that asks for work takes it, under its number. A trial that was killed while it was
drawn has failed for good, and the next has its number. So no number is evaluated by two processes, and none is lost.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from intsnn.errors import reading
from intsnn.files import write_atomically
from mdcompress.errors import RunError
from mdcompress.runs import make_folder
from mdcompress.runs.lock import is_locked, locked, turn
from mdcompress.search.costs import Cost
from mdcompress.search.outcome import Outcome, outcome_bytes, read_outcome
from mdcompress.search.result import StartKind
from mdcompress.search.sampler import Indices, StartingSampler, distributions_of

JOURNAL_FILE, TRIALS_FOLDER, WORKING_FOLDER = "study.journal", "trials", "working"
_TURN_FILE, _NAME = ".turn", "mdcompress search"
_SETTINGS, _STARTS = "settings", "starts"


@dataclass(frozen=True)
class Start:
    """A student that is tried first, to the end. name: what it is, for people."""

    name: str
    kind: StartKind
    indices: Indices


@dataclass(frozen=True)
class Question:
    """What a study asks: all that its processes must agree on.

    sizes: parameter -> how many values it has. costs: what is kept low, besides accuracy high. seed: of all draws.
    settings: whatever else the result depends on, by name.
    """

    sizes: Mapping[str, int]
    costs: tuple[Cost, ...]
    seed: int
    settings: Mapping[str, str]

    @property
    def all_settings(self) -> dict[str, str]:
        """With what the study itself depends on."""
        own = {"parameters": dict(self.sizes), "costs": list(self.costs), "search seed": self.seed}
        return {**self.settings, **{name: json.dumps(value) for name, value in own.items()}}


@dataclass(frozen=True)
class SearchStudy:
    """An opened study."""

    folder: Path
    question: Question
    starts: tuple[Start, ...]
    study: Study

    def outcomes(self) -> dict[int, Outcome]:
        """What has been found so far, by trial."""
        ended = (number for number, one in self._trials().items() if one.state is not TrialState.RUNNING)
        return {number: read_outcome(file) for number in ended if (file := self._file(number)).is_file()}

    def running(self) -> int:
        """How many trials are being evaluated, or were by processes that were killed."""
        return sum(one.state is TrialState.RUNNING for one in self._trials().values())

    def started(self, outcomes: Mapping[int, Outcome]) -> dict[int, tuple[str, StartKind]]:
        """Name and kind of each start that has ended, by its trial."""
        found: dict[int, tuple[str, StartKind]] = {}
        for start in self.starts:
            trials = (trial for trial in sorted(outcomes) if outcomes[trial].indices == start.indices)
            found.update(dict.fromkeys(itertools.islice(trials, 1), (start.name, start.kind)))
        return found

    def work(
        self, evaluate: Callable[[Indices], Outcome], *, trials: int, tell: Callable[[int, Outcome], None]
    ) -> None:
        """Evaluate trials until the study has so many, each as it is drawn; what others are at is left to them.

        Args:
            evaluate: a student's outcome.
            trials: how many the study shall have in all.
            tell: hears of each that this process has evaluated.
        """
        while True:
            with contextlib.ExitStack() as claim:
                with self.turn():
                    number = self._claimed(trials, claim)
                if number is None:
                    return
                drawn = self._trials()[number]
                found = self._known(number, drawn.params) or evaluate(drawn.params)
                write_atomically(self._file(number), outcome_bytes(found))
                self._end(drawn, found)
            tell(number, found)

    def turn(self) -> AbstractContextManager[None]:
        """Only one process of the study is inside at a time."""
        return turn(self.folder / _TURN_FILE)

    def _trials(self) -> dict[int, FrozenTrial]:
        """All that were drawn, numbered in their order: those that a kill left undrawn have no number."""
        drawn = (one for one in self.study.get_trials(deepcopy=False) if one.state is not TrialState.FAIL)
        return dict(enumerate(drawn))

    def _claimed(self, trials: int, claim: contextlib.ExitStack) -> int | None:
        """A trial of a killed process or a new one, locked until the claim is closed; None where all are given out.

        A trial whose file somebody has deleted is evaluated again.
        """
        for number, one in self._trials().items():
            is_open = one.state is TrialState.RUNNING or not self._file(number).is_file()
            if is_open and not is_locked(self._place(number)):
                if one.params.keys() == self.question.sizes.keys():
                    claim.enter_context(self._lock(number))
                    _remove_half_written(self._file(number))
                    return number
                self.study.tell(one.number, state=TrialState.FAIL)  # it was the last: whoever draws one waits for this
        number = len(self._trials())
        if number >= trials:
            return None
        claim.enter_context(self._lock(number))
        self.study.ask(distributions_of(self.question.sizes))
        return number

    def _known(self, number: int, indices: Indices) -> Outcome | None:
        """What is known already: the result of a process that was killed before it could say so, or of a same student.

        Where all students have been tried, the estimator draws one again.
        """
        if self._file(number).is_file() and (found := read_outcome(self._file(number))).indices == indices:
            return found
        return next((one for one in self.outcomes().values() if one.indices == indices), None)

    def _end(self, drawn: FrozenTrial, found: Outcome) -> None:
        if drawn.state is not TrialState.RUNNING:
            return  # the study knows
        if not found.is_compared or found.accuracy is None:
            self.study.tell(drawn.number, state=TrialState.PRUNED)
            return
        # the least of each cost: a design has all of them at once where one cost is asked about
        least = [min(design.cost(cost) for design in found.designs) for cost in self.question.costs]
        self.study.tell(drawn.number, [found.accuracy, *least])

    @contextlib.contextmanager
    def _lock(self, number: int) -> Iterator[None]:
        with locked(self._place(number), f"mdcompress search, trial {number}"):
            yield
        with contextlib.suppress(OSError):  # gone, where no killed process has left it
            self._place(number).rmdir()

    def _place(self, number: int) -> Path:
        return self.folder / WORKING_FOLDER / str(number)

    def _file(self, number: int) -> Path:
        return self.folder / TRIALS_FOLDER / f"{number}.json"


def open_study(folder: Path, question: Question, starts: Callable[[], Sequence[Start]]) -> SearchStudy:
    """The study in a folder, made where there is none.

    Args:
        folder: of the study.
        question: what it asks; a study that is there must ask the same.
        starts: the first trials, worked out once for all processes; the others wait for it.

    Raises:
        RunError: the study asks something else.
        InvalidFileError: the journal is damaged.
    """
    make_folder(folder / TRIALS_FOLDER)
    make_folder(folder / WORKING_FOLDER)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    with turn(folder / _TURN_FILE):
        study = _opened(folder / JOURNAL_FILE, question)
        if _STARTS not in study.user_attrs:
            study.set_user_attr(_STARTS, [[start.name, start.kind, dict(start.indices)] for start in starts()])
        with reading(folder / JOURNAL_FILE, "the journal of a search"):
            first = tuple(
                Start(str(name), "uniform" if kind == "uniform" else "mixed", _within(question, indices))
                for name, kind, indices in study.user_attrs[_STARTS]
            )
    study.sampler = StartingSampler(question.sizes, [start.indices for start in first], seed=question.seed)
    return SearchStudy(folder, question, first, study)


def _opened(journal: Path, question: Question) -> Study:
    """The study of a journal, held to what it must ask."""
    with reading(journal, "the journal of a search"):
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=_JournalLock(str(journal))))
        directions = [StudyDirection.MAXIMIZE, *(StudyDirection.MINIMIZE for _ in question.costs)]
        if not optuna.get_all_study_names(storage):
            optuna.create_study(storage=storage, study_name=_NAME, directions=directions)
        study = optuna.load_study(storage=storage, study_name=_NAME)
        if _SETTINGS not in study.user_attrs:
            study.set_user_attr(_SETTINGS, question.all_settings)
        _require_same(journal, dict(study.user_attrs[_SETTINGS]), question.all_settings)
        if study.directions != directions:
            raise ValueError(f"the study must have {len(directions)} objectives (got {len(study.directions)})")
        for one in study.get_trials(deepcopy=False):
            _within(question, one.params)
    return study


def _require_same(journal: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        changes = "; ".join(
            f"`{name}` was {before.get(name, 'absent')}, now it is {now.get(name, 'absent')}" for name in names
        )
        raise RunError(
            f"{journal} is of a search that was set otherwise ({changes})",
            hints=["go on with it: give the settings it was started with", "or choose another folder with --output"],
        )


def _within(question: Question, indices: Mapping[str, int]) -> Indices:
    """The values themselves, each of a parameter of the question and in its range; a trial may lack some."""
    for name, index in indices.items():
        if not (isinstance(index, int) and 0 <= index < question.sizes[name]):
            raise ValueError(f"{name} must be one of {question.sizes[name]} values (got {index!r})")
    return dict(indices)


def _remove_half_written(file: Path) -> None:
    for path in file.parent.glob(f".{file.name}.*"):
        path.unlink(missing_ok=True)


class _JournalLock(JournalFileOpenLock):
    """Optuna's lock of the journal, as one that the operating system lets go of when its process is killed.

    Whoever has it first removes what a killed process left of a line.
    """

    def __init__(self, journal: str) -> None:
        super().__init__(journal)
        self._journal, self._turn = Path(journal), contextlib.ExitStack()

    def acquire(self) -> bool:
        """Wait for it."""
        self._turn.enter_context(turn(Path(f"{self._journal}.turn")))
        _remove_torn_line(self._journal)
        return True

    def release(self) -> None:
        """Let it go."""
        self._turn.close()


def _remove_torn_line(journal: Path) -> None:
    with journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
