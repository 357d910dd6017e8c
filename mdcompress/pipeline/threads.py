"""How many threads torch computes with in a stage: the recipe's number, or one that the size of the work decides.

Another number of threads adds in another order: a training then goes other ways. A second thread gains nothing where
layers are small, and loses much where another program has the second core.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from mdcompress.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from mdcompress.graph import SnnGraph

# Multiply-adds of a batch in one forward pass. The digits' network has 2.3e8: it took 49 s with one thread and with two
# on a quiet machine, 1.1 and 3.4 minutes beside a program on the second core. VGG-9 on 32 x 32 images has 5e10
SMALL_WORK = 10**9

_before: ContextVar[list[int]] = ContextVar("_before")  # torch's own number, once a stage has set another


@contextlib.contextmanager
def own_threads_afterwards() -> Iterator[None]:
    """Inside `use_threads` may be called; afterwards torch has the number of threads that it came with."""
    changed: list[int] = []
    token = _before.set(changed)
    try:
        yield
    finally:
        _before.reset(token)
        if changed:
            import torch

            torch.set_num_threads(changed[0])


def use_threads(workspace: Workspace, graph: SnnGraph) -> dict[str, float]:
    """Let torch compute with the stage's number of threads; what the stage's record says of it.

    Args:
        workspace: of the stage; its recipe may name the number.
        graph: of the network that the stage works on.

    Returns:
        `{"threads": 1}`; nothing on another device than a CPU, where nothing is changed.
    """
    import torch

    from mdcompress.pipeline.networks import torch_device

    if torch_device(workspace).type != "cpu":
        return {}
    own = torch.get_num_threads()
    threads = workspace.recipe.threads or chosen_threads(multiply_adds(graph) * _frames(workspace), own=own)
    if threads != own:
        _before.get().append(own)
        torch.set_num_threads(threads)
    return {"threads": threads}


def chosen_threads(work: int, *, own: int) -> int:
    """One thread for small work; else torch's own number (the cores, or $OMP_NUM_THREADS)."""
    return 1 if work < SMALL_WORK else own


def multiply_adds(graph: SnnGraph) -> int:
    """Those of all synapses, for one step of one sample."""
    from mdcompress.graph import RecurrentSpec, SynapseSpec

    found = 0
    for node in graph.of(SynapseSpec, RecurrentSpec):
        synapse = node.spec if isinstance(node.spec, SynapseSpec) else node.spec.synapse
        reads = math.prod(synapse.weight_shape[1:]) * math.prod(node.shape)
        found += reads // math.prod(synapse.stride) if synapse.is_transposed else reads
    return found


def _frames(workspace: Workspace) -> int:
    data = workspace.recipe.data
    return data.batch_size * data.time_steps
