"""Networks by import path: each part of it that can be wrong is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from intsnn.errors import UsageError
from mdcompress.trust import GIVEN
from mdcompress.zoo.builders import build_network

MODULE = """\
import torch
from torch import nn

NUMBER = 3

class Net(nn.Module):
    pass

def make(width=2, *, bias=True):
    return nn.Linear(width, 2, bias=bias)

def needs(width):
    return nn.Linear(width, 2)

def number():
    return 3

made = Net()

def fails():
    raise RuntimeError("no data here")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_network.py").write_text(MODULE)
    (tmp_path / "broken_network.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("own_network", "broken_network"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_shipped_networks_are_built_by_name() -> None:
    assert isinstance(build_network("mdcompress.zoo:digits_snn"), nn.Module)


@pytest.mark.parametrize("name", ["make", "Net"])
def test_a_file_in_the_current_folder_is_found(folder: Path, name: str) -> None:
    assert isinstance(build_network(f"own_network:{name}", consent=GIVEN), nn.Module)
    build_network(f"own_network:{name}", consent=GIVEN)
    assert sys.path.count(str(folder)) == 1


def test_code_of_ones_own_runs_only_where_the_program_says_so(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"model\.builder: own_network:make is code to be run"):
        build_network("own_network:make")
    assert "own_network" not in sys.modules and str(folder) not in sys.path


@pytest.mark.parametrize(
    ("builder", "says", "hint"),
    [
        ("own_network", "named as module:function (got 'own_network')", "mdcompress.zoo:digits_snn"),
        ("own_network.py:make", "not by its file (got 'own_network.py:make')", "own_network:make"),
        ("own_network:", "named as module:function", "for example"),
        (":make", "named as module:function", "for example"),
        (".own_network:make", "named as module:function", "for example"),
        ("own_network:make:2", "named as module:function", "for example"),
        ("own network:make", "named as module:function", "for example"),
        ("", "named as module:function", "for example"),
        ("none_such:make", "the module 'none_such' of 'none_such:make' cannot be imported", "run from the folder"),
        ("broken_network:make", "cannot be imported: No module named 'a_module_that_is_not_there'", "install it"),
        ("own_network:makes", "'own_network' has no function 'makes'", "it has: Net, fails, make, needs, number"),
        ("own_network:NUMBER", "'own_network' has no function 'NUMBER'", "it has: "),
        ("own_network:number", "must return a torch.nn.Module (it returned int)", "return the network itself"),
        ("own_network:made", "must be a function that returns the network (it is a network itself)", "return made"),
        ("own_network:needs", "must be callable without arguments (missing a required argument: 'width')", "defaults"),
    ],
)
def test_what_cannot_be_built_is_named(folder: Path, builder: str, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_network(builder, consent=GIVEN)
    assert says in caught.value.message and hint in caught.value.hints[0]


def test_an_error_inside_the_users_function_is_the_users(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="no data here"):
        build_network("own_network:fails", consent=GIVEN)
