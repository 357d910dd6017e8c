"""The canonical model of a module, or of every neuron of a network, as the adapters say it; and its proof."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from torch import nn

from mdcompress.adapters.base import Adapter, class_and_version
from mdcompress.adapters.lookup import asked
from mdcompress.adapters.probing import probe as probe_with
from mdcompress.adapters.refusals import Refusal
from mdcompress.adapters.users import carried
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, TensorShape
from mdcompress.modes import modules_of


def describe_neuron(module: nn.Module, *, adapters: Sequence[Adapter] = ()) -> NeuronModel | None:
    """The canonical model of a neuron module, or None where no adapter knows its class.

    `adapters` of one's own are asked before the shipped ones.

    Raises:
        TraceError: the class has no integer form.
    """
    found = asked(module, adapters)
    if found is None:
        return None
    match found[1]:
        case Refusal() as refusal:
            raise TraceError(f"a neuron {_refused(module, refusal)}", hints=[refusal.hint])
        case NeuronModel() as model:
            return model
        case other:
            assert_never(other)


def find_neurons(network: nn.Module, *, adapters: Sequence[Adapter] = ()) -> dict[str, NeuronModel]:
    """Every neuron of a network by its qualified name, without running anything.

    Raises:
        TraceError: neurons cannot be compressed; all are named, each with the reason.
    """
    adapters = (*adapters, *carried(network))
    models: dict[str, NeuronModel] = {}
    refused: list[tuple[str, Refusal]] = []
    inside: tuple[str, ...] = ()
    for name, module in modules_of(network).items():
        if any(name.startswith(outer) for outer in inside):
            continue
        found = asked(module, adapters)
        if found is None:
            continue
        inside = (*inside, f"{name}.")
        match found[1]:
            case Refusal() as refusal:
                refused.append((f"neuron {name!r} {_refused(module, refusal)}", refusal))
            case NeuronModel() as model:
                models[name] = model
            case other:
                assert_never(other)
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
    found = asked(module, adapters)
    assert found is not None, "only a described neuron is probed"
    probe_with(name, module, model, adapter=found[0], shape=shape)


def _refused(module: nn.Module, refusal: Refusal) -> str:
    when = f" (here {refusal.when})" if refusal.when else ""
    return f"({class_and_version(module)}) cannot become integers: {refusal.reason}{when}"
