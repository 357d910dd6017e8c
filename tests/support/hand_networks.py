"""Networks of a few layers as research code writes them, each for one form of code; neurons are written inline."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

T, N = 4, 2


class Hand(nn.Module):
    """A network that runs a function of its own: run(network, x)."""

    def __init__(self, run: Callable[[Hand, Tensor], object], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        generator = torch.Generator().manual_seed(0)
        for name, layer in layers.items():
            self.add_module(name, layer)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                drawn = torch.rand(parameter.shape, generator=generator) - 0.35
                parameter.data = 1.5 * drawn / parameter[0].numel() ** 0.5
            else:
                parameter.data = 0.1 * torch.rand(parameter.shape, generator=generator)
        for norm in self.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_mean is not None:
                norm.running_mean.copy_(0.2 * torch.rand(norm.num_features, generator=generator))
                norm.weight.data += 0.75
        self.eval()

    def forward(self, x: Tensor) -> object:
        """Run it."""
        return self.run(self, x)

    def call(self, name: str, x: Tensor) -> Tensor:
        """What a layer gives."""
        found: Tensor = self.get_submodule(name)(x)
        return found


def maps(*, channels: int = 2, size: int = 6, still: bool = False) -> Tensor:
    x = torch.rand(1 if still else T, N, channels, size, size, generator=torch.Generator().manual_seed(1))
    return x.expand(T, -1, -1, -1, -1)


def rows(features: int = 5) -> Tensor:
    return torch.rand(T, N, features, generator=torch.Generator().manual_seed(2))


def fire(v: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor]:
    """h = .5*v + x, spikes from .5 on, v = h - .5*s."""
    h = 0.5 * v + x
    s = (h >= 0.5).to(x.dtype)
    return s, h - 0.5 * s


def spikes_of(currents: Iterable[Tensor]) -> Tensor:
    """The spikes of `fire` at all steps."""
    v: Tensor | float = 0.0
    found = []
    for x in currents:
        s, v = fire(v, x)
        found.append(s)
    return torch.stack(found)


def by_step(y: Tensor) -> Tensor:
    """[T*N, ...] as [T, N, ...]."""
    return y.reshape(T, -1, *y.shape[1:])


def folded(network: Hand, name: str, x: Tensor) -> Tensor:
    """A layer on [T, N, ...]."""
    return by_step(network.call(name, x.flatten(0, 1)))


def rate(network: Hand, s: Tensor) -> Tensor:
    """The classes of spikes [T, N, ...], a mean over steps."""
    return network.call("head", s.flatten(2)).mean(0)


# ---------------------------------------------------------------------- inputs and states


def of_a_still_image(network: Hand, x: Tensor) -> Tensor:
    v: Tensor | float = 0.0
    total = torch.zeros(())
    for _ in range(T):
        s, v = fire(v, network.call("conv", x))
        total = total + network.call("head", s.flatten(1))
    return total / T


def of_one_number_a_step(network: Hand, x: Tensor) -> Tensor:
    """Of [N, T], as a time series comes."""
    v = torch.zeros(x.shape[0], 4)
    total = torch.zeros(())
    for t in range(x.shape[1]):
        s, v = fire(v, network.call("fc", x[:, t].unsqueeze(1)))
        total = total + network.call("head", s)
    return total / x.shape[1]


def of_one_number_a_step_time_first(network: Hand, x: Tensor) -> Tensor:
    return of_one_number_a_step(network, x.T)


def of_steps_in_a_list(network: Hand, x: Tensor) -> Tensor:
    currents = [network.call("conv", step) for step in x.unbind(0)]
    s = list(spikes_of(currents))
    return torch.stack([network.call("head", each.flatten(1)) for each in s], 1).mean(1)


def with_states_in_a_dict(network: Hand, x: Tensor) -> Tensor:
    states: dict[str, Tensor] = {}
    total: list[Tensor] = []
    for step in x:
        for name in ("fc", "out"):
            step, states[name] = fire(states.get(name, torch.zeros(N, 4)), network.call(name, step))
        total.append(step)
    return torch.stack(total).mean(0)


def with_norms_of_steps(network: Hand, x: Tensor) -> Tensor:
    norms = network.get_submodule("norms")
    assert isinstance(norms, nn.ModuleList)
    currents = [norm(network.call("conv", step)) for norm, step in zip(norms, x, strict=True)]
    return rate(network, spikes_of(currents))


def with_norms_of_steps_on_a_still_image(network: Hand, x: Tensor) -> Tensor:
    norms = network.get_submodule("norms")
    assert isinstance(norms, nn.ModuleList)
    return rate(network, spikes_of([norm(network.call("conv", x)) for norm in norms]))


def step_norms() -> nn.ModuleList:
    return nn.ModuleList(nn.BatchNorm2d(3) for _ in range(T))


def with_a_norm_by_hand(network: Hand, x: Tensor) -> Tensor:
    """Threshold-dependent norm: y = gamma * theta * (x - mean) / sqrt(var + eps) + beta."""
    y, norm = folded(network, "conv", x), network.get_submodule("norm")
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    mean, var = (each.reshape(1, 1, -1, 1, 1) for each in (norm.running_mean, norm.running_var))
    gain, bias = (each.reshape(1, 1, -1, 1, 1) for each in (norm.weight, norm.bias))
    return rate(network, spikes_of(gain * 0.5 * (y - mean) / torch.sqrt(var + norm.eps) + bias))


# ---------------------------------------------------------------------- computed weights, padding and pooling


class Standardised(nn.Conv2d):
    """w' = (w - mean) / (std + 1e-5), per output channel."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), self.bias, padding=1)


