"""The command line `mdcompress`: one file a command. Nothing here imports torch; a command does when it needs it."""

from mdcompress.cli.group import main

__all__ = ["main"]
