"""A student, or any integer graph, for NeuroBench's harness (extra `neurobench`).

    from neurobench.benchmarks import Benchmark
    from mdcompress.neurobench import NeuroBenchStudent, TrueFootprint, classes

    model = NeuroBenchStudent(md.lower(student))
    # loader: a torch DataLoader of real x [N, T, ...] and labels [N]
    Benchmark(model, loader, [], [classes], [[TrueFootprint, ConnectionSparsity], [ClassificationAccuracy, ...]]).run()

NeuroBench sees sizes and operations through torch modules: parameters by their dtype, synaptic operations by hooks on
nn.Linear and nn.Conv, spikes by hooks on activation modules. So the graph is run by the interpreter, node by node, and
each synapse and neuron has a module beside it: a layer of integer weights, which must give the interpreter's sums,
and an identity on the neuron's spikes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

from intsnn.arithmetic import IntArray, IntType
from intsnn.errors import UsageError
from intsnn.execution.interpreter import Evaluation, evaluate
from intsnn.footprint import footprint_of
from intsnn.graph import (
    IntAdd,
    IntConcat,
    IntConv,
    IntConvTranspose,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntMatMul,
    IntMultiply,
    IntNeuron,
    IntNode,
    IntPool,
    IntReadout,
    IntRequant,
    IntReshape,
    IntSlice,
    IntSum,
    IntTranspose,
    Synapse,
)

try:
    from neurobench.metrics.abstract import AccumulatedMetric, StaticMetric
    from neurobench.models import NeuroBenchModel
except ImportError as error:
    raise UsageError(
        f"NeuroBench must be installed to be given a student ({error})",
        hints=["pip install 'mdcompress[neurobench]'"],
    ) from error

_CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


class Spikes(nn.Module):
    """What NeuroBench hears of a neuron layer: its spikes [T, N, ...], as they are."""

    def forward(self, spikes: Tensor) -> Tensor:
        """The spikes."""
        return spikes


class GraphView(nn.Module):
    """An integer graph as torch modules: layers of integer weights in `connections`, neurons in `spikes`.

    Called on real x [N, T, ...] it gives the graph's logits in real units, [N, K], or [N, T, K] where it keeps the
    steps. `membranes` holds what the last call stored, [T, N, *shape] by neuron.
    """

    def __init__(self, graph: IntGraph) -> None:
        super().__init__()
        _require_countable(graph)
        self.graph = graph
        self.connections = nn.ModuleDict()
        for layer in graph.all_synapses:
            self.connections[_key(layer.name)] = _layer(layer)
        self.spikes = nn.ModuleDict({_key(node.name): Spikes() for node in graph.neurons})
        self.membranes: Mapping[str, IntArray] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Run the graph, and show every synapse its input and every neuron its spikes."""
        node = self.graph.input
        word = IntType(node.bit_width, node.signed)
        values = x.detach().cpu().double().numpy().swapaxes(0, 1)
        integers = np.clip(np.rint(values / node.scale), word.low, word.high).astype(np.int64)
        membranes: dict[str, IntArray] = {}
        output = integers
        for step in evaluate(self.graph, integers):
            self._show(step)
            if step.membrane is not None:
                membranes[step.node.name] = step.membrane
            output = step.output
        self.membranes = membranes
        logits = torch.from_numpy(output * self.graph.output.scale)
        return logits.transpose(0, 1) if self.graph.output.mode == "steps" else logits

    def _show(self, step: Evaluation) -> None:
        """Call the modules that stand for a node."""
        if step.spikes is not None:
            self.spikes[_key(step.node.name)](torch.from_numpy(step.spikes))
        if step.weight_layer is not None:
            layer, x = step.weight_layer
            self._connect(_key(layer.name), x, step.output if layer is step.node else None)

    def _connect(self, key: str, x: IntArray, expected: IntArray | None) -> None:
        """Give a layer its input [T*N, ...]; its sums are the interpreter's."""
        found = self.connections[key](torch.from_numpy(x).double().flatten(0, 1))
        if expected is not None:
            wanted = expected.reshape(found.shape)
            assert np.array_equal(found.numpy(), wanted), f"{key}: the shown layer is not the graph's"


