"""A framework's recurrent network, as its users write it, and what must hold of it up to the integer graph."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.graph import RecurrentSpec
from mdcompress.planning import plan
from mdcompress.tracing import trace
from tests.support.float_graph import assert_float_parity

STEPS, SAMPLES, FEATURES, NEURONS = 16, 110, 12, 60  # 105,600 spikes
MAP = (4, 4, 4)  # of 64 neurons


def counts() -> Tensor:
    """[T, N, FEATURES], integers of 0 to 3."""
    return torch.randint(0, 4, (STEPS, SAMPLES, FEATURES), generator=torch.Generator().manual_seed(0)).float()


def maps() -> Tensor:
    """[T, N, 2, 4, 4], integers of 0 to 3."""
    return torch.randint(0, 4, (STEPS, SAMPLES, 2, *MAP[1:]), generator=torch.Generator().manual_seed(0)).float()


def enlivened(network: nn.Module, *, seed: int = 0) -> nn.Module:
    """Weights that make neurons fire now and then, and feed back enough to matter.

    They are multiples of 1/64, so that float32 gives one sum in every order of its terms.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.02, 0.6 / parameter[0].numel() ** 0.5, generator=generator)
            if parameter.dim() > 0:
                parameter.mul_(64).round_().div_(64)
    return network.eval()


def check_recurrent(network: nn.Module, x: Tensor, *, recipe: str = "8bit", matters: bool = True) -> md.Student:
    """The probe and the agreement of the trace, float parity, then student = interpreter = onnxruntime on x.

    matters: whether the last spikes change what follows; not one neuron's own, where a masked reset drops them.
    """
    graph = trace(network, x[:, :4])
    (node, *_) = graph.of(RecurrentSpec)
    (neuron,) = graph.readers(node.name)
    assert node.name == f"{neuron.name}.recurrent" and node.inputs == () and neuron.inputs[1] == node.name
    assert_float_parity(graph, network, x)
    with torch.no_grad():
        seen = md.observe(network, graph, x[:, :8]).spikes[neuron.name]
        assert 0.01 < float((seen > 0).double().mean()) < 0.99, "the neurons must live"
        student = md.calibrate(md.quantize(network, graph, plan(md.load_recipe(recipe), graph)), [x[:, :20]])
        assert student.trace(x).spikes[neuron.name].size >= 100_000
    report = md.verify(student, x)
    assert report.equal, str(report)
    assert report.spikes > 1000
    student.train()(x[:, :4]).square().sum().backward()
    gradients = [value.grad for name, value in student.named_parameters() if "recurrent.layer.weight" in name]
    assert gradients and all(gradient is not None and bool(gradient.any()) == matters for gradient in gradients)
    without = copy.deepcopy(student)
    with torch.no_grad():
        for parameter in (without.synapse(node.name).layer.weight, without.synapse(node.name).layer.bias):
            if parameter is not None:
                parameter.zero_()
    spikes, others = (each.trace(x[:, :20]).spikes[neuron.name] for each in (student, without))
    assert matters == bool((spikes != others).any())
    return student.eval()
