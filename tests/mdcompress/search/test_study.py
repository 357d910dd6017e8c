"""A study that processes share: what is drawn, who evaluates it, and what a kill leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from optuna.study import Study

from intsnn.errors import InvalidFileError
from mdcompress.errors import RunError
from mdcompress.search import study as study_room
from mdcompress.search.outcome import Outcome, outcome_bytes
from mdcompress.search.sampler import StartingSampler
from mdcompress.search.study import open_study
from tests.support.command_line import environment
from tests.support.paths import ROOT
from tests.support.search_cases import STARTS, TRIALS, evaluated, opened, question, work


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Outcome]:
    return work(tmp_path_factory.mktemp("undisturbed"))


def process(folder: Path, log: Path, *, die_at: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.search_cases", str(folder), str(log), str(die_at or "")]
    return subprocess.Popen(command, cwd=ROOT, env=environment())


def test_starts_come_first_and_no_student_twice(undisturbed: dict[int, Outcome]) -> None:
    assert list(undisturbed) == list(range(TRIALS))
    assert [undisturbed[number].indices for number in (0, 1)] == [start.indices for start in STARTS]
    students = [tuple(sorted(one.indices.items())) for one in undisturbed.values()]
    assert len(set(students)) == TRIALS
    assert any(not one.is_compared for one in undisturbed.values()), "the least student is hopeless"


def test_every_other_student_is_a_step_from_one_that_no_other_dominates(undisturbed: dict[int, Outcome]) -> None:
    def dominated(one: Outcome, others: list[Outcome]) -> bool:
        right, energy = one.accuracy or 0.0, one.designs[0].energy_pj
        costs = [((other.accuracy or 0.0), other.designs[0].energy_pj) for other in others]
        return any(r >= right and e <= energy and (r, e) != (right, energy) for r, e in costs)

    for number in range(4, TRIALS, 2):
        before = [undisturbed[one] for one in range(number) if undisturbed[one].is_compared]
        front = [one.indices for one in before if not dominated(one, before)]
        drawn = undisturbed[number].indices
        moves = [[abs(drawn[name] - one[name]) for name in drawn] for one in front]
        assert any(sorted(move) == [0, 0, 1] for move in moves), number


def test_a_seed_decides_what_is_drawn(undisturbed: dict[int, Outcome], tmp_path: Path) -> None:
    assert work(tmp_path / "same") == undisturbed
    assert work(tmp_path / "other", seed=1) != undisturbed


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(undisturbed: dict[int, Outcome], tmp_path: Path) -> None:
    folder, log = tmp_path / "study", tmp_path / "log"
    assert process(folder, log, die_at=6).wait(60) == -9
    before = {path.name: path.read_bytes() for path in (folder / "trials").iterdir()}
    assert len(before) == 5 and opened(folder).running() == 1
    assert work(folder) == undisturbed
    assert {name: (folder / "trials" / name).read_bytes() for name in before} == before
    assert not list((folder / "working").iterdir())


class KilledError(BaseException):
    """What ends a process at a place of the test's choice: as with a kill, its locks are let go and nothing is told."""


@pytest.mark.parametrize("place", ["drawing", "choosing", "evaluating", "writing", "telling"])
def test_wherever_it_is_killed_nothing_is_lost(
    place: str, undisturbed: dict[int, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 5

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    def counted(indices: Mapping[str, int]) -> Outcome:
        nonlocal left
        left -= 1
        if not left:
            targets = {
                "writing": (study_room, "write_atomically"),
                "telling": (Study, "tell"),
            }
            if place in targets:
                monkeypatch.setattr(*targets[place], killed)
            if place == "evaluating":
                raise KilledError
        if left == 1 and place == "drawing":
            monkeypatch.setattr(StartingSampler, "before_trial", killed)
        if left == 1 and place == "choosing":
            monkeypatch.setattr(StartingSampler, "sample_relative", killed)
        return evaluated(indices)

    study = opened(tmp_path)
    with pytest.raises(KilledError):
        study.work(counted, trials=TRIALS, tell=lambda number, found: None)
    monkeypatch.undo()
    assert work(tmp_path) == undisturbed
    assert not list((tmp_path / "working").iterdir()) and not list((tmp_path / "trials").glob(".*"))


def test_two_processes_evaluate_every_trial_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "study", tmp_path / "log"
    workers = [process(folder, log) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    found = opened(folder).outcomes()
    assert list(found) == list(range(TRIALS)) and opened(folder).running() == 0
    evaluations = log.read_text().splitlines()
    assert len(evaluations) == len(set(evaluations)) == TRIALS


def test_what_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    outer, inner = opened(tmp_path), opened(tmp_path)
    seen: list[int] = []

    def at_once(indices: Mapping[str, int]) -> Outcome:
        """While a trial is evaluated another process works until nothing is left."""
        if not seen:
            inner.work(evaluated, trials=4, tell=lambda number, found: seen.append(number))
        return evaluated(indices)

    told: list[int] = []
    outer.work(at_once, trials=4, tell=lambda number, found: told.append(number))
    assert (told, seen) == ([0], [1, 2, 3])


def test_a_torn_line_of_the_journal_is_removed(undisturbed: dict[int, Outcome], tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.work(evaluated, trials=4, tell=lambda number, found: None)
    with (tmp_path / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code":6,"worker_id":"')
    assert work(tmp_path) == undisturbed


def test_where_all_students_are_tried_none_is_evaluated_again(tmp_path: Path) -> None:
    everything = {"weight a": 2, "weight b": 2, "time_steps": 2}
    evaluations: list[Mapping[str, int]] = []

    def counted(indices: Mapping[str, int]) -> Outcome:
        evaluations.append(indices)
        return evaluated(indices)

    study = open_study(tmp_path, question(sizes=everything), lambda: ())
    study.work(counted, trials=10, tell=lambda number, found: None)
    assert len(study.outcomes()) == 10 and len(evaluations) == 8


def test_a_study_that_asks_something_else_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(RunError, match=r"`network` was a formula, now it is another.*") as caught:
        opened(tmp_path, network="another")
    assert "--output" in str(caught.value)
    with pytest.raises(RunError, match="`search seed` was 0, now it is 1"):
        opened(tmp_path, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"op_code":4', b'"op_code":"four"'),
        (b'"param_name":"weight a"', b'"param_name":"weight z"'),
        (b'"param_value_internal":3', b'"param_value_internal":9'),
        (b"{", b"no json {"),
    ],
)
def test_a_journal_that_no_search_wrote_is_refused(before: bytes, after: bytes, tmp_path: Path) -> None:
    work(tmp_path)
    journal = tmp_path / "study.journal"
    text = journal.read_bytes()
    assert before in text
    journal.write_bytes(text.replace(before, after, 1))
    with pytest.raises(InvalidFileError, match=r"study\.journal"):
        opened(tmp_path)


def test_a_trial_whose_file_is_damaged_is_named(tmp_path: Path) -> None:
    found = work(tmp_path)
    (tmp_path / "trials" / "3.json").write_bytes(
        outcome_bytes(found[3]).replace(b'"samples": 100', b'"samples": "100"')
    )
    with pytest.raises(InvalidFileError, match=r"3\.json") as caught:
        opened(tmp_path).outcomes()
    assert "samples" in str(caught.value) and "delete it" in str(caught.value)
    (tmp_path / "trials" / "3.json").unlink()
    assert work(tmp_path) == found
