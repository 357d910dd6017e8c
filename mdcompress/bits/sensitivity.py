"""A float network, a recipe and a few samples -> what each layer loses at each number of bits, without training.

One layer at a time is lowered, all others stay at the recipe's highest bits; the student is calibrated anew and
compared with the float network on the samples. Weights are lowered synapse by synapse, membranes neuron by neuron.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mdcompress.bits.budget import Allocation, BitChoice, allocate, stored_bits
from mdcompress.calibration import calibrate
from mdcompress.evaluation import check_labels
from mdcompress.graph import NeuronModel, RecurrentSpec, SnnGraph, SynapseSpec
from mdcompress.losses import firing_neurons, layer_threshold, logit_loss, membrane_mismatch
from mdcompress.modes import evaluating
from mdcompress.planning import QuantPlan, plan
from mdcompress.recipe import Override, Recipe
from mdcompress.student import Observation
from mdcompress.student.observation import observe
from mdcompress.student.quantizing import quantize

SENSITIVITY_SCHEMA = "mdcompress.sensitivity/1"

Part = Literal["weight", "membrane"]
Measure = Literal["logits", "membrane"]


@dataclass(frozen=True)
class Distance:
    """How far a student is from the float network.

    membrane: mean ((v_s - v_t) / theta)^2 before reset, over the firing layers. logits: KL(teacher || student) of the
    mean answers, in nats. accuracy: share of the samples that the student gets right.
    """

    membrane: float
    logits: float
    accuracy: float


@dataclass(frozen=True)
class LayerBits:
    """One layer at one number of bits; count: its weights, or its neurons."""

    node: str
    part: Part
    bit_width: float
    count: int
    distance: Distance


@dataclass(frozen=True)
class BitSensitivity:
    """All layers at all bits. highest: the bits of weights and membranes that the others have; baseline: all of them.

    Layers at the highest bits are not listed: they are the baseline.
    """

    highest: Mapping[Part, float]
    baseline: Distance
    teacher_accuracy: float
    samples: int
    time_steps: int
    layers: tuple[LayerBits, ...]
    counts: Mapping[Part, Mapping[str, int]]

    def to_json(self) -> str:
        """All figures."""
        head = {"schema": SENSITIVITY_SCHEMA, "samples": self.samples, "time_steps": self.time_steps}
        head["teacher_accuracy"] = self.teacher_accuracy
        body = {"highest": dict(self.highest), "baseline": asdict(self.baseline)}
        rows = [asdict(layer) for layer in self.layers]
        return json.dumps({**head, **body, "layers": rows}, indent=2, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """A line for each layer and number of bits, numbers as Python spells them."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["node", "part", "bit_width", "count", "membrane", "logits", "accuracy"])
        for row in self.layers:
            found = row.distance
            writer.writerow([row.node, row.part, f"{row.bit_width:g}", row.count, *map(repr, asdict(found).values())])
        return text.getvalue()

    def budget(self, part: Part, *, average: float) -> int:
        """What an average number of bits is in bits of memory."""
        return math.floor(average * sum(self.counts[part].values()) + 1e-9)

    def allocate(self, part: Part, *, budget: int, measure: Measure) -> Allocation:
        """The bits of every layer's weights or membranes with the least sum of losses under a budget (`bit_budget`)."""
        return allocate(
            {name: self._choices(part, name, measure) for name in self.counts[part]},
            budget=budget,
        )

    def _choices(self, part: Part, name: str, measure: Measure) -> list[BitChoice]:
        """A loss is what the distance grows by from the baseline."""
        count, most = self.counts[part][name], self.highest[part]
        start: float = getattr(self.baseline, measure)
        rows = [row for row in self.layers if (row.node, row.part) == (name, part)]
        lowered = [
            BitChoice(row.bit_width, count * stored_bits(row.bit_width), getattr(row.distance, measure) - start)
            for row in rows
        ]
        return [BitChoice(most, count * stored_bits(most), 0.0), *lowered]


