"""What a recorded neuron answers to currents and spikes: impulse responses, and the decays that give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Potentials = Callable[[Tensor, Tensor], Tensor]  # currents [G, T, P], forced spikes [T, P] -> potentials [T, P]


NEAR = 1e-9  # of the potentials' size: float64 sums in another order differ by less


@dataclass(frozen=True)
class Recurrence:
    """A neuron as it was recorded.

    potentials: the function, in the units of the user's membrane. steps: T. inputs: how many tensors it reads, G;
    still: whether each is the same at all steps. threshold: [P]. channels: the channel of each of the P places.
    spike, max_spikes: as of NeuronModel. floors: constants below which the code keeps something. late: whether an input
    is there from step 1 on only, as what recurrent weights make of the last spikes.
    """

    potentials: Potentials
    steps: int
    still: tuple[bool, ...]
    threshold: Tensor
    channels: Tensor
    comparator: str
    spike: str = "binary"
    max_spikes: int | None = 1
    floors: tuple[float, ...] = ()
    late: tuple[bool, ...] = ()

    @property
    def inputs(self) -> int:
        """How many tensors it reads."""
        return len(self.still)


def run_with(
    found: Recurrence, current: float, *, only: int | None = None, spikes: Tensor | None = None, base: float = 0.0
) -> Tensor:
    """The potentials [T, P] for a constant current, in all inputs or in one, and for spikes that are given or none.

    base: what every input has besides.
    """
    places = len(found.threshold)
    x = torch.full((found.inputs, found.steps, places), base, dtype=torch.float64)
    if only is None:
        x += current
    else:
        x[only] += current
    x = begun(found, x)
    s = torch.zeros(found.steps, places, dtype=torch.float64) if spikes is None else spikes
    return found.potentials(x, s)


def begun(found: Recurrence, x: Tensor) -> Tensor:
    """Currents without those of step 0 that are not there yet."""
    for each, late in enumerate(found.late):
        if late:
            x[each, 0] = 0.0
    return x


def impulse(found: Recurrence, each: int, *, base: float = 0.0) -> Tensor:
    """The response k_0, k_1, ... to a current of 1 at one step, [T, P], of one input; beside `base` in all."""
    steps = run_with(found, 1.0, only=each, base=base) - run_with(found, 0.0, base=base)
    return torch.cat([steps[:1], steps[1:] - steps[:-1]])


def bends(found: Recurrence, k: Tensor, each: int, *, base: float = 0.0) -> bool:
    """Whether twice the current is not twice the response, at one step or the other."""
    once, twice, rest = (run_with(found, c, only=each, base=base) for c in (1.0, 2.0, 0.0))
    return not close(twice - rest, 2 * (once - rest), k.abs().max() * found.steps)


def impulse_poles(k: Tensor) -> Iterator[tuple[Tensor, Tensor | None] | str]:
    """(decay, synapse decay or None) that give an impulse response; a text where none does."""
    size = k.abs().max()
    zero = torch.zeros_like(k[0])
    if len(k) == 1:
        yield zero, None
        return
    decay = k[1] / k[0]
    if all(close(k[t + 1], decay * k[t], size) for t in range(len(k) - 1)):
        yield decay, None
        return
    if len(k) < 3:
        yield "what it keeps is not seen in two steps"
        return
    total = k[1] / k[0]
    product = total**2 - k[2] / k[0]
    root = total**2 - 4 * product
    if bool((root < -1e-12).any()):
        yield "its impulse response is no decay, nor one behind a filter of its current"
        return
    root = root.clamp(min=0).sqrt()
    high, low = (total + root) / 2, (total - root) / 2
    both = [k[0], k[1]]
    for _ in range(2, len(k)):
        both.append(total * both[-1] - product * both[-2])
    if not close(torch.stack(both), k, size):
        at = next(t for t in range(len(k)) if not close(both[t], k[t], size))
        yield f"its decay changes: what it keeps of a current is another share at step {at}"
        return
    yield low, high
    yield high, low


def poles_of(found: Recurrence, k: Tensor) -> Iterator[tuple[Tensor, Tensor | None] | str]:
    """The poles of an impulse response; of two the one with which a spike's effect decays is the membrane's."""
    poles = list(impulse_poles(k))
    if len(poles) == 2 and found.steps >= 3:
        once = torch.zeros(found.steps, len(found.threshold), dtype=torch.float64)
        once[0] = 1.0
        some = 8.0 * float(found.threshold.abs().max().clamp(min=0.1)) / float(k[0].abs().min().clamp(min=1e-6))
        effect = run_with(found, some, spikes=once) - run_with(found, some)
        if bool((effect[1].abs() > 1e-9 * some).all()):
            decay = effect[2] / effect[1]
            yield decay, k[1] / k[0] - decay
    yield from poles


def worth(found: Recurrence) -> Tensor:
    """What a current of 1 in every input is worth, beside one in the first that is there at step 0."""
    k = [impulse(found, each)[1 if late else 0] for each, late in enumerate(found.late) if found.steps > 1 or not late]
    first = max(
        (each for each, late in enumerate(found.late) if not late), key=lambda each: float(k[each].abs().mean())
    )
    return torch.stack(k).sum(0) / k[first]


def close(one: Tensor, other: Tensor, size: Tensor | float) -> bool:
    """Whether two tensors are equal but for the roundings of float64, at numbers of this size."""
    return bool((one - other).abs().max() <= NEAR * max(float(size), 1e-12))
