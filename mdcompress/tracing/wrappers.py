"""Networks of other calling conventions as networks of [T, N, ...]: one step at a time, batch first, one still image.

A wrapper starts its network from rest at every call, so that a batch knows nothing of the batch before. The modules of
the network keep their names (`modes.Wrapper`).
"""

from __future__ import annotations

import inspect
from typing import Literal

import torch
from torch import Tensor, nn

from intsnn.errors import UsageError
from mdcompress.adapters.state import first_tensor, reset_state, run_fresh, sized
from mdcompress.errors import TraceError
from mdcompress.modes import Wrapper
from mdcompress.tracing.ledger import Ledger
from mdcompress.tracing.positions import Position
from mdcompress.tracing.unwrapping import unwrapped


class Stepped(Wrapper):
    """A single-step network, [N, ...] to [N, K], as one over all steps: [T, N, ...] to [T, N, K].

    The network keeps its state in its neurons, or takes it as the argument `state` and returns it beside its answer.
    Of other tuples, as (spikes, membrane), the first tensor is the answer.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
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


class BatchFirst(Wrapper):
    """A network that takes [N, T, ...] (`split`) or [N*T, ...] (`folded`) as one of [T, N, ...].

    answers: `batch_first`: an answer with all steps, [N, T, K, ...] or folded as the input, comes out as
    [T, N, K, ...], one without time, [N, K], as it is; `time_first`: the network gives [T, N, K, ...] or an answer
    without time, and either comes out as it is.
    Layers that hold the sizes of the batches they were trained on are told those of x.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        layout: Literal["split", "folded"] = "split",
        answers: Literal["batch_first", "time_first"] = "batch_first",
    ) -> None:
        super().__init__(network)
        if layout not in ("split", "folded"):
            raise UsageError(f"layout must be split or folded (got {layout!r})", hints=["[N, T, ...] is split"])
        if answers not in ("batch_first", "time_first"):
            raise UsageError(
                f"answers must be batch_first or time_first (got {answers!r})", hints=["[N, T, K] is batch_first"]
            )
        self.layout, self.answers = layout, answers

    def forward(self, x: Tensor) -> Tensor:
        """Run the network from a fresh state."""
        time_steps, batch = x.shape[:2]
        turned = x.transpose(0, 1)
        with sized(self.network, batch, time_steps):
            answer = run_fresh(self.network, turned.flatten(0, 1) if self.layout == "folded" else turned)
        if self.layout == "folded" and answer.shape[0] == batch * time_steps:
            return answer.reshape(batch, time_steps, *answer.shape[1:]).transpose(0, 1)
        return answer if self.answers == "time_first" else _time_first(answer, batch, time_steps)


class BatchFirstAnswer(Wrapper):
    """A network that takes [T, N, ...] and answers [N, T, K, ...] as one that answers [T, N, K, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the network from a fresh state, and turn its answer."""
        return _time_first(run_fresh(self.network, x), x.shape[1], x.shape[0])


class StepsFolded(Wrapper):
    """A network that takes [T*N, ...], step after step, as one of [T, N, ...].

    Its answer for all steps, [T*N, K], comes out as [T, N, K]; any other as it is.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Run the network from a fresh state."""
        time_steps, batch = x.shape[:2]
        answer = run_fresh(self.network, x.flatten(0, 1))
        folded = answer.shape[0] == time_steps * batch
        return answer.reshape(time_steps, batch, *answer.shape[1:]) if folded else answer


def _time_first(answer: Tensor, batch: int, time_steps: int) -> Tensor:
    """An answer [N, T, K, ...] as [T, N, K, ...]; one without time, [N, K], as it is.

    Raises:
        TraceError: it has the steps before the batch.
    """
    if answer.dim() < 3:
        return answer
    sizes = tuple(answer.shape[:2])
    if sizes == (batch, time_steps):
        return answer.transpose(0, 1)
    if sizes == (time_steps, batch):
        raise TraceError(
            f"the answer must have the batch before time, [{batch}, {time_steps}, ...] (got {list(answer.shape)})",
            hints=["where the network answers [T, N, K]: mdcompress.BatchFirst(network, answers='time_first')"],
        )
    return answer


class FirstStep(nn.Module):
    """x [T, N, ...], the same at every step, as the one image [N, ...] it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Its first step."""
        return x[0]


class StillImage(Wrapper):
    """A network that takes one image [N, ...] and makes its T steps itself, as one of [T, N, ...].

    The steps of x must be equal; T must be the number of steps that the network makes.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.first_step = FirstStep()

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
