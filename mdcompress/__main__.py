"""`python -m mdcompress`."""

from mdcompress.cli import main

main(prog_name="mdcompress")
