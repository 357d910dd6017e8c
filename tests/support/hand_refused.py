"""Networks that no graph of integers can hold, one for each limit; each marks the line that its refusal names."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.hand_networks import Hand, N, by_step, fire, folded, rate, spikes_of

States = tuple[Tensor, Tensor]


def neuron(step: Callable[[int, Tensor, Tensor, Tensor], States]) -> Callable[[Hand, Tensor], Tensor]:
    """A network of one neuron: step(t, v, s, current) gives the new spikes and membrane."""

    def run(network: Hand, x: Tensor) -> Tensor:
        v, s, found = x.new_zeros(N, 4), x.new_zeros(N, 4), []
        for t, given in enumerate(x):
            s, v = step(t, v, s, network.call("fc", given))
            found.append(s)
        return rate(network, torch.stack(found))

    return run


def softmax(network: Hand, x: Tensor) -> Tensor:
    q = spikes_of(network.call("fc", x))
    weights = (q.unsqueeze(-1) * q.unsqueeze(-2)).softmax(-1)  # here
    return rate(network, (weights @ q.unsqueeze(-1)).squeeze(-1))


def attention_by_softmax(network: Hand, x: Tensor) -> Tensor:
    q = spikes_of(network.call("fc", x.unsqueeze(2).expand(-1, -1, 3, -1)))
    weights = (q @ q.transpose(-2, -1)).softmax(-1)  # here
    return rate(network, (weights @ q).mean(2))


def layer_norm(network: Hand, x: Tensor) -> Tensor:
    y = F.layer_norm(network.call("fc", x), (4,))  # here
    return rate(network, spikes_of(y))


def tanh(network: Hand, x: Tensor) -> Tensor:
    y = torch.tanh(network.call("fc", x))  # here
    return rate(network, spikes_of(network.call("second", y)))


def noise(network: Hand, x: Tensor) -> Tensor:
    y = network.call("fc", x)
    y = y + 0.1 * torch.randn_like(y)  # here
    return rate(network, spikes_of(y))


def gate(network: Hand, x: Tensor) -> Tensor:
    v, found = x.new_zeros(N, 4), []
    for given in x:
        current = network.call("fc", given)
        v = torch.sigmoid(network.call("gate", given)) * v + current
        s = (v >= 0.5).to(x.dtype)  # here
        v = v - 0.5 * s
        found.append(s)
    return rate(network, torch.stack(found))


def threshold_of_statistics(network: Hand, x: Tensor) -> Tensor:
    v, found = x.new_zeros(N, 4), []
    for given in x:
        v = 0.5 * v + network.call("fc", given)
        s = (v >= v.mean(1, keepdim=True)).to(x.dtype)  # here
        v = v - 0.5 * s
        found.append(s)
    return rate(network, torch.stack(found))


def _decay_per_step(t: int, v: Tensor, s: Tensor, current: Tensor) -> States:
    h = (0.5, 0.5, 0.75, 0.5)[t] * v + current
    s = (h >= 0.5).to(v.dtype)  # here
    return s, h - 0.5 * s


def _threshold_per_step(t: int, v: Tensor, s: Tensor, current: Tensor) -> States:
    h = 0.5 * v + current
    s = (h >= (0.5, 0.5, 0.75, 0.5)[t]).to(v.dtype)  # here
    return s, h - 0.5 * s


def _ternary(t: int, v: Tensor, s: Tensor, current: Tensor) -> States:
    h = 0.5 * v + current - 1.0
    s = (h >= 0.5).to(v.dtype) - (h <= -0.5).to(v.dtype)  # here
    return s, h - 0.5 * s


def _two_thresholds(t: int, v: Tensor, s: Tensor, current: Tensor) -> States:
    h = 0.5 * v + current
    s = (h >= 0.5).to(v.dtype) + (h >= 1.5).to(v.dtype)  # here
    return s, h - 0.5 * s


decay_per_step = neuron(_decay_per_step)
threshold_per_step = neuron(_threshold_per_step)
ternary = neuron(_ternary)
two_thresholds = neuron(_two_thresholds)


def refractory(network: Hand, x: Tensor) -> Tensor:
    v, rest, found = x.new_zeros(N, 4), x.new_zeros(N, 4), []
    for given in x:
        v = 0.5 * v + network.call("fc", given) * (rest <= 0).to(x.dtype)
        s = (v >= 0.5).to(x.dtype)  # here
        v = v - 0.5 * s
        rest = 2 * s + (rest - 1).clamp(min=0)
        found.append(s)
    return rate(network, torch.stack(found))


def adapting(network: Hand, x: Tensor) -> Tensor:
    v, level, found = x.new_zeros(N, 4), x.new_full((N, 4), 0.5), []
    for given in x:
        v = 0.75 * v + network.call("fc", given)
        s = (v >= level).to(x.dtype)  # here
        v = v * (1 - s)
        level = 0.5 * level + 0.25 + 0.25 * s
        found.append(s)
    return rate(network, torch.stack(found))


def feedback(network: Hand, x: Tensor) -> Tensor:
    """The first neuron reads the spikes of the second of the step before."""
    v, u, above, found = x.new_zeros(N, 4), x.new_zeros(N, 4), x.new_zeros(N, 4), []
    for given in x:
        h = 0.5 * v + network.call("fc", given) + network.call("back", above)
        s = (h >= 0.5).to(x.dtype)  # here
        v = h - 0.5 * s
        above, u = fire(u, network.call("second", s))
        found.append(above)
    return rate(network, torch.stack(found))


def delayed(network: Hand, x: Tensor) -> Tensor:
    """The second layer reads the first one's spikes of the step before."""
    v, u, last, found = x.new_zeros(N, 4), x.new_zeros(N, 4), x.new_zeros(N, 4), []
    for given in x:
        h = 0.5 * u + network.call("second", last)
        s = (h >= 0.5).to(x.dtype)  # here
        u = h - 0.5 * s
        last, v = fire(v, network.call("fc", given))
        found.append(s)
    return rate(network, torch.stack(found))


