"""A network in normal form: the user's own layers, canonical neurons, and time first everywhere, [T, N, ...]."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeAlias, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mdcompress.adapters.base import copied
from mdcompress.adapters.simulation import simulate
from mdcompress.graph import Finding as Finding  # the lifting names it from here
from mdcompress.graph import NeuronModel, channel_values
from mdcompress.lifting.moving import Gathering
from mdcompress.zoo.neurons import Surrogate

NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}  # by the axes of a sample


class CanonicalNeuron(nn.Module):
    """A neuron that was read off its code: spikes [T, N, ...] of currents [T, N, ...], or membranes.

    In training its spikes have the arctangent's gradient, as those of `mdcompress.zoo.LIF` have; its numbers are not
    trained. recurrent: the layer that its spikes of the step before pass through; None: there is none.
    """

    surrogate: ClassVar[Surrogate | None] = "atan"

    def __init__(self, model: NeuronModel, recurrent: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model
        if recurrent is not None:
            self.recurrent = recurrent

    def neuron_model(self) -> NeuronModel:
        """What it follows."""
        return self.model

    @property
    def remembers(self) -> bool:
        """Whether a step depends on those before it: by the membrane, the current, or spikes that come back."""
        decays = (self.model.decay, self.model.synapse_decay or 0.0)
        return hasattr(self, "recurrent") or any(any(channel_values(decay)) for decay in decays)

    def forward(self, currents: Tensor) -> Tensor:
        """From rest."""
        recurrent = getattr(self, "recurrent", None)
        run = simulate(self.model, currents, recurrent=recurrent, surrogate=self.surrogate)
        return run.membranes if self.model.output == "membrane" else run.spikes

    def extra_repr(self) -> str:
        """The numbers that are not the default."""
        return ", ".join(f"{name}={value}" for name, value in self.model.numbers.items() if value not in (0.0, None))


@dataclass(frozen=True)
class InputNode:
    """The network's input."""

    kind: ClassVar[Literal["input"]] = "input"


@dataclass(frozen=True)
class LayerNode:
    """A module on what it reads; steps are folded into the batch where `folds`."""

    kind: ClassVar[Literal["layer"]] = "layer"
    module: str
    reads: Gathering
    folds: bool = True


@dataclass(frozen=True)
class StepNormNode:
    """A norm of its own for each step."""

    kind: ClassVar[Literal["step_norm"]] = "step_norm"
    modules: tuple[str, ...]
    reads: Gathering


@dataclass(frozen=True)
class NeuronNode:
    """A neuron on the weighted sum of what it reads. module: filled in when all its steps were seen."""

    kind: ClassVar[Literal["neuron"]] = "neuron"
    module: str
    reads: Gathering


@dataclass(frozen=True)
class SumNode:
    """A sum of terms, each times a positive factor."""

    kind: ClassVar[Literal["sum"]] = "sum"
    reads: tuple[Gathering, ...]
    factors: tuple[float, ...]


@dataclass(frozen=True)
class ProductNode:
    """A product of spikes, a*b (AND), or (1 - a)*b (`inhibit`), or a matrix product."""

    kind: ClassVar[Literal["product"]] = "product"
    left: Gathering
    right: Gathering
    mode: Literal["product", "inhibit", "matmul"]
    factor: float = 1.0


@dataclass(frozen=True)
class TotalNode:
    """A sum or mean over axes of a sample, which stay with size 1."""

    kind: ClassVar[Literal["total"]] = "total"
    reads: Gathering
    axes: tuple[int, ...]
    mode: Literal["sum", "mean"]


@dataclass(frozen=True)
class TimeNode:
    """What becomes of all steps: their mean, sum or maximum, or the last of them."""

    kind: ClassVar[Literal["time"]] = "time"
    reads: Gathering
    mode: Literal["mean", "sum", "max", "last"]
    factor: float = 1.0


LiftedNode: TypeAlias = InputNode | LayerNode | StepNormNode | NeuronNode | SumNode | ProductNode | TotalNode | TimeNode


@dataclass(frozen=True)
class Form:
    """The nodes of a network in normal form, in order. reduced: those after the reduction over time, [N, ...]."""

    nodes: Mapping[int, LiftedNode]
    answer: Gathering
    reduced: frozenset[int] = frozenset()

    @property
    def modules(self) -> frozenset[str]:
        """The modules that the nodes call, by name."""
        found: set[str] = set()
        for node in self.nodes.values():
            match node:
                case LayerNode() | NeuronNode():
                    found.add(node.module)
                case StepNormNode():
                    found.update(node.modules)
                case _:
                    pass
        return frozenset(found)


