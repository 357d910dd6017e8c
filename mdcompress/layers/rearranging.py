"""The nodes without parameters: pools, sums, products and reorderings of integers carried in float, [T, N, *shape]."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from mdcompress.graph import (
    MultiplySpec,
    NodeKind,
    PoolSpec,
    ReadoutSpec,
    SliceSpec,
    SnnNode,
    SumSpec,
    TransposeSpec,
)

_LEADING = 2  # axes T and N stand before the per-sample shape


def rearrange(node: SnnNode, inputs: Sequence[Tensor]) -> Tensor:
    """The integers that a node without parameters writes."""
    x, spec = inputs[0], node.spec
    match node.kind:
        case NodeKind.POOL:
            assert isinstance(spec, PoolSpec)
            return _pool(spec, x)
        case NodeKind.ADD:
            return reduce(torch.add, inputs)
        case NodeKind.CONCAT:
            return torch.cat(list(inputs), dim=_LEADING)
        case NodeKind.MULTIPLY:
            assert isinstance(spec, MultiplySpec)
            return (1.0 - x) * inputs[1] if spec.mode == "inhibit" else x * inputs[1]
        case NodeKind.MATMUL:
            return _matrix_product(x, inputs[1])
        case NodeKind.SUM:
            assert isinstance(spec, SumSpec)
            return x.sum(_LEADING + spec.axis, keepdim=True)
        case NodeKind.TRANSPOSE:
            assert isinstance(spec, TransposeSpec)
            return x.permute(0, 1, *(_LEADING + axis for axis in spec.permutation))
        case NodeKind.SLICE:
            assert isinstance(spec, SliceSpec)
            return x.narrow(_LEADING + spec.axis, spec.start, spec.stop - spec.start)
        case NodeKind.FLATTEN | NodeKind.RESHAPE:
            return x.reshape(*x.shape[:_LEADING], *node.shape)
        case NodeKind.SCALE:
            return x
        case NodeKind.READOUT:
            assert isinstance(spec, ReadoutSpec)
            return _read_out(spec, x)
        case (
            NodeKind.INPUT
            | NodeKind.SYNAPSE
            | NodeKind.RECURRENT
            | NodeKind.AFFINE
            | NodeKind.DIGITIZER
            | NodeKind.NEURON
        ):
            raise AssertionError(f"{node.kind} has a layer of its own")
        case _:
            assert_never(node.kind)


def _matrix_product(left: Tensor, right: Tensor) -> Tensor:
    """In float64: counts of counts outgrow float32's 24 bits."""
    product: Tensor = left.double() @ right.double()
    return product if left.dtype == torch.float64 else product.to(left.dtype)


def _read_out(spec: ReadoutSpec, x: Tensor) -> Tensor:
    match spec.mode:
        case "steps":
            return x
        case "mean" | "sum":
            return x.sum(0)
        case "max":
            return x.amax(0)
        case "last":
            return x[-1]


def _pool(spec: PoolSpec, x: Tensor) -> Tensor:
    """Pools of 1 axis run as pools of 2, of which the first has size 1."""
    folded, kernel, stride, padding = x.flatten(0, 1), spec.kernel, spec.stride, spec.padding
    if len(kernel) == 1:
        folded, kernel, stride, padding = folded.unsqueeze(2), (1, *kernel), (1, *stride), (0, *padding)
    volume = len(kernel) == 3
    if spec.mode == "max":
        pooled = (functional.max_pool3d if volume else functional.max_pool2d)(folded, kernel, stride, padding)
    else:
        average = functional.avg_pool3d if volume else functional.avg_pool2d
        pooled = average(folded, kernel, stride, padding, divisor_override=1)
    if len(spec.kernel) == 1:
        pooled = pooled.squeeze(2)
    return pooled.reshape(*x.shape[:_LEADING], *pooled.shape[1:])
