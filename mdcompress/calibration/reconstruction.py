"""Weights of a layer and the inputs it sees -> integers that lose least of the membrane behind it, in closed form.

Between resets a leaky membrane is linear in the inputs: h_t = W u_t with the trace u_t = lambda*u_{t-1} + x_t. Rounding
W to Q loses sum_t |(W - sQ) u_t|^2 = tr((W - sQ) H (W - sQ)') with H = sum_t u_t u_t'. That is the problem of GPTQ
(Frantar et al. 2023, eq. 1 to 3) with traces for inputs: weights are rounded one after the other, and each error is
made up for by the weights that are still to come. Then s is the best for these integers: s = w H q' / (q H q').
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mdcompress.calibration.layer_walk import first_of, walk
from mdcompress.graph import SnnNode, SynapseSpec, typical
from mdcompress.layers.quantizers import integer_weight, set_integer_weight, weight_limits
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.student import Student

if TYPE_CHECKING:
    from mdcompress.recipe import WeightPolicy

_DAMPING = 0.01  # of the mean of H's diagonal, added to it (Frantar et al. 2023, section 3.3)
_SAMPLES = 256  # of the calibration data that each layer is shown
_ROWS = 65_536  # at most so many positions of the calibration data that H is summed over, spread evenly,
_VALUES = 65_536 * 1_152  # and of layers with more inputs fewer: H takes positions x inputs^2 operations
_MOST_INPUTS = 4_608  # of a layer, 512 channels of 3x3: H of more takes gigabytes, its inverse minutes
_TILE = 256  # inputs of a layer whose products are found at once, where it has many
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
    decays = _decays(student)
    for node, sources in walk(student, first_of(inputs, _SAMPLES)):
        if isinstance(node.spec, SynapseSpec) and _is_reconstructed(student, node):
            _reconstruct(student.synapse(node.name), decays[node.name], [read[0] for read in sources])


def _is_reconstructed(student: Student, node: SnnNode) -> bool:
    layer = student.synapse(node.name)
    policy, spec = layer.weight_policy, layer.spec
    fixed = policy.bit_width == 1 or policy.range == "max"
    alone, inputs_of_a_row = len(student.graph.places(node)) == 1, math.prod(spec.weight_shape[1:])
    return alone and not spec.is_transposed and not fixed and inputs_of_a_row <= _MOST_INPUTS


def _reconstruct(layer: QuantSynapse, decay: float, inputs: Sequence[Tensor]) -> None:
    """Round one layer's weights anew on what it reads, [T, N, ...] each."""
    policy, spec = layer.weight_policy, layer.spec
    gram = _gram(spec, decay, inputs)
    weight = layer.layer.weight.detach().double().flatten(1)
    scale = integer_weight(layer.layer).scale.detach().double()
    rows = []
    for group, part in enumerate(weight.chunk(spec.groups)):
        own = scale if len(scale) == 1 else scale.chunk(spec.groups)[group]
        rows.append(round_rows(part, own.expand(len(part)), gram[group], policy))
    values, scales = torch.cat([row.values for row in rows]), torch.cat([row.scale for row in rows])
    set_integer_weight(layer.layer, policy, values.view(layer.layer.weight.shape), scales)


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
    seen = weight @ gram
    sums = [_Sums((seen * values).sum(1), ((values @ gram) * values).sum(1)) for values in (compensated, nearest)]
    better = sums[0].loss(scale) < sums[1].loss(scale)
    values = torch.where(better[:, None], compensated, nearest)
    if policy.granularity == "per_tensor" or policy.scale == "power_of_two":
        return Rounded(values, scale)
    crossed = torch.where(better, sums[0].crossed, sums[1].crossed)
    power = torch.where(better, sums[0].power, sums[1].power)
    return Rounded(values, torch.where((crossed > 0) & (power > 0), crossed / power.clamp_min(1e-30), scale))


@dataclass(frozen=True)
class _Sums:
    """Of each row w H q' and q H q'."""

    crossed: Tensor
    power: Tensor

    def loss(self, scale: Tensor) -> Tensor:
        """(w - sq) H (w - sq)' of each row, without w H w', which is the same for all q."""
        return (scale * self.power - 2.0 * self.crossed) * scale


def _compensated(weight: Tensor, scale: Tensor, gram: Tensor, limits: tuple[int, int]) -> Tensor:
    """GPTQ's rounding to integers within the limits, inputs of the largest traces first.

    In the form of LDLQ (Chee et al. 2023, "QuIP", theorem 6: the same integers), which needs no inverse of H: with
    H = (I + A) D (I + A)' and A strictly upper, q_k = round(w_k + sum_{i<k} (w_i - q_i) A_ik).
    """
    diagonal = gram.diagonal()
    damping = _DAMPING * float(diagonal.mean()) or 1.0
    order = diagonal.argsort(descending=True, stable=True)
    feedback = _feedback(gram, order, damping)
    left = weight.T[order]  # an input's weights lie side by side: they are rounded together
    values, errors = torch.empty_like(left), torch.empty_like(left)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        block = left[start:stop] + feedback[:start, start:stop].T @ errors[:start]
        for column in range(start, stop):
            place = column - start
            value = torch.div(block[place], scale, out=values[column]).round_().clamp_(*limits)
            torch.sub(left[column], value * scale, out=errors[column])
            block[place + 1 :].addr_(feedback[column, column + 1 : stop], errors[column])
    return values[order.argsort()].T.contiguous()


