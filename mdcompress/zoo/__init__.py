"""Reference networks and neurons in plain PyTorch. A recipe names a builder: `mdcompress.zoo:digits_snn`."""

from mdcompress.zoo.networks import (
    conv_snn,
    digits_events_snn,
    digits_snn,
    ms_resnet18,
    ms_resnet18_100,
    ms_resnet18_ncaltech101,
    ms_resnet18_tiny_imagenet,
    vgg9,
)
from mdcompress.zoo.neurons import IF, LIF

__all__ = [
    "IF",
    "LIF",
    "conv_snn",
    "digits_events_snn",
    "digits_snn",
    "ms_resnet18",
    "ms_resnet18_100",
    "ms_resnet18_ncaltech101",
    "ms_resnet18_tiny_imagenet",
    "vgg9",
]
