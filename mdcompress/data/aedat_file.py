"""An AEDAT 4 file's headers -> whole packets, and no more memory than they may take; nothing is expanded.

A header, packets (stream, size, content), and where the header says so a table after them. All sizes are little-endian;
the header is a flatbuffer: its first field says how packets are packed, its second where the table begins
(iniVation, "AEDAT 4.0", docs.inivation.com). Frames of LZ4: github.com/lz4/lz4, doc/lz4_Frame_format.md; of Zstandard:
RFC 8878.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal, assert_never

from mdcompress.errors import DataError

MOST_IN_PACKET = 1 << 26  # bytes of an expanded packet: four million events; cameras write some thousand
_LEAST = 12  # bytes of a flatbuffer with its size and its kind
_START = b"#!AER-DAT4.0\r\n"
_LZ4, _ZSTD = b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"  # how their frames begin
_LZ4_MOST = 255  # bytes that LZ4 makes of one at most
_LZ4_BLOCKS = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}  # bytes of an expanded block, by its code
_ZSTD_BLOCK = 1 << 17  # bytes of an expanded block of Zstandard at most
_ZSTD_ONE_BYTE, _ZSTD_PACKED = 1, 2  # kinds of its blocks: one byte so many times, packed; the others are plain

Packing = Literal["none", "lz4", "zstd"]
_PACKINGS: tuple[Packing, ...] = (
    "none",
    "lz4",
    "lz4",
    "zstd",
    "zstd",
)  # by code; with more effort too


def require_whole_packets(content: bytes) -> None:
    """DataError unless the file holds whole packets to its end, of which none expands to more than it may."""
    if not content.startswith(_START):
        raise DataError(f"it must begin with {_START!r} (got {content[: len(_START)]!r})")
    try:
        end, largest = _packets(content)
    except struct.error as error:
        raise DataError(f"it must hold whole packets (it ends inside one: {error})") from error
    if end != len(content):
        raise DataError(f"it must hold whole packets to byte {len(content)} (the last one ends at byte {end})")
    if largest > MOST_IN_PACKET:
        raise DataError(
            f"each of its packets must expand to at most {MOST_IN_PACKET:,} bytes (one can to {largest:,}, by the "
            "headers in it)"
        )


def _packets(content: bytes) -> tuple[int, int]:
    """Where the last packet ends (or the file, where a table follows it), and what the largest can expand to."""
    header = len(_START) + 4
    code, table = _field(content, header, 0, "<i", absent=0), _field(content, header, 1, "<q", absent=-1)
    if not 0 <= code < len(_PACKINGS):
        raise DataError(f"its packets must be packed in a way from 0 to {len(_PACKINGS) - 1} (got {code})")
    at, largest = header + _number("<I", content, header - 4), 0
    end = len(content) if table < 0 else table
    while at < end:
        size = _number("<I", content, at + 4)
        at += 8 + size
        largest = max(largest, _expanded(content[at - size : at], _PACKINGS[code]))
    if table < 0 or at != table:
        return at, largest
    return len(content), largest


def _field(content: bytes, header: int, place: int, form: str, *, absent: int) -> int:
    """A number in the table of a flatbuffer: what its first four bytes lead to begins with where the fields stand."""
    root = header + _number("<I", content, header)
    fields = root - _number("<i", content, root)
    at = 4 + 2 * place
    offset = _number("<H", content, fields + at) if _number("<H", content, fields) > at else 0
    return _number(form, content, root + offset) if offset else absent


def _number(form: str, content: bytes, at: int) -> int:
    if at < 0:
        raise struct.error(f"a place before the file, {at}")
    return int(struct.unpack_from(form, content, at)[0])


# ------------------------------------------------------------------ how much a packet can be


def _expanded(packet: bytes, packing: Packing) -> int:
    """Bytes that a packet expands to at most, by the headers of its frames and blocks."""
    match packing:
        case "none":
            if len(packet) < _LEAST:
                raise DataError(f"its packets must have at least {_LEAST} bytes (got {len(packet)})")
            return len(packet)
        case "lz4":
            return _of_frames(packet, _LZ4, _lz4_frame)
        case "zstd":
            return _of_frames(packet, _ZSTD, _zstd_frame)
        case _:
            assert_never(packing)


def _of_frames(packet: bytes, start: bytes, frame: Callable[[bytes, int], tuple[int, int]]) -> int:
    at, total = 0, 0
    while at < len(packet):
        if packet[at : at + 4] != start:
            raise DataError(f"its packed packets must begin with {start.hex(' ')} (got {packet[at : at + 4].hex(' ')})")
        at, size = frame(packet, at + 4)
        total += size
    return total


def _lz4_frame(packet: bytes, at: int) -> tuple[int, int]:
    """Where a frame ends whose description begins at `at`, and what it expands to at most."""
    flags, code = _number("B", packet, at), _number("B", packet, at + 1) >> 4 & 7
    if code not in _LZ4_BLOCKS:
        raise DataError(f"the blocks of its packets must be of a size from 4 to 7 (got {code})")
    at += 3 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)  # with the checksum, the size and the dictionary
    total = 0
    while size := _number("<I", packet, at):
        plain, size = size >> 31, size & 0x7FFFFFFF
        total += size if plain else min(_LZ4_BLOCKS[code], _LZ4_MOST * size)
        at += 4 + size + (4 if flags & 16 else 0)
    return at + 4 + (4 if flags & 4 else 0), total


def _zstd_frame(packet: bytes, at: int) -> tuple[int, int]:
    """As `_lz4_frame`. A decoder keeps a window of what it wrote last, as large as the frame says."""
    flags = _number("B", packet, at)
    code, is_single = flags >> 6, flags >> 5 & 1
    at += 1
    if not is_single:
        exponent, eighths = divmod(_number("B", packet, at), 8)
        window = (1 << 10 + exponent) // 8 * (8 + eighths)
        at += 1
    at += (0, 1, 2, 4)[flags & 3]  # the dictionary's name
    if is_single:
        window = _number(("B", "<H", "<I", "<Q")[code], packet, at)
    at += (is_single, 2, 4, 8)[code]
    total, is_last = 0, False
    while not is_last:
        block = _number("<H", packet, at) | _number("B", packet, at + 2) << 16
        is_last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        total += _ZSTD_BLOCK if kind == _ZSTD_PACKED else size
        at += 3 + (1 if kind == _ZSTD_ONE_BYTE else size)
    return at + (4 if flags & 4 else 0), max(window, total)
