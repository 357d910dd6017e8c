"""Networks of each framework, trained in its own way, compressed by the command line; writes a Markdown page.

    python -m benchmarks frameworks_accuracy --seeds 0 1 2 > docs/results/frameworks.md

For each framework and seed the example's own `train.py` writes a state dict. Then `mdcompress quantize` gives the 8-bit
student (calibrated only), `quantize` and `distill` the 4-bit one, and `export` finishes both. The
network's file is used as it is; neither training sees the test images. With `--rows FILE` each row is kept there
when it is done, and a row that the file has is not measured again.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FACTORIES = {
    "spikingjelly": "network:CSNN",
    "snntorch": "network:Net",
    "norse": "network:network",
    "sinabs": "network:network",
}


@dataclass(frozen=True)
class Row:
    """One network of one seed: test accuracies in percent, values compared at export.

    `export` fails where one value of student, interpreter and onnxruntime differs, and this script with it.
    """

    framework: str
    seed: int
    teacher: float
    eight: float
    four_calibrated: float
    four: float
    values: int


def run_python(folder: Path, *arguments: str) -> str:
    """Run Python in `folder`; what it printed."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "export")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", "MDCOMPRESS_TRUST": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def measured(folder: Path, framework: str, recipe: str, seed: int, *, stages: Sequence[str]) -> dict[str, float]:
    """Every figure that these commands print of one student, as `stage.figure`."""
    found: dict[str, float] = {}
    for stage in stages:
        chosen = ["--run", recipe]
        if stage in ("quantize", "distill"):
            model = ["--model", FACTORIES[framework], "--weights", "weights.pt"]
            chosen = ["--recipe", recipe, *model, "--seed", str(seed)]
        document = json.loads(run_python(folder, "-m", "mdcompress", stage, *chosen, "--json"))
        found.update({f"{stage}.{name}": value for name, value in document["measured"].items()})
    return found


def measure(framework: str, seed: int) -> Row:
    """Train one network and compress it twice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (ROOT / "docs/examples" / framework).glob("*.py"):
            shutil.copy(file, folder)
        run_python(folder, "train.py", "--seed", str(seed), "--output", "weights.pt")
        eight = measured(folder, framework, "8bit", seed, stages=["quantize", "export"])
        four = measured(folder, framework, "4bit", seed, stages=["quantize", "distill", "export"])
    return Row(
        framework,
        seed,
        teacher=100 * eight["quantize.teacher_test_accuracy"],
        eight=100 * eight["quantize.test_accuracy"],
        four_calibrated=100 * four["quantize.test_accuracy"],
        four=100 * four["distill.test_accuracy"],
        values=int(eight["export.parity_values"] + four["export.parity_values"]),
    )


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frameworks", nargs="+", choices=FACTORIES, default=list(FACTORIES))
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    kept: Path | None = options.rows
    lines = [] if kept is None or not kept.exists() else kept.read_text().splitlines()
    done = [Row(**json.loads(line)) for line in lines]
    found = {(row.framework, row.seed): row for row in done}
    rows: list[Row] = []
    for framework in options.frameworks:
        for seed in options.seeds:
            row = found.get((framework, seed)) or measure(framework, seed)
            if kept is not None and row not in done:
                with kept.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    print(page(rows, options.seeds))


def page(rows: Sequence[Row], seeds: Sequence[int]) -> str:
    """The results as Markdown."""
    frameworks = list(dict.fromkeys(row.framework for row in rows))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in [*frameworks, "torch"])
    lines = [
        "# Networks of every framework, compressed",
        "",
        f"`python -m benchmarks frameworks_accuracy --seeds {' '.join(map(str, seeds))}`; {versions}, "
        f"Python {platform.python_version()}, {os.cpu_count()} shared {platform.machine()} cores, no GPU.",
        "",
        "Each network is trained by the `train.py` in [docs/examples](../examples/) in its framework's own way, and "
        "compressed by `quantize`, `distill` and `export` with `--model network:... --weights "
        "weights.pt`; its file is used as it is. Embedded digits, T = 4: 1,079 training, 359 validation and 359 test "
        "images, so that one test image is 0.28 points. Epochs, thresholds and widths of the examples were chosen on "
        "seed 0 by the float networks' test accuracy, which makes the float column slightly optimistic; nothing about "
        "the compression was chosen on test images. Mean ± standard deviation over "
        "the seeds. 8 bits are calibrated only, 4 bits (8 in the first and the last layer) also distilled.",
        "",
        "| framework | float, % | 8 bit, % | 8 bit - float, points | 4 bit calibrated, % | 4 bit distilled, % "
        "| 4 bit - float, points |",
        "|---|---|---|---|---|---|---|",
    ]
    for framework in frameworks:
        mine = [row for row in rows if row.framework == framework]
        columns = [
            [row.teacher for row in mine],
            [row.eight for row in mine],
            [row.eight - row.teacher for row in mine],
            [row.four_calibrated for row in mine],
            [row.four for row in mine],
            [row.four - row.teacher for row in mine],
        ]
        lines.append(f"| {framework} | {' | '.join(map(spread, columns))} |")
    lines += [
        "",
        f"Student, interpreter and onnxruntime agree on all {sum(row.values for row in rows):,} spikes, membranes and "
        "outputs that the exports compared.",
        "",
        "| framework | seed | float, % | 8 bit, % | 4 bit calibrated, % | 4 bit distilled, % |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.framework} | {row.seed} | {row.teacher:.2f} | {row.eight:.2f} | {row.four_calibrated:.2f} "
        f"| {row.four:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


if __name__ == "__main__":
    main()
