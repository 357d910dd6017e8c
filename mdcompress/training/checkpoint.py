"""A training's state -> one safetensors file and back, so that a killed training goes on where it was.

Tensors `model/<name>`, `best/<name>`, `average/<name>`, `optimizer/<number>/<name>`; everything else is JSON text in
the file's metadata. Nothing in it is pickled, so a file can be read without running code from it. Random generators
have no state in it: theirs follows from (seed, epoch, step), see `determinism`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from mdcompress.errors import CheckpointError
from mdcompress.training.history import EpochRecord

FORMAT = "mdcompress.training/1"

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
    its weights; empty where none is kept.
    """

    epoch: int
    step: int
    tally: Tally
    history: tuple[EpochRecord, ...]
    model: Tensors
    best: Tensors
    optimizer: Tensors
    average: Tensors


@dataclass(frozen=True)
class _Header:
    format: str
    identity: dict[str, str]
    epoch: int
    step: int
    tally: Tally
    history: tuple[EpochRecord, ...]


def write_checkpoint(path: Path, state: TrainingState, *, identity: Identity) -> None:
    """Replace `path` by the state. The old file stays whole until the new one is on the disk (fsync, then rename).

    Args:
        path: the file; its folder must exist.
        state: what to keep.
        identity: what the training is, item by item (network, recipe, seed …); compared when it is resumed.
    """
    header = _Header(FORMAT, dict(identity), state.epoch, state.step, state.tally, state.history)
    parts = {"model": state.model, "best": state.best, "optimizer": state.optimizer, "average": state.average}
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous().clone()  # a clone: tied weights share memory
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    metadata = {"mdcompress": json.dumps(dataclasses.asdict(header))}
    _write_durably(path, safetensors.torch.save(tensors, metadata))


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
    )


def read_history(path: Path) -> tuple[EpochRecord, ...]:
    """The finished epochs that a checkpoint knows of, those before an interruption among them."""
    return _read(path)[0].history


def _read(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    foreign = ["a checkpoint is a .safetensors file that this training wrote; give another path, or move the file away"]
    try:
        content = path.read_bytes()  # in one go: a training that still runs may put another file in its place
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} must be a whole safetensors file ({error})", hints=foreign) from error
    try:
        header = TypeAdapter(_Header).validate_python(json.loads(_metadata(content).get("mdcompress", "")))
    except (ValidationError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is a safetensors file, but no checkpoint of a training", hints=foreign
        ) from error
    if header.format != FORMAT:
        raise CheckpointError(
            f"{path} must have the format {FORMAT} (got {header.format})",
            hints=["resume with the version that wrote it, or move the file away to start anew"],
        )
    return header, tensors


def _metadata(content: bytes) -> dict[str, str]:
    """The texts in a safetensors file: 8 bytes of length, little-endian, then a JSON header of that length."""
    length = int.from_bytes(content[:8], "little")
    texts: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return texts


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
            with temporary.open("wb") as file:
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
            f"{path} cannot be written ({error.strerror or error})",
            hints=["the folder must exist, be writable and have room"],
        ) from error
