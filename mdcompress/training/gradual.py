"""Falling bits: a student is trained with more bits than planned at first, and with those planned at the end.

At a stage with at least b bits a layer has max(b, planned) of them. Weights keep their values and, where it is learned
or fitted, get the range with the least squared error for the new bits. Membranes keep their stored range, so that only
the step inside it changes: range = 2^(N-1) * s_v with s_v = s_f * 2^R. Where the neurons of one stream gain different
numbers of bits d_i, its unit becomes s_f * 2^-d with d the largest of them, and R_i grows by d - d_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdcompress.errors import TrainingError
from mdcompress.layers.neuron import MembraneUnit
from mdcompress.student import Student

if TYPE_CHECKING:
    from mdcompress.recipe import BitStage, MembranePolicy


class GradualBits:
    """The stages of a student's training; `hold` and `begin` put it into that of an epoch.

    Args:
        student: with the bits of its plan.
        stages: `distill.gradual`; none: the bits are always those planned.

    Raises:
        TrainingError: the last stage would leave a layer with more bits than planned.
    """

    def __init__(self, student: Student, stages: Sequence[BitStage]) -> None:
        self._student, self._stages = student, tuple(stages)
        if stages:
            _require_planned_bits(student, stages[-1])

    def is_last(self, done: int) -> bool:
        """Whether the epoch after `done` epochs trains the bits that are planned."""
        return not self._stages or done >= self._stages[-1].epoch

    def hold(self, done: int) -> None:
        """Give every layer the bits of the epoch after `done` epochs; no value of the student changes."""
        if not self._stages:
            return
        stage = self._at(done)
        _set_weight_bits(self._student, stage.weight or 0)
        _set_membrane_bits(self._student, stage.membrane or 0)

    def begin(self, done: int) -> bool:
        """`hold`, and fit the weight ranges where a stage begins here; whether one does."""
        self.hold(done)
        if not self._stages or self.began(done) != done:
            return False
        for node in self._student.plan:
            if node.weight is not None:
                self._student.synapse(node.name).fit_range()
        return True

    def began(self, done: int) -> int:
        """How many epochs were done when the stage of the epoch after `done` epochs began."""
        return self._at(done).epoch if self._stages else 0

    def _at(self, done: int) -> BitStage:
        return [stage for stage in self._stages if stage.epoch <= done][-1]


def _require_planned_bits(student: Student, last: BitStage) -> None:
    for node in student.plan:
        for policy, least in ((node.weight, last.weight), (node.membrane, last.membrane)):
            if policy is not None and least is not None and policy.bit_width < least:
                raise TrainingError(
                    f"the last stage of distill.gradual must leave all bits as planned: {node.name!r} is planned with "
                    f"{policy.bit_width:g} (the stage has at least {least:g})",
                    hints=[f"give the last stage no bits: `{{epoch: {last.epoch}}}`, or add such a stage after it"],
                )


def _set_weight_bits(student: Student, least: float) -> None:
    for node in student.plan:
        if node.weight is not None:
            layer, bits = student.synapse(node.name), max(node.weight.bit_width, least)
            if layer.weight_policy.bit_width != bits:
                layer.change_weight_policy(node.weight.model_copy(update={"bit_width": bits}))


def _set_membrane_bits(student: Student, least: int) -> None:
    planned = {node.name: node.membrane for node in student.plan if node.membrane is not None}
    for stream in student.streams:
        words = {reader: _widened(planned[reader.name], least) for reader in stream.readers}
        gained = {reader: word.bit_width - planned[reader.name].bit_width for reader, word in words.items()}
        most = max(gained.values(), default=0)
        for reader, word in words.items():
            reader.layer.change_word(word, guard_bits=reader.guard_bits + most - gained[reader])
        if isinstance(stream.unit, MembraneUnit):
            first = stream.readers[0]
            stream.unit.change_word(words[first], guard_bits=first.guard_bits + most - gained[first])


def _widened(policy: MembranePolicy, least: int) -> MembranePolicy:
    return policy.model_copy(update={"bit_width": max(policy.bit_width, least)})
