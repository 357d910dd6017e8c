"""Follows a command for people: one bar over all its stages on a terminal, lines elsewhere; all on stderr.

Where lines are written, there is one at least every ten seconds.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from mdcompress.cli.console import Console, OutputFormat, on_terminal
from mdcompress.pipeline.report import percent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from mdcompress.training.history import EpochRecord, Event, Progress, Resumed, StepRecord, Stopped

QUIET_SECONDS = 10.0  # after so many without a line, one says what is going on
_TICK_SECONDS = 0.5
_SHOWN: list[Bars] = []  # on stderr now
_KNOWN_SHARE = 0.02  # of the job, before a time that is left is guessed from it


@dataclass
class Job:
    """What a command is doing, and how far it is.

    parts: stage -> its share of the work, in any unit. done: stage -> how far it is, from 0 to 1. doing: in words; that
    and `stage` are what comes before the first stage says more.
    """

    parts: Mapping[str, float]
    done: dict[str, float] = field(default_factory=dict)
    stage: str = "starting"
    doing: str = ""
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float:
        """How much of the work is done, from 0 to 1."""
        whole = sum(self.parts.values())
        return sum(weight * self.done.get(name, 0.0) for name, weight in self.parts.items()) / whole if whole else 0.0

    def left(self, now: float) -> str:
        """`about 1.3 min left`, as the work went so far; empty while too little is done to tell."""
        if self.share < _KNOWN_SHARE:
            return ""
        seconds = (now - self.started) * (1 - self.share) / self.share
        return f"about {f'{seconds:.0f} s' if seconds < 60 else f'{seconds / 60:.1f} min'} left"

    def line(self, now: float) -> str:
        """`distill, epoch 3/10: 62 % of all stages after 40 s, about 25 s left`."""
        words = ", ".join(filter(None, [self.stage, self.doing]))
        whole = f"{percent(self.share, 0)} of all stages after " if len(self.parts) > 1 else ""
        left = f", {self.left(now)}" if self.left(now) else ""
        return f"{words}: {whole}{now - self.started:.0f} s{'' if whole else ' so far'}{left}"


@dataclass(frozen=True)
class ConsoleListener:
    """Tells a console what a command is doing."""

    console: Console
    _jobs: list[Job] = field(default_factory=list, compare=False, repr=False)  # the one that is under way

    def note(self, message: str) -> None:
        """A line about what is going on."""
        self.console.note(message)
        for job in self._jobs:
            job.said = time.monotonic()

    def doing(self, what: str) -> None:
        """What the stage is at now, in a few words."""
        for job in self._jobs:
            job.doing = what

    @contextlib.contextmanager
    def job(self, parts: Mapping[str, float]) -> Iterator[None]:
        """Follow several stages as one job; `parts`: stage -> its share of the work, in any unit."""
        if self._jobs or self.console.form is OutputFormat.PATHS:
            yield
            return
        job = Job(parts)
        self._jobs.append(job)
        try:
            with _bar(job) if on_terminal() else self._heartbeat(job):
                yield
        finally:
            self._jobs.remove(job)

    @contextlib.contextmanager
    def stage(self, title: str, doing: str) -> Iterator[None]:
        """Follow one stage, of the job that is under way or alone; `doing`: what it begins with, in a few words."""
        with self.job({title: 1.0}):
            for job in self._jobs:
                job.stage, job.doing = title, doing
            yield
            for job in self._jobs:
                job.done[title] = 1.0

    @contextlib.contextmanager
    def training(self, title: str) -> Iterator[Progress]:
        """Follow a training called `title`."""
        with self.stage(title, "first batches"):
            yield _Lines(self, title)

    def advance(self, title: str, event: StepRecord) -> None:
        """A step of a training is done."""
        for job in self._jobs:
            job.done[title] = ((event.epoch - 1) + event.step / event.steps) / event.epochs
            job.doing = f"epoch {event.epoch}/{event.epochs}, loss {event.loss:.4f}"

    @contextlib.contextmanager
    def _heartbeat(self, job: Job) -> Iterator[None]:
        """Say what is going on whenever nothing was said for a while."""

        def tick() -> None:
            now = time.monotonic()
            if now - job.said >= QUIET_SECONDS:
                self.note(job.line(now))

        with _ticking(tick):
            yield


@dataclass(frozen=True)
class _Lines:
    """A line an epoch; steps move the bar alone."""

    listener: ConsoleListener
    title: str

    def __call__(self, event: Event) -> None:
        from mdcompress.training.history import EpochRecord, Resumed, StepRecord, Stopped

        match event:
            case Resumed():
                self.listener.note(resumed_line(self.title, event))
            case EpochRecord():
                self.listener.note(epoch_line(self.title, event))
            case Stopped():
                self.listener.note(stopped_line(self.title, event))
            case StepRecord():
                self.listener.advance(self.title, event)
            case _:
                assert_never(event)


def resumed_line(title: str, event: Resumed) -> str:
    """`distill: going on with epoch 3, after step 12, …`; without the step where the epoch had not begun.

    Where torch has another number of threads than before, that is said too.
    """
    within = f", after step {event.step}" if event.step else ""
    before, now = event.threads
    threads = (
        f"; torch had {before} thread{'s' if before > 1 else ''} and has {now} now, with which the last bits of the "
        f"result differ (to keep them: OMP_NUM_THREADS={before})"
    )
    otherwise = threads if before not in (0, now) else ""
    return f"{title}: going on with epoch {event.epoch}{within}, from the state of an interrupted run{otherwise}"


def stopped_line(title: str, event: Stopped) -> str:
    """`distill: stopped after epoch 7, none was better than epoch 4`."""
    best = f"epoch {event.best}" if event.best else "the network as it came"
    return f"{title}: stopped after epoch {event.epoch}, none was better than {best}"


def epoch_line(title: str, record: EpochRecord) -> str:
    """`distill 3/10  loss 0.4120 (task 0.2100, logits 0.1500)  train 95.10 %  validation 96.20 %  2.1 s`.

    Epoch 0, the network as it came, has a validation alone. Of a student the sum of the trained losses and the
    spikes per neuron and step stand behind it: `distill 0/10  validation 95.80 %, loss 0.3912, spike rate 20.10 %`.
    """
    parts = [f"{name} {loss:.4f}" for name, loss in record.losses.items() if name != "total" and "/" not in name]
    details = f" ({', '.join(parts)})" if parts else ""
    several = [f"T={score.time_steps} {percent(score.accuracy)}" for score in record.validation]
    per_length = f" ({', '.join(several)})" if len(several) > 1 else ""
    total = record.validation_total
    lost = "" if total is None else f", loss {total:.4f}"
    lost += "" if record.validation_rate is None else f", spike rate {percent(record.validation_rate)}"
    scored = f"validation {percent(record.validation_accuracy)}{per_length}{lost}"
    if record.train_accuracy is None:
        return f"{title} {record.epoch}/{record.epochs}  {scored}"
    return (
        f"{title} {record.epoch}/{record.epochs}  loss {record.losses['total']:.4f}{details}"
        f"  train {percent(record.train_accuracy)}  {scored}  {record.seconds:.1f} s"
    )


@contextlib.contextmanager
def _bar(job: Job) -> Iterator[None]:
    """One bar over the whole job, with the time that is left."""
    with _bars() as bars, _shown(bars):
        task = bars.add_task("", total=1.0, left="")

        def tick() -> None:
            words = ", ".join(filter(None, [job.stage, job.doing]))
            bars.update(task, description=words, completed=job.share, left=job.left(time.monotonic()))

        tick()
        with _ticking(tick):
            yield


@contextlib.contextmanager
def _shown(bars: Bars) -> Iterator[None]:
    """Inside, `without_bars` knows of them."""
    _SHOWN.append(bars)
    try:
        yield
    finally:
        _SHOWN.remove(bars)


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Inside, no bar is drawn: it holds back what has no end of line, as a question, and would be drawn over it."""
    for bars in _SHOWN:
        bars.stop()
    try:
        yield
    finally:
        for bars in _SHOWN:
            bars.start()


@contextlib.contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` twice a second from a thread of its own, until the end."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(_TICK_SECONDS):
            tick()

    thread = threading.Thread(target=work, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _bars() -> Bars:
    """Bars on stderr that vanish when the work is over; colours follow NO_COLOR (rich honours it)."""
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
    )
    return Progress(*columns, console=RichConsole(stderr=True), transient=True, redirect_stdout=False)
