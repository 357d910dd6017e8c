"""The model-local ONNX functions of neurons: `LIF_*` (a sequence, a Scan inside) and `LIFStep_*` (one step).

One function for each combination of options that a graph uses, named by them; a plain neuron is `LIF_hard_3d`. The
body is FORMAT.md, "Neuron", line by line.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, assert_never

import numpy as np
from onnx import FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from intsnn.checking.neuron_rules import used_parameters
from intsnn.graph import IntNeuron, IntRecurrentNeuron, Sizes
from intsnn.onnx.functions import (
    cast_attribute,
    constant,
    divisor,
    floor_shift,
    function,
    power_of_two,
    shift_constants,
)

RECURRENT_ARRAYS = ("recurrent_weight", "recurrent_multiplier", "recurrent_bias")


@dataclass(frozen=True)
class RecurrentGeometry:
    """The geometry of a recurrent synapse: its kernel, () for a linear one, and its groups."""

    kernel: Sizes
    groups: int

    @property
    def word(self) -> str:
        """`recurrent`, or `recurrent_3x3_groups4`."""
        size = "x".join(map(str, self.kernel))
        return "recurrent" + (f"_{size}_groups{self.groups}" if self.kernel else "")


@dataclass(frozen=True)
class NeuronVariant:
    """The options of a neuron that change the operators of its function."""

    rank: int
    reset: Literal["hard", "soft", "none"]
    spike: Literal["binary", "floor", "round"]
    timing: Literal["same_step", "after_leak", "masked"]
    floor: Literal["none", "before_fire", "after_reset"]
    rearm: Literal["plain", "double"]
    output: Literal["spikes", "potential"]
    synapse: bool
    recurrence: RecurrentGeometry | None
    parameters: tuple[str, ...]  # the arrays its function takes, in order

    @classmethod
    def of(cls, node: IntNeuron) -> NeuronVariant:
        """The variant of one neuron."""
        optional = (name for name, used in used_parameters(node).items() if used)
        recurrence = None
        if isinstance(node, IntRecurrentNeuron):
            recurrence = RecurrentGeometry(node.recurrent_synapse.kernel, node.recurrent_groups)
        return cls(
            rank=len(node.shape),
            reset=node.reset,
            spike=node.spike,
            timing=node.timing,
            floor=node.floor,
            rearm=node.rearm,
            output=node.output,
            synapse=node.has_synapse,
            recurrence=recurrence,
            parameters=("leak", "drive", "threshold", *optional, *(RECURRENT_ARRAYS if recurrence else ())),
        )

    @property
    def name(self) -> str:
        """`hard`, then every option that is not the plain one: `soft_floor_after_reset_spike_round`."""
        plain = {"spike": "binary", "timing": "same_step", "floor": "none", "rearm": "plain", "output": "spikes"}
        words = [f"{option}_{getattr(self, option)}" for option in plain if getattr(self, option) != plain[option]]
        extra = [*(("synapse",) if self.synapse else ()), *((self.recurrence.word,) if self.recurrence else ())]
        return "_".join([self.reset, *words, *extra])

    @property
    def sequence_name(self) -> str:
        """Of the function over a sequence. It has the rank: onnxruntime before 1.24 wants it in Scan's body."""
        return f"LIF_{self.name}_{self.rank}d"

    @property
    def step_name(self) -> str:
        """Of the function of one step. A recurrent convolution knows its rank by its kernel."""
        return f"LIFStep_{self.name}"

    @property
    def states(self) -> dict[str, int]:
        """What a step leaves to the next one, by name, with its element type: always the membrane."""
        remembers = self.timing != "same_step" or self.recurrence is not None
        found = {"membrane": TensorProto.INT32}
        if self.synapse:
            found["synapse"] = TensorProto.INT32
        if remembers:
            found["last_spikes"] = TensorProto.UINT8
        return {name: int(element) for name, element in found.items()}

    @property
    def attributes(self) -> tuple[str, ...]:
        """The scalars its function takes."""
        optional = {
            "max_spikes": self.spike != "binary",
            "synapse_shift": self.synapse,
            "recurrent_shift": self.recurrence is not None,
            "recurrent_zero_point": self.recurrence is not None,
        }
        return ("guard_bits", "bit_width", "initial", *(name for name, used in optional.items() if used))


