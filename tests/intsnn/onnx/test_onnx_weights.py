"""Weights as a file holds them: packed by hand, back again, and unpacked by onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from intsnn.arithmetic import IntArray
from intsnn.graph import FORMAT_VERSION, IntGraph, IntInput, IntLinear, IntReadout
from intsnn.onnx.functions import DOMAIN, OPSET
from intsnn.onnx.model import build_model
from intsnn.onnx.weights import stored_weights, unpack_function, weight_zero_point
from intsnn.onnx.writer import OnnxWriter

BITS: tuple[float, ...] = (1, 1.58, 2, 3, 4, 5, 6, 7, 8)


def values(bit_width: float) -> list[int]:
    """The weights that there are of so many bits."""
    if bit_width == 1:
        return [-1, 1]
    return [-1, 0, 1] if bit_width == 1.58 else list(range(-(2 ** (int(bit_width) - 1)), 2 ** (int(bit_width) - 1)))


@pytest.mark.parametrize(
    ("bit_width", "weight", "content"),
    [
        (4, [[-8, 7], [0, 1]], [0xF0, 0x98]),
        (3, [[-4, 3, 0]], [0x70, 0x04]),
        (2, [[-2, -1, 0, 1], [1, 0, -1, -2]], [0b11100100, 0b00011011]),
        (1.58, [[-1, 0, 1]], [0b00111001]),
        (1, [[1, -1, -1, 1, 1, 1, 1, -1, 1]], [0b01111001, 0b00000001]),
        (8, [[-128, 127]], [0, 255]),
    ],
)
def test_weights_stand_side_by_side_the_first_in_the_lowest_bits(
    bit_width: float, weight: list[list[int]], content: list[int]
) -> None:
    writer = OnnxWriter("sequence")
    writer.weight("w", np.array(weight), bit_width)
    assert list(writer.initializers["w"].raw_data) == content


weights = st.sampled_from(BITS).flatmap(
    lambda bits: st.tuples(
        st.just(bits),
        st.lists(st.integers(1, 5), min_size=2, max_size=4).flatmap(
            lambda shape: st.lists(
                st.sampled_from(values(bits)), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
            ).map(lambda drawn: np.array(drawn, np.int64).reshape(shape))
        ),
    )
)


@settings(max_examples=60, deadline=None)
@given(drawn=weights)
def test_what_was_packed_is_read_again_and_unpacked_in_the_model(drawn: tuple[float, IntArray]) -> None:
    bit_width, weight = drawn
    writer = OnnxWriter("sequence")
    name = writer.weight("w", weight, bit_width)
    stored = weight + weight_zero_point(bit_width)
    assert np.array_equal(stored_weights("w", bit_width, writer.initializers, version=FORMAT_VERSION), stored)
    if writer.nodes:
        for unpacked in _unpacked(writer, name, weight.shape):
            assert unpacked.dtype == np.uint8 and np.array_equal(unpacked, stored)


def _unpacked(writer: OnnxWriter, name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    output = helper.make_tensor_value_info(name, TensorProto.UINT8, list(shape))
    model = helper.make_model(
        helper.make_graph(writer.nodes, "weights", [], [output], list(writer.initializers.values())),
        functions=[unpack_function(bits) for bits in sorted(writer.unpacked)],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, {})[0], ReferenceEvaluator(model).run(None, {})[0]]


@pytest.mark.parametrize(
    ("bit_width", "each"), [(8, 1), (5, 1), (4, 1 / 2), (3, 1 / 2), (2, 1 / 4), (1.58, 1 / 4), (1, 1 / 8)]
)
def test_fewer_bits_make_a_smaller_file(bit_width: float, each: float) -> None:
    weight = np.random.default_rng(0).choice(values(bit_width), (64, 512))
    graph = IntGraph(
        (
            IntInput("x", (), (512,), 1, False, 1.0),
            IntLinear("a", ("x",), (64,), weight, bit_width),
            IntReadout("y", ("a",), (64,), "steps", 1.0),
        )
    )
    size = len(build_model(graph).SerializeToString())
    assert 0 < size - 64 * 512 * each < 3000


def test_packed_weights_of_another_length_are_an_error() -> None:
    writer = OnnxWriter("sequence")
    writer.weight("w", np.zeros((3, 5), np.int64), 2)
    tensor = writer.initializers["w"]
    tensor.raw_data = tensor.raw_data[:-1]
    with pytest.raises(ValueError, match=r"must have 4 bytes for \[3, 5\] \(got 3\)"):
        stored_weights("w", 2, writer.initializers, version=FORMAT_VERSION)


def test_a_shape_without_end_is_an_error_before_anything_is_made_of_it() -> None:
    writer = OnnxWriter("sequence")
    writer.weight("w", np.zeros((3, 5), np.int64), 2)
    for shape in ([2**40, 2**40], [0, 5], [1, 1, 1, 1, 3, 5]):
        writer.array("w_shape", shape, TensorProto.INT64)
        with pytest.raises(ValueError, match="'w'"):
            stored_weights("w", 2, writer.initializers, version=FORMAT_VERSION)
