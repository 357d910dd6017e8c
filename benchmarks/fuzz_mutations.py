"""Bytes of a whole file -> bytes of a damaged or a hostile one, drawn from a seed.

Damage is of bytes: flipped bits, cuts, splices, repeated and lost pieces, sizes of 2^31 and more. A hostile file is one
that its container still accepts: a key of a text changed, a member of an archive replaced and its checksum made anew, a
field of a header or of a message edited.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Literal

Container = Literal["bytes", "text", "safetensors", "zip", "gzip", "onnx", "png", "hdf5"]
Mutation = Callable[[bytes, random.Random], bytes]

SIZES = (0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x10000000, 0)
NUMBERS = (
    "0", "-1", "1e308", "-1e308", "1e999", ".nan", "NaN", "Infinity", "null", "true", "[]", "{}", '""', '"x"', "0.5",
    "1000000000", "999999999999999999999999", "-0.0", "1e-320", "[[[[1]]]]", "0x10", "2024-01-01",
    "!!python/object:os.x",
)  # fmt: skip
_DEEP = 20_000  # brackets that open and never close


def mutated(content: bytes, container: Container, *, key: str) -> bytes:
    """One mutation of a file; the same key gives the same bytes.

    Half of the mutations of a container go through it; the others, and all of plain bytes, damage the file itself.
    """
    drawn = random.Random(key)
    inside = _CONTAINERS.get(container)
    if inside is not None and drawn.random() < 0.5:
        return inside(content, drawn)
    return _damaged(content, drawn)


# ------------------------------------------------------------------ of bytes


def _damaged(content: bytes, drawn: random.Random) -> bytes:
    return drawn.choice(_DAMAGES)(content, drawn)


def _flip_bits(content: bytes, drawn: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(drawn.choice((1, 1, 1, 2, 8))):
        changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def _truncate(content: bytes, drawn: random.Random) -> bytes:
    return content[: drawn.randrange(len(content) + 1)]


def _piece(content: bytes, drawn: random.Random) -> tuple[int, int]:
    start = drawn.randrange(len(content) + 1)
    return start, min(len(content), start + drawn.choice((1, 2, 4, 8, 64, 1024)))


def _splice(content: bytes, drawn: random.Random) -> bytes:
    start, end = _piece(content, drawn)
    at = drawn.randrange(len(content) + 1)
    return content[:at] + content[start:end] + content[at + end - start :]


def _repeat(content: bytes, drawn: random.Random) -> bytes:
    start, end = _piece(content, drawn)
    return content[:end] + content[start:end] * drawn.choice((1, 2, 100)) + content[end:]


def _lose(content: bytes, drawn: random.Random) -> bytes:
    start, end = _piece(content, drawn)
    return content[:start] + content[end:]


def _noise(content: bytes, drawn: random.Random) -> bytes:
    start, end = _piece(content, drawn)
    return content[:start] + drawn.randbytes(end - start) + content[end:]


def _huge_size(content: bytes, drawn: random.Random) -> bytes:
    at, form = drawn.randrange(len(content) + 1), drawn.choice(("<I", ">I", "<Q"))
    size = struct.pack(form, drawn.choice(SIZES))
    return content[:at] + size + content[at + len(size) :]


def _append(content: bytes, drawn: random.Random) -> bytes:
    return content + drawn.choice((b"\0", b"\0" * 4096, content, drawn.randbytes(16)))


_DAMAGES: tuple[Mutation, ...] = (
    _flip_bits,
    _flip_bits,
    _truncate,
    _splice,
    _repeat,
    _lose,
    _noise,
    _huge_size,
    _append,
)

# ------------------------------------------------------------------ of text


def _edit_text(content: bytes, drawn: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return drawn.choice(_TEXT_EDITS)(text, drawn).encode("utf-8", "surrogatepass")


def _other_number(text: str, drawn: random.Random) -> str:
    found = list(re.finditer(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", text))
    if not found:
        return text + drawn.choice(NUMBERS)
    one = drawn.choice(found)
    return text[: one.start()] + drawn.choice(NUMBERS) + text[one.end() :]


def _other_word(text: str, drawn: random.Random) -> str:
    found = list(re.finditer(r"[A-Za-z_]{2,}", text))
    if not found:
        return text
    one, other = drawn.choice(found), drawn.choice(found)
    word = drawn.choice((other.group(), one.group()[:-1], *NUMBERS, "\u2028", "\x00", "\ud800", "a" * 10_000))
    return text[: one.start()] + word + text[one.end() :]


def _other_lines(text: str, drawn: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at, to = drawn.randrange(len(lines)), drawn.randrange(len(lines))
    match drawn.randrange(3):
        case 0:
            del lines[at]
        case 1:
            lines.insert(to, lines[at])
        case _:
            lines[at], lines[to] = lines[to], lines[at]
    return "".join(lines)


def _nested(text: str, drawn: random.Random) -> str:
    at = drawn.randrange(len(text) + 1)
    return text[:at] + drawn.choice("[{(") * drawn.choice((3, _DEEP)) + text[at:]


def _aliases(text: str, drawn: random.Random) -> str:
    """Each alias stands for two of the one before: 2^40 values in a kilobyte."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    return text + "\n" + "\n".join(lines) + "\n" if drawn.random() < 0.5 else "\n".join(lines) + "\n" + text


