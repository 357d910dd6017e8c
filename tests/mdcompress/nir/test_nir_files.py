"""NIR files that ask for more than they hold, or for what stands elsewhere: refused before anything is expanded."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mdcompress as md
from intsnn.errors import InvalidFileError
from mdcompress.errors import TraceError

nir = pytest.importorskip("nir")
h5py = importlib.import_module("h5py")

WEIGHT = "node/nodes/linear/weight"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    neuron = nir.LIF(tau=np.full(3, 2.0), r=np.ones(3), v_leak=np.zeros(3), v_threshold=np.ones(3))
    md.write_nir(nir.NIRGraph.from_list(nir.Linear(np.eye(3)), neuron), tmp_path / "network.nir")
    with h5py.File(tmp_path / "network.nir", "r+") as file:
        file.copy(WEIGHT, "kept")
        del file[WEIGHT]
    return tmp_path / "network.nir"


def _unwritten(file: Any) -> None:
    file.create_dataset(WEIGHT, shape=(1 << 16, 1 << 16), dtype="f8", chunks=(1024, 1024))


def _packed(file: Any) -> None:
    file.create_dataset(WEIGHT, data=np.zeros((1 << 12, 1 << 10)), compression="gzip")
    for number in range(8):
        file[f"node/again{number}"] = file[WEIGHT]


def _soft_link(file: Any) -> None:
    file[WEIGHT] = h5py.SoftLink("/kept")


def _external_link(file: Any) -> None:
    file[WEIGHT] = h5py.ExternalLink("other.nir", "/kept")


def _external_values(file: Any) -> None:
    file.create_dataset(WEIGHT, shape=(3, 3), dtype="f8", external=[("/etc/hostname", 0, 72)])


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(3, 3), dtype="f8")
    layout[:] = h5py.VirtualSource("other.nir", "kept", shape=(3, 3))
    file.create_virtual_dataset(WEIGHT, layout)


def _circle(file: Any) -> None:
    file["node/self"] = file["node"]


def _many(file: Any) -> None:
    inner = file["node"].create_group("many")
    for number in range(60):
        inner[f"x{number}"] = file["kept"]
    for number in range(60):
        file[f"node/y{number}"] = inner


@pytest.mark.parametrize("size", [0, 8, 1 << 40])
def test_heap_of_texts_that_leads_nowhere_is_an_error_and_no_hang(path: Path, size: int) -> None:
    """The object of the free rest, of which HDF5 takes the size as the way to the next one."""
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL")
    end, at = start + int.from_bytes(content[start + 8 : start + 16], "little"), start + 16
    while content[at]:
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    assert int.from_bytes(content[at + 8 : at + 16], "little") == end - at
    content[at + 8 : at + 16] = size.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(InvalidFileError, match="its texts must be whole"):
        md.from_nir(path, None, dt=0.5, reset="hard", comparator="greater", discretization="euler")


def test_layer_that_cannot_take_what_it_reads_is_named() -> None:
    neuron = nir.LIF(tau=np.full(3, 2.0), r=np.ones(3), v_leak=np.zeros(3), v_threshold=np.ones(3))
    graph = nir.NIRGraph.from_list(nir.Linear(np.eye(3)), neuron)
    network = md.from_nir(graph, None, dt=0.5, reset="hard", comparator="greater", discretization="euler")
    said = r"NIR node 'linear' \(Linear\) cannot become integers: it must take what it reads, \[2, 1, 4\]"
    with pytest.raises(TraceError, match=said):
        network(torch.ones(2, 1, 4))
    assert network(torch.ones(2, 1, 3)).shape == (2, 1, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_unwritten, r"34,359,738,368 bytes are declared, and not written"),
        (_packed, r"at most 268,435,456 bytes"),
        (_soft_link, r"must be in the file \(it is a link\)"),
        (_external_link, r"must be in the file \(it is a link\)"),
        (_external_values, r"its values are in another one"),
        (_virtual, r"its values are in another one"),
        (_circle, r"at most 32 in each other"),
        (_many, r"at most 1,000 arrays and groups"),
    ],
)
def test_file_that_asks_for_more_than_it_holds_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], said: str
) -> None:
    monkeypatch.setattr("mdcompress.nir.files.MOST_OBJECTS", 1000)
    with h5py.File(path, "r+") as file:
        change(file)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InvalidFileError, match=said):
        md.from_nir(path, None, dt=0.5, reset="hard", comparator="greater", discretization="euler")
