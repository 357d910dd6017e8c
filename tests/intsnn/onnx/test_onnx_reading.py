"""Reading model.onnx: exactly the graph that was written, or an error of ours that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from intsnn.errors import GraphError, IntsnnError, InvalidFileError, MissingFileError
from intsnn.execution.interpreter import run
from intsnn.execution.parity import compare, require_equal
from intsnn.graph import IntGraph, IntLinear
from intsnn.graph.fingerprint import digest
from intsnn.onnx.file import build_model, load_model, read_model, read_onnx, write_onnx, write_streaming_onnx
from intsnn.onnx.metadata import DIGEST_KEY
from intsnn.onnx.runtime import run_onnx
from tests.support.hand_made_graphs import maps_graph, neuron_graph, norm_per_step_graph, wide_hand_made_graphs
from tests.support.intgraphs import dense_graph, random_input, residual_graph, with_changed_node
from tests.support.wide_graphs import any_graphs

_WRITES_FILES = [HealthCheck.function_scoped_fixture]


# --- the file --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=_WRITES_FILES)
@given(graph=any_graphs())
def test_reading_gives_exactly_the_graph_that_was_written(tmp_path: Path, graph: IntGraph) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(graph, path)
    again = read_onnx(path)
    assert again == graph
    assert build_model(again) == load_model(path)


@settings(max_examples=60, deadline=None)
@given(scale=st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_any_scale_survives_the_file_exactly(scale: float) -> None:
    graph = with_changed_node(dense_graph(), "readout", scale=scale)
    assert read_model(build_model(graph)) == graph


def test_bit_width_keeps_its_type_through_the_file() -> None:
    for bit_width in (8, 8.0):
        graph = with_changed_node(dense_graph(), "layers.1.linear", bit_width=bit_width)
        read = read_model(build_model(graph)).node("layers.1.linear")
        assert isinstance(read, IntLinear) and type(read.bit_width) is type(bit_width)


def test_equal_graphs_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        write_onnx(residual_graph(), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_model_with_all_outputs_is_read_too() -> None:
    assert read_model(build_model(residual_graph(), outputs="all")) == residual_graph()


def test_an_illegal_graph_is_not_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(residual_graph(), path)
    before = path.read_bytes()
    with pytest.raises(GraphError, match="readout: scale must be"):
        write_onnx(with_changed_node(residual_graph(), "readout", scale=-1.0), path)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_neither_part_nor_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_onnx(dense_graph(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_writing_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="the folder"):
        write_streaming_onnx(dense_graph(), tmp_path / "runs" / "model.onnx")
    (tmp_path / "runs").mkdir()
    write_streaming_onnx(dense_graph(), tmp_path / "runs" / "model.onnx")


# --- files that are not what they should be --------------------------------------------------------------------------


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there must be an ONNX file"):
        read_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"weights", b"\x00" * 100, "ä".encode("latin-1") * 40])
def test_a_file_that_is_no_model_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidFileError, match="cannot be read as an integer graph"):
        read_onnx(path)


def test_a_foreign_onnx_model_is_an_error() -> None:
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "foreign", [info], [info])
    with pytest.raises(InvalidFileError, match="must be written by mdcompress"):
        read_model(helper.make_model(body))


def test_a_newer_format_is_an_error_that_says_what_to_do() -> None:
    model = build_model(dense_graph())
    model.metadata_props[0].value = "3"
    with pytest.raises(InvalidFileError, match="must have format version 1 or 2 \\(got '3'\\)") as caught:
        read_model(model)
    assert "install the version" in str(caught.value)


@pytest.mark.parametrize("graph", [residual_graph(), *wide_hand_made_graphs().values()])
def test_a_file_of_version_1_keeps_weights_in_bytes_and_is_read(graph: IntGraph) -> None:
    model = build_model(graph, version=1)
    assert all(tensor.data_type != TensorProto.UINT4 for tensor in model.graph.initializer)
    assert not any(node.op_type.startswith("Unpack") for node in model.graph.node)
    assert read_model(model) == graph
    x = random_input(graph, time_steps=graph.time_steps or 3, samples=2)
    require_equal(compare(run(graph, x), run_onnx(model, x)))


def test_a_version_that_is_not_that_of_the_weights_is_an_error() -> None:
    model = build_model(residual_graph())
    model.metadata_props[0].value = "1"
    with pytest.raises(InvalidFileError, match="must be UINT8 \\(got UINT4\\)"):
        read_model(model)


@settings(max_examples=60, deadline=None, suppress_health_check=_WRITES_FILES)
@given(data=st.data())
def test_a_damaged_file_gives_an_error_of_ours_or_another_graph_never_a_crash(
    tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(build_model(residual_graph()).SerializeToString(deterministic=True))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(content))
    try:
        graph = read_onnx(path)
    except IntsnnError as error:
        assert str(error)
    else:
        assert build_model(graph) is not None


@pytest.mark.parametrize("text", [b"layers.3.neuron", b"mdcompress.origin.tool", b"[4, 4, 4]"])
def test_a_name_that_is_no_text_is_an_error(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(residual_graph(), path)
    path.write_bytes(path.read_bytes().replace(text, text[:-2] + b"\xff\xff"))
    with pytest.raises(InvalidFileError, match="UTF-8 text"):
        read_onnx(path)


def test_a_tampered_weight_shows_up() -> None:
    """Two weights of one filter swapped: the bounds stay, the graph is legal, and it is not the graph written."""
    graph, model = dense_graph(), _without_digest(build_model(dense_graph()))
    tensor = next(t for t in model.graph.initializer if t.name == "layers.1.linear/weight")
    array = numpy_helper.to_array(tensor).copy()
    column = array[:, 0]
    other = int(np.argmax(column != column[0]))
    column[0], column[other] = column[other], column[0]
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    read = read_model(model)
    assert read != graph
    changed = read.node("layers.1.linear")
    assert isinstance(changed, IntLinear)
    assert changed.weight[0, 0] == int(array[0, 0]) - 8
    model.metadata_props.add(key=DIGEST_KEY, value=digest(graph))
    with pytest.raises(InvalidFileError, match="was changed after it was written"):
        read_model(model)


def _without_digest(model: ModelProto) -> ModelProto:
    """As versions before wrote it."""
    model.metadata_props.remove(next(entry for entry in model.metadata_props if entry.key == DIGEST_KEY))
    return model


def test_a_file_of_a_version_before_has_no_digest_and_is_read() -> None:
    assert read_model(_without_digest(build_model(residual_graph()))) == residual_graph()


def test_a_scale_or_an_origin_that_was_changed_shows_in_the_digest() -> None:
    graph = replace(residual_graph(), metadata={"recipe": "4bit"})
    other = with_changed_node(graph, "readout", scale=0.125)
    assert len({digest(graph), digest(other), digest(replace(graph, metadata={"recipe": "2bit"}))}) == 3
    model = build_model(graph)
    next(entry for entry in model.metadata_props if entry.value == "4bit").value = "2bit"
    with pytest.raises(InvalidFileError, match="was changed after it was written"):
        read_model(model)


def test_a_digest_whose_key_was_damaged_is_no_file_of_a_version_before() -> None:
    model = build_model(dense_graph())
    next(entry for entry in model.metadata_props if entry.key == DIGEST_KEY).key = "mdcompress.digesu"
    with pytest.raises(InvalidFileError, match="must have no other property"):
        read_model(model)


@settings(max_examples=60, deadline=None, suppress_health_check=_WRITES_FILES)
@given(data=st.data(), graph=st.sampled_from(list(wide_hand_made_graphs().values())))
def test_a_damaged_file_of_any_kind_gives_an_error_of_ours_never_a_crash(
    tmp_path: Path, data: st.DataObject, graph: IntGraph
) -> None:
    content = bytearray(build_model(graph).SerializeToString(deterministic=True))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(content))
    try:
        assert build_model(read_onnx(path)) is not None
    except IntsnnError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("graph", "node", "key", "text", "message"),
    [
        (maps_graph(2), "layers.5.transposed", "groups", "0", "groups must divide the channels"),
        (maps_graph(2), "layers.5.transposed", "groups", '"2"', "groups must divide the channels"),
        (maps_graph(2), "layers.5.transposed", "groups", "3", "is not a valid model"),
        (maps_graph(2), "layers.5.transposed", "output_padding", "[1]", "output_padding must have 2 numbers"),
        (maps_graph(2), "layers.5.transposed", "padding", "[0, 0]", "shape must be"),
        (norm_per_step_graph(), "layers.2.requant", "shape", "4", "shape must be a tuple"),
        (norm_per_step_graph(), "layers.2.requant", "shape", "[64]", "multiplier must have shape"),
        (neuron_graph("recurrent"), "layers.3.neuron", "kind", "neuron", "does not match its own metadata"),
        (neuron_graph("floor"), "layers.3.neuron", "max_spikes", "4", "does not match its own metadata"),
        (neuron_graph("floor"), "layers.3.neuron", "spike", '"binary"', "max_spikes must be 1"),
        (neuron_graph("synaptic state"), "layers.3.neuron", "timing", '"masked"', "does not match its own metadata"),
    ],
)
def test_a_wide_file_changed_after_export_is_refused(
    graph: IntGraph, node: str, key: str, text: str, message: str
) -> None:
    model = build_model(graph)
    _node_metadata(model, node, key).value = text
    with pytest.raises(IntsnnError, match=message):
        read_model(model)


def _initializer(model: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _node_metadata(model: ModelProto, node: str, key: str) -> onnx.StringStringEntryProto:
    proto = next(proto for proto in model.graph.node if proto.name == node)
    return next(entry for entry in proto.metadata_props if entry.key == f"mdcompress.{key}")


def _set_metadata(node: str, key: str, text: str) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        _node_metadata(model, node, key).value = text

    return change


def _lose_metadata(model: ModelProto) -> None:
    proto = next(proto for proto in model.graph.node if proto.name == "layers.1.conv")
    proto.metadata_props.remove(_node_metadata(model, "layers.1.conv", "stride"))


def _set_stride(model: ModelProto) -> None:
    proto = next(proto for proto in model.graph.node if proto.name == "layers.1.conv")
    next(attribute for attribute in proto.attribute if attribute.name == "strides").ints[:] = [2, 2]


def _make_external(model: ModelProto) -> None:
    tensor = _initializer(model, "layers.1.conv/weight")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def _make_float(model: ModelProto) -> None:
    array = np.zeros((4, 2, 3, 3), np.float32)
    _initializer(model, "layers.1.conv/weight").CopyFrom(numpy_helper.from_array(array, "layers.1.conv/weight"))


def _shorten(model: ModelProto) -> None:
    tensor = _initializer(model, "layers.1.conv/weight")
    tensor.raw_data = tensor.raw_data[:-1]


def _drop_function(model: ModelProto) -> None:
    del model.functions[0]


def _change_scan(model: ModelProto) -> None:
    scan = next(node for node in model.functions[1].node if node.op_type == "Scan")
    next(node for node in scan.attribute[0].g.node if node.op_type == "GreaterOrEqual").op_type = "Greater"


def _declare_value(model: ModelProto) -> None:
    """A tensor inside, said to be of another shape than it has: onnxruntime believes it."""
    info = helper.make_tensor_value_info("layers.1.conv", TensorProto.FLOAT, [1])
    model.graph.value_info.append(info)


def _add_sparse(model: ModelProto) -> None:
    """A second initializer of a weight's name."""
    values = numpy_helper.from_array(np.ones(1, np.float32), "layers.1.conv/weight")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4, 2, 3, 3]))


