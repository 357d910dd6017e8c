"""Weights of a layer and the inputs it sees -> integers that lose least of the membrane behind it, in closed form.

Between resets a leaky membrane is linear in the inputs: h_t = W u_t with the trace u_t = lambda*u_{t-1} + x_t. Rounding
W to Q loses sum_t |(W - sQ) u_t|^2 = tr((W - sQ) H (W - sQ)') with H = sum_t u_t u_t'. That is the problem of GPTQ
(Frantar et al. 2023, eq. 1 to 3) with traces for inputs: weights are rounded one after the other, and each error is
made up for by the weights that are still to come. Then s is the best for these integers: s = w H q' / (q H q').
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mdcompress.calibration.layer_taps import first_of, layer_inputs
from mdcompress.graph import SynapseSpec, typical
from mdcompress.layers.quantizers import integer_weight, set_integer_weight, weight_limits
from mdcompress.student import Student

if TYPE_CHECKING:
    from mdcompress.recipe import WeightPolicy

_DAMPING = 0.01  # of the mean of H's diagonal, added to it (Frantar et al. 2023, section 3.3)
_SAMPLES = 256  # of the calibration data that each layer is shown
_ROWS = 65_536  # at most so many positions of the calibration data that H is summed over, spread evenly,
_VALUES = 65_536 * 1_152  # and of layers with more inputs fewer: H takes positions x inputs^2 operations
_MOST_INPUTS = 4_608  # of a layer, 512 channels of 3x3: H of more takes gigabytes, its inverse minutes
_BLOCK = 128  # columns that are rounded before all behind them are corrected at once (Frantar et al. 2023, step 2)


@dataclass(frozen=True)
class Rounded:
    """Integers [rows, inputs] and the scale of each row."""

    values: Tensor
    scale: Tensor


def reconstruct_weights(student: Student, inputs: Iterable[Tensor]) -> None:
    """Round the weights of each layer anew, from the first to the last, each on what the layers before it now send.

    Layers whose weights stand in several places, recurrent ones and transposed convolutions keep their rounding; so do
    binary weights, which have nothing to round, those whose range follows the largest weight, which would move it, and
    layers of more than 4,608 inputs.
    """
    batches, decays = first_of(inputs, _SAMPLES), _decays(student)
    for node in student.graph.of(SynapseSpec):
        layer = student.synapse(node.name)
        policy, spec = layer.weight_policy, layer.spec
        alone, inputs_of_a_row = len(student.graph.places(node)) == 1, math.prod(spec.weight_shape[1:])
        fixed = policy.bit_width == 1 or policy.range == "max"
        if not alone or spec.is_transposed or fixed or inputs_of_a_row > _MOST_INPUTS:
            continue
        gram = _gram(spec, decays[node.name], layer_inputs(student, layer, batches), len(batches))
        weight = layer.layer.weight.detach().double().flatten(1)
        scale = integer_weight(layer.layer).scale.detach().double()
        rows = []
        for group, part in enumerate(weight.chunk(spec.groups)):
            own = scale if len(scale) == 1 else scale.chunk(spec.groups)[group]
            rows.append(round_rows(part, own.expand(len(part)), gram[group], policy))
        values, scales = torch.cat([row.values for row in rows]), torch.cat([row.scale for row in rows])
        set_integer_weight(layer.layer, policy, values.view_as(layer.layer.weight), scales)


def round_rows(weight: Tensor, scale: Tensor, gram: Tensor, policy: WeightPolicy) -> Rounded:
    """The integers of each row of weights, and its scale where the policy leaves it free.

    Never worse than the nearest integers: a row for which they lose less keeps them.

    Args:
        weight: [rows, inputs], float64.
        scale: s [rows].
        gram: H [inputs, inputs].
        policy: the integers' limits; scales of each row are only free if there is one for each row and any number.
    """
    limits = weight_limits(policy)
    nearest = (weight / scale[:, None]).round().clamp(*limits)
    compensated = _compensated(weight, scale, gram, limits)
    better = _loss(weight, compensated, scale, gram) < _loss(weight, nearest, scale, gram)
    values = torch.where(better[:, None], compensated, nearest)
    if policy.granularity == "per_tensor" or policy.scale == "power_of_two":
        return Rounded(values, scale)
    seen, power = ((weight @ gram) * values).sum(1), ((values @ gram) * values).sum(1)
    return Rounded(values, torch.where((seen > 0) & (power > 0), seen / power.clamp_min(1e-30), scale))


def _compensated(weight: Tensor, scale: Tensor, gram: Tensor, limits: tuple[int, int]) -> Tensor:
    """GPTQ's rounding to integers within the limits, inputs of the largest traces first."""
    diagonal = gram.diagonal()
    damping = _DAMPING * float(diagonal.mean()) or 1.0
    order = diagonal.argsort(descending=True, stable=True)
    left = weight[:, order].clone()
    damped = gram[order][:, order] + damping * torch.eye(len(order), dtype=gram.dtype, device=gram.device)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    values = torch.empty_like(left)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        errors = torch.empty_like(left[:, start:stop])
        for column in range(start, stop):
            values[:, column] = (left[:, column] / scale).round().clamp(*limits)
            error = (left[:, column] - values[:, column] * scale) / inverse[column, column]
            left[:, column + 1 : stop] -= error[:, None] * inverse[column, column + 1 : stop]
            errors[:, column - start] = error
        left[:, stop:] -= errors @ inverse[start:stop, stop:]
    return values[:, order.argsort()]


