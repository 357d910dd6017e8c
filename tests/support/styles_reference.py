"""A drawn network run the plain way, layer after layer over all steps, from its truth; and weights so that it fires.

It takes the weights out of the built network and shares nothing else with its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.styles_neurons import Truth, Values, truth
from tests.support.styles_plan import Layer, Plan

RATES = (0.05, 0.4)  # of spikes per neuron and step, from the least to the most
AIM = 0.2


@dataclass(frozen=True)
class Run:
    """The answer, time first where it has time, and the spikes of every layer [T, N, ...]."""

    answer: Tensor
    spikes: tuple[Tensor, ...]


def run_truth(truth: Truth, current: Tensor) -> Tensor:
    """The canonical neuron on currents [T, N, C, ...]: its spikes."""
    decay, gain, drive = (_wide(value, current) for value in (truth.decay, truth.gain, truth.drive))
    threshold, amount = _wide(truth.threshold, current), _wide(truth.soft_amount, current)
    v = torch.zeros_like(current[0]) + _wide(truth.initial, current)
    i, s, spikes = torch.zeros_like(v), torch.zeros_like(v), []
    for x in current:
        i = x if truth.synapse_decay is None else truth.synapse_decay * i + x
        h = decay * v + gain * i + drive
        if truth.timing == "after_leak":
            h = h - amount * s
        if truth.timing == "masked":
            h = torch.where(s > 0, torch.zeros_like(h), h)
        if truth.floor == "before_fire":
            h = h.clamp(min=truth.floor_value)
        s = _fired(truth, h, threshold)
        v = h
        if truth.timing == "same_step" and truth.reset == "hard":
            v = torch.where(s > 0, torch.full_like(h, truth.reset_value), h)
        if truth.timing == "same_step" and truth.reset == "soft":
            v = h - amount * s
        if truth.floor == "after_reset":
            v = v.clamp(min=truth.floor_value)
        spikes.append(s)
    return torch.stack(spikes)


def _fired(truth: Truth, h: Tensor, threshold: Tensor) -> Tensor:
    if truth.spike == "binary":
        return (h >= threshold if truth.comparator == "greater_equal" else h > threshold).to(h.dtype)
    levels = h / threshold
    return (levels.floor() if truth.spike == "floor" else levels.round()).clamp(0, truth.max_spikes)


def _wide(value: Values, current: Tensor) -> Tensor:
    """A number beside a step [N, C, ...]."""
    tensor = torch.tensor(value, dtype=current.dtype)
    return tensor.view(-1, *[1] * (current.dim() - 3)) if tensor.dim() else tensor


class Reference:
    """The plan, with the weights of the network that was built from it."""

    def __init__(self, plan: Plan, network: nn.Module) -> None:
        self.plan = plan
        self.modules: dict[str, nn.Module] = dict(network.named_modules())
        self.truths = tuple(truth(plan.neuron, layer.numbers) for layer in plan.spiking if layer.numbers)

    def run(self, x: Tensor) -> Run:
        """x [T, N, ...] through all layers."""
        return self._run(x, sized=False)

    def size(self, x: Tensor) -> list[float]:
        """Give every layer weights under which its neurons fire; the rate of each layer."""
        with torch.no_grad():
            run = self._run(x, sized=True)
        return [float((spikes > 0).double().mean()) for spikes in run.spikes]

    def _run(self, x: Tensor, *, sized: bool) -> Run:
        spikes: list[Tensor] = []
        skip = x
        for index, layer in enumerate(self.plan.layers):
            x = x.flatten(2) if layer.kind == "linear" else x
            if sized:
                self._size(layer, x, skip if index == 1 and self.plan.residual == "currents" else None, len(spikes))
            x = self._current(layer, x)
            if self.plan.residual == "currents" and index < 2:
                x = skip = x + skip if index == 1 else x
            if layer.numbers is None:
                continue
            here = self.truths[len(spikes)]
            spikes.append(run_truth(here, x))
            x = spikes[-1] * _wide(here.height, x)
            if self.plan.residual == "spikes" and index < 2:
                x = skip = x + skip if index == 1 else x
            x = _pooled(layer, x)
        return Run(self._answer(x), tuple(spikes))

    def _answer(self, y: Tensor) -> Tensor:
        match self.plan.answer:
            case "mean":
                return y.mean(0)
            case "sum":
                return y.sum(0)
            case "last":
                return y[-1]
            case "membrane":
                powers = [self.plan.readout_decay ** (len(y) - 1 - t) for t in range(len(y))]
                return torch.stack([power * step for power, step in zip(powers, y, strict=True)]).sum(0)
            case _:
                return y

    def _current(self, layer: Layer, x: Tensor) -> Tensor:
        weights = self._weights(layer)
        flat = x.flatten(0, 1)
        if layer.kind == "linear":
            y = F.linear(flat, weights[0], weights[1])
        else:
            groups = layer.inputs if layer.kind == "depthwise" else 1
            y = F.conv2d(flat, weights[0], weights[1], padding=1, groups=groups)
        return self._normed(layer, _unfolded(y, x))

    def _weights(self, layer: Layer) -> tuple[Tensor, Tensor | None]:
        module = self._found(layer.name)
        weight, bias = module.weight, module.bias
        assert isinstance(weight, Tensor) and isinstance(bias, Tensor | None)
        return weight, bias

    def _found(self, name: str) -> nn.Module:
        """The module of that name, or the one inside its wrapper."""
        for ending in ("", ".layer", ".body.0"):
            module = self.modules.get(name + ending)
            if module is not None and "weight" in dict(module.named_parameters(recurse=False)):
                return module
        raise AssertionError(f"{name} is not in {list(self.modules)}")

    def _norms(self, layer: Layer) -> Sequence[nn.Module]:
        name = layer.name.replace("conv", "norm")
        if layer.norm != "per_step":
            return [self._found(name)]
        prefix = name if self.plan.major == "loop" else f"{name}.norms"
        return [self._found(f"{prefix}.{t}") for t in range(self.plan.steps)]

    def _normed(self, layer: Layer, y: Tensor) -> Tensor:
        if layer.norm == "none":
            return y
        norms = self._norms(layer)
        per_step = norms if len(norms) > 1 else list(norms) * len(y)
        scale = self.plan.threshold if layer.norm == "tdbn" else 1.0
        return torch.stack([_norm(norm, step, scale) for norm, step in zip(per_step, y, strict=True)])

    def _size(self, layer: Layer, x: Tensor, skip: Tensor | None, index: int) -> None:
        """Scale the layer, or its norm, so that about a fifth of its neurons' steps have a spike."""
        if layer.norm != "none":
            self._take_statistics(layer, x)
        parts = [self._found(layer.name)] if layer.norm == "none" else list(self._norms(layer))
        if layer.numbers is None:
            return
        before = [(_values(part, "weight").clone(), _values(part, "bias").clone()) for part in parts]
        spread = float(self._current(layer, x).std())
        tried = []
        for power in range(-8, 17):
            factor = 1.4**power * 0.3 / spread
            _scale(parts, before, factor)
            current = self._current(layer, x)
            rate = run_truth(self.truths[index], current if skip is None else current + skip)
            tried.append((abs(float((rate > 0).double().mean()) - AIM), factor))
        _scale(parts, before, min(tried)[1])

    def _take_statistics(self, layer: Layer, x: Tensor) -> None:
        """Running statistics like those of x, a little off, each step its own."""
        plain = self._current_without_norm(layer, x).flatten(0, 1).transpose(0, 1).flatten(1)
        dice = torch.Generator().manual_seed(self.plan.seed)
        for norm in self._norms(layer):
            mean, var = plain.mean(1), plain.var(1)
            off = torch.randn(len(mean), generator=dice), torch.rand(len(mean), generator=dice)
            _values(norm, "running_mean").copy_(mean + 0.1 * off[0].to(mean) * var.sqrt())
            _values(norm, "running_var").copy_(var * (0.8 + 0.4 * off[1].to(mean)))
            _values(norm, "weight").copy_(0.7 + 0.6 * torch.rand(len(mean), generator=dice).to(mean))
            _values(norm, "bias").copy_(0.2 + 0.3 * torch.rand(len(mean), generator=dice).to(mean))

    def _current_without_norm(self, layer: Layer, x: Tensor) -> Tensor:
        groups = layer.inputs if layer.kind == "depthwise" else 1
        weight, bias = self._weights(layer)
        return _unfolded(F.conv2d(x.flatten(0, 1), weight, bias, padding=1, groups=groups), x)


