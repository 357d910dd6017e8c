"""Collects the nodes and initializers of an ONNX model, and decides how a tensor is stored.

Between layers a tensor is folded: [T*N, ...]. It is stored as uint8 or int8 where its bounds allow and it carries
values, else as int32. Operands of ConvInteger and MatMulInteger are uint8 on both sides with scalar zero points:
the only mix that is exact on every processor and version (FORMAT.md, "ONNX").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from intsnn.arithmetic import Bounds, IntArray
from intsnn.graph import FORMAT_VERSION, IntNode, IntRequant
from intsnn.graph.bounds import TensorRole
from intsnn.onnx.functions import DOMAIN
from intsnn.onnx.weights import FieldBits, as_fields, as_nibbles, field_bits, unpack_name, weight_zero_point

Form = Literal["sequence", "step"]
INPUT, OUTPUT, TIME_STEPS, STEP = "x", "logits", "time_steps", "step"  # names of tensors that belong to no node
_SIGNED_OFFSET = 128  # int8 -> uint8: x + 128 with zero point 128
_UINT8_RANGE, _INT8_RANGE = Bounds(0, 255), Bounds(-128, 127)
_NUMPY_TYPES: dict[int, type[np.integer]] = {
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
}


@dataclass(frozen=True)
class Tensor:
    """An ONNX tensor: its name and element type (a TensorProto constant)."""

    name: str
    element: int


@dataclass
class OnnxWriter:
    """Collects ONNX nodes and initializers, in order. `sequence` has a time axis, `step` is one step of it.

    unpacked: the fields of weights that the model has to unpack.
    """

    form: Form
    version: int = FORMAT_VERSION
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    unpacked: set[FieldBits] = field(default_factory=set)

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """Append a standard operator; its name is `name` if given, else the output's."""
        attributes.setdefault("name", output)
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def array(self, name: str, values: npt.ArrayLike, element: int) -> str:
        """Append an initializer."""
        array = np.asarray(values).astype(_NUMPY_TYPES[element])
        self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def weight(self, name: str, weight: IntArray, bit_width: float) -> str:
        """Signed weights, stored offset-binary and packed; the tensor of bytes that they are in the model."""
        stored = weight.astype(np.uint8) + np.uint8(weight_zero_point(bit_width))  # modulo 256; the sum is a byte
        bits = 8 if self.version == 1 else field_bits(bit_width)
        if bits == 8:
            return self.array(name, stored, TensorProto.UINT8)
        if bits == 4:
            self.initializers[name] = as_nibbles(stored, name)
            return self.node("Cast", [name], f"{name}_bytes", to=TensorProto.UINT8)
        self.unpacked.add(bits)
        packed = self.array(name, as_fields(stored, bits), TensorProto.UINT8)
        shape = self.array(f"{name}_shape", stored.shape, TensorProto.INT64)
        inputs = [packed, self.vector(stored.size), shape]
        return self.node(unpack_name(bits), inputs, f"{name}_bytes", domain=DOMAIN)

    def scalar(self, value: int, element: int) -> str:
        """A scalar constant, shared by all that use it: `/uint8/128`."""
        return self.array(f"/{_NUMPY_TYPES[element].__name__}/{value}", value, element)

    def vector(self, *values: int) -> str:
        """A constant of int64 values (axes, starts, shapes), shared by all that use it: `/range/2,3`."""
        return self.array(f"/range/{','.join(map(str, values))}", list(values), TensorProto.INT64)

    def cast(self, tensor: Tensor, element: int, output: str) -> str:
        """The tensor as another element type; itself where it already is."""
        if tensor.element == element:
            return tensor.name
        return self.node("Cast", [tensor.name], output, to=element)

    def unsigned(self, node: IntNode, tensor: Tensor, *, place: str = "") -> tuple[str, int]:
        """The tensor as uint8 and its zero point: int8 becomes x + 128 with zero point 128."""
        if tensor.element == TensorProto.UINT8:
            return tensor.name, 0
        wide = self.cast(tensor, TensorProto.INT32, f"{node.name}/wide{place}")
        offset = self.scalar(_SIGNED_OFFSET, TensorProto.INT32)
        raised = self.node("Add", [wide, offset], f"{node.name}/raised{place}")
        return self.node("Cast", [raised], f"{node.name}/unsigned{place}", to=TensorProto.UINT8), _SIGNED_OFFSET

    def zero_points(self, *values: int) -> list[str]:
        """Both explicit: an empty x_zero_point crashes onnxruntime up to 1.21."""
        return [self.scalar(value, TensorProto.UINT8) for value in values]

    def channel_array(self, node: IntNode, name: str) -> str:
        """A parameter [C] or [1] of a node as an initializer that broadcasts over [N, *shape]."""
        values = getattr(node, name)
        return self.array(f"{node.name}/{name}", values.reshape(-1, *(1 for _ in node.shape[1:])), TensorProto.INT32)

    def per_step(self, node: IntRequant, name: str) -> str:
        """A parameter [T, C] or [T, 1] as one that broadcasts over [T, N, *shape]; of one step where there is one."""
        values = getattr(node, name)
        if values.ndim == 1:
            return self.channel_array(node, name)
        rows = values.reshape(len(values), 1, -1, *(1 for _ in node.shape[1:]))
        stored = self.array(f"{node.name}/{name}", rows, TensorProto.INT32)
        if self.form == "sequence":
            return stored
        return self.node("Gather", [stored, STEP], f"{node.name}/{name}_row", axis=0)

    def folded_shape(self, node: IntNode) -> str:
        """The constant [-1, *shape]."""
        return self.array(f"{node.name}/folded_shape", [-1, *node.shape], TensorProto.INT64)

    def sequence(self, node: IntNode, folded: str) -> str:
        """[T*N, ...] -> [T, N, ...]."""
        sample = self.array(f"{node.name}/sample_shape", [-1, *node.shape], TensorProto.INT64)
        shape = self.node("Concat", [TIME_STEPS, sample], f"{node.name}/sequence_shape", axis=0)
        return self.node("Reshape", [folded, shape], f"{node.name}/sequence")


def element_type(carried: TensorRole, interval: Bounds) -> int:
    """How a tensor is stored: uint8 or int8 for values within, int32 for everything else."""
    if carried is TensorRole.VALUES and _within(interval, _UINT8_RANGE):
        return int(TensorProto.UINT8)
    if carried is TensorRole.VALUES and _within(interval, _INT8_RANGE):
        return int(TensorProto.INT8)
    return int(TensorProto.INT32)


def _within(inner: Bounds, outer: Bounds) -> bool:
    return outer.low <= inner.low and inner.high <= outer.high
