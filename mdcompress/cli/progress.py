"""Follows a training for people: a bar on a terminal, a line an epoch elsewhere; all on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from mdcompress.cli.console import Console, OutputFormat, on_terminal
from mdcompress.pipeline.report import percent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from mdcompress.training.history import EpochRecord, Event, Progress, Resumed, Stopped


@dataclass(frozen=True)
class ConsoleListener:
    """Tells a console what a stage is doing."""

    console: Console

    def note(self, message: str) -> None:
        """A line about what is going on."""
        self.console.note(message)

    @contextlib.contextmanager
    def training(self, title: str) -> Iterator[Progress]:
        """Follow a training called `title`."""
        if on_terminal() and self.console.form is not OutputFormat.PATHS:
            with _bars() as bars:
                yield _Bar(self.console, title, bars)
        else:
            yield _Lines(self.console, title)


@dataclass(frozen=True)
class _Lines:
    """A line an epoch."""

    console: Console
    title: str

    def __call__(self, event: Event) -> None:
        from mdcompress.training.history import EpochRecord, Resumed, StepRecord, Stopped

        match event:
            case Resumed():
                self.console.note(resumed_line(self.title, event))
            case EpochRecord():
                self.console.note(epoch_line(self.title, event))
            case Stopped():
                self.console.note(stopped_line(self.title, event))
            case StepRecord():
                pass  # a log is not redrawn
            case _:
                assert_never(event)


class _Bar:
    """One bar over the steps of the running epoch, and a line for each that is done."""

    def __init__(self, console: Console, title: str, bars: Bars) -> None:
        self._lines, self._title, self._bars = _Lines(console, title), title, bars
        self._task = bars.add_task(title, total=None)

    def __call__(self, event: Event) -> None:
        from mdcompress.training.history import StepRecord

        if isinstance(event, StepRecord):
            words = f"{self._title} {event.epoch}/{event.epochs}  loss {event.loss:.4f}"
            self._bars.update(self._task, description=words, completed=event.step, total=event.steps)
        else:
            self._lines(event)


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


def _bars() -> Bars:
    """Bars on stderr that vanish when the training is over; colours follow NO_COLOR (rich honours it)."""
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=RichConsole(stderr=True), transient=True, redirect_stdout=False)
