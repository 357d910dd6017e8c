"""Time of a report and of an exploration for MS-ResNet-18 at 32x32, T = 4; prints two lines of Markdown.

    python -m benchmarks explore [MODEL.onnx]

Without a model the network is lowered once with untrained weights. The report is timed as `estimate-hw` makes it: from
model.onnx and activity.json on disk to the JSON text. The exploration prices 1,080 designs of that model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from intsnn.activity import assume, read_activity, write_activity
from intsnn.checking.stages import check
from intsnn.estimation.estimation import estimate
from intsnn.exploration.design_space import DesignSpace
from intsnn.exploration.exploration import explore
from intsnn.graph import IntGraph
from intsnn.hardware import HardwareSpec, load_hardware
from intsnn.onnx.file import read_onnx, write_onnx
from intsnn.report import to_json

SPACE = DesignSpace(
    crossbar=(16, 32, 64, 128, 256),
    cell_bits=(1, 2, 4),
    adc_bits=("lossless", 6),
    column_mux=(4, 8, 16),
    encoding=("offset", "differential"),
    array_budget=(None, 40_000),
    time_steps=(1, 2, 4),
)


def resnet() -> IntGraph:
    """MS-ResNet-18, lowered from the 4-bit recipe with untrained weights; the one place here that needs torch."""
    import torch

    import mdcompress as md
    from mdcompress import zoo

    torch.manual_seed(0)
    x = torch.rand(4, 2, 3, 32, 32)
    network = zoo.ms_resnet18()
    with torch.no_grad():
        network(x)  # batch norms take statistics of their own, so that currents have a usual size
    return md.lower(md.compress(network.eval(), x[:, :1], "4bit", [x]))


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a model.onnx; without it an untrained MS-ResNet-18")
    given = parser.parse_args().model
    with tempfile.TemporaryDirectory() as folder:
        model, counts = Path(folder) / "model.onnx", Path(folder) / "activity.json"
        graph = resnet() if given is None else read_onnx(given)
        write_onnx(graph, model)
        write_activity(assume(graph, rate=0.15, time_steps=4), counts)
        for name in ("rram_64x64_65nm", "rram_128x128_22nm"):
            sys.stdout.write(f"- {name}: {_report(model, counts, name)}; {_exploration(model, counts, name)}\n")


def _report(model: Path, counts: Path, name: str) -> str:
    started = time.perf_counter()
    graph = read_onnx(model)
    check(graph)
    to_json(estimate(graph, read_activity(counts), name))
    return f"report from model.onnx and activity.json in {time.perf_counter() - started:.2f} s"


def _exploration(model: Path, counts: Path, name: str) -> str:
    graph, activity, hardware = read_onnx(model), read_activity(counts), load_hardware(name)
    assert isinstance(hardware, HardwareSpec)
    started = time.perf_counter()
    found = explore(graph, activity, hardware, space=SPACE)
    seconds = time.perf_counter() - started
    number = len(found.designs) + len(found.infeasible)
    return f"{number:,} designs explored in {seconds:.2f} s ({1000 * seconds / number:.2f} s for 1,000)"


if __name__ == "__main__":
    main()
