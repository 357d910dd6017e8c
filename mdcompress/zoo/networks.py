"""Reference networks in plain PyTorch: input [T, N, C, H, W], output the mean of the head's currents over T, [N, K]."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from mdcompress.zoo.neurons import LIF


def per_step(operation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply an operation without memory to every step: [T, N, ...] -> [T*N, ...] -> [T, N, ...]."""
    y = operation(x.flatten(0, 1))
    return y.reshape(*x.shape[:2], *y.shape[1:])


class ConvNorm(nn.Module):
    """Convolution without bias, then batch norm, applied to every step."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, Ci, H, W] -> currents [T, N, Co, H', W']."""
        return per_step(lambda frames: self.norm(self.conv(frames)), x)


class DigitsSNN(nn.Module):
    """Small network for 8x8 images: three convolutions, one membrane shortcut, both poolings, a linear head."""

    def __init__(self, *, in_channels: int = 1, image_size: int = 8, channels: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, channels)
        self.neuron1 = LIF(tau=2.0)
        self.residual = ConvNorm(channels, channels)
        self.neuron2 = LIF(tau=2.0)
        self.pool2 = nn.AvgPool2d(2)
        self.conv3 = ConvNorm(channels, 2 * channels)
        self.neuron3 = LIF(tau=2.0)
        self.pool3 = nn.MaxPool2d(2)
        self.head = nn.Linear(2 * channels * (image_size // 4) ** 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, C, H, W] -> logits [N, K]."""
        current = self.stem(x)
        current = current + self.residual(self.neuron1(current))
        x = per_step(self.pool2, self.neuron2(current))
        x = per_step(self.pool3, self.neuron3(self.conv3(x)))
        logits: Tensor = self.head(x.flatten(2))
        return logits.mean(0)


class ConvSNN(nn.Module):
    """Small network for images of 28 to 36 pixels: convolutions of c (stride 2), 2c, 4c channels and a linear head."""

    def __init__(self, *, in_channels: int = 3, image_size: int = 32, channels: int = 12, classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, channels, stride=2)
        self.neuron1 = LIF(tau=2.0)
        self.conv2 = ConvNorm(channels, 2 * channels)
        self.neuron2 = LIF(tau=2.0)
        self.pool2 = nn.AvgPool2d(2)
        self.conv3 = ConvNorm(2 * channels, 4 * channels)
        self.neuron3 = LIF(tau=2.0)
        self.pool3 = nn.AvgPool2d(2)
        side = (image_size + 1) // 2 // 2 // 2
        self.head = nn.Linear(4 * channels * side**2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, C, H, W] -> logits [N, K]."""
        x = self.neuron1(self.stem(x))
        x = per_step(self.pool2, self.neuron2(self.conv2(x)))
        x = per_step(self.pool3, self.neuron3(self.conv3(x)))
        logits: Tensor = self.head(x.flatten(2))
        return logits.mean(0)


class VGG9(nn.Module):
    """Seven convolutions in three stages with average pooling, then two linear layers (SpikeSim's VGG-9 widths)."""

    def __init__(self, *, in_channels: int = 3, image_size: int = 32, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.stages, self.pools = nn.ModuleList(), nn.ModuleList()
        channels = in_channels
        for widths in ([width] * 2, [2 * width] * 2, [4 * width] * 3):
            layers: list[nn.Module] = []
            for out_channels in widths:
                layers += [ConvNorm(channels, out_channels), LIF(tau=2.0)]
                channels = out_channels
            self.stages.append(nn.Sequential(*layers))
            self.pools.append(nn.AvgPool2d(2))
        self.hidden = nn.Linear(channels * (image_size // 8) ** 2, 16 * width)
        self.neuron = LIF(tau=2.0)
        self.head = nn.Linear(16 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, C, H, W] -> logits [N, K]."""
        for stage, pool in zip(self.stages, self.pools, strict=True):
            x = per_step(pool, stage(x))
        logits: Tensor = self.head(self.neuron(self.hidden(x.flatten(2))))
        return logits.mean(0)


class MembraneShortcutBlock(nn.Module):
    """LIF-conv-norm-LIF-conv-norm on a stream of currents, plus the shortcut (MS-ResNet, Hu et al. 2024).

    Where the shape changes, the shortcut is a 1x1 convolution of the block's first spikes, as in pre-activation
    ResNets, so that every convolution reads spikes.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.neuron1 = LIF(tau=2.0)
        self.conv1 = ConvNorm(in_channels, out_channels, stride=stride)
        self.neuron2 = LIF(tau=2.0)
        self.conv2 = ConvNorm(out_channels, out_channels)
        changes_shape = stride != 1 or in_channels != out_channels
        self.shortcut = ConvNorm(in_channels, out_channels, kernel=1, stride=stride) if changes_shape else None

    def forward(self, current: Tensor) -> Tensor:
        """Currents [T, N, Ci, H, W] -> currents [T, N, Co, H', W']."""
        spikes = self.neuron1(current)
        shortcut = current if self.shortcut is None else self.shortcut(spikes)
        result: Tensor = shortcut + self.conv2(self.neuron2(self.conv1(spikes)))
        return result


class MSResNet18(nn.Module):
    """Membrane-shortcut ResNet-18 for images of 32 to 64 pixels: a 3x3 stem of stride 1, average pooling at the end.

    Three stages halve the image; what is left, image_size / 8 pixels square, is one mean for each channel.
    """

    def __init__(self, *, in_channels: int = 3, image_size: int = 32, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, width)
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(MembraneShortcutBlock(channels, width * 2**stage, stride=stride))
                channels = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.neuron = LIF(tau=2.0)
        self.pool = nn.AvgPool2d(image_size // 8)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, C, H, W] -> logits [N, K]."""
        spikes = self.neuron(self.blocks(self.stem(x)))
        logits: Tensor = self.head(per_step(self.pool, spikes).flatten(2))
        return logits.mean(0)


def digits_snn(**options: int) -> nn.Module:
    """Small SNN for the embedded digits (30 k weights); options as in `DigitsSNN`."""
    return DigitsSNN(**options)


def digits_events_snn(**options: int) -> nn.Module:
    """The same for the event version of the digits: two polarities on a 16x16 sensor."""
    return DigitsSNN(**{"in_channels": 2, "image_size": 16, **options})


def conv_snn(**options: int) -> nn.Module:
    """Three convolutions for images of about 32 pixels (12 k weights at 12 channels); options as in `ConvSNN`."""
    return ConvSNN(**options)


def vgg9(**options: int) -> nn.Module:
    """VGG-9; options as in `VGG9`."""
    return VGG9(**options)


def ms_resnet18(**options: int) -> nn.Module:
    """MS-ResNet-18; options as in `MSResNet18`."""
    return MSResNet18(**options)


def ms_resnet18_100() -> nn.Module:
    """MS-ResNet-18 for 100 classes, as a recipe names it: CIFAR-100."""
    return MSResNet18(classes=100)


def ms_resnet18_tiny_imagenet() -> nn.Module:
    """MS-ResNet-18 for 200 classes of 64 x 64 images, as a recipe names it: Tiny-ImageNet."""
    return MSResNet18(image_size=64, classes=200)


def ms_resnet18_ncaltech101() -> nn.Module:
    """MS-ResNet-18 for 101 classes of events on 48 x 48 pixels, as a recipe names it: N-Caltech101."""
    return MSResNet18(in_channels=2, image_size=48, classes=101)
