"""Kills every command after each of its file operations, and at random moments; then the same command must go on.

A very small run (8 x 8 digits, a dense network, one epoch). Each command is killed by SIGKILL after its first file
operation, after its second, and so on; then it is given again. It must not be refused, the files must be those of a run
that nobody disturbed, byte for byte, and nothing else may be left. What tells the time is not compared: `seconds` and
`finished` in run.json, the column `seconds` of histories, when and how long on the page of a run (and the hashes of
these files), TensorBoard's logs.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.file_operations import Operations, kill_self

RECIPE = """\
schema: mdcompress.recipe/1
name: tiny
model: {builder: "tiny_network:build"}
teacher: {epochs: 1, optimizer: {lr: 0.02}}
distill: {epochs: 1}
data: {name: digits, time_steps: 2, batch_size: 256, calibration_samples: 64}
"""
NETWORK = """\
from torch import nn
from mdcompress.zoo import LIF

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.neuron = nn.Linear(64, 16), LIF(tau=2.0)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.neuron(self.hidden(x.flatten(2)))).mean(0)

def build():
    return Tiny()
"""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OF_TIME = ("seconds", "finished")  # keys of run.json that differ from run to run
HISTORIES = ("teacher_history.csv", "history.csv")
PAGE = "report.html"
TIMES_OF_PAGE = re.compile(r'(data-column="(?:took|finished)"[^>]*>|<dt>finished</dt><dd>)[^<]*')
HARDWARE = ("--hardware", "rram_64x64_65nm")

_IMPORTED = (  # by commands; imported once, before processes are forked
    "brevitas.nn", "matplotlib.backends.backend_agg", "matplotlib.figure", "mdcompress.cli", "mdcompress.nir",
    "mdcompress.pipeline.sensitivity", "mdcompress.pipeline.whole", "mdcompress.training.pictures", "nir", "onnx",
    "onnxruntime", "sklearn.datasets", "torch.utils.tensorboard", "intsnn.native", "intsnn.exploration.plot",
    "mdcompress.pipeline.searching", "mdcompress.search.study", "mdcompress.search.plot",
    "mdcompress.bits.sensitivity", "mdcompress.training.distillation", "mdcompress.calibration",
)  # fmt: skip

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Case:
    """A command, and those that come before it."""

    name: str
    command: str
    before: tuple[str, ...] = ()


TRAIN, QUANTIZE, DISTILL, EXPORT = "train --recipe tiny.yaml", "quantize", "distill", "export --samples 8"
STUDENT = (TRAIN, QUANTIZE, DISTILL)
MODEL = (*STUDENT, EXPORT)
CASES = (
    Case("train", TRAIN),
    Case("quantize", QUANTIZE, (TRAIN,)),
    Case("distill", DISTILL, (TRAIN, QUANTIZE)),
    Case("export", EXPORT, STUDENT),
    Case("export c", f"{EXPORT} --format c", STUDENT),
    Case("export nir", f"{EXPORT} --format nir", STUDENT),
    Case("export again, without the C before", f"{EXPORT} --force", (*STUDENT, f"{EXPORT} --format c")),
    Case("estimate-hw", "estimate-hw", MODEL),
    Case("estimate-hw elsewhere", "estimate-hw --output figures", MODEL),
    Case("explore", "explore --crossbar 32,64 --output designs", MODEL),
    Case("analog", "analog --chips 1 --noise 1 --samples 4", MODEL),
    Case("sensitivity", "sensitivity --bits 2,4 --membrane-bits 4 --samples 16 --budget 3 --output bits", (TRAIN,)),
    Case(
        "search",
        "search --bits 2,4 --membrane-bits 4 --steps 1,2 --crossbar 32,64 --starts uniform --trials 3 --samples 16 "
        "--first 8 --loss 90",
        (TRAIN,),
    ),
    Case("run", "run --recipe tiny.yaml"),
)


@dataclass
class Tally:
    """What was found of one case."""

    kills: int = 0
    finished: int = 0  # killed when all was done and nothing was left to remove
    refusals: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def figures(self) -> tuple[int, ...]:
        """How often."""
        return (self.kills, len(self.refusals), len(self.differences), len(self.left), self.finished)


class Laboratory:
    """Prepares folders, and runs commands in processes that are forked from this one, which has imported all."""

    def __init__(self, root: Path) -> None:
        self.root, self.work = root, root / "work"
        self._kept: dict[tuple[str, ...], Path] = {}
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        os.environ["MDCOMPRESS_TRUST"] = str(root)  # its recipe names its own network
        for name in _IMPORTED:
            importlib.import_module(name)

    def begin(self, commands: tuple[str, ...], threads: int = 1) -> None:
        """Make the work folder what it is after these commands."""
        shutil.rmtree(self.work, ignore_errors=True)
        if (*commands, str(threads)) not in self._kept:
            self._prepare(commands, threads)
            kept = self.root / f"kept{len(self._kept)}"
            shutil.copytree(self.work, kept, symlinks=True)
            self._kept[*commands, str(threads)] = kept
            shutil.rmtree(self.work)
        shutil.copytree(self._kept[*commands, str(threads)], self.work, symlinks=True)

    def _prepare(self, commands: tuple[str, ...], threads: int) -> None:
        if commands:
            self.begin(commands[:-1], threads)
            code, said = self.finish(self.start(commands[-1], threads))
            if code:
                raise SystemExit(f"{commands[-1]}: {said}")
        else:
            self.work.mkdir()
            (self.work / "tiny.yaml").write_text(RECIPE)
            (self.work / "tiny_network.py").write_text(NETWORK)

    def start(self, command: str, threads: int = 1, *, last: int | None = None) -> int:
        """Fork a process that performs a command; `last`: the file operation after which it kills itself."""
        child = os.fork()
        if child == 0:
            _perform(command, self.work, self.root / "said", threads, last)
        return child

    def finish(self, child: int) -> tuple[int, str]:
        """Its exit code (negative: the signal), and what it said."""
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), (self.root / "said").read_text()

    def operations(self) -> int:
        """How many file operations the last command did that came to its end."""
        return int((self.root / "said.count").read_text())

    def files(self) -> Files:
        """All in the work folder that is to be the same every time, and empty folders."""
        found = {}
        for path in sorted(self.work.rglob("*")):
            name = path.relative_to(self.work).as_posix()
            if "__pycache__" in name or "/tensorboard" in name:
                continue
            if path.is_file():
                found[name] = _without_time(path)
            elif not any(path.iterdir()):
                found[f"{name}/"] = b""
        return found


def _perform(command: str, folder: Path, said: Path, threads: int, last: int | None) -> None:
    """In a process of its own: do it, and exit."""
    code = 1
    try:
        os.chdir(folder)
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        import torch

        from mdcompress.cli import main

        torch.set_num_threads(threads)
        sys.path.insert(0, str(folder))
        with Operations(folder, last=last, end=kill_self) as operations:
            try:
                main(command.split(), prog_name="mdcompress")
            except SystemExit as end:
                code = int(end.code or 0)
        said.with_suffix(".count").write_text(str(operations.count))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _without_time(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name == "study.journal":
        return b""  # who wrote it, and when
    if path.name in HISTORIES:
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        return json.dumps([{name: row[name] for name in row if name not in OF_TIME} for row in rows]).encode()
    if path.name == "run.json":
        document = json.loads(content)
        for record in document["stages"].values():
            for name in OF_TIME:
                record.pop(name)
            for name in (*HISTORIES, PAGE):
                record["outputs"].pop(name, None)
        return json.dumps(document).encode()
    if path.name == PAGE:
        return TIMES_OF_PAGE.sub(r"\1", content.decode()).encode()
    return content


def after_each_operation(laboratory: Laboratory, case: Case, *, every: int) -> Tally:
    """Kill the command after each of its file operations (`every` of them), and give it again."""
    laboratory.begin(case.before)
    code, said = laboratory.finish(laboratory.start(case.command))
    if code:
        raise SystemExit(f"{case.name} fails where nobody disturbs it: {said}")
    expected, operations, tally = laboratory.files(), laboratory.operations(), Tally()
    for last in range(1, operations + 1, every):
        laboratory.begin(case.before)
        code, _ = laboratory.finish(laboratory.start(case.command, last=last))
        if code == -signal.SIGKILL:
            _go_on(laboratory, case, expected, tally, f"{case.name}, after operation {last} of {operations}")
    return tally


def at_random(laboratory: Laboratory, cases: Sequence[Case], count: int, seed: int) -> Mapping[str, Tally]:
    """End commands at random moments with a random signal, with one thread and with two, and give them again."""
    draw, tallies = random.Random(seed), {case.name: Tally() for case in cases}
    known: dict[tuple[str, int], tuple[Files, float]] = {}
    while sum(tally.kills for tally in tallies.values()) < count:
        case, threads, number = draw.choice(cases), draw.choice((1, 2)), draw.choice(SIGNALS)
        if (case.name, threads) not in known:
            laboratory.begin(case.before, threads)
            started = time.monotonic()
            laboratory.finish(laboratory.start(case.command, threads))
            known[case.name, threads] = laboratory.files(), time.monotonic() - started
        expected, seconds = known[case.name, threads]
        moment = draw.random()
        laboratory.begin(case.before, threads)
        child = laboratory.start(case.command, threads)
        time.sleep(moment * seconds)
        os.kill(child, number)
        code, _ = laboratory.finish(child)
        if code != 0:  # else it was faster than the signal
            what = f"{case.name}, {number.name} at {moment:.3f} of {seconds:.1f} s, {threads} threads"
            _go_on(laboratory, case, expected, tallies[case.name], what, threads=threads)
            sys.stderr.write(f"{sum(tally.kills for tally in tallies.values())} of {count}: {what}\n")
    return tallies


def _go_on(laboratory: Laboratory, case: Case, expected: Files, tally: Tally, what: str, *, threads: int = 1) -> None:
    """Give the command again, and compare."""
    tally.kills += 1
    was_finished = laboratory.files() == expected
    code, said = laboratory.finish(laboratory.start(case.command, threads))
    if code and was_finished and "must not hold such results yet" in said:
        tally.finished += 1
    elif code:
        tally.refusals.append(f"{what}: {said.strip().splitlines()[-1:]}")
    found = laboratory.files()
    if more := sorted(found.keys() - expected.keys()):
        tally.left.append(f"{what}: {', '.join(more)}")
    if differing := [name for name in expected if found.get(name) != expected[name]]:
        tally.differences.append(f"{what}: {', '.join(differing)}")


def table(title: str, tallies: Mapping[str, Tally]) -> str:
    """A row a command, and all that was found wrong below."""
    columns = ("kills", "refused", "other bytes", "leftovers", "killed after its end")
    figures = {name: each.figures for name, each in tallies.items()}
    figures["all"] = tuple(map(sum, zip(*figures.values(), strict=True)))
    rows = [f"| {' | '.join([name, *map(str, counts)])} |" for name, counts in figures.items()]
    wrong = [line for each in tallies.values() for line in (*each.refusals, *each.differences, *each.left)]
    head = [title, "", f"| command | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    return "\n".join([*head, *rows, "", *wrong])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--random", type=int, default=300, help="how many signals at random moments")
    parser.add_argument("--every", type=int, default=1, help="kill after every so many operations; 0: none of these")
    parser.add_argument("--command", action="append", help="only this one; may be repeated")
    chosen = parser.parse_args(arguments)
    cases = [case for case in CASES if chosen.command is None or case.name in chosen.command]
    tallies: dict[str, Tally] = {}
    random_ones: Mapping[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="mdcompress-kills-") as folder:
        laboratory = Laboratory(Path(folder))
        for case in cases if chosen.every else ():
            tallies[case.name] = after_each_operation(laboratory, case, every=chosen.every)
            sys.stderr.write(f"{case.name}: {tallies[case.name]}\n")
        if chosen.random:
            random_ones = at_random(laboratory, cases, chosen.random, chosen.seed)
    if tallies:
        print(table("SIGKILL after each file operation", tallies))
    if random_ones:
        print(table(f"SIGKILL, SIGTERM, SIGINT at random moments, 1 and 2 threads, seed {chosen.seed}", random_ones))
    found = [*tallies.values(), *random_ones.values()]
    return int(any(each.refusals or each.differences or each.left for each in found))


if __name__ == "__main__":
    sys.exit(main())
