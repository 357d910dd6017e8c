"""The pieces of the model-local ONNX functions: floor shift, power of two, clip; and `Requant` made of them.

Standard integer operators of opset 21 only. `>> S` is Add 2^30, Div 2^S, Sub 2^(30-S): ONNX's Div truncates towards
zero, so the value is made non-negative first (FORMAT.md, "Floor shift"). Scalars are attributes, arrays are inputs;
attributes are read at the top of a function, because a reference inside a Scan body is not portable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from intsnn.arithmetic import ACCUMULATOR_LIMIT

DOMAIN = "mdcompress"
OPSET = 21  # the last whose operators every supported onnxruntime has


def requant_function() -> FunctionProto:
    """`Requant(acc, M, B) {shift} -> j`: j = (acc*M + B) >> shift, all int32."""
    nodes = [
        *shift_constants(),
        *divisor("shift", "divisor"),
        helper.make_node("Mul", ["acc", "multiplier"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        *floor_shift("sum", "current", "divisor"),
    ]
    doc = "j = (acc*M + B) >> shift, a floor shift"
    return function("Requant", ("acc", "multiplier", "bias"), ("current",), nodes, attributes=("shift",), doc=doc)


def shift_constants() -> list[NodeProto]:
    """offset = 2^30, what a floor shift adds."""
    return [constant("offset", np.int32(ACCUMULATOR_LIMIT))]


def divisor(attribute: str, output: str) -> list[NodeProto]:
    """output = 2^attribute, and output_offset = 2^30 / output: what `floor_shift` by the attribute needs."""
    return [*power_of_two(attribute, output), helper.make_node("Div", ["offset", output], [f"{output}_offset"])]


def floor_shift(x: str, output: str, by: str) -> list[NodeProto]:
    """output = floor(x / by) = (x + 2^30) / by - 2^30 / by, exact for |x| < 2^30; `by` is a divisor."""
    return [
        helper.make_node("Add", [x, "offset"], [f"{output}_raised"]),
        helper.make_node("Div", [f"{output}_raised", by], [f"{output}_quotient"]),
        helper.make_node("Sub", [f"{output}_quotient", f"{by}_offset"], [output]),
    ]


def power_of_two(attribute: str, output: str) -> list[NodeProto]:
    """output = 2^attribute as int32; the shift is made in uint32, where ONNX has one."""
    return [
        scalar_attribute(f"{output}_exponent64", attribute),
        helper.make_node("Cast", [f"{output}_exponent64"], [f"{output}_exponent"], to=TensorProto.UINT32),
        constant(f"{output}_base", np.uint32(1)),
        helper.make_node("BitShift", [f"{output}_base", f"{output}_exponent"], [f"{output}_u32"], direction="LEFT"),
        helper.make_node("Cast", [f"{output}_u32"], [output], to=TensorProto.INT32),
    ]


def cast_attribute(attribute: str, output: str, element: int) -> list[NodeProto]:
    """The function's int attribute as a scalar of an element type."""
    wide = scalar_attribute(f"{output}_int64", attribute)
    return [wide, helper.make_node("Cast", [f"{output}_int64"], [output], to=element)]


def scalar_attribute(name: str, attribute: str) -> NodeProto:
    """A Constant whose int64 value is the function's attribute."""
    node = helper.make_node("Constant", [], [name])
    reference = AttributeProto(name="value_int", ref_attr_name=attribute, type=AttributeProto.INT)
    node.attribute.append(reference)
    return node


def constant(name: str, value: np.int32 | np.uint32 | np.uint8) -> NodeProto:
    """A scalar Constant."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value), name))


def function(
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    nodes: Sequence[NodeProto],
    *,
    attributes: Sequence[str],
    doc: str,
) -> FunctionProto:
    """A function of the domain `mdcompress`."""
    imports = [helper.make_opsetid("", OPSET)]
    return helper.make_function(
        DOMAIN, name, list(inputs), list(outputs), list(nodes), imports, list(attributes), doc_string=doc
    )
