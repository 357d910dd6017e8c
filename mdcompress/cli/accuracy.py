"""`--min-accuracy`: a result that is too low ends the command with exit code 3, after it is printed."""

from __future__ import annotations

import click

from mdcompress.pipeline.report import percent

CHECK_FAILED = 3


def require_accuracy(accuracy: float, least: float | None) -> None:
    """End the command where `accuracy` is below `least`; both in [0, 1]."""
    if least is not None and accuracy < least:
        message = f"the test accuracy must be at least {percent(least)} (got {percent(accuracy)})"
        click.echo(f"error: {message}\n    hint: train longer, give more bits, or lower --min-accuracy", err=True)
        click.get_current_context().exit(CHECK_FAILED)
