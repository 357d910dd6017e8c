"""Emitted code -> bytes of code, state and stack on a Cortex-M4, measured with the compiler of `ziglang`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from intsnn.errors import CompilerError
from intsnn.microcontroller.object_file import ObjectSizes, object_sizes

FLAGS = ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4", "-std=c11", "-Os", "-ffreestanding")
SIZES = ("-ffunction-sections", "-fdata-sections", "-fno-unwind-tables", "-fstack-size-section")
_SECONDS = 600
_STDERR_LINES = 12


def measured_sizes(header: str, code: str, *, name: str) -> ObjectSizes | None:
    """Compile `<name>.c` for size and read the object file; None where ziglang is not installed.

    One `struct <name>` is a variable of it, so that its size is known too.

    Raises:
        CompilerError: it is installed and does not compile this.
    """
    if importlib.util.find_spec("ziglang") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="mdcompress-") as place:
        folder = Path(place)
        (folder / f"{name}.h").write_text(header)
        (folder / f"{name}.c").write_text(f'#include "{name}.h"\n{code}\nstruct {name} measured_state;\n')
        _compile(folder, f"{name}.c")
        return object_sizes((folder / "network.o").read_bytes())


def _compile(folder: Path, file: str) -> None:
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *SIZES, "-c", file, "-o", "network.o"]
    caches = {"ZIG_LOCAL_CACHE_DIR": str(folder / "cache"), "ZIG_GLOBAL_CACHE_DIR": str(folder / "cache")}
    try:
        result = subprocess.run(
            command, cwd=folder, env={**os.environ, **caches}, capture_output=True, text=True, check=False,
            timeout=_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(str(error)) from error
    if result.returncode != 0 or not (folder / "network.o").is_file():
        raise _failed("\n".join(result.stderr.splitlines()[:_STDERR_LINES]))


def _failed(said: str) -> CompilerError:
    return CompilerError(
        f"the compiler of the package ziglang must compile the network for a Cortex-M4 (it said: {said})",
        hints=["please report it with the graph; without the package nothing is measured: pip uninstall ziglang"],
    )
