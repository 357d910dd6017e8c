"""One file per library of spiking neurons. They are told by class name: no library is imported for it.

`describe_neuron` gives the canonical model of a module, `find_neurons` those of a network, `probe` proves one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mdcompress.adapters.base import (
    Adapter,
    NeuronAdapter,
    RefusedParameterError,
    class_and_version,
    with_plain_numbers,
)
from mdcompress.adapters.norse import NorseNeurons
from mdcompress.adapters.own import OwnNeurons, SelfDescribed
from mdcompress.adapters.probing import probe as probe_with
from mdcompress.adapters.refusals import REFUSALS, Refusal
from mdcompress.adapters.simulation import Simulation, simulate
from mdcompress.adapters.sinabs import SinabsNeurons
from mdcompress.adapters.snntorch import SnnTorchNeurons
from mdcompress.adapters.spikingjelly import SpikingJellyNeurons
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, TensorShape

ADAPTERS: tuple[Adapter, ...] = (
    SelfDescribed(), OwnNeurons(), SpikingJellyNeurons(), SnnTorchNeurons(), NorseNeurons(), SinabsNeurons(),
)  # fmt: skip

__all__ = [
    "ADAPTERS",
    "REFUSALS",
    "Adapter",
    "NeuronAdapter",
    "Refusal",
    "Simulation",
    "describe_neuron",
    "find_neurons",
    "probe",
    "simulate",
]


def describe_neuron(module: nn.Module, *, adapters: Sequence[Adapter] = ()) -> NeuronModel | None:
    """The canonical model of a neuron module, or None where no adapter knows its class.

    `adapters` of one's own are asked before the shipped ones. Errors: TraceError where the class has no integer form.
    """
    found = _asked(module, adapters)
    if found is None:
        return None
    described = found[1]
    if isinstance(described, Refusal):
        raise TraceError(f"a neuron {_refused(module, described)}", hints=[described.hint])
    return described


def find_neurons(network: nn.Module, *, adapters: Sequence[Adapter] = ()) -> dict[str, NeuronModel]:
    """Every neuron of a network by its qualified name, without running anything.

    Errors: TraceError that names all neurons that cannot be compressed, with the reason for each.
    """
    models: dict[str, NeuronModel] = {}
    refused: list[tuple[str, Refusal]] = []
    inside: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if any(name.startswith(outer) for outer in inside):
            continue
        found = _asked(module, adapters)
        if found is None:
            continue
        inside = (*inside, f"{name}.")
        if isinstance(found[1], Refusal):
            refused.append((f"neuron {name!r} {_refused(module, found[1])}", found[1]))
        else:
            models[name] = found[1]
    if refused:
        hints = list(dict.fromkeys(refusal.hint for _, refusal in refused))
        raise TraceError("\n".join(line for line, _ in refused), hints=hints)
    return models


def probe(
    name: str,
    module: nn.Module,
    model: NeuronModel,
    *,
    adapters: Sequence[Adapter] = (),
    shape: TensorShape | None = None,
) -> None:
    """Prove that `module` follows `model`: TraceError at the first differing spike (`adapters.probing`).

    shape: of one sample and step, so that a parameter [C] is tried on the axis it will stand on.
    """
    found = _asked(module, adapters)
    assert found is not None, "only a described neuron is probed"
    probe_with(name, module, model, adapter=found[0], shape=shape)


def _asked(module: nn.Module, adapters: Sequence[Adapter]) -> tuple[Adapter, NeuronModel | Refusal] | None:
    """The first adapter that knows the module, and what it says."""
    for adapter in (*adapters, *ADAPTERS):
        try:
            described = with_plain_numbers(adapter.describe(module))
        except RefusedParameterError as error:
            described = error.refusal
        if described is not None:
            return adapter, described
    return None


def _refused(module: nn.Module, refusal: Refusal) -> str:
    when = f" (here {refusal.when})" if refusal.when else ""
    return f"({class_and_version(module)}) cannot become integers: {refusal.reason}{when}"
