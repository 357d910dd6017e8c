"""Fixtures that several test files share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: small tensors lose time on a second thread

import pytest
from main_run import MainRun, run_main_job


@pytest.fixture(scope="session")
def main_run(tmp_path_factory: pytest.TempPathFactory) -> MainRun:
    """The README's first command, run once for the whole session (about a minute)."""
    return run_main_job(tmp_path_factory.mktemp("main"))
