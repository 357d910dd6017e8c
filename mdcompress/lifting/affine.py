"""An expression of elements as a bias and a sum of weights times leaves, or as none of the kind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mdcompress.errors import TraceError
from mdcompress.lifting.cells import Arrangement
from mdcompress.lifting.context import Context
from mdcompress.lifting.identify import snap
from mdcompress.lifting.program import Program
from mdcompress.lifting.tape import Place

NEAR = 1e-9


@dataclass(frozen=True)
class Term:
    """A leaf of an expression: its cells [B, P], and what it is worth, [P]."""

    cells: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Affine:
    """An expression as rows: their terms, and what they are where all leaves are 0, [B, P]."""

    rows: Arrangement
    terms: tuple[Term, ...]
    bias: Tensor


def affine_of(context: Context, labels: Tensor, rows: Arrangement, leaves: list[Tensor]) -> Affine | None:
    """The expression as bias + sum of weights times leaves; None where it is not linear in them.

    Args:
        context: the analysis.
        labels: the cells of the expression.
        rows: they as rows.
        leaves: what they are computed from, [B, P] each; -1 where nothing is read.
    """
    targets = labels.reshape(-1)[rows.order]
    program = Program(context.cells, targets, context.is_leaf)
    memory = program.memory()

    def at(values: list[Tensor | float]) -> Tensor:
        for cells, value in zip(leaves, values, strict=True):
            held = cells >= 0
            memory[cells[held]] = value if isinstance(value, float) else value[held]
        return program.run(memory).clone()

    bias = at([0.0] * len(leaves))
    count = len(leaves)
    weights = [at([1.0 if each == other else 0.0 for other in range(count)]) - bias for each in range(count)]
    generator = torch.Generator().manual_seed(2)
    for draw in range(3):
        values: list[Tensor | float] = [_draw(context, cells, generator, draw) for cells in leaves]
        expected = bias + sum(
            (w * torch.where(cells >= 0, v, 0.0) for w, v, cells in zip(weights, values, leaves, strict=True)),
            torch.zeros_like(bias),
        )
        got = at(values)
        if not bool(torch.isfinite(got).all()):
            return None
        size = max(float(expected.abs().max()), 1e-12)
        if bool(((got - expected).abs() > NEAR * size).any()):
            return None
    size = max([float(w.abs().max()) for w in weights] + [1e-30])
    kept = [(cells, w) for cells, w in zip(leaves, weights, strict=True) if float(w.abs().max()) > 1e-12 * size]
    for values_of_row in [w for _, w in kept] + [bias]:
        for step in torch.unique(rows.steps).tolist():
            own = values_of_row[rows.steps == step]
            if bool((own - own[:1]).abs().max() > NEAR * size):
                return None
    return Affine(rows, tuple(Term(cells, _snapped(w)) for cells, w in kept), _snapped(bias))


def _draw(context: Context, cells: Tensor, generator: torch.Generator, draw: int) -> Tensor:
    """Values for leaves: 0 and 1 for spikes, any number for currents."""
    held = torch.unique(cells[cells >= 0])
    nodes = torch.unique(context.cells.node[held]).tolist()
    if all(node in context.spiking for node in nodes):
        values = torch.randint(0, 2, held.shape, generator=generator).double()
    else:
        values = (1.0 + draw) * torch.randn(held.shape, generator=generator, dtype=torch.float64)
    at = torch.searchsorted(held, cells.clamp(min=0)).clamp(max=len(held) - 1)
    return torch.where(cells >= 0, values[at], 0.0)


def _snapped(values: Tensor) -> Tensor:
    kinds, back = torch.unique(values.reshape(-1), return_inverse=True)
    if len(kinds) > 4096:
        return values
    return torch.tensor([snap(value) for value in kinds.tolist()], dtype=torch.float64)[back].reshape(values.shape)


def channel_axis(shape: tuple[int, ...], weights: list[Tensor], place: Place) -> int:
    """The one axis of a sample along which factors differ; 0 where they do not.

    Raises:
        TraceError: they differ along several axes.
    """
    varying = set()
    for weight in weights:
        full = weight.reshape(shape)
        for axis in range(len(shape)):
            if bool((full - full.narrow(axis, 0, 1)).abs().max() > 1e-12 * max(float(full.abs().max()), 1e-30)):
                varying.add(axis)
    if len(varying) > 1:
        raise TraceError(
            f"factors differ from element to element of a sample {shape} ({place})",
            hints=["give a layer one factor, or one for each channel"],
        )
    return varying.pop() if varying else 0


def turned(affine: Affine, axis: int) -> tuple[Arrangement, Affine]:
    """The same with an axis of the sample first."""
    rows = affine.rows
    shape = (rows.shape[axis], *rows.shape[:axis], *rows.shape[axis + 1 :])

    def turn(x: Tensor) -> Tensor:
        return x.reshape(len(x), *rows.shape).movedim(1 + axis, 1).reshape(len(x), -1)

    turned = Arrangement(rows.steps, rows.samples, turn(rows.order), shape)
    terms = tuple(Term(turn(term.cells), turn(term.weight)) for term in affine.terms)
    return turned, Affine(turned, terms, turn(affine.bias))
