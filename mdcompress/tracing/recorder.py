"""The recorder behind trace(): watches modules and tensor functions of one forward pass and writes a node for each."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode, resolve_name

from mdcompress.adapters import describe_neuron, probe
from mdcompress.graph import (
    Carries,
    NeuronModel,
    NodeKind,
    PoolSpec,
    ReadoutSpec,
    SnnGraph,
    SnnNode,
    SynapseSpec,
)
from mdcompress.tracing.ledger import Ledger
from mdcompress.tracing.specs import (
    FUNCTIONAL_POOLS,
    POOLS,
    axes_of,
    conv_spec,
    functional_pool_spec,
    is_active_dropout,
    linear_spec,
    pool_spec,
)

_RESHAPES = {"flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "float", "to"}
_ADDS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
_DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d"}
_TIME_LOOPS = {"__getitem__", "__iter__", "unbind", "select", "split", "chunk", "stack"}
_READS = {"__bool__", "__int__", "__float__", "__index__", "__array__", "item", "tolist", "numpy", "equal", "allclose"}
_QUESTIONS = {
    "size", "dim", "numel", "ndimension", "stride", "is_floating_point", "is_contiguous", "get_device",
    "__len__", "__get__",
}  # fmt: skip

_ALIASES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LAYERS: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Linear, *_NORMS, *POOLS, *_ALIASES)


class Recorder(TorchFunctionMode):
    """Runs `model(sample)` once and writes down its graph. Sample [T, N, ...] with N >= 2."""

    def __init__(self, model: nn.Module, sample: Tensor) -> None:
        super().__init__()
        self._model, self._sample = model, sample
        self._names = {module: name for name, module in model.named_modules()}
        self._ledger = Ledger(sample.shape[0], sample.shape[1], reserved=self._names.values())
        self._stack: list[str] = []
        self._inside_leaf = 0

    def record(self) -> SnnGraph:
        """Run the network and return its graph."""
        name = self._ledger.free("input")
        shape = self._ledger.per_sample(self._sample)
        self._ledger.follow(
            self._sample, self._ledger.write(name, NodeKind.INPUT, (), shape=shape, carries=Carries.INPUT)
        )
        with self._module_hooks(), self:
            output = self._model(self._sample)
        return self._ledger.graph_of(self._readout_of(output))

    def _readout_of(self, output: object) -> str:
        """The readout that the network returned; where it returned currents of every step, a readout of steps."""
        if not isinstance(output, Tensor) or not self._ledger.follows(output):
            raise self._ledger.error(
                f"the network must return one tensor computed from its input (got {type(output).__name__})",
                "return the logits alone: [N, K] averaged over time, or [T, N, K]",
            )
        last = self._ledger.source(output)
        return last.name if last.kind is NodeKind.READOUT else self._write_readout(output, "steps")

    # ------------------------------------------------------------------ modules

    @contextlib.contextmanager
    def _module_hooks(self) -> Iterator[None]:
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        self._move(lambda: self._stack.append(self._names.get(module, type(module).__name__)))
        if self._inside_leaf or isinstance(module, _LAYERS) or describe_neuron(module) is not None:
            self._ledger.require_unchanged(inputs)
            self._inside_leaf += 1

    def _leave(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        try:
            if self._inside_leaf == 1 and output is not None:  # None: the call failed, and its own error is on the way
                self._record_module(module, inputs, output)
        finally:
            self._inside_leaf = max(0, self._inside_leaf - 1)
            self._move(self._stack.pop)

    def _move(self, step: Callable[[], object]) -> None:
        step()
        self._ledger.place = self._stack[-1] if self._stack else ""

    def _record_module(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        name, x = self._own_name(module), inputs[0] if inputs else None
        if len(inputs) != 1 or not isinstance(x, Tensor) or not isinstance(output, Tensor):
            raise self._ledger.error(
                f"{name!r} must map one tensor to one (it was called with {len(inputs)} and returned "
                f"{type(output).__name__})",
                "call it with its input alone, y = layer(x), and keep states inside the neuron",
            )
        match module:
            case nn.Conv2d() | nn.Linear():
                self._record_synapse(name, module, x, output)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                self._record_norm(name, module, x, output)
            case _ if isinstance(module, POOLS):
                self._record_pool(self._ledger.numbered(name), pool_spec(module, x, self._ledger.error), x, output)
            case _ if isinstance(module, _ALIASES):
                self._record_reshape(x, output)
            case _:
                self._record_neuron(name, module, x, output)

    def _own_name(self, module: nn.Module) -> str:
        """The module's name in the network, after a check that it does what its class does."""
        kind = type(module).__name__
        if module not in self._names:
            raise self._ledger.error(f"a {kind} is made inside forward", "make it in __init__, as a submodule")
        name = self._names[module]
        if not name:
            raise self._ledger.error(f"the network is one {kind} and no more", "wrap it: nn.Sequential(layer)")
        base = next((layer for layer in _LAYERS if isinstance(module, layer)), None)
        if base is not None and getattr(module.forward, "__func__", None) is not base.forward:
            raise self._ledger.error(
                f"{name!r} ({kind}) has a forward of its own, which a graph does not know", f"use nn.{base.__name__}"
            )
        return name

    def _record_synapse(self, name: str, module: nn.Conv2d | nn.Linear, x: Tensor, output: Tensor) -> None:
        source = self._ledger.source(x)
        if source.carries is Carries.CURRENT:
            raise self._ledger.error(
                f"{name!r} reads currents (from {source.name!r}): a weight layer must read spikes, sums of spikes "
                "or the network's input",
                "put a neuron between two weight layers; a shortcut convolution can read the block's spikes",
            )
        if isinstance(module, nn.Linear):
            self._require_axes(name, x, ("features",), "flatten before a linear layer")
            spec = linear_spec(module)
        else:
            self._require_axes(name, x, ("C", "H", "W"), "give images a channel axis: [T, N, C, H, W]")
            spec = conv_spec(name, module, self._ledger.error)
        self._write(self._ledger.once(name), NodeKind.SYNAPSE, (source,), output, Carries.CURRENT, spec)

    def _record_norm(self, name: str, module: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, output: Tensor) -> None:
        source = self._ledger.source(x)
        spec = source.spec
        if not isinstance(spec, SynapseSpec) or spec.batch_norm is not None:
            raise self._ledger.error(
                f"batch norm {name!r} follows {source.name!r} ({source.kind.value}), not a weight layer",
                "put the batch norm right after its convolution or linear layer",
            )
        if self._ledger.has_time_axis(x):
            raise self._ledger.error(
                f"batch norm {name!r} reads {list(x.shape)}: it takes the batch axis for channels",
                "fold time into the batch before it: x.flatten(0, 1)",
            )
        if self._ledger.is_read(source.name):
            raise self._ledger.error(
                f"{source.name!r} is read both by {name!r} and by another layer", "read the norm's output only"
            )
        if module.running_mean is None:
            raise self._ledger.error(f"batch norm {name!r} keeps no running statistics", "use track_running_stats=True")
        self._ledger.amend(source.name, replace(spec, batch_norm=self._ledger.once(name)))
        self._ledger.mark_before_norm(source.name)
        self._ledger.follow(output, source.name)

    def _record_neuron(self, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        model, source = describe_neuron(module), self._ledger.source(x)
        assert model is not None
        if not self._ledger.has_time_axis(x):
            raise self._ledger.error(
                f"neuron {name!r} reads {list(x.shape)}: it needs time as its own axis, [T, N, ...]",
                "unflatten before the neuron: x.unflatten(0, (T, N))",
            )
        if source.carries is not Carries.CURRENT:
            raise self._ledger.error(
                f"neuron {name!r} reads {source.carries.value} from {source.name!r}, not currents",
                "put a weight layer before it",
            )
        probe(name, module, model)
        self._write(self._ledger.once(name), NodeKind.NEURON, (source,), output, Carries.SPIKES, model)

    def _record_pool(self, name: str, spec: PoolSpec, x: Tensor, output: Tensor) -> None:
        self._require_axes(name, x, ("C", "H", "W"), "pool images: [T*N, C, H, W]")
        source = self._ledger.source(x)
        self._write(name, NodeKind.POOL, (source,), output, source.carries, spec)

    def _require_axes(self, name: str, x: Tensor, axes: tuple[str, ...], hint: str) -> None:
        shape = self._ledger.per_sample(x)
        if len(shape) != len(axes):
            raise self._ledger.error(
                f"{name!r} must read ({', '.join(axes)}) per sample and step (got {shape} in {list(x.shape)})", hint
            )

    # ------------------------------------------------------------------ functions

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function on tensors during the pass."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        followed = [value for value in _flat([*args, *kwargs.values()]) if self._ledger.follows(value)]
        if self._inside_leaf or not followed:
            return func(*args, **kwargs)
        if name in _READS:
            raise self._ledger.error(
                f"the network reads the values of a tensor ({name})",
                "a graph is the same for all data: choose by shapes or options, not by values",
            )
        self._ledger.require_unchanged(followed)
        output = func(*args, **kwargs)
        if name not in _QUESTIONS or isinstance(output, Tensor):
            if "input" in kwargs:
                args = (kwargs["input"], *args)
            self._record_function(name, func, args, kwargs, output)
        return output

    def _record_function(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], output: object
    ) -> None:
        if isinstance(output, Tensor) and name in _RESHAPES:
            self._record_reshape(args[0], output)
        elif isinstance(output, Tensor) and name in _ADDS:
            self._record_add(args, kwargs, output)
        elif isinstance(output, Tensor) and name in ("mean", "sum"):
            self._record_reduction(name, args, kwargs, output)
        elif isinstance(output, Tensor) and name in FUNCTIONAL_POOLS:
            spec = functional_pool_spec(name, args, kwargs, self._ledger.error)
            self._record_pool(self._function_name(name), spec, args[0], output)
        elif isinstance(output, Tensor) and name in _DROPOUTS and not is_active_dropout(args, kwargs):
            self._record_reshape(args[0], output)
        else:
            raise self._ledger.error(
                f"the network calls {resolve_name(func) or name}, which a graph of spiking layers cannot hold",
                _advice(name),
            )

    def _record_reshape(self, x: Tensor, output: Tensor) -> None:
        if not output.is_floating_point():
            raise self._ledger.error(
                f"a tensor is converted to {output.dtype}", "stay in floating point: rounding is no layer of a graph"
            )
        source = self._ledger.source(x)
        if output.shape == x.shape:
            self._ledger.follow(output, source.name)
            return
        shape = self._ledger.per_sample(output)
        if shape == source.shape:
            self._ledger.follow(output, source.name)
        elif shape == (math.prod(source.shape),):
            name = self._ledger.free(f"{source.name}.flatten")
            self._write(name, NodeKind.FLATTEN, (source,), output, source.carries)
        else:
            raise self._ledger.error(
                f"a reshape turns {list(x.shape)} into {list(output.shape)}",
                "a graph holds only folding of time and batch, and the flattening of one sample to a vector",
            )

    def _record_add(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        terms = (*args, *(kwargs[name] for name in ("other",) if name in kwargs))
        if len(terms) != 2 or not all(isinstance(value, Tensor) for value in terms) or kwargs.get("alpha", 1) != 1:
            raise self._ledger.error("a tensor is added to a constant or scaled", "only sums of two layers can be held")
        left, right = self._ledger.source(terms[0]), self._ledger.source(terms[1])
        if left.shape != right.shape or left.carries is not right.carries:
            raise self._ledger.error(
                f"{left.name!r} ({left.carries.value}, {left.shape}) is added to {right.name!r} "
                f"({right.carries.value}, {right.shape})",
                "both branches of a sum must have one shape and both carry spikes, or both currents",
            )
        self._write(self._function_name("add"), NodeKind.ADD, (left, right), output, left.carries)

    def _record_reduction(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        x = args[0]
        axes = axes_of(x, args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis")))
        over_time = axes == (0,) and self._ledger.has_time_axis(x) and output.dim() == x.dim() - 1
        if over_time:
            self._ledger.follow(output, self._write_readout(x, "mean" if name == "mean" else "sum"))
        elif name == "mean" and axes == (x.dim() - 2, x.dim() - 1) and len(self._ledger.per_sample(x)) == 3:
            self._record_global_average(x, output)
        else:
            raise self._ledger.error(
                f"a {name} over axes {axes} turns {list(x.shape)} into {list(output.shape)}",
                "a graph holds a mean or sum over time, [T, N, K] to [N, K], and a mean over both H and W",
            )

    def _record_global_average(self, x: Tensor, output: Tensor) -> None:
        source, shape = self._ledger.source(x), self._ledger.per_sample(output)
        channels, height, width = source.shape
        spec = PoolSpec("average", (height, width), (height, width), (0, 0))
        name = self._ledger.free(f"{source.name}.average")
        pooled, carries = (channels, 1, 1), source.carries
        last = self._ledger.write(name, NodeKind.POOL, (source.name,), shape=pooled, carries=carries, spec=spec)
        if shape != pooled:  # keepdim=False
            last = self._ledger.write(f"{name}.flatten", NodeKind.FLATTEN, (name,), shape=shape, carries=carries)
        self._ledger.follow(output, last)

    def _write_readout(self, x: Tensor, mode: Literal["mean", "sum", "steps"]) -> str:
        source = self._ledger.source(x)
        if not self._ledger.has_time_axis(x):
            raise self._ledger.error(
                f"the network's output {list(x.shape)} folds time into the batch",
                "return [T, N, K] or its mean over time, [N, K]",
            )
        name, spec = self._ledger.free("readout"), ReadoutSpec(mode)
        return self._ledger.write(
            name, NodeKind.READOUT, (source.name,), shape=source.shape, carries=source.carries, spec=spec
        )

    def _write(
        self,
        name: str,
        kind: NodeKind,
        sources: tuple[SnnNode, ...],
        output: Tensor,
        carries: Carries,
        spec: SynapseSpec | PoolSpec | NeuronModel | None = None,
    ) -> None:
        inputs, shape = tuple(source.name for source in sources), self._ledger.per_sample(output)
        self._ledger.follow(output, self._ledger.write(name, kind, inputs, shape=shape, carries=carries, spec=spec))

    def _function_name(self, function: str) -> str:
        """The name of a node that is a function call: that of the module it stands in, a dot, and the function's."""
        return self._ledger.free(f"{self._ledger.place}.{function}" if self._ledger.place else function)


def _flat(values: list[Any]) -> Iterator[Any]:
    """The values, and those inside lists and tuples (torch.cat and torch.stack take such)."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(list(value))
        else:
            yield value


def _advice(name: str) -> str:
    if name in _TIME_LOOPS:
        return "give layers and neurons all steps at once, [T, N, ...], instead of looping over time in forward"
    if name in _DROPOUTS:
        return "pass training=self.training to dropout: it is active in evaluation"
    return "use convolution, linear, batch norm, pooling, add, flatten, and a mean over time at the end"
