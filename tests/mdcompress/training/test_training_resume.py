"""A training that was stopped or killed goes on as if nothing had happened."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from mdcompress.cli.progress import resumed_line
from mdcompress.errors import CheckpointError, TrainingError
from mdcompress.recipe import DistillSpec, OptimizerSpec, TeacherSpec
from mdcompress.student import Student
from mdcompress.training import (
    Event,
    Resumed,
    StepRecord,
    distill,
    read_history,
    train_network,
)
from tests.support.paths import ROOT
from tests.support.training_cases import (
    FAST,
    Batch,
    Shuffled,
    StoppedError,
    assert_same_state,
    float_network,
    run,
    state_of,
)


@pytest.fixture
def student(quantized: Student) -> Student:
    return copy.deepcopy(quantized)


# ------------------------------------------------------------------ checkpoint and resume


@pytest.fixture(scope="module")
def uninterrupted(quantized: Student, teacher: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run that nobody stopped; its end state lies beside it."""
    path = tmp_path_factory.mktemp("whole") / "last"
    student = copy.deepcopy(quantized)
    run(student, teacher, path)
    save_file(state_of(student), path.with_name("end"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [1, 4, 5, 6, 9, 12])
def test_a_training_stopped_after_any_step_ends_in_the_same_bits(
    quantized: Student, teacher: nn.Module, uninterrupted: Path, tmp_path: Path, stop_at: int
) -> None:
    path = tmp_path / "last"
    with pytest.raises(StoppedError):
        run(copy.deepcopy(quantized), teacher, path, stop_at=stop_at)
    student = copy.deepcopy(quantized)
    events = run(student, teacher, path)
    resumed = events[0]
    assert isinstance(resumed, Resumed)
    assert (resumed.epoch, resumed.step) == {1: (1, 0), 4: (1, 4), 5: (1, 4), 6: (1, 4), 9: (2, 0), 12: (2, 4)}[stop_at]
    assert_same_state(student, load_file(uninterrupted.with_name("end")))
    assert read_history(path) == read_history(uninterrupted)  # seconds are not compared
    ends = load_file(path), load_file(uninterrupted)
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_resumption_with_another_number_of_threads_says_so(
    quantized: Student, teacher: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "last", torch.get_num_threads()
    with pytest.raises(StoppedError):
        run(copy.deepcopy(quantized), teacher, path, stop_at=6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now + 1)
    resumed = run(copy.deepcopy(quantized), teacher, path)[0]
    assert isinstance(resumed, Resumed) and resumed.threads == (now, now + 1)
    assert f"torch had {now} thread" in resumed_line("distill", resumed)
    assert f"and has {now + 1} now" in resumed_line("distill", resumed)


def test_resumption_with_as_many_threads_or_of_an_unknown_number_says_nothing() -> None:
    for threads in ((2, 2), (0, 4)):
        assert "thread" not in resumed_line("train", Resumed(2, 0, (), threads))


def test_planted_link_in_place_of_the_unfinished_state_is_not_followed(
    quantized: Student, teacher: nn.Module, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("untouched")
    (tmp_path / ".last.partial").symlink_to(mine)
    run(copy.deepcopy(quantized), teacher, tmp_path / "last")
    assert mine.read_text() == "untouched" and not (tmp_path / ".last.partial").exists()


def test_a_checkpoint_does_not_change_the_result(quantized: Student, teacher: nn.Module, uninterrupted: Path) -> None:
    student = copy.deepcopy(quantized)
    run(student, teacher, None)
    assert_same_state(student, load_file(uninterrupted.with_name("end")))


def test_the_interval_of_states_is_the_recipes_and_may_change_when_a_training_goes_on(
    quantized: Student, teacher: nn.Module, uninterrupted: Path, tmp_path: Path
) -> None:
    path, written = tmp_path / "last", list[tuple[int, int]]()
    student = copy.deepcopy(quantized)

    def distilled(every: int, *, stop_at: int | None = None) -> None:
        def progress(event: Event) -> None:
            if isinstance(event, StepRecord):
                assert_written(event)
            if isinstance(event, StepRecord) and (event.epoch, event.step) == (1, stop_at):
                raise StoppedError

        def assert_written(event: StepRecord) -> None:
            with safe_open(path, framework="pt") as file:
                header = json.loads(file.metadata()["mdcompress"])
            written.append((event.step, header["step"]))

        distill(
            student, teacher=teacher, train=Shuffled(), validate=Shuffled(),
            spec=DistillSpec(epochs=2, time_steps=(1, 3)), checkpoint=path, progress=progress,
            settings=FAST.model_copy(update={"checkpoint_every": every}),
        )  # fmt: skip

    with pytest.raises(StoppedError):
        distilled(2, stop_at=5)
    assert written[-1] == (5, 4) and {saved for _, saved in written} <= {0, 2, 4}
    student, written = copy.deepcopy(quantized), []
    distilled(5)
    assert written[0][0] == 5, "it went on after step 4"
    assert {saved for _, saved in written} <= {4, 5, 0}
    assert_same_state(student, load_file(uninterrupted.with_name("end")))


def test_a_finished_training_is_not_repeated(quantized: Student, teacher: nn.Module, uninterrupted: Path) -> None:
    student = copy.deepcopy(quantized)
    events = run(student, teacher, uninterrupted)
    assert len(events) == 1
    assert isinstance(events[0], Resumed)
    assert [each.epoch for each in events[0].history] == [0, 1, 2]
    assert_same_state(student, load_file(uninterrupted.with_name("end")))


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_every_optimizer_resumes_in_the_same_bits(name: str, tmp_path: Path) -> None:
    optimizer = OptimizerSpec.model_validate({"name": name, "lr": 0.01})

    def train(path: Path | None, *, stop_at: int | None = None) -> nn.Module:
        events: list[Event] = []

        def progress(event: Event) -> None:
            events.append(event)
            if len(events) == stop_at:
                raise KeyboardInterrupt

        return train_network(
            float_network(),
            train=Shuffled(),
            validate=Shuffled(),
            spec=TeacherSpec(epochs=2, optimizer=optimizer),
            checkpoint=path,
            checkpoint_every=2,
            progress=progress,
        )

    path = tmp_path / "last"
    with pytest.raises(KeyboardInterrupt):
        train(path, stop_at=10)
    assert_same_state(train(path), state_of(train(None)))


def test_a_folder_that_does_not_exist_is_an_error_before_any_step(
    student: Student, teacher: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="cannot be written") as caught:
        run(student, teacher, tmp_path / "missing" / "last", stop_at=1)
    assert "the folder must exist" in str(caught.value)


def test_an_interrupt_while_a_checkpoint_is_written_keeps_the_old_one(
    quantized: Student, teacher: nn.Module, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "last", []
    synchronise = os.fsync

    def interrupted(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise KeyboardInterrupt
        synchronise(handle)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(copy.deepcopy(quantized), teacher, path)
    assert [each.name for each in tmp_path.iterdir()] == ["last"]
    student = copy.deepcopy(quantized)
    run(student, teacher, path)
    assert_same_state(student, load_file(uninterrupted.with_name("end")))


def test_data_that_shrank_since_the_interruption_are_an_error(tmp_path: Path) -> None:
    class Shrinking(Shuffled):
        limit = 6

        def __iter__(self) -> Iterator[Batch]:
            for index, batch in enumerate(super().__iter__()):
                if index < self.limit:
                    yield batch

    def stop(event: Event) -> None:
        if isinstance(event, StepRecord) and event.step == 5:
            raise StoppedError

    data, path, spec = Shrinking(), tmp_path / "last", TeacherSpec(epochs=1)
    train = partial(train_network, train=data, validate=Shuffled(), spec=spec, checkpoint=path, checkpoint_every=2)
    with pytest.raises(StoppedError):
        train(float_network(), progress=stop)
    data.limit = 3
    with pytest.raises(TrainingError, match=r"epoch 1 must give the batches it gave before \(now 3, before 4\)"):
        train(float_network())


# ------------------------------------------------------------------ a real kill

EPOCHS = 6  # the last kill comes in the fifth at the latest
KILLABLE = """
import os, sys, copy
sys.path[:0] = {path!r}
import torch
from pathlib import Path
from safetensors.torch import save_file
torch.set_num_threads(1)
from tests.support import training_cases as tests

network = tests.float_network()   # an untrained teacher will do, and nothing has run backward before the forks
batches = list(tests.Shuffled())
quantized = tests.compress(network, batches[0][0], tests.RECIPE, batches)
print("ready", flush=True)
for line in sys.stdin:
    checkpoint, end = map(Path, line.split())
    child = os.fork()
    if child == 0:
        tests.distill(
            quantized, teacher=network, train=batches, validate=batches,
            spec=tests.DistillSpec(epochs={epochs}, time_steps=(1, 3)), settings=tests.FAST,
            checkpoint=checkpoint, checkpoint_every=4,
        )
        save_file(tests.state_of(quantized), end)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Killable:
    """A process that imports once and forks a training for each request, so that the training can be killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert self._line() == "ready", "the process did not start: its error stands above"

    def train(self, checkpoint: Path, end: Path, *, kill_in_epoch: int | None = None, after: float = 0.0) -> int:
        """Train; send SIGKILL `after` so many seconds of that epoch; the wait status."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{checkpoint} {end}\n")
        self.process.stdin.flush()
        child = int(self._line())
        if kill_in_epoch is not None:
            while not checkpoint.exists() or len(read_history(checkpoint)) < kill_in_epoch - 1:
                time.sleep(0.01)
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.mark.slow
def test_a_training_killed_twice_at_random_moments_ends_in_the_same_bits(tmp_path: Path) -> None:
    script = KILLABLE.format(epochs=EPOCHS, path=[*sys.path, str(ROOT)])
    command = [sys.executable, "-W", "ignore", "-c", script]
    seed = random.SystemRandom().randrange(2**32)
    moments, whole, path, end = random.Random(seed), tmp_path / "whole", tmp_path / "last", tmp_path / "end"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        killable, start = Killable(process), time.monotonic()
        assert killable.train(whole, tmp_path / "whole.end") == 0
        epoch_seconds = (time.monotonic() - start) / EPOCHS
        sys.stderr.write(f"kill moments from seed {seed}; an epoch takes {epoch_seconds:.2f} s\n")
        for earliest in (1, 4):
            moment = moments.randint(earliest, earliest + 1)
            after = moments.random() * epoch_seconds
            status = killable.train(path, end, kill_in_epoch=moment, after=after)
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            assert not end.exists()
        assert read_history(path) != read_history(whole)
        assert killable.train(path, end) == 0
    expected, found = load_file(tmp_path / "whole.end"), load_file(end)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert read_history(path) == read_history(whole)


def test_the_interval_of_the_settings_holds_for_a_float_network_too(tmp_path: Path) -> None:
    """Its other settings are the teacher section's own; this one is not."""
    settings = FAST.model_copy(update={"checkpoint_every": 0})
    with pytest.raises(TrainingError, match=r"checkpoint_every must be at least 1 step \(got 0\)"):
        train_network(
            float_network(), train=Shuffled(), validate=Shuffled(), spec=TeacherSpec(epochs=1), settings=settings,
            checkpoint=tmp_path / "last",
        )  # fmt: skip
