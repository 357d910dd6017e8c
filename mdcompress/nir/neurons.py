"""A neuron node of NIR -> the canonical neuron, by the rules of an Interpretation. No torch here.

LIF, LI: tau*v' = (v_leak - v) + r*x;  IF, I: v' = r*x;  CubaLIF, CubaLI: tau_syn*i' = -i + w_in*x, then LIF of i.

| rule        | leaky: decay    | gain          | integrator: gain | synapse: decay      | gain           |
|-------------|-----------------|---------------|------------------|---------------------|----------------|
| euler       | 1 - dt/tau      | r*dt/tau      | r*dt             | 1 - dt/tau_syn      | w_in*dt/tau_syn|
| exponential | exp(-dt/tau)    | r*(1 - decay) | r*dt             | exp(-dt/tau_syn)    | w_in*(1 - decay)|
| jump        | exp(-dt/tau)    | r             | r                | exp(-dt/tau_syn)    | w_in           |
| norse       | 1 - dt/tau      | r*dt/tau      | r                | 1 - dt/tau_syn      | w_in           |

The drive is v_leak*(1 - decay). The current of a step is the synaptic state after that step's input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mdcompress.adapters.refusals import PER_NEURON
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, Numbers, channel_values
from mdcompress.nir.interpretation import LEAKY, SPIKING, Interpretation

NEURONS = ("IF", "LIF", "CubaLIF", "LI", "I", "CubaLI", "Threshold")
Array = npt.NDArray[np.float64]
Arrival = Literal["whole", "scaled"]


def neuron_of(name: str, node: Any, how: Interpretation) -> NeuronModel:
    """The canonical neuron of a node of NEURONS.

    Raises:
        TraceError: a parameter is not finite or differs within a channel, or the graph of integers has no
            such neuron; the node is named.
    """
    read = _Parameters(name, node)
    kind = type(node).__name__
    model = NeuronModel(1.0, 1.0, 0.0, 1.0, how.comparator, "none", 0.0, 0.0, 0.0)
    if kind == "Threshold":
        return replace(model, decay=0.0, threshold=read.numbers(read.array("threshold")))
    model = _leaking(read, model, how) if kind in LEAKY else _integrating(read, model, how)
    if kind.startswith("Cuba"):
        arrival: Arrival = "whole" if how.discretization in ("jump", "norse") else "scaled"
        decay, gain = _step(read, how, tau="tau_syn", gain="w_in", arrival=arrival)
        model = replace(model, synapse_decay=read.numbers(decay), synapse_gain=read.numbers(gain))
    return _firing(read, model, how) if kind in SPIKING else model


def with_recurrence(name: str, model: NeuronModel, how: Interpretation) -> NeuronModel:
    """The neuron where it reads its own last spikes: a reset in the next step then discards what they bring too."""
    if how.reset_step == "next_step" and model.reset == "hard":
        model = _masked(name, model)
    return replace(model, recurrent="recurrent")


def _integrating(read: _Parameters, model: NeuronModel, how: Interpretation) -> NeuronModel:
    whole, r = how.discretization in ("jump", "norse"), read.array("r")
    return replace(model, input_gain=read.numbers(r if whole else r * read.dt(how)))


def _leaking(read: _Parameters, model: NeuronModel, how: Interpretation) -> NeuronModel:
    tau = "tau_mem" if hasattr(read.node, "tau_mem") else "tau"
    arrival: Arrival = "whole" if how.discretization == "jump" else "scaled"
    decay, gain = _step(read, how, tau=tau, gain="r", arrival=arrival)
    rest = read.array("v_leak")
    return replace(
        model,
        decay=read.numbers(decay),
        input_gain=read.numbers(gain),
        drive=read.numbers(rest * (1.0 - decay)),
        initial=read.numbers(rest),
    )


def _step(read: _Parameters, how: Interpretation, *, tau: str, gain: str, arrival: Arrival) -> tuple[Array, Array]:
    """Decay and gain of one leaky equation, whose input arrives whole or scaled by the step."""
    ratio, size = read.dt(how) / read.array(tau), read.array(gain)
    decays = how.discretization in ("exponential", "jump")
    decay = np.exp(-ratio) if decays else 1.0 - ratio
    share = 1.0 - decay if decays else ratio
    return decay, size if arrival == "whole" else size * share


def _firing(read: _Parameters, model: NeuronModel, how: Interpretation) -> NeuronModel:
    threshold, reset_value = (read.numbers(read.array(name)) for name in ("v_threshold", "v_reset"))
    if not all(theta > 0 for theta in channel_values(threshold)):
        raise read.refused(f"a threshold must be above 0 (got {threshold})", "a neuron at rest stands at 0, below it")
    model = replace(model, threshold=threshold, reset=how.reset)
    if how.spikes == "counts":
        model = replace(model, spike="floor", max_spikes=None, comparator="greater_equal")
    if how.reset == "hard":
        model = replace(model, reset_value=reset_value)
    integrates = not hasattr(read.node, "v_leak")
    if integrates or how.start == "v_reset":
        model = replace(model, initial=model.reset_value)
    if how.reset == "soft":
        model = replace(model, soft_amount=threshold)
        return replace(model, timing="after_leak") if how.reset_step == "next_step" else model
    if how.reset == "hard" and how.reset_step == "next_step" and model.synapse_decay is not None:
        return _masked(read.name, model)
    return model  # hard without a second input: the next step starts from v_reset either way


def _masked(name: str, model: NeuronModel) -> NeuronModel:
    if any(channel_values(model.reset_value)):
        raise refused(
            name, "LIF", f"a reset in the next step goes to 0 (its v_reset is {model.reset_value})",
            "set v_reset to 0, or say reset_step=same_step",
        )  # fmt: skip
    return replace(model, timing="masked")


@dataclass(frozen=True)
class _Parameters:
    """The arrays of one node; what is computed from them is as exact as they are."""

    name: str
    node: Any

    def array(self, field: str) -> Array:
        """A parameter in float64; TraceError where it is not finite."""
        values = np.asarray(getattr(self.node, field, _ABSENT.get(field)), dtype=np.float64)
        if not np.isfinite(values).all():
            raise self.refused(f"{field} must be finite (it holds {values.flat[0]:g} or the like)", _FINITE_HINT)
        return values

    def dt(self, how: Interpretation) -> float:
        """The step, rounded as the file's arrays are: an exporter's 1e-4 was float32 where they are."""
        return float(np.float32(how.dt)) if self._single else how.dt

    def numbers(self, values: Array) -> Numbers:
        """One number, or one per channel; float32 where the file's arrays are, as the exporter's own numbers were."""
        if self._single:
            values = values.astype(np.float32).astype(np.float64)
        if (values == values.flat[0]).all():
            return float(values.flat[0])
        rows = values.reshape(values.shape[0], -1)
        if not (rows == rows[:, :1]).all():
            raise self.refused(PER_NEURON.reason, PER_NEURON.hint)
        return tuple(rows[:, 0].tolist())

    def refused(self, reason: str, hint: str) -> TraceError:
        """The error that names the node."""
        return refused(self.name, type(self.node).__name__, reason, hint)

    @property
    def _single(self) -> bool:
        arrays = [np.asarray(value) for key, value in vars(self.node).items() if key in _ARRAYS]
        return bool(arrays) and all(array.dtype == np.float32 for array in arrays)


_ABSENT = {"v_reset": 0.0, "w_in": 1.0}  # what nodes of older versions of nir mean without them
_ARRAYS = ("tau", "tau_mem", "tau_syn", "r")
_FINITE_HINT = "a leaky neuron without leak (beta = 1, tau = inf) is an IF or I node in NIR"


def refused(name: str, kind: str, reason: str, hint: str) -> TraceError:
    """NIR node `name` of a kind cannot become integers."""
    return TraceError(f"NIR node {name!r} ({kind}) cannot become integers: {reason}", hints=[hint])
