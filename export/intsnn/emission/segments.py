"""Where a network is cut, so that large weights are read once for many steps and samples.

A linear layer adds up a row of its weights for each active input, once a step. Where the weights are more than a near
cache keeps, every sample would fetch them again. Such a layer is *gathered*: all samples of a thread take the stages
before it one after the other, and leave the lists of what is active; then the sums of all of them are made together, a
block of output channels at a time; then each sample goes on with what follows. A segment is what lies between two such
layers. What crosses a cut is kept for each step of each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intsnn.emission.memory import ALIGNMENT, rounded_up
from intsnn.emission.stages import Stage, read_names
from intsnn.emission.targets import Target
from intsnn.graph import IntGraph, IntLinear, IntNeuron

_LARGE_BYTES = 512 * 1024  # of weights: a quarter to a half of the second cache of a core
_MOST_VECTORS = 64  # steps of samples that are gathered: a fetch of the weights is then a small part of the additions
_MOST_BYTES = 16 * 2**20  # that are kept for them


@dataclass(frozen=True)
class Kept:
    """What waits between segments: the place of each tensor within a step, bytes of a step, and how many steps."""

    offsets: dict[str, int]
    step_bytes: int
    vectors: int


def gathered_stages(graph: IntGraph, stages: Sequence[Stage], target: Target) -> frozenset[int]:
    """The indices of the stages that begin with a gathered layer."""
    return frozenset(stage.index for stage in stages if target.steps > 1 and _is_gathered(graph, stage))


def reads_input_only(graph: IntGraph, tensor: str) -> bool:
    """Whether a tensor follows from the step's input alone: no neuron stands before it."""
    node = graph.node(tensor)
    if isinstance(node, IntNeuron):
        return False
    return all(reads_input_only(graph, name) for name in node.inputs)


def crossing(graph: IntGraph, stages: Sequence[Stage], gathered: frozenset[int]) -> list[str]:
    """The tensors that a later segment reads than the one that writes them."""
    written = {name: segment(gathered, stage.index) for stage in stages for name in stage.stored}
    read: dict[str, int] = {}
    for stage in stages:
        now, own = segment(gathered, stage.index), {node.name for node in stage.nodes}
        for node in stage.nodes:
            listed = node is stage.head and stage.index in gathered  # it is read at the end of the segment before
            for name in (name for name in read_names(graph, node) if name not in own):
                read[name] = max(read.get(name, 0), now - 1 if listed else now)
    return [name for name, last in read.items() if last > written[name]]


def segment(gathered: frozenset[int], index: int) -> int:
    """The segment of a stage."""
    return sum(first <= index for first in gathered)


def kept(sizes: dict[str, int], target: Target) -> Kept:
    """Places for tensors of these bytes a step, side by side."""
    offsets, at = dict[str, int](), 0
    for name, size in sizes.items():
        offsets[name] = at
        at += rounded_up(size, ALIGNMENT)
    most = _MOST_BYTES // max(at, 1) // target.steps * target.steps
    return Kept(offsets, at, min(_MOST_VECTORS, max(target.steps, most)))


def _is_gathered(graph: IntGraph, stage: Stage) -> bool:
    """A large linear layer on a vector; not one that reads the input alone, which often stays the same."""
    node = stage.synapse
    if not isinstance(node, IntLinear) or len(node.shape) > 1 or stage.recurrent is not None:
        return False
    return node.weight.size > _LARGE_BYTES and not reads_input_only(graph, node.inputs[0])
