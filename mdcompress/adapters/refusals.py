"""The neurons that no integer graph holds, and why: one table, read by the adapters and by the documentation."""

from __future__ import annotations

from collections.abc import Iterator
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


SPIKINGJELLY = (
    Refusal(
        "spikingjelly",
        ("PSN", "MaskedPSN", "SlidingPSN"),
        "it has no recurrence: its spikes are a matrix product over all steps",
        "train with IFNode or LIFNode",
    ),
    Refusal(
        "spikingjelly",
        ("GatedLIFNode",),
        "its gates make decay and input gain depend on the spikes and on the step",
        "train with ParametricLIFNode",
    ),
    Refusal(
        "spikingjelly",
        ("ComplementaryLIFNode",),
        "decay and reset amount follow a second, non-linear state",
        "train with LIFNode and a soft reset",
    ),
    Refusal(
        "spikingjelly",
        ("QIFNode", "EIFNode", "IzhikevichNode", "RAFNode", "AdaptBaseNode"),
        "its membrane equation is not linear, or is of two dimensions",
        "train with LIFNode",
    ),
    Refusal(
        "spikingjelly",
        ("NoisyBaseNode", "NoisyCUBALIFNode", "NoisyILCBaseNode", "NoisyILCCUBALIFNode", "NoisyNonSpikingBaseNode",
         "NoisyNonSpikingIFNode"),
        "it fires at random",
        "train with CUBALIFNode",
    ),
    Refusal(
        "spikingjelly",
        ("ILCBaseNode", "ILCCUBALIFNode", "ILCIFNode", "ILCLIFNode"),
        "its neurons inhibit each other within a step",
        "train with IFNode, LIFNode or CUBALIFNode",
    ),
    Refusal(
        "spikingjelly",
        ("DSRIFNode", "DSRLIFNode", "FewSpikeNode", "HGNode", "OutlierAwareThresholdNode", "STBIFNode"),
        "it codes one value by a whole spike train, with a state that is no membrane",
        "train or convert with IFNode",
    ),
    Refusal(
        "spikingjelly",
        ("TernaryIFNode", "TernaryLIFNode"),
        "it fires spikes of both signs, and a graph's spikes are counts",
        "train with IFNode or LIFNode",
    ),
    Refusal(
        "spikingjelly",
        ("LIAFNode",),
        "it puts out an analog activation of the membrane, not spikes",
        "train with LIFNode",
    ),
    Refusal(
        "spikingjelly",
        ("FlexSN",),
        "its equation is arbitrary Python",
        "give its class a method `neuron_model` that returns the mdcompress.graph.NeuronModel it follows",
    ),
)  # fmt: skip
SPIKINGJELLY_DECODE = Refusal(
    "spikingjelly",
    ("NonSpikingIFNode", "NonSpikingLIFNode"),
    "it puts out the membrane of largest size over time, whatever its sign",
    "use decode='max-mem', 'mean-mem' or 'last_mem', or none",
    when="decode is 'max-abs-mem'",
)
SPIKINGJELLY_ANALOG = Refusal(
    "spikingjelly",
    (),
    "it puts out the surrogate function itself, not spikes",
    "switch its surrogate to spiking: functional.set_spiking_mode or surrogate_function.spiking = True",
    when="surrogate_function.spiking is False",
)
SPIKINGJELLY_RESIDUAL = Refusal(
    "spikingjelly",
    ("MPBNLIFNode",),
    "only the membranes below the threshold are normalised, which is not linear",
    "fold it with re_parameterize_v_threshold(normalize_residual=False)",
    when="normalize_residual is True",
)
SPIKINGJELLY_SIMPLE_SOFT = Refusal(
    "spikingjelly",
    ("SimpleLIFNode",),
    "it computes with v_reset in its charge, and has none",
    "use LIFNode(v_reset=None)",
    when="v_reset is None",
)

SPIKINGJELLY_CONTAINER = Refusal(
    "spikingjelly",
    ("LinearRecurrentContainer", "ElementWiseRecurrentContainer"),
    "what it repeats is not linear layers followed by one neuron",
    "put the other layers before or behind the container",
    when="sub_module holds other layers than nn.Linear and a neuron (ElementWiseRecurrentContainer: a neuron alone)",
)
SPIKINGJELLY_ELEMENTWISE = Refusal(
    "spikingjelly",
    ("ElementWiseRecurrentContainer",),
    "a neuron adds up its currents, and this joins them with the last spikes in another way",
    "use a weighted sum: lambda y, x: x + 0.5 * y",
    when="element_wise_function(y, x) is not a*y + b*x with b > 0",
)

SNNTORCH = (
    Refusal(
        "snntorch",
        ("Alpha",),
        "it subtracts its own second current from its membrane",
        "train with Synaptic",
    ),
    Refusal(
        "snntorch",
        ("SLSTM", "SConv2dLSTM"),
        "it is a gated recurrent cell",
        "train with RLeaky or RSynaptic",
    ),
    Refusal(
        "snntorch",
        ("LeakyParallel", "StateLeaky", "LinearLeaky", "AssociativeLeaky", "DeltaLeaky"),
        "it convolves over time without a reset",
        "train with Leaky",
    ),
)
SNNTORCH_INHIBITION = Refusal(
    "snntorch",
    (),
    "only the neuron of largest membrane in a layer may fire",
    "train with inhibition=False",
    when="inhibition is True",
)
SNNTORCH_STATE_QUANT = Refusal(
    "snntorch",
    (),
    "its membrane is rounded to a table of floats already, in which neither 0 nor the threshold is",
    "set state_quant=False: the recipe's membrane policy rounds it to integers",
    when="state_quant is set",
)
SNNTORCH_GRADED = Refusal(
    "snntorch",
    (),
    "its spikes are scaled by graded_spikes_factor",
    "multiply the next layer's weights by the factor and set it to 1",
    when="graded_spikes_factor is not 1",
)
SNNTORCH_BROKEN = Refusal(
    "snntorch",
    ("RSynaptic",),
    "its forward raises in snnTorch itself",
    "use reset_delay=True",
    when="reset_delay is False",
)

