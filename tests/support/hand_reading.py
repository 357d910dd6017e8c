"""Networks of one neuron that read the values of their data, harmlessly or not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Reading(nn.Module):
    """A leaky neuron behind a layer, which does something with its data in between."""

    def __init__(self, reads: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(4, 3)
        self.fc.weight.data.abs_()
        self.reads = reads
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        v, spikes = torch.zeros(x.shape[1], 3), []
        for step in x:
            v = 0.5 * v + self.fc(step)
            s = (v > 0.2).float()
            v = v - 0.2 * s
            spikes.append(self.reads(s))
        return torch.stack(spikes).mean(0)


def x_steps() -> Tensor:
    return torch.rand(4, 2, 4, generator=torch.Generator().manual_seed(1))


def monitored(s: Tensor) -> Tensor:
    rates = [s.mean().item(), float(s.sum()), s[0, 0].item()]
    assert len(rates) == 3
    return s


def chosen_by_value(s: Tensor) -> Tensor:
    return s if s[0, 0].item() >= 0 else s * 2


def scaled_by_value(s: Tensor) -> Tensor:
    return s * (1.0 if s.mean().item() < 2 else 2.0)


def indexed(s: Tensor) -> Tensor:
    return s[:, s.sum(0).argsort()]


def nonzero(s: Tensor) -> Tensor:
    s = s.clone()
    for at in s.nonzero():
        s[at[0], at[1]] = 1.0
    return s


def written_where_data_say(s: Tensor) -> Tensor:
    s = s.clone()
    s[s.sum(1).long().clamp(max=1)] = 1.0
    return s
