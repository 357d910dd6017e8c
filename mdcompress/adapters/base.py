"""What an adapter is, the canonical neuron every adapter maps to, and the probe that proves the mapping.

An adapter recognises a neuron class and describes one instance of it as a `NeuronModel`. The probe then runs the
user's own module beside the canonical equations; one differing spike is an error.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel

PROBE_STEPS, PROBE_NEURONS = 100, 256


class Adapter(Protocol):
    """Turns the neurons of one library into canonical models."""

    def describe(self, module: nn.Module) -> NeuronModel | None:
        """The canonical model of `module`, or None where it is not a neuron of this library."""
        ...


@dataclass(frozen=True)
class Simulation:
    """A canonical run: spikes, potentials before reset (h) and membranes after it (v), all [T, N, ...]."""

    spikes: Tensor
    potentials: Tensor
    membranes: Tensor


def simulate(model: NeuronModel, currents: Tensor) -> Simulation:
    """Run the canonical float neuron on currents [T, N, ...] (equations: `NeuronModel`)."""
    v = torch.full_like(currents[0], model.initial)
    spikes, potentials, membranes = [], [], []
    for current in currents.unbind(0):
        h = model.decay * v + model.input_gain * current + model.drive
        fires = h >= model.threshold if model.comparator == "greater_equal" else h > model.threshold
        spike = fires.to(h.dtype)  # bool * float would round the float to float32
        match model.reset:
            case "hard":
                v = torch.where(fires, model.reset_value, h)
            case "soft":
                v = h - model.soft_amount * spike
            case "none":
                v = h
        spikes.append(spike)
        potentials.append(h)
        membranes.append(v)
    return Simulation(torch.stack(spikes), torch.stack(potentials), torch.stack(membranes))


def probe(name: str, module: nn.Module, model: NeuronModel) -> None:
    """Run `module` and its canonical model on hard input; TraceError at the first differing spike.

    The input, [100, 256] in float64, holds ties (h = threshold on a dyadic grid), drives beyond twice the threshold,
    and negative drives. Equality of spikes is exact.
    """
    currents = _hard_currents(model.threshold)
    with torch.no_grad():
        found = copy.deepcopy(module).double()(currents)
        expected = simulate(model, currents).spikes
    if found.shape != expected.shape:
        raise TraceError(
            f"neuron {name!r} ({_class_name(module)}) must keep the shape {list(currents.shape)} "
            f"(it returned {list(found.shape)})",
            hints=["a neuron layer gives one spike for every current: [T, N, ...] to [T, N, ...]"],
        )
    differing = (found != expected).nonzero()
    if len(differing):
        step, index = differing[0].tolist()
        raise TraceError(
            f"neuron {name!r} ({_class_name(module)}) does not follow its description {model}: at step {step} with "
            f"current {currents[step, index].item():.6g} it gives {found[step, index].item():g} spikes, "
            f"the canonical neuron {expected[step, index].item():g}",
            hints=["a subclass with its own forward, or another version of the library, needs its own adapter"],
        )


def _hard_currents(threshold: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (PROBE_STEPS, PROBE_NEURONS // 2)
    smooth = torch.normal(0.5, 1.2, shape, generator=generator, dtype=torch.float64)
    ties = torch.randint(-8, 17, shape, generator=generator).double() / 8
    return threshold * torch.cat([smooth, ties], dim=1)


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
