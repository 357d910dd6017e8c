"""The network that forms are tried in: two spiking branches, and layers behind what a form makes of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mdcompress.zoo import IF, LIF
from tests.support.layered_network import Layers, fold

Forward = Callable[["Net", Tensor], Tensor]
T, N = 3, 2


class Net(Layers):
    """Two spiking branches, a and b, of a (2, 4, 4) image, and layers to read what a form makes of them."""

    def __init__(self, forward: Forward, **layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = forward
        self.conv_a, self.a = nn.Conv2d(2, 4, 3, padding=1), LIF(threshold=0.3)
        self.conv_b, self.b = nn.Conv2d(2, 4, 3, padding=1), IF(threshold=0.4)
        self.read, self.last = nn.Conv2d(4, 4, 3, padding=1), IF(threshold=0.3)
        self.head: nn.Module = nn.LazyLinear(3)
        for name, layer in layers.items():
            self.add_module(name, layer)
        with torch.no_grad():
            for parameter in self.parameters():
                if not isinstance(parameter, nn.parameter.UninitializedParameter):
                    parameter.add_(0.05)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)

    def spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(fold(self.conv_a, x)), self.b(fold(self.conv_b, x))


def sample(*shape: int) -> Tensor:
    return torch.rand(T, N, *(shape or (2, 4, 4)), generator=torch.Generator().manual_seed(1))
