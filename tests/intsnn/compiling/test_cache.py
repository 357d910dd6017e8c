"""The cache of compiled libraries: whole or not at all, and nobody else's."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from intsnn.compiling import cache, folder, processor
from intsnn.compiling.cache import load_library, shared_library
from intsnn.compiling.compiler import LIBRARY_SUFFIX, Compiler, host_flags
from intsnn.errors import CompilerError, UsageError
from tests.support.fake_compilers import failing, wrapped, writing_garbage

ANSWER = '__attribute__((visibility("default"))) int answer(void) { return 42; }\n'


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a test, which is not there yet."""
    place = tmp_path / "cache"
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(place))
    monkeypatch.delenv("CC", raising=False)
    return place


@pytest.fixture
def counted(tmp_path: Path, base: Path) -> tuple[Compiler, Path]:
    """A compiler that works, and the file with a line for each of its calls."""
    calls = tmp_path / "calls"
    compiler = Compiler((str(wrapped(tmp_path / "counted", f"echo call >> {calls}")),), "1")
    host_flags(compiler)
    calls.write_text("")
    return compiler, calls


def answer(library: Path) -> int:
    return int(ctypes.CDLL(str(library)).answer())


def libraries(base: Path) -> list[Path]:
    return sorted((base / "native").glob(f"*{LIBRARY_SUFFIX}"))


def left_over(base: Path) -> list[Path]:
    return sorted((base / "native").glob(".work-*"))


def test_a_library_is_compiled_once_and_kept(base: Path, counted: tuple[Compiler, Path]) -> None:
    compiler, calls = counted
    first = shared_library(ANSWER, compiler=compiler)
    assert answer(first) == 42
    assert shared_library(ANSWER, compiler=compiler) == first
    assert calls.read_text() == "call\n"
    assert libraries(base) == [first]
    assert not left_over(base)


def test_compiler_and_flags_may_be_left_out(base: Path) -> None:
    assert answer(shared_library(ANSWER)) == 42


