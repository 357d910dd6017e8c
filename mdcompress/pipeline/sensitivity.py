"""`sensitivity`: float network and a few samples -> what each layer pays for fewer bits, and a recipe for a budget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from intsnn.files import write_atomically
from intsnn.pictures import picture_paths
from mdcompress.errors import PlanError
from mdcompress.pipeline.networks import (
    at_steps,
    first_samples,
    fitted,
    load_splits,
    seeded,
    teacher_weights,
    torch_device,
    trained_network,
)
from mdcompress.pipeline.report import JsonValue, Report, percent, table
from mdcompress.pipeline.sensitivity_picture import draw_sensitivity
from mdcompress.pipeline.threads import own_threads_afterwards, use_threads
from mdcompress.pipeline.workspace import Workspace
from mdcompress.recipe import Recipe, dump_recipe
from mdcompress.runs import Destination

if TYPE_CHECKING:
    from torch import Tensor

    from mdcompress.bits.budget import Allocation
    from mdcompress.bits.sensitivity import BitSensitivity, Measure, Part
    from mdcompress.data import Batches

JSON_FILE, CSV_FILE, TABLE_FILE, RECIPE_FILE = "sensitivity.json", "sensitivity.csv", "sensitivity.md", "recipe.yaml"
PICTURE_FILE = "sensitivity.svg"


@dataclass(frozen=True)
class Budget:
    """The most bits that weights or membranes may take, on average or in all; `measure`: which loss is kept small."""

    weight_average: float | None = None
    weight_total: int | None = None
    membrane_average: float | None = None
    measure: Measure = "logits"


@dataclass(frozen=True)
class SensitivityChoice:
    """Which bits are tried on how many samples, the budget to fill, where the results go, formats besides SVG."""

    bits: Mapping[Part, Sequence[float]]
    samples: int
    budget: Budget
    output: Destination | None = None
    pictures: tuple[str, ...] = ()


@own_threads_afterwards()
def sensitivity(workspace: Workspace, choice: SensitivityChoice) -> Report:
    """Measure, print, and write where asked; the run is only read."""
    if choice.output is not None:
        choice.output.require_free(JSON_FILE, CSV_FILE, TABLE_FILE, RECIPE_FILE, PICTURE_FILE)
    weights = teacher_weights(workspace)
    found = _measured(workspace, weights, choice)
    allocations = _allocations(found, choice.budget)
    text = "\n\n".join([sensitivity_table(found), *(allocation_table(found, *item) for item in allocations.items())])
    document: JsonValue = {**json.loads(found.to_json()), "chosen": _chosen(found, allocations)}
    if choice.output is None:
        return Report(text, document)
    files = {JSON_FILE: json.dumps(document, indent=2) + "\n", CSV_FILE: found.to_csv(), TABLE_FILE: text + "\n"}
    if allocations:
        files[RECIPE_FILE] = dump_recipe(mixed_recipe(workspace.recipe, weights, allocations))
    with choice.output.writing("the result of `sensitivity`") as folder:
        for name, content in files.items():
            write_atomically(folder / name, content.encode())
        pictures = picture_paths(folder / PICTURE_FILE, choice.pictures)
        draw_sensitivity(found, pictures, title=f"{workspace.recipe.name}: what fewer bits of one layer cost")
    names = (*files, *(picture.name for picture in pictures))
    return Report(text, document, tuple(path for name in names if (path := choice.output.folder / name).is_file()))


def _measured(workspace: Workspace, weights: Path, choice: SensitivityChoice) -> BitSensitivity:
    from mdcompress.bits.sensitivity import measure_sensitivity
    from mdcompress.graph import NeuronModel

    recipe, splits = workspace.recipe, load_splits(workspace)
    network = fitted(workspace, trained_network(workspace, weights), splits)
    if not network.graph.of(NeuronModel):
        raise PlanError(
            f"the network has no spiking neuron ({workspace.model.builder})",
            hints=["put one behind each layer but the last, for example mdcompress.zoo.LIF instead of nn.ReLU"],
        )
    use_threads(workspace, network.graph)
    device, steps = torch_device(workspace), recipe.student_time_steps
    calibration = first_samples(splits.train, choice.samples, seed=recipe.seed)[:steps]
    x, y = _labelled(splits.validation, choice.samples, seed=recipe.seed)
    with seeded(recipe.seed):
        return measure_sensitivity(
            at_steps(workspace, network.network, splits, steps),
            network.graph,
            recipe,
            calibration=[calibration.to(device)],
            samples=(x[:steps].to(device), y.to(device)),
            bits=choice.bits,
        )


def _labelled(batches: Batches, samples: int, *, seed: int) -> tuple[Tensor, Tensor]:
    import torch

    chosen = list(batches.first(samples, seed=seed))
    return torch.cat([x for x, _ in chosen], dim=1), torch.cat([y for _, y in chosen])


def _allocations(found: BitSensitivity, budget: Budget) -> dict[Part, Allocation]:
    totals: dict[Part, int] = {}
    if budget.weight_average is not None:
        totals["weight"] = found.budget("weight", average=budget.weight_average)
    if budget.weight_total is not None:
        totals["weight"] = budget.weight_total
    if budget.membrane_average is not None:
        totals["membrane"] = found.budget("membrane", average=budget.membrane_average)
    return {part: found.allocate(part, budget=total, measure=budget.measure) for part, total in totals.items()}


def mixed_recipe(recipe: Recipe, weights: Path, allocations: Mapping[Part, Allocation]) -> Recipe:
    """The recipe with a rule for each layer's bits, and the weights that were measured."""
    from mdcompress.bits.sensitivity import bit_override

    rules = tuple(
        bit_override(name, part, width)
        for part, allocation in allocations.items()
        for name, width in allocation.bit_widths.items()
    )
    quantize = recipe.quantize.model_copy(update={"overrides": (*recipe.quantize.overrides, *rules)})
    assert recipe.model is not None
    trained = recipe.model if recipe.model.trained else recipe.model.model_copy(update={"weights": str(weights)})
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}-mixed",
            "summary": f"{recipe.name} with bits chosen layer by layer by `mdcompress sensitivity`.",
            "model": trained,
            "quantize": quantize,
        }
    )


