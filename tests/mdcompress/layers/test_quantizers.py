"""Weights and membrane scales as integers: ranges, grids, scales, and which of them is trained."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor

from mdcompress.graph import SynapseSpec
from mdcompress.layers.quantizers import (
    BrevitasLayer,
    MembraneQuantizer,
    fit_weight_range,
    integer_weight,
    least_squares_scale,
    quantized_layer,
    weight_limits,
)
from mdcompress.recipe import MembranePolicy, WeightPolicy
from tests.support.narrowed import gradient

Granularity = Literal["per_tensor", "per_channel"]
CONV = SynapseSpec("conv2d", (6, 2, 3, 3), (2, 1), (1, 0), (1, 2), 2, False, None)
LINEAR = SynapseSpec("linear", (5, 7), (1, 1), (0, 0), (1, 1), 1, True, None)
GRANULARITIES: list[Granularity] = ["per_tensor", "per_channel"]
SCALES: list[Literal["float", "power_of_two"]] = ["float", "power_of_two"]
RANGES: list[Literal["max", "mse", "learned"]] = ["max", "mse", "learned"]
POLICIES = [
    WeightPolicy(bit_width=bits, granularity=granularity, scale=scale, range=range_, narrow_range=narrow or bits < 2)
    for bits, granularity, scale, range_, narrow in itertools.product(
        [1, 1.58, 2, 4, 8], GRANULARITIES, SCALES, RANGES, [True, False]
    )
    if narrow or bits >= 2
]


def layer_with(weight: Tensor, policy: WeightPolicy, *, spec: SynapseSpec = LINEAR) -> BrevitasLayer:
    layer = quantized_layer(spec, policy)
    with torch.no_grad():
        layer.weight.copy_(weight)
    fit_weight_range(layer, policy)
    return layer


def drawn_weight(spec: SynapseSpec = LINEAR, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(spec.weight_shape, generator=generator)
    return rows * torch.logspace(-3, 1, spec.weight_shape[0]).view(-1, *(1 for _ in spec.weight_shape[1:]))


@pytest.mark.parametrize("spec", [LINEAR, CONV], ids=["linear", "conv"])
def test_integers_and_scale_are_those_of_brevitas(spec: SynapseSpec) -> None:
    for policy in POLICIES:
        layer = layer_with(drawn_weight(spec), policy, spec=spec)
        found, expected = integer_weight(layer), layer.quant_weight()
        assert torch.equal(found.scale, expected.scale.flatten()), policy
        assert torch.equal(found.values, (expected.value / expected.scale).round()), policy


# --- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "narrow", "limits"),
    [(1, True, (-1, 1)), (1.58, True, (-1, 1)), (2, True, (-1, 1)), (2, False, (-2, 1)), (4, True, (-7, 7)),
     (8, False, (-128, 127))],
)  # fmt: skip
def test_limits_of_a_weight_by_hand(bits: float, narrow: bool, limits: tuple[int, int]) -> None:
    assert weight_limits(WeightPolicy(bit_width=bits, narrow_range=narrow)) == limits


def test_the_largest_weight_takes_the_largest_integer() -> None:
    weight = torch.tensor([[0.7, -0.35, 0.1, 0, 0, 0, 0]] * 5)
    found = integer_weight(layer_with(weight, WeightPolicy(bit_width=4, range="max")))
    assert found.values[0].tolist() == [7, -4, 1, 0, 0, 0, 0]  # -3.5 rounds to even
    assert found.scale.tolist() == pytest.approx([0.1] * 5)


@pytest.mark.parametrize(("bits", "narrow"), [(1.58, True), (2, True), (2, False), (4, True), (8, False)])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_the_largest_weight_is_not_clipped_by_a_power_of_two_scale(
    bits: float, narrow: bool, granularity: Granularity
) -> None:
    """1.0 at 2 bits is 1 * 1.0, not 1 * 0.5; 0.75 takes the power above."""
    policy = WeightPolicy(
        bit_width=bits, scale="power_of_two", range="max", granularity=granularity, narrow_range=narrow
    )
    high = weight_limits(policy)[1]
    for largest in (1.0, 0.75):
        weight = torch.zeros(5, 7)
        weight[:, 0] = largest
        found = integer_weight(layer_with(weight, policy))
        scale, value = float(found.scale.detach()[0]), float(found.values.detach()[0, 0])
        assert scale == 2.0 ** math.ceil(math.log2(largest / high))
        assert abs(value * scale - largest) <= scale / 2


def test_binary_weights_are_signs_times_the_mean() -> None:
    weight = torch.tensor([[0.5, -0.1, 0.3, -0.7, 0.2, 0.2, -0.1]] * 5)
    found = integer_weight(layer_with(weight, WeightPolicy(bit_width=1, range="mse")))
    assert found.values[0].tolist() == [1, -1, 1, -1, 1, 1, -1]
    assert found.scale.tolist() == pytest.approx([0.3] * 5)


def test_a_channel_of_zeros_has_zeros_and_a_scale() -> None:
    weight = drawn_weight()
    weight[2] = 0
    for policy in (policy for policy in POLICIES if policy.bit_width > 1):
        found = integer_weight(layer_with(weight, policy))
        assert not found.values[2].any() and bool((found.scale > 0).all()), policy


# --- every policy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.bit_width:g}-{p.granularity}-{p.scale}-{p.range}")
@pytest.mark.parametrize("spec", [CONV, LINEAR], ids=["conv", "linear"])
def test_integers_lie_in_range_and_times_scale_they_are_the_quantized_weight(
    policy: WeightPolicy, spec: SynapseSpec
) -> None:
    layer = layer_with(drawn_weight(spec), policy, spec=spec)
    found = integer_weight(layer)
    low, high = weight_limits(policy)
    assert found.values.shape == spec.weight_shape
    assert found.scale.shape == ((1,) if policy.granularity == "per_tensor" else (spec.weight_shape[0],))
    assert torch.equal(found.values, found.values.round())
    assert low <= int(found.values.min()) and int(found.values.max()) <= high
    assert policy.bit_width != 1 or bool((found.values.abs() == 1).all())
    scale = found.scale.view(-1, *(1 for _ in spec.weight_shape[1:]))
    assert torch.allclose(found.values * scale, layer.quant_weight().value, rtol=1e-6)
    if policy.scale == "power_of_two":
        assert torch.equal(found.scale.log2(), found.scale.log2().round())
    if policy.bit_width > 2:  # nothing is thrown away: the error stays small against the layer
        error = (found.values * scale - layer.weight).norm() / layer.weight.norm()
        assert float(error.detach()) < 2.0 ** (2.0 + (policy.scale == "power_of_two") - policy.bit_width)


@pytest.mark.parametrize("policy", [p for p in POLICIES if p.granularity == "per_channel"], ids=str)
def test_learned_scales_are_trained_mse_scales_are_fixed_and_max_follows_the_weight(policy: WeightPolicy) -> None:
    layer = layer_with(drawn_weight(), policy)
    before = integer_weight(layer).scale.detach().clone()
    found = integer_weight(layer)
    torch.autograd.backward((found.values * found.scale[:, None]).square().sum())
    assert layer.weight.grad is not None and bool((layer.weight.grad != 0).any())
    scales = [p for name, p in layer.named_parameters() if "scaling" in name]
    if policy.range == "learned":
        assert len(scales) == 1 and bool((gradient(scales[0]) != 0).any())
    else:
        assert all(scale.grad is None and not scale.requires_grad for scale in scales)
    with torch.no_grad():
        layer.weight.mul_(4.0)
    after = integer_weight(layer).scale
    assert torch.allclose(after, before * 4.0 if policy.range == "max" else before)


# --- least squares ---------------------------------------------------------------------------------------------------


def squared_error(row: np.ndarray[tuple[int], np.dtype[np.float64]], scale: float, low: int, high: int) -> float:
    return float(((row - np.clip(np.rint(row / scale), low, high) * scale) ** 2).sum())


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-4, 4, allow_subnormal=False, width=32), min_size=3, max_size=20),
    bits=st.sampled_from([1.58, 2, 3, 4, 6]),
    narrow=st.booleans(),
)
def test_least_squares_scale_is_as_good_as_a_search_with_scipy(values: list[float], bits: float, narrow: bool) -> None:
    row = np.array([*values, 0.5])
    policy = WeightPolicy(bit_width=bits, narrow_range=narrow or bits < 2)
    low, high = weight_limits(policy)
    found = squared_error(row, float(least_squares_scale(torch.tensor(row)[None], policy)[0]), low, high)
    largest = np.abs(row).max() / high
    grid = np.linspace(0.05, 1.0, 40) * largest
    best = min(
        minimize_scalar(lambda s: squared_error(row, s, low, high), bounds=bounds, method="bounded").fun
        for bounds in itertools.pairwise(grid)
    )
    assert found <= 1.15 * best + 1e-3 * float((row**2).sum())


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=20))
def test_the_mean_is_the_best_binary_scale(values: list[float]) -> None:
    row = np.array([*values, 0.5])
    found = float(least_squares_scale(torch.tensor(row)[None], WeightPolicy(bit_width=1))[0])
    error = ((row - np.where(row >= 0, found, -found)) ** 2).sum()
    for other in found * np.array([0.9, 0.99, 1.01, 1.1]):
        assert error <= ((row - np.where(row >= 0, other, -other)) ** 2).sum() + 1e-12


def test_power_of_two_scales_are_the_best_of_the_powers() -> None:
    rows = drawn_weight(seed=3).double()
    policy = WeightPolicy(bit_width=3, scale="power_of_two")
    found = least_squares_scale(rows, policy)
    for row, scale in zip(rows.numpy(), found.tolist(), strict=True):
        errors = [squared_error(row, 2.0**power, -3, 3) for power in range(-16, 4)]
        assert squared_error(row, scale, -3, 3) == pytest.approx(min(errors))
    binary = least_squares_scale(torch.full((1, 3), 1.45), WeightPolicy(bit_width=1, scale="power_of_two"))
    assert binary.tolist() == [1.0]  # nearer than 2, though 2 is the nearer power


def test_weights_on_the_grid_are_kept_exactly() -> None:
    """Full integer range present: the largest-weight range is the grid's own, at every width."""
    for bits in (2, 3, 4, 8):
        high = 2 ** (bits - 1) - 1
        integers = torch.randint(-high, high + 1, (5, 7), generator=torch.Generator().manual_seed(bits))
        integers[:, 0] = high
        for range_ in ("max", "mse", "learned"):
            found = integer_weight(layer_with(integers * 0.25, WeightPolicy(bit_width=bits, range=range_)))
            assert torch.equal(found.values, integers.float())
            assert torch.allclose(found.scale, torch.tensor(0.25))


