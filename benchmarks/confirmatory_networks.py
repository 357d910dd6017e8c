"""The confirmatory experiment's networks: those of experiment_networks.py at half the resolution."""

from torch import nn

from mdcompress import zoo


def mnist() -> nn.Module:
    """14 x 14 grey images."""
    return zoo.conv_snn(in_channels=1, image_size=14, channels=4)


def nmnist() -> nn.Module:
    """17 x 17 recordings of two polarities."""
    return zoo.conv_snn(in_channels=2, image_size=17, channels=4)
