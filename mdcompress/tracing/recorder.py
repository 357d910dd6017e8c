"""The recorder behind trace(): follows tensors through one forward pass and writes down a node for each layer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode, resolve_name

from mdcompress.adapters import describe_neuron, probe
from mdcompress.errors import TraceError
from mdcompress.graph import (
    Carries,
    NodeKind,
    NodeSpec,
    PoolSpec,
    ReadoutSpec,
    SnnGraph,
    SnnNode,
    SynapseSpec,
    TensorShape,
)
from mdcompress.tracing.specs import axes_of, conv_spec, functional_pool_spec, linear_spec, pool_spec

_RESHAPES = {"flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "float", "to"}
_ADDS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
_TIME_REDUCTIONS = {"mean", "sum"}
_QUESTIONS = {
    "size",
    "dim",
    "numel",
    "ndimension",
    "stride",
    "is_floating_point",
    "is_contiguous",
    "__len__",
    "__get__",
}
_READS = {"__bool__", "item", "tolist", "__int__", "__float__", "__index__", "numpy", "__array__", "cpu_numpy"}
_ALIASES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
POOLS = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class _Tracked:
    """A tensor of the pass and the node that wrote it. The tensor is kept alive so that its id stays its own."""

    tensor: Tensor
    node: str


class Recorder(TorchFunctionMode):
    """Runs `model(sample)` once and collects nodes. Sample [T, N, ...] with N >= 2."""

    def __init__(self, model: nn.Module, sample: Tensor) -> None:
        super().__init__()
        self._model, self._sample = model, sample
        self._steps, self._batch = sample.shape[0], sample.shape[1]
        self._names = {module: name for name, module in model.named_modules()}
        self._stack: list[str] = []
        self._inside_leaf = 0
        self._nodes: dict[str, SnnNode] = {}
        self._tracked: dict[int, _Tracked] = {}
        self._absorbed: dict[int, tuple[Tensor, str]] = {}  # convolution outputs that a batch norm has taken over
        self._calls: dict[str, int] = {}

    # ------------------------------------------------------------------ the pass

    def record(self) -> object:
        """Run the network and return what it returned."""
        self._write("input", NodeKind.INPUT, (), self._sample, Carries.INPUT, None)
        with self._module_hooks(), self:
            return self._model(self._sample)

    def finish(self, output: object) -> SnnGraph:
        """Close the graph with a readout; TraceError where the output is not the network's last tensor."""
        if not isinstance(output, Tensor) or id(output) not in self._tracked:
            raise TraceError(
                f"the network must return one tensor computed from its input (got {type(output).__name__})",
                hints=["return the logits alone: [N, K] averaged over time, or [T, N, K]"],
            )
        last = self._nodes[self._tracked[id(output)].node]
        if last.kind is not NodeKind.READOUT:
            self._read_out(output, "steps")
        nodes = self._live_nodes()
        return SnnGraph(nodes, self._steps)

    def _live_nodes(self) -> tuple[SnnNode, ...]:
        """The nodes that the answer depends on, in order."""
        needed, nodes = {self._tracked_readout()}, []
        for node in reversed(self._nodes.values()):
            if node.name in needed:
                needed.update(node.inputs)
                nodes.append(node)
        return tuple(reversed(nodes))

    def _tracked_readout(self) -> str:
        return next(name for name, node in reversed(self._nodes.items()) if node.kind is NodeKind.READOUT)

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

    def _enter(self, module: nn.Module, inputs: object) -> None:
        self._stack.append(self._names.get(module, type(module).__name__))
        if self._inside_leaf or self._is_leaf(module):
            self._inside_leaf += 1

    def _leave(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        try:
            if self._inside_leaf == 1:
                self._record_module(module, inputs, output)
        finally:
            self._inside_leaf = max(0, self._inside_leaf - 1)
            self._stack.pop()

    def _is_leaf(self, module: nn.Module) -> bool:
        leaves = (nn.Conv2d, nn.Linear, *_NORMS, *POOLS, *_ALIASES)
        return isinstance(module, leaves) or describe_neuron(module) is not None

    # ------------------------------------------------------------------ modules

    def _record_module(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if not isinstance(output, Tensor) or len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            return  # the call failed, or its result is not followed: a later use of it says so
        x, name = inputs[0], self._names.get(module, "")
        if name not in self._names.values():
            raise self._error(f"a {type(module).__name__} is made inside forward", "make it in __init__ as a submodule")
        match module:
            case nn.Conv2d() | nn.Linear():
                self._record_synapse(name, module, x, output)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                self._record_norm(name, module, x, output)
            case nn.AvgPool2d() | nn.MaxPool2d() | nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():
                self._record_pool(name, pool_spec(module, x, self._error), x, output)
            case _ if isinstance(module, _ALIASES):
                self._record_reshape(x, output)
            case _:
                self._record_neuron(name, module, x, output)

    def _record_synapse(self, name: str, module: nn.Conv2d | nn.Linear, x: Tensor, output: Tensor) -> None:
        source = self._source(x)
        if source.carries is Carries.CURRENT:
            raise self._error(
                f"{name!r} reads currents (from {source.name!r}): a weight layer must read spikes, sums of spikes "
                "or the network's input",
                "put a neuron between two weight layers; a shortcut convolution can read the block's spikes",
            )
        if isinstance(module, nn.Linear) and len(self._per_sample(x)) != 1:
            raise self._error(f"{name!r} reads shape {self._per_sample(x)} per sample", "flatten before a linear layer")
        spec = linear_spec(module) if isinstance(module, nn.Linear) else conv_spec(name, module, self._error)
        self._write(self._once(name), NodeKind.SYNAPSE, (source.name,), output, Carries.CURRENT, spec)

    def _record_norm(self, name: str, module: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, output: Tensor) -> None:
        source = self._source(x)
        spec = source.spec
        if not isinstance(spec, SynapseSpec) or spec.batch_norm is not None:
            raise self._error(
                f"batch norm {name!r} follows {source.name!r} ({source.kind.value}), not a weight layer",
                "put the batch norm right after its convolution or linear layer",
            )
        if self._readers(source.name):
            raise self._error(f"{source.name!r} is read both by {name!r} and by another layer", "use its norm's output")
        if module.running_mean is None:
            raise self._error(f"batch norm {name!r} keeps no running statistics", "use track_running_stats=True")
        self._once(name)
        self._nodes[source.name] = replace(source, spec=replace(spec, batch_norm=name))
        self._absorbed[id(x)] = (x, source.name)
        del self._tracked[id(x)]
        self._follow(output, source.name)

    def _record_neuron(self, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        model = describe_neuron(module)
        assert model is not None
        source = self._source(x)
        if x.shape[:2] != (self._steps, self._batch):
            raise self._error(
                f"neuron {name!r} reads {list(x.shape)}: it needs time as its own axis, [T, N, ...]",
                "unflatten before the neuron: x.unflatten(0, (T, N))",
            )
        if source.carries is not Carries.CURRENT:
            raise self._error(
                f"neuron {name!r} reads {source.carries.value} from {source.name!r}, not currents",
                "put a weight layer before it",
            )
        probe(name, module, model)
        carries = Carries.CURRENT if model.reset == "none" and not math.isfinite(model.threshold) else Carries.SPIKES
        self._write(self._once(name), NodeKind.NEURON, (source.name,), output, carries, model)

    def _record_pool(self, name: str, spec: PoolSpec, x: Tensor, output: Tensor) -> None:
        source = self._source(x)
        self._write(self._fresh(name), NodeKind.POOL, (source.name,), output, source.carries, spec)

    # ------------------------------------------------------------------ functions

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function on tensors during the pass."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        tensors = [value for value in [*args, *kwargs.values()] if isinstance(value, Tensor)]
        followed = [tensor for tensor in tensors if id(tensor) in self._tracked or id(tensor) in self._absorbed]
        if self._inside_leaf or not followed or name in _QUESTIONS:
            return func(*args, **kwargs)
        if name in _READS:
            raise self._error(f"the network reads values of a tensor ({name})", "a graph cannot depend on data")
        output = func(*args, **kwargs)
        self._record_function(name, func, args, kwargs, output)
        return output

    def _record_function(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], output: object
    ) -> None:
        if not isinstance(output, Tensor):
            raise self._unknown(func, name)
        if name in _RESHAPES:
            self._record_reshape(args[0], output)
        elif name in _ADDS:
            self._record_add(args, kwargs, output)
        elif name in _TIME_REDUCTIONS:
            self._record_reduction(name, args, kwargs, output)
        elif name in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"):
            spec = functional_pool_spec(name, args, kwargs, self._error)
            self._record_pool(f"{self._here()}{name}", spec, args[0], output)
        elif name in ("dropout", "dropout2d"):
            self._record_reshape(args[0], output)
        else:
            raise self._unknown(func, name)

    def _record_reshape(self, x: Tensor, output: Tensor) -> None:
        source, shape = self._source(x), self._per_sample(output)
        if shape == source.shape:
            self._follow(output, source.name)
        elif shape == (math.prod(source.shape),):
            name = self._fresh(f"{source.name}.flatten")
            self._write(name, NodeKind.FLATTEN, (source.name,), output, source.carries, None)
        else:
            raise self._error(
                f"a reshape turns {list(x.shape)} into {list(output.shape)}",
                "a graph holds only folding of time and batch, and the flattening of one sample to a vector",
            )

    def _record_add(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        if len(args) != 2 or not all(isinstance(value, Tensor) for value in args) or kwargs.get("alpha", 1) != 1:
            raise self._error("a tensor is added to a constant or scaled", "only sums of two layers can be held")
        left, right = self._source(args[0]), self._source(args[1])
        if left.shape != right.shape or left.carries is not right.carries:
            raise self._error(
                f"{left.name!r} ({left.carries.value}, {left.shape}) is added to {right.name!r} "
                f"({right.carries.value}, {right.shape})",
                "both branches of a sum must have one shape and both carry spikes, or both currents",
            )
        name = self._fresh(f"{self._here()}add")
        self._write(name, NodeKind.ADD, (left.name, right.name), output, left.carries, None)

    def _record_reduction(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        x = args[0]
        axes = axes_of(x, args[1] if len(args) > 1 else kwargs.get("dim"))
        split = x.shape[:2] == (self._steps, self._batch)
        if split and axes == (0,):
            self._read_out(x, "mean" if name == "mean" else "sum", output)
        elif name == "mean" and axes == (x.dim() - 2, x.dim() - 1) and len(self._per_sample(x)) == 3:
            self._record_global_average(x, output)
        else:
            raise self._error(
                f"a {name} over axes {axes} of {list(x.shape)}", "means over time (0) or over H and W can be held"
            )

    def _record_global_average(self, x: Tensor, output: Tensor) -> None:
        source = self._source(x)
        spec = PoolSpec("average", source.shape[1:], source.shape[1:], (0, 0))  # type: ignore[arg-type]
        pool = self._fresh(f"{source.name}.average")
        self._nodes[pool] = SnnNode(pool, NodeKind.POOL, (source.name,), (source.shape[0], 1, 1), source.carries, spec)
        self._record_global_flatten(pool, output, source.carries)

    def _record_global_flatten(self, pool: str, output: Tensor, carries: Carries) -> None:
        kept = self._per_sample(output)
        if len(kept) == 3:  # keepdim=True
            self._follow(output, pool)
        else:
            self._write(self._fresh(f"{pool}.flatten"), NodeKind.FLATTEN, (pool,), output, carries, None)

    def _read_out(self, x: Tensor, mode: str, output: Tensor | None = None) -> None:
        source = self._source(x)
        if x.shape[:2] != (self._steps, self._batch):
            raise self._error(
                f"the network's output {list(x.shape)} folds time into the batch",
                "return [T, N, K] or its mean over time, [N, K]",
            )
        name = self._fresh("readout")
        spec = ReadoutSpec(mode)  # type: ignore[arg-type]
        self._nodes[name] = SnnNode(name, NodeKind.READOUT, (source.name,), source.shape, source.carries, spec)
        if output is not None:
            self._follow(output, name)

    # ------------------------------------------------------------------ tensors and names

    def _write(
        self, name: str, kind: NodeKind, inputs: tuple[str, ...], output: Tensor, carries: Carries, spec: NodeSpec
    ) -> None:
        for read in inputs:
            if self._nodes[read].kind is NodeKind.READOUT:
                raise self._error(f"{name!r} follows the mean over time", "take the mean over time last")
        self._nodes[name] = SnnNode(name, kind, inputs, self._per_sample(output), carries, spec)
        self._follow(output, name)

    def _follow(self, tensor: Tensor, node: str) -> None:
        self._tracked[id(tensor)] = _Tracked(tensor, node)

    def _source(self, x: object) -> SnnNode:
        if id(x) in self._absorbed:
            name = self._absorbed[id(x)][1]
            raise self._error(f"the output of {name!r} is read before its batch norm", "read the norm's output only")
        if id(x) not in self._tracked:
            raise self._error("a layer reads a tensor that does not come from the network's input", "remove it")
        return self._nodes[self._tracked[id(x)].node]

    def _readers(self, name: str) -> list[str]:
        return [node.name for node in self._nodes.values() if name in node.inputs]

    def _per_sample(self, x: Tensor) -> TensorShape:
        """The shape without T and N, whether they are two axes or folded into one."""
        shape = tuple(x.shape)
        if shape[:2] == (self._steps, self._batch):
            return shape[2:]
        if shape[0] == self._steps * self._batch:
            return shape[1:]
        raise self._error(
            f"a tensor of shape {list(shape)} has neither [T, N, ...] = [{self._steps}, {self._batch}, ...] nor "
            f"[T*N, ...] = [{self._steps * self._batch}, ...] in front",
            "keep time and batch as the leading axes",
        )

    def _once(self, name: str) -> str:
        if name in self._calls:
            raise self._error(
                f"{name!r} is called more than once in a forward pass",
                "give the network all steps at once, [T, N, ...], and a module of its own to every place",
            )
        self._calls[name] = 1
        return name

    def _fresh(self, name: str) -> str:
        self._calls[name] = self._calls.get(name, 0) + 1
        return name if self._calls[name] == 1 else f"{name}_{self._calls[name]}"

    def _here(self) -> str:
        return f"{self._stack[-1]}." if self._stack and self._stack[-1] else ""

    def _error(self, what: str, hint: str) -> TraceError:
        place = f" (in module {self._stack[-1]!r})" if self._stack and self._stack[-1] else ""
        return TraceError(f"{what}{place}", hints=[hint])

    def _unknown(self, func: Callable[..., Any], name: str) -> TraceError:
        return self._error(
            f"the network calls {resolve_name(func) or name}, which a graph of spiking layers cannot hold",
            "use convolution, linear, batch norm, pooling, add, flatten, and a mean over time at the end",
        )
