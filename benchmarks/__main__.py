"""`python -m benchmarks` lists the benchmarks; `python -m benchmarks NAME ...` runs one with its own options."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

_FOLDER = Path(__file__).parent


def runnable() -> dict[str, str]:
    """What can be run: name -> the first sentence of its file."""
    found = {}
    for path in sorted(_FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        is_program = any(isinstance(part, ast.If) and "__main__" in ast.unparse(part.test) for part in tree.body)
        if is_program and path.stem != "__main__":
            found[path.stem] = (ast.get_docstring(tree) or "").splitlines()[0]
    return found


def main(arguments: list[str]) -> int:
    """Run the benchmark that is named first, or list all; 2 for a name that there is not."""
    names = runnable()
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m benchmarks NAME [options of the benchmark; --help shows them]\n")
        print("\n".join(f"{name:<24}{sentence}" for name, sentence in names.items()))
        return 0
    name, *options = arguments
    if name not in names:
        print(f"there is no benchmark {name!r}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    sys.argv = [f"python -m benchmarks {name}", *options]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
