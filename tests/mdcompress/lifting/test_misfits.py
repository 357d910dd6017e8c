"""A layer that reads samples of another size than it has weights for is named, with both sizes and what to change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.tracing.conventions import fit
from mdcompress.zoo import LIF

T, N = 5, 3


class Inline(nn.Module):
    """Neurons in the network's own code; `step` says what it does with the current input, of x [N, T, ...]."""

    def __init__(self, first: nn.Module, last: nn.Linear, step: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.step = first, last, step

    def forward(self, x: Tensor) -> Tensor:
        v: Tensor | float = 0.0
        total: Tensor | float = 0.0
        for t in range(T):
            v = 0.5 * v + self.first(self.step(x, t))
            assert isinstance(v, Tensor)
            spikes = (v > 0.3).to(x.dtype)
            v = v * (1 - spikes)
            total = total + self.last(spikes.flatten(1))
        assert isinstance(total, Tensor)
        return total / T


def second(x: Tensor, t: int) -> Tensor:
    return x[:, t]


def refused(network: nn.Module, *sample: int) -> TraceError:
    with pytest.raises(TraceError) as caught:
        fit(network.eval(), torch.rand(T, N, *sample, generator=torch.Generator().manual_seed(0)))
    return caught.value


@pytest.mark.parametrize(
    ("network", "sample", "says", "hint"),
    [
        (Inline(nn.Linear(6, 8), nn.Linear(8, 4), second), (7,),
         "'first' (Linear), which takes [..., 6] and is given [5, 7]", "give the layer 7 inputs"),
        (Inline(nn.Linear(6, 8), nn.Linear(8, 4), second), (1, 2, 3),
         "'first' (Linear), which takes [..., 6] and is given [5, 1, 2, 3]", "6 values of a step must be flattened"),
        (Inline(nn.Conv2d(1, 3, 3, padding=1), nn.Linear(48, 4), second), (2, 4, 4),
         "'first' (Conv2d), which takes [N, 1, H, W] and is given [5, 2, 4, 4]", "give the layer 2 channels"),
        (Inline(nn.Conv2d(1, 3, 3, padding=1), nn.Linear(48, 4), second), (1, 5, 5),
         "'last' (Linear), which takes [..., 48] and is given [5, 75]", "give the layer 75 inputs"),
        (nn.Sequential(nn.Flatten(0, 1), nn.Conv2d(1, 2, 3), nn.Unflatten(0, (T, -1)), LIF()), (1, 2, 9),
         "'1' (Conv2d), which takes maps of at least 3 x 3 and is given [15, 1, 2, 9]", "a smaller kernel"),
        (nn.Sequential(nn.Flatten(0, 1), nn.Conv1d(4, 2, 3), nn.Unflatten(0, (T, -1)), LIF()), (9,),
         "'1' (Conv1d), which takes [N, 4, L] and is given [15, 9]", "give it maps, [N, 4, L]"),
        (nn.Sequential(nn.Linear(6, 8), LIF(), nn.Linear(8, 3)), (7,),
         "'0' (Linear), which takes [..., 6] and is given [5, 3, 7]", "`data.size` their height and width"),
    ],
)  # fmt: skip
def test_the_layer_and_both_sizes_are_named(network: nn.Module, sample: tuple[int, ...], says: str, hint: str) -> None:
    error = refused(network, *sample)
    assert f"the network fails in {says}" in error.message
    assert f"a sample {list(sample)} at each step" in error.message
    assert hint in error.hints[0]


def test_what_fails_in_no_layer_is_the_networks_own_error() -> None:
    def reshaped(x: Tensor, t: int) -> Tensor:
        return x[:, t].reshape(-1, 4, 4)

    error = refused(Inline(nn.Linear(4, 8), nn.Linear(8, 4), reshaped), 7)
    assert "takes" not in error.message.replace("the network takes", "")
