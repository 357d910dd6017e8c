"""A network that the student was not traced from -> what the losses compare a student with: answers, and membranes.

Any network with the same classes can teach its answers. One with spiking neurons can teach membranes too, where its
layers correspond to the student's: by name, or as a mapping says.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mdcompress.adapters.state import run_fresh
from mdcompress.errors import TrainingError
from mdcompress.graph import SnnGraph
from mdcompress.losses import firing_neurons, layer_threshold
from mdcompress.modes import to_evaluation_mode
from mdcompress.recipe.distilling import Reads
from mdcompress.student import Observation
from mdcompress.student.observed import Computed


@dataclass(frozen=True)
class OtherTeacher:
    """A teacher of another kind than the student's own float network: another architecture, or an ANN.

    Attributes:
        network: gives [N, K], or [T, N, K], of the student's K classes; it is copied, not changed.
        reads: `steps`, the batch [T, N, ...]; `mean`, its mean over the steps [N, ...], as networks of one image take.
        neurons: name of a neuron layer of the student -> that of the teacher's layer that stands beside it; one that is
            not named stands beside the layer of its own name.
    """

    network: nn.Module
    reads: Reads = "steps"
    neurons: Mapping[str, str] = field(default_factory=dict)

    def on(self, device: torch.device) -> OtherTeacher:
        """A copy on a device, in evaluation mode."""
        network = copy.deepcopy(self.network).to(device)
        to_evaluation_mode(network)
        return replace(self, network=network)

    def answer(self, x: Tensor) -> Tensor:
        """The logits of x [T, N, ...] as [T, N, K]; one answer for all steps stands at each of them."""
        with torch.no_grad():
            output = run_fresh(self.network, x if self.reads == "steps" else x.mean(0))
        return output if output.dim() == 3 else output.expand(len(x), *output.shape)

    def answers_alone(self, x: Tensor) -> Observation:
        """What answers are compared with; nothing is seen of its inside."""
        logits = self.answer(x)
        return Observation(logits.mean(0), logits, {}, {})

    def named_as_students(self, seen: Observation, own: SnnGraph, student: SnnGraph) -> Observation:
        """What was seen of it, by the names of the student's neurons, potentials in the student's thresholds.

        h theta_s / theta_t: a potential that is half a threshold here is half a threshold there.
        """
        counterparts = self.counterparts(own, student)
        ratios = {
            name: layer_threshold(student, name) / layer_threshold(own, its) for name, its in counterparts.items()
        }

        def in_students_thresholds(values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            return Computed(counterparts, lambda name: values[counterparts[name]] * ratios[name])

        return replace(
            seen,
            potentials=in_students_thresholds(seen.potentials),
            spikes={name: seen.spikes[its] for name, its in counterparts.items()},
            membranes=in_students_thresholds(seen.membranes),
        )

    def counterparts(self, own: SnnGraph, student: SnnGraph) -> dict[str, str]:
        """The student's firing neurons that have a layer beside them here, and its name."""
        there = set(firing_neurons(own))
        mapped = self._mapped(own, student)
        named = {name: mapped.get(name, name) for name in firing_neurons(student)}
        return {name: its for name, its in named.items() if its in there}

    def _mapped(self, own: SnnGraph, student: SnnGraph) -> dict[str, str]:
        """`neurons` with the names as they are; in 1.0 those of a network in a wrapper began with `network.`."""
        theirs, ours = firing_neurons(own), firing_neurons(student)
        return {_known_name(name, ours): _known_name(its, theirs) for name, its in self.neurons.items()}

    def check(self, x: Tensor, classes: int) -> None:
        """TrainingError unless it answers x [T, N, ...] with logits of so many classes.

        Args:
            x: a batch.
            classes: K of the student.
        """
        fault, shape = "", list[int]()
        try:
            shape = list(self.answer(x).shape)
        except Exception as error:  # whatever the user's own forward raises
            fault = f"{type(error).__name__}: {error}"
        if fault:
            read = list(x.shape if self.reads == "steps" else x.shape[1:])
            other = "mean" if self.reads == "steps" else "steps"
            raise TrainingError(
                f"the other teacher must answer a batch {read} (it raised {fault})",
                hints=[
                    f"with `reads: {other}` it is given {_given(other, x)}",
                    "or wrap it in a module that takes this",
                ],
            )
        if shape != [*x.shape[:2], classes]:
            raise TrainingError(
                f"the other teacher must answer with logits [N, {classes}] or [T, N, {classes}], the student's classes "
                f"(for T = {len(x)}, N = {x.shape[1]} it gives {shape[1:]} at {shape[0]} steps)",
                hints=["give a network that was trained on the same classes"],
            )

    def check_neurons(self, own: SnnGraph, student: SnnGraph, compared: Sequence[str]) -> None:
        """TrainingError unless each compared layer has one of its shape beside it, and each name of the map is one.

        Args:
            own: its trace.
            student: the student's.
            compared: names of the student's layers that a loss compares.
        """
        theirs, ours = firing_neurons(own), firing_neurons(student)
        listed = f"its neuron layers are: {', '.join(theirs) or '(none: it is an ANN)'}"
        for name, its in self._mapped(own, student).items():
            if name not in ours or its not in theirs:
                whose, wrong = ("student", name) if name not in ours else ("teacher", its)
                raise TrainingError(
                    f"distill.teacher.neurons must map neuron layers that fire (the {whose} has no {wrong!r})",
                    hints=[f"the student's are: {', '.join(ours)}", listed],
                )
        beside = self.counterparts(own, student)
        for name in compared:
            shape = student.node(name).shape
            found = own.node(beside[name]).shape if name in beside else "none of that name"
            if found != shape:
                raise TrainingError(
                    f"the other teacher must have a neuron layer of shape {shape} beside {name!r} (it has {found})",
                    hints=[
                        f"name it in distill.teacher.neurons, `{name}: <its name>`; {listed}",
                        "or narrow `match`, or learn from its answers alone with `membrane: null` and `rates: null`",
                    ],
                )


def _known_name(name: str, names: Collection[str]) -> str:
    without = name.removeprefix("network.")
    return without if name not in names and without in names else name


def _given(reads: str, x: Tensor) -> str:
    return f"the mean over the steps, {list(x.shape[1:])}" if reads == "mean" else f"all steps, {list(x.shape)}"
