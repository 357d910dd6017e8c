"""A float network on a GPU -> the same network with the channels of its maps beside each other in memory (NHWC).

So a GPU's matrix units read a convolution's input, of bfloat16 above all, and so a student's maps lie. Students lay out
their own; the values of a float network are the same, and its weights are written to files as before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdcompress.adapters.state import run_fresh
from mdcompress.modes import evaluating, modules_of


def lay_out_for(device: torch.device, network: nn.Module, x: Tensor) -> bool:
    """Give a network the layout that convolutions of two axes are fastest in; whether it has it now.

    A network whose forward takes views of maps that only NCHW has (`x.view(n, -1)`) stays as it is.

    Args:
        device: where the network is to compute; a CPU changes nothing.
        network: on any device.
        x: some input [T, N, ...], where the network is.
    """
    layers = [each for each in modules_of(network).values() if isinstance(each, nn.Conv2d | nn.ConvTranspose2d)]
    if device.type == "cpu" or not layers:
        return False
    _lay_out(layers, torch.channels_last)
    try:
        with evaluating(network), torch.no_grad():
            run_fresh(network, x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # what torch raises for a view that memory does not allow
        _lay_out(layers, torch.contiguous_format)
        return False
    return True


def _lay_out(layers: list[nn.Conv2d | nn.ConvTranspose2d], layout: torch.memory_format) -> None:
    for layer in layers:
        layer.weight.data = layer.weight.data.contiguous(memory_format=layout)
