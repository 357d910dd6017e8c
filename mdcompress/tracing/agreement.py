"""Does every neuron of the pass do what the graph says? The canonical neuron is run on the very currents it was given.

This proves what the probe of a neuron alone cannot: that the layout of time was read rightly, that the state was
carried from step to step, and that it started from rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mdcompress.adapters import simulate
from mdcompress.adapters.base import class_and_version
from mdcompress.adapters.recurrence import recurrence_of, with_recurrence
from mdcompress.adapters.simulation import Simulation
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, ReadoutMode, channel_values
from mdcompress.tracing.neurons import Call, all_steps

_ROUNDING = 1e-4  # of the largest potential: float32 sums over the steps, in another order, differ by less


def check_agreement(name: str, module: nn.Module, model: NeuronModel, call: Call, *, batch: int) -> None:
    """TraceError at the first spike of the pass that the canonical neuron does not give.

    Where float32 rounds a potential that lies at a firing level, either side is right, and what follows is left out.
    """
    if model.output == "membrane":
        _check_membranes(name, module, model, call, batch)
        return
    currents = all_steps(call.currents, call.position, batch).double()
    found = all_steps(call.spikes, call.position, batch).double()
    expected = simulate(model, with_recurrence(currents, found, recurrence_of(module, model)))
    wrong = _first_differences(found, expected.spikes) & ~_near_a_level(model, expected)
    if not wrong.any():
        return
    step, *index = wrong.nonzero()[0].tolist()
    place = (step, *index)
    raise TraceError(
        f"neuron {name!r} ({class_and_version(module)}) does not follow its description inside the network: at step "
        f"{step} with current {currents[place].item():.6g} it gives {found[place].item():g} spikes, the canonical "
        f"neuron {expected.spikes[place].item():g}",
        hints=[
            "its state must start from rest and be its own: reset it before the pass, and give every neuron of the "
            "user's own that keeps state a method reset_state()"
        ],
    )


def _check_membranes(name: str, module: nn.Module, model: NeuronModel, call: Call, batch: int) -> None:
    found = call.spikes[0] if call.reduces != "none" else all_steps(call.spikes, call.position, batch)
    mode: ReadoutMode = "steps" if call.reduces == "none" else call.reduces
    if not holds_membrane(found, mode, module, model, call, batch=batch):
        raise TraceError(
            f"neuron {name!r} ({class_and_version(module)}) does not follow its description inside the network: its "
            "output is not the membrane of the canonical neuron",
            hints=["its state must start from rest and be its own: reset it before the pass"],
        )


def holds_membrane(
    answer: Tensor, mode: ReadoutMode, module: nn.Module, model: NeuronModel, call: Call, *, batch: int
) -> bool:
    """Whether a network's answer is the neuron's membrane after the reset, or its reduction over time.

    Not where channels differ in their gain: then they have no one unit.
    """
    if not model.has_one_gain:
        return False
    currents = all_steps(call.currents, call.position, batch).double()
    spikes = all_steps(call.spikes, call.position, batch).double()
    v = simulate(model, with_recurrence(currents, spikes, recurrence_of(module, model))).membranes
    reduced = {"steps": v, "mean": v.mean(0), "sum": v.sum(0), "max": v.amax(0), "last": v[-1]}[mode]
    largest = max(float(reduced.abs().max()), 1.0)
    return answer.shape == reduced.shape and bool((answer - reduced).abs().max() <= _ROUNDING * largest)


def _first_differences(found: Tensor, expected: Tensor) -> Tensor:
    """Where a neuron's spikes differ for the first time, [T, N, ...]."""
    differing = found != expected
    return differing & (differing.cumsum(0) == 1)


def _near_a_level(model: NeuronModel, expected: Simulation) -> Tensor:
    """Where the potential lies as near to a firing level as float32 rounds."""
    threshold = torch.tensor(channel_values(model.threshold), dtype=torch.float64, device=expected.potentials.device)
    threshold = threshold.reshape(-1, *(1 for _ in expected.potentials.shape[3:]))
    largest = max(float(expected.potentials.abs().max()), float(threshold.abs().max()), math.ulp(1.0))
    levels = expected.potentials / threshold - (0.5 if model.spike == "round" else 0.0)
    if model.spike == "binary" and model.rearm == "double":
        levels = torch.where(levels > 1.5, levels - 1.0, levels)
    distance = (levels - 1.0).abs() if model.spike == "binary" else (levels - levels.round()).abs()
    near: Tensor = distance * threshold.abs() <= _ROUNDING * largest
    return near
