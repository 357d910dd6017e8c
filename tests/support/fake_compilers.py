"""C compilers that fail, hang or write garbage, as shell scripts; and the real ones of this machine."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

ZIG = (sys.executable, "-m", "ziglang", "cc")  # the extra `test` brings it: there is a compiler on every machine
SOURCE = """#include <stdint.h>
#include <string.h>
__attribute__((visibility("default"))) int32_t dot(const int16_t *a, const int8_t *b, int32_t n) {
    int32_t sum = 0;
    for (int32_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}
__attribute__((visibility("default"))) void copy(uint8_t *to, const uint8_t *from, int32_t n) {
    memset(to, 0, (size_t)n);
    memcpy(to, from, (size_t)n);
}
int32_t hidden(int32_t a) { return a; }
"""


def real_commands() -> list[tuple[str, ...]]:
    """Each compiler that this machine has: ziglang always, gcc and clang where they are."""
    found = [shutil.which(name) for name in ("gcc", "clang")]
    return [ZIG, *((program,) for program in found if program)]


def script(place: Path, body: str) -> Path:
    """A program of the shell at `place`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\n{body}\n")
    place.chmod(0o755)
    return place


def wrapped(place: Path, before: str) -> Path:
    """A compiler that works, after `before`, a piece of shell that sees the call as `$@`, in the folder of source.c."""
    fast = " -nostdlib" if sys.platform == "linux" else ""  # else zig builds start files for each test's own cache
    return script(place, f'{before}\nexec {shlex.join(ZIG)} "$@"{fast}')


def failing(place: Path, complaint: str = "ld: cannot find crt1.o") -> Path:
    """A compiler that is there, but compiles nothing."""
    return script(place, f"echo {shlex.quote(complaint)} >&2\nexit 3")


def writing_garbage(place: Path) -> Path:
    """A compiler that reports success, and whose library is none."""
    return script(place, 'for last; do :; done\necho garbage > "$last"')
