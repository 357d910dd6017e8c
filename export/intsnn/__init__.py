"""intsnn: integer spiking networks. The graph that training lowers to, and everything that reads it. No torch.

The public names load their room when they are first used, so that a check or an estimate starts fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from intsnn.activity import Activity, assume, measure, read_activity, write_activity
    from intsnn.checking.stages import bounds, check
    from intsnn.engines import open_engine
    from intsnn.estimation.estimation import estimate
    from intsnn.estimation.spikesim.rules import spikesim
    from intsnn.execution.interpreter import Trace, evaluate, run
    from intsnn.execution.parity import ParityReport, compare
    from intsnn.graph import IntGraph
    from intsnn.microcontroller.writing import CPackage, write_c
    from intsnn.native import NativeSession, compile
    from intsnn.onnx.file import build_model, read_onnx, write_onnx
    from intsnn.onnx.runtime import run_onnx

_ROOMS = {
    "Activity": "activity",
    "CPackage": "microcontroller.writing",
    "IntGraph": "graph",
    "NativeSession": "native",
    "ParityReport": "execution.parity",
    "Trace": "execution.interpreter",
    "assume": "activity",
    "bounds": "graph.bounds",
    "build_model": "onnx.file",
    "check": "checking.stages",
    "compare": "execution.parity",
    "compile": "native",
    "estimate": "estimation.estimation",
    "evaluate": "execution.interpreter",
    "measure": "activity",
    "open_engine": "engines",
    "read_activity": "activity",
    "read_onnx": "onnx.file",
    "run": "execution.interpreter",
    "run_onnx": "onnx.runtime",
    "spikesim": "estimation.spikesim.rules",
    "write_activity": "activity",
    "write_c": "microcontroller.writing",
    "write_onnx": "onnx.file",
}

__all__ = [
    "Activity",
    "CPackage",
    "IntGraph",
    "NativeSession",
    "ParityReport",
    "Trace",
    "assume",
    "bounds",
    "build_model",
    "check",
    "compare",
    "compile",
    "estimate",
    "evaluate",
    "measure",
    "open_engine",
    "read_activity",
    "read_onnx",
    "run",
    "run_onnx",
    "spikesim",
    "write_activity",
    "write_c",
    "write_onnx",
]


if not TYPE_CHECKING:  # a type checker shall see the names above alone, and a misspelt one

    def __getattr__(name: str) -> object:
        """Import the room of a public name at its first use."""
        if name in _ROOMS:
            return getattr(importlib.import_module(f"intsnn.{_ROOMS[name]}"), name)
        raise AttributeError(f"module 'intsnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