def test_another_source_flag_compiler_or_processor_is_another_library(
    counted: tuple[Compiler, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler, _ = counted
    flags = host_flags(compiler)
    newer = Compiler(compiler.command, "2")
    names = [
        shared_library(ANSWER, compiler=compiler),
        shared_library(ANSWER.replace("42", "43"), compiler=compiler),
        shared_library(ANSWER, compiler=compiler, flags=(*flags, "-O1")),
        shared_library(ANSWER, compiler=newer),
    ]
    monkeypatch.setattr(cache, "processor_features", lambda: ("another machine of the same home folder",))
    names.append(shared_library(ANSWER, compiler=compiler))
    assert len(set(names)) == 5
    assert [answer(name) for name in names] == [42, 43, 42, 42, 42]


def test_the_processor_is_told_by_what_it_can_do() -> None:
    assert processor.processor_features()


def test_instructions_are_read_of_all_cores(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(
        "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd05\nBogoMIPS\t: 1\n\n"
        "processor\t: 1\nFeatures\t: fp asimd sve\nCPU part\t: 0xd05\nBogoMIPS\t: 2\n"
    )
    assert processor._proc_cpuinfo(told) == ("CPU part : 0xd05", "Features : fp asimd", "Features : fp asimd sve")
    assert processor._proc_cpuinfo(tmp_path / "none") == ()


def test_folder_and_library_are_the_users_alone(base: Path, counted: tuple[Compiler, Path]) -> None:
    before = os.umask(0)
    try:
        library = shared_library(ANSWER, compiler=counted[0])
    finally:
        os.umask(before)
    for path in (library, library.parent):
        assert path.lstat().st_mode & 0o777 == 0o700
        assert path.lstat().st_uid == os.geteuid()


@pytest.mark.parametrize("below", ["", "native"])
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_is_refused(base: Path, mode: int, below: str) -> None:
    library = shared_library(ANSWER)
    (base / below).chmod(mode)
    with pytest.raises(UsageError, match="no other user may write here") as caught:
        shared_library(ANSWER)
    assert "MDCOMPRESS_CACHE" in caught.value.hints[0]
    assert library.exists()


def test_a_folder_below_one_that_is_open_for_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_for_all = tmp_path / "open"
    open_for_all.mkdir()
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(open_for_all / "own"))
    open_for_all.chmod(0o777)
    with pytest.raises(UsageError, match="no folder above may be open for all to write"):
        shared_library(ANSWER)
    open_for_all.chmod(0o1777)  # as /tmp: who can write there cannot rename what is another's
    assert answer(shared_library(ANSWER)) == 42


def test_a_folder_of_someone_else_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_library(ANSWER)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(UsageError, match=f"must belong to user {owner + 1}.*belongs to {owner}"):
        shared_library(ANSWER)


def test_a_library_that_others_can_write_is_not_loaded(base: Path) -> None:
    library = shared_library(ANSWER)
    library.chmod(0o777)
    with pytest.raises(UsageError, match="no other user may write here"):
        shared_library(ANSWER)


def test_a_library_of_someone_else_is_not_loaded(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = shared_library(ANSWER)
    owner = os.geteuid()
    users = iter([owner, owner, owner + 1, owner + 1])  # asked for both folders, then for the library
    monkeypatch.setattr(os, "geteuid", lambda: next(users))
    with pytest.raises(UsageError, match="must belong to user") as caught:
        shared_library(ANSWER)
    assert library.name in caught.value.message


@pytest.mark.parametrize("name", ["native", "library"])
def test_a_link_in_the_cache_is_not_followed(base: Path, tmp_path: Path, name: str) -> None:
    library = shared_library(ANSWER)
    linked = base / "native" if name == "native" else library
    linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="got a link"):
        shared_library(ANSWER)


def test_the_cache_itself_may_be_a_link_to_another_disk(base: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    base.symlink_to(tmp_path / "disk")
    assert shared_library(ANSWER).is_relative_to((tmp_path / "disk").resolve())


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied"])
def test_a_library_that_was_harmed_is_compiled_anew(counted: tuple[Compiler, Path], harm: str) -> None:
    compiler, calls = counted
    library = shared_library(ANSWER, compiler=compiler)
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    harmed = {"cut": bytes(content[: len(content) // 2]), "flipped": bytes(content), "emptied": b""}
    library.write_bytes(harmed[harm])
    assert answer(shared_library(ANSWER, compiler=compiler)) == 42
    assert calls.read_text() == "call\ncall\n"


def test_a_compiler_that_fails_leaves_nothing(base: Path, tmp_path: Path) -> None:
    broken = Compiler((str(failing(tmp_path / "broken")),), "1")
    with pytest.raises(CompilerError, match="crt1"):
        shared_library(ANSWER, compiler=broken, flags=())
    assert not libraries(base)
    assert not left_over(base)


def test_a_library_that_does_not_load_is_an_error_and_is_removed(base: Path, tmp_path: Path) -> None:
    garbage = Compiler((str(writing_garbage(tmp_path / "garbage")),), "1")
    library = shared_library(ANSWER, compiler=garbage, flags=())
    with pytest.raises(CompilerError, match="must load"):
        load_library(library)
    assert not libraries(base)


def test_a_library_that_loads_answers(base: Path) -> None:
    assert load_library(shared_library(ANSWER)).answer() == 42


@pytest.mark.parametrize("call", ["mkdtemp", "write_text", "fsync", "replace"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    base: Path, counted: tuple[Compiler, Path], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner = {"mkdtemp": tempfile, "write_text": Path, "fsync": os, "replace": Path}[call]
    with monkeypatch.context() as patched:
        patched.setattr(owner, call, full)
        with pytest.raises(CompilerError, match="No space left on device") as caught:
            shared_library(ANSWER, compiler=counted[0])
    assert "MDCOMPRESS_CACHE" in caught.value.hints[0]
    assert not libraries(base)
    assert not left_over(base)
    assert answer(shared_library(ANSWER, compiler=counted[0])) == 42


def test_a_compiler_that_finds_the_disk_full_leads_to_the_same_hint(base: Path, tmp_path: Path) -> None:
    full = Compiler((str(failing(tmp_path / "full", "fatal error: write: No space left on device")),), "1")
    with pytest.raises(CompilerError) as caught:
        shared_library(ANSWER, compiler=full, flags=())
    assert "MDCOMPRESS_CACHE" in caught.value.hints[0]


def test_a_disk_that_is_full_while_compilers_are_tried_is_not_called_a_missing_compiler(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = failing(tmp_path / "full", "fatal error: write: No space left on device")
    monkeypatch.setenv("PATH", str(tmp_path))
    full.rename(tmp_path / "gcc")
    with pytest.raises(folder.StorageError, match="No space left on device"):
        shared_library(ANSWER)


def test_only_what_was_made_here_is_named_for_removal(base: Path) -> None:
    shared_library(ANSWER)
    (base / "native").chmod(0o777)
    with pytest.raises(UsageError, match=r"or remove .*native"):
        shared_library(ANSWER)
    base.chmod(0o777)
    with pytest.raises(UsageError) as caught:
        shared_library(ANSWER)
    assert "remove" not in str(caught.value)


def test_a_chosen_folder_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match="must be one that can be made"):
        shared_library(ANSWER)


def test_without_a_home_that_can_be_written_a_temporary_folder_serves(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    for name in ("MDCOMPRESS_CACHE", "XDG_CACHE_HOME", "CC"):
        environment.pop(name, None)
    used = Path(_printed(environment))
    assert used.is_relative_to(tmp_path.resolve())
    assert not used.parents[1].exists()  # it goes with the process


def test_without_a_home_at_all_a_temporary_folder_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MDCOMPRESS_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert folder.cache_folder().is_dir()
    assert folder.cache_folder() == folder.cache_folder()


@pytest.mark.parametrize(
    ("name", "expected"), [("XDG_CACHE_HOME", "xdg/mdcompress/native"), ("HOME", ".cache/mdcompress/native")]
)
@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these have places of their own")
def test_the_cache_is_where_caches_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.delenv("MDCOMPRESS_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg") if name == "XDG_CACHE_HOME" else "relative")
    assert folder.cache_folder() == (tmp_path / expected).resolve()


def test_what_was_not_used_for_longest_goes_first(
    base: Path, counted: tuple[Compiler, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler, _ = counted
    sources = [ANSWER.replace("42", str(number)) for number in range(60, 64)]
    old = [shared_library(source, compiler=compiler) for source in sources[:3]]
    for age, library in enumerate(old):
        os.utime(library, (1000 + age, 1000 + age))
    assert shared_library(sources[0], compiler=compiler) == old[0]  # used once more
    monkeypatch.setattr(cache, "LIMIT_BYTES", 3 * old[0].stat().st_size)
    newest = shared_library(sources[3], compiler=compiler)
    assert libraries(base) == sorted([old[0], old[2], newest])
    monkeypatch.setattr(cache, "LIMIT_BYTES", 0)
    alone = shared_library(sources[1], compiler=compiler)
    assert libraries(base) == [alone]  # what is asked for stays, however large


def test_what_a_killed_process_left_is_removed_after_a_day(base: Path, counted: tuple[Compiler, Path]) -> None:
    for name, age in (("old", 2 * 86400), ("new", 60)):
        (base / "native" / f".work-{name}").mkdir()
        when = time.time() - age
        os.utime(base / "native" / f".work-{name}", (when, when))
    shared_library(ANSWER, compiler=counted[0])
    assert [place.name for place in left_over(base)] == [".work-new"]


def test_processes_that_compile_at_once_all_get_a_good_library(base: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    together = (  # each compiler waits until three of them run
        f"if grep -q answer source.c 2>/dev/null; then touch {here}/$$; tries=0; "
        f'while [ "$(ls {here} | wc -l)" -lt 3 ] && [ $tries -lt 1200 ]; do sleep 0.05; tries=$((tries + 1)); done; fi'
    )
    environment = {**os.environ, "CC": str(wrapped(tmp_path / "cc", together))}
    started = [_started(environment) for _ in range(3)]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert [words[1] for words in said] == ["42", "42", "42"]
    assert len(list(here.iterdir())) == 3  # they did run at once
    assert {Path(words[0]) for words in said} <= set(libraries(base))
    assert not left_over(base)


def test_a_process_that_is_killed_leaves_no_half_library(base: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    half = (  # the library is begun, then the compiler waits to be killed
        f"if grep -q answer source.c 2>/dev/null && [ ! -e {begun} ]; then "
        f'for last; do :; done; echo half > "$last"; echo $$ > {begun}.new; mv {begun}.new {begun}; '
        "while :; do sleep 0.1; done; fi"
    )
    environment = {**os.environ, "CC": str(wrapped(tmp_path / "cc", half))}
    process = _started(environment)
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    compiler = int(begun.read_text())
    process.kill()
    process.communicate()
    os.kill(compiler, signal.SIGKILL)
    assert not libraries(base)
    assert _printed(environment).endswith(LIBRARY_SUFFIX)
    assert len(libraries(base)) == 1


_PROGRAM = f"""
from intsnn.compiling.cache import load_library, shared_library
library = shared_library({ANSWER!r})
print(library, load_library(library).answer())
"""


def _started(environment: dict[str, str]) -> subprocess.Popen[str]:
    """Another process that asks for the library of ANSWER, and prints its path and what it answers."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        env={**environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def _printed(environment: dict[str, str]) -> str:
    process = _started(environment)
    library, result = process.communicate(timeout=120)[0].split()
    assert result == "42"
    return library
