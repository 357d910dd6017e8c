"""One file per library of spiking neurons. They are told by class name: no library is imported for it.

`describe_neuron` gives the canonical model of a module, `find_neurons` those of a network, `probe` proves one. A new
library is one file, a subclass of `base.Library`, and its line in `shipped.ADAPTERS`.
"""

from __future__ import annotations

from mdcompress.adapters.axes import Calling
from mdcompress.adapters.base import Adapter, Library
from mdcompress.adapters.describing import describe_neuron, find_neurons, probe
from mdcompress.adapters.refusals import Refusal
from mdcompress.adapters.shipped import ADAPTERS, REFUSALS
from mdcompress.adapters.simulation import Simulation, simulate
from mdcompress.adapters.users import Adapted, NeuronAdapter

__all__ = [
    "ADAPTERS",
    "REFUSALS",
    "Adapted",
    "Adapter",
    "Calling",
    "Library",
    "NeuronAdapter",
    "Refusal",
    "Simulation",
    "describe_neuron",
    "find_neurons",
    "probe",
    "simulate",
]
