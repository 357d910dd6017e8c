"""Processes started by torchrun -> `Processes`, on Lightning Fabric. Imported only where there is more than one.

Fabric, not Accelerate: it launches, places and reduces, and takes neither the loop nor the checkpoint over, which here
repeat to the last bit; it needs no client of a model hub.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from lightning_fabric import Fabric
from torch import Tensor

from mdcompress.processes import ValueT


@dataclass(frozen=True)
class FabricProcesses:
    """The processes of a Fabric: gloo between CPUs, NCCL between GPUs."""

    fabric: Fabric

    @classmethod
    def join(cls, device: str) -> FabricProcesses:
        """Meet the others; the addresses are those torchrun put into the environment."""
        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # it greets
        here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
        nodes = int(os.environ["WORLD_SIZE"]) // here
        kind = device.partition(":")[0]
        fabric = Fabric(accelerator=kind, devices=here, num_nodes=nodes, strategy="ddp")
        fabric.launch()
        return cls(fabric)

    @property
    def rank(self) -> int:
        """Which one this is, from 0."""
        return self.fabric.global_rank

    @property
    def size(self) -> int:
        """How many there are."""
        return self.fabric.world_size

    @property
    def device(self) -> str:
        """Where this one computes."""
        return str(self.fabric.device)

    def wait(self) -> None:
        """Until all are here."""
        self.fabric.barrier()

    def broadcast(self, value: ValueT) -> ValueT:
        """The value that rank 0 has."""
        return self.fabric.broadcast(value)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes; equal bits in each."""
        total = self.fabric.all_reduce(tensor.clone(), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total
