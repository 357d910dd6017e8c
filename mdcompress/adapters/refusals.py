"""Why a neuron has no integer form: a row of the table of refusals, and the rows that hold for every library."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Refusal:
    """Why neurons of a library cannot be compressed, and what to do instead.

    library: its import name; classes: by name; when: the option that makes them so, empty where they always are.
    """

    library: str
    classes: tuple[str, ...]
    reason: str
    hint: str
    when: str = ""


RECURRENT = Refusal(
    "any",
    (),
    "what its last spikes add to its currents is no layer that an integer neuron has",
    "use one linear layer (several after each other are one), or one convolution of odd kernel and stride 1 that keeps "
    "the shape: padding (kernel - 1)/2",
    when="a recurrent connection is anything but nn.Linear layers on features, or such a convolution on maps",
)
PER_NEURON = Refusal(
    "any",
    (),
    "a parameter differs from neuron to neuron within a channel",
    "give it one value, or one for each channel: shape [C] after a linear layer, [C, 1, 1] after a convolution",
    when="a parameter has more than one axis longer than 1",
)
UNKNOWN = Refusal(
    "any",
    (),
    "no description of its equation is known",
    "give its class a method `neuron_model` that returns the mdcompress.graph.NeuronModel it follows",
)


def always_refused(rows: tuple[Refusal, ...], class_name: str) -> Refusal:
    """The row of a class that is refused whatever its options; UNKNOWN where there is none."""
    always = (row for row in rows if class_name in row.classes and not row.when)
    return next(always, replace(UNKNOWN, classes=(class_name,)))
