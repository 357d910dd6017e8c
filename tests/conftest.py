"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: small tensors lose time on a second thread

import pytest
from hypothesis import settings
from torch import nn

from mdcompress.student import Student
from tests.support.main_run import MainRun, run_main_job
from tests.support.training_cases import tiny_student, trained_teacher

settings.register_profile("ci", derandomize=True, deadline=None)  # the same examples in every run that decides
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled libraries go to a folder of this session: nothing is written to the user's cache, nor taken from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDCOMPRESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("CC", raising=False)
        yield


@pytest.fixture(scope="session")
def main_run(tmp_path_factory: pytest.TempPathFactory) -> MainRun:
    """The README's first command, run once for the whole session (about a minute)."""
    return run_main_job(tmp_path_factory.mktemp("main"))


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    """The trained float network of `training_cases`."""
    return trained_teacher()


@pytest.fixture(scope="module")
def quantized(teacher: nn.Module) -> Student:
    """Its calibrated student; tests train copies of it."""
    return tiny_student(teacher)