def sequence_function(variant: NeuronVariant) -> FunctionProto:
    """`LIF_*(current, parameters) -> (spikes uint8, membrane int32 [, potential int32])`, all [T, N, ...]."""
    states = list(variant.states)
    scanned = ["spikes", "membrane", *(["potential"] if variant.output == "potential" else [])]
    nodes = [
        *_constants(variant),
        *cast_attribute("initial", "initial_value", TensorProto.INT32),
        helper.make_node("Shape", ["current"], ["state_shape"], start=1),
        helper.make_node("Expand", ["initial_value", "state_shape"], ["initial_membrane"]),
        *_zero_states(variant),
        helper.make_node(
            "Scan",
            [*(f"initial_{name}" for name in states), "current"],
            [*(f"final_{name}" for name in states), *scanned],
            body=_scan_body(variant, scanned),
            num_scan_inputs=1,
        ),
    ]
    doc = f"over all steps, arrays are [T, N, ...]: {_equations(variant)}"
    inputs = ("current", *variant.parameters)
    return function(variant.sequence_name, inputs, scanned, nodes, attributes=variant.attributes, doc=doc)


def step_function(variant: NeuronVariant) -> FunctionProto:
    """`LIFStep_*(states, current, parameters) -> (spikes, next states but the spikes [, potential])`, all [N, ...]."""
    nodes = [*_constants(variant), *_step(variant)]
    written = [f"step_next_{name}" for name in variant.states if name != "last_spikes"]
    outputs = ["step_spikes", *written, *(["step_potential"] if variant.output == "potential" else [])]
    inputs = (*(f"step_{name}" for name in variant.states), "step_current", *variant.parameters)
    doc = f"one step, arrays are [N, ...]: {_equations(variant)}"
    return function(variant.step_name, inputs, outputs, nodes, attributes=variant.attributes, doc=doc)


def _equations(variant: NeuronVariant) -> str:
    """What the function says about itself in the file."""
    options = {field.name: getattr(variant, field.name) for field in fields(variant)}
    words = ", ".join(f"{name} {value}" for name, value in options.items() if isinstance(value, str))
    return (
        "x = D*v + j + c;  s from x and theta;  x' by the reset;  v = clip(x' >> R) to bit_width bits"
        f' ({words}; FORMAT.md, "Neuron")'
    )


def _zero_states(variant: NeuronVariant) -> list[NodeProto]:
    """i(0) = 0 and s(0) = 0."""
    nodes = []
    for name, element in variant.states.items():
        if name != "membrane":
            zero = np.int32(0) if element == TensorProto.INT32 else np.uint8(0)
            nodes.append(constant(f"{name}_zero", zero))
            nodes.append(helper.make_node("Expand", [f"{name}_zero", "state_shape"], [f"initial_{name}"]))
    return nodes


def _scan_body(variant: NeuronVariant, scanned: list[str]) -> GraphProto:
    shape = ["N", *(f"axis{axis}" for axis in range(variant.rank))]

    def declare(name: str, element: int) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, element, shape)

    nodes = _step(variant)
    inputs = [declare(f"step_{name}", element) for name, element in variant.states.items()]
    outputs = [declare(f"step_next_{name}", element) for name, element in variant.states.items()]
    if "last_spikes" in variant.states:
        nodes.append(helper.make_node("Identity", ["step_spikes"], ["step_next_last_spikes"]))
    nodes.append(helper.make_node("Identity", ["step_next_membrane"], ["step_stored_membrane"]))
    elements = {"spikes": TensorProto.UINT8, "membrane": TensorProto.INT32, "potential": TensorProto.INT32}
    places = {"spikes": "step_spikes", "membrane": "step_stored_membrane", "potential": "step_potential"}
    outputs += [declare(places[name], elements[name]) for name in scanned]
    return helper.make_graph(nodes, "lif_step", [*inputs, declare("step_current", TensorProto.INT32)], outputs)


