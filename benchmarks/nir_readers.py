"""How nearly foreign readers of NIR agree with the integers of a compressed network; prints a Markdown table.

    python -m benchmarks nir_readers

Two layers of LIF with random weights (seed 0) are compressed at 8 and 4 bit and written with `to_nir`; each library's
own importer runs the floats. The figure is the share of equal spikes of the last layer, 200 samples of 16 steps.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import mdcompress as md
from intsnn.shares import percent
from mdcompress.recipe.nir import ReaderReset, ReaderStep
from mdcompress.zoo import LIF

T, N = 16, 200


@dataclass(frozen=True)
class Importer:
    """A library that reads NIR: `run(graph, x)` gives its spikes [T, N, K]; the rest is what `to_nir` writes for it."""

    run: Callable[[Any, Tensor], Tensor]
    step: ReaderStep
    reset: ReaderReset


class Dense(nn.Module):
    """12 inputs, 40 LIF with tau = 2, 20 LIF with tau = 4."""

    def __init__(self, reset: ReaderReset) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 40), LIF(2.0, reset=reset)
        self.fc2, self.lif2 = nn.Linear(40, 20), LIF(4.0, reset=reset)
        with torch.no_grad():
            self.fc1.weight.mul_(3.0)
            self.fc2.weight.mul_(3.0)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, 12] -> spikes [T, N, 20]."""
        spikes: Tensor = self.lif2(self.fc2(self.lif1(self.fc1(x))))
        return spikes


def compressed(recipe: str, reset: ReaderReset) -> tuple[md.Student, Tensor, Tensor]:
    """A student, an input, and the spikes of its last layer."""
    torch.manual_seed(0)
    network = Dense(reset).eval()
    x = torch.rand(T, N, 12, generator=torch.Generator().manual_seed(0))
    student = md.compress(network, x, md.load_recipe(recipe), [x])
    return student, x, torch.as_tensor(student.trace(x).spikes["lif2"]).float()


def by_mdcompress(graph: Any, x: Tensor) -> Tensor:
    """The project's own reading of the floats."""
    spikes: Tensor = md.from_nir(graph)(x)
    return spikes


def by_snntorch(graph: Any, x: Tensor) -> Tensor:
    """Its import_from_nir."""
    from snntorch.import_nir import import_from_nir

    return _stepped(import_from_nir(graph), x)


def by_norse(graph: Any, x: Tensor) -> Tensor:
    """Its from_nir, told the step."""
    from norse.torch.utils.import_nir import from_nir

    return _stepped(from_nir(graph, dt=1e-4), x)


def by_spikingjelly(graph: Any, x: Tensor) -> Tensor:
    """Its import_from_nir."""
    from spikingjelly.activation_based.nir_exchange.from_nir import import_from_nir

    return _stepped(import_from_nir(graph, dt=1e-4), x)


def by_sinabs(graph: Any, x: Tensor) -> Tensor:
    """Its from_nir; a neuron fires once in a step, which its importer cannot be told."""
    from sinabs.activation import SingleSpike
    from sinabs.nir import from_nir

    network = from_nir(graph, batch_size=x.shape[1])
    for module in network.modules():
        if hasattr(module, "spike_fn"):
            module.spike_fn = SingleSpike
    answer = network(x.transpose(0, 1).flatten(0, 1))
    spikes: Tensor = answer[0] if isinstance(answer, tuple) else answer
    return spikes.view(x.shape[1], len(x), *spikes.shape[1:]).transpose(0, 1)


IMPORTERS = {
    "mdcompress": Importer(by_mdcompress, "euler", "hard"),
    "snntorch": Importer(by_snntorch, "euler", "hard"),
    "norse": Importer(by_norse, "euler", "hard"),
    "spikingjelly": Importer(by_spikingjelly, "euler", "hard"),
    "mdcompress, for sinabs": Importer(by_mdcompress, "jump", "soft"),
    "sinabs": Importer(by_sinabs, "jump", "soft"),
}


def spikes_of(importer: Importer, student: md.Student, x: Tensor) -> Tensor:
    """What a library fires on the floats of a student. Importers print and warn."""
    graph = md.to_nir(student, step=importer.step, reset=importer.reset)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return importer.run(graph, x)


def _stepped(network: Callable[..., Any], x: Tensor) -> Tensor:
    state, answers = None, []
    for step in x:
        answer, state = network(step, state)
        answers.append(answer[0] if isinstance(answer, tuple) else answer)
    return torch.stack(answers)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = ["| reader | file | 8 bit | 4 bit |", "|---|---|---:|---:|"]
    for name, importer in IMPORTERS.items():
        shares = []
        for recipe in ("8bit", "4bit"):
            student, x, spikes = compressed(recipe, importer.reset)
            shares.append(float((spikes_of(importer, student, x) == spikes).float().mean()))
        cells = " | ".join(percent(share) for share in shares)
        lines.append(f"| {name} | {importer.step}, {importer.reset} | {cells} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
