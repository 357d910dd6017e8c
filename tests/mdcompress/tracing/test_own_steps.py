"""A network whose sample has another number of steps than it makes is told so, however its layers share their lines."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.tracing.conventions import fit


class SharedLine(nn.Module):
    """Three steps of three layers, which fire on one line."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        """[N, 8] to [N, 4]."""
        membranes = [torch.zeros_like(image) for _ in self.layers]
        total = torch.zeros(())
        for _ in range(3):
            y = image
            for place, layer in enumerate(self.layers):
                membranes[place] = 0.8 * membranes[place] + layer(y)
                y = (membranes[place] > 0.3).float()
                membranes[place] = membranes[place] * (1 - y)
            total = total + self.head(y)
        return total / 3


@pytest.mark.parametrize("steps", [2, 6])
def test_the_steps_are_found_where_layers_share_a_line(steps: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 8).expand(steps, 3, 8)
    with pytest.raises(TraceError, match=rf"as many steps as the network makes, 3 \(it has {steps}\)"):
        fit(SharedLine().eval(), x)
    assert fit(SharedLine().eval(), x[:1].expand(3, 3, 8)).graph.time_steps == 3
