"""Networks of other calling conventions as networks of [T, N, ...]: one step at a time, batch first, one still image.

A wrapper starts its network from rest at every call, so that a batch knows nothing of the batch before.
"""

from __future__ import annotations

import inspect
from typing import Literal

import torch
from torch import Tensor, nn

from intsnn.errors import UsageError
from mdcompress.adapters.state import first_tensor, reset_state, run_fresh, sized
from mdcompress.tracing.ledger import Ledger
from mdcompress.tracing.positions import Position
from mdcompress.tracing.unwrapping import unwrapped


class Stepped(nn.Module):
    """A single-step network, [N, ...] to [N, K], as one over all steps: [T, N, ...] to [T, N, K].

    The network keeps its state in its neurons, or takes it as the argument `state` and returns it beside its answer.
    Of other tuples, as (spikes, membrane), the first tensor is the answer.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._threads_state = "state" in inspect.signature(unwrapped(network).forward).parameters

    def forward(self, x: Tensor) -> Tensor:
        """Run the steps one after the other from a fresh state, and stack what they return."""
        reset_state(self.network)
        answers, state = [], None
        for step in x.unbind(0):
            if self._threads_state:
                answer, state = self.network(step, state)
            else:
                answer = first_tensor(self.network(step))
            answers.append(answer)
        reset_state(self.network)
        return torch.stack(answers)


class BatchFirst(nn.Module):
    """A network that takes [N, T, ...] (`split`) or [N*T, ...] (`folded`) as one of [T, N, ...].

    Its answer, all steps in its own layout, comes out as [T, N, K]; an answer without time, [N, K], as it is.
    Layers that hold the sizes of the batches they were trained on are told those of x.
    """

    def __init__(self, network: nn.Module, *, layout: Literal["split", "folded"] = "split") -> None:
        super().__init__()
        if layout not in ("split", "folded"):
            raise UsageError(f"layout must be split or folded (got {layout!r})", hints=["[N, T, ...] is split"])
        self.network, self.layout = network, layout

    def forward(self, x: Tensor) -> Tensor:
        """Run the network from a fresh state."""
        time_steps, batch = x.shape[:2]
        turned = x.transpose(0, 1)
        with sized(self.network, batch, time_steps):
            answer = run_fresh(self.network, turned.flatten(0, 1) if self.layout == "folded" else turned)
        if self.layout == "folded" and answer.shape[0] == batch * time_steps:
            return answer.reshape(batch, time_steps, *answer.shape[1:]).transpose(0, 1)
        return answer.transpose(0, 1) if answer.shape[:2] == (batch, time_steps) else answer


class FirstStep(nn.Module):
    """x [T, N, ...], the same at every step, as the one image [N, ...] it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Its first step."""
        return x[0]


class StillImage(nn.Module):
    """A network that takes one image [N, ...] and makes its T steps itself, as one of [T, N, ...].

    The steps of x must be equal; T must be the number of steps that the network makes.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.first_step = FirstStep()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Give the network the first of the equal steps, from a fresh state."""
        return run_fresh(self.network, self.first_step(x))


def record_first_step(ledger: Ledger, x: Tensor, output: Tensor) -> None:
    """The first step of an input that stands still is the input of every step."""
    source = ledger.source(x)
    if source.position != Position("all", ("T", "N")) or not bool((x == x[:1]).all()):
        raise ledger.error(
            "the sample of a StillImage network must be the same at every step",
            "repeat one image: image.unsqueeze(0).expand(T, *image.shape) with image [N, ...]",
        )
    ledger.alias(output, source, Position("still", ("N",)))
