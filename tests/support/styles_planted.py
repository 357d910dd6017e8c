"""Faults that are planted into a drawn neuron: it is then no canonical neuron, or another one than it looks.

Each is one changed line (`styles_steps`). What they stand on is a plain leaky neuron, so that the fault is all there is
to refuse.
"""

from __future__ import annotations

from dataclasses import replace

from tests.support.styles_neurons import NeuronStyle

# fault -> what it is
FAULTS = {
    "gate": "the decay is computed from the current",
    "decay_step": "the decay is another one at the third step",
    "threshold_step": "the threshold is another one at the second step",
    "threshold_spikes": "the threshold rises by the spike of the step before",
    "threshold_mean": "the threshold follows the mean of the current over the batch",
    "reset_twice": "it is reset only after two spikes in a row",
    "quadratic": "the membrane enters its charge squared",
    "noise": "noise is added to the membrane",
    "tanh": "the membrane saturates",
    "clamp_above": "the membrane is cut off a little above the threshold, and reset by subtraction",
    "refractory": "it does not fire in the step after a spike",
    "other_reset": "it is reset by the spike of the neighbouring channel",
    "roll": "the membrane moves to the neighbouring channel",
    "pixel": "every pixel has a decay of its own",
    "delay": "its spikes come out a step late",
    "late_synapse": "the membrane takes the synaptic current of the step before",
    "tie_channel": "every other channel fires at the exact tie, the others do not",
    "data_branch": "a branch of the code looks at the values",
}
# what a canonical neuron equals, though it does not look so: it may be taken, and must then be equal, or be refused
HARMLESS = {
    "clamp_unseen": "the membrane is cut off above the threshold, where the reset to 0 forgets it",
}
SOFT = ("clamp_above",)
NEED_LAYERS_OF_PIXELS = ("pixel",)


def plant(neuron: NeuronStyle, fault: str) -> NeuronStyle:
    """A plain leaky neuron in the spelling of that one, with the fault."""
    assert fault in FAULTS or fault in HARMLESS, fault
    reset = "soft" if fault in SOFT or (neuron.reset.startswith("soft") and fault not in HARMLESS) else "hard"
    return replace(
        neuron,
        charge="multiply",
        order="after",
        reset="soft" if reset == "soft" else "hard",
        compared="gap" if neuron.compared == "constant" else neuron.compared,
        comparator="greater" if fault == "tie_channel" else neuron.comparator,
        count="none",
        threshold="constant",
        height="one",
        synapse="sum" if fault == "late_synapse" else "none",
        floor="none",
        initial="zero",
        start="zeros",
        planted=fault,
    )


def without_fault(neuron: NeuronStyle) -> NeuronStyle:
    """The plain neuron under the fault."""
    return replace(neuron, planted="")
