"""Students of a search: what names them, and the recipes that make them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mdcompress import zoo
from mdcompress.bits.sensitivity import BitSensitivity, Distance, LayerBits, Part
from mdcompress.graph import SnnGraph
from mdcompress.planning import QuantPlan, plan
from mdcompress.recipe import Recipe, dump_recipe, load_recipe
from mdcompress.search.space import (
    StudentSpace,
    flat_choice,
    measured_bits,
    mixed_choices,
    most_bits,
    planned_choice,
    students_of,
    with_uniform_bits,
)
from mdcompress.tracing import trace

WEIGHTS = Path("teacher.safetensors")


@pytest.fixture(scope="module")
def graph() -> SnnGraph:
    torch.manual_seed(0)
    return trace(zoo.digits_snn().eval(), torch.zeros(4, 2, 1, 8, 8))


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("4bit")


@pytest.fixture(scope="module")
def space(graph: SnnGraph, recipe: Recipe) -> StudentSpace:
    bits = {"weight": (8, 2, 4), "membrane": (2, 4, 8), "batch_norm": (8,)}
    return students_of(graph, plan(recipe, graph), bits, (4, 1, 2))  # type: ignore[arg-type]  # keys of SearchedPart


def policies(chosen: QuantPlan) -> list[tuple[object, ...]]:
    return [(node.weight, node.membrane, node.batch_norm) for node in chosen]


def test_parameters_are_the_parts_that_have_several_values(space: StudentSpace) -> None:
    layers = ["stem.conv", "residual.conv", "conv3.conv", "head"]
    neurons = ["neuron1", "neuron2", "neuron3"]
    names = [f"weight {name}" for name in layers] + [f"membrane {name}" for name in neurons] + ["time_steps"]
    assert space.sizes == dict.fromkeys(names, 3)
    first = space.choice(dict.fromkeys(names, 0))
    assert first.time_steps == 1 and first.bits["weight head"] == 2 and first.bits["batch_norm head"] == 8
    assert space.indices(first) == dict.fromkeys(names, 0)


def test_a_student_with_a_value_that_is_not_searched_has_no_name(space: StudentSpace) -> None:
    assert space.indices(flat_choice(space, 3)) is None


@pytest.mark.parametrize(("shipped", "bits"), [("2bit", 2), ("4bit", 4), ("8bit", 8)])
def test_uniform_students_are_those_of_the_shipped_recipes(
    shipped: str, bits: int, space: StudentSpace, graph: SnnGraph, recipe: Recipe
) -> None:
    """Of whatever recipe the search began with: bits, levels and norms of each node are the same."""
    uniform = planned_choice(space, plan(with_uniform_bits(recipe, bits), graph))
    made = plan(space.recipe(recipe, uniform, name="made", weights=WEIGHTS), graph)
    assert policies(made) == policies(plan(load_recipe(shipped), graph))
    assert space.average(flat_choice(space, bits), "weight") == bits


def test_means_are_of_numbers_not_of_layers(space: StudentSpace) -> None:
    """Weights: 288 of the stem, 9,216, 18,432 and 2,560 of the head."""
    choice = most_bits(space)
    bits = {**choice.bits, "weight conv3.conv": 2}
    lowered = type(choice)(bits, 4)
    assert space.average(lowered, "weight") == pytest.approx(8 - 6 * 18_432 / (288 + 9_216 + 18_432 + 2_560))
    assert space.average(lowered, "membrane") == 8


def test_a_recipe_is_whole_and_has_its_steps(space: StudentSpace, recipe: Recipe, tmp_path: Path) -> None:
    choice = space.choice({"weight head": 1, "time_steps": 1})
    made = space.recipe(recipe, choice, name="mine", weights=WEIGHTS)
    file = tmp_path / "mine.yaml"
    file.write_text(dump_recipe(made))
    assert load_recipe(file) == made
    assert made.student_time_steps == 2 and made.model is not None and made.model.weights == str(WEIGHTS)
    assert made.distill.epochs == recipe.distill.epochs, "what follows the search is as the recipe has it"


def test_bits_go_to_the_layers_that_lose_most(space: StudentSpace) -> None:
    counts: dict[Part, dict[str, int]] = {"weight": {}, "membrane": {}}
    rows = []
    for layer in space.layers:
        if layer.part == "batch_norm":
            continue
        counts[layer.part][layer.node] = layer.count
        for bits in measured_bits(space)[layer.part]:
            loss = (10.0 if layer.node in ("head", "neuron3") else 0.1) / bits
            rows.append(LayerBits(layer.node, layer.part, bits, layer.count, Distance(loss, loss, 0.5)))
    none = Distance(0.0, 0.0, 1.0)
    found = BitSensitivity({"weight": 8, "membrane": 8}, none, 1.0, 10, 4, tuple(rows), counts)
    fewer, more = mixed_choices(space, found)
    assert measured_bits(space) == {"weight": (2, 4), "membrane": (2, 4)}
    for choice, most in ((fewer, 3.2), (more, 5.0)):
        assert choice.bits["weight head"] == 8 and choice.bits["membrane neuron3"] == 8
        assert (space.average(choice, "weight") or 9) <= most and (space.average(choice, "membrane") or 9) <= most
    assert fewer != more and space.indices(fewer) is not None
