"""The model-local ONNX functions: `Requant`, `LIF_*` (a sequence, a Scan inside) and `LIFStep_*` (one step).

Standard integer operators of opset 21 only. `>> S` is Add 2^30, Div 2^S, Sub 2^(30-S): ONNX's Div truncates towards
zero, so the value is made non-negative first (FORMAT.md, "Floor shift"). Scalars are attributes, arrays are inputs;
attributes are read at the top of a function, because a reference inside a Scan body is not portable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from intsnn.arithmetic import ACCUMULATOR_LIMIT

DOMAIN = "mdcompress"
OPSET = 21  # the last whose operators every supported onnxruntime has
Reset = Literal["hard", "soft", "none"]
RESET_PARAMETER: dict[Reset, tuple[str, ...]] = {"hard": ("reset_value",), "soft": ("soft_amount",), "none": ()}
LIF_ATTRIBUTES = ("leak", "guard_bits", "bit_width", "initial")
_STEP = "x = D*v + j + c;  s = [x >= theta];  x' by the reset;  v = clip(x' >> R) to bit_width bits"
EQUATIONS = {  # what the functions say about themselves in the file
    "Requant": "j = (acc*M + B) >> shift, a floor shift",
    "LIF": f"over all steps: {_STEP}; arrays are [T, N, ...]",
    "LIFStep": f"one step: {_STEP}; arrays are [N, ...]",
}


def requant_function() -> FunctionProto:
    """`Requant(acc, M, B) {shift} -> j`: j = (acc*M + B) >> shift, all int32."""
    nodes = [
        *_power_of_two("shift", "divisor"),
        *_offset("divisor"),
        helper.make_node("Mul", ["acc", "multiplier"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        *_floor_shift("sum", "current", "divisor"),
    ]
    return _function("Requant", ("acc", "multiplier", "bias"), ("current",), nodes, attributes=("shift",))


def lif_name(reset: Reset, rank: int) -> str:
    """The name of the sequence function for one reset and per-sample rank: `LIF_hard_3d`."""
    return f"LIF_{reset}_{rank}d"


def lif_function(reset: Reset, rank: int) -> FunctionProto:
    """`LIF_*(current, drive, threshold, parameter) -> (spikes uint8, membrane int32)`, all [T, N, ...].

    One function per reset and per rank of the per-sample shape: onnxruntime before 1.24 wants the rank in Scan's body.
    """
    nodes = [
        *_neuron_constants(),
        _constant_scalar("initial_scalar", "initial"),
        helper.make_node("Cast", ["initial_scalar"], ["initial_value"], to=TensorProto.INT32),
        helper.make_node("Shape", ["current"], ["state_shape"], start=1),
        helper.make_node("Expand", ["initial_value", "state_shape"], ["initial_state"]),
        helper.make_node("Add", ["current", "drive"], ["driven"]),
        helper.make_node(
            "Scan",
            ["initial_state", "driven"],
            ["last_state", "spikes", "membrane"],
            body=_scan_body(reset, rank),
            num_scan_inputs=1,
        ),
    ]
    inputs = ("current", "drive", "threshold", *RESET_PARAMETER[reset])
    return _function(lif_name(reset, rank), inputs, ("spikes", "membrane"), nodes, attributes=LIF_ATTRIBUTES)


def lif_step_name(reset: Reset) -> str:
    """The name of the one-step function: `LIFStep_hard`."""
    return f"LIFStep_{reset}"


def lif_step_function(reset: Reset) -> FunctionProto:
    """`LIFStep_*(state, current, drive, threshold, parameter) -> (spikes, next_state)`, all [N, ...]."""
    nodes = [
        *_neuron_constants(),
        helper.make_node("Add", ["current", "drive"], ["driven"]),
        *_step(reset, "state", "driven", ("spikes", "next_state")),
    ]
    inputs = ("state", "current", "drive", "threshold", *RESET_PARAMETER[reset])
    return _function(lif_step_name(reset), inputs, ("spikes", "next_state"), nodes, attributes=LIF_ATTRIBUTES)


def _scan_body(reset: Reset, rank: int) -> GraphProto:
    shape = ["N", *(f"axis{axis}" for axis in range(rank))]

    def declare(name: str, element: int) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, element, shape)

    nodes = [
        *_step(reset, "step_state", "step_current", ("step_spikes", "step_next")),
        helper.make_node("Identity", ["step_next"], ["step_membrane"]),
    ]
    inputs = [declare("step_state", TensorProto.INT32), declare("step_current", TensorProto.INT32)]
    outputs = [
        declare("step_next", TensorProto.INT32),
        declare("step_spikes", TensorProto.UINT8),
        declare("step_membrane", TensorProto.INT32),
    ]
    return helper.make_graph(nodes, "lif_step", inputs, outputs)


def _step(reset: Reset, state: str, current: str, outputs: tuple[str, str]) -> list[NodeProto]:
    """x = D*v + j;  s = [x >= theta];  x' by reset;  v = clip(x' >> R): FORMAT.md, "Neuron", line by line."""
    spikes, next_state = outputs
    return [
        helper.make_node("Mul", [state, "leak_value"], ["step_decayed"]),
        helper.make_node("Add", ["step_decayed", current], ["step_x"]),
        helper.make_node("GreaterOrEqual", ["step_x", "threshold"], ["step_fired"]),
        helper.make_node("Cast", ["step_fired"], [spikes], to=TensorProto.UINT8),
        *_reset(reset),
        *_floor_shift("step_after", "step_stored", "guard", prefix="step_"),
        helper.make_node("Clip", ["step_stored", "low", "high"], [next_state]),
    ]


def _reset(reset: Reset) -> list[NodeProto]:
    match reset:
        case "hard":
            return [helper.make_node("Where", ["step_fired", "reset_value", "step_x"], ["step_after"])]
        case "soft":
            return [
                helper.make_node("Sub", ["step_x", "soft_amount"], ["step_lowered"]),
                helper.make_node("Where", ["step_fired", "step_lowered", "step_x"], ["step_after"]),
            ]
        case "none":
            return [helper.make_node("Identity", ["step_x"], ["step_after"])]


def _neuron_constants() -> list[NodeProto]:
    """leak_value = D, guard = 2^R with its offset, low and high = the range of an N-bit word, all int32."""
    return [
        _constant_scalar("leak_scalar", "leak"),
        helper.make_node("Cast", ["leak_scalar"], ["leak_value"], to=TensorProto.INT32),
        *_power_of_two("guard_bits", "guard"),
        *_offset("guard"),
        *_power_of_two("bit_width", "word"),
        _constant("two", np.int32(2)),
        _constant("one", np.int32(1)),
        helper.make_node("Div", ["word", "two"], ["half_word"]),
        helper.make_node("Neg", ["half_word"], ["low"]),
        helper.make_node("Sub", ["half_word", "one"], ["high"]),
    ]


def _power_of_two(attribute: str, output: str) -> list[NodeProto]:
    """output = 2^attribute as int32; the shift is made in uint32, where ONNX has one."""
    return [
        _constant_scalar(f"{output}_exponent64", attribute),
        helper.make_node("Cast", [f"{output}_exponent64"], [f"{output}_exponent"], to=TensorProto.UINT32),
        _constant(f"{output}_base", np.uint32(1)),
        helper.make_node("BitShift", [f"{output}_base", f"{output}_exponent"], [f"{output}_u32"], direction="LEFT"),
        helper.make_node("Cast", [f"{output}_u32"], [output], to=TensorProto.INT32),
    ]


def _offset(divisor: str) -> list[NodeProto]:
    return [
        _constant("offset", np.int32(ACCUMULATOR_LIMIT)),
        helper.make_node("Div", ["offset", divisor], ["offset_quotient"]),
    ]


def _floor_shift(x: str, output: str, divisor: str, *, prefix: str = "") -> list[NodeProto]:
    """output = floor(x / divisor) = (x + 2^30) / divisor - 2^30 / divisor, exact for |x| < 2^30."""
    return [
        helper.make_node("Add", [x, "offset"], [f"{prefix}raised"]),
        helper.make_node("Div", [f"{prefix}raised", divisor], [f"{prefix}quotient"]),
        helper.make_node("Sub", [f"{prefix}quotient", "offset_quotient"], [output]),
    ]


def _constant(name: str, value: np.int32 | np.uint32) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value), name))


def _constant_scalar(name: str, attribute: str) -> NodeProto:
    """A Constant whose int64 value is the function's attribute."""
    node = helper.make_node("Constant", [], [name])
    reference = AttributeProto(name="value_int", ref_attr_name=attribute, type=AttributeProto.INT)
    node.attribute.append(reference)
    return node


def _function(
    name: str, inputs: Sequence[str], outputs: Sequence[str], nodes: Sequence[NodeProto], *, attributes: Sequence[str]
) -> FunctionProto:
    imports = [helper.make_opsetid("", OPSET)]
    doc = EQUATIONS[name.split("_")[0]]
    return helper.make_function(
        DOMAIN, name, list(inputs), list(outputs), list(nodes), imports, list(attributes), doc_string=doc
    )
