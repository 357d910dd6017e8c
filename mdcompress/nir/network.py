"""NirNetwork: a NIR graph as a torch module over all steps, [T, N, *shape] to [T, N, K], of canonical neurons."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mdcompress import lifting
from mdcompress.adapters import simulate
from mdcompress.errors import MdcompressError, TraceError
from mdcompress.graph import NeuronModel
from mdcompress.nir.interpretation import SPIKING, Interpretation
from mdcompress.nir.layers import layer_of, weights_of
from mdcompress.nir.neurons import NEURONS, neuron_of, refused, with_recurrence
from mdcompress.nir.wiring import Wire, Wiring
from mdcompress.zoo.networks import per_step


class CanonicalNeuron(lifting.CanonicalNeuron):
    """A canonical neuron without a gradient: a network is trained where it came from, its student here."""

    surrogate = None


class CanonicalIntegrator(nn.Module):
    """A neuron without a reset at the end of a network: currents [T, N, ...] to spikes, unread, and membranes."""

    def __init__(self, model: NeuronModel) -> None:
        super().__init__()
        self.model = model

    def neuron_model(self) -> NeuronModel:
        """The description that tracing asks for."""
        return self.model

    def forward(self, currents: Tensor) -> tuple[Tensor, Tensor]:
        """s and v of every step."""
        run = simulate(self.model, currents)
        return run.spikes, run.membranes


class NirNetwork(nn.Module):
    """The graph's nodes under their names (a node `a` of a subgraph `g` is `g.a`), run in their order.

    Args:
        wiring: the graph.
        interpretation: how its neurons are read.
    """

    def __init__(self, wiring: Wiring, interpretation: Interpretation) -> None:
        super().__init__()
        self.interpretation = interpretation
        self._wiring = wiring
        self._paths: dict[str, str] = {}
        for name, module in _modules_of(wiring, interpretation).items():
            _require_finite(name, module)
            self._paths[name] = _attach(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        """Run x [T, N, *shape]; several edges into a node are summed."""
        values = {self._wiring.input: x}
        for one in self._wiring.wires:
            module = self.get_submodule(self._paths[one.name])
            try:
                values[one.name] = _answer(module, _sum(values, one.sources))
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, IndexError, ValueError) as error:  # as torch says that shapes do not fit
                shapes = ", ".join(str(list(values[source].shape)) for source in one.sources)
                reason = f"it must take what it reads, {shapes} ({error})"
                raise refused(
                    one.name, one.kind, reason, "hold the input and the nodes' shapes to each other"
                ) from error
        return _sum(values, self._wiring.sources)


def _answer(module: nn.Module, x: Tensor) -> Tensor:
    """What a node's module gives for all steps; of an integrator its potentials."""
    match module:
        case CanonicalNeuron():
            found: Tensor = module(x)
            return found
        case CanonicalIntegrator():
            potentials: Tensor = module(x)[1]
            return potentials
        case _:
            return per_step(module, x)


def _sum(values: Mapping[str, Tensor], sources: tuple[str, ...]) -> Tensor:
    total = values[sources[0]]
    for source in sources[1:]:
        total = total + values[source]
    return total


def _modules_of(wiring: Wiring, how: Interpretation) -> dict[str, nn.Module]:
    """A module for every node; TraceError names all nodes that have none."""
    modules: dict[str, nn.Module] = {}
    errors: list[MdcompressError] = []
    for one in wiring.wires:
        try:
            modules[one.name] = _module_of(one, wiring, how)
        except TraceError as error:
            errors.append(error)
        except Exception as error:  # whatever NumPy and torch say of attributes that anyone may have written
            reason = f"its attributes must describe such a node ({type(error).__name__}: {error})"
            errors.append(refused(one.name, one.kind, reason, "export the network again"))
    if errors:
        hints = list(dict.fromkeys(hint for error in errors for hint in error.hints))
        raise TraceError("\n".join(error.message for error in errors), hints=hints)
    return modules


def _require_finite(name: str, module: nn.Module) -> None:
    """Weights in torch's type: 1e308 of a file is infinite in float32."""
    for part, tensor in module.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            hint = "a file's numbers must be finite, and fit float32"
            raise refused(name, type(module).__name__, f"its {part} must be finite (it holds NaN or infinity)", hint)


def _module_of(one: Wire, wiring: Wiring, how: Interpretation) -> nn.Module:
    if one.kind not in NEURONS:
        return layer_of(one.name, one.node)
    model = neuron_of(one.name, one.node, how)
    if one.loop is not None:
        return CanonicalNeuron(with_recurrence(one.name, model, how), weights_of(*one.loop))
    if one.kind in SPIKING or one.kind == "Threshold":
        return CanonicalNeuron(model)
    if wiring.sources != (one.name,) or any(one.name in other.sources for other in wiring.wires):
        raise refused(
            one.name, one.kind, "a neuron without spikes has a canonical form at the output only",
            "let it be the last node, or leave it out",
        )  # fmt: skip
    return CanonicalIntegrator(model)


def _attach(network: nn.Module, name: str, module: nn.Module) -> str:
    """Put a module at a dotted path, so that it has its NIR name; what torch keeps for itself gets an underscore."""
    *folders, last = [_free(part) for part in name.split(".")]
    path: list[str] = []
    here = network
    for folder in folders:
        while type(here._modules.get(folder, here)) not in (nn.Module, NirNetwork):
            folder += "_"  # a node has that name
        if folder not in here._modules:
            here.add_module(folder, nn.Module())
        path.append(folder)
        here = here.get_submodule(folder)
    while hasattr(here, last):
        last += "_"
    here.add_module(last, module)
    return ".".join([*path, last])


def _free(part: str) -> str:
    return f"{part}_" if not part or hasattr(nn.Module(), part) else part
