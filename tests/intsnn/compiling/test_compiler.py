"""The C compiler: which one is found, what a broken one leads to, and what its libraries compute."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from intsnn.compiling import compiler as room
from intsnn.compiling.compiler import Compiler, compile_library, find_compiler, host_flags
from intsnn.errors import CompilerError
from tests.support.fake_compilers import SOURCE, ZIG, failing, real_commands, script, wrapped, writing_garbage


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize("command", real_commands(), ids=lambda command: Path(command[-1]).name)
@pytest.mark.parametrize("level", [(), ("-O0",)], ids=["O3", "O0"])
def test_every_compiler_here_gives_a_library_that_loads_and_computes(
    command: tuple[str, ...], level: tuple[str, ...], tmp_path: Path
) -> None:
    compiler = Compiler(command=command, version="any")
    library = ctypes.CDLL(
        str(compile_library(SOURCE, tmp_path, compiler=compiler, flags=(*host_flags(compiler), *level)))
    )
    a, b = np.arange(-50, 50, dtype=np.int16), np.arange(100, dtype=np.int8)
    copied = np.ones(100, dtype=np.int8)
    pointer = ctypes.c_void_p
    library.copy(pointer(copied.ctypes.data), pointer(b.ctypes.data), 100)
    assert library.dot(pointer(a.ctypes.data), pointer(b.ctypes.data), 100) == int(a.astype(int) @ b)
    assert copied.tolist() == b.tolist()
    assert not hasattr(library, "hidden")  # only what is marked is seen


def test_cc_of_the_path_comes_first_then_gcc_then_clang(programs: Path) -> None:
    wrapped(programs / "clang", "")
    assert find_compiler().command == (str(programs / "clang"),)
    wrapped(programs / "gcc", "")
    room._found.cache_clear()
    assert find_compiler().command == (str(programs / "gcc"),)
    wrapped(programs / "cc", "")
    room._found.cache_clear()
    assert find_compiler().command == (str(programs / "cc"),)


def test_without_a_compiler_on_the_path_the_package_serves(programs: Path) -> None:
    found = find_compiler()
    assert found.command == ZIG
    assert found.version.startswith("zig 0.")
    assert "-shared" in host_flags(found)


def test_a_candidate_that_fails_or_writes_garbage_is_passed_over(programs: Path) -> None:
    failing(programs / "cc")
    writing_garbage(programs / "gcc")
    (programs / "clang").write_text("no program at all")
    (programs / "clang").chmod(0o755)
    assert find_compiler().command == ZIG


def test_a_candidate_that_hangs_is_passed_over(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(programs / "cc", "while :; do /bin/sleep 1; done")
    real, calls = room._run, []

    def impatient(call: list[str], *, folder: Path, seconds: float) -> tuple[int, str, str]:
        hangs = call[0] == str(programs / "cc")
        calls.extend(call[:1] if hangs else [])
        return real(call, folder=folder, seconds=0.2 if hangs else seconds)

    monkeypatch.setattr(room, "_run", impatient)
    assert find_compiler().command == ZIG
    assert len(calls) == 1  # other flags were not tried


def test_what_was_found_is_kept_for_the_process(programs: Path) -> None:
    calls = programs / "calls"
    wrapped(programs / "cc", f"echo call >> {calls}")
    first = find_compiler()
    asked = calls.read_text()
    assert find_compiler() is first
    assert host_flags(first) is host_flags(first)
    assert calls.read_text() == asked


def test_flags_that_a_compiler_does_not_know_are_left_out(tmp_path: Path) -> None:
    only_plain = 'case "$*" in *native*) echo unknown option >&2; exit 1;; esac'
    plain = Compiler(command=(str(wrapped(tmp_path / "plain", only_plain)),), version="1")
    assert not [flag for flag in host_flags(plain) if "native" in flag or "width" in flag]
    no_width = 'case "$*" in *vector-width*) exit 1;; esac'
    narrow = Compiler(command=(str(wrapped(tmp_path / "narrow", no_width)),), version="1")
    assert "-march=native" in host_flags(narrow)
    assert not [flag for flag in host_flags(narrow) if "width" in flag]


def test_the_variable_cc_may_hold_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    fake = wrapped(tmp_path / "my compiler", f'[ "$1" = -DX=1 ] && echo "$1" > {seen}\nshift')
    monkeypatch.setenv("CC", f"{shlex.quote(str(fake))} -DX=1")
    assert find_compiler().command == (str(fake), "-DX=1")
    assert seen.read_text() == "-DX=1\n"


def test_the_variable_cc_may_be_a_path_with_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = wrapped(tmp_path / "my compiler", "")
    monkeypatch.setenv("CC", str(fake))
    assert find_compiler().command == (str(fake),)


def test_the_variable_cc_may_be_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = wrapped(tmp_path / "relative", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", "./relative")
    assert Path(find_compiler().command[0]).resolve() == fake.resolve()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no-such-compiler", "no-such-compiler cannot be run"),
        ("'unbalanced", "words of a shell"),
        (f"{sys.executable} -c pass", "wrote no library"),
    ],
)
def test_a_variable_cc_that_does_not_work_is_an_error(text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", text)
    with pytest.raises(CompilerError) as caught:
        find_compiler()
    assert f"CC={text}" in caught.value.message
    assert said in caught.value.message
    assert any("unset" in hint for hint in caught.value.hints)


def test_a_variable_cc_that_fails_is_an_error_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", str(failing(tmp_path / "broken")))
    with pytest.raises(CompilerError, match=r"exit code 3(.|\n)*cannot find crt1"):
        find_compiler()


def test_a_library_for_another_machine_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(writing_garbage(tmp_path / "cross")))
    with pytest.raises(CompilerError, match="cannot be loaded"):
        find_compiler()


def test_a_compiler_that_computes_wrongly_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = (
        "[ -f source.c ] && { echo '__attribute__((visibility(\"default\"))) int probe(int a){return a;}' > source.c; }"
    )
    monkeypatch.setenv("CC", str(wrapped(tmp_path / "wrong", wrong)))
    with pytest.raises(CompilerError, match=r"must compute 41 \+ 1 \(got 41\)"):
        find_compiler()


def test_without_any_compiler_the_error_names_all_that_was_tried(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(programs / "gcc")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CompilerError) as caught:
        find_compiler()
    for part in ("CC is not set", "gcc -std=c11", "crt1.o", "ziglang is not installed"):
        assert part in caught.value.message
    assert "pip install 'mdcompress[native]'" in caught.value.hints[0]


def test_a_machine_without_compilers_gets_one_sentence(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CompilerError) as caught:
        find_compiler()
    assert caught.value.message == (
        "there must be a C compiler to make a network native (CC is not set; none of cc, gcc, clang is on the PATH; "
        "the package ziglang is not installed)"
    )
    assert caught.value.hints == ("pip install 'mdcompress[native]' brings a C compiler; or set CC to one",)


def test_a_compiler_that_fails_is_quoted_with_its_first_lines(tmp_path: Path) -> None:
    compiler = Compiler(
        command=(str(script(tmp_path / "cc", "for i in $(seq 40); do echo fault $i >&2; done; exit 2")),), version=""
    )
    with pytest.raises(CompilerError) as caught:
        compile_library("int a;", tmp_path, compiler=compiler, flags=("-O1",))
    assert "-O1 source.c" in caught.value.message
    assert "fault 12\n  (28 more lines)" in caught.value.message
    assert "fault 13" not in caught.value.message


def test_an_error_in_the_source_is_told_with_its_line(tmp_path: Path) -> None:
    zig = Compiler(ZIG, "any")
    with pytest.raises(CompilerError, match=r"source\.c:2"):
        compile_library("int a;\nint b = ;\n", tmp_path, compiler=zig, flags=host_flags(zig))


def test_a_compiler_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids = tmp_path / "pids"
    hanging = script(tmp_path / "cc", f"sleep 300 &\necho $$ $! > {pids}.new\nmv {pids}.new {pids}\nwait")

    def out_of_time(process: subprocess.Popen[str], timeout: float) -> None:
        while not pids.exists():
            time.sleep(0.02)
        raise subprocess.TimeoutExpired("cc", timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", out_of_time)
    with pytest.raises(CompilerError, match=f"must end within {room.COMPILE_SECONDS} s"):
        compile_library("int a;", tmp_path, compiler=Compiler((str(hanging),), ""), flags=())
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    deadline = time.monotonic() + 60
    while any(_lives(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in started if _lives(pid)]


def test_what_the_compiler_writes_beside_its_library_stays_in_the_cache(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    fake = wrapped(tmp_path / "cc", f'echo "$TMPDIR" "$ZIG_GLOBAL_CACHE_DIR" "$ZIG_LOCAL_CACHE_DIR" > {seen}')
    compiler = Compiler((str(fake),), "")
    host_flags(compiler)
    native = str((tmp_path / "cache" / "native").resolve())
    assert all(place.startswith(native) for place in seen.read_text().split())
    assert not list(Path(native).glob(".work-*"))


def _lives(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:  # gone meanwhile, or a system without /proc, where the first process waits for orphans
        return not Path("/proc/self").exists()
