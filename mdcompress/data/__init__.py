"""Named data sets -> batches [T, N, C, H, W]; nothing heavy is imported before a name is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdcompress.data.batches import Batch as Batch
    from mdcompress.data.batches import Batches as Batches
    from mdcompress.data.loading import load_data as load_data
    from mdcompress.data.names import DATA_SETS as DATA_SETS
    from mdcompress.data.names import Download as Download
    from mdcompress.data.names import Encoding as Encoding
    from mdcompress.data.splits import DataSplits as DataSplits
    from mdcompress.data.splits import calibration as calibration

_HOME = {
    "Batch": "batches",
    "Batches": "batches",
    "load_data": "loading",
    "DATA_SETS": "names",
    "Download": "names",
    "Encoding": "names",
    "DataSplits": "splits",
    "calibration": "splits",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
