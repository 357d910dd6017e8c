"""What a teacher shows on samples -> the same in every later epoch, out of memory, where the samples are the same.

A sample is known by the digest of its numbers, so that any loader will do: one that is augmented or encoded anew is
another sample. Where all samples of a batch are known its answer is put together; else the teacher runs. In evaluation
mode it answers each sample alone, so that both are the same to the last bit. Of the batches that are put together the
first and every 101st are answered by the teacher too; where a bit differs, as with norms that follow the batch in
evaluation, nothing is remembered any longer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mdcompress.student import Observation

LIMIT_BYTES = 512 * 2**20  # of what is remembered of an epoch's samples; a teacher that shows more of them is run anew
_CHECKED = 101  # prime, so that it is another batch in every epoch

_Part = tuple[str, str]  # of an observation: which, and of which neuron layer


@dataclass(frozen=True)
class Compared:
    """What losses read of a teacher besides its answers: names of neuron layers."""

    potentials: Collection[str]
    spikes: Collection[str]

    def of(self, seen: Observation) -> dict[_Part, Tensor]:
        """The tensors of an observation that are read."""
        return {
            ("output", ""): seen.output,
            ("logits", ""): seen.logits,
            **{("potentials", name): seen.potentials[name] for name in self.potentials},
            **{("spikes", name): seen.spikes[name] for name in self.spikes},
        }

    def observation(self, parts: dict[_Part, Tensor]) -> Observation:
        """The inverse of `of`."""
        potentials = {name: parts["potentials", name] for name in self.potentials}
        spikes = {name: parts["spikes", name] for name in self.spikes}
        return Observation(parts["output", ""], parts["logits", ""], potentials, spikes)


class Answers:
    """Remembers what one teacher showed on each sample, on a CPU.

    Args:
        batches: how many an epoch has; 0: nothing is remembered.
        compared: what is remembered beside the answers.
        limit_bytes: of an epoch's samples together. Where they need more, none is remembered.
    """

    def __init__(self, batches: int, compared: Compared, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._batches, self._compared, self._limit = batches, compared, limit_bytes
        self._places: dict[bytes, int] = {}
        self._kept: dict[_Part, _Kept] = {}
        self._shape: tuple[int, ...] = ()
        self._room, self._stored, self._asked, self._put = 0, 0, 0, 0

    def __len__(self) -> int:
        """How many samples are known."""
        return len(self._places)

    def of(self, x: Tensor, observe: Callable[[Tensor], Observation]) -> Observation:
        """What `observe` shows on x [T, N, ...].

        Args:
            x: a batch. On another device nothing is remembered: no step shall wait for it.
            observe: runs the teacher, the same one at every call, without gradient.
        """
        shape = (len(x), *x.shape[2:])
        if self._batches == 0 or x.device.type != "cpu" or self._shape not in ((), shape):
            return observe(x)
        names = [_digest(sample) for sample in x.unbind(1)]
        places = [self._places[name] for name in names if name in self._places]
        if len(places) == len(names):
            return self._put_together(places, x, observe)
        seen, before = observe(x), self._asked
        self._asked += len(names)
        if self._room and not places and before >= self._room:
            self._forget()  # an epoch has gone by, and these are others: augmented, or drawn anew
        else:
            self._remember(names, self._compared.of(seen), shape)
        return seen

    def _put_together(self, places: Sequence[int], x: Tensor, observe: Callable[[Tensor], Observation]) -> Observation:
        chosen = torch.tensor(places)
        parts = {part: kept.of(chosen) for part, kept in self._kept.items()}
        self._put += 1
        if self._put % _CHECKED == 1:
            seen = observe(x)
            if not all(torch.equal(found, parts[part]) for part, found in self._compared.of(seen).items()):
                self._forget()
                return seen
        return self._compared.observation(parts)

    def _remember(self, names: Sequence[bytes], parts: dict[_Part, Tensor], shape: tuple[int, ...]) -> None:
        """Keep a batch, where all samples of an epoch fit: those of as many batches of the first one's size."""
        if not self._room:
            self._room, self._shape = self._batches * len(names), shape
            if sum(part.numel() * part.element_size() for part in parts.values()) * self._batches > self._limit:
                self._forget()
                return
            self._kept = {name: _Kept(part, samples=self._room) for name, part in parts.items()}
        if self._stored + len(names) <= self._room:
            for name, part in parts.items():
                self._kept[name].put(part, self._stored)
            self._places |= {name: self._stored + place for place, name in enumerate(names)}
            self._stored += len(names)

    def _forget(self) -> None:
        self._batches = 0
        self._places.clear()
        self._kept.clear()


class _Kept:
    """One tensor of each sample, [T, N, ...], or [N, K] of an output without time.

    Args:
        like: that of a first batch.
        samples: how many there will be.
    """

    def __init__(self, like: Tensor, *, samples: int) -> None:
        self._axis = 1 if like.dim() > 2 else 0
        self._values = like.new_empty([*like.shape[: self._axis], samples, *like.shape[self._axis + 1 :]])
        self._layout = sorted(range(like.dim()), key=lambda axis: -like.stride()[axis])

    def put(self, values: Tensor, start: int) -> None:
        """The samples of a batch, from place `start`."""
        self._values.narrow(self._axis, start, values.shape[self._axis]).copy_(values)

    def of(self, places: Tensor) -> Tensor:
        """The samples at these places, laid out as the teacher does it: sums are added up in memory's order."""
        shape = [*self._values.shape[: self._axis], len(places), *self._values.shape[self._axis + 1 :]]
        found = torch.empty_permuted(shape, self._layout, dtype=self._values.dtype)
        return torch.index_select(self._values, self._axis, places, out=found)


def _digest(sample: Tensor) -> bytes:
    """Of a sample [T, ...]."""
    return hashlib.blake2b(sample.contiguous().numpy().data, digest_size=16).digest()
