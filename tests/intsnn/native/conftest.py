"""What the tests of this room share: a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def native_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of compiled libraries of this session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True, scope="module")
def _own_cache(native_cache: Path) -> Iterator[None]:
    """Nothing is written to the user's cache, nor taken from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDCOMPRESS_CACHE", str(native_cache))
        patch.delenv("CC", raising=False)
        yield
