"""How much smaller a network is than in floats: numbers by bits, bytes by form, the files of a run. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mdcompress.pipeline.report import JsonValue, bits_in_words, byte_count, percent, table
from mdcompress.runs import DISTILLED_FILE, MODEL_FILE, QUANTIZED_FILE, RunDirectory
from mdcompress.runs.manifest import Stage

if TYPE_CHECKING:
    from intsnn.footprint import Compression, Form
    from intsnn.graph import IntGraph

SIZE_COLUMNS = ("form", "weights", "constants", "together", "ratio", "state", "state ratio")
FORMS: tuple[Form, ...] = ("float32", "int8", "deployed")
_FORMS_IN_WORDS: Mapping[Form, str] = {"float32": "float32", "int8": "int8", "deployed": "as deployed"}


@dataclass(frozen=True)
class Sizes:
    """The sizes of a run's network: of its numbers, and of the files that hold it (`what -> bytes`)."""

    compression: Compression
    files: Mapping[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Lines and a table, for people."""
        files = [files_line(self)] if self.files else []
        return "\n".join([size_lines(self), *files, "", size_table(self)])

    def document(self) -> Mapping[str, JsonValue]:
        """As JSON: bytes by form, numbers by bits, ratios, files."""
        found = self.compression
        return {
            **{f"{form}_bytes": asdict(found.size(form)) for form in FORMS},
            "ratio": {form: found.ratio(form) for form in FORMS[:-1]},
            "state_ratio": {form: found.state_ratio(form) for form in FORMS[:-1]},
            "weights_by_bits": _by_bits(found.weights),
            "membranes_by_bits": _by_bits(found.membranes),
            "file_bytes": dict(self.files),
        }

    def figures(self) -> dict[str, float]:
        """The figures for a run's record, flat."""
        found = self.compression
        return {
            **{f"{form}_parameter_bytes": found.size(form).parameters for form in FORMS},
            **{f"{form}_state_bytes": found.size(form).state for form in FORMS},
            "ratio_to_float32": found.ratio("float32"),
            "ratio_to_int8": found.ratio("int8"),
            **weights_measured(found.weights),
            **{f"membranes_of_{bits}_bits": count for bits, count in _by_bits(found.membranes).items()},
        }


def sizes_of(graph: IntGraph, files: Mapping[str, Path] | None = None) -> Sizes:
    """The sizes of a legal graph, and of those of `files` (`what -> path`) that are there."""
    from intsnn.footprint import compression_of

    there = {what: path.stat().st_size for what, path in (files or {}).items() if path.is_file()}
    return Sizes(compression_of(graph), there)


def run_sizes(run: RunDirectory) -> Sizes:
    """The sizes of a run that has an exported graph, its files included.

    Raises:
        MissingFileError: there is no model.onnx.
        InvalidFileError: it is none that mdcompress wrote.
    """
    from intsnn.onnx.file import read_onnx

    return sizes_of(read_onnx(run.file(MODEL_FILE)), size_files(run))


def size_files(run: RunDirectory) -> Mapping[str, Path]:
    """The files that hold the network of a run, from floats to integers: what each is -> its path, there or not."""
    quantized, exported = run.record(Stage.QUANTIZE), run.record(Stage.EXPORT)
    weights = [run.path / name for name in (quantized.inputs if quantized else ())]  # an absolute name stays what it is
    students = [name for name in (exported.inputs if exported else ()) if name in (QUANTIZED_FILE, DISTILLED_FILE)]
    newest = DISTILLED_FILE if run.record(Stage.DISTILL) else QUANTIZED_FILE
    return {
        **({"float weights": weights[0]} if weights else {}),
        "student": run.file(students[0] if students else newest),
        "integer ONNX": run.file(MODEL_FILE),
    }


def size_lines(sizes: Sizes) -> str:
    """How many numbers of how many bits, and how much smaller that is, in the form of a summary's lines."""
    found = sizes.compression
    ratio = f"{found.ratio('float32'):.1f} x smaller than float32, {found.ratio('int8'):.1f} x than int8"
    lines = [
        f"size       {byte_count(found.deployed.parameters)} with packed weights: {ratio}",
        f"numbers    weights {_numbers(found.weights)}; membranes {_numbers(found.membranes)}",
    ]
    return "\n".join(lines)


def overridden_in_words(asked: float, weights: Mapping[float, int]) -> str:
    """A line where most weights have more bits than the recipe asks for, as its overrides say so; else empty.

    Args:
        asked: the recipe's quantize.weight.bit_width.
        weights: bits -> the number of weights that have them.
    """
    whole = sum(weights.values())
    if 2 * sum(count for bits, count in weights.items() if bits > asked) <= whole:
        return ""
    wanted = bits_in_words(asked)
    shares = [f"{bits_in_words(bits)} {percent(weights[bits] / whole, 1)}" for bits in sorted(weights, reverse=True)]
    left = f"{percent(weights[asked] / whole, 1)} of the weights have" if weights.get(asked) else "no weight has"
    return (
        f"overrides  {left} the {wanted} of quantize.weight, as quantize.overrides say otherwise: {', '.join(shares)} "
        f"(`--set 'quantize.overrides=[]'` gives every layer {wanted})"
    )


def weights_measured(weights: Mapping[float, int]) -> dict[str, float]:
    """Numbers of weights by their bits, for the record of a stage."""
    return {f"weights_of_{bits}_bits": count for bits, count in _by_bits(weights).items()}


def files_line(sizes: Sizes) -> str:
    """The files that hold the network, with the size of each."""
    return f"files      {', '.join(f'{what} {byte_count(size)}' for what, size in sizes.files.items())}"


def size_table(sizes: Sizes) -> str:
    """Bytes of weights, constants and state in each form, and how many times fewer the deployed ones are."""
    return table(SIZE_COLUMNS, size_rows(sizes), numbers=SIZE_COLUMNS[1:])


def size_rows(sizes: Sizes) -> list[list[str]]:
    """The rows of that table, below SIZE_COLUMNS."""
    found = sizes.compression
    return [
        [
            _FORMS_IN_WORDS[form],
            *map(byte_count, (size.weights, size.constants, size.parameters)),
            f"{found.ratio(form):.1f} x",
            byte_count(size.state),
            f"{found.state_ratio(form):.1f} x" if found.deployed.state else "-",
        ]
        for form in FORMS
        for size in (found.size(form),)
    ]


def _numbers(counts: Mapping[float, int]) -> str:
    """`288 x 8 bits, 20,736 x 4 bits`."""
    words = (f"{count:,} x {bits} {'bit' if bits == '1' else 'bits'}" for bits, count in _by_bits(counts).items())
    return ", ".join(words) or "none"


def _by_bits(counts: Mapping[float, int]) -> dict[str, int]:
    """Bits as text, the most first: 8, 1.58."""
    return {f"{bits:g}": counts[bits] for bits in sorted(counts, reverse=True)}
