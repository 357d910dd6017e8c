"""The options of a user and the habits of an exporter -> how every neuron of a NIR graph is read. No torch here.

NIR's neurons are differential equations. A file says neither how long a step is nor how it is taken, and no exporter
writes the kind of reset; so all of it is asked for, and nothing is guessed (docs/nir.md has the table).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from intsnn.errors import UsageError
from mdcompress.graph import Comparator, ResetKind
from mdcompress.recipe.nir import Discretization, NirExporter, NirSpec, ResetStep, SpikeCount, StartLevel

LEAKY = ("LIF", "LI", "CubaLIF", "CubaLI")
INTEGRATORS = ("IF", "I")
SPIKING = ("IF", "LIF", "CubaLIF")


@dataclass(frozen=True)
class Interpretation:
    """How the neurons of one graph are read: `NirSpec` with nothing open that the graph needs."""

    dt: float
    reset: ResetKind
    comparator: Comparator
    discretization: Discretization
    reset_step: ResetStep
    spikes: SpikeCount
    start: StartLevel


@dataclass(frozen=True)
class Habits:
    """What an exporter always writes alike, and, by key, what its file does not tell."""

    fixed: NirSpec
    open: Mapping[str, str] = field(default_factory=dict)


def habits_of(exporter: NirExporter) -> Habits:
    """The habits of an exporter, read off its source (spikingjelly 2.0, snntorch 1.0, norse 1.1, sinabs 3.1)."""
    match exporter:
        case "spikingjelly":  # nir_exchange.to_nir: tau = tau*dt, r = 1/dt or tau; a soft reset is refused there
            fixed = NirSpec(dt=1e-4, reset="hard", comparator="greater_equal", discretization="euler", start="v_reset")
            return Habits(fixed)
        case "snntorch":  # export_nir: tau = dt/(1 - beta), r = tau/dt; v_reset = 0 whatever reset_mechanism is
            fixed = NirSpec(dt=1e-4, comparator="greater", discretization="euler", reset_step="next_step")
            return Habits(fixed, {"reset": "its reset_mechanism: soft for 'subtract' (its default), hard for 'zero'"})
        case "norse":  # export_nir: tau = dt/tau_inv with dt = 1e-3, so that a step is dt^2 in the file's unit
            fixed = NirSpec(dt=1e-6, comparator="greater", discretization="norse")
            return Habits(fixed, {"reset": "hard (its default), soft for LIFBoxCell with reset_subtract"})
        case "sinabs":  # nir.to_nir: tau in steps, r = 1 whatever norm_input is; reset_fn and spike_fn are lost
            asked = {
                "reset": "its reset_fn: soft for MembraneSubtract (its default)",
                "spikes": "its spike_fn: counts for MultiSpike (its default), binary for SingleSpike",
                "discretization": "exponential for LIF with norm_input=True (its default), jump with False",
            }
            return Habits(NirSpec(dt=1.0, comparator="greater_equal"), asked)
        case _:
            assert_never(exporter)


_QUESTIONS: Mapping[str, str] = {
    "dt": "the length of a step in the unit of the file's time constants, for example 1e-4",
    "reset": "hard (to v_reset), soft (minus v_threshold) or none",
    "comparator": "greater or greater_equal",
    "discretization": "euler, exponential, jump or norse",
}


def interpret(spec: NirSpec, kinds: Iterable[str]) -> Interpretation:
    """The interpretation of a graph with nodes of these kinds (NIR's class names).

    Raises:
        UsageError: the graph needs keys that neither the options nor the exporter give; all are listed.
    """
    habits = Habits(NirSpec()) if spec.exporter is None else habits_of(spec.exporter)
    given = habits.fixed.model_dump(exclude_none=True) | spec.model_dump(exclude_none=True, exclude={"exporter"})
    missing = [key for key in _needed(set(kinds), given, habits) if key not in given]
    if missing:
        known = f"an exporter {spec.exporter!r} leaves" if spec.exporter else "NIR leaves"
        raise UsageError(
            f"how the neurons of this NIR graph are read must be said: {known} open {', '.join(missing)}",
            hints=[
                *(f"give `{key}`: {habits.open.get(key) or _QUESTIONS[key]}" for key in missing),
                "on the command line `--nir key=value`, in a recipe `model.nir.key`, in Python from_nir(…, key=value)",
                *([] if spec.exporter else ["or name the library that wrote it: `exporter`"]),
            ],
        )
    unread = {  # what no node of the graph reads
        "dt": 1.0,
        "reset": "none",
        "comparator": "greater",
        "discretization": "euler",
        "reset_step": "same_step",
        "spikes": "binary",
        "start": "v_leak",
    }
    return Interpretation(**(unread | given))  # type: ignore[arg-type]  # the keys and values are NirSpec's


def _needed(kinds: set[str], given: Mapping[str, object], habits: Habits) -> list[str]:
    """The keys that nodes of these kinds read. Integrators are discretized alike by all rules where dt is 1."""
    keys = []
    if kinds.intersection((*LEAKY, *INTEGRATORS)):
        keys.append("dt")
    if kinds.intersection(LEAKY) or (kinds.intersection(INTEGRATORS) and given.get("dt") != 1.0):
        keys.append("discretization")
    if kinds.intersection(SPIKING):
        keys += ["reset", "comparator", *(key for key in ("spikes",) if key in habits.open)]
    if "Threshold" in kinds:
        keys.append("comparator")
    return list(dict.fromkeys(keys))
