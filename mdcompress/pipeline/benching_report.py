"""Timings of engines -> the table that `bench` prints, and its JSON. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intsnn.errors import IntsnnError
from mdcompress.pipeline.report import JsonValue, table
from mdcompress.pipeline.timing import Timing, times_as_fast

FLOAT, STUDENT, ONNX, NATIVE = "float network", "student", "onnxruntime", "native"


@dataclass(frozen=True)
class Measured:
    """What `bench` found.

    additions: weights added for one sample. timings: (batch, threads) -> engine -> seconds of a batch. missing: engine
    -> why it is not there. notes: what else a user should hear.
    """

    model: str
    samples: int
    time_steps: int
    additions: float
    timings: Mapping[tuple[int, int], Mapping[str, Timing]]
    missing: Mapping[str, str]
    machine: Mapping[str, str | int | float]
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        """The engine that the others are held against: the float network, or onnxruntime where there is none."""
        engines = next(iter(self.timings.values()))
        return FLOAT if FLOAT in engines else ONNX

    @property
    def base_in_words(self) -> str:
        """The base as a table's head has it; of several memory formats the faster one is meant."""
        formats = sum(name.startswith(FLOAT) for name in next(iter(self.timings.values())))
        return {0: ONNX, 1: f"the {FLOAT}"}.get(formats, f"the faster {FLOAT}")

    def fastest_base(self, engines: Mapping[str, Timing]) -> Timing:
        """The faster of the float network's memory formats; else the base itself."""
        return min((found for name, found in engines.items() if name.startswith(self.base)), key=lambda one: one.median)


def said_in_a_line(error: IntsnnError) -> str:
    """An error's message and hints: `there is none (got 3); hint: do this; do that`."""
    hints = f"hint: {'; '.join(error.hints)}" if error.hints else ""
    return " ".join("; ".join(filter(None, [error.message, hints])).split())


def bench_text(measured: Measured) -> str:
    """A headline, the table, and which engines are not there."""
    figures = ["ms a sample", "quartiles", "samples/s", "10^9 additions/s"]
    against = f"times as fast as {measured.base_in_words}"
    numbers = ["batch", "threads", *figures, against]
    rows = [
        [str(batch), str(threads), name, *_cells(measured, timing, batch), str(times_as_fast(timing, base))]
        for (batch, threads), engines in measured.timings.items()
        for base in [measured.fastest_base(engines)]
        for name, timing in engines.items()
    ]
    parts = [_headline(measured), table(["batch", "threads", "engine", *figures, against], rows, numbers=numbers)]
    if measured.missing:
        parts.append("\n".join(f"- {name} is not there: {reason}" for name, reason in measured.missing.items()))
    if measured.notes:
        parts.append("\n".join(f"- {note}" for note in measured.notes))
    return "\n\n".join(parts)


def _headline(measured: Measured) -> str:
    machine = measured.machine
    return (
        f"{measured.model}: {measured.samples} samples x {measured.time_steps} steps, {measured.additions:,.0f} "
        f"synaptic additions a sample; integer answers equal\n"
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}; medians of rounds taken in turn"
    )


def _cells(measured: Measured, timing: Timing, batch: int) -> list[str]:
    low, high = (1000 * each / batch for each in timing.spread)
    seconds = timing.median / batch
    return [
        f"{1000 * seconds:.4g}",
        f"{low:.4g} to {high:.4g}",
        f"{1 / seconds:,.0f}" if seconds < 0.1 else f"{1 / seconds:.3g}",
        f"{measured.additions / seconds / 1e9:.3g}",
    ]


def bench_document(measured: Measured) -> JsonValue:
    """Every round's seconds, and what the table says."""
    return {
        "model": measured.model,
        "samples": measured.samples,
        "time_steps": measured.time_steps,
        "synaptic_additions_per_sample": measured.additions,
        "equal": True,
        "against": measured.base,
        "machine": dict(measured.machine),
        "missing": dict(measured.missing),
        "notes": list(measured.notes),
        "timings": [
            _timing(measured, name, timing, batch=batch, threads=threads, base=measured.fastest_base(engines))
            for (batch, threads), engines in measured.timings.items()
            for name, timing in engines.items()
        ],
    }


def _timing(measured: Measured, name: str, timing: Timing, *, batch: int, threads: int, base: Timing) -> JsonValue:
    per_sample, ratio = timing.median / batch, times_as_fast(timing, base)
    return {
        "engine": name,
        "batch": batch,
        "threads": threads,
        "seconds_per_batch": list(timing.seconds),
        "milliseconds_per_sample": 1000 * per_sample,
        "samples_per_second": 1 / per_sample,
        "synaptic_additions_per_second": measured.additions / per_sample,
        "times_as_fast": {"median": ratio.median, "low": ratio.low, "high": ratio.high},
    }
