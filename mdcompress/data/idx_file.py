"""MNIST's file format (idx) -> array; plain or compressed with gzip.

Format: two zero bytes, type (8: unsigned byte), number of dimensions, each dimension as a big-endian 32-bit integer,
then the values (Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from intsnn.errors import reading
from mdcompress.errors import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, *, most: int) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes; its header is read first, and holds how much is read after it.

    Args:
        path: the file; compressed if it ends in .gz.
        most: values that the data set has at most.

    Raises:
        DataError: the file is damaged, of another kind, or holds more.
    """
    with reading(path, "an idx file"):
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                return _read(path, stream, most)
        except (OSError, EOFError, zlib.error) as error:  # gzip's three ways to say damaged
            kind = "gzip file" if path.suffix == ".gz" else "file"
            raise _damaged(path, f"must be a whole {kind} ({error})") from error


def _read(path: Path, stream: IO[bytes] | gzip.GzipFile, most: int) -> NDArray[np.uint8]:
    head = stream.read(4)
    if len(head) < 4 or head[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise _damaged(path, f"must start with 00 00 08 (got {head[:3].hex(' ') or 'nothing'})")
    sizes = stream.read(4 * head[3])
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
    expected = math.prod(shape)
    if not shape or len(sizes) != 4 * head[3]:
        raise _damaged(path, f"must hold the sizes of its {head[3]} axes, at least 1 (got {len(sizes)} bytes)")
    if expected > most:
        raise _damaged(path, f"must hold at most {most:,} values (its header says {list(shape)})")
    values = np.frombuffer(stream.read(expected + 1), dtype=np.uint8)
    if len(values) != expected:
        seen = f"{len(values)}" if len(values) < expected else "more"
        raise _damaged(path, f"must hold {expected} values for its shape {list(shape)} (got {seen})")
    return values.reshape(shape)


def _damaged(path: Path, message: str) -> DataError:
    return DataError(f"{path}: {message}", hints=["delete the file and fetch it again (`--download`)"])
