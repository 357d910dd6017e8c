"""The student's layers: integers against numbers worked by hand, gradients against plain differentiable PyTorch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal, TypedDict, Unpack

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mdcompress.errors import CalibrationError
from mdcompress.graph import FloorKind, NeuronModel, Rearm, ResetKind, ResetTiming, SpikeKind, SynapseSpec
from mdcompress.layers.firing import integrate_and_fire
from mdcompress.layers.input import QuantInput
from mdcompress.layers.integer_ops import NeuronIntegers, requantize
from mdcompress.layers.neuron import MembraneUnit, QuantNeuron, ReadoutUnit
from mdcompress.layers.norms import channel_moments
from mdcompress.layers.requant import requant_constants, requantized
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.recipe import BatchNormPolicy, MembranePolicy, WeightPolicy
from mdcompress.zoo.neurons import surrogate_derivative
from tests.support.narrowed import batch_norm, statistics

DOUBLE = torch.float64


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# --- requantization by hand ------------------------------------------------------------------------------------------


def test_requantization_floors_and_the_half_rounds() -> None:
    accumulator = doubles(7, -7, 3, -3).view(-1, 1)
    assert requantize(accumulator, doubles(3), doubles(0), 4.0).flatten().tolist() == [5, -6, 2, -3]  # 5.25, -5.25, …
    assert requantize(accumulator, doubles(3), doubles(2), 4.0).flatten().tolist() == [5, -5, 2, -2]  # half up: 2.25, …


def test_constants_on_paper() -> None:
    """m = 0.7, 0.1 at 8 bits: 0.7*2^7 = 89.6 fits 127, 2^8 would not; B = 3.3*2^7 + 2^6 = 422.4 + 64."""
    found = requant_constants(doubles(0.7, 0.1), doubles(3.3, 0.0), doubles(100, 100), BatchNormPolicy())
    assert found.shift == 7
    assert found.multiplier.tolist() == [90, 13]
    assert found.bias.tolist() == [422 + 64, 64]


def test_a_multiplier_that_just_fits_its_bits_is_not_clipped() -> None:
    """0.999*2^7 = 127.87 rounds beyond 127: the shift goes down instead of the value."""
    found = requant_constants(doubles(0.999), doubles(0), doubles(10), BatchNormPolicy())
    assert (found.shift, found.multiplier.tolist()) == (6, [64])
    found = requant_constants(doubles(1.0), doubles(0), doubles(10), BatchNormPolicy(scale_bit_width=2))
    assert (found.shift, found.multiplier.tolist(), found.bias.tolist()) == (0, [1], [0])  # no shift, no half


def test_a_multiplier_beyond_its_bits_keeps_its_size_on_a_coarser_grid() -> None:
    """2100 needs 12 bits; with 8 it is 66*2^5: a multiplication by 7 bits and a shift to the left."""
    found = requant_constants(doubles(2100.0, -40.0), doubles(0, 0), doubles(10, 10), BatchNormPolicy())
    assert (found.shift, found.multiplier.tolist()) == (0, [66 * 32, -32])


def test_an_offset_beyond_its_bits_keeps_its_size_on_a_coarser_grid() -> None:
    policy = BatchNormPolicy(scale_bit_width=2, shift_bit_width=4)
    found = requant_constants(doubles(1.0), doubles(100.0), doubles(10), policy)
    assert (found.shift, found.bias.tolist()) == (0, [6 * 16])  # 100 = 6.25 * 2^4, at most 7 * 2^4


def test_the_overflow_bound_lowers_the_shift() -> None:
    """A*|M| + |B| < 2^30 with A = 10^6 leaves 10 bits and not 15; every constant gets coarser with it."""
    wide = BatchNormPolicy(scale_bit_width=16)
    free = requant_constants(doubles(0.9), doubles(5.0), doubles(1e2), wide)
    bound = requant_constants(doubles(0.9), doubles(5.0), doubles(1e6), wide)
    assert (free.shift, bound.shift) == (15, 10)
    assert bound.multiplier.tolist() == [round(0.9 * 2**10)]
    assert 1e6 * float(bound.multiplier) + float(bound.bias) < 2**30


def test_a_power_of_two_multiplier_on_paper() -> None:
    policy = BatchNormPolicy(mode="power_of_two")
    found = requant_constants(doubles(0.7, -0.3, 2.0**-40), doubles(0, 0, 0), doubles(255, 255, 255), policy)
    powers = (found.multiplier * 2.0**-found.shift).tolist()
    assert powers == [0.5, -0.25, 0.0]  # log2 0.7 = -0.51 rounds to -1; log2 0.3 = -1.7 to -2; the last vanishes


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_constants_are_integers_in_bounds_and_close_to_what_they_stand_for(data: st.DataObject) -> None:
    channels = data.draw(st.integers(1, 3))
    exponents = st.lists(st.floats(-12, 6), min_size=channels, max_size=channels)
    signs = torch.tensor(data.draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=channels, max_size=channels)))
    m = 2.0 ** torch.tensor(data.draw(exponents), dtype=DOUBLE) * signs
    b = 2.0 ** torch.tensor(data.draw(exponents), dtype=DOUBLE)
    reach = torch.tensor(data.draw(st.lists(st.integers(0, 2**18), min_size=channels, max_size=channels))).double()
    policy = BatchNormPolicy(
        mode=data.draw(st.sampled_from(["quantize", "power_of_two"])),
        scale_bit_width=data.draw(st.integers(2, 16)),
        shift_bit_width=data.draw(st.integers(4, 24)),
    )
    found = requant_constants(m, b, reach, policy)
    half = 2.0 ** (found.shift - 1) if found.shift else 0.0
    for values in (found.multiplier, found.bias):
        assert torch.equal(values, values.round())
    if found.shift > 0:
        assert bool((reach * found.multiplier.abs() + found.bias.abs() < 2**30).all())
    if policy.mode == "quantize":
        assert bool((found.multiplier.abs() < 2 ** (policy.scale_bit_width - 1)).all()) or found.shift == 0
        step = max(float(found.multiplier.abs().max()) / 2 ** (policy.scale_bit_width - 2), 1.0)
        assert float((found.multiplier - m * 2.0**found.shift).abs().max()) <= step
    else:
        ratio = (found.multiplier / (m * 2.0**found.shift))[found.multiplier != 0]
        assert bool(((ratio > 0.7071) & (ratio < 1.4143)).all())
    step = max(float(b.max()) * 2.0**found.shift / 2 ** (policy.shift_bit_width - 2), 1.0)
    assert float((found.bias - half - b * 2.0**found.shift).abs().max()) <= step


# --- a neuron by hand ------------------------------------------------------------------------------------------------


class IntegerChanges(TypedDict, total=False):
    """Of `NeuronIntegers`."""

    guard_bits: int
    bit_width: int
    initial: int
    reset: ResetKind
    timing: ResetTiming
    spike: SpikeKind
    max_spikes: int
    floor: FloorKind
    rearm: Rearm
    leak: Tensor
    threshold: Tensor
    soft_amount: Tensor
    drive: Tensor
    reset_value: Tensor
    floor_value: Tensor


def integers(**changes: Unpack[IntegerChanges]) -> NeuronIntegers:
    """D = 8, R = 4 (decay 1/2), 5-bit membrane, threshold 100 units of s_f."""
    plain = NeuronIntegers(
        leak=doubles(8), synapse_leak=None, synapse_shift=0, guard_bits=4, bit_width=5, reset="hard", initial=0,
        timing="same_step", spike="binary", max_spikes=1, floor="none", rearm="plain",
        threshold=doubles(100), level=doubles(0), soft_amount=doubles(100), drive=doubles(0), reset_value=doubles(0),
        floor_value=doubles(0), synapse_drive=doubles(0),
    )  # fmt: skip
    return replace(plain, **changes)


def fired(current: list[float], neuron: NeuronIntegers) -> tuple[list[float], list[float], list[float]]:
    found = integrate_and_fire(torch.tensor(current, dtype=DOUBLE).view(-1, 1), neuron)
    spikes, potentials, membranes = (
        values.flatten().tolist() for values in (found.spikes, found.potentials, found.membranes)
    )
    return spikes, potentials, membranes


def test_hard_reset_by_hand() -> None:
    """x = 8v + j: 90 → v = 5; 40 + 60 = 100 fires → v = 0; 0 - 20 → v = -2 (floor); -16 + 150 fires."""
    assert fired([90, 60, -20, 150], integers()) == ([0, 1, 0, 1], [90, 100, -20, 134], [5, 0, -2, 0])


def test_hard_reset_to_another_value_by_hand() -> None:
    """Reset value -40 stores floor(-40/16) = -3; 8 * -3 + 30 = 6."""
    assert fired([100, 30], integers(reset_value=doubles(-40))) == ([1, 0], [100, 6], [-3, 0])


def test_soft_reset_by_hand() -> None:
    """150 fires and keeps 50 → v = 3; 24 + 90 = 114 fires and keeps 14 → v = 0."""
    assert fired([150, 90], integers(reset="soft")) == ([1, 1], [150, 114], [3, 0])


def test_no_reset_by_hand() -> None:
    assert fired([150, 90], integers(reset="none")) == ([1, 1], [150, 72 + 90], [9, 10])


def test_the_stored_word_saturates_but_the_comparison_does_not() -> None:
    """5 bits hold [-16, 15]: 300 is compared whole and stored as 15; -900 is stored as -16."""
    assert fired([300, 0, -900, 0], integers(reset="none", threshold=doubles(250))) == (
        [1, 0, 0, 0], [300, 120, 56 - 900, -128], [15, 7, -16, -8],
    )  # fmt: skip


def test_drive_and_initial_membrane_enter_every_step() -> None:
    assert fired([0, 0], integers(drive=doubles(8), initial=-2)) == ([0, 0], [-8, 0], [-1, 0])


def test_a_quantized_neuron_rounds_its_parameters_to_fine_units() -> None:
    """s_f = 1/64 at R = 4: theta 1.3 is 83.2, half a stored unit is 8, and v(0) is stored like every membrane."""
    model = NeuronModel(0.75, 1.0, 0.1, 1.3, "greater_equal", "hard", -0.2, 1.3, -0.2)
    half_up = QuantNeuron(model, MembranePolicy(bit_width=8), guard_bits=4).integers(torch.tensor(1 / 64))
    assert (float(half_up.leak), float(half_up.threshold), float(half_up.soft_amount)) == (12, 83 + 8, 0)
    soft = QuantNeuron(replace(model, reset="soft"), MembranePolicy(bit_width=8), guard_bits=4)
    assert float(soft.integers(torch.tensor(1 / 64)).soft_amount) == 83
    assert (float(half_up.drive), float(half_up.reset_value), half_up.initial) == (6 + 8, -13 + 8, -1)  # -13/16 → -1
    floor = QuantNeuron(replace(model, comparator="greater"), MembranePolicy(rounding="floor"), guard_bits=4)
    found = floor.integers(torch.tensor(1 / 64))
    assert (float(found.threshold), float(found.drive), float(found.reset_value), found.initial) == (84, 6, -13, -1)
    assert (floor.rounding_offset, QuantNeuron(model, MembranePolicy(), guard_bits=0).rounding_offset) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(reset_value=st.floats(-2.0, 0.9), bits=st.integers(2, 8), rounding=st.sampled_from(["half_up", "floor"]))
def test_a_neuron_starts_where_a_reset_leaves_it(
    reset_value: float, bits: int, rounding: Literal["half_up", "floor"]
) -> None:
    model = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "hard", reset_value, 1.0, reset_value)
    neuron = QuantNeuron(model, MembranePolicy(bit_width=bits, rounding=rounding), guard_bits=4)
    fine_scale = torch.tensor(1.0 / 2 ** (bits + 3))
    found = neuron(torch.full((1, 1), 2.0**20, dtype=DOUBLE), fine_scale)  # fires at once
    assert float(found.spikes) == 1 and int(found.membranes) == neuron.integers(fine_scale).initial


def test_the_unit_of_a_stream_is_the_stored_scale_over_the_guard_bits() -> None:
    model = NeuronModel(0.5, 0.25, 0.0, 1.5, "greater_equal", "hard", 0.0, 1.5, 0.0)
    unit = MembraneUnit(model, MembranePolicy(bit_width=4), guard_bits=3, factor=0.25)
    assert float(unit().detach()) == pytest.approx(1.5 / 8 / 8 / 0.25)
    assert float(ReadoutUnit()()) > 0


# --- gradients -------------------------------------------------------------------------------------------------------


def test_gradients_of_requantization_are_those_of_the_real_map() -> None:
    generator = torch.Generator().manual_seed(0)
    accumulator = torch.randint(-50, 50, (4, 3, 2), generator=generator).to(DOUBLE).requires_grad_()
    multiplier = torch.tensor([[[3.0], [-7.0], [12.0]]], dtype=DOUBLE, requires_grad=True)
    bias = torch.tensor([[[5.0], [0.0], [-9.0]]], dtype=DOUBLE, requires_grad=True)
    weights = torch.rand(4, 3, 2, generator=generator, dtype=DOUBLE)
    found = torch.autograd.grad((requantize(accumulator, multiplier, bias, 8.0) * weights).sum(),
                                (accumulator, multiplier, bias))  # fmt: skip
    smooth = (accumulator * multiplier + bias) / 8
    expected = torch.autograd.grad((smooth * weights).sum(), (accumulator, multiplier, bias))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other)


@pytest.mark.parametrize("steps", [False, True], ids=["one norm", "a norm a step"])
@pytest.mark.parametrize("mode", ["quantize", "power_of_two"])
def test_gradients_of_requantized_currents_are_those_of_composed_parts(
    mode: Literal["quantize", "power_of_two"], steps: bool
) -> None:
    """Straight through the roundings of M and B; the composed map has their rounded values and plain autograd."""
    generator = torch.Generator().manual_seed(0)
    policy = BatchNormPolicy(mode=mode)
    accumulator = torch.randint(-50, 50, (4, 2, 3, 5, 5), generator=generator).to(DOUBLE).requires_grad_()
    shape = (4, 3) if steps else (3,)
    m = (torch.rand(shape, generator=generator, dtype=DOUBLE) + 0.1).requires_grad_()
    b = (10.0 * torch.randn(shape, generator=generator, dtype=DOUBLE)).requires_grad_()
    reach, weights = doubles(450, 450, 450), torch.randn(4, 2, 3, 5, 5, generator=generator, dtype=DOUBLE)
    found = requantized(accumulator, m, b, reach, policy)
    constants = requant_constants(m.detach(), b.detach(), reach, policy)
    view = (4 if steps else 1, 1, 3, 1, 1)
    slope_of_m = 1.0 if mode == "quantize" else constants.multiplier / constants.factor / m.detach()
    multiplier, bias = (
        straight_through(real, rounded / constants.factor, slope).view(view)
        for real, rounded, slope in (
            (m, constants.multiplier, slope_of_m),
            (b, constants.bias, 1.0),
        )
    )
    composed = accumulator * multiplier + bias
    assert torch.equal(found, composed.floor()) and len(set(found.flatten().tolist())) > 50
    inputs = (accumulator, m, b)
    ours = torch.autograd.grad((found * weights).sum(), inputs)
    theirs = torch.autograd.grad((composed * weights).sum(), inputs)
    clipped = levels_clipped(m, constants.factor, policy) if mode == "quantize" else torch.zeros_like(m)
    assert torch.allclose(ours[0], theirs[0]) and torch.allclose(ours[2], theirs[2])
    assert torch.allclose(ours[1], theirs[1] * (1.0 - clipped))


def straight_through(real: Tensor, rounded: Tensor, slope: Tensor | float) -> Tensor:
    """The rounded value, with a gradient of `slope` for the real one."""
    return rounded + (real - real.detach()) * slope


def levels_clipped(m: Tensor, factor: Tensor, policy: BatchNormPolicy) -> Tensor:
    """1 where round(m*2^S) would be one beyond its word."""
    beyond: Tensor = (m.detach() * factor).abs() > 2 ** (policy.scale_bit_width - 1) - 1
    return beyond.to(m.dtype)


def test_moments_of_channels_are_those_of_torch_and_so_are_their_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    values = (3.0 + torch.randn(2, 3, 4, 5, generator=generator, dtype=DOUBLE)).requires_grad_()
    mean, variance, count = channel_moments(values)
    expected = torch.var_mean(values, dim=(0, 1, 3), correction=0)
    assert count == 30 and torch.allclose(mean, expected[1]) and torch.allclose(variance, expected[0])
    weights = torch.randn(2, 4, generator=generator, dtype=DOUBLE)
    found = torch.autograd.grad((mean * weights[0] + variance * weights[1]).sum(), values)[0]
    wanted = torch.autograd.grad((expected[1] * weights[0] + expected[0] * weights[1]).sum(), values)[0]
    assert torch.allclose(found, wanted)
    assert torch.autograd.gradcheck(lambda x: channel_moments(x)[:2], (values,))


def test_the_surrogate_of_a_plain_neuron_is_the_derivative_of_the_arc_tangent() -> None:
    """One step, no reset before it: ds/dx = f(d)/theta, d = (x - theta)/theta, whose integral is atan(pi d)/pi."""
    neuron = integers(threshold=doubles(100).requires_grad_())
    current = torch.linspace(-300, 500, 81, dtype=DOUBLE).view(1, -1).requires_grad_()
    found = torch.autograd.grad(integrate_and_fire(current, neuron).spikes.sum(), (current, neuron.threshold))

    def smooth(x: Tensor, theta: Tensor) -> Tensor:
        found: Tensor = torch.atan(math.pi * (x - theta) / theta) / math.pi
        return found

    assert torch.autograd.gradcheck(smooth, (current, neuron.threshold))
    expected = torch.autograd.grad(smooth(current, neuron.threshold).sum(), (current, neuron.threshold))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(x, threshold)
        return (x >= threshold).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, threshold = ctx.saved_tensors
        slope = gradients[0] * surrogate_derivative((x - threshold) / threshold, "atan") / threshold
        return slope, -(slope * x / threshold).sum().reshape(threshold.shape)  # f((x - theta)/theta), in theta too


def differentiable_neuron(current: Tensor, neuron: NeuronIntegers) -> tuple[Tensor, Tensor]:
    """The same neuron out of ordinary operations: straight-through floor, clamp, and a reset that is not derived."""
    low, high = -(2 ** (neuron.bit_width - 1)), 2 ** (neuron.bit_width - 1) - 1
    v = torch.zeros_like(current[0]) + neuron.initial
    spikes, potentials = [], []
    for j in current:
        x = neuron.leak * v + j + neuron.drive
        s = _Step.apply(x, neuron.threshold)
        spikes.append(s)
        potentials.append(x)
        fixed = s.detach()
        if neuron.reset == "hard":
            x = neuron.reset_value * fixed + x * (1 - fixed)
        elif neuron.reset == "soft":
            x = x - neuron.soft_amount * fixed
        shifted = x * 2.0**-neuron.guard_bits
        stored = shifted + (shifted.floor() - shifted).detach()
        v = torch.where((stored >= low) & (stored <= high), stored, stored.detach().clamp(low, high))
    return torch.stack(spikes), torch.stack(potentials)


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_the_neuron_equal_those_of_plain_differentiable_operations(reset: ResetKind, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parameters = {"threshold": 101.0, "soft_amount": 97.0, "drive": 9.0, "reset_value": -37.0}

    def leaves() -> tuple[Tensor, NeuronIntegers, list[Tensor]]:
        generator.manual_seed(seed)
        current = torch.randint(-300, 450, (6, 20), generator=generator).to(DOUBLE).requires_grad_()
        tensors = [doubles(value).requires_grad_() for value in parameters.values()]
        threshold, soft_amount, drive, reset_value = tensors
        neuron = integers(
            reset=reset, threshold=threshold, soft_amount=soft_amount, drive=drive, reset_value=reset_value
        )
        return current, neuron, [current, *tensors]

    weights = torch.randn(2, 6, 20, generator=generator, dtype=DOUBLE)
    current, neuron, inputs = leaves()
    fired_ = integrate_and_fire(current, neuron)
    found = torch.autograd.grad((fired_.spikes * weights[0] + fired_.potentials * weights[1]).sum(), inputs)
    current, neuron, inputs = leaves()
    spikes, potentials = differentiable_neuron(current, neuron)
    loss = (spikes * weights[0] + potentials * weights[1]).sum()
    expected = torch.autograd.grad(loss, inputs, allow_unused=True)
    assert torch.equal(fired_.spikes, spikes) and torch.equal(fired_.potentials, potentials)
    assert 0 < int(spikes.sum()) < spikes.numel() and int(fired_.membranes.min()) == -16  # fires, rests, saturates
    for name, one, other in zip(["current", *parameters], found, expected, strict=True):
        reference = torch.zeros_like(one) if other is None else other
        assert torch.allclose(one, reference), name


# --- synapse ---------------------------------------------------------------------------------------------------------

SPEC = SynapseSpec("conv2d", (4, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1, True, "norm")
EXACT_WEIGHT, EXACT_NORM = WeightPolicy(bit_width=8, range="max"), BatchNormPolicy(scale_bit_width=16)


def float_layers(*, bias: bool = True, affine: bool = True) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.BatchNorm2d(4, affine=affine, momentum=0.3, eps=1e-3)
    with torch.no_grad():
        statistics(norm)[0].uniform_(-1, 1)
        statistics(norm)[1].uniform_(0.5, 2)
        if affine:
            norm.weight.uniform_(-1, 2)
            norm.bias.uniform_(-1, 1)
    return conv, norm


def synapse(mode: str, *, bias: bool = True, affine: bool = True) -> tuple[QuantSynapse, nn.Conv2d, nn.BatchNorm2d]:
    conv, norm = float_layers(bias=bias, affine=affine)
    policy = EXACT_NORM.model_copy(update={"mode": mode})
    layer = QuantSynapse(replace(SPEC, bias=bias), weight=EXACT_WEIGHT, batch_norm=policy, largest_input=1)
    layer.adopt(conv, norm)
    return layer, conv, norm


def spikes_like() -> Tensor:
    return (torch.rand(3, 2, 2, 5, 5, generator=torch.Generator().manual_seed(1)) > 0.5).float()


UNIT = torch.tensor(2.0**-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("mode", ["quantize", "fold"])
def test_currents_are_those_of_convolution_and_batch_norm(mode: str, affine: bool, bias: bool) -> None:
    """Also: fold and quantize agree with each other, each within its rounding of the float layers."""
    layer, conv, norm = synapse(mode, bias=bias, affine=affine)
    x = spikes_like()
    with torch.no_grad():
        found = layer.eval()(x, 1.0, UNIT) * float(UNIT)
        expected = norm.eval()(conv(x.flatten(0, 1))).reshape(3, 2, 4, 5, 5)
    assert found.dtype == DOUBLE and float((found - expected).abs().max()) < 0.03 * float(expected.abs().max())


def test_power_of_two_scales_come_within_a_factor_of_two() -> None:
    layer, conv, norm = synapse("power_of_two")
    with torch.no_grad():
        norm.bias.zero_()
        statistics(norm)[0].zero_()
        conv.get_parameter("bias").zero_()
        layer.adopt(conv, norm)
        found = layer.eval()(spikes_like(), 1.0, UNIT) * float(UNIT)
        expected = norm.eval()(conv(spikes_like().flatten(0, 1))).reshape(3, 2, 4, 5, 5)
    large = expected.abs() > 0.2
    ratio = (found / expected)[large]
    assert bool(large.any()) and bool(((ratio > 0.6) & (ratio < 1.6)).all())


def test_batch_statistics_equal_those_of_batch_norm_on_the_dequantized_weight() -> None:
    layer, conv, norm = synapse("quantize")
    quantized = layer.layer.quant_weight().value.detach()
    with torch.no_grad():
        conv.weight.copy_(quantized)
    for _ in range(3):
        x = spikes_like()
        with torch.no_grad():
            found = layer.train()(x, 0.5, UNIT) * float(UNIT)
            expected = norm.train()(conv(0.5 * x.flatten(0, 1))).reshape(3, 2, 4, 5, 5)
        assert float((found - expected).abs().max()) < 5e-3
    assert layer.norm is not None
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.allclose(getattr(layer.norm, name), getattr(norm, name), rtol=1e-4), name


def test_without_a_momentum_statistics_are_the_average_of_the_batches() -> None:
    layer, conv, norm = synapse("quantize")
    batch_norm(layer.norm).momentum = norm.momentum = None
    with torch.no_grad():
        conv.weight.copy_(layer.layer.quant_weight().value)
        for scale in (0.5, 1.0):
            layer.train()(spikes_like(), scale, UNIT)
            norm.train()(conv(scale * spikes_like().flatten(0, 1)))
    for found, expected in zip(statistics(layer.norm), statistics(norm), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4)


def test_a_folded_layer_has_no_statistics_left_to_move() -> None:
    layer, _, _ = synapse("fold")
    with torch.no_grad():
        assert layer.norm is None
        train, evaluated = layer.train()(spikes_like(), 1.0, UNIT), layer.eval()(spikes_like(), 1.0, UNIT)
    assert float((train - evaluated).abs().max()) <= 1  # float32 and float64


def test_a_layer_without_norm_adds_its_bias_and_takes_images_of_any_scale() -> None:
    spec = SynapseSpec("linear", (3, 5), (1, 1), (0, 0), (1, 1), 1, True, None)
    layer = QuantSynapse(spec, weight=EXACT_WEIGHT, batch_norm=BatchNormPolicy(mode="fold"), largest_input=255)
    torch.manual_seed(0)
    linear = nn.Linear(5, 3)
    layer.adopt(linear, None)
    image = torch.randint(0, 256, (2, 4, 5)).float()
    with torch.no_grad():
        found = layer.eval()(image, 1 / 255, UNIT) * float(UNIT)
        expected = linear(image / 255)
    assert float((found - expected).abs().max()) < 0.03
    assert float(expected.abs().max()) <= layer.current_bound(1 / 255) * 1.01


def test_a_wide_layer_is_summed_exactly() -> None:
    """2,000 x 255 x 127 is beyond 2^24, where float32 sums of integers stop being exact."""
    spec = SynapseSpec("linear", (1, 2000), (1, 1), (0, 0), (1, 1), 1, False, None)
    layer = QuantSynapse(spec, weight=EXACT_WEIGHT, batch_norm=BatchNormPolicy(), largest_input=255)
    linear = nn.Linear(2000, 1, bias=False)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        layer.adopt(linear, None)
        x = torch.full((1, 1, 2000), 255.0)
        x[0, 0, 0] = 254.0
        constants = layer.integers(1.0, torch.tensor(1.0)).requant
        expected = (127 * (2000 * 255 - 1) * int(constants.multiplier) + int(constants.bias)) >> constants.shift
        assert int(layer.eval()(x, 1.0, torch.tensor(1.0))) == expected


def test_every_parameter_of_a_synapse_has_a_gradient() -> None:
    spec = replace(SPEC, bias=True)
    layer = QuantSynapse(spec, weight=WeightPolicy(bit_width=4), batch_norm=BatchNormPolicy(), largest_input=1)
    layer.adopt(*float_layers())
    unit = torch.tensor(2.0**-8, requires_grad=True)
    layer.train()(spikes_like(), 1.0, unit).square().sum().backward()
    silent = [name for name, p in layer.named_parameters() if p.grad is None]
    assert not silent and unit.grad is not None and float(unit.grad) != 0


# --- input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "bits", "scale", "signed", "word"),
    [
        ([0.0, 1.0], 8, 1.0, False, 1),  # spikes
        ([0.0, 1.0, 3.0], 8, 1.0, False, 8),  # counts: unseen samples may hold more
        ([0.0, 0.25, 0.5, 1.0], 8, 0.25, False, 3),  # a grid of quarters
        ([0.0, 1 / 255, 37 / 255, 1.0], 8, 1 / 255, False, 8),  # images
        ([-1.0, 0.0, 1.0], 8, 1.0, True, 2),  # signed events
        ([-0.5, 0.25, 1.0], 8, 0.25, True, 4),
        ([0.0, 0.3, 1.0], 4, 1 / 15, False, 4),  # no grid: the largest takes the largest integer
        ([-0.3, 0.77], 4, 0.77 / 7, True, 4),
        ([0.0, 300.0], 8, 300.0, False, 1),  # two levels only
    ],
)
def test_the_input_finds_the_datas_own_grid(
    values: list[float], bits: int, scale: float, signed: bool, word: int
) -> None:
    layer = QuantInput(bits)
    layer.fit(torch.tensor(values))
    assert float(layer.scale) == pytest.approx(scale, rel=1e-6)
    assert (layer.word().signed, layer.word().bit_width) == (signed, word)
    on_grid = layer(torch.tensor(values)) * float(layer.scale)
    assert float((on_grid - torch.tensor(values)).abs().max()) <= scale / 2 * 1.0001


def test_values_beyond_the_word_saturate() -> None:
    layer = QuantInput(4)
    layer.fit(torch.tensor([-1.0, 0.3, 0.9]))
    assert layer(torch.tensor([-9.0, 9.0])).tolist() == [-8.0, 7.0]


def test_an_input_without_a_scale_says_that_it_must_be_calibrated() -> None:
    with pytest.raises(CalibrationError, match="must be calibrated first") as caught:
        QuantInput(8)(torch.zeros(1))
    assert "mdcompress.calibrate" in caught.value.hints[0]


@pytest.mark.parametrize(
    ("values", "bits", "says"),
    [
        ([0.0, 0.0], 8, "must hold a non-zero value that fits 8 bits (largest 0.0)"),
        ([0.0, math.nan], 8, "must be finite"),
        ([0.0, math.inf], 8, "must be finite"),
        ([-1.0, 1.0], 1, "must hold a non-zero value that fits 1 bits"),
    ],
)
def test_data_without_a_scale_are_an_error(values: list[float], bits: int, says: str) -> None:
    with pytest.raises(CalibrationError) as caught:
        QuantInput(bits).fit(torch.tensor(values))
    assert says in caught.value.message and caught.value.hints
