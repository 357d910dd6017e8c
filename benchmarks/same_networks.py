"""The network of the experiments on same_data.py: a zoo network with room for what 10,000 images teach."""

from torch import nn

from mdcompress import zoo


def cifar10() -> nn.Module:
    """16 x 16 colour images, 10 classes."""
    return zoo.conv_snn(image_size=16, channels=16)
