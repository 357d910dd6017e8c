"""A convolutional Norse network: one step at a time, the states of its cells threaded by `SequentialState`."""

import norse.torch as norse
import torch
from torch import nn


def network():
    """One step [N, 1, 8, 8] and a state to logits [N, 10] and the next state."""
    values = {"tau_mem_inv": 700.0, "tau_syn_inv": 900.0, "v_th": 0.3, "alpha": 5.0}
    cell = norse.LIFParameters(**{name: torch.as_tensor(value) for name, value in values.items()})
    return norse.SequentialState(
        nn.Conv2d(1, 16, 3, padding=1),
        norse.LIFCell(cell),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        norse.LIFCell(cell),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    )
