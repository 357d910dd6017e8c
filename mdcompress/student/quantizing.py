"""quantize(module, graph, plan) -> Student: integer layers with the module's weights. The module is not changed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from mdcompress.errors import PlanError
from mdcompress.graph import AffineSpec, RecurrentSpec, SnnGraph, SnnNode, SynapseSpec
from mdcompress.layers.norms import BatchNorm
from mdcompress.layers.step_norms import NormSource
from mdcompress.layers.synapse import FloatSynapse, output_first
from mdcompress.modes import modules_of, tensors_of
from mdcompress.planning import QuantPlan
from mdcompress.student.student import Student
from mdcompress.tracing.recurrence import RecurrentSynapse, own_input_layer, recurrent_synapse
from mdcompress.tracing.unwrapping import unwrapped


def quantize(model: nn.Module, graph: SnnGraph, plan: QuantPlan) -> Student:
    """A student with the weights of `model`, to be calibrated next. `graph` is the trace of `model`.

    Args:
        model: the float network; it is not changed.
        graph: its trace.
        plan: a policy for each node of the graph.

    Returns:
        The student, on the device of `model`, not calibrated.

    Raises:
        PlanError: `model` is not the network that was traced.
    """
    student = Student(graph, plan)
    modules = modules_of(unwrapped(model))
    for node in graph.of(SynapseSpec):
        module = modules.get(node.module) or own_input_layer(graph, modules, node)
        norm = _norm(modules, node.spec)
        if not isinstance(module, FloatSynapse) or output_first(module, node.spec).shape != node.spec.weight_shape:
            seen = type(module).__name__ if module is not None else "nothing"
            raise PlanError(
                f"node {node.name!r} of the graph must be a synapse of shape {node.spec.weight_shape} in the "
                f"network (found {seen})",
                hints=["trace the network that you quantize: graph = mdcompress.trace(model, sample)"],
            )
        student.synapse(node.name).adopt(module, norm)
    for recurrent in graph.of(RecurrentSpec):
        student.synapse(recurrent.name).adopt(_recurrent(modules, graph, recurrent), None)
    for affine in graph.of(AffineSpec):
        student.affine(affine.name).adopt(_norm(modules, affine.spec))
    device = next((tensor.device for tensor in tensors_of(model).values()), None)
    return student.to(device) if device is not None else student


def _recurrent(modules: Mapping[str, nn.Module], graph: SnnGraph, node: SnnNode) -> RecurrentSynapse:
    """The recurrent weights of the network's neuron that reads the node."""
    neuron = graph.neuron_behind(node)
    if neuron.name not in modules:
        raise PlanError(
            f"the network must have the neuron {neuron.name!r} of the graph (it has none so named)",
            hints=["trace the network that you quantize: graph = mdcompress.trace(model, sample)"],
        )
    return recurrent_synapse(neuron.name, modules[neuron.name], neuron.spec, shape=neuron.shape)


def _norm(modules: Mapping[str, nn.Module], spec: SynapseSpec | AffineSpec) -> NormSource | None:
    """The network's batch norm that the graph names, or that of every step; None where it names none."""
    if spec.step_norms:
        return tuple(_norm_named(modules, name) for name in spec.step_norms)
    return None if spec.batch_norm is None else _norm_named(modules, spec.batch_norm)


def _norm_named(modules: Mapping[str, nn.Module], name: str) -> BatchNorm:
    norm = modules.get(name)
    if not isinstance(norm, BatchNorm):
        raise PlanError(
            f"the network must have the batch norm {name!r} of the graph (it has none so named)",
            hints=["trace the network that you quantize: graph = mdcompress.trace(model, sample)"],
        )
    return norm
