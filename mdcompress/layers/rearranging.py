"""The nodes without parameters: pools, sums, products and reorderings of integers carried in float, [T, N, *shape]."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from mdcompress.graph import (
    AddSpec,
    ConcatSpec,
    FlattenSpec,
    MatMulSpec,
    MultiplySpec,
    PoolSpec,
    ReadoutMode,
    ReadoutSpec,
    RearrangingSpec,
    ReshapeSpec,
    ScaleSpec,
    SliceSpec,
    SumSpec,
    TensorShape,
    TransposeSpec,
)

_LEADING = 2  # axes T and N stand before the per-sample shape


def rearrange(spec: RearrangingSpec, shape: TensorShape, inputs: Sequence[Tensor]) -> Tensor:
    """The integers [T, N, *shape] that a node without parameters writes."""
    x = inputs[0]
    match spec:
        case PoolSpec():
            return _pool(spec, x)
        case AddSpec():
            return reduce(torch.add, inputs)
        case ConcatSpec():
            return torch.cat(list(inputs), dim=_LEADING)
        case MultiplySpec(mode):
            return (1.0 - x) * inputs[1] if mode == "inhibit" else x * inputs[1]
        case MatMulSpec():
            return _matrix_product(x, inputs[1])
        case SumSpec(axis):
            return x.sum(_LEADING + axis, keepdim=True)
        case TransposeSpec(permutation):
            return x.permute(0, 1, *(_LEADING + axis for axis in permutation))
        case SliceSpec(axis, start, stop):
            return x.narrow(_LEADING + axis, start, stop - start)
        case FlattenSpec() | ReshapeSpec():
            return x.reshape(*x.shape[:_LEADING], *shape)
        case ScaleSpec():
            return x
        case ReadoutSpec(mode):
            return _read_out(mode, x)
        case _:
            assert_never(spec)


def _matrix_product(left: Tensor, right: Tensor) -> Tensor:
    """In float64: counts of counts outgrow float32's 24 bits."""
    product: Tensor = left.double() @ right.double()
    return product if left.dtype == torch.float64 else product.to(left.dtype)


def _read_out(mode: ReadoutMode, x: Tensor) -> Tensor:
    match mode:
        case "steps":
            return x
        case "mean" | "sum":
            return x.sum(0)
        case "max":
            return x.amax(0)
        case "last":
            return x[-1]
        case _:
            assert_never(mode)


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
