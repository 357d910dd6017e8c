"""MNIST's file format (idx) -> array; plain or compressed with gzip.

Format: two zero bytes, type (8: unsigned byte), number of dimensions, each dimension as a big-endian 32-bit integer,
then the values (Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdcompress.errors import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes."""
    data = _bytes(path)
    if len(data) < 4 or data[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise _damaged(path, f"must start with 00 00 08 (got {data[:3].hex(' ') or 'nothing'})")
    dimensions = data[3]
    shape = tuple(np.frombuffer(data[4 : 4 + 4 * dimensions], dtype=">u4").tolist())
    values = np.frombuffer(data[4 + 4 * dimensions :], dtype=np.uint8)
    expected = int(np.prod(shape, dtype=np.int64))
    if len(shape) != dimensions or len(values) != expected:
        raise _damaged(path, f"must hold {expected} values for its shape {list(shape)} (got {len(values)})")
    return values.reshape(shape)


def _bytes(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:  # gzip's three ways to say damaged
        raise _damaged(path, f"must be a whole gzip file ({error})") from error


def _damaged(path: Path, message: str) -> DataError:
    return DataError(f"{path}: {message}", hints=["delete the file and fetch it again (`--download`)"])
