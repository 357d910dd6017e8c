"""Damaged and hostile files of every format that a command reads: each must give a clear error, or what it gave whole.

    python -m benchmarks fuzz --count 300 --seed 0

A process of its own reads each file, with 10 s and 1 GiB of memory more than it had before. Counted are tracebacks,
hangs, crashes, files that need more memory, and silent changes: another meaning without a word, of formats with a
digest of ours. Refused files are unforeseen where only the last resort of a reader saw it. `--only NAME` takes one
format; `--keep FOLDER` writes each file that was counted there. Exit code 1: any.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.fuzz_formats import FORMATS, Format
from benchmarks.fuzz_mutations import mutated
from benchmarks.fuzz_process import serve

SECONDS = 10.0  # of one file
STARTING = 300.0  # seconds that a process may take to import torch and read the whole file
COLUMNS = ("refused", "unforeseen", "same", "other", "traceback", "hang", "crash", "memory", "silent")
FAULTS = COLUMNS[4:]
_SHOWN = 3  # faults of each format that are printed


@dataclass
class Tally:
    """What became of the mutations of one format, and the first of its faults in words."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)


# ------------------------------------------------------------------ in the process that asks


def _start(name: str, folder: str) -> tuple[multiprocessing.process.BaseProcess, Connection, bytes]:
    context = multiprocessing.get_context("spawn")  # a fork of threads would hang
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(name, folder, theirs), daemon=True)
    process.start()
    theirs.close()
    if not ours.poll(STARTING):
        process.kill()
        raise RuntimeError(f"{name}: the whole file must be read within {STARTING:g} s")
    content: bytes = ours.recv()
    return process, ours, content


def _campaign(found: Format, *, count: int, seed: int, keep: Path | None) -> Tally:
    """Mutate one format so often; a process that hangs or crashes is replaced."""
    tally = Tally(found.name)
    with tempfile.TemporaryDirectory() as folder:
        process, pipe, whole = _start(found.name, folder)
        for number in range(count):
            key = f"{seed}/{found.name}/{number}"
            content = mutated(whole, found.container, key=key)
            kind, words = _asked(pipe, content)
            tally.counts[kind] += 1
            if kind in FAULTS:
                tally.faults[f"{kind} {key}"] = words
                _kept(keep, found, number, content)
            if kind in ("hang", "crash"):
                process.kill()
                process.join()
                process, pipe, whole = _start(found.name, folder)
        with contextlib.suppress(OSError):
            pipe.send(None)
        process.join(SECONDS)
        process.kill()
    sys.stderr.write(f"{found.name}: {dict(tally.counts)}\n")
    return tally


def _asked(pipe: Connection, content: bytes) -> tuple[str, str]:
    try:
        pipe.send(content)
        if not pipe.poll(SECONDS):
            return "hang", f"no answer within {SECONDS:g} s"
        answer: tuple[str, str] = pipe.recv()
    except (EOFError, OSError) as error:
        return "crash", repr(error)
    return answer


def _kept(folder: Path | None, found: Format, number: int, content: bytes) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}-{found.file}").write_bytes(content)


# ------------------------------------------------------------------ in words


def table(tallies: list[Tally], *, count: int, seconds: float) -> str:
    """One row a format, then the first faults."""
    lines = ["| format | mutations | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for one in tallies:
        cells = [one.name, str(one.counts.total()), *(str(one.counts[column]) for column in COLUMNS)]
        lines.append("| " + " | ".join(cells) + " |")
    total = sum(one.counts.total() for one in tallies)
    faults = sum(one.counts[fault] for one in tallies for fault in FAULTS)
    lines.append(f"\n{total:,} files of {len(tallies)} formats, {count} each, in {seconds:.0f} s: {faults} faults")
    for one in tallies:
        lines += [f"\n{place}\n{words.rstrip()}" for place, words in list(one.faults.items())[:_SHOWN]]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="mutations of each format (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default 0)")
    parser.add_argument("--only", action="append", choices=[one.name for one in FORMATS], help="a format; repeatable")
    parser.add_argument("--jobs", type=int, default=2, help="formats at a time (default 2)")
    parser.add_argument("--keep", type=Path, help="folder for the files that were counted as faults")
    given = parser.parse_args()
    chosen = [one for one in FORMATS if given.only is None or one.name in given.only]
    started = time.perf_counter()
    with ThreadPoolExecutor(given.jobs) as pool:
        tallies = list(
            pool.map(lambda one: _campaign(one, count=given.count, seed=given.seed, keep=given.keep), chosen)
        )
    sys.stdout.write(table(tallies, count=given.count, seconds=time.perf_counter() - started))
    return 1 if any(one.faults for one in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