NORSE = (
    Refusal(
        "norse",
        ("LIFRefracCell", "LIFRefracRecurrentCell", "LIFRefracRecurrent", "LIFMCRefracRecurrentCell"),
        "its membrane is frozen while it is refractory",
        "train with LIFCell",
    ),
    Refusal(
        "norse",
        ("LSNN", "LSNNCell", "LSNNRecurrent", "LSNNRecurrentCell", "LIFAdEx", "LIFAdExCell", "LIFAdExRecurrent",
         "LIFAdExRecurrentCell", "LIFAdExRefracCell", "LIFAdExRefracRecurrent", "LIFAdExRefracRecurrentCell"),
        "its threshold or current adapts to its own spikes",
        "train with LIFCell",
    ),
    Refusal(
        "norse",
        ("LIFEx", "LIFExCell", "LIFExRecurrent", "LIFExRecurrentCell", "Izhikevich", "IzhikevichCell",
         "IzhikevichRecurrent", "IzhikevichRecurrentCell", "CobaLIFCell", "LIFMCRecurrentCell", "LIFCorrelation"),
        "its membrane equation is not linear, or has several compartments",
        "train with LIFCell or LIFBoxCell",
    ),
    Refusal(
        "norse",
        ("RecurrentSequential",),
        "it feeds what several layers put out back to the first, and an integer neuron reads its own spikes alone",
        "use SequentialState with LIFRecurrent or LIFRecurrentCell",
    ),
)  # fmt: skip
NORSE_RESET = Refusal(
    "norse",
    ("LIFBoxCell",),
    "its reset is a function of the user's",
    "use norse's reset_value or reset_subtract",
    when="reset_method is neither reset_value nor reset_subtract",
)

SINABS = (
    Refusal(
        "sinabs",
        ("ALIF", "ALIFRecurrent"),
        "its threshold adapts to its own spikes",
        "train with LIF",
    ),
)
SINABS_FLOOR = Refusal(
    "sinabs",
    ("ExpLeak", "ExpLeakSqueeze"),
    "it puts out its membrane as it was before the floor",
    "use min_v_mem=None",
    when="min_v_mem is set",
)
SINABS_RESET = Refusal(
    "sinabs",
    ("IAF", "IAFSqueeze", "IAFRecurrent", "LIF", "LIFSqueeze", "LIFRecurrent"),
    "sinabs adds the value to every neuron at every step, spike or not",
    "use MembraneReset(0.0) or MembraneSubtract()",
    when="reset_fn is MembraneReset with a value other than 0, or a function of the user's",
)
SINABS_SPIKE = Refusal(
    "sinabs",
    ("IAF", "IAFSqueeze", "IAFRecurrent", "LIF", "LIFSqueeze", "LIFRecurrent"),
    "its spike function is the user's",
    "use MultiSpike, MaxSpike or SingleSpike",
    when="spike_fn is none of sinabs' own",
)
SINABS_BIAS = Refusal(
    "sinabs",
    ("LIFRecurrent", "IAFRecurrent"),
    "the bias of the recurrent layer acts from the second step only",
    "use a recurrent layer without bias",
    when="rec_connect has a bias",
)

RECURRENT = Refusal(
    "any",
    (),
    "what its last spikes add to its currents is no layer that an integer neuron has",
    "use one linear layer (several after each other are one), or one convolution of odd kernel and stride 1 that keeps "
    "the shape: padding (kernel - 1)/2",
    when="a recurrent connection is anything but nn.Linear layers on features, or such a convolution on maps",
)
ONE_TO_ONE = Refusal(
    "snntorch",
    ("RLeaky", "RSynaptic"),
    "V has neither one value nor one for each channel",
    "give V the shape [1], [C] after a linear layer, or [C, 1, 1] after a convolution",
    when="V has another shape",
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

REFUSALS: tuple[Refusal, ...] = (
    *SPIKINGJELLY, SPIKINGJELLY_ANALOG, SPIKINGJELLY_DECODE, SPIKINGJELLY_RESIDUAL, SPIKINGJELLY_SIMPLE_SOFT,
    SPIKINGJELLY_CONTAINER, SPIKINGJELLY_ELEMENTWISE,
    *SNNTORCH, SNNTORCH_INHIBITION, SNNTORCH_STATE_QUANT, SNNTORCH_GRADED, SNNTORCH_BROKEN,
    ONE_TO_ONE,
    *NORSE, NORSE_RESET,
    *SINABS, SINABS_RESET, SINABS_SPIKE, SINABS_BIAS, SINABS_FLOOR,
    RECURRENT, PER_NEURON, UNKNOWN,
)  # fmt: skip


def refusals_of(library: str) -> Iterator[Refusal]:
    """The rows of one library, those that hold for any one included."""
    return (row for row in REFUSALS if row.library in (library, "any"))


def always_refused(rows: tuple[Refusal, ...], class_name: str) -> Refusal:
    """The row of a class that is refused whatever its options; UNKNOWN where there is none."""
    return next((row for row in rows if class_name in row.classes), replace(UNKNOWN, classes=(class_name,)))