def membrane_read(network: Hand, x: Tensor) -> Tensor:
    v, u, found = x.new_zeros(N, 4), x.new_zeros(N, 4), []
    for given in x:
        s, v = fire(v, network.call("fc", given))
        y = network.call("second", v)  # here
        s, u = fire(u, y)
        found.append(s)
    return rate(network, torch.stack(found))


def batch_statistics(network: Hand, x: Tensor) -> Tensor:
    y = folded(network, "conv", x)
    y = by_step(F.batch_norm(y.flatten(0, 1), None, None, training=True))  # here
    return rate(network, spikes_of(y))


def statistics_by_hand(network: Hand, x: Tensor) -> Tensor:
    y = network.call("fc", x)
    y = y - y.mean(1, keepdim=True)  # here
    return rate(network, spikes_of(y))


def product_of_currents(network: Hand, x: Tensor) -> Tensor:
    y = network.call("fc", x) * network.call("gate", x)  # here
    return rate(network, spikes_of(y))


def of_six_steps(network: Hand, x: Tensor) -> Tensor:
    """One image for six steps."""
    v, total = x.new_zeros(N, 4), x.new_zeros(N, 3)
    for _ in range(6):
        s, v = fire(v, network.call("fc", x))
        total = total + network.call("head", s)
    return total / 6


def pool_with_a_partial_window(network: Hand, x: Tensor) -> Tensor:
    s = spikes_of(folded(network, "conv", x))
    pooled = F.avg_pool2d(s.flatten(0, 1), 4, ceil_mode=True)  # here
    return rate(network, by_step(pooled))


def pool_that_leaves_out_its_padding(network: Hand, x: Tensor) -> Tensor:
    s = spikes_of(folded(network, "conv", x))
    pooled = F.avg_pool2d(s.flatten(0, 1), 2, 2, 1, count_include_pad=False)  # here
    return rate(network, by_step(pooled))


def kernel_over_time(network: Hand, x: Tensor) -> Tensor:
    y = network.call("conv3", x.permute(1, 2, 0, 3, 4))  # here
    return rate(network, spikes_of(y.permute(2, 0, 1, 3, 4)))
