"""A convolutional sinabs network: IAF layers that take steps folded into the batch, pooling as a sum of spikes."""

import sinabs.layers as sl
import torch
from sinabs.activation import MultiSpike, PeriodicExponential
from torch import nn

BATCH_SIZE = 64


def network():
    """Frames [N*T, 1, 8, 8] to currents [N*T, 10]; N is the size of the batches it is trained on."""
    iaf = {
        "batch_size": BATCH_SIZE,
        "spike_threshold": torch.tensor(0.5),
        "min_v_mem": -0.5,
        "spike_fn": MultiSpike,
        "surrogate_grad_fn": PeriodicExponential(),
    }
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        sl.IAFSqueeze(**iaf),
        sl.SumPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        sl.IAFSqueeze(**iaf),
        sl.SumPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10, bias=False),
    )
