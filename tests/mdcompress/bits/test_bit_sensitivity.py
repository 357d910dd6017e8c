"""Sensitivity to bits: the budget against brute force, each measured figure against a student made by hand."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from intsnn.errors import UsageError
from mdcompress.bits.budget import BitChoice, allocate, stored_bits
from mdcompress.bits.sensitivity import BitSensitivity, Part, measure_sensitivity
from mdcompress.compression import compress
from mdcompress.losses import logit_loss
from mdcompress.recipe import Recipe, load_recipe
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.zoo import LIF
from tests.support.command_line import copy_finished_run, invoke, snapshot

# --- the budget ------------------------------------------------------------------------------------------------------


def choices(count: int, losses: Mapping[float, float]) -> list[BitChoice]:
    return [BitChoice(bits, count * stored_bits(bits), loss) for bits, loss in losses.items()]


def test_bits_go_where_they_save_most_by_hand() -> None:
    """10 and 20 numbers, 3 bits on average are 90: 4 and 2 bits lose 0.1 + 0.2, 2 and 3 would lose 0.9 + 0.1."""
    layers = {
        "small": choices(10, {8: 0.0, 4: 0.1, 2: 0.9}),
        "large": choices(20, {8: 0.0, 3: 0.1, 2: 0.2}),
    }
    found = allocate(layers, budget=90)
    assert (dict(found.bit_widths), found.cost) == ({"small": 4, "large": 2}, 80)
    assert found.loss == pytest.approx(0.3)
    assert dict(allocate(layers, budget=240).bit_widths) == {"small": 8, "large": 8}
    assert dict(allocate(layers, budget=60).bit_widths) == {"small": 2, "large": 2}


def test_of_equal_losses_the_cheaper_choice_wins_and_noise_below_zero_is_no_gain() -> None:
    assert dict(allocate({"a": choices(1, {8: 0.0, 4: -0.1, 2: 0.5})}, budget=8).bit_widths) == {"a": 4}


def test_ternary_numbers_take_two_bits() -> None:
    assert [stored_bits(bits) for bits in (1, 1.58, 2, 8)] == [1, 2, 2, 8]


def test_a_budget_below_the_least_bits_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"least bits of every layer, 20 in all \(got 19\)"):
        allocate({"a": choices(10, {8: 0.0, 2: 1.0})}, budget=19)


LAYERS = st.lists(
    st.tuples(
        st.integers(1, 50),
        st.dictionaries(st.sampled_from([1, 1.58, 2, 3, 4, 8]), st.floats(-0.25, 2, width=16), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=80, deadline=None)
@given(drawn=LAYERS, share=st.floats(0, 1))
def test_no_other_choice_within_the_budget_loses_less(
    drawn: Sequence[tuple[int, dict[float, float]]], share: float
) -> None:
    layers = {f"l{number}": choices(count, losses) for number, (count, losses) in enumerate(drawn)}
    costs = [[choice.cost for choice in each] for each in layers.values()]
    budget = int(sum(map(min, costs)) + share * (sum(map(max, costs)) - sum(map(min, costs))))
    found = allocate(layers, budget=budget)
    possible = [
        sum(max(choice.loss, 0.0) for choice in combination)
        for combination in itertools.product(*layers.values())
        if sum(choice.cost for choice in combination) <= budget
    ]
    assert found.cost <= budget and found.loss == pytest.approx(min(possible))
    chosen = [next(c for c in layers[name] if c.bit_width == bits) for name, bits in found.bit_widths.items()]
    assert found.cost == sum(choice.cost for choice in chosen)
    assert found.loss == pytest.approx(sum(max(choice.loss, 0.0) for choice in chosen))


# --- what is measured ------------------------------------------------------------------------------------------------

RECIPE = Recipe.model_validate(
    {
        "name": "r",
        "quantize": {
            "weight": {"bit_width": 4},
            "membrane": {"bit_width": 6},
            "overrides": ({"match": "@last", "weight": {"bit_width": 7}},),
        },
    }
)
BITS: dict[Part, tuple[int, ...]] = {"weight": (2, 7, 8), "membrane": (3,)}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(12, 30), LIF(tau=2.0), nn.Linear(30, 20), LIF(tau=2.0), nn.Linear(20, 4)).eval()
    with torch.no_grad():
        for place, factor in ((0, 2.0), (2, 4.0), (4, 20.0)):
            layers.get_parameter(f"{place}.weight").mul_(factor)
    return layers


def data(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.rand(3, 40, 12, generator=generator), torch.randint(0, 4, (40,), generator=generator)


@pytest.fixture(scope="module")
def measured(network: nn.Module) -> BitSensitivity:
    graph = trace(network, data(0)[0])
    return measure_sensitivity(network, graph, RECIPE, calibration=[data(0)[0]], samples=data(1), bits=BITS)


def test_every_layer_is_lowered_once_to_each_number_of_bits_below_the_highest(measured: BitSensitivity) -> None:
    assert dict(measured.highest) == {"weight": 7, "membrane": 6}
    rows = [(row.node, row.part, row.bit_width, row.count) for row in measured.layers]
    assert rows == [
        ("0", "weight", 2, 360), ("2", "weight", 2, 600), ("4", "weight", 2, 80),
        ("1", "membrane", 3, 30), ("3", "membrane", 3, 20),
    ]  # fmt: skip


@pytest.mark.parametrize(("node", "part", "bits"), [("2", "weight", 2), ("3", "membrane", 3), (None, None, None)])
def test_a_row_is_the_student_of_a_recipe_written_by_hand(
    network: nn.Module, measured: BitSensitivity, node: str | None, part: Part | None, bits: int | None
) -> None:
    widths = {"weight": {"bit_width": 7}, "membrane": {"bit_width": 6}}
    overrides = () if node is None else ({"match": node, part: {"bit_width": bits}},)
    recipe = Recipe.model_validate({"name": "hand", "quantize": {**widths, "overrides": overrides}})
    x, y = data(1)
    graph = trace(network, x)
    student = compress(network, data(0)[0], recipe, [data(0)[0]]).eval()
    with torch.no_grad():
        seen, target = student.observe(x), observe(network, graph, x)
    squares = [((seen.potentials[n] - target.potentials[n]).double() ** 2).mean() for n in ("1", "3")]
    rows = {(row.node, row.part): row.distance for row in measured.layers}
    found = measured.baseline if node is None or part is None else rows[node, part]
    assert found.membrane == pytest.approx(float(sum(squares)) / 2, rel=1e-6) and found.membrane > 0
    assert found.logits == pytest.approx(float(logit_loss(seen.logits, target.logits, temperature=1.0)), rel=1e-3)
    assert found.accuracy == float((seen.logits.mean(0).argmax(1) == y).double().mean())


def test_two_bits_lose_more_than_the_baseline_and_the_head_moves_no_membrane(measured: BitSensitivity) -> None:
    base, rows = measured.baseline, {row.node: row.distance for row in measured.layers if row.part == "weight"}
    assert all(distance.logits > base.logits for distance in rows.values())
    assert rows["0"].membrane > base.membrane and rows["2"].membrane > base.membrane
    assert rows["4"].membrane == base.membrane  # no neuron reads it


def test_the_files_hold_every_row(measured: BitSensitivity) -> None:
    rows = list(csv.DictReader(io.StringIO(measured.to_csv())))
    document = json.loads(measured.to_json())
    assert len(rows) == len(document["layers"]) == len(measured.layers)
    for row, entry, found in zip(rows, document["layers"], measured.layers, strict=True):
        assert float(row["logits"]) == entry["distance"]["logits"] == found.distance.logits
        assert (row["node"], float(row["bit_width"])) == (entry["node"], entry["bit_width"])


def test_bits_are_chosen_on_what_was_measured(measured: BitSensitivity) -> None:
    """6.0 bits on average: one of the two large layers must fall to 2; the one that loses less does."""
    budget = measured.budget("weight", average=6.0)
    assert budget == 6 * 1040
    found = measured.allocate("weight", budget=budget, measure="membrane")
    losses = {row.node: row.distance.membrane for row in measured.layers if row.part == "weight"}
    lowered = [name for name, bits in found.bit_widths.items() if bits == 2]
    assert lowered and found.cost <= budget
    assert len(lowered) > 1 or losses[lowered[0]] == min(losses["0"], losses["2"])


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("drawn_as_shipped")
def test_the_chosen_recipe_is_quantized_as_it_stands(finished: Path) -> None:
    before = snapshot(finished / "runs")
    arguments = ["sensitivity", "--run", "tiny", "--samples", "64", "--bits", "2,4", "--membrane-bits", "3"]
    result = invoke(*arguments, "--budget", "4.5", "--membrane-budget", "8", "--output", "mixed", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert snapshot(finished / "runs") == before, "the run is only read"
    chosen = document["chosen"]["weight"]
    assert chosen["average"] <= 4.5 and set(chosen["bit_widths"]) == {"hidden", "head"}
    assert document["samples"] == 64 and json.loads((finished / "mixed/sensitivity.json").read_text()) == document
    recipe = load_recipe(finished / "mixed/recipe.yaml")
    assert recipe.name == "tiny-mixed" and len(recipe.quantize.overrides) == 3
    quantized = invoke("quantize", "--recipe", "mixed/recipe.yaml")
    assert quantized.code == 0, quantized.err
    plan = (finished / "runs/tiny-mixed/plan.yaml").read_text()
    for bits in chosen["bit_widths"].values():
        assert f"bit_width: {bits:g}" in plan
    assert "what fewer bits of one layer cost" in (finished / "mixed/sensitivity.svg").read_text("utf-8")
    assert invoke(*arguments, "--output", "mixed").code == 1, "results are replaced only with --force"
    assert invoke(*arguments, "--output", "mixed", "--force").code == 0


def test_the_table_has_a_row_for_each_layer_and_number_of_bits(finished: Path) -> None:
    result = invoke(
        "sensitivity", "--run", "tiny", "--samples", "32", "--bits", "2", "--membrane-bits", "", "--size", "9999"
    )
    assert result.code == 0, result.err
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.out.splitlines() if line[:1] == "|"]
    assert [row[:4] for row in rows[2:4]] == [["hidden", "weight", "2,048", "2"], ["head", "weight", "320", "2"]]
    assert "32 validation samples, T = " in result.out and "9,999" not in result.out
    assert "Chosen bits of weights" in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--budget", "3", "--size", "100"], 2, "choose one"),
        (["--bits", "2,9"], 2, "must be of 1, 1.58, 2"),
        (["--membrane-bits", "x"], 2, "with commas between"),
        (["--budget", "1.5", "--bits", "4", "--membrane-bits", ""], 2, "least bits of every layer"),
    ],
)
def test_a_limit_that_is_none_is_an_error(finished: Path, arguments: list[str], code: int, says: str) -> None:
    result = invoke("sensitivity", "--run", "tiny", "--samples", "8", *arguments)
    assert (result.code, says in result.err) == (code, True), result.err


def test_a_network_without_neurons_is_an_error(finished: Path) -> None:
    result = invoke("sensitivity", "--recipe", "tiny.yaml", "--model", "tiny_network:build_without_neurons")
    assert result.code != 0 and "hint:" in result.err
