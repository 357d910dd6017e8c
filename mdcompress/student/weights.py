"""Files of weights: float networks and students, as safetensors. Nothing that a file names is run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from intsnn.errors import MissingFileError, UsageError, reading
from intsnn.files import write_atomically
from mdcompress.adapters.state import state_names
from mdcompress.errors import CheckpointError, MdcompressError
from mdcompress.lifting import Lifted
from mdcompress.planning import plan_from_json, plan_to_json
from mdcompress.student.checkpoints import Loaded, differences, state_in
from mdcompress.student.graph_text import graph_from_json, graph_to_json
from mdcompress.student.norm_text import norms_to_json, set_norms
from mdcompress.student.packed import DamagedWeightsError, packed_state, set_packed, unpack
from mdcompress.student.student import Student
from mdcompress.student.torch_files import TORCH_SUFFIXES, read_torch, shortened
from mdcompress.tracing.conventions import inner
from mdcompress.tracing.unwrapping import unwrapped

STUDENT_FORMAT = "mdcompress.student/1"
PACKED_FORMAT = "mdcompress.student.packed/1"
_STUDENTS = (STUDENT_FORMAT, PACKED_FORMAT)
NETWORK_FORMAT = "mdcompress.network/1"
WEIGHT_SUFFIXES = (".safetensors", *TORCH_SUFFIXES)


def save_weights(network: nn.Module, path: str | Path, *, provenance: Mapping[str, str] | None = None) -> None:
    """Write a float network's state dict as safetensors, whole or not at all.

    Args:
        network: float; of one inside the project's wrappers, its normal form, torch.compile or DataParallel the weights
            have their own names.
        path: of the file, `.safetensors`; its folder must exist.
        provenance: what its header shall say besides the format, as text.

    Raises:
        MissingFileError: the folder does not exist.
    """
    _write(Path(path), inner(unwrapped(network)).state_dict(), {"format": NETWORK_FORMAT, **(provenance or {})})


def load_weights(network: nn.Module, path: str | Path) -> Loaded:
    """Load a state dict into `network`: safetensors, or what torch.save wrote, read with weights only.

    A checkpoint of a training script may hold it under a key (`state_dict`, `model`, ...), with a wrapper's prefix
    before its names (`module.`, `_orig_mod.`, `model.`, ...), beside other objects: what fits the network entirely is
    taken.
    Buffers that hold the state of neurons are left as they are, in the network as in the file. A network inside one of
    the project's wrappers, its normal form, torch.compile or DataParallel takes its own weights.

    Args:
        network: the network the weights belong to; changed in place.
        path: `.safetensors`, or `.pt`, `.pth`, `.tar`, `.ckpt`, `.bin`.

    Returns:
        What was taken from where; as text a sentence, empty where the file is the network's state dict.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: a truncated, foreign or pickled file, another network, or NaN.
    """
    path, own = Path(path), inner(unwrapped(network))
    states = state_names(own)
    expected = {name: tensor for name, tensor in own.state_dict().items() if name not in states}
    with reading(path, "a file of weights"):
        content, metadata = _read(path)
        if metadata.get("format") in _STUDENTS:
            raise CheckpointError(
                f"{path} must hold the weights of a float network (found a student, {metadata['format']})",
                hints=["read a student with mdcompress.load_student(path): it needs no network"],
            )
        tensors, loaded = state_in(content, expected, path=path, without=states)
        converted = {name: _converted(path, name, tensor, expected[name]) for name, tensor in tensors.items()}
        _check_numbers(path, converted)
    _require_known_numbers(network, converted, path)
    restore(own, converted, without=states)
    return loaded


def save_student(
    student: Student,
    path: str | Path,
    *,
    weights: Literal["floats", "packed"] = "floats",
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write a student so that the file alone rebuilds it: tensors, graph and plan. Whole or not at all.

    Args:
        student: calibrated.
        path: of the file, `.safetensors`; its folder must exist.
        weights: `floats`, of which the integers are made, and from which a training goes on to the bit; `packed`: the
            integers alone, several in a byte (docs/sizes.md). Either gives the same integers.
        provenance: what else its header shall say, as text.

    Raises:
        MissingFileError: the folder does not exist.
    """
    metadata = {
        "format": STUDENT_FORMAT if weights == "floats" else PACKED_FORMAT,
        "graph": graph_to_json(student.graph),
        "plan": plan_to_json(student.plan),
        **({} if (norms := norms_to_json(student)) is None else {"norms": norms}),
        **(provenance or {}),
    }
    _write(Path(path), student.state_dict() if weights == "floats" else packed_state(student), metadata)


def load_student(path: str | Path) -> Student:
    """Rebuild a student from its file, in evaluation mode.

    Args:
        path: a file that `save_student`, or `mdcompress quantize`, `distill` or `export --format safetensors` wrote.

    Returns:
        The student, equal in every integer.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: a truncated or foreign file, or one that is not a student.
    """
    with reading(path, "a student"):
        return _student(Path(path))