def measure_sensitivity(
    network: nn.Module,
    graph: SnnGraph,
    recipe: Recipe,
    *,
    calibration: Sequence[Tensor],
    samples: tuple[Tensor, Tensor],
    bits: Mapping[Part, Sequence[float]],
) -> BitSensitivity:
    """Lower each layer to each of `bits` that are below the recipe's highest.

    Args:
        network: the float network.
        graph: its trace.
        recipe: what all but the lowered bits are taken from.
        calibration: batches x [T, N, ...] from which every student's scales are found.
        samples: x [T, N, ...] and classes y [N] on which students are compared with the network: never test samples.
        bits: for weights and membranes, which are tried.
    """
    x, y = samples
    highest = _highest(plan(recipe, graph))
    counts = layer_counts(graph)
    with evaluating(network), torch.no_grad():
        target = observe(network, graph, x)
    check_labels(target.logits.mean(0), y)

    def distance(*overrides: Override) -> Distance:
        return _distance(network, graph, with_bits(recipe, highest, overrides), calibration, (x, y), target)

    rows = [
        LayerBits(name, part, width, counts[part][name], distance(bit_override(name, part, width)))
        for part, name in _layers(counts)
        for width in sorted(bits[part], reverse=True)
        if width < highest[part]
    ]
    right = (target.logits.mean(0).argmax(1) == y).double().mean()
    return BitSensitivity(highest, distance(), float(right), len(y), len(x), tuple(rows), counts)


def bit_override(node: str, part: Part, bit_width: float) -> Override:
    """The rule of a recipe that gives one layer its bits."""
    policy: dict[str, object] = {"bit_width": bit_width}
    if bit_width < 2:
        policy["narrow_range"] = True  # these levels are symmetric, whatever the recipe says of others
    return Override.model_validate({"match": node, part: policy})


def layer_counts(graph: SnnGraph) -> dict[Part, dict[str, int]]:
    """Weights of each synapse, once where several places share them, and neurons of each neuron layer."""
    owners = [node for node in graph.of(SynapseSpec, RecurrentSpec) if graph.places(node)[0] is node]
    return {
        "weight": {node.name: math.prod(node.spec.weight_shape) for node in owners},
        "membrane": {node.name: math.prod(node.shape) for node in graph.of(NeuronModel)},
    }


def with_bits(recipe: Recipe, common: Mapping[Part, float], overrides: Sequence[Override]) -> Recipe:
    """The recipe with common bits for all layers, then the bits of some."""
    everywhere = tuple(bit_override("**", part, width) for part, width in common.items())
    quantize_spec = recipe.quantize.model_copy(
        update={"overrides": (*recipe.quantize.overrides, *everywhere, *overrides)}
    )
    return recipe.model_copy(update={"quantize": quantize_spec})


def _highest(chosen: QuantPlan) -> dict[Part, float]:
    weights = [node.weight.bit_width for node in chosen if node.weight is not None]
    membranes = [node.membrane.bit_width for node in chosen if node.membrane is not None]
    found: dict[Part, float] = {}
    if weights:
        found["weight"] = max(weights)
    if membranes:
        found["membrane"] = max(membranes)
    return found


def _layers(counts: Mapping[Part, Mapping[str, int]]) -> Iterator[tuple[Part, str]]:
    for part, names in counts.items():
        for name in names:
            yield part, name


def _distance(
    network: nn.Module,
    graph: SnnGraph,
    recipe: Recipe,
    calibration: Sequence[Tensor],
    samples: tuple[Tensor, Tensor],
    target: Observation,
) -> Distance:
    """The calibrated student of a recipe beside the network."""
    x, y = samples
    student = quantize(network, graph, plan(recipe, graph))
    calibrate(student, calibration, spec=recipe.calibrate, teacher=network)
    with evaluating(student), torch.no_grad():
        seen = student.observe(x)
    mismatches = [
        membrane_mismatch(seen.potentials[name].double(), target.potentials[name].double(), threshold=threshold)
        for name, threshold in ((name, layer_threshold(graph, name)) for name in firing_neurons(graph))
    ]
    logits = logit_loss(seen.logits.double(), target.logits.double(), temperature=1.0)
    right = (seen.logits.mean(0).argmax(1) == y).double().mean()
    return Distance(math.fsum(map(float, mismatches)) / max(len(mismatches), 1), max(float(logits), 0.0), float(right))