class _Source:
    """The user's network beside its normal form: none of its parts, so that no parameter is registered twice."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __deepcopy__(self, memo: dict[int, Any]) -> _Source:
        """With the copies of the tensors that both hold; its state may hang on an autograd graph."""
        return _Source(copied(self.network, memo))


class Lifted(nn.Module):
    """A network in normal form, [T, N, ...] to [N, K] or [T, N, K]. It shares the weights of the user's network.

    Training it trains the user's network, whose numbers of neurons stay as they are (`constants`). A copy has a copy of
    the user's network, and shares its weights.

    source: the user's own network. findings: which module or line was read as what. convention: how the user's
    network is called, in words. memoryless: whether steps may have been taken for samples, or samples for steps: a
    neuron was given all steps in one comparison, or the network was called for each step, and none remembers the last.
    """

    def __init__(self, source: nn.Module, form: Form, findings: tuple[Finding, ...], convention: str) -> None:
        super().__init__()
        self._source = _Source(source)
        self.form, self.findings, self.convention = form, findings, convention
        self.memoryless = False

    @property
    def source(self) -> nn.Module:
        """The user's own network."""
        return self._source.network

    @property
    def remembers(self) -> bool:
        """Whether a neuron goes on from step to step."""
        neurons = [module for module in self.modules() if isinstance(module, CanonicalNeuron)]
        return any(neuron.remembers for neuron in neurons)

    @property
    def constants(self) -> frozenset[str]:
        """The user's parameters and buffers that the normal form does not share: it has numbers in their place."""
        shared = {_memory(tensor) for tensor in [*self.parameters(), *self.buffers()]}
        own = [*self.source.named_parameters(), *self.source.named_buffers()]
        return frozenset(n for n, tensor in own if tensor.is_floating_point() and _memory(tensor) not in shared)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What torch does to all tensors (`to`, `double`), to those of the user's network too: they stay shared."""
        done: dict[object, tuple[Tensor, Tensor]] = {}  # the tensor too: its memory is not free for another's

        def once(tensor: Tensor) -> Tensor:
            key = _memory(tensor)
            if key not in done:
                made = fn(tensor)
                done[key] = done[_memory(made)] = (tensor.detach(), made)
            return done[key][1]

        super()._apply(once, recurse)  # type: ignore[no-untyped-call]  # torch's
        self.source._apply(once, recurse)  # type: ignore[no-untyped-call]  # torch's
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Run all steps, from rest."""
        values: dict[int, Tensor] = {}
        for number, node in self.form.nodes.items():
            values[number] = self._evaluate(node, values, x, reduced=number in self.form.reduced)
        leading = 1 if all(source in self.form.reduced for source in self.form.answer.sources) else 2
        return self.form.answer(values, leading)

    def _evaluate(self, node: LiftedNode, values: Mapping[int, Tensor], x: Tensor, *, reduced: bool) -> Tensor:
        leading = 1 if reduced else 2
        match node:
            case InputNode():
                return x
            case LayerNode():
                module, y = self.get_submodule(node.module), node.reads(values, leading)
                if reduced or not node.folds:
                    result: Tensor = module(y)
                    return result
                return module(y.flatten(0, 1)).unflatten(0, y.shape[:2])  # type: ignore[no-any-return]
            case StepNormNode():
                y = node.reads(values, leading)
                norms = [self.get_submodule(name) for name in node.modules]
                return torch.stack([norm(step) for norm, step in zip(norms, y.unbind(0), strict=True)])
            case NeuronNode():
                spikes: Tensor = self.get_submodule(node.module)(node.reads(values, leading))
                return spikes
            case SumNode():
                terms = [
                    term if factor == 1.0 else term * factor
                    for term, factor in (
                        (reads(values, leading), factor) for reads, factor in zip(node.reads, node.factors, strict=True)
                    )
                ]
                total = terms[0]
                for term in terms[1:]:
                    total = total + term
                return total
            case ProductNode():
                return _product(node, node.left(values, leading), node.right(values, leading))
            case TotalNode():
                y = node.reads(values, leading)
                axes = tuple(leading + axis for axis in node.axes)
                return y.mean(axes, keepdim=True) if node.mode == "mean" else y.sum(axes, keepdim=True)
            case TimeNode():
                return _over_time(node, node.reads(values, 2))
            case _:
                assert_never(node)


def _memory(tensor: Tensor) -> object:
    """What tensors that share their elements have in common."""
    storage = tensor.untyped_storage()._cdata
    return (storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _product(node: ProductNode, left: Tensor, right: Tensor) -> Tensor:
    match node.mode:
        case "product":
            found = left * right
        case "inhibit":
            found = (1 - left) * right
        case "matmul":
            found = left @ right
        case _:
            assert_never(node.mode)
    return found if node.factor == 1.0 else found * node.factor


def _over_time(node: TimeNode, y: Tensor) -> Tensor:
    match node.mode:
        case "mean":
            found = y.mean(0)
        case "sum":
            found = y.sum(0)
        case "max":
            found = y.amax(0)
        case "last":
            found = y[-1]
        case _:
            assert_never(node.mode)
    return found if node.factor == 1.0 else found * node.factor


class Pool(nn.Module):
    """A pooling function of torch with its arguments, as a module."""

    def __init__(self, function: str, **options: object) -> None:
        super().__init__()
        self.function, self.options = function, options

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        pooled: Tensor = getattr(F, self.function)(x, **self.options)
        return pooled


@dataclass
class Building:
    """The modules of a network in normal form, by the names that they will have."""

    modules: dict[str, nn.Module] = field(default_factory=dict)

    def free(self, name: str) -> str:
        """`name`, or with a number where it is taken or lies inside of a module that has the name."""
        flat = name.replace(".", "_")
        candidates = [each if k == 1 else f"{each}_{k}" for each in (name, flat) for k in range(1, 100)]
        return next(each for each in candidates if not self._clashes(each))

    def _clashes(self, name: str) -> bool:
        return any(
            name == other or name.startswith(f"{other}.") or other.startswith(f"{name}.") for other in self.modules
        )

    def add(self, name: str, module: nn.Module) -> str:
        """Register a module under a free name."""
        free = self.free(name)
        self.modules[free] = module
        return free

    def into(self, network: Lifted, used: Collection[str]) -> None:
        """Put those modules that are used into the network, at their dotted names; norms train as the user's do."""
        norms = _norms(network.source)
        for name, module in self.modules.items():
            if name not in used:
                continue
            *outer, last = name.split(".")
            parent: nn.Module = network
            for part in outer:
                if part not in dict(parent.named_children()):
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            if isinstance(module, _BatchNorm) and _statistics(module) not in norms:
                module = ConstantNorm.of(module)
            parent.add_module(last, module)
        _share(network)


