"""What this processor can do, as text: a library compiled for one processor must not be loaded on another.

A home folder may serve several machines. `-march=native` uses all instructions of the one that compiles.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

_LINES = ("flags", "features", "isa", "model name", "cpu part", "cpu implementer")  # of x86, Arm and RISC-V in /proc


@cache
def processor_features() -> tuple[str, ...]:
    """Architecture, model and instruction sets of this machine's processor, as its system tells them."""
    machine = f"{platform.system()} {platform.machine()} {sys.maxsize.bit_length() + 1}"
    return (machine, platform.processor(), *_told_by_system())


def _told_by_system() -> tuple[str, ...]:
    if sys.platform == "win32":
        known = ctypes.windll.kernel32.IsProcessorFeaturePresent
        return tuple(str(feature) for feature in range(64) if known(feature))
    if sys.platform == "darwin":
        return _sysctl()
    return _proc_cpuinfo(Path("/proc/cpuinfo"))


def _proc_cpuinfo(file: Path) -> tuple[str, ...]:
    """The lines that say what a core can do, each once: big and small cores of one chip may differ."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return ()  # a system without /proc: architecture and node name have to do
    told = [line for line in lines if line.partition(":")[0].strip().lower() in _LINES]
    return tuple(sorted({" ".join(line.split()) for line in told}))


def _sysctl() -> tuple[str, ...]:
    told = subprocess.run(["sysctl", "hw.optional", "machdep.cpu"], capture_output=True, text=True, check=False)
    return tuple(told.stdout.splitlines())