def sensitivity_table(found: BitSensitivity) -> str:
    """sensitivity.md."""
    header = ["layer", "part", "numbers", "bits", "membrane mismatch", "logits KL", "accuracy"]
    rows = [
        [
            row.node,
            row.part,
            f"{row.count:,}",
            f"{row.bit_width:g}",
            f"{row.distance.membrane:.4g}",
            f"{row.distance.logits:.4g}",
            percent(row.distance.accuracy),
        ]
        for row in found.layers
    ]
    others = " and ".join(f"{bits:g}-bit {part}s" for part, bits in found.highest.items())
    base = found.baseline
    return "\n\n".join(
        [
            f"{found.samples} validation samples, T = {found.time_steps}; one layer is lowered, all others have "
            f"{others}, none is trained.",
            f"Without lowering: membrane mismatch {base.membrane:.4g}, logits KL {base.logits:.4g}, accuracy "
            f"{percent(base.accuracy)} (float network {percent(found.teacher_accuracy)}).",
            table(header, rows, numbers=header[2:]),
        ]
    )


def allocation_table(found: BitSensitivity, part: Literal["weight", "membrane"], allocation: Allocation) -> str:
    """The bits that were chosen, layer by layer."""
    counts = found.counts[part]
    total = sum(counts.values())
    rows = [[name, f"{counts[name]:,}", f"{bits:g}"] for name, bits in allocation.bit_widths.items()]
    return "\n\n".join(
        [
            f"Chosen bits of {part}s: {allocation.cost:,} bits, {allocation.cost / total:.3f} on average; the losses "
            f"measured one by one add up to {allocation.loss:.4g}.",
            table(["layer", "numbers", "bits"], rows, numbers=["numbers", "bits"]),
        ]
    )


def _chosen(found: BitSensitivity, allocations: Mapping[Part, Allocation]) -> JsonValue:
    return {
        part: {**asdict(allocation), "average": allocation.cost / sum(found.counts[part].values())}
        for part, allocation in allocations.items()
    }
