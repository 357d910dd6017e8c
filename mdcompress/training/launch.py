"""The processes that torchrun started, met: `Alone` where it started none. No torch until there are several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdcompress.errors import TrainingError
from mdcompress.processes import Alone, Processes, started_processes

if TYPE_CHECKING:
    pass


def join_processes(device: str = "cpu") -> Processes:
    """Meet the processes that torchrun started beside this one; `Alone` where it started none.

    Args:
        device: cpu, or cuda for one GPU a process.

    Raises:
        TrainingError: lightning-fabric is not installed.
    """
    if started_processes() == 1:
        return Alone(device)
    try:
        from mdcompress.training.fabric import FabricProcesses
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"training in {started_processes()} processes needs lightning-fabric (it is not installed)",
            hints=["pip install 'mdcompress[distributed]'", "or start one process, without torchrun"],
        ) from error
    return FabricProcesses.join(device)