def _values(module: nn.Module, name: str) -> Tensor:
    """A parameter to write into; an empty one where there is none."""
    value = getattr(module, name)
    return value.data if isinstance(value, Tensor) else torch.empty(0)


def _scale(parts: Sequence[nn.Module], before: Sequence[tuple[Tensor, Tensor]], factor: float) -> None:
    for part, (weight, bias) in zip(parts, before, strict=True):
        _values(part, "weight").copy_(weight * factor)
        _values(part, "bias").copy_(bias * factor)


def _norm(norm: nn.Module, x: Tensor, scale: float) -> Tensor:
    mean, var = _values(norm, "running_mean"), _values(norm, "running_var")
    weight, bias = _values(norm, "weight"), _values(norm, "bias")
    shape = (-1, 1, 1)
    normed = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
    return scale * normed * weight.view(shape) + bias.view(shape)


def _pooled(layer: Layer, x: Tensor) -> Tensor:
    if layer.pool == "none":
        return x
    pool = F.max_pool2d if layer.pool.endswith("max") else F.avg_pool2d
    return _unfolded(pool(x.flatten(0, 1), 2), x)


def _unfolded(y: Tensor, x: Tensor) -> Tensor:
    """[T*N, ...] with the steps and the batch of x."""
    return y.reshape(*x.shape[:2], *y.shape[1:])
