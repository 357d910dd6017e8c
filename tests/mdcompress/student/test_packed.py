"""A student's file with packed weights: bytes by hand, equal integers for every kind of weight, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import CheckpointError
from mdcompress.student.weights import PACKED_FORMAT, holds_student, load_student, load_weights, save_student
from mdcompress.zoo import LIF

X = 2 * torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))
NAME = "layers.0.layer.weight"
KINDS = [
    {"bit_width": bits, **more}
    for bits in (1, 1.58, 2, 3, 4, 5, 8)
    for more in ({}, {"granularity": "per_tensor"}, {"scale": "power_of_two"}, {"range": "learned"})
] + [{"bit_width": 4, "narrow_range": False}, {"bit_width": 4, "range": "max"}]


def made(weight: dict[str, object]) -> md.Student:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 7), LIF(threshold=0.3), nn.Linear(7, 3)).eval()
    recipe = md.Recipe.model_validate(
        {"name": "r", "quantize": {"weight": weight}, "calibrate": {"weights": "nearest"}}
    )
    return md.compress(network, X, recipe, [X])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_student(made({"bit_width": 3}), tmp_path / "student.safetensors", weights="packed")
    return tmp_path / "student.safetensors"


@pytest.mark.parametrize("weight", KINDS, ids=str)
def test_the_integers_come_back_equal(weight: dict[str, object], tmp_path: Path) -> None:
    student, path = made(weight), tmp_path / "student.safetensors"
    save_student(student, path, weights="packed")
    again = load_student(path)
    assert md.lower(again) == md.lower(student)
    stored = load_file(path)
    bits = math.ceil(float(str(weight["bit_width"])))
    if NAME not in stored or weight.get("range") != "max":
        assert stored[f"{NAME}.packed"].shape == (math.ceil(42 * bits / 8),)
    save_student(again, tmp_path / "again.safetensors", weights="packed")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_bytes_are_those_of_the_page(file: Path) -> None:
    """Three bits, -3..3: q + 3, the first in the lowest bits."""
    student = load_student(file)
    layer = student.synapse("0").layer
    integers = (layer.weight / layer.quant_weight().scale).round().flatten().tolist()
    number = sum((int(value) + 3) << 3 * place for place, value in enumerate(integers))
    expected = number.to_bytes(math.ceil(42 * 3 / 8), "little")
    assert bytes(load_file(file)[f"{NAME}.packed"].tolist()) == expected and set(integers) >= {-3, 0, 3}
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata()["format"] == PACKED_FORMAT


def test_it_is_a_student_for_every_reader(file: Path) -> None:
    assert holds_student(file)
    with pytest.raises(CheckpointError, match=r"found a student, mdcompress\.student\.packed/1"):
        load_weights(nn.Linear(6, 7), file)


def longer(tensors: dict[str, Tensor]) -> None:
    tensors[f"{NAME}.packed"] = torch.cat([tensors[f"{NAME}.packed"], torch.zeros(1, dtype=torch.uint8)])


def of_another_type(tensors: dict[str, Tensor]) -> None:
    tensors[f"{NAME}.packed"] = tensors[f"{NAME}.packed"].to(torch.int16)


def beyond_the_levels(tensors: dict[str, Tensor]) -> None:
    tensors[f"{NAME}.packed"][0] = 0b111  # the eighth level of seven


def behind_the_last(tensors: dict[str, Tensor]) -> None:
    tensors[f"{NAME}.packed"][-1] |= 0b1000_0000  # 126 of 128 bits


def of_no_layer(tensors: dict[str, Tensor]) -> None:
    tensors["layers.9.layer.weight.packed"] = tensors[f"{NAME}.packed"].clone()


def missing(tensors: dict[str, Tensor]) -> None:
    del tensors[f"{NAME}.packed"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (longer, "must be 16 bytes for 42 weights of 3 bits"),
        (of_another_type, "must be 16 bytes for 42 weights of 3 bits"),
        (beyond_the_levels, "must hold integers of 7 levels"),
        (behind_the_last, "and zeros behind them"),
        (of_no_layer, "is of no layer"),
        (missing, f"missing: {NAME}"),
    ],
)
def test_damaged_weights_are_refused(spoil: Callable[[dict[str, Tensor]], None], says: str, file: Path) -> None:
    tensors = load_file(file)
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    spoil(tensors)
    save_file(tensors, file, metadata=metadata)
    with pytest.raises(CheckpointError, match=says):
        load_student(file)
