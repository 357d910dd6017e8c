"""The students of a search: bits of every layer and T, each one number of a few; and the recipe that makes a student.

A student is named by which value each parameter has (`Indices` of the sampler); a parameter is a layer's part, as in
`weight stem.conv`, or `time_steps`. Parameters of one value are not searched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from intsnn.yaml.file import read_yaml_text
from mdcompress.bits.sensitivity import BitSensitivity, Part, bit_override, layer_counts
from mdcompress.graph import SnnGraph
from mdcompress.planning import PlannedNode, QuantPlan
from mdcompress.recipe import RECIPE_SCHEMA, Override, Recipe, dump_recipe

SearchedPart = Literal["weight", "membrane", "batch_norm"]
FOUR_LEVELS = 2  # bits of a weight; without the most negative level they would be those of a ternary one
_PARTS: tuple[Part, ...] = ("weight", "membrane")
_TIME_STEPS = "time_steps"
_MIXED_BUDGETS = (0.2, 0.5)  # of the way from the fewest bits to the most


@dataclass(frozen=True)
class LayerBits:
    """What the bits of one part of a layer may be, ascending. count: how many numbers have them."""

    part: SearchedPart
    node: str
    bits: tuple[float, ...]
    count: int

    @property
    def name(self) -> str:
        """As a parameter of the study."""
        return f"{self.part} {self.node}"


@dataclass(frozen=True)
class StudentChoice:
    """One student: bits by parameter name, and T."""

    bits: Mapping[str, float]
    time_steps: int


@dataclass(frozen=True)
class StudentSpace:
    """All students of a search. time_steps: ascending."""

    layers: tuple[LayerBits, ...]
    time_steps: tuple[int, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Parameter -> how many values it has; those of one value are left out."""
        found = {layer.name: len(layer.bits) for layer in self.layers}
        return {name: size for name, size in {**found, _TIME_STEPS: len(self.time_steps)}.items() if size > 1}

    def choice(self, indices: Mapping[str, int]) -> StudentChoice:
        """The student that the values of the parameters mean."""
        bits = {layer.name: layer.bits[indices.get(layer.name, 0)] for layer in self.layers}
        return StudentChoice(bits, self.time_steps[indices.get(_TIME_STEPS, 0)])

    def indices(self, choice: StudentChoice) -> dict[str, int] | None:
        """The same backwards; None where a value of the student is not searched."""
        if choice.time_steps not in self.time_steps:
            return None
        if any(choice.bits[layer.name] not in layer.bits for layer in self.layers):
            return None
        found = {layer.name: layer.bits.index(choice.bits[layer.name]) for layer in self.layers}
        found[_TIME_STEPS] = self.time_steps.index(choice.time_steps)
        return {name: found[name] for name in self.sizes}

    def average(self, choice: StudentChoice, part: SearchedPart) -> float | None:
        """The mean number of bits of all weights, or of all neurons' membranes; None where the part is not there."""
        layers = [layer for layer in self.layers if layer.part == part]
        total = sum(layer.count for layer in layers)
        return sum(layer.count * choice.bits[layer.name] for layer in layers) / total if layers else None

    def recipe(self, base: Recipe, choice: StudentChoice, *, name: str, weights: Path) -> Recipe:
        """The recipe that makes the student of the float network in `weights`; checked as a file of a user is.

        Rules for each layer stand behind those of the base, so that they win.
        """
        rules = tuple(_rule(layer, choice.bits[layer.name]) for layer in self.layers)
        quantize = base.quantize.model_copy(update={"overrides": (*base.quantize.overrides, *rules)})
        steps = None if choice.time_steps == base.data.time_steps else (choice.time_steps,)
        assert base.model is not None
        model = base.model if base.model.trained else base.model.model_copy(update={"weights": str(weights)})
        made = base.model_copy(
            update={
                "name": name,
                "summary": f"{base.name} with bits chosen layer by layer by `mdcompress search`.",
                "model": model,
                "quantize": quantize,
                "distill": base.distill.model_copy(update={"time_steps": steps}),
            }
        )
        return read_yaml_text(dump_recipe(made), f"recipe of {name}", Recipe, schema=RECIPE_SCHEMA)