def _loss(weight: Tensor, values: Tensor, scale: Tensor, gram: Tensor) -> Tensor:
    """(w - sq) H (w - sq)' of each row."""
    error = weight - values * scale[:, None]
    return ((error @ gram) * error).sum(1)


def _decays(student: Student) -> dict[str, float]:
    """By tensor of currents the leak of the neuron that sets its unit; 1 of a readout, which adds all steps up."""
    decays: dict[str, float] = {}
    for stream in student.streams:
        leak = 1.0 if stream.reference is None else typical(stream.reference.layer.model.decay)
        decays |= dict.fromkeys(stream.currents, leak)
    return decays


def _gram(spec: SynapseSpec, decay: float, batches: Iterable[Tensor], count: int) -> Tensor:
    """H of each group of inputs, [groups, inputs, inputs], over so many batches of what a layer reads."""
    total = torch.zeros((), dtype=torch.float64)
    for x in batches:
        columns = _columns(spec, _trace(x.double(), decay).flatten(0, 1))
        rows = min(_ROWS, _VALUES // columns.shape[-1])
        columns = columns[:: max(1, len(columns) * count // rows)]
        total = total.to(x.device) + torch.einsum("ngi,ngj->gij", columns, columns)
    return total


def _trace(x: Tensor, decay: float) -> Tensor:
    """u_t = decay*u_{t-1} + x_t over x [T, ...]."""
    traces = [x[0]]
    for step in x[1:]:
        traces.append(decay * traces[-1] + step)
    return torch.stack(traces)


def _columns(spec: SynapseSpec, x: Tensor) -> Tensor:
    """What each output position sees of x [B, ...]: [positions, groups, inputs of a group], as weights are laid out."""
    if spec.operator == "linear":
        return x.reshape(-1, 1, x.shape[-1])
    kernel = spec.weight_shape[2:]
    x = F.pad(x, [width for padding in reversed(spec.padding) for width in (padding, padding)])
    for axis, (size, stride, dilation) in enumerate(zip(kernel, spec.stride, spec.dilation, strict=True)):
        x = x.unfold(2 + axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
    maps = len(kernel)
    x = x.permute(0, *range(2, 2 + maps), 1, *range(2 + maps, 2 + 2 * maps))
    return x.reshape(-1, spec.groups, spec.weight_shape[1] * math.prod(kernel))
