"""Results of experiments, one JSON line each, appended when a result is known: a second start goes on from there.

Several processes may append to one file: each line is written whole under a lock. A line that a kill cut off has no end
of line; it is no result, and the next append puts its own line in its place.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import platform
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mdcompress._version import __version__
from mdcompress.errors import RunError


@dataclass(frozen=True)
class Layer:
    """One neuron layer beside the teacher's on validation samples, after calibration and after training.

    mean ((v_s - v_t) / theta)^2 of potentials before reset, and spikes per neuron and step.
    """

    membrane_before: float
    membrane_after: float
    teacher_rate: float
    rate_before: float
    rate_after: float


@dataclass(frozen=True)
class Exactness:
    """What was compared with onnxruntime on so many test samples, and with the interpreter on the first of them.

    differing: batches in which student and witnesses differ. silent: neuron layers that never fired.
    """

    samples: int
    values: int
    differing: int
    silent: int


@dataclass(frozen=True)
class Result:
    """One network of one seed. Accuracies in percent, by T; `test` is read once, after `validation` chose the epoch.

    key: digest of all that decides the result. group: the recipes that share a teacher and data. setting: bits.
    changes: what differs from the recipe, as `--set` takes it. layers and exactness: of students only. test_mismatch:
    mean over the layers of the membranes' mismatch on test samples, before and after training; older results have none.
    costs: of an inference (experiment_costs.py), where they were asked for. right: which test samples a student
    answered rightly (`packed`), in newer results. plan: digest of the plan that was fixed before `test` was read.
    """

    key: str
    experiment: str
    group: str
    setting: str
    variant: str
    seed: int
    changes: tuple[str, ...]
    validation: Mapping[int, float]
    test: Mapping[int, float]
    seconds: float
    machine: str
    layers: Mapping[str, Layer] | None = None
    exactness: Exactness | None = None
    test_mismatch: tuple[float, float] | None = None
    costs: Mapping[str, float] | None = None
    right: str | None = None
    plan: str | None = None

    @property
    def accuracy(self) -> float:
        """On the test part, at the most steps."""
        return self.test[max(self.test)]

    @property
    def chosen_by(self) -> float:
        """On the validation part, at the most steps."""
        return self.validation[max(self.validation)]


_RESULT = TypeAdapter(Result)


class Store:
    """A file of results."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def results(self) -> dict[str, Result]:
        """Every result by its key, in the order they were written; of equal keys the first."""
        found: dict[str, Result] = {}
        for number, line in enumerate(self._lines(), start=1):
            try:
                result = _RESULT.validate_json(line)
            except ValidationError as error:
                raise RunError(
                    f"{self.path}:{number}: must be a result of an experiment ({error.error_count()} problems)",
                    hints=["delete the line: its experiment is then run again"],
                ) from error
            found.setdefault(result.key, result)
        return found

    def append(self, result: Result) -> None:
        """Write the result on the disk; what a killed write left at the end is replaced."""
        line = _RESULT.dump_json(result) + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
            file.seek(0)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> Iterator[bytes]:
        """The whole lines."""
        if self.path.exists():
            *whole, _cut_off = self.path.read_bytes().split(b"\n")
            yield from whole


def packed(answers: Sequence[bool]) -> str:
    """Right and wrong answers as text: `<how many>:<base64 of the deflated bits>`."""
    bits = zlib.compress(np.packbits(np.array(answers, dtype=bool)).tobytes(), level=9)
    return f"{len(answers)}:{base64.b64encode(bits).decode('ascii')}"


def unpacked(text: str) -> NDArray[np.bool_]:
    """The answers that `packed` wrote."""
    count, _, bits = text.partition(":")
    whole = np.frombuffer(zlib.decompress(base64.b64decode(bits)), dtype=np.uint8)
    return np.unpackbits(whole, count=int(count)).astype(bool)


def digest(*parts: str) -> str:
    """32 hexadecimal digits for some texts; other texts, or others in their order, give others."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


def machine(device: str) -> str:
    """What a result was measured with."""
    return (
        f"{os.cpu_count()} {platform.machine()} cores, device {device}, Python {platform.python_version()}, "
        f"torch {version('torch')}, mdcompress {__version__}"
    )


def missing(wanted: Sequence[str], found: Mapping[str, Result]) -> tuple[str, ...]:
    """The keys that have no result yet."""
    return tuple(key for key in wanted if key not in found)