# --- membranes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a_membrane_scale_is_its_range_over_half_the_word(bits: int) -> None:
    quantizer = MembraneQuantizer(MembranePolicy(bit_width=bits), initial_range=1.5)
    assert float(quantizer.scale().detach()) == pytest.approx(1.5 / 2 ** (bits - 1))
    quantizer.set_range(0.75)
    assert float(quantizer.scale().detach()) == pytest.approx(0.75 / 2 ** (bits - 1))


def test_a_learned_membrane_scale_has_a_gradient_and_a_calibrated_one_has_none() -> None:
    learned = MembraneQuantizer(MembranePolicy(scale="learned"), initial_range=1.0)
    torch.autograd.backward(learned.scale())
    balanced = 128 / math.sqrt(127)  # 1/128 times what LSQ has for one number: test_step_sizes.py
    assert [float(gradient(p)) for p in learned.parameters()] == [pytest.approx(balanced)]
    calibrated = MembraneQuantizer(MembranePolicy(scale="calibrated"), initial_range=1.0)
    assert not calibrated.scale().requires_grad


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_weights_that_are_integers_times_a_scale_keep_them(bits: int) -> None:
    """Of 4 bits, as a Brevitas layer leaves them: row 0 reaches 7, row 1 only 5; row 2 is no such row."""
    generator = torch.Generator().manual_seed(0)
    integers = torch.randint(-4, 5, (3, 12), generator=generator).float()
    integers[0, 0], integers[1, 0] = 7.0, -5.0
    scales = torch.tensor([0.0173, 0.31, 1.0])
    rows = integers * scales[:, None]
    rows[2] = torch.randn(12, generator=generator)
    policy = WeightPolicy(bit_width=bits, range="mse")
    found = least_squares_scale(rows, policy)
    for row in (0, 1):
        levels = rows[row] / found[row]
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert levels.abs().max() <= weight_limits(policy)[1]
        assert torch.equal(levels.round(), integers[row]) or bits > 4
    assert not torch.allclose(rows[2] / found[2], (rows[2] / found[2]).round(), atol=1e-2)
