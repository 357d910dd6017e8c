"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: small tensors lose time on a second thread

import pytest
from coverage import Coverage
from filelock import FileLock
from hypothesis import settings
from torch import nn

from mdcompress.cli.memory import look_for_garbage_seldom
from mdcompress.student import Student
from tests.support.compilers import compile_as_shipped, compile_plainly
from tests.support.main_run import MainRun, main_job_in
from tests.support.paths import ROOT
from tests.support.plain_pictures import draw_as_shipped, draw_plainly
from tests.support.training_cases import tiny_student, trained_teacher

ROOMS = ("intsnn", "mdcompress")  # the folders of tests that mirror rooms

settings.register_profile("ci", derandomize=True, deadline=None)  # the same examples in every run that decides
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_configure() -> None:
    look_for_garbage_seldom()  # among the objects of torch and Brevitas: 7 % of all time


def pytest_collection_finish() -> None:
    """What was imported stays, and is no longer looked through."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process is left alone with one at the end.

    First of all one that needs the README's first command, then those that train, then the others that need what it
    left: who asks for it while it runs would wait. Then those with drawn examples or of the whole.
    """
    needing = [item.path for item in items if "main_run" in getattr(item, "fixturenames", ())]
    training = {item.path for item in items if item.get_closest_marker("slow")}
    long = {item.path for item in items if not _is_measured(item)}

    def turn(item: pytest.Item) -> int:
        if item.path in needing:
            return 0 if item.path == needing[-1] else 2
        if item.path in training:
            return 1
        return 3 if item.path in long else 4

    items.sort(key=turn)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Coverage counts what the tests of a room run with examples; to trace the others takes half their time again.

    So the bar is of lines that a test by hand reaches. What is run on the way through a whole command, a training or
    drawn examples would be counted as tested, whatever came of it.
    """
    measuring = None if _is_measured(item) else Coverage.current()
    if measuring is None:
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


def _is_measured(item: pytest.Item) -> bool:
    folder = item.path.relative_to(ROOT / "tests").parts[0]
    is_drawn = hasattr(getattr(item, "function", None), "hypothesis") or "seed" in getattr(item, "fixturenames", ())
    return folder in ROOMS and not is_drawn and item.get_closest_marker("slow") is None


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of the tests, the same for all of its processes (`pytest -n`)."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(autouse=True, scope="session")
def _own_cache(shared_folder: Path) -> Iterator[None]:
    """Compiled libraries go to a folder of this session: nothing is written to the user's cache, nor taken from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDCOMPRESS_CACHE", str(shared_folder / "cache"))
        patch.delenv("CC", raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _compiled_plainly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        compile_plainly(patch)
        yield


@pytest.fixture(autouse=True, scope="session")
def _drawn_plainly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        draw_plainly(patch)
        yield


@pytest.fixture(scope="module")
def drawn_as_shipped() -> Iterator[None]:
    """Pictures are laid out as users get them."""
    with pytest.MonkeyPatch.context() as patch:
        draw_as_shipped(patch)
        yield


@pytest.fixture(scope="module")
def compiled_as_shipped() -> Iterator[None]:
    """The flags of compiled code are those that users get."""
    with pytest.MonkeyPatch.context() as patch:
        compile_as_shipped(patch)
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_state(shared_folder: Path) -> Iterator[None]:
    """Recipes that the tests write may name code; what they agree to is not remembered for the user, nor taken over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDCOMPRESS_STATE", str(shared_folder / "state"))
        patch.setenv("MDCOMPRESS_TRUST", str(shared_folder))
        yield


@pytest.fixture(scope="session")
def main_run(shared_folder: Path) -> MainRun:
    """The README's first command, run once for all processes of the tests (about a minute)."""
    with FileLock(shared_folder / "main.lock"):
        return main_job_in(shared_folder / "main")


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    """The trained float network of `training_cases`."""
    return trained_teacher()


@pytest.fixture(scope="module")
def quantized(teacher: nn.Module) -> Student:
    """Its calibrated student; tests train copies of it."""
    return tiny_student(teacher)
