"""A key -> random words and permutations that are the same on every machine and with every NumPy release."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def random_words(count: int, key: str) -> NDArray[np.uint64]:
    """`count` independent words of 64 bits that depend on `key` alone, shape [count].

    Philox-4x64-10 (Salmon et al., SC 2011, doi:10.1145/2063384.2063405), keyed by the first 128 bits of BLAKE2b(key).
    The raw stream of a bit generator is fixed by NumPy's policy (NEP 19); that of `Generator` methods is not.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    words: NDArray[np.uint64] = np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(count)
    return words


def permutation(count: int, key: str) -> NDArray[np.int64]:
    """A random order of 0..count-1 that depends on `key` alone, shape [count]."""
    return np.argsort(random_words(count, key), kind="stable")
