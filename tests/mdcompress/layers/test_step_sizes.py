"""Gradients of learned step sizes: LSQ's direction against plain autograd, and LSQ's length."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from mdcompress.graph import SynapseSpec
from mdcompress.layers.neuron import MembraneUnit
from mdcompress.layers.quantizers import (
    BrevitasLayer,
    MembraneQuantizer,
    fit_weight_range,
    integer_weight,
    quantized_layer,
    weight_limits,
)
from mdcompress.layers.step_sizes import StepSize, lsq_scale
from mdcompress.planning import plan
from mdcompress.recipe import MembranePolicy, Recipe, WeightPolicy
from mdcompress.student import Student
from mdcompress.student.quantizing import quantize
from mdcompress.tracing import trace
from mdcompress.zoo import LIF
from mdcompress.zoo.neurons import Reset, surrogate_derivative
from tests.support.narrowed import gradient

LINEAR = SynapseSpec("linear", (5, 7), (1, 1), (0, 0), (1, 1), 1, False, None)
CONV = SynapseSpec("conv2d", (4, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1, False, None)
GRANULARITIES: list[Literal["per_tensor", "per_channel"]] = ["per_tensor", "per_channel"]
SCALES: list[Literal["float", "power_of_two"]] = ["float", "power_of_two"]
LEARNED = [
    WeightPolicy(bit_width=bits, granularity=granularity, scale=scale, range="learned", narrow_range=narrow or bits < 2)
    for bits, granularity, scale, narrow in itertools.product([1, 1.58, 2, 4, 8], GRANULARITIES, SCALES, [True, False])
    if narrow or bits >= 2
]


def learned_layer(policy: WeightPolicy, spec: SynapseSpec) -> BrevitasLayer:
    layer = quantized_layer(spec, policy)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(spec.weight_shape, generator=torch.Generator().manual_seed(0)))
    fit_weight_range(layer, policy)
    return layer


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, value: Tensor, rounded: Tensor) -> Tensor:
        return rounded.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """Not value + (rounded - value).detach(), which misses the integer by a rounding and is clipped at the limits."""
    passed: Tensor = _Rounded.apply(value, rounded.detach())
    return passed


def clipped(values: Tensor, low: int, high: int) -> Tensor:
    """The limits themselves are not clipped: torch.clamp gives them no gradient."""
    return torch.where((values < low) | (values > high), values.detach().clamp(low, high), values)


def plain_fake_quantizer(weight: Tensor, step: Tensor, policy: WeightPolicy) -> Tensor:
    """s*clip(round(w/s)) out of ordinary operations; one bit: s*sign(w)."""
    if policy.bit_width == 1:
        return step * torch.where(weight >= 0, 1.0, -1.0)
    scaled, (low, high) = weight / step, weight_limits(policy)
    return clipped(straight_through(scaled, scaled.round()), low, high) * step


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_lsq_scales_by_the_root_of_numbers_times_the_largest_integer() -> None:
    assert lsq_scale(16, 4) == 1 / 8
    assert lsq_scale(144, 7) == pytest.approx(1 / math.sqrt(1008))


def test_one_gradient_step_on_the_range_moves_the_step_size_as_lsq_would() -> None:
    """w = [3.6, -1.2], s = 1, Q = 3, N = 2: clipped at 3, and -1 + 1.2 = 0.2; dL/ds = 3 + 0.2 = 3.2 for L = sum."""
    learning_rate, step = 0.01, torch.tensor(1.0)
    parameter = nn.Parameter(torch.tensor([3.0]))  # the range: s = p/3
    weight = torch.tensor([3.6, -1.2])
    used = StepSize(3.0, count=2, largest=3)(parameter)
    torch.autograd.backward(plain_fake_quantizer(weight, used, WeightPolicy(bit_width=3)).sum())
    with torch.no_grad():
        moved = (parameter - learning_rate * gradient(parameter)) / 3.0
    assert float(moved) == pytest.approx(float(step) - learning_rate * 3.2 / math.sqrt(2 * 3))


def test_a_logarithm_moves_the_step_size_as_far_to_first_order() -> None:
    """s = 2^p/4 at p = 1: s = 0.5 and ds/dp = s*ln 2."""
    parameter = nn.Parameter(torch.tensor([1.0]))
    used = StepSize(4.0, count=5, largest=7, trained="log2_range")(parameter)
    torch.autograd.backward((6.0 * used).sum())
    small = 1e-4
    assert parameter.grad is not None
    moved = float((parameter.detach() - small * parameter.grad).exp2() / 4.0)
    assert moved - 0.5 == pytest.approx(-small * 6.0 / math.sqrt(35), rel=1e-3)


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", LEARNED, ids=lambda p: f"{p.bit_width:g}-{p.granularity}-{p.scale}-{p.narrow_range}")
@pytest.mark.parametrize("spec", [LINEAR, CONV], ids=["linear", "conv"])
def test_gradients_of_a_learned_range_are_those_of_plain_autograd_times_lsqs_factor(
    policy: WeightPolicy, spec: SynapseSpec
) -> None:
    layer = learned_layer(policy, spec)
    quantized = integer_weight(layer)
    shape = (-1, *(1 for _ in spec.weight_shape[1:]))
    direction = torch.randn(spec.weight_shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((direction * quantized.values * quantized.scale.view(shape)).sum())

    weight = layer.weight.detach().clone().requires_grad_()
    step = quantized.scale.detach().clone().requires_grad_()
    plain = plain_fake_quantizer(weight, step.view(shape), policy)
    torch.autograd.backward((direction * plain).sum())
    assert torch.allclose(plain, quantized.values * quantized.scale.view(shape), rtol=1e-6)
    if policy.bit_width > 1:  # what is passed through a sign is Brevitas' own choice
        assert torch.allclose(gradient(layer.weight), gradient(weight), atol=1e-6)

    (parameter,) = (p for name, p in layer.named_parameters() if "scaling" in name)
    assert step.grad is not None and parameter.grad is not None
    count = layer.weight.numel() // step.numel()
    factor = 1.0 / math.sqrt(count * weight_limits(policy)[1])
    if policy.scale == "float":
        slope = step.detach() / parameter.detach().flatten()
    else:
        divisor = parameter.detach().flatten().ceil().exp2() / step.detach()
        slope = parameter.detach().flatten().exp2() * math.log(2.0) / divisor
        step.grad *= step.detach() / (parameter.detach().flatten().exp2() / divisor)  # Brevitas rounds p up
    assert torch.allclose(parameter.grad.flatten() * slope, factor * step.grad, rtol=1e-3, atol=1e-5)


def test_a_range_of_many_weights_moves_about_as_far_as_they_do() -> None:
    """What the factor is for: |grad p|/p near |grad w|/|w|, whatever the bits and the size of the layer."""
    for bits, inputs in itertools.product((2, 4, 8), (16, 1024)):
        policy = WeightPolicy(bit_width=bits, granularity="per_tensor")
        layer = learned_layer(policy, SynapseSpec("linear", (32, inputs), (), (), (), 1, False, None))
        found = integer_weight(layer)
        direction = torch.randn(found.values.shape, generator=torch.Generator().manual_seed(2))
        torch.autograd.backward((direction * found.values * found.scale).sum())
        (parameter,) = (p for name, p in layer.named_parameters() if "scaling" in name)
        relative = gradient(parameter).norm() / parameter.detach().norm()
        of_weights = gradient(layer.weight).norm() / layer.weight.detach().norm()
        assert 0.02 < float(relative / of_weights) < 20, (bits, inputs)


# --- membranes -------------------------------------------------------------------------------------------------------


def student_on_a_grid(bits: int, *, reset: Reset) -> tuple[Student, nn.Linear]:
    """Weights, threshold, leak and range are powers of two, so that nothing but storage rounds."""
    first = nn.Linear(6, 40, bias=False)
    network = nn.Sequential(first, LIF(tau=2.0, reset=reset, decay_input=False), nn.Linear(40, 2))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        first.weight.copy_(torch.randint(-127, 128, (40, 6), generator=generator) / 128.0)
        first.weight[:, 0] = 127 / 128.0
    graph = trace(network, torch.zeros(2, 1, 6))
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "quantize": {
                "weight": {"range": "max"},
                "membrane": {"bit_width": bits, "guard_bits": 8},
                "batch_norm": {"scale_bit_width": 16, "shift_bit_width": 24},
            },
        }
    )
    student = quantize(network, graph, plan(recipe, graph))
    student.input.fit(torch.tensor([0.0, 1.0]))
    unit = student.units["0"]
    assert isinstance(unit, MembraneUnit)
    unit.quantizer.set_range(0.5)
    return student, first


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * surrogate_derivative(x - 1.0, "atan")


def plain_neuron(current: Tensor, step: Tensor, bits: int, *, reset: Reset) -> tuple[Tensor, Tensor]:
    """The neuron in real units, with a fake quantizer on what is stored: LSQ's own setting."""
    v, spikes, potentials = torch.zeros_like(current[0]), [], []
    for j in current:
        x = 0.5 * v + j
        s = _Spike.apply(x)
        spikes.append(s)
        potentials.append(x)
        kept = x * (1 - s.detach()) if reset == "hard" else x - s.detach()
        scaled = kept / step
        stored = straight_through(scaled, (scaled + 0.5).floor())
        v = clipped(stored, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step
    return torch.stack(spikes), torch.stack(potentials)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_gradients_of_a_learned_membrane_range_are_those_of_plain_autograd_times_lsqs_factor(
    bits: int, reset: Reset
) -> None:
    student, linear = student_on_a_grid(bits, reset=reset)
    x = (torch.rand(5, 9, 6, generator=torch.Generator().manual_seed(4)) > 0.4).float()
    weights = torch.randn(2, 5, 9, 40, generator=torch.Generator().manual_seed(5))
    seen = student.train().observe(x)
    torch.autograd.backward((seen.spikes["1"] * weights[0] + seen.potentials["1"] * weights[1]).sum())

    step = torch.tensor(0.5 / 2 ** (bits - 1), requires_grad=True)
    spikes, potentials = plain_neuron(linear(x).detach(), step, bits, reset=reset)
    torch.autograd.backward((spikes * weights[0] + potentials * weights[1]).sum())
    assert torch.allclose(seen.potentials["1"], potentials, atol=1e-3) and 20 < int(spikes.sum()) < spikes.numel()

    unit = student.units["0"]
    assert isinstance(unit, MembraneUnit)
    (parameter,) = unit.quantizer.parameters()
    half = 2 ** (bits - 1)
    factor = half / math.sqrt(40 * (half - 1))
    assert parameter.grad is not None and step.grad is not None and float(step.grad) != 0.0
    assert float(parameter.grad) == pytest.approx(factor * float(step.grad), rel=1e-3)


def test_neurons_of_one_stream_are_counted_together() -> None:
    narrow = MembraneQuantizer(MembranePolicy(bit_width=4), initial_range=1.0, neurons=25)
    wide = MembraneQuantizer(MembranePolicy(bit_width=4), initial_range=1.0, neurons=100)
    for quantizer in (narrow, wide):
        torch.autograd.backward(quantizer.scale())
    gradients = [float(gradient(p)) for q in (narrow, wide) for p in q.parameters()]
    assert gradients == pytest.approx([8 / math.sqrt(25 * 7), 8 / math.sqrt(100 * 7)])
