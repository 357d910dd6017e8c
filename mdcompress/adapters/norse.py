"""Norse 1.1: LIF, LIFBox, IAF, recurrent LIF; comparison `>`, states in tuples, parameters in a named tuple.

LI, LICell and LIBoxCell are the same without spikes: they put out v.

With r = dt*tau_mem_inv: h = v + r*(v_leak - v + i); LIF's current is i = (1 - dt*tau_syn_inv)*i + x, LIFBox's is x.
A recurrent LIF has x = input_weights*input + recurrent_weights*(last spikes), LILinearCell x = input_weights*input:
input weights become a layer of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mdcompress.adapters.axes import Calling
from mdcompress.adapters.base import Library, has_base, library_class, numbers
from mdcompress.adapters.refusals import Refusal, always_refused
from mdcompress.adapters.samples import Sample, sample
from mdcompress.adapters.weights import linear_of
from mdcompress.graph import NeuronModel, Numbers

_LIBRARY = "norse"
_TORCH = "norse.torch"
_CELLS = ("SNNCell", "SNNRecurrentCell", "LILinearCell")
_RECURRENT = ("SNNRecurrent", "SNNRecurrentCell")
_WEIGHTED = (*_RECURRENT, "LILinearCell")
_NEURON_BASES = ("SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell")

_ALWAYS = (
    Refusal(
        _LIBRARY,
        ("LIFRefracCell", "LIFRefracRecurrentCell", "LIFRefracRecurrent", "LIFMCRefracRecurrentCell"),
        "its membrane is frozen while it is refractory",
        "train with LIFCell",
    ),
    Refusal(
        _LIBRARY,
        (
            "LSNN",
            "LSNNCell",
            "LSNNRecurrent",
            "LSNNRecurrentCell",
            "LIFAdEx",
            "LIFAdExCell",
            "LIFAdExRecurrent",
            "LIFAdExRecurrentCell",
            "LIFAdExRefracCell",
            "LIFAdExRefracRecurrent",
            "LIFAdExRefracRecurrentCell",
        ),
        "its threshold or current adapts to its own spikes",
        "train with LIFCell",
    ),
    Refusal(
        _LIBRARY,
        (
            "LIFEx",
            "LIFExCell",
            "LIFExRecurrent",
            "LIFExRecurrentCell",
            "Izhikevich",
            "IzhikevichCell",
            "IzhikevichRecurrent",
            "IzhikevichRecurrentCell",
            "CobaLIFCell",
            "LIFMCRecurrentCell",
            "LIFCorrelation",
        ),
        "its membrane equation is not linear, or has several compartments",
        "train with LIFCell or LIFBoxCell",
    ),
    Refusal(
        _LIBRARY,
        ("RecurrentSequential",),
        "it feeds what several layers put out back to the first, and an integer neuron reads its own spikes alone",
        "use SequentialState with LIFRecurrent or LIFRecurrentCell",
    ),
)
_RESET = Refusal(
    _LIBRARY,
    ("LIFBoxCell",),
    "its reset is a function of the user's",
    "use norse's reset_value or reset_subtract",
    when="reset_method is neither reset_value nor reset_subtract",
)


class NorseNeurons(Library):
    """Describes the neuron classes of `classes`; threads the state of a cell through the steps."""

    title, library = "Norse", _LIBRARY
    refusals = (*_ALWAYS, _RESET)

    @property
    def classes(self) -> dict[str, Callable[[Any], NeuronModel | Refusal]]:
        """What describes which class."""
        return {
            "LIF": _leaky, "LIFCell": _leaky, "LIFRecurrent": _recurrent, "LIFRecurrentCell": _recurrent,
            "LIFBoxCell": _box, "IAF": _integrator, "IAFCell": _integrator,
            "LI": _silent, "LICell": _silent, "LILinearCell": _silent, "LIBoxCell": _silent_box,
        }  # fmt: skip

    def describe(self, module: nn.Module) -> NeuronModel | Refusal | None:
        """Read the parameters off the module's named tuple."""
        name = library_class(module, _LIBRARY)
        if name is None:
            return None
        if name in self.classes:
            return self.classes[name](module)
        is_neuron = any(name in row.classes for row in self.refusals) or has_base(module, _LIBRARY, _NEURON_BASES)
        return always_refused(self.refusals, name) if is_neuron else None

    def run(self, module: Any, currents: Tensor) -> Tensor:
        """Call a layer with all steps, a cell with one after the other."""
        module.p = _on_cpu(module.p)
        _let_read_currents(module)
        if has_base(module, _LIBRARY, ("SNN", "SNNRecurrent")):
            sequence: Tensor = module(currents)[0]
            return sequence
        spikes, state = [], None
        for current in currents:
            spike, state = module(current, state)
            spikes.append(spike)
        return torch.stack(spikes)

    def calling(self, module: nn.Module) -> Calling:
        """A cell takes one step, a layer all of them; the state is in the caller's hands."""
        return Calling(("N",) if has_base(module, _LIBRARY, _CELLS) else ("T", "N"), "explicit")

    def input_layer(self, module: Any) -> nn.Linear | None:
        """The input weights of a recurrent neuron and of LILinearCell."""
        return linear_of(module.input_weights, None) if has_base(module, _LIBRARY, _WEIGHTED) else None

    def recurrent_layer(self, module: Any, name: str) -> nn.Module:
        """The recurrent weights, which are a tensor."""
        if has_base(module, _LIBRARY, _RECURRENT):
            return linear_of(module.recurrent_weights, None)
        return super().recurrent_layer(module, name)

    def samples(self) -> tuple[Sample, ...]:
        """One of every class."""
        plain = ("LIF", "LIFCell", "LIFBoxCell", "IAF", "IAFCell", "LI", "LICell", "LIBoxCell")
        weighted = ("LILinearCell", "LIFRecurrent", "LIFRecurrentCell")
        return (
            *(sample(_TORCH, name) for name in plain),
            *(sample(_TORCH, name, input_size=4, hidden_size=4) for name in weighted),
        )


