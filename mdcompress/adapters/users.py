"""Adapters of a user's own neurons, and the network that carries them to wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mdcompress.adapters.axes import Calling
from mdcompress.adapters.base import Adapter
from mdcompress.adapters.lookup import adapter_of, described, library_of
from mdcompress.adapters.refusals import Refusal
from mdcompress.graph import NeuronModel
from mdcompress.modes import Wrapper, modules_of


@dataclass(frozen=True)
class NeuronAdapter:
    """An adapter from a function: `trace(network, sample, adapters=[NeuronAdapter(describe)])`.

    describe: the canonical model of a module of one's own, None for every other module.
    run: how currents [T, N, ...] become spikes where the module is not simply called with all steps.
    calling: its axes and who keeps its state, by default what the network does with it.
    reset: how its state is put to rest, by default its method `reset_state()`. Evaluation and training know it where
    the network is `Adapted(network, adapters)`.
    is_at_rest: whether its next call starts anew, by default where it has no method `reset_state()`.
    """

    describe: Callable[[nn.Module], NeuronModel | Refusal | None]
    run: Callable[[nn.Module, Tensor], Tensor] = lambda module, currents: module(currents)
    calling: Callable[[Any], Calling] = lambda module: library_of(module).calling(module)
    reset: Callable[[Any], None] = lambda module: library_of(module).reset(module)
    is_at_rest: Callable[[Any], bool] = lambda module: library_of(module).is_at_rest(module)


class Adapted(Wrapper):
    """A network with the adapters of its neurons, which is traced, evaluated and trained in the network's place.

    Functions that meet a network long after it was traced find the adapters in it: a graph holds no code. Put it
    inside of `Stepped`, `BatchFirst` and `StillImage`.
    """

    def __init__(self, network: nn.Module, adapters: Sequence[Adapter]) -> None:
        super().__init__(network)
        self.adapters = tuple(adapters)

    def reset_state(self) -> None:
        """Reset every neuron that one of the adapters describes."""
        for module in modules_of(self.network).values():
            if described(module, self.adapters) is not None:
                adapter_of(module, self.adapters).reset(module)

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Call the network."""
        return self.network(*inputs, **keywords)


def carried(network: nn.Module) -> tuple[Adapter, ...]:
    """The adapters that the network carries: of every `Adapted` in it."""
    adapted = [module for module in modules_of(network).values() if isinstance(module, Adapted)]
    return tuple(adapter for module in adapted for adapter in module.adapters)