class Reparameterised(nn.Module):
    """A 3x3 kernel and a 1x1 kernel, summed into one."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Conv2d(2, 3, 3, padding=1)
        self.small = nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.large.bias is not None and self.small.bias is not None
        weight = self.large.weight + F.pad(self.small.weight, (1, 1, 1, 1))
        return F.conv2d(x, weight, self.large.bias + self.small.bias, padding=1)


class Looping(nn.Conv2d):
    """A convolution of [T, N, C, H, W], step by step."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([super(Looping, self).forward(step) for step in x])


def plain(network: Hand, x: Tensor) -> Tensor:
    return rate(network, spikes_of(folded(network, "conv", x)))


def over_all_steps(network: Hand, x: Tensor) -> Tensor:
    return rate(network, spikes_of(network.call("conv", x)))


def pooled_by(function: Callable[[Tensor], Tensor]) -> Callable[[Hand, Tensor], Tensor]:
    """Spikes that are pooled by a function of [T*N, C, H, W]."""

    def run(network: Hand, x: Tensor) -> Tensor:
        s = spikes_of(folded(network, "conv", x))
        return rate(network, by_step(function(s.flatten(0, 1))))

    return run


def padded_before_the_conv(low: int, high: int) -> Callable[[Hand, Tensor], Tensor]:
    def run(network: Hand, x: Tensor) -> Tensor:
        padded = F.pad(x.flatten(0, 1), (low, high, low, high))
        return rate(network, spikes_of(by_step(network.call("conv", padded))))

    return run


def over_depth(network: Hand, x: Tensor) -> Tensor:
    """Time as the depth of volumes [N, C, T, H, W], with kernels (1, k, k)."""
    y = network.call("norm", network.call("conv", x.permute(1, 2, 0, 3, 4)))
    s = spikes_of(y.permute(2, 0, 1, 3, 4))
    return rate(network, network.call("pool", s.permute(1, 2, 0, 3, 4)).permute(2, 0, 1, 3, 4))


# ---------------------------------------------------------------------- neurons


def of_heights(network: Hand, x: Tensor) -> Tensor:
    """Spikes of the height of their threshold, one for each channel."""
    heights = torch.tensor([0.25, 0.5, 1.0]).reshape(3, 1, 1)
    v: Tensor | float = 0.0
    found = []
    for y in folded(network, "conv", x):
        h = 0.5 * v + y
        s = (h >= heights).to(y.dtype) * heights
        v = h - s
        found.append(s)
    return rate(network, spikes_of([network.call("second", s) for s in found]))


