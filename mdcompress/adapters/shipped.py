"""The libraries that are known, in the order in which they are asked; a new one is its file and its line here."""

from __future__ import annotations

from mdcompress.adapters.base import Library
from mdcompress.adapters.norse import NorseNeurons
from mdcompress.adapters.own import OwnNeurons, SelfDescribed
from mdcompress.adapters.refusals import PER_NEURON, RECURRENT, UNKNOWN, Refusal
from mdcompress.adapters.sinabs import SinabsNeurons
from mdcompress.adapters.snntorch import SnnTorchNeurons
from mdcompress.adapters.spikingjelly import SpikingJellyNeurons

ADAPTERS: tuple[Library, ...] = (
    SelfDescribed(),
    SpikingJellyNeurons(),
    SnnTorchNeurons(),
    NorseNeurons(),
    SinabsNeurons(),
    OwnNeurons(),
)

REFUSALS: tuple[Refusal, ...] = (
    *(row for library in ADAPTERS for row in library.refusals), RECURRENT, PER_NEURON, UNKNOWN,
)  # fmt: skip
