"""The process that reads damaged files: content -> a kind (refused, same, other, silent, traceback, memory), words."""

from __future__ import annotations

import resource
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.fuzz_formats import FORMATS, Format

MEMORY = 1 << 30  # bytes more than the process has after the whole file was read


def serve(name: str, folder: str, pipe: Connection) -> None:
    """Write the whole file, read it, then answer for each content: a kind and words."""
    warnings.simplefilter("ignore")
    found = next(one for one in FORMATS if one.name == name)
    whole, place = Path(folder) / "whole", Path(folder) / "changed"
    for one in (whole, place):
        one.mkdir(exist_ok=True)
    found.write(whole / found.file)
    meaning = found.read(whole / found.file)
    pipe.send((whole / found.file).read_bytes())
    _limit_memory()
    while (content := pipe.recv()) is not None:
        (place / found.file).write_bytes(content)
        pipe.send(_read(found, place / found.file, meaning))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _read(found: Format, path: Path, meaning: str) -> tuple[str, str]:
    from intsnn.errors import IntsnnError, UnreadableFileError

    try:
        seen = found.read(path)
    except BaseException as error:  # a panic of a library in Rust is no Exception
        if _wants_memory(error) or _wants_memory(error.__cause__):
            return "memory", repr(error)
        if isinstance(error, IntsnnError | OSError):
            return "unforeseen" if isinstance(error, UnreadableFileError) else "refused", str(error)
        return "traceback", "".join(traceback.format_exception(error)[-3:])
    if seen == meaning:
        return "same", ""
    return ("silent" if found.has_digest else "other"), ""


def _wants_memory(error: BaseException | None) -> bool:
    """Whether there was not enough; torch has no class for it."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)
