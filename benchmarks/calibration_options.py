"""What each `calibrate` option is worth: students that are calibrated and not trained, beside their float network.

`python -m benchmarks calibration_options digits` and `… mnist --npz mnist.npz` print a table each; they stand in
docs/results/calibration.md. Scales come from 512 training samples; what is compared are validation samples, never test
samples. The npz holds `x_train` [n, 28, 28] in 0..255 and `y_train`; images are averaged 2x2 to 14x14.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mdcompress as md
from mdcompress.data import calibration, load_data
from mdcompress.data.names import Download
from mdcompress.evaluation.mismatch import mean_membrane, measure_mismatch
from mdcompress.losses import logit_loss
from mdcompress.modes import evaluating
from mdcompress.pipeline.report import percent
from mdcompress.recipe import CalibrateSpec, Recipe, TeacherSpec
from mdcompress.zoo import digits_snn

TIME_STEPS, SAMPLES = 4, 512
NEAREST: dict[str, object] = {"weights": "nearest", "offsets": "keep"}
OPTIONS: dict[str, dict[str, object]] = {
    "nearest, offsets kept": NEAREST,
    "`weights: reconstruct`": {"offsets": "keep"},
    "`offsets: correct`": {"weights": "nearest"},
    "`statistics: keep`": {**NEAREST, "statistics": "keep"},
    "`membrane: percentile`, 99": {**NEAREST, "membrane": "percentile", "percentile": 99.0},
    "`statistics: keep`, else the default": {"statistics": "keep"},
    "reconstruct and correct (default)": {},
}
SETTINGS = (("8bit", "quantize"), ("4bit", "quantize"), ("2bit", "quantize"), ("ternary", "quantize"), ("2bit", "fold"))

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """A trained float network and what it is calibrated and compared on."""

    network: nn.Module
    calibration: list[Tensor]
    validation: Batches


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=["digits", "mnist"])
    parser.add_argument("--npz", type=Path, help="the file of the MNIST images")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    case = digits() if arguments.data == "digits" else mnist(arguments.npz)
    accuracy = md.evaluate(case.network, case.validation).accuracy
    print(f"Float network: {percent(accuracy)} of {sum(len(y) for _, y in case.validation)} validation samples.\n")
    print("| recipe | batch norm | option | membrane mismatch | logits KL | accuracy |\n|---|---|---|---|---|---|")
    for row in rows(case):
        print("|", " | ".join(row), "|", flush=True)


def digits() -> Case:
    """The embedded digits, 8 epochs."""
    spec = md.load_recipe("4bit").data
    splits = load_data(spec, seed=0, folder=None, download=Download.NEVER)
    network = trained(digits_snn(), splits.train, list(splits.validation), epochs=8)
    return Case(network, [x for x, _ in calibration(splits, SAMPLES, seed=0)], list(splits.validation))


def mnist(path: Path) -> Case:
    """6,000 images to train on for 5 epochs, the next 1,000 to compare on."""
    stored = np.load(path)
    images = torch.tensor(stored["x_train"]).float().reshape(-1, 1, 28, 28)[:7000] / 255
    x, y = F.avg_pool2d(images, 2).expand(TIME_STEPS, -1, -1, -1, -1), torch.tensor(stored["y_train"][:7000]).long()
    train = batches(x[:, :6000], y[:6000])
    validation = batches(x[:, 6000:], y[6000:])
    network = trained(digits_snn(image_size=14, channels=16), train, validation, epochs=5)
    return Case(network, [x for x, _ in train[: SAMPLES // 64]], validation)


def batches(x: Tensor, y: Tensor) -> Batches:
    """64 samples each."""
    return list(zip(torch.split(x, 64, dim=1), torch.split(y, 64), strict=True))


def trained(
    network: nn.Module, train: Iterable[tuple[Tensor, Tensor]], validation: Batches, *, epochs: int
) -> nn.Module:
    """The float network at its best epoch."""
    return md.train_network(network, train=train, validate=validation, spec=TeacherSpec(epochs=epochs))


def rows(case: Case) -> Iterator[list[str]]:
    """A line for each recipe and option."""
    graph = md.trace(case.network, case.calibration[0][:, :2])
    for name, mode in SETTINGS:
        recipe = with_mode(md.load_recipe(name), mode)
        for option, spec in OPTIONS.items():
            student = md.quantize(case.network, graph, md.plan(recipe, graph))
            checked = CalibrateSpec.model_validate(spec)
            md.calibrate(student, case.calibration, spec=checked, teacher=case.network)
            divergence, membrane = distances(student, case, graph, time_steps=TIME_STEPS)
            accuracy = md.evaluate(student, case.validation).accuracy
            yield [name, mode, option, f"{membrane:.4f}", f"{divergence:.5f}", percent(accuracy)]


def with_mode(recipe: Recipe, mode: str) -> Recipe:
    """The recipe with another form of batch norm."""
    norm = recipe.quantize.batch_norm.model_copy(update={"mode": mode})
    return recipe.model_copy(update={"quantize": recipe.quantize.model_copy(update={"batch_norm": norm})})


def distances(student: md.Student, case: Case, graph: md.SnnGraph, *, time_steps: int) -> tuple[float, float]:
    """(KL of the logits, nats; mismatch of the membranes, mean over the layers) on the validation samples."""
    layers = measure_mismatch(student, case.network, graph, case.validation, time_steps=time_steps)
    return logits_divergence(student, case, graph), mean_membrane(layers)


def logits_divergence(student: md.Student, case: Case, graph: md.SnnGraph) -> float:
    """KL(float || student) of the mean answers, in nats."""
    total = 0.0
    with evaluating(student), torch.no_grad():
        for x, y in case.validation:
            seen, wanted = student.observe(x).logits, md.observe(case.network, graph, x).logits
            total += float(logit_loss(seen, wanted, temperature=1.0)) * len(y)
    return total / sum(len(y) for _, y in case.validation)


if __name__ == "__main__":
    main()
