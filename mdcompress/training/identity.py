"""What makes a training this one: settings and networks -> named texts that a checkpoint is compared by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from pydantic import BaseModel
from torch import nn

from mdcompress.recipe import TrainSpec
from mdcompress.recipe.keys import keys_not_read_by
from mdcompress.runs.manifest import Stage


def spec_items(prefix: str, spec: BaseModel) -> dict[str, str]:
    """Each setting as `prefix.key.path` -> its text, so that an error can name the one that differs."""
    return _flattened(prefix, spec.model_dump(mode="json"))


def training_items(settings: TrainSpec) -> dict[str, str]:
    """The recipe's `train` section likewise: what decides where a training ends.

    A training that repeats says nothing of it, as those of earlier versions did not.
    """
    left_out = {*keys_not_read_by(TrainSpec, Stage.DISTILL), *(["deterministic"] if settings.deterministic else [])}
    return {
        name: text
        for name, text in spec_items("train", settings).items()
        if name.removeprefix("train.").partition(".")[0] not in left_out
    }


def structure_digest(network: nn.Module) -> str:
    """A short hash of the names, shapes and types of a network's tensors."""
    state = network.state_dict()
    return _digest("\n".join(f"{name} {tensor.dtype} {list(tensor.shape)}" for name, tensor in state.items()).encode())


def value_digest(network: nn.Module) -> str:
    """A short hash of the values too."""
    hashed = hashlib.sha256(structure_digest(network).encode())
    for tensor in network.state_dict().values():
        hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()[:16]


def text_digest(text: str) -> str:
    """A short hash of a text."""
    return _digest(text.encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _flattened(prefix: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {prefix: str(value)}
    items: dict[str, str] = {}
    for key, inner in value.items():
        items |= _flattened(f"{prefix}.{key}", inner)
    return items
