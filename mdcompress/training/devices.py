"""A device by name -> one that torch can use here, or an error that says why not."""

from __future__ import annotations

import torch

from intsnn.errors import UsageError


def usable_device(device: str | torch.device, *, option: str = "device") -> torch.device:
    """The device of that name.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, …
        option: what the caller calls it, for the message.

    Raises:
        UsageError: this machine or this torch does not have it.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch built without CUDA
        first_line = str(error).partition("\n")[0]
        raise UsageError(
            f"{option} must be one that torch can use here (got {str(device)!r}: {first_line})",
            hints=[f"use {option}{' ' if option.startswith('--') else '='}cpu, which is always there"],
        ) from error
