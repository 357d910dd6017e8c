"""A convolutional SpikingJelly network in multi-step mode: `layer.*` modules, LIF neurons, the mean firing rate."""

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn


class CSNN(nn.Module):
    """Frames [T, N, 1, 8, 8] to firing rates [N, 10]."""

    def __init__(self, channels=16):
        super().__init__()
        self.conv_fc = nn.Sequential(
            layer.Conv2d(1, channels, kernel_size=3, padding=1, bias=False),
            layer.BatchNorm2d(channels),
            neuron.LIFNode(surrogate_function=surrogate.ATan()),
            layer.MaxPool2d(2, 2),
            layer.Conv2d(channels, 2 * channels, kernel_size=3, padding=1, bias=False),
            layer.BatchNorm2d(2 * channels),
            neuron.LIFNode(surrogate_function=surrogate.ATan()),
            layer.MaxPool2d(2, 2),
            layer.Flatten(),
            layer.Linear(2 * channels * 2 * 2, 100, bias=False),
            neuron.LIFNode(surrogate_function=surrogate.ATan()),
            layer.VotingLayer(10),
        )
        functional.set_step_mode(self, step_mode="m")

    def forward(self, x):
        """The mean over the steps."""
        return self.conv_fc(x).mean(0)
