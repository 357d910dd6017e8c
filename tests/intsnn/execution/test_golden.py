"""golden.npz: what was run can be read back and checked, and belongs to one graph."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intsnn.errors import InputError, IntsnnError, InvalidFileError, MissingFileError, ParityError
from intsnn.execution.golden import check_golden, golden_hash, golden_input, read_golden, write_golden
from intsnn.execution.interpreter import run
from intsnn.execution.parity import compare, require_equal
from intsnn.graph import IntGraph
from intsnn.graph.fingerprint import fingerprint
from tests.support.intgraphs import dense_graph, random_input, residual_graph
from tests.support.wide_graphs import any_graphs

_WRITES_FILES = [HealthCheck.function_scoped_fixture]


@settings(max_examples=20, deadline=None, suppress_health_check=_WRITES_FILES)
@given(graph=any_graphs())
def test_reading_gives_the_input_and_the_trace_that_were_written(tmp_path: Path, graph: IntGraph) -> None:
    path, x = tmp_path / "golden.npz", random_input(graph, time_steps=graph.time_steps or 4)
    written = write_golden(graph, path, x=x)
    read = read_golden(path)
    assert np.array_equal(read.x, x)
    assert read.graph_hash == written.graph_hash == fingerprint(graph)
    assert list(read.trace.spikes) == [neuron.name for neuron in graph.neurons]
    require_equal(compare(read.trace, run(graph, x)))


def test_golden_values_hold_for_the_graph_they_were_made_of(tmp_path: Path) -> None:
    graph, path = residual_graph(), tmp_path / "golden.npz"
    write_golden(graph, path, x=random_input(graph))
    report = check_golden(graph, path)
    assert report.equal and report.spikes > 0
    assert str(report).startswith("golden = interpreter on 3 samples x 4 steps")


def test_golden_values_of_another_graph_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    write_golden(residual_graph(), path, x=random_input(residual_graph()))
    with pytest.raises(ParityError, match="must belong to the graph with hash"):
        check_golden(residual_graph(seed=3), path)


def test_a_changed_golden_value_is_found(tmp_path: Path) -> None:
    graph, path = dense_graph(), tmp_path / "golden.npz"
    write_golden(graph, path, x=random_input(graph))
    with np.load(path) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    arrays["membranes/layers.3.neuron"][1, 2, 0] -= 1
    np.savez(path, allow_pickle=False, **arrays)
    found = check_golden(graph, path).first_difference
    assert found is not None
    assert (found.node, found.quantity, found.step, found.index) == ("layers.3.neuron", "membrane", 1, (2, 0))


def test_equal_content_gives_equal_bytes_in_narrow_words(tmp_path: Path) -> None:
    graph = dense_graph()
    for name in ("a.npz", "b.npz"):
        write_golden(graph, tmp_path / name, x=random_input(graph))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["spikes/layers.3.neuron"].dtype == np.uint8
        assert archive["membranes/layers.3.neuron"].dtype == np.int8


def test_input_outside_the_graphs_range_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        write_golden(dense_graph(), tmp_path / "golden.npz", x=random_input(dense_graph()) - 1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="golden"):
        read_golden(tmp_path / "golden.npz")


@pytest.mark.parametrize("content", [b"", b"golden", b"PK\x03\x04 not a zip", b"\x93NUMPY\x01\x00v\x00{}"])
def test_a_file_that_is_no_archive_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "golden.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidFileError, match="cannot be read as golden values"):
        read_golden(path)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(InvalidFileError, match="must be an archive"):
        read_golden(path)


@pytest.mark.parametrize("lost", ["graph_hash", "input", "output"])
def test_an_archive_without_a_required_array_is_an_error(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "golden.npz"
    arrays = {name: np.zeros((1, 1, 1), np.int64) for name in ("graph_hash", "input", "output") if name != lost}
    np.savez(path, allow_pickle=False, **arrays)
    with pytest.raises(InvalidFileError, match=f"must hold an array '{lost}'"):
        read_golden(path)


def test_an_archive_of_floats_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    np.savez(path, allow_pickle=False, graph_hash=np.array("0"), input=np.zeros(1), output=np.zeros(1, np.int64))
    with pytest.raises(InvalidFileError, match="array 'input' must hold integers"):
        read_golden(path)


def test_an_archive_with_a_pickle_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    np.savez(path, allow_pickle=True, input=np.array([{"code": "runs"}], dtype=object))
    with pytest.raises(InvalidFileError, match="cannot be read as golden values"):
        read_golden(path)


def test_neurons_without_membranes_cannot_be_compared(tmp_path: Path) -> None:
    graph, path = dense_graph(), tmp_path / "golden.npz"
    write_golden(graph, path, x=random_input(graph))
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if not name.startswith("membranes/")}
    np.savez(path, allow_pickle=False, **arrays)
    with pytest.raises(ParityError, match="got shapes none and"):
        check_golden(graph, path)


@settings(max_examples=60, deadline=None, suppress_health_check=_WRITES_FILES)
@given(data=st.data())
def test_a_damaged_archive_gives_an_error_of_ours_never_a_crash(tmp_path: Path, data: st.DataObject) -> None:
    graph, path = dense_graph(), tmp_path / "golden.npz"
    write_golden(graph, path, x=random_input(graph, time_steps=2, samples=1))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        check_golden(graph, path)
    except IntsnnError as error:
        assert str(error)


def test_hash_is_of_the_content_not_of_the_origin() -> None:
    graph = residual_graph()
    assert fingerprint(IntGraph(graph.nodes, {"recipe": "another"})) == fingerprint(graph)
    assert len(fingerprint(graph)) == 64


@settings(max_examples=30, deadline=None)
@given(data=st.data(), graph=any_graphs())
def test_any_change_of_a_node_changes_the_hash(data: st.DataObject, graph: IntGraph) -> None:
    position = data.draw(st.integers(0, len(graph) - 1))
    node = graph.nodes[position]
    if node.arrays:
        name = data.draw(st.sampled_from(node.arrays))
        changed = replace(node, **{name: getattr(node, name) + 1})
    else:
        changed = replace(node, name=f"{node.name}_")
    nodes = (*graph.nodes[:position], changed, *graph.nodes[position + 1 :])
    assert fingerprint(IntGraph(nodes)) != fingerprint(graph)


def with_zeros(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """A golden file with an array of zeros, which a thousandth of its size holds."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    np.savez_compressed(path, allow_pickle=False, **{**arrays, name: np.zeros(shape, np.uint8)})