def _norms(source: nn.Module) -> dict[object, _BatchNorm]:
    """The user's batch norms, by the memory of their statistics."""
    norms = [norm for norm in source.modules() if isinstance(norm, _BatchNorm)]
    return {_statistics(norm): norm for norm in norms if norm.running_mean is not None}


def _statistics(norm: _BatchNorm) -> object:
    assert norm.running_mean is not None
    return _memory(norm.running_mean)


class ConstantNorm(_BatchNorm):
    """A factor and a bias for each channel that were read off the code, as a batch norm that no training changes."""

    @classmethod
    def of(cls, norm: _BatchNorm) -> ConstantNorm:
        """With its numbers."""
        made = cls(norm.num_features, norm.eps, affine=norm.affine, device="meta")
        made._parameters.update(norm._parameters)
        made._buffers.update(norm._buffers)
        made.track_running_stats = False  # so that they are measured on no batch
        return made.eval()

    def train(self, mode: bool = True) -> Self:
        """It stays in evaluation mode."""
        del mode
        return super().train(False)

    def _check_input_dim(self, input: Tensor) -> None:
        """Maps of any number of axes."""


def _share(network: Lifted) -> None:
    """Hold the user's own parameters and buffers wherever the memory is theirs; what is not is not trained."""
    own = {_memory(tensor): tensor for tensor in [*network.source.parameters(), *network.source.buffers()]}
    norms = _norms(network.source)
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            found = own.get(_memory(parameter))
            if isinstance(found, nn.Parameter):
                module._parameters[name] = found
            else:
                parameter.requires_grad_(False)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = own.get(_memory(buffer), buffer)
        if isinstance(module, _BatchNorm) and (like := norms.get(_statistics(module))) is not None:
            module.momentum, module.num_batches_tracked = like.momentum, like.num_batches_tracked
