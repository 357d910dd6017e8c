"""A checkpoint's state and the training that is to go on from it -> what does not fit, before anything changes.

Optimizers write into memory of the sizes that they were given: a state of another shape is no exception there, but a
crash of the process or another result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdcompress.training.checkpoint import Tally, Tensors, TrainingState
from mdcompress.training.history import EpochRecord

_STEP = "step"  # the name that torch's optimizers give to how many steps a parameter was trained


@dataclass(frozen=True)
class Place:
    """How long the training is: epochs, steps an epoch, and whether an average of the weights is kept."""

    epochs: int
    steps: int
    averages: bool


def misfit(
    state: TrainingState, *, model: Tensors, optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter],
    place: Place,
) -> str:  # fmt: skip
    """The first thing in `state` that no training of this kind can have written, in words; empty where there is none.

    Args:
        state: as it was read.
        model: the network's own tensors.
        optimizer: the training's own, as it was made.
        parameters: those that it trains, in its order.
        place: how long the training is.
    """
    found = [
        _misfit_of_place(state, place),
        *map(_misfit_of_record, state.history),
        _misfit_of_tally(state.tally, step=state.step),
        _misfit_of_part("model", state.model, model),
        _misfit_of_best(state, model),
        _misfit_of_part("average", state.average, model if place.averages else {}),
        *_misfits_of_optimizer(state, optimizer, parameters),
    ]
    return next((words for words in found if words), "")


def _misfit_of_place(state: TrainingState, place: Place) -> str:
    """Epochs count from 1 to one after the last; an epoch that is over has begun no step of the next."""
    if not 1 <= state.epoch <= place.epochs + 1:
        return f"its epoch must be 1 to {place.epochs + 1}, and is {state.epoch}"
    most = place.steps if state.epoch <= place.epochs else 0
    if not 0 <= state.step <= most:
        return f"its step must be 0 to {most} in epoch {state.epoch}, and is {state.step}"
    done = [record.epoch for record in state.history if record.epoch != 0]
    if done != list(range(1, state.epoch)) or any(record.epoch == 0 for record in state.history[1:]):
        return f"its history must hold the epochs before epoch {state.epoch}, and holds {done}"
    return ""


def _misfit_of_record(record: EpochRecord) -> str:
    accuracies = [score.accuracy for score in record.validation]
    accuracies += [] if record.train_accuracy is None else [record.train_accuracy]
    if not all(0.0 <= accuracy <= 1.0 for accuracy in accuracies):
        return f"the accuracies of epoch {record.epoch} must be in [0, 1], and are {accuracies}"
    if not all(set(score.right) <= {"0", "1"} for score in record.validation):
        return f"the right answers of epoch {record.epoch} must be written as 0 and 1, and are not"
    return "" if record.validation else f"epoch {record.epoch} must have been validated, and was not"


def _misfit_of_tally(tally: Tally, *, step: int) -> str:
    if not 0 <= tally.correct <= tally.samples or (tally.samples == 0) != (step == 0) or tally.seconds < 0:
        return f"its sums must be those of {step} steps, and are {tally.correct} right of {tally.samples} samples"
    return ""


def _misfit_of_best(state: TrainingState, model: Tensors) -> str:
    """The best network is there as soon as one epoch could be the result."""
    expected = model if any(record.candidate for record in state.history) else {}
    return _misfit_of_part("best", state.best, expected)


def _misfit_of_part(part: str, found: Tensors, expected: Mapping[str, Tensor]) -> str:
    """Names, shapes, types, and finite numbers; what is infinite in the network itself (a mask) may be so here."""
    if found.keys() != expected.keys():
        differing = sorted(found.keys() ^ expected.keys())
        return f"{len(differing)} tensors of `{part}` are in one of them only, {differing[0]!r} first"
    for name, tensor in found.items():
        own = expected[name]
        if tensor.shape != own.shape or tensor.dtype != own.dtype:
            return f"{part}/{name} must be {_form(own)}, and is {_form(tensor)}"
        if tensor.is_floating_point():
            broken = ~torch.isfinite(tensor) & (tensor != own.detach().cpu())
            if bool(broken.any()):
                return f"{part}/{name} must be finite, and holds NaN or infinity"
    return ""


# ------------------------------------------------------------------ the optimizer


def _misfits_of_optimizer(
    state: TrainingState, optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]
) -> Iterator[str]:
    """Of each parameter all of the optimizer's tensors or none (it had no gradient); one at least after a step."""
    kinds = _kinds(optimizer)
    entries: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.optimizer.items():
        number, _, name = key.partition("/")
        entries.setdefault(number, {})[name] = tensor
    if kinds and not entries and (state.epoch, state.step) != (1, 0):
        yield "it must hold the optimizer's state, and holds none"
    for number, named in entries.items():
        if not (number.isascii() and number.isdigit() and str(int(number)) == number) or int(number) >= len(parameters):
            yield f"optimizer/{number} must be one of its {len(parameters)} parameters"
        elif named.keys() != set(kinds):
            yield f"optimizer/{number} must hold {', '.join(kinds) or 'nothing'}, and holds {', '.join(sorted(named))}"
        else:
            yield from _misfits_of_entry(f"optimizer/{number}", named, parameters[int(number)])


def _kinds(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    match optimizer:
        case torch.optim.SGD():
            return ("momentum_buffer",) if optimizer.defaults["momentum"] else ()
        case _:
            return (_STEP, "exp_avg", "exp_avg_sq")  # AdamW and Adam


def _misfits_of_entry(place: str, named: Tensors, parameter: nn.Parameter) -> Iterator[str]:
    for name, tensor in named.items():
        expected = torch.zeros((), dtype=torch.float32) if name == _STEP else parameter
        if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            yield f"{place}/{name} must be {_form(expected)}, and is {_form(tensor)}"
        elif not bool(torch.isfinite(tensor).all()):
            yield f"{place}/{name} must be finite, and holds NaN or infinity"
        elif name in (_STEP, "exp_avg_sq") and bool((tensor < 0).any()):
            yield f"{place}/{name} must not be negative, and is"
        elif name == _STEP and (float(tensor) < 1 or float(tensor) != math.floor(float(tensor))):
            yield f"{place}/{name} must be a number of steps, and is {float(tensor)}"


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
