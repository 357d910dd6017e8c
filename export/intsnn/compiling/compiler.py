"""The C compiler of this machine: found, asked what it is, tried, and run.

A candidate counts only when a library of a few lines, which it compiled, can be loaded here and computes.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from intsnn.compiling.folder import OTHER_DISK, StorageError, cache_folder, working_folder
from intsnn.errors import CompilerError, UsageError

INSTALL = "pip install 'mdcompress[native]' brings a C compiler; or set CC to one"
LIBRARY_SUFFIX = ".dll" if sys.platform == "win32" else ".so"
PROBE_SECONDS = 120  # zig's first run builds its own start files: 5 s on two cores, more on a slow disk
COMPILE_SECONDS = 1800  # a compiler that needs longer is taken to hang
_STDERR_LINES = 12  # of a compiler that fails, in the message

_NAMES = ("cc", "gcc", "clang")  # looked for in this order
_PROBE = """#include <stdint.h>
#include <string.h>
__attribute__((visibility("default"))) int32_t probe(int32_t a) { int32_t b; memcpy(&b, &a, sizeof b); return b + 1; }
"""
_BASE = ("-std=c11", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
_NATIVE = (  # the first that the compiler takes; clang on Arm knows the second one alone
    ("-march=native", "-mprefer-vector-width=512"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command that runs it, and what it says of itself.

    Attributes:
        command: program and leading arguments, `("/usr/bin/gcc",)`.
        version: the first line that it prints of its version; part of a stored library's key.
    """

    command: tuple[str, ...]
    version: str

    def __str__(self) -> str:
        return f"{shlex.join(self.command)} ({self.version})"


class ChosenCompilerError(CompilerError):
    """The compiler that `$CC` names does not work: no other is taken, as somebody asked for it."""


def find_compiler() -> Compiler:
    """The C compiler of this machine: `$CC`, else cc, gcc or clang on the PATH, else the package `ziglang`.

    What is found is kept for the process. A candidate that cannot be run, or whose library does not load, is passed
    over; `$CC` is not, as somebody asked for it.

    Raises:
        ChosenCompilerError: `$CC` does not work.
        CompilerError: there is none.
        UsageError: the cache folder, in which candidates are tried, is not the user's own (`intsnn.compiling.folder`).
    """
    return _found(os.environ.get("CC", "").strip(), os.environ.get("PATH", ""))


def usable_compiler() -> Compiler | CompilerError | UsageError:
    """The C compiler, or what keeps it from compiling here: for those who can do without."""
    try:
        cache_folder()  # the compiler may be known from before, and the folder be another one since
        return find_compiler()
    except (CompilerError, UsageError) as error:
        return error


def chosen_is_missing() -> bool:
    """Whether `$CC` names a program that is not there, which is seen without running anything."""
    try:
        return any(not shutil.which(word) for word in _split(os.environ.get("CC", "").strip())[:1])
    except CompilerError:
        return True


def host_flags(compiler: Compiler) -> tuple[str, ...]:
    """Flags for a fast shared library for this very processor, of those that this compiler takes.

    Later flags win in gcc, clang and zig: `(*host_flags(compiler), "-O0")` is the same without optimization. Symbols
    are hidden but for those marked `__attribute__((visibility("default")))`.

    Raises:
        CompilerError: it compiles no library that can be loaded here, with any flags.
        UsageError: see `find_compiler`.
    """
    return _working_flags(compiler.command)


def compile_library(source: str, folder: Path, *, compiler: Compiler, flags: Sequence[str]) -> Path:
    """Compile `source` in `folder`, which must be private and is left full of what the compiler wrote.

    Raises:
        CompilerError: the compiler cannot be run, fails, hangs, or leaves no library.
        OSError: the source cannot be written.
    """
    return _compiled(source, folder, command=compiler.command, flags=flags, seconds=COMPILE_SECONDS)


@cache
def _found(chosen: str, path: str) -> Compiler:
    """The compiler for one value of `$CC` and the PATH, which are the key of the memo."""
    if chosen:
        try:
            return _tried(_split(chosen))
        except StorageError:
            raise
        except CompilerError as error:
            own = "set CC to another compiler, or unset it to have one looked for"
            hints = dict.fromkeys([own, *(hint for hint in error.hints if hint != INSTALL)])
            raise ChosenCompilerError(
                f"CC={chosen}: must be a C compiler that works here; {error.message}", hints=list(hints)
            ) from error
    tried: list[CompilerError] = []
    for command in _candidates(path):
        try:
            return _tried(command)
        except StorageError:
            raise
        except CompilerError as error:
            tried.append(error)
    raise _none(tried)


def _none(tried: Sequence[CompilerError]) -> CompilerError:
    """No compiler: what was tried, why it does not serve, and what to do."""
    reasons = [error.message for error in tried] or [f"none of {', '.join(_NAMES)} is on the PATH"]
    installed = importlib.util.find_spec("ziglang") is not None
    missing = [] if installed else ["the package ziglang is not installed"]
    seen = "; ".join(["CC is not set", *reasons, *missing])
    hints = dict.fromkeys([INSTALL, *(hint for error in tried for hint in error.hints)])
    return CompilerError(f"there must be a C compiler to make a network native ({seen})", hints=list(hints))


def _split(chosen: str) -> tuple[str, ...]:
    """`$CC` as a command: one path, which may hold spaces, or a program and its arguments."""
    try:
        words = [chosen] if shutil.which(chosen) else shlex.split(chosen)
    except ValueError as error:
        raise CompilerError(f"it must be words of a shell ({error})") from error
    return (_absolute(shutil.which(words[0])) or words[0], *words[1:]) if words else ()


