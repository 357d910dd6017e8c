"""C source -> a shared library for this machine, compiled once and kept.

A library's name is `KEY-DIGEST.so`. The key is the hash of all that it depends on: source, flags, compiler, processor.
The digest is that of its content: a file that a power loss cut short does not match its name, and is compiled anew. A
library is compiled in a private folder, then renamed; of two processes that compile the same, the last one's stays.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from intsnn.compiling.compiler import LIBRARY_SUFFIX, Compiler, compile_library, find_compiler, host_flags
from intsnn.compiling.folder import OTHER_DISK, cache_folder, refuse_foreign, storing, working_folder
from intsnn.compiling.processor import processor_features
from intsnn.errors import CompilerError

LIMIT_BYTES = 512 * 2**20  # of all libraries together; those not used for longest go first
_LAYOUT = 1  # of names and contents of the cache; another number finds none of the old libraries
_HEX_DIGITS = 32  # of key and digest in a name: 128 bits, and short enough for paths of Windows
_STALE_SECONDS = 86400  # a working folder this old was left by a process that was killed


def shared_library(source: str, *, compiler: Compiler | None = None, flags: Sequence[str] | None = None) -> Path:
    """The library that `source` compiles to, from the cache where it is there.

    Args:
        source: one C translation unit.
        compiler: `find_compiler()` where it is left out.
        flags: all flags of the compiler, `host_flags(compiler)` where they are left out.

    Returns:
        Its path in the cache folder. It belongs to the user, nobody else can write to it, and its content is what was
        compiled.

    Raises:
        CompilerError: no compiler, one that fails or hangs, or the library cannot be stored (a full disk).
        UsageError: the cache folder or the library belongs to someone else, or others can write to it.
    """
    compiler = compiler or find_compiler()
    flags = host_flags(compiler) if flags is None else tuple(flags)
    stored = stored_library(source, compiler=compiler, flags=flags)
    if stored is not None:
        return stored
    folder, key = cache_folder(), _key(source, compiler, flags)
    library = _stored_anew(folder, key, source=source, compiler=compiler, flags=flags)
    _keep_small(folder, library)
    return library


def stored_library(source: str, *, compiler: Compiler, flags: Sequence[str]) -> Path | None:
    """The library of `shared_library` where it is compiled already.

    Raises:
        UsageError: the cache folder or the library belongs to someone else, or others can write to it.
    """
    return _stored(cache_folder(), _key(source, compiler, flags))


def load_library(library: Path) -> ctypes.CDLL:
    """Load what `shared_library` returned; one that does not load is removed, and would be compiled anew.

    Raises:
        CompilerError: it does not load.
    """
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        with suppress(OSError):
            library.unlink()
        raise CompilerError(
            f"{library}: the compiled library must load ({error})",
            hints=[OTHER_DISK, "set CC to another compiler"],
        ) from error


def _key(source: str, compiler: Compiler, flags: Sequence[str]) -> str:
    parts = [_LAYOUT, source, flags, compiler.command, compiler.version, processor_features()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_HEX_DIGITS]


def _digest(library: Path) -> str:
    return hashlib.sha256(library.read_bytes()).hexdigest()[:_HEX_DIGITS]


def _stored(folder: Path, key: str) -> Path | None:
    """The library of a key, whole and the user's own; a broken one is removed."""
    for library in sorted(folder.glob(f"{key}-*{LIBRARY_SUFFIX}")):
        with storing(folder), suppress(FileNotFoundError):  # another process may just remove it
            refuse_foreign(library)
            if _digest(library) == library.stem.partition("-")[2]:
                os.utime(library)  # used now: it goes last
                return library
            library.unlink()
    return None


def _stored_anew(folder: Path, key: str, *, source: str, compiler: Compiler, flags: Sequence[str]) -> Path:
    with working_folder() as place:
        compiled = compile_library(source, place, compiler=compiler, flags=flags)
        compiled.chmod(0o700)  # compilers follow the umask, which may let a group write
        _sync(compiled)
        library = folder / f"{key}-{_digest(compiled)}{LIBRARY_SUFFIX}"
        compiled.replace(library)
        if sys.platform != "win32":
            _sync(folder)
        refuse_foreign(library)
    return library


def _sync(path: Path) -> None:
    """Wait until the disk has it, so that a rename never names what is not yet there."""
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keep_small(folder: Path, newest: Path) -> None:
    """Remove what was not used for longest until all fits in `LIMIT_BYTES`; never `newest`."""
    used = sorted(_modified(folder.glob(f"*{LIBRARY_SUFFIX}")), reverse=True)
    total = 0
    for _, size, library in used:
        total += size
        if total > LIMIT_BYTES and library != newest:
            with suppress(OSError):  # gone already, or loaded by a process of Windows
                library.unlink()
    for when, _, left in _modified(folder.glob(".work-*")):
        if time.time() - when > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _modified(paths: Iterable[Path]) -> list[tuple[float, int, Path]]:
    """Time of last use, size and path of each; without those that another process removed meanwhile."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            seen = path.lstat()
            found.append((seen.st_mtime, seen.st_size, path))
    return found