def test_the_hash_is_read_without_the_arrays(tmp_path: Path) -> None:
    """1 MB of golden values took 3.6 GB in `check`, which needs the hash alone."""
    path, graph = tmp_path / "golden.npz", dense_graph()
    write_golden(graph, path, x=random_input(graph, time_steps=4))
    with_zeros(path, "membranes/none", (4, 3, 8_000_000))
    tracemalloc.start()
    try:
        assert golden_hash(path) == fingerprint(graph)
        assert golden_input(path, graph).shape == (4, 3, *graph.input.shape)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_arrays_of_more_values_than_are_expanded_at_once_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, graph = tmp_path / "golden.npz", dense_graph()
    write_golden(graph, path, x=random_input(graph, time_steps=4))
    monkeypatch.setattr("intsnn.execution.golden.MOST_VALUES", 100)
    for read in (read_golden, lambda path: golden_input(path, graph)):
        with pytest.raises(InvalidFileError, match="must hold at most 100 values"):
            read(path)
    assert golden_hash(path) == fingerprint(graph)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("membranes/x", (5, 3, 2), "must be of the steps and samples of the input"),
        ("spikes/x", (4,), "must be of the steps and samples of the input"),
        ("input", (4, 3, 5), "must be"),
        ("graph_hash", (2,), "must be a text of at most 64 letters"),
    ],
)
def test_arrays_that_are_not_of_one_run_are_an_error(
    tmp_path: Path, name: str, shape: tuple[int, ...], said: str
) -> None:
    path, graph = tmp_path / "golden.npz", dense_graph()
    write_golden(graph, path, x=random_input(graph, time_steps=4))
    with_zeros(path, name, shape)
    with pytest.raises(InvalidFileError, match=said):
        golden_input(path, graph)