class NeuroBenchStudent(NeuroBenchModel):  # type: ignore[misc]  # NeuroBench has no types
    """An integer graph as NeuroBench's model: batches [N, T, ...] of real values to logits."""

    def __init__(self, graph: IntGraph) -> None:
        super().__init__()
        self.graph, self.view = graph, GraphView(graph)
        self.add_activation_module(Spikes)

    def __call__(self, batch: Tensor) -> Tensor:
        """Logits [N, K], or [N, T, K]."""
        with torch.no_grad():
            logits: Tensor = self.view(batch)
        return logits

    def __net__(self) -> nn.Module:
        """The modules that NeuroBench looks at."""
        return self.view


class TrueFootprint(StaticMetric):  # type: ignore[misc]
    """Bytes that the graph stores at its true bit widths (`intsnn.footprint`), state included."""

    def __call__(self, model: NeuroBenchStudent) -> float:
        """Weights, constants and state together."""
        return footprint_of(model.graph).bytes


class MembraneUpdates(AccumulatedMetric):  # type: ignore[misc]
    """NeuroBench's metric of that name for integer membranes: how many change, per sample.

    All of them at the first step, then those whose stored value differs from the step before. NeuroBench's own counts
    snnTorch's neurons only.
    """

    def __init__(self) -> None:
        super().__init__(requires_hooks=False)
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.updates, self.samples = 0, 0

    def __call__(self, model: NeuroBenchStudent, preds: Tensor, data: tuple[Tensor, Tensor]) -> float:
        """Count one batch; the figure so far."""
        for membranes in model.view.membranes.values():
            self.updates += math.prod(membranes.shape[1:]) + int(np.count_nonzero(np.diff(membranes, axis=0)))
        self.samples += len(data[0])
        return self.compute()

    def compute(self) -> float:
        """Updates per sample."""
        return self.updates / self.samples if self.samples else 0.0


def classes(logits: Tensor) -> Tensor:
    """The class of each sample, [N]: a postprocessor that ClassificationAccuracy can compare with labels."""
    return (logits.mean(1) if logits.dim() == 3 else logits).argmax(1)


def _require_countable(graph: IntGraph) -> None:
    """UsageError where NeuroBench would leave operations out without a word."""
    uncounted = [node for node in graph if _is_uncounted(node)]
    if uncounted:
        names = ", ".join(f"{node.name!r} ({node.kind})" for node in uncounted)
        raise UsageError(
            f"NeuroBench must know every layer with synaptic operations (it counts none of {names})",
            hints=["use `mdcompress estimate-hw`, which counts them"],
        )


def _is_uncounted(node: IntNode) -> bool:
    """Whether a node has synaptic operations that no hook of NeuroBench hears."""
    match node:
        case IntConvTranspose() | IntMatMul():
            return True
        case IntInput() | IntConv() | IntLinear() | IntRequant() | IntNeuron() | IntPool() | IntAdd() | IntConcat():
            return False
        case IntMultiply() | IntSum() | IntTranspose() | IntReshape() | IntSlice() | IntFlatten() | IntReadout():
            return False
        case _:
            assert_never(node)


def _key(name: str) -> str:
    """A node's name as a module key: a dot separates modules there."""
    return name.replace(".", "/")


def _layer(node: Synapse) -> nn.Module:
    """A torch layer with the node's integer weights, in float64: sums of integers are exact."""
    weight = torch.tensor(node.weight, dtype=torch.float64)
    layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    match node:
        case IntLinear():
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        case IntConv():
            inputs = weight.shape[1] * node.groups
            geometry = (tuple(weight.shape[2:]), node.stride, node.padding, node.dilation, node.groups, False)
            layer = _CONVOLUTIONS[weight.dim()](inputs, weight.shape[0], *geometry)  # type: ignore[arg-type]
        case IntConvTranspose():
            raise AssertionError(f"{node.name} has been refused")
        case _:
            assert_never(node)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer
