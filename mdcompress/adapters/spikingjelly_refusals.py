"""The table of refusals of SpikingJelly: the classes and options that have no integer form, of every release."""

from __future__ import annotations

from mdcompress.adapters.refusals import Refusal

LIBRARY = "spikingjelly"

ALWAYS = (
    Refusal(LIBRARY, ("PSN", "MaskedPSN", "SlidingPSN"),
            "it has no recurrence: its spikes are a matrix product over all steps", "train with IFNode or LIFNode"),
    Refusal(LIBRARY, ("GatedLIFNode",),
            "its gates make decay and input gain depend on the spikes and on the step", "train with ParametricLIFNode"),
    Refusal(LIBRARY, ("ComplementaryLIFNode",),
            "decay and reset amount follow a second, non-linear state", "train with LIFNode and a soft reset"),
    Refusal(LIBRARY, ("QIFNode", "EIFNode", "MultiStepEIFNode", "IzhikevichNode", "RAFNode", "AdaptBaseNode",
                      "AdaptiveBaseNode"),
            "its membrane equation is not linear, or is of two dimensions", "train with LIFNode"),
    Refusal(LIBRARY, ("NoisyBaseNode", "NoisyCUBALIFNode", "NoisyILCBaseNode", "NoisyILCCUBALIFNode",
                       "NoisyNonSpikingBaseNode", "NoisyNonSpikingIFNode"),
            "it fires at random", "train with CUBALIFNode"),
    Refusal(LIBRARY, ("ILCBaseNode", "ILCCUBALIFNode", "ILCIFNode", "ILCLIFNode"),
            "its neurons inhibit each other within a step", "train with IFNode, LIFNode or CUBALIFNode"),
    Refusal(LIBRARY, ("DSRIFNode", "DSRLIFNode", "FewSpikeNode", "HGNode", "OutlierAwareThresholdNode", "STBIFNode"),
            "it codes one value by a whole spike train, with a state that is no membrane",
            "train or convert with IFNode"),
    Refusal(LIBRARY, ("TernaryIFNode", "TernaryLIFNode"),
            "it fires spikes of both signs, and a graph's spikes are counts", "train with IFNode or LIFNode"),
    Refusal(LIBRARY, ("LIAFNode",),
            "it puts out an analog activation of the membrane, not spikes", "train with LIFNode"),
    Refusal(LIBRARY, ("GeneralNode", "MultiStepGeneralNode"),
            "it loses its coefficients a, b and c when it is made, and cannot run",
            "train with LIFNode or ParametricLIFNode"),
    Refusal(LIBRARY, ("SynapseFilter",),
            "it keeps a filtered trace of the spikes, whose decay depends on them", "leave it out and train anew"),
    Refusal(LIBRARY, ("NeuNorm",),
            "it subtracts a trace of all channels' spikes, with a factor for every place", "train with batch norm"),
    Refusal(LIBRARY, ("DropConnectLinear",),
            "it draws its currents at random, in evaluation too", "train with nn.Linear and dropout"),
    Refusal(LIBRARY, ("FlexSN",),
            "its equation is arbitrary Python",
            "give its class a method `neuron_model` that returns the mdcompress.graph.NeuronModel it follows"),
)  # fmt: skip
ANALOG = Refusal(
    LIBRARY,
    (),
    "it puts out the surrogate function itself, not spikes",
    "switch its surrogate to spiking: functional.set_spiking_mode or surrogate_function.spiking = True",
    when="surrogate_function.spiking is False",
)
DECODE = Refusal(
    LIBRARY,
    ("NonSpikingIFNode", "NonSpikingLIFNode"),
    "it puts out the membrane of largest size over time, whatever its sign",
    "use decode='max-mem', 'mean-mem' or 'last_mem', or none",
    when="decode is 'max-abs-mem'",
)
RESIDUAL = Refusal(
    LIBRARY,
    ("MPBNLIFNode",),
    "only the membranes below the threshold are normalised, which is not linear",
    "fold it with re_parameterize_v_threshold(normalize_residual=False)",
    when="normalize_residual is True",
)
SIMPLE_SOFT = Refusal(
    LIBRARY,
    ("SimpleLIFNode",),
    "it computes with v_reset in its charge, and has none",
    "use LIFNode(v_reset=None)",
    when="v_reset is None",
)
CONTAINER = Refusal(
    LIBRARY,
    ("LinearRecurrentContainer", "ElementWiseRecurrentContainer"),
    "what it repeats is not linear layers followed by one neuron",
    "put the other layers before or behind the container",
    when="sub_module holds other layers than nn.Linear and a neuron (ElementWiseRecurrentContainer: a neuron alone)",
)
OTHER_FUNCTION = Refusal(
    LIBRARY,
    ("ElementWiseRecurrentContainer",),
    "a neuron adds up its currents, and this joins them with the last spikes in another way",
    "use a weighted sum: lambda y, x: x + 0.5 * y",
    when="element_wise_function(y, x) is not a*y + b*x with b > 0",
)
COMPILED = Refusal(
    LIBRARY,
    (),
    "it runs in compiled kernels on a GPU alone, and cannot be run beside its equation",
    "import the class of the same name from spikingjelly.clock_driven.neuron; the multi-step ones are there from "
    "release 0.0.0.0.6 on",
    when="it comes from spikingjelly.cext.neuron",
)
LAVA = Refusal(
    LIBRARY,
    (),
    "Lava computes it in fixed point of its own",
    "make it with backend='torch'",
    when="backend is 'lava'",
)
