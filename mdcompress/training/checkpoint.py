"""A training's state -> one safetensors file and back, so that a killed training goes on where it was.

Tensors `model/<name>`, `best/<name>`, `average/<name>`, `optimizer/<number>/<name>`; everything else is JSON text in
the file's metadata, beside a SHA-256 of the whole file. Nothing in it is pickled, so a file can be read without running
code from it. Random generators have no state in it: theirs follows from (seed, epoch, step), see `determinism`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from intsnn.errors import reading
from mdcompress.errors import CheckpointError
from mdcompress.training.history import EpochRecord

FORMAT = "mdcompress.training/3"  # 1 had no digest; in 2 zeros stood for it, as they may in a row of answers
_NO_DIGEST = "SHA-256 of this file, with these words in its place".ljust(64, ".")  # what nothing else in it says

Tensors = Mapping[str, Tensor]
Identity = Mapping[str, str]


@dataclass(frozen=True)
class Tally:
    """Sums over the samples of an unfinished epoch; a sample counts once for each T it was trained at."""

    losses: Mapping[str, float]
    correct: int
    samples: int
    seconds: float


EMPTY_TALLY = Tally({}, 0, 0, 0.0)


@dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on after `step` of `epoch` (both from 1; step 0: the epoch has not begun).

    `best`: the network at the best epoch so far; empty before the first is scored. `average`: the moving average of
    its weights; empty where none is kept. `threads`: how many torch had; 0 where an earlier version wrote the state.
    """

    epoch: int
    step: int
    tally: Tally
    history: tuple[EpochRecord, ...]
    model: Tensors
    best: Tensors
    optimizer: Tensors
    average: Tensors
    threads: int = 0


@dataclass(frozen=True)
class _Header:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    format: str
    identity: dict[str, str]
    epoch: int
    step: int
    tally: Tally
    history: tuple[EpochRecord, ...]
    threads: int = 0


def write_checkpoint(path: Path, state: TrainingState, *, identity: Identity) -> None:
    """Replace `path` by the state. The old file stays whole until the new one is on the disk (fsync, then rename).

    Args:
        path: the file; its folder must exist.
        state: what to keep.
        identity: what the training is, item by item (network, recipe, seed …); compared when it is resumed.
    """
    header = _Header(FORMAT, dict(identity), state.epoch, state.step, state.tally, state.history, state.threads)
    parts = {"model": state.model, "best": state.best, "optimizer": state.optimizer, "average": state.average}
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous().clone()  # a clone: tied weights share memory
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    metadata = {"mdcompress": json.dumps(dataclasses.asdict(header)), "digest": _NO_DIGEST}
    content = safetensors.torch.save(tensors, metadata)
    _write_durably(path, content.replace(_NO_DIGEST.encode(), _digest(content).encode(), 1))


def read_checkpoint(path: Path, *, identity: Identity) -> TrainingState:
    """The state in `path`; CheckpointError where it is no checkpoint, or one of another training. Changes nothing."""
    header, tensors = _read(path)
    _require_same(path, header.identity, identity)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    return TrainingState(
        epoch=header.epoch,
        step=header.step,
        tally=header.tally,
        history=header.history,
        model=part("model/"),
        best=part("best/"),
        optimizer=part("optimizer/"),
        average=part("average/"),
        threads=header.threads,
    )


def read_history(path: Path) -> tuple[EpochRecord, ...]:
    """The finished epochs that a checkpoint knows of, those before an interruption among them."""
    return _read(path)[0].history


def _read(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    with reading(path, "the state of a training"):
        return _checked(path)


def _checked(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    try:
        content = path.read_bytes()  # in one go: a training that still runs may put another file in its place
        tensors = safetensors.torch.load(content)
    except Exception as error:  # an OSError, or what safetensors and torch raise for bytes that they did not write
        raise CheckpointError(f"{path} must be a whole safetensors file ({error})", hints=_FOREIGN) from error
    texts = _metadata(content)
    header = _header(path, texts.get("mdcompress", ""))
    found, expected = _digest(content, texts.get("digest", "")), texts.get("digest")
    if found != expected:
        raise CheckpointError(
            f"{path} must be as the training wrote it, by the digest in it (it was changed, or is damaged)",
            hints=["take a copy from before, or move the file away to start anew"],
        )
    return header, tensors


_FOREIGN = ["a checkpoint is a .safetensors file that this training wrote; give another path, or move the file away"]


def _header(path: Path, text: str) -> _Header:
    """Everything but the tensors. The format comes first: the rest may look otherwise in another one."""
    with contextlib.suppress(ValueError, RecursionError):
        about = json.loads(text)
        if isinstance(about, dict) and isinstance(about.get("format"), str) and about["format"] != FORMAT:
            raise CheckpointError(
                f"{path} must have the format {FORMAT} (got {about['format']})",
                hints=["resume with the version that wrote it, or move the file away to start anew"],
            )
    try:
        return TypeAdapter(_Header).validate_json(text)
    except ValidationError as error:
        raise CheckpointError(
            f"{path} is a safetensors file, but no checkpoint of a training", hints=_FOREIGN
        ) from error


def _metadata(content: bytes) -> dict[str, str]:
    """The texts in a safetensors file: 8 bytes of length, little-endian, then a JSON header of that length."""
    length = int.from_bytes(content[:8], "little")
    texts: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    return texts


def _digest(content: bytes, written: str = _NO_DIGEST) -> str:
    """SHA-256 of a file's bytes, with the words of `_NO_DIGEST` where the digest itself is `written`."""
    return hashlib.sha256(content.replace(written.encode(), _NO_DIGEST.encode(), 1) if written else content).hexdigest()


def _require_same(path: Path, found: Identity, wanted: Identity) -> None:
    differing = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    if differing:
        seen = "; ".join(f"{name}: it has {found.get(name)}, this one {wanted.get(name)}" for name in differing)
        raise CheckpointError(
            f"{path} is the checkpoint of another training ({seen})",
            hints=["resume it with what it was started with", "or move the file away to start anew"],
        )


def _write_durably(path: Path, content: bytes) -> None:
    """Temporary file, fsync, rename. The name is fixed: what a kill leaves behind, the next write replaces."""
    temporary = path.with_name(f".{path.name}.partial")
    with _explained(path):
        try:
            temporary.unlink(missing_ok=True)
            with temporary.open("xb") as file:  # never through a link that somebody put there
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{path}: the state of the training cannot be written ({error.strerror or error})",
            hints=[
                "the folder must exist, be writable and have room",
                "the state that was saved before is whole: the same command goes on from there",
            ],
        ) from error
