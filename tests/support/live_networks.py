"""Networks that fire in every layer, and the check that a student, the interpreter and onnxruntime agree on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import mdcompress as md
from mdcompress.adapters.state import reset_state
from mdcompress.graph import SnnGraph
from mdcompress.recipe import CalibrateSpec


def enliven(network: nn.Module, x: Tensor, *, bias: float, weight: float) -> nn.Module:
    """Give every batch norm the statistics of x, and the gain and offset that make what follows fire."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = None
                module.weight.fill_(weight)
                module.bias.fill_(bias)
        network.train()
        reset_state(network)
        network(x)
        reset_state(network)
    return network.eval()


def assert_integer_parity(
    network: nn.Module, graph: SnnGraph, x: Tensor, *, recipe: str = "8bit", silent: tuple[str, ...] = ()
) -> md.Student:
    """Student = interpreter = onnxruntime on x and on inputs beyond it; every neuron fires that is not named silent."""
    plan = md.plan(md.load_recipe(recipe), graph)
    nearest = CalibrateSpec(weights="nearest", offsets="keep")  # integers are equal however weights are rounded
    student = md.calibrate(md.quantize(network, graph, plan), [x], spec=nearest)
    report = md.verify(student, torch.cat([x, 1.5 * x], dim=1))
    assert report.equal, str(report)
    quiet = {name for name, spikes in student.trace(x).spikes.items() if not spikes.any()}
    assert quiet <= set(silent), quiet
    return student