def _candidates(path: str) -> list[tuple[str, ...]]:
    """The command of each compiler that may be here, best first."""
    on_path = [_absolute(shutil.which(name, path=path)) for name in _NAMES]
    zig = (sys.executable, "-m", "ziglang", "cc")
    return [*((program,) for program in on_path if program), *([zig] if importlib.util.find_spec("ziglang") else [])]


def _absolute(program: str | None) -> str | None:
    """The compiler runs in another folder; links stay, as a program may ask by which name it was called."""
    return str(Path(program).absolute()) if program else None


def _tried(command: tuple[str, ...]) -> Compiler:
    _working_flags(command)
    return Compiler(command=command, version=_version(command))


def _version(command: tuple[str, ...]) -> str:
    """The first line that the compiler prints of its version; of zig its own, not that of the clang inside."""
    asked = [*command[:-1], "version"] if _is_zig(command) and command[-1] == "cc" else [*command, "--version"]
    with working_folder() as folder:
        code, output, _ = _run(asked, folder=folder, seconds=PROBE_SECONDS)
    first = output.strip().partition("\n")[0] if code == 0 else ""
    return f"zig {first}" if asked[-1] == "version" else first or "of unknown version"


def _is_zig(command: Sequence[str]) -> bool:
    return any(Path(word).stem in ("zig", "ziglang") for word in command)


@cache
def _working_flags(command: tuple[str, ...]) -> tuple[str, ...]:
    """The first list of flags with which the compiler's library loads and computes."""
    first: CompilerError | None = None
    for native in _NATIVE:
        flags = (*_BASE, *native, *_zig_flags(command))
        try:
            _probe(command, flags)
            return flags
        except (_HangError, StorageError):
            raise
        except CompilerError as error:
            first = first or error
    assert first is not None
    raise first


def _zig_flags(command: Sequence[str]) -> tuple[str, ...]:
    """Zig checks undefined behaviour without optimization, and would build start files that a library does not need."""
    if not _is_zig(command):
        return ()
    unchecked = ("-fno-sanitize=undefined",)
    return (*unchecked, "-nostdlib") if sys.platform == "linux" else unchecked  # memcpy is the process's own libc's


def _probe(command: tuple[str, ...], flags: Sequence[str]) -> None:
    with working_folder() as folder:
        library = _compiled(_PROBE, folder, command=command, flags=flags, seconds=PROBE_SECONDS)
        try:
            answer = ctypes.CDLL(str(library)).probe(41)
        except (OSError, AttributeError) as error:
            raise CompilerError(
                f"{shlex.join(command)} compiles, but its library cannot be loaded: {error}", hints=[OTHER_DISK]
            ) from error
    if answer != 42:
        raise CompilerError(f"{shlex.join(command)}: its library must compute 41 + 1 (got {answer})")


class _HangError(CompilerError):
    """The compiler did not end in time: other flags are not tried."""


def _compiled(source: str, folder: Path, *, command: tuple[str, ...], flags: Sequence[str], seconds: float) -> Path:
    library = folder / f"library{LIBRARY_SUFFIX}"
    (folder / "source.c").write_text(source, encoding="utf-8")
    call = [*command, *flags, "source.c", "-o", library.name]
    code, _, complaint = _run(call, folder=folder, seconds=seconds)
    if code != 0:
        raise _failed(f"the C compiler failed: {_quoted(call, code, complaint)}", complaint)
    if not library.is_file():
        raise CompilerError(f"the C compiler wrote no library: {_quoted(call, code, complaint)}", hints=[INSTALL])
    return library


def _quoted(call: Sequence[str], code: int, complaint: str) -> str:
    lines = complaint.strip().splitlines()
    rest = [f"({len(lines) - _STDERR_LINES} more lines)"] if len(lines) > _STDERR_LINES else []
    return "\n  ".join([f"{shlex.join(call)} (exit code {code})", *lines[:_STDERR_LINES], *rest])


def _failed(message: str, complaint: str) -> CompilerError:
    if "No space left" in complaint or "NoSpaceLeft" in complaint:  # the C library's words, and zig's
        return StorageError(message, hints=[OTHER_DISK])
    return CompilerError(message, hints=[INSTALL])


def _run(call: Sequence[str], *, folder: Path, seconds: float) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; the compiler and all that it started are ended after `seconds`."""
    try:
        process = subprocess.Popen(
            call,
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise CompilerError(f"{call[0]} cannot be run ({error.strerror or error})", hints=[INSTALL]) from error
    with process:
        try:
            output, complaint = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise _HangError(
                f"{shlex.join(call)}: must end within {seconds:g} s, and was stopped",
                hints=[INSTALL],
            ) from error
        except BaseException:
            _end(process)
            raise
    return process.returncode, output, complaint


def _end(process: subprocess.Popen[str]) -> None:
    """End the compiler with its children, which would go on writing."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses it where all have ended just now
            os.killpg(process.pid, signal.SIGKILL)


def _environment(folder: Path) -> dict[str, str]:
    """The user's environment; messages in English, and nothing is written outside of the cache."""
    own = {name: str(folder) for name in ("TMPDIR", "TMP", "TEMP")}
    zig = {"ZIG_GLOBAL_CACHE_DIR": str(cache_folder() / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")}
    return {**os.environ, "LC_ALL": "C", **own, **zig}
