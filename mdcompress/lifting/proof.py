"""Is the network in normal form the network that was recorded? Every spike and the answer, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mdcompress.adapters.base import fresh_copy
from mdcompress.errors import TraceError
from mdcompress.lifting.answers import Answer
from mdcompress.lifting.cells import REDUCED
from mdcompress.lifting.chains import Neuron
from mdcompress.lifting.context import Context
from mdcompress.lifting.network import InputNode, Lifted, NeuronNode
from mdcompress.lifting.words import REPORT

_ROUNDING = 1e-8  # of the largest value: float64 sums in another order


def prove(lifted: Lifted, neurons: Sequence[Neuron], answer: Answer, context: Context, x: Tensor) -> None:
    """Run the network in normal form on what was recorded.

    Raises:
        TraceError: a spike differs, or the answer: it is named with step, sample and value.
    """
    copy = fresh_copy(lifted)
    written: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(partial(_keep, written, name))
        for name, module in copy.named_modules()
        if any(isinstance(node, NeuronNode) and node.module == name for node in lifted.form.nodes.values())
    ]
    with torch.no_grad():
        found = copy(_as_recorded(context, x.detach().cpu().double()))
    for handle in handles:
        handle.remove()
    for neuron in neurons:
        node = context.nodes.get(neuron.node)
        if isinstance(node, NeuronNode) and node.module in written:
            _compare_spikes(neuron, node.module, written[node.module], context)
    _compare_answers(answer, found)


def _keep(written: dict[str, Tensor], name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
    written[name] = output


def _as_recorded(context: Context, x: Tensor) -> Tensor:
    """The input; where an encoder was taken out, what it gave."""
    if not context.noisy:
        return x
    cells = context.cells
    node = next(number for number, each in context.nodes.items() if isinstance(each, InputNode))
    own = torch.zeros(cells.size, dtype=torch.bool)
    for number in context.noisy:
        op = cells.ops[number]
        own[op.span] = True
    chosen = ((cells.node[: cells.size] == node) & own).nonzero().squeeze(1)
    encoded = x.reshape(*x.shape[:2], -1).clone()
    encoded[cells.step[chosen], cells.sample[chosen], cells.place[chosen]] = cells.values[chosen]
    return encoded.reshape(x.shape)


def _compare_spikes(neuron: Neuron, name: str, found: Tensor, context: Context) -> None:
    """TraceError where the canonical neuron fires otherwise than was recorded."""
    for step, arrays in neuron.spikes.items():
        recorded = context.cells.values[arrays[0]]
        if found[step].numel() != recorded.numel():
            raise TraceError(
                f"neuron {name!r} is of {recorded.numel()} elements at step {step}, what was read of it has "
                f"{found[step].numel()} ({neuron.place})",
                hints=[REPORT],
            )
        ours = found[step].reshape(recorded.shape)
        wrong = (ours - recorded).abs() > 1e-6
        if bool(wrong.any()):
            sample, place = wrong.nonzero()[0].tolist()
            raise TraceError(
                f"neuron {name!r} gives {recorded[sample, place]:g} spikes at step {step}, what was read of it gives "
                f"{ours[sample, place]:g} (place {place} of sample {sample}, {neuron.place})",
                hints=[REPORT],
            )


def _compare_answers(answer: Answer, found: Tensor) -> None:
    recorded = answer.values
    if bool((answer.steps == REDUCED).all()) or len(torch.unique(answer.steps)) == 1:
        ours = found.reshape(len(found), -1)[answer.samples]
    else:
        ours = found.reshape(*found.shape[:2], -1)[answer.steps, answer.samples]
    size = max(float(recorded.abs().max()), 1e-12)
    if ours.shape != recorded.shape or bool(((ours - recorded).abs() > _ROUNDING * size).any()):
        raise TraceError(
            "the network in normal form gives another answer than the network",
            hints=[REPORT],
        )
