"""The mean current of each channel, in the float network and in the student -> offsets that make them equal.

b_c <- b_c + mean(j_float) - mean(j_student), over samples, steps and positions, layer by layer, so that a layer is
corrected for what those before it now send (bias correction: Nagel et al. 2019, section 4.2, with data). The offset is
the layer's bias, or that of its batch norm; it becomes part of the integer B.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mdcompress.adapters.state import first_tensor, fresh_state, run_fresh
from mdcompress.calibration.layer_walk import first_of, walk
from mdcompress.graph import SnnNode, SynapseSpec
from mdcompress.layers.norms import BatchNorm
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.modes import evaluating, modules_of
from mdcompress.student import Student
from mdcompress.tracing.unwrapping import uncompiled, unwrapped

_SAMPLES = 256  # of the calibration data that each layer is compared on


def correct_offsets(student: Student, teacher: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Correct every layer that has an offset of its own; one that stands in several places is left as it is."""
    teacher = unwrapped(teacher)
    modules = modules_of(teacher)
    inputs = first_of(inputs, _SAMPLES)
    synapses = student.graph.of(SynapseSpec)
    sources = Counter(map(_source, synapses))
    alone = [node for node in synapses if sources[_source(node)] == 1 and _source(node) in modules]
    offsets = {node.name: offset for node in alone if (offset := _offset(student.synapse(node.name))) is not None}
    corrected = {node.name: node for node in alone if node.name in offsets}
    last = next(reversed(corrected), None)
    with uncompiled(), evaluating(teacher), fresh_state(teacher):
        targets = _teacher_means(teacher, modules, corrected, inputs)
    streams = student.stream_units()
    for node, read in walk(student, inputs):
        if node.name in corrected:
            spec, unit = corrected[node.name].spec, student.current_unit(node.name, streams)
            currents = (student.node_value(node, each, each[0], streams).value for each in read)
            found = _mean(spec, (each for each in currents if each is not None), unit)
            offsets[node.name].add_((targets[node.name] - found).to(offsets[node.name]))
            if node.name == last:
                return


def _source(node: SnnNode[SynapseSpec]) -> str:
    """The module of the float network whose output is the layer's current."""
    return node.spec.batch_norm or node.module


def _offset(layer: QuantSynapse) -> Tensor | None:
    """The parameter that B comes from."""
    if isinstance(layer.norm, BatchNorm):
        return layer.norm.bias.data if layer.norm.affine and layer.norm.bias is not None else None
    if layer.norm is not None or layer.layer.bias is None:
        return None
    bias: Tensor = layer.layer.bias.data
    return bias


def _teacher_means(
    teacher: nn.Module,
    modules: Mapping[str, nn.Module],
    nodes: Mapping[str, SnnNode[SynapseSpec]],
    inputs: Sequence[Tensor],
) -> dict[str, Tensor]:
    """The mean of each channel over all that the module puts out, [C] by node."""
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(nodes, 0)

    def watch(node: SnnNode[SynapseSpec]) -> torch.utils.hooks.RemovableHandle:
        def add(_module: nn.Module, _inputs: object, output: object) -> None:
            rows = _channels_last(first_tensor(output), 0 if isinstance(module, nn.Linear) else _map_rank(node.spec))
            sums[node.name] = sums.get(node.name, 0.0) + rows.sum(0, dtype=torch.float64)
            counts[node.name] += len(rows)

        module = modules[_source(node)]  # a linear map of tokens writes [..., L, C], where the graph has [..., C, L]
        return module.register_forward_hook(add)

    handles = [watch(node) for node in nodes.values()]
    try:
        for x in inputs:
            run_fresh(teacher, x)
    finally:
        for handle in handles:
            handle.remove()
    return {name: sums[name] / counts[name] for name in nodes}


def _mean(spec: SynapseSpec, batches: Iterable[Tensor], unit: Tensor) -> Tensor:
    """The mean of each channel of integer currents, [C], real."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for currents in batches:
        rows = _channels_last(currents, _map_rank(spec))
        total = total.to(rows.device) + rows.sum(0, dtype=torch.float64)
        count += len(rows)
    return total * unit / count


def _map_rank(spec: SynapseSpec) -> int:
    return len(spec.weight_shape) - 2


def _channels_last(values: Tensor, map_rank: int) -> Tensor:
    """[..., C, *map] as [n, C]; the map has so many axes."""
    return values.movedim(values.dim() - 1 - map_rank, -1).flatten(0, -2)