def of_counts(network: Hand, x: Tensor) -> Tensor:
    v: Tensor | float = 0.0
    found = []
    for y in folded(network, "conv", x):
        h = 0.5 * v + 2 * y
        s = torch.clamp(torch.floor(h), 0, 3)
        v = h - s
        found.append(s)
    return rate(network, torch.stack(found))


def recurrent(network: Hand, x: Tensor) -> Tensor:
    v, s = x.new_zeros(N, 4), x.new_zeros(N, 4)
    found = []
    for step in x:
        s, v = fire(v, network.call("fc", step) + network.call("back", s))
        found.append(s)
    return rate(network, torch.stack(found))


def with_an_encoder(network: Hand, x: Tensor) -> Tensor:
    """Spikes drawn with the input as their rate."""
    s = (torch.rand_like(x) < x).to(x.dtype)
    return rate(network, spikes_of(network.call("fc", s)))


def without_encoder(network: Hand, x: Tensor) -> Tensor:
    """The same on the rates themselves."""
    return rate(network, spikes_of(network.call("fc", x)))


# ---------------------------------------------------------------------- answers


def _currents(network: Hand, x: Tensor) -> Tensor:
    return network.call("head", spikes_of(network.call("fc", x)))


def last_membrane(network: Hand, x: Tensor) -> Tensor:
    u = torch.zeros(N, 3)
    for y in _currents(network, x):
        u = 0.75 * u + y
    return u


def mean_membrane(network: Hand, x: Tensor) -> Tensor:
    u, total = torch.zeros(N, 3), torch.zeros(N, 3)
    for y in _currents(network, x):
        u = 0.75 * u + y
        total = total + u
    return total / T


def all_membranes(network: Hand, x: Tensor) -> Tensor:
    u, found = torch.zeros(N, 3), []
    for y in _currents(network, x):
        u = 0.75 * u + y
        found.append(u)
    return torch.stack(found)


def summed_membrane(network: Hand, x: Tensor) -> Tensor:
    u = torch.zeros(N, 3)
    for y in _currents(network, x):
        u = u + y
    return u


def filtered_membrane(network: Hand, x: Tensor) -> Tensor:
    i, u, found = torch.zeros(N, 3), torch.zeros(N, 3), []
    for y in _currents(network, x):
        i = 0.5 * i + y
        u = 0.75 * u + i
        found.append(u)
    return torch.stack(found)


def in_a_list(network: Hand, x: Tensor) -> list[Tensor]:
    return list(_currents(network, x).unbind(0))


def in_a_tuple(network: Hand, x: Tensor) -> tuple[Tensor, Tensor]:
    s = spikes_of(network.call("fc", x))
    return network.call("head", s).mean(0), s


def in_a_dict(network: Hand, x: Tensor) -> dict[str, Tensor]:
    s = spikes_of(network.call("fc", x))
    return {"logits": network.call("head", s).mean(0)}


def batch_first_with_time_last(network: Hand, x: Tensor) -> Tensor:
    """[N, K, T], with as many classes as steps."""
    return _currents(network, x).permute(1, 2, 0)


def batch_first(network: Hand, x: Tensor) -> Tensor:
    """[N, T, K], with as many classes as steps."""
    return _currents(network, x).transpose(0, 1)


# ---------------------------------------------------------------------- joins


def upsampled(network: Hand, x: Tensor) -> Tensor:
    s = spikes_of(folded(network, "conv", x))
    large = F.interpolate(s.flatten(0, 1), scale_factor=2, mode="nearest")
    return rate(network, spikes_of(by_step(network.call("second", large))))


def with_a_skip(network: Hand, x: Tensor) -> Tensor:
    s = spikes_of(folded(network, "conv", x))
    joined = torch.cat([spikes_of(folded(network, "second", s)), s], 2)
    return rate(network, spikes_of(folded(network, "third", joined)))


def attending(network: Hand, x: Tensor) -> Tensor:
    """Tokens [T, N, L, D] whose spikes q @ k' @ v are scaled."""
    q, k, v = (spikes_of(network.call(name, x)) for name in "qkv")
    return rate(network, spikes_of((q @ k.transpose(-2, -1)) @ v * 0.125))
