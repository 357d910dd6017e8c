"""Weights as a file holds them: offset-binary, several in a byte where they have 4 bits or fewer; and back.

bits 5 to 8   uint8, as they are
bits 3 and 4  ONNX's UINT4, two in a byte; a Cast makes bytes of them
bits 2, 1.58  four in a byte [M, 1], the first in the lowest bits; `UnpackWeights2` makes bytes of them
bits 1        eight in a byte [M, 1]; stored are 0 and 2, so that bit is the stored value halved; `UnpackWeights1`

ONNX has no type of 1 bit, and one of 2 bits only from IR 13 on, which not every supported onnxruntime reads: both are
made of BitShift and BitwiseAnd. onnxruntime unpacks once, when it loads the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from intsnn.onnx.functions import constant, function

FieldBits: TypeAlias = Literal[1, 2, 4, 8]
ByteArray = npt.NDArray[np.uint8]
_WORDS = {1: "<u8", 2: "<u4", 4: "<u2"}  # a byte for each field of a byte, the first in the lowest
_MAX_AXES = 5  # a convolution of a volume: channels out and in, three axes


def weight_zero_point(bit_width: float) -> int:
    """Offset-binary weights: stored w + 2^(b-1), b rounded up (1 bit: 1, ternary: 2, 8 bit: 128)."""
    return int(2 ** (math.ceil(bit_width) - 1))


def field_bits(bit_width: float) -> FieldBits:
    """The bits that a weight takes in a file."""
    if bit_width > 4:
        return 8
    if bit_width > 2:
        return 4
    return 2 if bit_width > 1 else 1


def as_nibbles(stored: ByteArray, name: str) -> TensorProto:
    """Values of 0 to 15 as a UINT4 tensor: two in a byte, the first in the low half."""
    tensor = TensorProto(name=name, data_type=TensorProto.UINT4, raw_data=_packed(stored, 4).tobytes())
    tensor.dims.extend(stored.shape)
    return tensor


def as_fields(stored: ByteArray, bits: FieldBits) -> ByteArray:
    """Stored weights of 2 bits or 1 as bytes [M, 1]."""
    return _packed(stored >> np.uint8(1) if bits == 1 else stored, bits)[:, None]


def unpack_function(bits: FieldBits) -> FunctionProto:
    """`UnpackWeights<bits>(packed, count, shape) -> weights`: bytes [M, 1] to uint8 of that shape, as stored."""
    scale = [helper.make_node("BitShift", ["fields", "one"], ["stored"], direction="LEFT")]
    nodes = [
        _constant("shifts", _shifts(bits)),
        constant("mask", np.uint8(2**bits - 1)),
        *([constant("one", np.uint8(1))] if bits == 1 else []),
        _constant("first", np.array([0], np.int64)),
        _constant("flat", np.array([-1], np.int64)),
        helper.make_node("BitShift", ["packed", "shifts"], ["shifted"], direction="RIGHT"),
        helper.make_node("BitwiseAnd", ["shifted", "mask"], ["fields"]),
        *(scale if bits == 1 else []),
        helper.make_node("Reshape", ["stored" if bits == 1 else "fields", "flat"], ["row"]),
        helper.make_node("Slice", ["row", "first", "count"], ["counted"]),
        helper.make_node("Reshape", ["counted", "shape"], ["weights"]),
    ]
    doc = f"{8 // bits} weights in a byte, the first in the lowest bits"
    name = unpack_name(bits)
    return function(name, ("packed", "count", "shape"), ("weights",), nodes, attributes=(), doc=doc)


def unpack_name(bits: FieldBits) -> str:
    """What the function is called."""
    return f"UnpackWeights{bits}"


def stored_weights(name: str, bit_width: float, arrays: Mapping[str, TensorProto], *, version: int) -> ByteArray:
    """The stored values of the weights `name` from a file's initializers, in their shape.

    version: of the format; version 1 keeps every weight in a byte.

    Raises:
        ValueError: says what is missing or wrong.
    """
    bits = 8 if version == 1 else field_bits(bit_width)
    tensor = initializer(name, TensorProto.UINT4 if bits == 4 else TensorProto.UINT8, arrays)
    if bits == 8:
        return np.asarray(numpy_helper.to_array(tensor))
    shape = tuple(tensor.dims) if bits == 4 else _stored_shape(f"{name}_shape", arrays)
    if not 1 <= len(shape) <= _MAX_AXES or min(shape) < 1:
        raise ValueError(f"{name!r} must have 1 to {_MAX_AXES} axes, none of them empty (got {list(shape)})")
    count, content = math.prod(shape), tensor.raw_data
    if len(content) != -(-count * bits // 8):
        raise ValueError(
            f"initializer {name!r} must have {-(-count * bits // 8)} bytes for {list(shape)} (got {len(content)})"
        )
    fields = _unpacked(np.frombuffer(content, np.uint8), bits)[:count].reshape(shape)
    return fields << np.uint8(1) if bits == 1 else fields


def initializer(name: str, element: int, arrays: Mapping[str, TensorProto]) -> TensorProto:
    """The initializer of that name and element type; ValueError where there is none, or its data are elsewhere."""
    if name not in arrays:
        raise ValueError(f"there must be an initializer {name!r} (got none)")
    tensor = arrays[name]
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ValueError(f"initializer {name!r} must be stored inside the file (got external data)")
    if tensor.data_type != element:
        words = (TensorProto.DataType.Name(element), TensorProto.DataType.Name(tensor.data_type))
        raise ValueError(f"initializer {name!r} must be {words[0]} (got {words[1]})")
    return tensor


def _stored_shape(name: str, arrays: Mapping[str, TensorProto]) -> tuple[int, ...]:
    shape = numpy_helper.to_array(initializer(name, TensorProto.INT64, arrays))
    return tuple(int(size) for size in shape.reshape(-1)[: _MAX_AXES + 1])


def _packed(fields: ByteArray, bits: FieldBits) -> ByteArray:
    """Fields side by side in bytes, row-major, the first in the lowest bits, zeros behind the last."""
    words = np.pad(fields.reshape(-1), (0, -fields.size % (8 // bits))).view(_WORDS[bits])
    joined = reduce(np.bitwise_or, (words >> np.uint8(shift) for shift in _moves(bits)))
    return joined.astype(np.uint8)  # the lowest byte; no other field comes to lie in it


def _unpacked(packed: ByteArray, bits: FieldBits) -> ByteArray:
    """The fields of bytes, one after another, those that fill the last byte too."""
    words = packed.astype(_WORDS[bits])
    spread = reduce(np.bitwise_or, (words << np.uint8(shift) for shift in _moves(bits)))
    return spread.view(np.uint8) & np.uint8(2**bits - 1)


def _moves(bits: FieldBits) -> range:
    """How far each field of a byte is from a byte of its own, in bits."""
    return range(0, 8 // bits * (8 - bits), 8 - bits)


def _shifts(bits: FieldBits) -> ByteArray:
    return np.arange(0, 8, bits, dtype=np.uint8)


def _constant(name: str, values: npt.NDArray[np.uint8] | npt.NDArray[np.int64]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values, name))