_TEXT_EDITS: tuple[Callable[[str, random.Random], str], ...] = (
    _other_number, _other_number, _other_number, _other_word, _other_lines, _other_lines, _nested, _aliases,
)  # fmt: skip

# ------------------------------------------------------------------ of containers


def _edit_safetensors(content: bytes, drawn: random.Random) -> bytes:
    """The JSON header edited as text, or a tensor's numbers; the header's length is that of the new one."""
    length = int.from_bytes(content[:8], "little")
    header, rest = content[8 : 8 + length], content[8 + length :]
    if drawn.random() < 0.3:
        return content[: 8 + length] + _extreme_floats(rest, drawn)
    header = _edit_json(header, drawn) if drawn.random() < 0.3 else _edit_text(header, drawn)
    return len(header).to_bytes(8, "little") + header + rest


def _edit_json(content: bytes, drawn: random.Random) -> bytes:
    """A key deleted, renamed, doubled or given another value."""
    values = json.loads(content)
    place = values
    while isinstance(place, dict) and place and drawn.random() < 0.5:
        inner = drawn.choice(list(place))
        if not isinstance(place[inner], dict):
            break
        place = place[inner]
    if place:
        key = drawn.choice(list(place))
        value = place.pop(key)
        match drawn.randrange(3):
            case 0:
                place[key + "x"] = value
            case 1:
                place[key] = drawn.choice((None, 0, -1, "", [], {}, 1e308, [1 << 62], "x"))
            case _:
                pass
    return json.dumps(values).encode()


_FLOATS = (0.0, -1.0, 1e30, -1e30, float("nan"), float("inf"), 1e-40)


