"""SpikingJelly before 2.0: the tests of `old_spikingjelly/` on every release, each in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forked_pytest import ForkedPytest
from tests.support.old_releases import DESCRIBED, REFUSED, NoIndexError, folder_of
from tests.support.paths import ROOT

_QUIET = ("DeprecationWarning", "FutureWarning", "SyntaxWarning")  # of a library that was written for older torch
_PAGE = ROOT / "docs/frameworks/spikingjelly.md"
LEAST = 20  # tests that pass on the smallest release


@pytest.fixture(params=DESCRIBED)
def release(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def folder(release: str) -> Path:
    """Where the release lies; without a package index there is none, but where CI has put it there before."""
    try:
        return folder_of(release)
    except NoIndexError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def forked() -> Iterator[ForkedPytest]:
    with ForkedPytest() as program:
        yield program


@pytest.mark.slow
def test_an_old_release_holds_all_that_is_said_of_it(release: str, folder: Path, forked: ForkedPytest) -> None:
    files = sorted(map(str, (ROOT / "tests/frameworks/old_spikingjelly").glob("[!_]*.py")))
    options = ["-q", "--noconftest", "-p", "no:cacheprovider", *(f"-Wignore::{kind}" for kind in _QUIET)]
    ended = forked.run([*options, "--no-header", "-rN", "--override-ini=addopts=", *files], first_on_path=folder)
    assert ended.code == 0, ended.out
    passed = re.search(r"(\d+) passed", ended.out)
    assert passed is not None and int(passed[1]) >= LEAST, ended.out


def test_the_page_has_the_classes_of_every_release(release: str) -> None:
    (row,) = (line for line in _PAGE.read_text().splitlines() if line.startswith(f"| {release} |"))
    described, refused = (tuple(re.findall(r"`(\w+)`", cell)) for cell in row.split("|")[2:4])
    assert (described, refused) == (DESCRIBED[release], REFUSED[release])
