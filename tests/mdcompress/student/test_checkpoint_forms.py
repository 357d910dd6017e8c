"""Files of weights as people have them: every form is read as its row says, or refused in its words; nothing runs."""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import pathlib
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mdcompress.errors import CheckpointError
from mdcompress.student.torch_files import Inert, read_torch
from mdcompress.student.weights import load_weights
from tests.support.checkpoint_forms import PAGE, READ, REFUSED, Form, Runs, network, page, state


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("form", READ, ids=lambda form: form.holds)
def test_what_fits_is_read_and_said(form: Form, tmp_path: Path) -> None:
    trained, fresh = network(1), network(3)
    form.save(trained, tmp_path / form.file)
    loaded = load_weights(fresh, tmp_path / form.file)
    expected = state(network().half().float()) if "half" in form.holds else state(trained)
    assert equal(state(fresh), expected)
    assert str(loaded) == form.says


@pytest.mark.parametrize("form", REFUSED, ids=lambda form: form.holds)
def test_what_does_not_fit_or_would_run_is_refused_in_words(form: Form, tmp_path: Path) -> None:
    fresh = network(3)
    before = {name: tensor.clone() for name, tensor in state(fresh).items()}
    form.save(network(1), tmp_path / form.file)
    with pytest.raises(CheckpointError) as caught:
        load_weights(fresh, tmp_path / form.file)
    assert form.says in caught.value.message and str(tmp_path / form.file) in caught.value.message
    assert caught.value.hints and equal(state(fresh), before)


def test_the_page_has_the_forms_of_this_table() -> None:
    """python -m tests.support.checkpoint_forms."""
    assert len(READ) + len(REFUSED) >= 25
    assert PAGE.read_text("utf-8") == page()


# --- nothing runs ----------------------------------------------------------------------------------------------------


def parameter_with(attribute: object) -> nn.Parameter:
    found = nn.Parameter(torch.zeros(1))
    found.attribute = attribute  # type: ignore[attr-defined]  # what torch.save keeps of a parameter
    return found


PLACES: dict[str, Callable[[object], object]] = {
    "value": lambda evil: {"state_dict": state(network()), "epoch": evil},
    "key": lambda evil: {evil: 1},
    "alone": lambda evil: evil,
    "in the state dict": lambda evil: {**state(network()), "evil": evil},
    "list": lambda evil: [torch.zeros(1), [evil]],
    "tuple": lambda evil: {"a": (1, (evil,))},
    "set": lambda evil: {"a": {evil}},
    "attribute of arguments": lambda evil: {"args": argparse.Namespace(a=evil)},
    "attribute of a parameter": lambda evil: parameter_with(evil),
    "default factory's value": lambda evil: collections.defaultdict(list, {"a": evil}),
    "object array": lambda evil: {"a": np.array([evil], dtype=object)},
    "argument of a harmless class": lambda evil: {"a": Runs(pathlib.PurePosixPath, evil)},
    "argument of a tensor": lambda evil: {"a": Runs(torch.Size, evil)},
}


def writes(function: str, marker: Path) -> Runs:
    """A pickled call that leaves a file behind where it runs."""
    match function:
        case "os.system":
            return Runs(os.system, f"touch {marker}")
        case "eval":
            return Runs(eval, f"open({str(marker)!r}, 'w').close()")
        case "exec":
            return Runs(exec, f"open({str(marker)!r}, 'w').close()")
        case "open":
            return Runs(os.open, str(marker), os.O_CREAT)
        case "subprocess":
            return Runs(subprocess.check_call, ["touch", str(marker)])
        case _:
            return Runs(Path(marker).touch)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("function", ["os.system", "eval", "exec", "open", "subprocess", "touch"])