def _student(path: Path) -> Student:
    tensors, metadata = _read_safetensors(path)
    if metadata.get("format") not in _STUDENTS:
        raise CheckpointError(
            f"{path} must be a student ({STUDENT_FORMAT}); its format is {metadata.get('format', 'not given')!r}",
            hints=["`mdcompress quantize` writes students; weights of a float network go to --weights"],
        )
    _check_numbers(path, tensors)
    try:
        graph, plan = graph_from_json(metadata["graph"]), plan_from_json(metadata["plan"])
        student = Student(graph, plan)
        if "norms" in metadata:  # files of versions before have none
            set_norms(student, metadata["norms"])
    except (LookupError, AttributeError, ValidationError, MdcompressError, UsageError, AssertionError) as error:
        raise CheckpointError(
            f"{path} holds a damaged description of its student: {error}", hints=["quantize again"]
        ) from error
    packed = tensors if metadata["format"] == PACKED_FORMAT else {}
    if packed:
        tensors = unpack(student, packed)
    if differing := differences(tensors, student.state_dict()):
        raise CheckpointError(f"{path} does not fit its own description: {differing}", hints=["quantize again"])
    types = {name: tensor.dtype for name, tensor in student.state_dict().items()}
    if other := [f"{name} is {tensor.dtype}" for name, tensor in tensors.items() if tensor.dtype != types[name]]:
        raise CheckpointError(
            f"{path} does not fit its own description: of another type: {shortened(other)}", hints=["quantize again"]
        )
    restore(student, tensors)
    try:
        set_packed(student, packed)
    except DamagedWeightsError as error:
        raise CheckpointError(f"{path} does not fit its own description: {error}", hints=["export again"]) from error
    return student.eval()


def holds_student(path: str | Path) -> bool:
    """Whether a safetensors file is a student, not the weights of a float network; raises as `load_student` does."""
    with reading(path, "a student"), _opened(Path(path)) as file:
        metadata: Mapping[str, str] = file.metadata() or {}
    return metadata.get("format") in _STUDENTS


def restore(network: nn.Module, state: Mapping[str, Tensor], *, without: Collection[str] = ()) -> None:
    """Copy a state into the network's own tensors but `without`; ValueError unless names and shapes are the same.

    Not `load_state_dict`: Brevitas puts new Parameter objects in place of its scales there, of which an optimizer
    made before knows nothing, and which forget requires_grad=False.
    """
    own = {name: tensor for name, tensor in network.state_dict().items() if name not in without}
    if own.keys() != state.keys():
        differing = sorted(own.keys() ^ state.keys())
        raise ValueError(f"{len(differing)} tensors are in one of them only, {differing[0]!r} first")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(f"{name!r} has shape {list(state[name].shape)}, not {list(tensor.shape)}")
            tensor.copy_(state[name])


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, _with_sorted_header(save(plain, metadata=dict(metadata))))


def _with_sorted_header(content: bytes) -> bytes:
    """Equal tensors and metadata give equal bytes: safetensors writes its metadata in the order of a hash map.

    Layout: 8 bytes little-endian length of the JSON header, the header (padded with spaces), the tensors' bytes.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _read(path: Path) -> tuple[object, Mapping[str, str]]:
    """What a file of weights holds, and what its header says besides."""
    _require_file(path)
    if path.suffix in TORCH_SUFFIXES and not _is_safetensors(path):
        return read_torch(path), {}
    return _read_safetensors(path)


def _is_safetensors(path: Path) -> bool:
    """Whether a file of any name begins as safetensors do: 8 bytes, the header's length, and JSON."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return head[8:] == b"{" and 0 < int.from_bytes(head[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file; what is wrong with it is said in our words, whether it shows on opening or on reading."""
    _require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        with path.open("rb") as stream:
            head = stream.read(2)
        if head in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise CheckpointError(
                f"{path} must be a safetensors file (found a pickle, which can run code when it is read)",
                hints=[
                    "name it .pt or .ckpt to read it with weights only, or save it with safetensors.torch.save_file"
                ],
            ) from error
        raise CheckpointError(
            f"{path} must be a whole safetensors file ({error})",
            hints=["it is truncated or of another kind: write it again"],
        ) from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file", hints=["check the path of the weights"])


def _require_known_numbers(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """CheckpointError where a network in normal form would keep other numbers of its neurons than the file has."""
    if not isinstance(network, Lifted):
        return
    own = dict(network.source.state_dict())
    other = [
        name
        for name in sorted(network.constants & tensors.keys())
        if own[name].shape != tensors[name].shape or not torch.equal(own[name].cpu(), tensors[name].to(own[name].dtype))
    ]
    if other:
        raise CheckpointError(
            f"{path} holds other numbers than those that were read off the network ({len(other)} tensors, {other[0]!r} "
            "first)",
            hints=["load the weights into your own network first, and take it into normal form afterwards"],
        )


def _converted(path: Path, name: str, tensor: Tensor, own: Tensor) -> Tensor:
    """A tensor of a file in the type that the network has; CheckpointError where numbers would become others.

    Floats are rounded to the network's, as torch does; what that type cannot hold is refused, not made infinite.
    """
    if tensor.is_complex() or (tensor.dtype == torch.bool) != (own.dtype == torch.bool):
        raise _of_other_type(path, name, tensor, own)
    found = tensor.to(own.dtype)
    if own.is_floating_point():
        beyond = torch.isinf(found) & ~torch.isinf(tensor.double())
        fits = not bool(beyond.any())
    else:
        fits = torch.equal(found.double(), tensor.double())
    if not fits:
        raise _of_other_type(path, name, tensor, own)
    return found


def _of_other_type(path: Path, name: str, tensor: Tensor, own: Tensor) -> CheckpointError:
    types = [str(one.dtype).removeprefix("torch.") for one in (own, tensor)]
    return CheckpointError(
        f"{path}: every number must fit the network's types, but {name!r}, {types[0]} there, holds {types[1]} that do "
        "not",
        hints=["save the network in the types that it is trained in"],
    )


def _check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        if not bool(torch.isfinite(tensor.double()).all()):
            raise CheckpointError(
                f"{path}: all weights must be finite, but {name!r} holds NaN or infinity",
                hints=["the training that made them diverged; use an earlier checkpoint"],
            )
        if name.rpartition(".")[2] == "running_var" and bool((tensor < 0).any()):
            raise CheckpointError(
                f"{path}: a variance must not be negative, but {name!r} holds {float(tensor.min()):g}",
                hints=["the file is damaged, or of another network: write it again"],
            )
