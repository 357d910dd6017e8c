"""The package nir for tests, which skip without it, or with one from before v_reset (1.0.4, which sinabs pins).

`.ci/run` runs them with a newer one, in a folder of its own.
"""

from __future__ import annotations

from typing import Any

import pytest


def nir_with_v_reset() -> Any:
    nir = pytest.importorskip("nir")
    if "v_reset" not in nir.IF.__dataclass_fields__:
        pytest.skip("these neurons have a v_reset: a newer nir is needed", allow_module_level=True)
    return nir
