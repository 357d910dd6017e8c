"""Spiking networks in the styles of research code, drawn from a seed: how somebody might have written one.

    style = draw(7)
    network = style.build()                    # an nn.Module whose code is plain torch; print(style.source()) shows it
    answer = style.call(network, style.sample())    # as its author calls it
    style.neurons                              # the canonical neurons that it has, known from the draw
    draw_planted(7, "gate")                    # the same with a neuron that is not canonical

`draw_neuron_alone` draws one linear layer with its neurons. `print(style)` says all that was chosen; a failure is
repeated with the seed.
"""

from __future__ import annotations

import linecache
import sys
from dataclasses import dataclass, fields, replace
from types import ModuleType
from zlib import crc32

import torch
from torch import Tensor, nn

from tests.support.styles_networks import source
from tests.support.styles_neurons import Truth, truth
from tests.support.styles_plan import Plan, draw_plan
from tests.support.styles_planted import without_fault
from tests.support.styles_reference import RATES, Reference, Run

ATTEMPTS = 30  # at a draw whose neurons fire


@dataclass(frozen=True)
class Style(Plan):
    """A drawn network: every choice (`Plan`), and what can be done with it."""

    def source(self) -> str:
        """The code of the network."""
        return source(self)

    def build(self) -> nn.Module:
        """The network, seeded, in evaluation mode, with weights under which its neurons fire."""
        network = self._made()
        plain = self if not self.neuron.planted else replace(self, neuron=without_fault(self.neuron))
        model = network if plain is self else plain._made()
        Reference(plain, model).size(self.x_steps())
        network.load_state_dict(model.state_dict())
        return network

    def sample(self) -> Tensor:
        """The input in its author's axes."""
        return author_axes(self, self.x_steps())

    def x_steps(self) -> Tensor:
        """The same input as [T, N, ...]."""
        dice = torch.Generator().manual_seed(self.seed + 1)
        shape = (self.steps, self.batch, *self.features)
        if self.input == "still":
            return torch.rand(*shape[1:], generator=dice).expand(shape).contiguous()
        if self.seed % 2:
            return (torch.rand(shape, generator=dice) < 0.4).float()
        return torch.randn(shape, generator=dice)

    def call(self, network: nn.Module, x: Tensor) -> Tensor:
        """The answer to the author's input x, as its script gets it; with time first, where it has time.

        [T, N, K] or [N, K].
        """
        if self.major == "step":
            reset = getattr(network, self.reset_name)
            reset()
            steps = torch.stack([network(step) for step in x])
            reset()
            return steps
        answer: Tensor | list[Tensor] = network(x)
        if isinstance(answer, list):
            return torch.stack(answer)
        return answer.transpose(0, 1) if self.answer == "N T K" else answer

    @property
    def layout(self) -> str:
        """The axes of the author's input, in words."""
        rest = "C H W" if self.topology == "conv" else "F"
        axes = {
            "TN": "T N {}",
            "NT": "N T {}",
            "last": "N {} T",
            "still": "N {}",
            "(TN)": "(T N) {}",
            "(NT)": "(N T) {}",
        }
        return axes[self.input].format(rest)

    @property
    def neurons(self) -> tuple[Truth, ...]:
        """The canonical neurons, first layer first. Of a planted style: what it would be without the fault."""
        return tuple(truth(self.neuron, layer.numbers) for layer in self.spiking if layer.numbers is not None)

    @property
    def dtype(self) -> torch.dtype:
        """float64 where the code runs in it; what casts to float32 by hand does not."""
        return torch.float32 if self.neuron.cast == "float" else torch.float64

    def reference(self, network: nn.Module, x: Tensor) -> Run:
        """The network's answer and spikes, computed from its weights and `neurons` alone; x is [T, N, ...]."""
        with torch.no_grad():
            return Reference(self, network).run(x)

    def rates(self) -> list[float]:
        """The share of neurons and steps with a spike, for each layer of the built network."""
        network = self.build()
        return [float((spikes > 0).double().mean()) for spikes in self.reference(network, self.x_steps()).spikes]

    def _made(self) -> nn.Module:
        torch.manual_seed(self.seed)
        network = _module_of(self).Net()
        assert isinstance(network, nn.Module)
        return network.eval()


def draw(seed: int) -> Style:
    """A network of one to three layers of neurons."""
    return _firing(seed, single=False, fault="")


def draw_neuron_alone(seed: int) -> Style:
    """One linear layer, its neurons, and what became of their spikes."""
    return _firing(seed, single=True, fault="")


def draw_planted(seed: int, fault: str) -> Style:
    """A network with a fault planted in its neurons (`styles_planted.FAULTS`, `HARMLESS`)."""
    return _firing(seed, single=False, fault=fault)


def author_axes(plan: Plan, x: Tensor) -> Tensor:
    """[T, N, ...] in the axes of the author's input, contiguous."""
    match plan.input:
        case "TN":
            turned = x
        case "NT":
            turned = x.transpose(0, 1)
        case "last":
            turned = x.movedim(0, -1)
        case "still":
            turned = x[0]
        case "(TN)":
            turned = x.flatten(0, 1)
        case "(NT)":
            turned = x.transpose(0, 1).flatten(0, 1)
    return turned.clone(memory_format=torch.contiguous_format)


def _firing(seed: int, *, single: bool, fault: str) -> Style:
    """The first draw whose layers fire as they should."""
    for attempt in range(ATTEMPTS):
        plan = draw_plan(seed, attempt=attempt, single=single, fault=fault)
        style = Style(**{field.name: getattr(plan, field.name) for field in fields(plan)})
        plain = replace(style, neuron=without_fault(style.neuron)) if fault else style
        if all(RATES[0] <= rate <= RATES[1] for rate in plain.rates()):
            return style
    raise AssertionError(f"no draw of seed {seed} fires")


def _module_of(style: Style) -> ModuleType:
    """The code as a module that tracebacks and inspect can show."""
    text = style.source()
    name = f"drawn_style_{crc32(text.encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    path = f"<{name}>"
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    sys.modules[name] = module
    exec(compile(text, path, "exec"), module.__dict__)
    return module
