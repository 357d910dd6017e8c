"""`python -m mdcompress`."""

import sys
from pathlib import Path

if not sys.flags.safe_path and sys.path[:1] == [str(Path.cwd())]:
    del sys.path[0]  # `python -m` looks into the working folder before its libraries: a stranger's torch.py would run

from mdcompress.cli import main

main(prog_name="mdcompress")
