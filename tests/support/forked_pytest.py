"""A program that imports torch and mdcompress once, and forks a run of pytest for each request.

Each line on stdin is a request in JSON; each answer is pytest's exit code and what it printed. What the tests import
beyond, the release of a library that stands first on their path, is the forked process's own.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mdcompress.cli.memory import look_for_garbage_seldom
from tests.support.paths import ROOT

_USED = ("torch", "onnxruntime", "mdcompress.compression", "mdcompress.evaluation.verification", "intsnn.native")


@dataclass(frozen=True)
class Ended:
    """How a run of pytest ended."""

    code: int
    out: str


class ForkedPytest:
    """The program, from the first request on; to be closed by `with`."""

    def __enter__(self) -> Self:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "export")])
        command = [sys.executable, "-W", "ignore", "-m", "tests.support.forked_pytest"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def run(self, arguments: Sequence[str], *, first_on_path: Path) -> Ended:
        """`pytest arguments` with a folder before all others on the path."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"arguments": list(arguments), "path": str(first_on_path)}) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def _forked(arguments: list[str], path: str) -> Ended:
    with tempfile.TemporaryFile("w+") as printed:
        child = os.fork()
        if child == 0:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            os._exit(_run(arguments, path))
        _, status = os.waitpid(child, 0)
        printed.seek(0)
        return Ended(os.waitstatus_to_exitcode(status), printed.read())


def _run(arguments: list[str], path: str) -> int:
    import pytest

    from tests.support.compilers import compile_plainly

    compile_plainly(pytest.MonkeyPatch())
    sys.path.insert(0, path)
    os.environ["PYTHONPATH"] = os.pathsep.join([path, os.environ["PYTHONPATH"]])
    code = int(pytest.main(arguments))
    sys.stdout.flush()
    return code


def main() -> None:
    """Answer requests until stdin ends."""
    import importlib

    look_for_garbage_seldom()
    for name in _USED:
        importlib.import_module(name)
    gc.freeze()  # nor is it looked for in what is imported, by all that are forked
    for line in sys.stdin:
        ended = _forked(**json.loads(line))
        sys.stdout.write(json.dumps({"code": ended.code, "out": ended.out}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
