"""`python -m mdcompress.cli`."""

from mdcompress.cli import main

main(prog_name="mdcompress")
