"""SpikeSim's formulas, extended, on MS-ResNet-18 and VGG9: what comes out beside MD-SNN's three ratios.

    python -m benchmarks spikesim_extended

One table for each assumption that the paper leaves open. Sizes only: nothing is trained, spikes do not enter.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from typing import get_args

from intsnn.estimation.spikesim.extended import ExtendedLayer, Slices, Widths, Words, spikesim_extended
from intsnn.estimation.spikesim.rules import SpikeSimLayer
from intsnn.report.words import markdown_table

PUBLISHED = (14.85, 2.64, 6.19)  # MD-SNN, arXiv:2512.04443: EDAP lower, TOPS/W higher, TOPS/mm2 higher
BASELINES, STUDENTS, CROSSBARS, TIME_STEPS = (32, 16, 8), (8, 4, 2), (64, 128), 4


def ms_resnet18(channels: int, side: int, *, shortcuts: bool) -> list[ExtendedLayer]:
    """The convolutions of `mdcompress.zoo.ms_resnet18` on images of that side; its shortcuts are 1 x 1."""
    layers, wide = [_layer(channels, 64, side, side, 3)], 64
    for stage, block in itertools.product(range(4), range(2)):
        out, stride = 64 * 2**stage, 2 if stage and not block else 1
        below = side // stride
        layers += [_layer(wide, out, side, below, 3), _layer(out, out, below, below, 3)]
        if shortcuts and (stride != 1 or wide != out):
            layers.append(_layer(wide, out, side, below, 1))
        wide, side = out, below
    return layers


def vgg9(channels: int, side: int) -> list[ExtendedLayer]:
    """The seven convolutions of VGG9, at their own sizes."""
    layers = []
    for out, pool in ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 1), (256, 2)):
        layers.append(_layer(channels, out, side, side, 3))
        channels, side = out, side // pool
    return layers


def _layer(read: int, written: int, side: int, below: int, kernel: int) -> ExtendedLayer:
    return ExtendedLayer(SpikeSimLayer(read, written, side, below), kernel)


NETWORKS = {
    "MS-ResNet-18, 2x48x48": ms_resnet18(2, 48, shortcuts=True),
    "the same without 1x1 shortcuts": ms_resnet18(2, 48, shortcuts=False),
    "MS-ResNet-18, 3x32x32": ms_resnet18(3, 32, shortcuts=True),
    "VGG9, 2x48x48": vgg9(2, 48),
}


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.stdout.write(_HEAD)
    for slices, words, crossbar in itertools.product(get_args(Slices), get_args(Words), CROSSBARS):
        heading = f"slices multiply: {slices}; words of memories: {words}; crossbars of {crossbar}"
        sys.stdout.write(f"\n## {heading}\n\n{table(slices, words, crossbar)}\n")


def table(slices: Slices, words: Words, crossbar: int) -> str:
    """Ratios of every student to every wider baseline, on every network."""
    rows = []
    for name, layers in NETWORKS.items():
        found = {
            bits: spikesim_extended(
                layers, Widths(bits, bits), time_steps=TIME_STEPS, slices=slices, words=words, crossbar=crossbar
            )
            for bits in {*BASELINES, *STUDENTS}
        }
        for bits, base in itertools.product(STUDENTS, BASELINES):
            if base <= bits:
                continue
            ours, theirs = found[bits], found[base]
            ratios = (
                theirs.edap_pj_ns_um2 / ours.edap_pj_ns_um2,
                ours.tops_per_w / theirs.tops_per_w,
                ours.tops_per_mm2 / theirs.tops_per_mm2,
            )
            sizes = (ours.energy_pj * 1e-6, ours.latency_ns * 1e-3, ours.area_um2 * 1e-6)
            rows.append(
                (name, f"{base} -> {bits}", *(f"{one:.2f}" for one in ratios), *(f"{one:.4g}" for one in sizes))
            )
    columns = ("network", "bits", "EDAP, lower", "TOPS/W, higher", "TOPS/mm2, higher", "uJ", "us", "mm2")
    return markdown_table(columns, rows)


_HEAD = f"""\
# SpikeSim's formulas, extended, beside MD-SNN's ratios

MD-SNN (arXiv:2512.04443) reports EDAP {PUBLISHED[0]} times lower, TOPS/W {PUBLISHED[1]} times and TOPS/mm2
{PUBLISHED[2]} times higher than a floating-point SNN. SpikeSim itself refuses such a network: its latency rule holds
twelve layers, and it knows no bit widths. These tables ask its formulas under assumptions of ours
(`intsnn/estimation/spikesim/extended.py`), T = {TIME_STEPS}, linear layers left out; a baseline of b bits stands for a
b-bit float. With equal operations EDAP is the product of the other two, {PUBLISHED[1] * PUBLISHED[2]:.1f} in the
paper's, so its three ratios do not follow from one pair of designs. Nothing here says which assumptions the paper made.
"""


if __name__ == "__main__":
    main()
