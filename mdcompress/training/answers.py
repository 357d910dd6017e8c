"""What a teacher shows on a batch -> the same in every later epoch, out of memory, where the batch is the same.

A batch is known by the digest of its numbers, so that any loader will do. It must come again as a whole: a network may
answer a sample otherwise, in the last bit, beside other samples, and then a training that goes on after a kill would
not be the one that nobody disturbed. So validation is remembered, whose batches come again; those of a training are
drawn anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import Tensor

from mdcompress.student import Observation

LIMIT_BYTES = 512 * 2**20  # of what is remembered; the teacher runs anew on the batches that have no room


@dataclass(frozen=True)
class Compared:
    """What losses read of a teacher besides its answers: names of neuron layers."""

    potentials: Collection[str]
    spikes: Collection[str]
    membranes: Collection[str] = ()

    def of(self, seen: Observation) -> Observation:
        """What is read of an observation."""
        potentials = {name: seen.potentials[name] for name in self.potentials}
        spikes = {name: seen.spikes[name] for name in self.spikes}
        membranes = {name: seen.membranes[name] for name in self.membranes}
        return Observation(seen.output, seen.logits, potentials, spikes, membranes)


class Answers:
    """Remembers what one teacher showed on each batch, on a CPU.

    Args:
        batches: how many an epoch has; 0: nothing is remembered. After so many of which none has come again nothing is
            remembered any longer.
        compared: what is remembered beside the answers.
        limit_bytes: of all batches together.
    """

    def __init__(self, batches: int, compared: Compared, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._batches, self._compared, self._room = batches, compared, limit_bytes
        self._known: dict[bytes, Observation] = {}
        self._asked, self._found = 0, False

    def __len__(self) -> int:
        """How many batches are known."""
        return len(self._known)

    def of(self, x: Tensor, observe: Callable[[Tensor], Observation]) -> Observation:
        """What `observe` shows on x [T, N, ...].

        Args:
            x: a batch. On another device nothing is remembered: no step shall wait for it.
            observe: runs the teacher, the same one at every call, without gradient.
        """
        if self._batches == 0 or x.device.type != "cpu":
            return observe(x)
        name = _digest(x)
        if name in self._known:
            self._found = True
            return self._known[name]
        seen = self._compared.of(observe(x))
        self._asked += 1
        if self._asked > self._batches and not self._found:
            self._batches = 0  # an epoch has gone by, and these are others: augmented, or drawn anew
            self._known.clear()
        else:
            self._remember(name, seen)
        return seen

    def _remember(self, name: bytes, seen: Observation) -> None:
        inner = (seen.potentials, seen.spikes, seen.membranes)
        tensors = (seen.output, seen.logits, *(tensor for each in inner for tensor in each.values()))
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if size <= self._room:
            self._known[name] = seen
            self._room -= size


def _digest(x: Tensor) -> bytes:
    """Of a batch."""
    found = hashlib.blake2b(str(tuple(x.shape)).encode(), digest_size=16)
    found.update(x.contiguous().numpy().data)
    return found.digest()