def _let_read_currents(module: Any) -> None:
    """The input weights of a copy become the identity."""
    if not has_base(module, _LIBRARY, _WEIGHTED):
        return
    module.input_weights = nn.Parameter(torch.eye(len(module.input_weights), dtype=torch.float64))
    if hasattr(module, "recurrent_weights"):  # no parameter, and not copied as one, where it was given
        module.recurrent_weights = nn.Parameter(module.recurrent_weights.detach().cpu().double())


def _on_cpu(parameters: Any) -> Any:
    """The named tuple's tensors on the CPU: Module.cpu does not see them."""
    moved = (value.detach().cpu() if isinstance(value, Tensor) else value for value in parameters)
    return type(parameters)(*moved)


def _integrator(module: Any) -> NeuronModel:
    threshold, reset = numbers(module.p.v_th), numbers(module.p.v_reset)
    return NeuronModel(1.0, 1.0, 0.0, threshold, "greater", "hard", reset, 0.0, reset)


def _rate(module: Any) -> Tensor:
    return torch.as_tensor(module.dt * module.p.tau_mem_inv).double()  # dt*tau is rounded to float32, as Norse does


def _leaking(module: Any) -> NeuronModel:
    rate = _rate(module)
    rest = torch.as_tensor(module.p.v_leak).double()
    return replace(
        _integrator(module),
        decay=numbers(1.0 - rate),
        input_gain=numbers(rate),
        drive=numbers(rate * rest),
        initial=numbers(rest),
    )


def _leaky(module: Any) -> NeuronModel:
    return replace(_leaking(module), synapse_decay=_synapse_decay(module))


def _synapse_decay(module: Any) -> Numbers:
    return numbers(1.0 - torch.as_tensor(module.dt * module.p.tau_syn_inv).double())


def _silent(module: Any) -> NeuronModel:
    return replace(_silent_box(module), synapse_decay=_synapse_decay(module))


def _silent_box(module: Any) -> NeuronModel:
    """A leaky integrator that never fires and puts out its membrane."""
    rate, rest = _rate(module), torch.as_tensor(module.p.v_leak).double()
    return NeuronModel(
        numbers(1.0 - rate), numbers(rate), numbers(rate * rest), 1.0, "greater", "none", 0.0, 0.0, numbers(rest),
        output="membrane",
    )  # fmt: skip


def _recurrent(module: Any) -> NeuronModel:
    return replace(_leaky(module), recurrent="recurrent_weights")


def _box(module: Any) -> NeuronModel | Refusal:
    model = _leaking(module)
    match getattr(module.p.reset_method, "__name__", ""):
        case "reset_value":
            return model
        case "reset_subtract":
            return replace(model, reset="soft", reset_value=0.0, soft_amount=model.threshold)
        case _:
            return _RESET
