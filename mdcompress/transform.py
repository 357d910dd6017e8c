"""quantize(module, graph, plan) -> Student: integer layers with the module's weights. The module is not changed."""

from __future__ import annotations

from torch import nn

from mdcompress.errors import PlanError
from mdcompress.graph import NodeKind, SnnGraph, SynapseSpec
from mdcompress.planning import QuantPlan
from mdcompress.student import Student


def quantize(model: nn.Module, graph: SnnGraph, plan: QuantPlan) -> Student:
    """A student with the weights of `model`, to be calibrated next. `graph` is the trace of `model`.

    Errors: PlanError where `model` is not the network that was traced.
    """
    student = Student(graph, plan)
    modules = dict(model.named_modules())
    for node in graph.of_kind(NodeKind.SYNAPSE):
        assert isinstance(node.spec, SynapseSpec)
        module = modules.get(node.name)
        norm = modules.get(node.spec.batch_norm) if node.spec.batch_norm else None
        if not isinstance(module, nn.Conv2d | nn.Linear) or tuple(module.weight.shape) != node.spec.weight_shape:
            seen = type(module).__name__ if module is not None else "nothing"
            raise PlanError(
                f"node {node.name!r} of the graph must be a weight layer of shape {node.spec.weight_shape} in the "
                f"network (found {seen})",
                hints=["trace the network that you quantize: graph = mdcompress.trace(model, sample)"],
            )
        if node.spec.batch_norm and not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            raise PlanError(
                f"the network must have the batch norm {node.spec.batch_norm!r} of the graph (it has none so named)",
                hints=["trace the network that you quantize: graph = mdcompress.trace(model, sample)"],
            )
        student.synapse(node.name).adopt(module, norm)
    device = next((parameter.device for parameter in model.parameters()), None)
    return student.to(device) if device is not None else student