def _extreme_floats(content: bytes, drawn: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(drawn.choice((1, 4))):
        at = drawn.randrange(max(1, len(changed) // 4)) * 4
        changed[at : at + 4] = struct.pack("<f", drawn.choice(_FLOATS))
    return bytes(changed[: len(content)])


def _edit_zip(content: bytes, drawn: random.Random) -> bytes:
    """A member of an archive changed, lost, doubled or renamed; checksums are those of the new members."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = drawn.choice(list(members))
    value = members.pop(name)
    match drawn.randrange(8):
        case 0:
            pass
        case 1:
            members[name + "x"] = value
        case 2:
            members[name] = members.get(drawn.choice([*members, name]), b"")
        case 3:
            members[name] = value + b"\0" * (1 << 24)
        case _:
            members[name] = _edit_header(value, drawn)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for known, inner in members.items():
            archive.writestr(zipfile.ZipInfo(known), inner, zipfile.ZIP_DEFLATED)  # of 1980: the same bytes every day
    return out.getvalue()


def _edit_header(value: bytes, drawn: random.Random) -> bytes:
    """The shape in the header of a .npy, or whatever the member is made of."""
    if value.startswith(b"\x93NUMPY") and drawn.random() < 0.5:
        length = int.from_bytes(value[8:10], "little")
        header = _edit_text(value[10 : 10 + length], drawn)
        return value[:8] + (len(header) & 0xFFFF).to_bytes(2, "little") + header + value[10 + length :]
    return _damaged(value, drawn)


def _edit_gzip(content: bytes, drawn: random.Random) -> bytes:
    plain = gzip.decompress(content)
    if drawn.random() < 0.1:
        return gzip.compress(plain[:16] + b"\0" * (1 << 28), 1, mtime=0)
    return gzip.compress(_damaged(plain, drawn), mtime=0)


def _edit_onnx(content: bytes, drawn: random.Random) -> bytes:
    """A field of the message: a metadata text, a dimension, a type, numbers; or a part lost, doubled or moved."""
    from onnx import ModelProto

    model = ModelProto.FromString(content)
    graph = model.graph
    match drawn.randrange(7):
        case 0:
            entry = drawn.choice([*model.metadata_props, *(e for node in graph.node for e in node.metadata_props)])
            entry.value = _edit_text(entry.value.encode(), drawn).decode("utf-8", "replace")
        case 1:
            tensor = drawn.choice(graph.initializer)
            tensor.dims[:] = [drawn.choice((0, -1, 1, 1 << 40, *tensor.dims)) for _ in tensor.dims]
        case 2:
            tensor = drawn.choice(graph.initializer)
            tensor.raw_data = _damaged(tensor.raw_data, drawn)
        case 3:
            part = drawn.choice((graph.node, graph.initializer, graph.input, model.functions, model.metadata_props))
            if part:
                del part[drawn.randrange(len(part))]
        case 4:
            part = drawn.choice((graph.node, graph.initializer, model.functions, model.metadata_props))
            part.append(drawn.choice(part))
        case 5:
            node = drawn.choice(graph.node)
            node.name, node.op_type = drawn.choice(((node.name, "Identity"), ("x" + node.name, node.op_type)))
        case _:
            one, other = drawn.choice(graph.initializer), drawn.choice(graph.initializer)
            one.raw_data, other.raw_data = other.raw_data, one.raw_data
    changed: bytes = model.SerializeToString()
    return changed


def _edit_png(content: bytes, drawn: random.Random) -> bytes:
    """A chunk changed, lost or doubled, its checksum made anew."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    place = drawn.randrange(len(chunks))
    kind, value = chunks[place]
    match drawn.randrange(4):
        case 0:
            del chunks[place]
        case 1:
            chunks.insert(place, chunks[place])
        case 2 if kind == b"IHDR":
            chunks[place] = kind, struct.pack(">II", *drawn.choices((1, 8, 20_000, 0x7FFFFFFF), k=2)) + value[8:]
        case _:
            chunks[place] = kind, _damaged(value, drawn)
    return content[:8] + b"".join(
        len(value).to_bytes(4, "big") + kind + value + zlib.crc32(kind + value).to_bytes(4, "big")
        for kind, value in chunks
    )


def _edit_hdf5(content: bytes, drawn: random.Random) -> bytes:
    """A dataset given other numbers, another shape or type, or lost."""
    import numpy as np

    h5py = importlib.import_module("h5py")  # it has no types
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, found: names.append(name) if isinstance(found, h5py.Dataset) else None)
        name = drawn.choice(names)
        old = file[name][()]
        del file[name]
        numbers = np.asarray(old)
        extreme = drawn.choice((np.nan, np.inf, 0.0, -1.0, 1e308, 1e30, 2.5, 1 << 40))
        match drawn.randrange(7):
            case 0:
                pass
            case 1 if numbers.dtype.kind in "iuf":
                file[name] = np.full(numbers.shape, extreme)
            case 2 if numbers.dtype.kind in "iuf":
                file[name] = np.full((*numbers.shape, 2), extreme)
            case 3:
                file[name] = "text"
            case 4:
                file[name] = np.zeros((0,))
            case 5:
                file.create_dataset(name, shape=(1 << 16, 1 << 16), dtype="f8", chunks=(1 << 10, 1 << 10))
            case _:
                file[name] = extreme
    return stream.getvalue()


_CONTAINERS: dict[Container, Mutation] = {
    "text": _edit_text,
    "safetensors": _edit_safetensors,
    "zip": _edit_zip,
    "gzip": _edit_gzip,
    "onnx": _edit_onnx,
    "png": _edit_png,
    "hdf5": _edit_hdf5,
}
