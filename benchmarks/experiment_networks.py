"""The experiments' networks, small enough to train hundreds of students on a CPU: zoo networks with their options."""

from torch import nn

from mdcompress import zoo


def mnist() -> nn.Module:
    """28 x 28 grey images."""
    return zoo.conv_snn(in_channels=1, image_size=28, channels=4)


def nmnist() -> nn.Module:
    """34 x 34 recordings of two polarities."""
    return zoo.conv_snn(in_channels=2, image_size=34, channels=4)


def cifar10() -> nn.Module:
    """32 x 32 colour images, 10 classes."""
    return zoo.conv_snn(channels=8)


def tiny_imagenet() -> nn.Module:
    """32 x 32 colour images, 50 classes."""
    return zoo.conv_snn(channels=8, classes=50)