def _set_ir(model: ModelProto) -> None:
    model.ir_version = 11


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_set_metadata("layers.1.conv", "kind", "attention"), InvalidFileError, "kind must be one of input, conv"),
        (_set_metadata("layers.1.conv", "stride", "[" * 100_000), InvalidFileError, "is not a valid model"),
        (_set_metadata("layers.1.conv", "inputs", "[1]"), InvalidFileError, "inputs must be names"),
        (_set_metadata("layers.1.conv", "inputs", '"input"'), InvalidFileError, "inputs must be names"),
        (_set_metadata("layers.1.conv", "bit_width", '"4"'), InvalidFileError, "bit_width must be that of a weight"),
        (_set_metadata("layers.1.conv", "bit_width", "1e9"), InvalidFileError, "bit_width must be that of a weight"),
        (_set_metadata("layers.1.conv", "stride", "[2, 2"), InvalidFileError, "is not a valid model"),
        (_set_metadata("layers.1.conv", "groups", "true"), GraphError, "groups must be an int"),
        (_set_metadata("layers.2.requant", "shift", "31"), GraphError, "shift must be an int in"),
        (_set_metadata("layers.2.requant", "scale", "NaN"), GraphError, "scale must be a finite float"),
        (_set_metadata("layers.2.requant", "shift", "3"), InvalidFileError, "does not match its own metadata"),
        (_set_metadata("layers.2.requant", "bounds", "[0, 1]"), InvalidFileError, "node 'layers.2.requant'"),
        (_set_metadata("layers.3.neuron", "guard_bits", "3"), InvalidFileError, "node 'layers.3.neuron'"),
        (_set_metadata("layers.3.neuron", "reset", "7"), GraphError, "reset must be one of hard, soft, none"),
        (_lose_metadata, InvalidFileError, "must give stride"),
        (_set_stride, InvalidFileError, "node 'layers.1.conv': must be as the metadata describe it"),
        (_make_external, InvalidFileError, "must be stored inside the file"),
        (_make_float, InvalidFileError, "must be UINT8 \\(got FLOAT\\)"),
        (_shorten, InvalidFileError, "is not a valid model"),
        (_drop_function, InvalidFileError, "function "),
        (_change_scan, InvalidFileError, "function 'LIF_hard_1d'"),
        (_set_ir, InvalidFileError, "ir_version: must be 10 \\(got 11\\)"),
        (_declare_value, InvalidFileError, "value_info list"),
        (_add_sparse, InvalidFileError, "sparse_initializer list"),
        (lambda model: model.graph.initializer.pop(), InvalidFileError, "initializer"),
        (lambda model: model.graph.node.pop(0), InvalidFileError, "node "),
        (lambda model: model.graph.node.pop(1), GraphError, "input_first_and_readout_last"),
        (lambda model: model.graph.input.pop(), InvalidFileError, "input list \\(got 0 of 1\\)"),
        (lambda model: model.opset_import.pop(), InvalidFileError, "opset list"),
    ],
)
def test_a_file_changed_after_export_is_refused(
    change: Callable[[ModelProto], object], error: type[IntsnnError], message: str
) -> None:
    model = build_model(residual_graph())
    change(model)
    with pytest.raises(error, match=message) as caught:
        read_model(model)
    assert "hint:" in str(caught.value)
