"""Every reader of a file that a user gives: what none of its rules foresees is an error that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Never

import pytest

from benchmarks.fuzz_formats import FORMATS, Format
from intsnn.errors import GraphError, IntsnnError, UnreadableFileError, reading

INSIDE = {  # what each reader calls once the file is open
    "recipe": "intsnn.yaml.file.parse_tree",
    "hardware": "intsnn.yaml.tree.parse_tree",
    "spikesim": "intsnn.yaml.tree.parse_tree",
    "analog": "intsnn.yaml.file.parse_tree",
    "run.json": "mdcompress.runs.manifest._ADAPTER.validate_json",
    "history": "mdcompress.pipeline.pages.histories._curves",
    "mismatch": "mdcompress.pipeline.pages.facts.MismatchFile.model_validate_json",
    "totals": "mdcompress.pipeline.pages.facts.TypeAdapter",
    "search": "mdcompress.search.study._within",
    "trial": "mdcompress.search.outcome._ADAPTER.validate_json",
    "accuracies": "intsnn.exploration.files._column_problems",
    "model.onnx": "intsnn.onnx.file.graph_metadata",
    "golden.npz": "intsnn.execution.golden._misfits",
    "activity": "intsnn.activity.file._read_synapse",
    "student": "mdcompress.student.weights.graph_from_json",
    "packed student": "mdcompress.student.weights.graph_from_json",
    "teacher": "mdcompress.student.weights.state_in",
    "torch": "mdcompress.student.weights.state_in",
    "old torch": "mdcompress.student.weights.state_in",
    "checkpoint": "mdcompress.training.checkpoint._metadata",
    "nir": "mdcompress.nir.wire",
    "idx": "mdcompress.data.idx_file._read",
    "idx.gz": "mdcompress.data.idx_file._read",
    "cifar": "mdcompress.data.pickle_file._carried_out",
    "tiny-imagenet": "mdcompress.data.tiny_imagenet._is_plain",
    "png": "PIL.Image.open",
    "jpeg": "PIL.Image.open",
    "nmnist": "numpy.frombuffer",
    "ncaltech101": "numpy.frombuffer",
    "aedat4": "mdcompress.data.event_files.require_whole_packets",
    "frames": "mdcompress.data.frame_cache._unpacked",
    "shd": "mdcompress.data.shd.bin_events",
    "gesture": "mdcompress.data.event_files._rows",
}
OWN_WORDS = {"png", "jpeg", "nmnist", "ncaltech101", "aedat4", "gesture", "shd"}  # DataError, whatever a library says


def test_every_format_stands_here() -> None:
    assert {one.name for one in FORMATS} == INSIDE.keys()


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_what_no_reader_foresees_is_an_error_that_names_the_file(one: Format, tmp_path: Path) -> None:
    path = tmp_path / one.file
    one.write(path)
    first = one.read(path)
    assert first == one.read(path)

    def unforeseen(*_: object, **__: object) -> Never:
        raise ArithmeticError("bytes from the moon")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(IntsnnError) as caught:
        patch.setattr(INSIDE[one.name], unforeseen)
        one.read(path)
    assert str(path) in str(caught.value) and "bytes from the moon" in str(caught.value)
    assert isinstance(caught.value, UnreadableFileError) != (one.name in OWN_WORDS)
    assert isinstance(caught.value.__cause__, ArithmeticError)


def test_errors_of_ours_and_of_the_system_pass_the_last_resort() -> None:
    for error in (GraphError("a rule"), FileNotFoundError(2, "No such file"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, reading("a.yaml", "a recipe"):
            raise error
        assert caught.value is error


def test_last_resort_says_what_the_file_must_be() -> None:
    with pytest.raises(UnreadableFileError) as caught, reading("a.yaml", "a recipe"):
        raise ZeroDivisionError
    assert "a.yaml  must be a recipe, whole and unchanged (ZeroDivisionError: )" in str(caught.value)
    assert caught.value.exit_code == 2