def _feedback(gram: Tensor, order: Tensor, damping: float) -> Tensor:
    """I + A of the ordered, damped H: from one Cholesky factor, of H read backwards."""
    backwards = order.flip(0)
    damped = gram[backwards][:, backwards]
    damped.diagonal().add_(damping)
    upper = torch.linalg.cholesky(damped).flip(0, 1)
    feedback: Tensor = upper / upper.diagonal()
    return feedback


def _decays(student: Student) -> dict[str, float]:
    """By tensor of currents the leak of the neuron that sets its unit; 1 of a readout, which adds all steps up."""
    decays: dict[str, float] = {}
    for stream in student.streams:
        leak = 1.0 if stream.reference is None else typical(stream.reference.layer.model.decay)
        decays |= dict.fromkeys(stream.currents, leak)
    return decays


def _gram(spec: SynapseSpec, decay: float, batches: Sequence[Tensor]) -> Tensor:
    """H of each group of inputs, [groups, inputs, inputs], over the batches that a layer reads.

    Products in float32, of the few thousand positions of a batch; their sums in float64.
    """
    total = torch.zeros((), dtype=torch.float64)
    inputs_of_a_row = math.prod(spec.weight_shape[1:])
    rows = min(_ROWS, _VALUES // inputs_of_a_row)
    for x in batches:
        traces = _trace(x.float(), decay).flatten(0, 1)
        every = max(1, _positions(spec, traces) * len(batches) // rows)
        columns = _columns(spec, traces, every=every)
        total = total.to(x.device) + _products(columns).double()
    return total


def _products(columns: Tensor) -> Tensor:
    """The sum of x_i x_j over positions, [groups, inputs, inputs], of columns [positions, groups, inputs].

    Of many inputs the products are found tile by tile, on and above the diagonal: x_j x_i is x_i x_j.
    """
    inputs = columns.shape[-1]
    if inputs <= 2 * _TILE:
        return torch.einsum("ngi,ngj->gij", columns, columns)
    rows = columns.transpose(0, 1)
    found = columns.new_empty(rows.shape[0], inputs, inputs)
    tiles = [slice(start, min(start + _TILE, inputs)) for start in range(0, inputs, _TILE)]
    for place, one in enumerate(tiles):
        right = slice(one.start, inputs)
        found[:, one, right] = rows[:, :, one].transpose(1, 2) @ rows[:, :, right]
        for other in tiles[place + 1 :]:
            found[:, other, one] = found[:, one, other].transpose(1, 2)
    return found


def _trace(x: Tensor, decay: float) -> Tensor:
    """u_t = decay*u_{t-1} + x_t over x [T, ...]."""
    traces = [x[0]]
    for step in x[1:]:
        traces.append(decay * traces[-1] + step)
    return torch.stack(traces)


def _positions(spec: SynapseSpec, x: Tensor) -> int:
    """How many output positions x [B, ...] has."""
    if spec.operator == "linear":
        return x.numel() // x.shape[-1]
    return math.prod(_windows(spec, x).shape[: len(spec.weight_shape) - 1])


def _columns(spec: SynapseSpec, x: Tensor, *, every: int = 1) -> Tensor:
    """What each output position sees of x [B, ...]: [positions, groups, inputs of a group], as weights are laid out.

    every: take one position of so many.
    """
    if spec.operator == "linear":
        return x.reshape(-1, 1, x.shape[-1])[::every]
    windows = _windows(spec, x)
    places = windows.shape[: len(spec.weight_shape) - 1]
    chosen = torch.arange(0, math.prod(places), every, device=x.device)
    taken = windows[torch.unravel_index(chosen, places)] if every > 1 else windows
    return taken.reshape(-1, spec.groups, math.prod(spec.weight_shape[1:]))


def _windows(spec: SynapseSpec, x: Tensor) -> Tensor:
    """The windows of a convolution on x [B, C, *map], a view of the padded x: [B, *places, C, *kernel]."""
    kernel = spec.weight_shape[2:]
    x = F.pad(x, [width for padding in reversed(spec.padding) for width in (padding, padding)])
    for axis, (size, stride, dilation) in enumerate(zip(kernel, spec.stride, spec.dilation, strict=True)):
        x = x.unfold(2 + axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
    maps = len(kernel)
    return x.permute(0, *range(2, 2 + maps), 1, *range(2 + maps, 2 + 2 * maps))