def _constants(variant: NeuronVariant) -> list[NodeProto]:
    """Powers of two with their offsets, the word of N bits, and what the options need; all int32 scalars."""
    nodes = [
        *shift_constants(),
        *divisor("guard_bits", "guard"),
        *power_of_two("bit_width", "word"),
        constant("zero", np.int32(0)),
        constant("one", np.int32(1)),
        constant("two", np.int32(2)),
        helper.make_node("Div", ["word", "two"], ["half_word"]),
        helper.make_node("Neg", ["half_word"], ["low"]),
        helper.make_node("Sub", ["half_word", "one"], ["high"]),
    ]
    if variant.synapse:
        nodes += divisor("synapse_shift", "synapse_divisor")
    if variant.recurrence is not None:
        nodes += divisor("recurrent_shift", "recurrent_divisor")
        nodes += cast_attribute("recurrent_zero_point", "weight_zero", TensorProto.UINT8)
        nodes.append(constant("spike_zero", np.uint8(0)))
    if variant.spike != "binary":
        nodes += cast_attribute("max_spikes", "most", TensorProto.INT32)
        nodes.append(helper.make_node("Sub", ["threshold", "level"], ["base"]))
    if variant.rearm == "double":
        nodes.append(helper.make_node("Div", ["level", "guard"], ["stored_level"]))
    return nodes


def _step(variant: NeuronVariant) -> list[NodeProto]:
    """One step: from step_current and the states to step_spikes, step_potential and the next states."""
    return [
        *_recurrent_current(variant.recurrence),
        *_synapse(variant),
        *_integration(variant),
        *_firing(variant),
        *_reset(variant),
        *floor_shift("step_potential", "step_stored", "guard"),
        helper.make_node("Clip", ["step_stored", "low", "high"], ["step_next_membrane"]),
    ]


