"""A student's state with its weights as integers, several in a byte, and back to a state that gives the same integers.

The integers of a layer lie in low..high of its policy, or are -1 and 1. Each is stored as how many levels it lies above
the least, in as many bits as the levels need: the first in the lowest bits of the first byte, then upwards. What is
left of the last byte is zero.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from brevitas.core.quant import BinaryQuant
from torch import Tensor, nn

from mdcompress.layers.quantizers import BrevitasLayer, IntegerWeight, integer_weight

SUFFIX, SCALE = ".packed", ".packed_scale"  # behind the name of a weight
_MOST_BITS = 8


class DamagedWeightsError(ValueError):
    """Packed bytes are not those of the layer that they are said to be of."""


@dataclass(frozen=True)
class _Levels:
    """The integers that a weight may have: low, low + step, ..., `count` of them."""

    low: int
    step: int
    count: int

    @property
    def bits(self) -> int:
        return (self.count - 1).bit_length()


def packed_state(student: nn.Module) -> dict[str, Tensor]:
    """The state dict with weights of at most 8 bits packed, as NAME.weight.packed, uint8.

    Where the weight itself gives the scale (`range: max`), NAME.weight.packed_scale holds it; one that would have
    another scale if it were its integers times the scale stays as it is.
    """
    state = dict(student.state_dict())
    for name, layer in _layers(student):
        levels = _levels_of(layer)
        with torch.no_grad():
            found = integer_weight(layer)
        if levels.bits <= _MOST_BITS and _is_told_by_its_integers(layer, found):
            above = ((found.values - levels.low) / levels.step).to(torch.int64).cpu().flatten().numpy()
            del state[name]
            state[f"{name}{SUFFIX}"] = torch.from_numpy(_packed(above, levels.bits))
            if layer.step_size is None:
                state[f"{name}{SCALE}"] = found.scale
    return state


def unpack(student: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of `student` that packed tensors stand for, but that each packed weight is the student's own.

    `set_packed` sets these once the rest is restored, on which their scales depend.
    """
    own = dict(_layers(student))
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith((SUFFIX, SCALE))}
    packed = (name.removesuffix(SUFFIX) for name in tensors if name.endswith(SUFFIX))
    return {**plain, **{name: own[name].weight.detach() for name in packed if name in own}}


def set_packed(student: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set every packed weight to its integers times the layer's scale.

    Raises:
        DamagedWeightsError: a tensor is of no layer of the student, or holds other than that layer's integers.
    """
    own = dict(_layers(student))
    with torch.no_grad():
        for name in tensors:
            if not name.endswith(SUFFIX):
                continue
            layer = own.get(name.removesuffix(SUFFIX))
            if layer is None:
                raise DamagedWeightsError(f"{name!r} is of no layer")
            values = _unpacked(name, tensors[name], _levels_of(layer), layer.weight.numel())
            own_scale = integer_weight(layer).scale
            scale = tensors.get(f"{name.removesuffix(SUFFIX)}{SCALE}", own_scale)
            if scale.shape != own_scale.shape or (layer.step_size is None) is (scale is own_scale):
                raise DamagedWeightsError(
                    f"{name!r} must have a scale of shape {list(own_scale.shape)} where it needs one"
                )
            layer.weight.copy_(_as_floats(values.reshape(layer.weight.shape).to(layer.weight), scale))


def _layers(student: nn.Module) -> Iterator[tuple[str, BrevitasLayer]]:
    """Every layer with a quantized weight, under the name of that weight in the state dict."""
    for name, module in student.named_modules():
        if isinstance(module, get_args(BrevitasLayer)):
            yield f"{name}.weight", module


def _levels_of(layer: BrevitasLayer) -> _Levels:
    low, high = layer.integer_limits
    return _Levels(-1, 2, 2) if (low, high) == (-1, 1) and _is_binary(layer) else _Levels(low, 1, high - low + 1)


def _is_binary(layer: BrevitasLayer) -> bool:
    return isinstance(layer.weight_quant.tensor_quant, BinaryQuant)


def _as_floats(values: Tensor, scale: Tensor) -> Tensor:
    return values * scale.reshape(-1, *(1 for _ in values.shape[1:])).to(values)


def _is_told_by_its_integers(layer: BrevitasLayer, own: IntegerWeight) -> bool:
    """Whether the layer has the same integers and scale where its weight is its integers times its scale."""
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight.copy_(_as_floats(own.values, own.scale))
        found = integer_weight(other)
    return torch.equal(own.values, found.values) and torch.equal(own.scale, found.scale)


def _packed(above: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.uint8]:
    digits = (above[:, None] >> np.arange(bits)) & 1
    return np.packbits(digits.astype(np.uint8).reshape(-1), bitorder="little")


def _unpacked(name: str, packed: Tensor, levels: _Levels, count: int) -> Tensor:
    expected = math.ceil(count * levels.bits / 8)
    if packed.dtype != torch.uint8 or packed.shape != (expected,):
        raise DamagedWeightsError(
            f"{name!r} must be {expected} bytes for {count} weights of {levels.bits} bits (got {packed.dtype} "
            f"{list(packed.shape)})"
        )
    digits = np.unpackbits(packed.numpy(), bitorder="little").astype(np.int64)
    above = (digits[: count * levels.bits].reshape(count, levels.bits) << np.arange(levels.bits)).sum(1)
    if digits[count * levels.bits :].any() or int(above.max(initial=0)) >= levels.count:
        raise DamagedWeightsError(f"{name!r} must hold integers of {levels.count} levels, and zeros behind them")
    return torch.from_numpy(levels.low + levels.step * above)
