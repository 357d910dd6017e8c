"""A sum over steps as a node: their sum or mean, or the membrane of a neuron that only integrates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdcompress.adapters.simulation import simulate
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel
from mdcompress.lifting.affine import NEAR, Affine, Term
from mdcompress.lifting.cells import REDUCED, Arrangement, Pattern
from mdcompress.lifting.context import Context
from mdcompress.lifting.identify import impulse_poles, snap
from mdcompress.lifting.moving import Gathering
from mdcompress.lifting.network import CanonicalNeuron, Finding, NeuronNode, TimeNode
from mdcompress.lifting.patterns import assign_rows, pattern_of, whole
from mdcompress.lifting.scales import scaled_and_shifted
from mdcompress.lifting.tape import Op
from mdcompress.lifting.words import in_words


def resolve_over_time(context: Context, op: Op, affine: Affine, *, running: bool) -> None:
    """Write the node of a sum of one node's steps.

    Args:
        context: the analysis.
        op: the operator that made the expression.
        affine: the expression.
        running: whether it may go on from step to step, as a membrane that is returned at every step.

    Raises:
        TraceError: it is no sum, mean or last step, nor a membrane that decays.
    """
    found = _course(context, op, affine)
    reads = context.gathered(found.pattern, op.place)
    if float(found.final.max() - found.final.min()) > 1e-12 * float(found.final.abs().max()) or found.final[0] < 0:
        found = _scaled_first(context, op, found)
        reads = context.gathered(found.pattern, op.place)
    weights = [snap(float(share[0]) * float(found.final[0])) for share in found.shares]
    ends = len(weights) == context.steps
    if not running and ends and len(set(weights)) == 1 and weights[0] > 0:
        _write_reduction(context, op, found.rows, reads, found.pattern, weights[0])
        return
    membrane = _integrator(context, op, reads, found.pattern, weights) if weights[-1] > 0 else None
    if membrane is None or not (running or ends):
        raise _over_time(context, op, affine)
    if running:
        assign_rows(context, op, found.rows, membrane)
    else:
        assign_rows(context, op, found.rows, _last_step(context, op, membrane), step=REDUCED)


@dataclass(frozen=True)
class _Course:
    """A sum over the steps of one pattern. final: the factor of the last, [P]; shares: of that, of each step, [P]."""

    rows: Arrangement
    pattern: Pattern
    final: Tensor
    shares: list[Tensor]


def _course(context: Context, op: Op, affine: Affine) -> _Course:
    """The sum as the factors of its steps; TraceError where it is no such sum."""
    rows, last = affine.rows, int(affine.rows.steps.max())
    if last < 0 or not bool((rows.steps == last).all()) or bool(affine.bias.any()):
        raise _over_time(context, op, affine)
    by_step: dict[int, Term] = {}
    for term in affine.terms:
        steps = torch.unique(context.cells.step[term.cells]).tolist()
        if len(steps) != 1 or steps[0] in by_step or steps[0] < 0:
            raise _over_time(context, op, affine)
        by_step[int(steps[0])] = term
    patterns = {step: pattern_of(context, term.cells, rows, op.place) for step, term in by_step.items()}
    if last not in by_step or len({pattern.key for pattern in patterns.values()}) != 1:
        raise _over_time(context, op, affine)
    final = by_step[last].weight[0]
    if not bool((final != 0).all()):
        raise _over_time(context, op, affine)
    zero = torch.zeros_like(final)
    shares = [(by_step[step].weight[0] if step in by_step else zero) / final for step in range(last + 1)]
    if any(float(share.max() - share.min()) > NEAR for share in shares):
        raise _over_time(context, op, affine)
    return _Course(rows, patterns[last], final, shares)


def _scaled_first(context: Context, op: Op, found: _Course) -> _Course:
    """The same with a factor for each channel as a node before the sum; of a mean the rest is 1 / T."""
    is_mean = all(float(share[0]) == 1.0 for share in found.shares) and len(found.shares) == context.steps
    rest = 1.0 / context.steps if is_mean else 1.0
    scale = found.final * context.steps if is_mean else found.final
    shape, reads = found.rows.shape, context.gathered(found.pattern, op.place)
    number = scaled_and_shifted(context, op, reads, scale, None, shape, reduced=False)
    return replace(found, pattern=whole(number, shape), final=torch.full_like(found.final, rest))


def _last_step(context: Context, op: Op, membrane: int) -> int:
    """The node of the last step of a membrane."""
    key = ("last", membrane)
    number = context.keys.get(key)
    if number is None:
        shape = context.shapes[membrane]
        number = context.new_node(key, TimeNode(context.gathered(whole(membrane, shape), op.place), "last"), shape)
        context.reduced.add(number)
    return number


def _write_reduction(
    context: Context, op: Op, rows: Arrangement, reads: Gathering, pattern: Pattern, weight: float
) -> None:
    steps = context.steps
    mean = abs(weight * steps - 1.0) < 1e-12
    key = ("time", mean, weight, pattern.key)
    number = context.keys.get(key)
    if number is None:
        node = TimeNode(reads, "mean") if mean else TimeNode(reads, "sum", snap(weight))
        number = context.new_node(key, node, rows.shape)
        context.reduced.add(number)
    assign_rows(context, op, rows, number, step=REDUCED)


def _integrator(context: Context, op: Op, reads: Gathering, pattern: Pattern, weights: list[float]) -> int | None:
    """The neuron without spikes whose membrane a sum over time is; None where the weights are no decay.

    weights: of step 0, 1, ...; the last is the gain.
    """
    response = torch.tensor(weights[::-1], dtype=torch.float64)
    key = ("integrator", pattern.key, snap(weights[-1]))
    known = context.keys.get(key)
    if known is not None:
        module = context.building.modules[context.names[known]]
        assert isinstance(module, CanonicalNeuron)
        return known if _responds(module.model, response) else None
    poles = next((each for each in impulse_poles(response[:, None]) if not isinstance(each, str)), None)
    if poles is None:
        return None
    decay, synapse = (None if each is None else snap(float(each[0])) for each in poles)
    assert decay is not None
    model = NeuronModel(
        decay=decay, input_gain=snap(weights[-1]), drive=0.0, threshold=1.0, comparator="greater_equal", reset="none",
        reset_value=0.0, soft_amount=0.0, initial=0.0, output="membrane", synapse_decay=synapse,
    )  # fmt: skip
    if not _responds(model, response):
        return None
    name = context.building.add(f"{op.place.module}_membrane".lstrip("_"), CanonicalNeuron(model))
    context.findings.append(Finding(name, str(op.place), in_words(model)))
    return context.new_node(key, NeuronNode(name, reads), pattern.shape, name)


def _responds(model: NeuronModel, response: Tensor) -> bool:
    """Whether a membrane has this impulse response."""
    once = torch.zeros(len(response), 1, 1, dtype=torch.float64)
    once[0] = 1.0
    found = simulate(model, once).membranes.flatten()
    return bool((found - response).abs().max() <= NEAR * response.abs().max())


def _over_time(context: Context, op: Op, affine: Affine) -> TraceError:
    return TraceError(
        f"steps are combined in a way that is no sum, mean or last step, nor a membrane that decays ({op.place})",
        hints=[
            "take the mean, sum or last step over time at the end; what goes from step to step before it is the state "
            "of a neuron"
        ],
    )
