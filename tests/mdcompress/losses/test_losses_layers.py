"""Distances between distributions, firing rates, and how layers are chosen and weighted; on paper first."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from intsnn.errors import InvalidFileError
from intsnn.yaml.file import read_yaml_text
from mdcompress.distances import DISTANCES_IN_WORDS, NORMALIZED, POOLED, Distance, Pool
from mdcompress.errors import TrainingError
from mdcompress.graph import Carries, InputSpec, NeuronModel, NodeSpec, ReadoutSpec, SnnGraph, SnnNode
from mdcompress.losses import (
    compared_neurons,
    distillation_loss,
    earth_movers_distance,
    gaussian_divergence,
    layer_weights,
    membrane_loss,
    rate_loss,
    stage_ends,
)
from mdcompress.recipe import RECIPE_SCHEMA, DistillSpec, MembraneLossSpec, RateLossSpec, Recipe
from mdcompress.student import Observation
from mdcompress.tracing import trace
from mdcompress.zoo import ms_resnet18
from tests.support.changes import MembraneDistance

property_test = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**20)


def tensor(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------ Earth Mover's distance


def test_earth_is_moved_the_shortest_way() -> None:
    assert earth_movers_distance(tensor(0.0, 4.0), tensor(5.0, 1.0)).item() == 1.0  # 0 to 1 and 4 to 5, not 0 to 5
    assert earth_movers_distance(tensor(0.0, 0.0, 3.0), tensor(0.0, 0.0, 0.0)).item() == 1.0


def test_emd_counts_in_thresholds_by_channel_or_by_layer() -> None:
    student = tensor([[0.0, 3.0], [2.0, 1.0]])  # T=1, N=2, C=2: channel 0 holds 0 and 2, channel 1 holds 3 and 1
    teacher = tensor([[3.0, 0.0], [1.0, 2.0]])  # channel 0 holds 3 and 1, channel 1 holds 0 and 2
    assert (
        membrane_loss(student, teacher, threshold=2.0, distance="emd").item() == 0.5
    )  # each value moves by 1, half a threshold
    assert (
        membrane_loss(student, teacher, threshold=2.0, distance="emd", pool="layer").item() == 0.0
    )  # both layers hold 0, 1, 2, 3
    assert membrane_loss(student, teacher, threshold=2.0, distance="emd", normalize="none").item() == 1.0


def test_emd_divided_by_the_teachers_spread() -> None:
    student, teacher = tensor([[4.0], [6.0]]), tensor([[3.0], [7.0]])  # std of the teacher: 2; each value moves by 1
    loss = membrane_loss(student, teacher, threshold=9.0, distance="emd", normalize="variance", pool="layer")
    assert loss.item() == 0.5


@property_test
@given(seed=seeds, n=st.integers(1, 12))
def test_emd_is_scipys_wasserstein_distance(seed: int, n: int) -> None:
    one, other = drawn(seed, 3, n), drawn(seed + 1, 3, n).square()
    expected = [wasserstein_distance(a.numpy(), b.numpy()) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(earth_movers_distance(one, other).numpy(), expected, rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------ moments


def test_gaussian_divergence_of_a_shift_and_of_a_spread() -> None:
    teacher = tensor(-1.0, 1.0)  # mean 0, variance 1
    assert gaussian_divergence(tensor(1.0, 3.0), teacher, floor=0.0).item() == pytest.approx(2.0)  # 2^2 / 2
    wide = tensor(-2.0, 2.0)  # variance 4: (1/4 - 1 + ln 4) / 2
    assert gaussian_divergence(wide, teacher, floor=0.0).item() == pytest.approx((0.25 - 1 + math.log(4)) / 2)


@property_test
@given(seed=seeds, floor=st.floats(0.0, 1.0))
def test_gaussian_divergence_is_torchs(seed: int, floor: float) -> None:
    student, teacher = drawn(seed, 4, 9) * 2 + 1, drawn(seed + 1, 4, 9)

    def fitted(values: Tensor) -> Normal:
        return Normal(values.mean(-1), (values.var(-1, correction=0) + floor).sqrt())

    expected = kl_divergence(fitted(teacher), fitted(student))
    torch.testing.assert_close(gaussian_divergence(student, teacher, floor=floor), expected)


def test_moments_of_a_channel_at_rest_are_finite_with_a_finite_gradient() -> None:
    student = torch.zeros(1, 3, 2, dtype=torch.float64, requires_grad=True)
    loss = membrane_loss(student, torch.ones(1, 3, 2, dtype=torch.float64), threshold=2.0, distance="moments")
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0.5 * 1 / (0.01 * 4))  # one unit apart, both variances 0 + theta^2 / 100
    assert student.grad is not None and torch.isfinite(student.grad).all()


@property_test
@given(seed=seeds, distance=st.sampled_from(["emd", "moments"]), pool=st.sampled_from(["channel", "layer"]))
def test_distributions_do_not_see_the_order_of_samples_but_see_a_shift(
    seed: int, distance: Distance, pool: Pool
) -> None:
    teacher = drawn(seed, 3, 5, 2, 3)
    shuffled = teacher[:, torch.randperm(5, generator=torch.Generator().manual_seed(seed))]
    how: MembraneDistance = {"distance": distance, "pool": pool}
    assert membrane_loss(shuffled, teacher, threshold=1.3, **how).item() == pytest.approx(0.0, abs=1e-12)
    assert membrane_loss(shuffled, teacher, distance="mse", threshold=1.3).item() > 0 or bool(
        (shuffled == teacher).all()
    )
    assert membrane_loss(teacher + 0.5, teacher, threshold=1.3, **how).item() > 0.01


@settings(deadline=None, max_examples=10)
@given(seed=seeds, distance=st.sampled_from(["emd", "moments"]), pool=st.sampled_from(["channel", "layer"]))
def test_gradients_of_distributions_are_those_of_finite_differences(seed: int, distance: Distance, pool: Pool) -> None:
    student, teacher = drawn(seed, 2, 3, 2).requires_grad_(), drawn(seed + 1, 4, 3, 2).requires_grad_()
    how: MembraneDistance = {"distance": distance, "pool": pool}
    assert torch.autograd.gradcheck(lambda h: membrane_loss(h, teacher.detach(), threshold=1.3, **how), student)
    torch.autograd.backward(membrane_loss(student, teacher, threshold=1.3, **how))
    assert teacher.grad is None


# ------------------------------------------------------------------ firing rates


def test_rate_loss_is_the_squared_difference_of_rates() -> None:
    student = tensor([[1.0, 0.0]], [[1.0, 0.0]])  # T=2, N=1, C=2: rates 1 and 0
    teacher = tensor([[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]])  # 1/4 and 1/2; of the first two 1/2 and 0
    assert rate_loss(student, teacher).item() == pytest.approx(((3 / 4) ** 2 + (1 / 2) ** 2) / 2)
    assert rate_loss(student, teacher, align="first_steps").item() == pytest.approx((1 / 2) ** 2 / 2)


def test_rates_of_a_channel_do_not_see_where_in_it_neurons_fire() -> None:
    student, teacher = tensor([[[1.0, 0.0]]]), tensor([[[0.0, 1.0]]])  # one channel, two positions
    assert rate_loss(student, teacher).item() == 1.0
    assert rate_loss(student, teacher, unit="channel").item() == 0.0
    flat = tensor([[1.0, 0.0]])  # a linear layer: each neuron is a channel
    assert rate_loss(flat, 1.0 - flat, unit="channel").item() == 1.0


# ------------------------------------------------------------------ layers


def node(name: str, spec: NodeSpec, before: str | None, shape: tuple[int, ...]) -> SnnNode:
    return SnnNode(name, spec, () if before is None else (before,), shape, Carries.SPIKES)


def neuron(threshold: float = 1.0) -> NeuronModel:
    return NeuronModel(0.5, 1.0, 0.0, threshold, "greater_equal", "hard", 0.0, threshold, 0.0)


GRAPH = SnnGraph(
    (
        node("input", InputSpec(), None, (2,)),
        node("a.1", neuron(), "input", (2, 4, 4)),
        node("a.2", neuron(), "a.1", (2, 4, 4)),
        node("b.1", neuron(), "a.2", (4, 2, 2)),
        node("leaky", neuron(math.inf), "b.1", (2,)),
        node("readout", ReadoutSpec("mean"), "leaky", (2,)),
    ),
    time_steps=1,
)


def test_stages_end_where_the_shape_changes() -> None:
    assert stage_ends(GRAPH) == ("a.2", "b.1")
    assert compared_neurons(GRAPH, MembraneLossSpec(match="@stage_ends")) == ("a.2", "b.1")
    assert compared_neurons(GRAPH, MembraneLossSpec(match=("@stage_ends", "a.1"))) == ("a.1", "a.2", "b.1")


def test_the_stages_of_a_resnet_end_in_four_places() -> None:
    torch.manual_seed(0)
    graph = trace(ms_resnet18(), torch.rand(1, 2, 3, 32, 32))
    shapes = [graph.node(name).shape for name in stage_ends(graph)]
    assert [shape[0] for shape in shapes] == sorted({shape[0] for shape in shapes})
    assert len(shapes) == 4


def test_a_later_layer_weight_wins_and_the_rest_have_one() -> None:
    spec = MembraneLossSpec(layer_weights={"a.*": 2.0, "a.2": 0.0})
    assert layer_weights(GRAPH, spec, section="membrane") == {"a.1": 2.0, "a.2": 0.0, "b.1": 1.0}


def test_a_layer_weight_that_fits_no_compared_layer_is_an_error() -> None:
    spec = MembraneLossSpec(match="a.*", layer_weights={"b.*": 2.0})
    with pytest.raises(TrainingError, match=r"distill.membrane.layer_weights must match .* \(got 'b.\*'\)"):
        layer_weights(GRAPH, spec, section="membrane")
    with pytest.raises(TrainingError, match="must leave a layer a weight above 0"):
        layer_weights(GRAPH, RateLossSpec(layer_weights={"**": 0.0}), section="rates")


def test_the_loss_is_the_weighted_mean_over_layers() -> None:
    def seen(*values: float) -> Observation:
        named = {name: tensor([value]) for name, value in zip(("a.1", "a.2", "b.1"), values, strict=True)}
        logits = tensor([[0.0, 0.0]])
        return Observation(logits.mean(0), logits, named, named)

    spec = DistillSpec(
        task=None,
        logits=None,
        membrane=MembraneLossSpec(weight=10.0, layer_weights={"a.1": 3.0}),
        rates=RateLossSpec(weight=100.0, match="b.*"),
    )
    loss = distillation_loss(seen(1.0, 2.0, 1.0), seen(0.0, 0.0, 0.0), y=torch.tensor([0]), graph=GRAPH, spec=spec)
    membrane = (3 * 1 + 1 * 4 + 1 * 1) / 5
    assert {name: part.item() for name, part in loss.named().items()} == pytest.approx(
        {
            "total": 10 * membrane + 100,
            "membrane": membrane,
            "rates": 1.0,
            "membrane/a.1": 1.0,
            "membrane/a.2": 4.0,
            "membrane/b.1": 1.0,
            "rates/b.1": 1.0,
        }
    )


def test_potentials_after_reset_are_those_that_are_compared_where_the_recipe_says_so() -> None:
    """Before reset they differ by 1, after it by 3."""

    def seen(potentials: float, membranes: float) -> Observation:
        before, after = ({name: tensor([value]) for name in ("a.1", "a.2", "b.1")} for value in (potentials, membranes))
        return Observation(tensor([0.0, 0.0]), tensor([[0.0, 0.0]]), before, before, after)

    def loss(potential: Literal["before_reset", "after_reset"]) -> float:
        spec = DistillSpec(task=None, logits=None, membrane=MembraneLossSpec(weight=1.0, potential=potential))
        parts = distillation_loss(seen(1.5, 3.0), seen(0.5, 0.0), y=torch.tensor([0]), graph=GRAPH, spec=spec)
        return parts.total.item()

    assert loss("before_reset") == pytest.approx(1.0)
    assert loss("after_reset") == pytest.approx(9.0)


# ------------------------------------------------------------------ the recipe


def read(distill: str) -> Recipe:
    text = f"schema: {RECIPE_SCHEMA}\nname: r\ndistill: {distill}\n"
    return read_yaml_text(text, "r.yaml", Recipe, schema=RECIPE_SCHEMA)


def test_a_recipe_chooses_distance_layers_and_rates() -> None:
    recipe = read("{membrane: {distance: emd, match: '@stage_ends', layer_weights: {'a.*': 2}}, rates: {weight: 1}}")
    assert recipe.distill.membrane == MembraneLossSpec(distance="emd", match="@stage_ends", layer_weights={"a.*": 2.0})
    assert recipe.distill.rates == RateLossSpec(weight=1.0)


@pytest.mark.parametrize(
    ("distill", "words"),
    [
        ("{membrane: {match: '@stage_end'}}", "write `@stage_ends`"),
        ("{membrane: {layer_weights: {'a.*': -1}}}", "must be at least 0 (got -1 for 'a.*')"),
        ("{membrane: {layer_weights: {'re:(': 1}}}", "is not a regular expression"),
        ("{membrane: {layer_weights: [1, 2]}}", "distill.membrane.layer_weights"),
        ("{membrane: {distance: wasserstein}}", "mse, cosine, firing, emd, moments"),
        ("{rates: {unit: layer}}", "neuron, channel"),
        ("{task: null, logits: null, membrane: null}", "task, logits, membrane and rates are all null"),
        ("{membrane: {epochs: 0}}", "distill.membrane.epochs"),
        ("{task: null, logits: null, membrane: {epochs: 2}}", "the epochs after it would have no loss"),
    ],
)
def test_what_is_wrong_in_a_loss_is_said_with_its_place(distill: str, words: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read(distill)
    assert words in str(caught.value)
    assert "r.yaml:3:" in str(caught.value)


@pytest.mark.parametrize("distance", get_args(Distance))
def test_distance_reads_what_is_said_of_it_and_has_its_words(distance: Distance) -> None:
    """`pool` and `normalize` change the loss of exactly the distances that a recipe may give them to."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))

    def loss(**how: str) -> float:
        return float(membrane_loss(student, teacher, threshold=0.5, distance=distance, **how))  # type: ignore[arg-type]

    assert (loss(pool="layer") != loss(pool="channel")) == (distance in POOLED)
    for normalize in ("variance", "none"):
        assert (loss(normalize=normalize) != loss(normalize="threshold")) == (distance in NORMALIZED)
    assert f"`{distance}`" in DISTANCES_IN_WORDS
    assert MembraneLossSpec(distance=distance).distance == distance
