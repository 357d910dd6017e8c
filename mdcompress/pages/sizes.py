"""The files of a run -> how large they are."""

from __future__ import annotations

from intsnn.report.html.blocks import Section
from mdcompress.pages.blocks import stacked_table
from mdcompress.pages.facts import RunFacts


def sizes_section(run: RunFacts) -> Section:
    """Each file that holds the network, with its size."""
    names = ("teacher.safetensors", "quantized.safetensors", "distilled.safetensors", "model.onnx")
    rows = [(name, f"{(run.folder / name).stat().st_size:,} bytes") for name in names if (run.folder / name).is_file()]
    return Section("sizes", "Sizes", (stacked_table(("file", "size"), rows, numbers=("size",)),))
