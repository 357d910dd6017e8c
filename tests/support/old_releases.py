"""SpikingJelly before 2.0: every release in a folder of its own, installed by pip once, and what it offers.

`python -m tests.support.old_releases` installs them all, and fails where it cannot: CI calls it before the tests.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from tests.support.paths import ROOT

_CACHE = ROOT / ".pytest_cache" / "spikingjelly"
_SINGLE = ("IFNode", "LIFNode")
_MULTI = ("MultiStepIFNode", "MultiStepLIFNode")

DESCRIBED: Mapping[str, tuple[str, ...]] = {
    "0.0.0.0.4": _SINGLE,
    "0.0.0.0.6": (*_SINGLE, "ParametricLIFNode", *_MULTI),
    "0.0.0.0.8": (*_SINGLE, "ParametricLIFNode", *_MULTI, "MultiStepParametricLIFNode"),
    "0.0.0.0.10": (*_SINGLE, "ParametricLIFNode", *_MULTI, "MultiStepParametricLIFNode"),
    "0.0.0.0.12": (*_SINGLE, "ParametricLIFNode", *_MULTI, "MultiStepParametricLIFNode"),
    "0.0.0.0.14": (*_SINGLE, "ParametricLIFNode", *_MULTI, "MultiStepParametricLIFNode"),
}
"""The classes of `spikingjelly.clock_driven.neuron` that are read, of every release."""

REFUSED: Mapping[str, tuple[str, ...]] = {
    "0.0.0.0.4": (),
    "0.0.0.0.6": (),
    "0.0.0.0.8": ("QIFNode", "EIFNode", "MultiStepEIFNode"),
    "0.0.0.0.10": ("QIFNode", "EIFNode", "MultiStepEIFNode", "AdaptiveBaseNode", "GeneralNode", "MultiStepGeneralNode"),
    **dict.fromkeys(
        ("0.0.0.0.12", "0.0.0.0.14"),
        ("QIFNode", "EIFNode", "MultiStepEIFNode", "AdaptiveBaseNode", "GeneralNode", "MultiStepGeneralNode",
         "LIAFNode"),
    ),
}  # fmt: skip
"""Those that have no integer form."""

STEP_MODES: Mapping[str, tuple[str, ...]] = {"0.0.0.0.14": (*_SINGLE, "ParametricLIFNode", "KLIFNode")}
"""Those of `spikingjelly.activation_based.neuron`, where a release has it."""

STEP_MODES_REFUSED: Mapping[str, tuple[str, ...]] = {
    "0.0.0.0.14": ("QIFNode", "EIFNode", "IzhikevichNode", "AdaptBaseNode", "LIAFNode")
}


class NoIndexError(Exception):
    """There is no package index to install from."""


def folder_of(release: str) -> Path:
    """The folder that holds a release and nothing else; to be put first on the path.

    Raises:
        NoIndexError: pip finds no index.
        RuntimeError: pip fails otherwise; the message is its own.
    """
    folder = _CACHE / release
    if not folder.is_dir():
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as unfinished:
            _install(release, Path(unfinished) / release)
            try:
                (Path(unfinished) / release).rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    return folder


def without_constructor(kind: type[nn.Module]) -> nn.Module:
    """A module as a subclass with a constructor of its own would make it."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    return module


def _install(release: str, folder: Path) -> None:
    options = ("--quiet", "--no-deps", "--no-input", "--disable-pip-version-check", "--target", str(folder))
    command = [sys.executable, "-m", "pip", "install", *options, f"spikingjelly=={release}"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode != 0 and "(from versions: none)" in found.stderr:
        raise NoIndexError(f"pip finds no package index to install spikingjelly {release} from")
    if found.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{found.stderr}")


if __name__ == "__main__":
    for each in DESCRIBED:
        folder_of(each)