def students_of(
    graph: SnnGraph, plan: QuantPlan, bits: Mapping[SearchedPart, Sequence[float]], time_steps: Sequence[int]
) -> StudentSpace:
    """All students of a network.

    Args:
        graph: the float network.
        plan: of the base recipe; it says which layers have a part at all.
        bits: of each part that is searched, what every layer may have.
        time_steps: what T may be.
    """
    counts: dict[SearchedPart, Mapping[str, int]] = {
        **dict(layer_counts(graph).items()),
        "batch_norm": {node.name: node.shape[0] for node in plan if node.batch_norm is not None},
    }
    layers = tuple(
        LayerBits(part, node, tuple(sorted(values)), counts[part][node])
        for part, values in bits.items()
        if values
        for node in counts[part]
    )
    return StudentSpace(layers, tuple(sorted(time_steps)))


def planned_choice(space: StudentSpace, plan: QuantPlan) -> StudentChoice:
    """The student that a plan makes, at the most steps."""
    return StudentChoice(
        {layer.name: _planned(plan.node(layer.node), layer.part) for layer in space.layers}, space.time_steps[-1]
    )


def flat_choice(space: StudentSpace, bits: float) -> StudentChoice:
    """The student whose weights and membranes all have so many bits; its norms have the most that are searched."""
    most = most_bits(space)
    found = {layer.name: bits for layer in space.layers if layer.part != "batch_norm"}
    return StudentChoice({**most.bits, **found}, most.time_steps)


def most_bits(space: StudentSpace) -> StudentChoice:
    """The student with the most bits everywhere, and the most steps."""
    return StudentChoice({layer.name: layer.bits[-1] for layer in space.layers}, space.time_steps[-1])


def with_uniform_bits(recipe: Recipe, bits: int) -> Recipe:
    """The recipe with so many bits for all weights and membranes that no override names."""
    narrow = {"narrow_range": bits != FOUR_LEVELS}
    quantize = recipe.quantize.model_copy(
        update={
            "weight": recipe.quantize.weight.model_copy(update={"bit_width": bits, **narrow}),
            "membrane": recipe.quantize.membrane.model_copy(update={"bit_width": bits}),
        }
    )
    return recipe.model_copy(update={"quantize": quantize})


def measured_bits(space: StudentSpace) -> dict[Part, tuple[float, ...]]:
    """Bits to measure the loss of each layer at: the fewest, and those in the middle; the others keep the most."""
    found: dict[Part, tuple[float, ...]] = {}
    for part in _PARTS:
        bits = _all_bits(space, part)
        found[part] = tuple(sorted({*bits[:1], *bits[len(bits) // 2 : len(bits) // 2 + 1]} - {*bits[-1:]}))
    return found


def mixed_choices(space: StudentSpace, found: BitSensitivity) -> list[StudentChoice]:
    """Students whose bits go where they are needed most, for budgets between the fewest bits and the most."""
    return [_mixed(space, found, share) for share in _MIXED_BUDGETS]


def _mixed(space: StudentSpace, found: BitSensitivity, share: float) -> StudentChoice:
    chosen = dict(most_bits(space).bits)
    for part in _PARTS:
        if bits := _all_bits(space, part):
            budget = found.budget(part, average=bits[0] + share * (bits[-1] - bits[0]))
            allocation = found.allocate(part, budget=budget, measure="logits")
            chosen |= {f"{part} {node}": width for node, width in allocation.bit_widths.items()}
    return StudentChoice(chosen, space.time_steps[-1])


def _all_bits(space: StudentSpace, part: Part) -> list[float]:
    return sorted({bits for layer in space.layers if layer.part == part for bits in layer.bits})


def _planned(node: PlannedNode, part: SearchedPart) -> float:
    match part:
        case "weight":
            assert node.weight is not None
            return node.weight.bit_width
        case "membrane":
            assert node.membrane is not None
            return node.membrane.bit_width
        case "batch_norm":
            assert node.batch_norm is not None
            return node.batch_norm.scale_bit_width
        case _:
            assert_never(part)


def _rule(layer: LayerBits, bits: float) -> Override:
    """The rule of a recipe that gives one part of a layer its bits; weights of 2 bits have all four levels."""
    if layer.part == "batch_norm":
        return Override.model_validate({"match": layer.node, layer.part: {"scale_bit_width": bits}})
    if layer.part == "weight" and bits == FOUR_LEVELS:
        policy = {"bit_width": bits, "narrow_range": False}
        return Override.model_validate({"match": layer.node, layer.part: policy})
    return bit_override(layer.node, layer.part, bits)