@pytest.mark.parametrize("form", ["zip", "legacy", "plain 2", "plain 5"])
def test_a_call_never_runs_wherever_it_stands(place: str, function: str, form: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    content = PLACES[place](writes(function, marker))
    if form.startswith("plain"):
        path.write_bytes(pickle.dumps(content, protocol=int(form[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError) as caught:
        load_weights(network(), path)
    named = {"os.system": "posix.system", "eval": "builtins.eval", "exec": "builtins.exec", "open": "posix.open",
             "subprocess": "subprocess.check_call", "touch": "builtins.getattr"}  # fmt: skip
    assert named[function] in caught.value.message
    assert not marker.exists()


def test_the_calls_of_these_tests_would_run(tmp_path: Path) -> None:
    for number, function in enumerate(["os.system", "eval", "exec", "open", "subprocess", "touch"]):
        marker = tmp_path / str(number)
        pickle.loads(pickle.dumps(writes(function, marker)))
        assert marker.exists()


def with_pickle(content: bytes, data: bytes) -> bytes:
    """A file of torch.save with other bytes for its pickle."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, data if name.endswith("data.pkl") else old.read(name))
    return written.getvalue()


@pytest.mark.parametrize("seed", range(40))
def test_bytes_changed_anywhere_are_read_or_refused_and_run_nothing(seed: int, tmp_path: Path) -> None:
    marker, path, draw = tmp_path / "ran", tmp_path / "odd.pt", random.Random(seed)
    content: dict[str, object] = {"state_dict": state(network()), "args": argparse.Namespace(T=4)}
    if seed % 2:
        content["evil"] = writes("os.system", marker)
    stream = io.BytesIO()
    torch.save(content, stream)
    with zipfile.ZipFile(stream) as archive:
        data = bytearray(archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl"))))
    for _ in range(5):
        changed = bytearray(data)
        for _ in range(draw.choice([1, 3, 10])):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(with_pickle(stream.getvalue(), bytes(changed)))
        with contextlib.suppress(CheckpointError):
            load_weights(network(), path)
        assert not marker.exists()


@pytest.mark.parametrize(
    "instructions",
    [
        b"cargparse\nNamespace\n}X\x05\x00\x00\x00__init__cposix\nsystem\ns\x86b.",
        b"cargparse\nNamespace\n)\x81}X\x0c\x00\x00\x00__setstate__cposix\nsystem\nsb.",
        b"cargparse\nNamespace.__init__\n)R.",
        b"cnumpy\nload\nX\x01\x00\x00\x00a\x85R.",
        b"cnumpy.core.multiarray\nfromfile\nX\x01\x00\x00\x00a\x85R.",
        b"ccollections\nnamedtuple\n)R.",
        b"cbuiltins\ngetattr\ncargparse\nNamespace\nX\x08\x00\x00\x00__init__\x86R.",
        b"cpathlib\nos.system\n)R.",
    ],
)
def test_no_way_leads_from_a_harmless_name_to_code(instructions: bytes, tmp_path: Path) -> None:
    stream, path = io.BytesIO(), tmp_path / "odd.pt"
    torch.save({"a": torch.zeros(1)}, stream)
    path.write_bytes(with_pickle(stream.getvalue(), b"\x80\x02" + instructions))
    with pytest.raises(CheckpointError):
        read_torch(path)


def test_objects_beside_tensors_are_neither_imported_nor_kept(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"args": argparse.Namespace(secret=1), "acc": np.float64(0.5), "w": torch.zeros(2)}, tmp_path / "a.pt")
    instructions = b"\x80\x02comegaconf.dictconfig\nDictConfig\n)\x81}X\x01\x00\x00\x00a\x4b\x01sb."
    (tmp_path / "b.pt").write_bytes(with_pickle((tmp_path / "a.pt").read_bytes(), instructions))
    found, config = read_torch(tmp_path / "a.pt"), read_torch(tmp_path / "b.pt")
    assert isinstance(found, dict) and isinstance(found["args"], Inert) and isinstance(found["acc"], Inert)
    assert not isinstance(found["args"], argparse.Namespace) and vars(found["args"]) == {}
    assert isinstance(config, Inert) and "omegaconf" not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == before
