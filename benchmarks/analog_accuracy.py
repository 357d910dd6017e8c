"""Accuracy of the 4-bit digits student on noisy arrays, with and without column gains; writes a Markdown page.

    mdcompress run --recipe recipes/4bit.yaml
    python -m benchmarks analog_accuracy --run 4bit > docs/results/analog.md

Every figure is one that `mdcompress analog --json` prints; this only asks it for several descriptions and sets the
answers side by side. Chips of one seed draw the same numbers at every size of the noise, with gains and without.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intsnn.shares import percent

NOISY = ("rram_wan_1s", "rram_wan_1day", "pcm_nandakumar_1day", "rram_mnsim")
WIRED = "rram_wires_1ohm"  # nothing random: one chip stands for all
GAINS = ("none", "calibrated")


@dataclass(frozen=True)
class Sweep:
    """One answer of `mdcompress analog`: the exact accuracy, and mean, deviation and lowest by size of the noise."""

    analog: str
    gains: str
    exact: float
    points: Mapping[float, tuple[float, float, float]]


def measured(analog: str, gains: str, sizes: Sequence[float], arguments: argparse.Namespace) -> Sweep:
    """Ask the command."""
    command = [
        sys.executable, "-m", "mdcompress", "analog", "--run", arguments.run, "--analog", analog,
        "--column-gains", gains, "--chips", str(arguments.chips), "--samples", str(arguments.samples), "--json",
        *(part for size in sizes for part in ("--noise", f"{size:g}")),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    document = json.loads(done.stdout)
    points = {
        point["noise"]: (point["accuracy"]["mean"], point["accuracy"]["deviation"], min(point["accuracy"]["values"]))
        for point in document["points"]
    }
    return Sweep(analog, gains, document["exact_accuracy"], points)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="4bit")
    parser.add_argument("--chips", type=int, default=5)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 1.0, 2.0, 4.0])
    arguments = parser.parse_args()
    sweeps = [measured(name, gains, arguments.noise, arguments) for name in NOISY for gains in GAINS]
    wired = [measured(WIRED, gains, [0.0], arguments) for gains in GAINS]
    sys.stdout.write(page(sweeps, wired, arguments))


def page(sweeps: Sequence[Sweep], wired: Sequence[Sweep], arguments: argparse.Namespace) -> str:
    """The page."""
    sizes = list(sweeps[0].points)
    head = ["cells", "column gains", *(f"noise x {size:g}" for size in sizes), "lowest chip at x 1"]
    rows = [
        [
            f"`{one.analog}`",
            one.gains,
            *(_with_deviation(one.points[size]) for size in sizes),
            f"{100 * one.points[1.0][2]:.1f}" if 1.0 in one.points else "-",
        ]
        for one in sweeps
    ]
    wires = [[f"`{one.analog}`", one.gains, f"{100 * one.points[0.0][0]:.1f}"] for one in wired]
    return "\n".join(
        [
            "# Accuracy against the noise of analog arrays",
            "",
            "`mdcompress run --recipe recipes/4bit.yaml`, then "
            f"`python -m benchmarks analog_accuracy --run 4bit --chips {arguments.chips} "
            f"--samples {arguments.samples}`; "
            f"2 shared {platform.machine()} cores, no GPU. It sets answers of `mdcompress analog --json` side by side.",
            "",
            f"The 4-bit student of `digits_snn`, T = 4, on `rram_64x64_65nm` (2-bit cells, offset columns, lossless "
            f"8-bit converters); the first {arguments.samples} test images of the recipe's seed, one image is "
            f"{100 / arguments.samples:g} points. Exact integers: {percent(sweeps[0].exact, 1)}. Every synapse is "
            "on arrays, the first and the last too; everything else is the exact integer code.",
            "",
            f"Accuracy in %, mean ± standard deviation over {arguments.chips} chips (seeds 0 to "
            f"{arguments.chips - 1}). Noise x 1 is the description as it is; x 0 leaves what is not random: drift, "
            "on/off ratio, converters.",
            "",
            *_table(head, rows),
            "",
            "## Wires",
            "",
            "Ideal cells behind wires of 1 ohm a cell ([ir_drop.md](ir_drop.md)); nothing is random, so there is one "
            "chip.",
            "",
            *_table(["wires", "column gains", "accuracy, %"], wires),
            "",
            _READING,
        ]
    )


def _with_deviation(point: tuple[float, float, float]) -> str:
    return f"{100 * point[0]:.1f} ± {100 * point[1]:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


_READING = """\
Column gains are one factor for each column, fitted by least squares on the exact inputs of 32 training images. In the
measured figures (seeds above) they recover most of what wires take, and most of what larger deviations take: a column
whose cells are too strong on the whole is scaled back. At the descriptions' own noise the difference of the means lies
within one standard deviation, in either direction: five chips do not show a gain there. Stuck cells at MNSIM's rates
cost this network nothing that 200 images could show.
"""


if __name__ == "__main__":
    main()