def _recurrent_current(recurrence: RecurrentGeometry | None) -> list[NodeProto]:
    """step_input = j + ((sum q_w * s_prev * M + B) >> S)."""
    if recurrence is None:
        return [helper.make_node("Identity", ["step_current"], ["step_input"])]
    operands = ["step_last_spikes", "recurrent_weight", "spike_zero", "weight_zero"]
    product = helper.make_node("MatMulInteger", operands, ["step_sums"])
    if recurrence.kernel:
        half = [size // 2 for size in recurrence.kernel]
        window = {"kernel_shape": list(recurrence.kernel), "pads": [*half, *half], "group": recurrence.groups}
        product = helper.make_node("ConvInteger", operands, ["step_sums"], **window)
    return [
        product,
        helper.make_node("Mul", ["step_sums", "recurrent_multiplier"], ["step_product"]),
        helper.make_node("Add", ["step_product", "recurrent_bias"], ["step_biased"]),
        *floor_shift("step_biased", "step_recurrent", "recurrent_divisor"),
        helper.make_node("Add", ["step_current", "step_recurrent"], ["step_input"]),
    ]


def _synapse(variant: NeuronVariant) -> list[NodeProto]:
    """y = D_s*i + j + c_s;  i = clip(y >> R_s)."""
    if not variant.synapse:
        return [helper.make_node("Identity", ["step_input"], ["step_y"])]
    return [
        helper.make_node("Mul", ["step_synapse", "synapse_leak"], ["step_synapse_left"]),
        helper.make_node("Add", ["step_synapse_left", "step_input"], ["step_undriven_y"]),
        helper.make_node("Add", ["step_undriven_y", "synapse_drive"], ["step_y"]),
        *floor_shift("step_y", "step_stored_synapse", "synapse_divisor"),
        helper.make_node("Clip", ["step_stored_synapse", "low", "high"], ["step_next_synapse"]),
    ]


def _integration(variant: NeuronVariant) -> list[NodeProto]:
    """x = D*v + y + c, late resets, the floor before firing."""
    nodes = [
        helper.make_node("Mul", ["step_membrane", "leak"], ["step_left"]),
        helper.make_node("Add", ["step_left", "step_y"], ["step_undriven"]),
        helper.make_node("Add", ["step_undriven", "drive"], ["step_integrated"]),
    ]
    match variant.timing:
        case "after_leak":
            nodes += [
                helper.make_node("Cast", ["step_last_spikes"], ["step_last_count"], to=TensorProto.INT32),
                helper.make_node("Mul", ["step_last_count", "soft_amount"], ["step_late_amount"]),
                helper.make_node("Sub", ["step_integrated", "step_late_amount"], ["step_late"]),
            ]
        case "masked":
            nodes += [
                helper.make_node("Cast", ["step_last_spikes"], ["step_last_fired"], to=TensorProto.BOOL),
                helper.make_node("Where", ["step_last_fired", "reset_value", "step_integrated"], ["step_late"]),
            ]
        case "same_step":
            nodes.append(helper.make_node("Identity", ["step_integrated"], ["step_late"]))
        case _:
            assert_never(variant.timing)
    if variant.floor == "before_fire":
        return [*nodes, helper.make_node("Max", ["step_late", "floor_value"], ["step_x"])]
    return [*nodes, helper.make_node("Identity", ["step_late"], ["step_x"])]


def _firing(variant: NeuronVariant) -> list[NodeProto]:
    """step_fired (bool), step_count (int32) and step_spikes (uint8) from x."""
    match variant.spike:
        case "binary":
            return [
                *_compared(variant),
                helper.make_node("GreaterOrEqual", ["step_compared", "threshold"], ["step_fired"]),
                helper.make_node("Cast", ["step_fired"], ["step_spikes"], to=TensorProto.UINT8),
            ]
        case "floor" | "round":
            return [
                helper.make_node("Sub", ["step_x", "base"], ["step_above"]),
                helper.make_node("Max", ["step_above", "zero"], ["step_positive"]),
                helper.make_node("Div", ["step_positive", "level"], ["step_whole"]),
                *(_half_even() if variant.spike == "round" else ()),
                helper.make_node("Min", ["step_whole" if variant.spike == "floor" else "step_rounded", "most"],
                                 ["step_count"]),
                helper.make_node("Greater", ["step_count", "zero"], ["step_fired"]),
                helper.make_node("Cast", ["step_count"], ["step_spikes"], to=TensorProto.UINT8),
            ]  # fmt: skip
        case _:
            assert_never(variant.spike)


def _compared(variant: NeuronVariant) -> list[NodeProto]:
    """What is compared: x, or x - level*[v*2^R > level]."""
    if variant.rearm == "plain":
        return [helper.make_node("Identity", ["step_x"], ["step_compared"])]
    return [
        helper.make_node("Greater", ["step_membrane", "stored_level"], ["step_still_above"]),
        helper.make_node("Where", ["step_still_above", "level", "zero"], ["step_extra"]),
        helper.make_node("Sub", ["step_x", "step_extra"], ["step_compared"]),
    ]


def _half_even() -> list[NodeProto]:
    """step_rounded = step_whole, or 1 more where the rest is above half a level, or half of it and whole is odd."""
    return [
        helper.make_node("Mul", ["step_whole", "level"], ["step_whole_part"]),
        helper.make_node("Sub", ["step_positive", "step_whole_part"], ["step_rest"]),
        helper.make_node("Add", ["step_rest", "step_rest"], ["step_twice"]),
        helper.make_node("Div", ["step_whole", "two"], ["step_pairs"]),
        helper.make_node("Mul", ["step_pairs", "two"], ["step_even"]),
        helper.make_node("Greater", ["step_whole", "step_even"], ["step_odd"]),
        helper.make_node("Equal", ["step_twice", "level"], ["step_tie"]),
        helper.make_node("And", ["step_tie", "step_odd"], ["step_tie_up"]),
        helper.make_node("Greater", ["step_twice", "level"], ["step_nearer_up"]),
        helper.make_node("Or", ["step_nearer_up", "step_tie_up"], ["step_up"]),
        helper.make_node("Cast", ["step_up"], ["step_more"], to=TensorProto.INT32),
        helper.make_node("Add", ["step_whole", "step_more"], ["step_rounded"]),
    ]


def _reset(variant: NeuronVariant) -> list[NodeProto]:
    """step_potential = x' by a reset in the same step, then the floor after it."""
    floored = variant.floor == "after_reset"
    after = "step_after" if floored else "step_potential"
    nodes = _same_step_reset(variant, after)
    return [*nodes, helper.make_node("Max", [after, "floor_value"], ["step_potential"])] if floored else nodes


def _same_step_reset(variant: NeuronVariant, output: str) -> list[NodeProto]:
    reset = variant.reset if variant.timing == "same_step" else "none"
    match reset:
        case "hard":
            return [helper.make_node("Where", ["step_fired", "reset_value", "step_x"], [output])]
        case "soft" if variant.spike == "binary":
            return [
                helper.make_node("Sub", ["step_x", "soft_amount"], ["step_lowered"]),
                helper.make_node("Where", ["step_fired", "step_lowered", "step_x"], [output]),
            ]
        case "soft":
            return [
                helper.make_node("Mul", ["step_count", "soft_amount"], ["step_amount"]),
                helper.make_node("Sub", ["step_x", "step_amount"], [output]),
            ]
        case "none":
            return [helper.make_node("Identity", ["step_x"], [output])]
        case _:
            assert_never(reset)
