"""A float network of Brevitas layers: their integers are the student's."""

from __future__ import annotations

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat
from torch import Tensor, nn

import mdcompress as md
from mdcompress.layers.quantizers import integer_weight
from mdcompress.student import Student


class Network(nn.Module):
    """One layer of spikes between a Brevitas convolution and a Brevitas linear layer of 4 bits."""

    def __init__(self, quantizer: type) -> None:
        super().__init__()
        self.conv = qnn.QuantConv2d(2, 6, 3, padding=1, weight_bit_width=4, weight_quant=quantizer)
        self.norm = nn.BatchNorm2d(6)
        self.head = qnn.QuantLinear(96, 5, bias=True, weight_bit_width=4, weight_quant=quantizer)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, 2, 4, 4] to [T, N, 5]."""
        v, answers = torch.zeros(()), []
        for step in x:
            v = 0.5 * v + self.norm(self.conv(step))
            s = (v > 0.3).float()
            v = v * (1 - s)
            answers.append(self.head(s.flatten(1)))
        return torch.stack(answers)


@pytest.mark.parametrize("quantizer", [Int8WeightPerTensorFloat, Int8WeightPerChannelFloat])
@pytest.mark.parametrize("recipe", ["4bit", "8bit"])
def test_the_integers_of_brevitas_layers_are_not_quantized_again(quantizer: type, recipe: str) -> None:
    torch.manual_seed(0)
    network = Network(quantizer).eval()
    x = torch.rand(4, 8, 2, 4, 4)
    network(x)
    student = md.compress(network, x, recipe, [x])
    assert md.verify(student, x).equal
    for name in ("conv", "head"):
        layer = network.get_submodule(name)
        assert isinstance(layer, qnn.QuantConv2d | qnn.QuantLinear)
        own, ours = layer.quant_weight().value, _weights(student, name)
        assert torch.allclose(ours, own.reshape(ours.shape), rtol=0, atol=2e-6), name


def _weights(student: Student, name: str) -> Tensor:
    layer = student.get_submodule(f"layers.{name}.layer")
    assert isinstance(layer, qnn.QuantConv2d | qnn.QuantLinear)
    found = integer_weight(layer)
    scale = found.scale.reshape(-1, *(1 for _ in found.values.shape[1:]))
    return (found.values * scale).detach()
