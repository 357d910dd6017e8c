"""The recorder behind trace(): watches the modules and tensor functions of one forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, assert_never

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from mdcompress.adapters import Adapter, find_neurons
from mdcompress.errors import TraceError
from mdcompress.graph import Carries, InputSpec, NeuronModel, ReadoutMode, ReadoutSpec, SnnGraph, TensorShape
from mdcompress.modes import Wrapper, modules_of
from mdcompress.tracing.agreement import check_agreement, holds_membrane
from mdcompress.tracing.functions import record_function
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.modules import is_layer, record_module
from mdcompress.tracing.neurons import NeuronCalls, flat_tensors
from mdcompress.tracing.norms import norm_lists
from mdcompress.tracing.positions import Position
from mdcompress.tracing.readouts import check_membranes_end

_READS = {"__bool__", "__int__", "__float__", "__index__", "__array__", "item", "tolist", "numpy", "equal", "allclose"}
_QUESTIONS = {
    "size", "dim", "numel", "ndimension", "stride", "is_floating_point", "is_contiguous", "get_device",
    "__len__", "__get__", "requires_grad_",
}  # fmt: skip
_FORMS = {  # tensors of the same form, whatever the values
    "zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_full", "new_empty",
}  # fmt: skip


class BatchBeforeTimeError(TraceError):
    """All can be read, but that the network's answer is [N, T, ...]."""


class Recorder(TorchFunctionMode):
    """Runs `model(sample)` once and writes down its graph. Sample [T, N, ...] with N >= 2.

    adapters: the user's own, asked before the shipped ones.
    """

    def __init__(self, model: nn.Module, sample: Tensor, *, adapters: Sequence[Adapter] = ()) -> None:
        super().__init__()
        self._model, self._sample = model, sample
        self._modules = modules_of(model)
        self._names = {module: name for name, module in self._modules.items()}
        self._neurons = NeuronCalls(find_neurons(model, adapters=adapters), adapters)
        self._ledger = Ledger(
            sample.shape[0],
            sample.shape[1],
            reserved=self._modules,
            norm_lists=norm_lists(self._modules, sample.shape[0]),
            unknown=frozenset(name for name, module in self._modules.items() if self._may_be_neuron(name, module)),
        )
        self._stack: list[str] = []
        self._inside_layer = 0
        self._failed: str | None = None

    def record(self, answered: Callable[[object], None] = lambda _: None) -> SnnGraph:
        """Run the network and return its graph; `answered` is told what the network returned."""
        ledger = self._ledger
        name = ledger.free("input")
        position = Position("all", ("T", "N"))
        shape = ledger.per_sample(self._sample, position.axes)
        ledger.write(name, InputSpec(), (), shape=shape, carries=Carries.INPUT)
        ledger.follow(self._sample, name, position)
        with self._module_hooks(), self:
            output = self._model(self._sample)
        answered(output)
        readout = self._readout_of(output)
        for name in self._neurons.models:
            for place in ledger.places(name):
                ledger.note_calls(place, self._neurons.calls_of(name, place))
        graph = ledger.graph_of(readout)
        self._check_neurons(graph)
        check_membranes_end(graph, ledger.error)
        return graph

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What is done inside is no part of the pass."""
        self._inside_layer += 1
        try:
            yield
        finally:
            self._inside_layer -= 1

    @property
    def reached(self) -> int:
        """How many nodes the pass has written so far."""
        return self._ledger.written

    @property
    def failed_in(self) -> str | None:
        """The innermost module whose call failed; None where none did."""
        return self._failed

    def per_sample(self, x: Tensor) -> TensorShape | None:
        """The shape of one sample at one step in a tensor of the pass; None where it is not followed."""
        tracked = self._ledger.tracked(x)
        return None if tracked is None else self._ledger.node(tracked.node).shape

    def _may_be_neuron(self, name: str, module: nn.Module) -> bool:
        """Whether a module without layers, of a class that torch does not have, may be a neuron nobody described."""
        foreign = not type(module).__module__.startswith("torch.")
        parts = modules_of(module).values()
        return foreign and name not in self._neurons.models and not any(is_layer(part) for part in parts)

    def _check_neurons(self, graph: SnnGraph) -> None:
        for node in graph.of(NeuronModel):
            call, model = self._neurons.seen[node.name], self._neurons.models[node.module]
            self._neurons.check_complete(self._ledger, node.name)
            check_agreement(node.name, self._modules[node.module], model, call, batch=self._ledger.extent.batch)

    # ------------------------------------------------------------------ the answer

    def _readout_of(self, output: object) -> str:
        """Write the readout of what the network returned. States and records beside the answer are left out."""
        tensors = list(flat_tensors(output))
        tracked = self._ledger.tracked(tensors[0]) if tensors else None
        if tracked is None or not all(self._is_beside(other, tracked) for other in tensors[1:]):
            raise self._ledger.error(
                f"the network must return one tensor computed from its input (got {type(output).__name__})",
                "return the logits alone: [N, K] averaged over time, or [T, N, K]",
            )
        if tracked.state is not None:
            self._make_membrane_readout(tracked)
            return self._write_readout(tracked)
        return self._write_readout(self._ledger.source(tensors[0]))

    def _make_membrane_readout(self, tracked: Tracked) -> None:
        """Let a neuron write its membrane, v after the reset, where that is what the network returns."""
        ledger, name = self._ledger, tracked.node
        if ledger.is_read(name):
            raise ledger.error(
                f"the network returns a state of the neuron {name!r}, whose spikes other layers read",
                "let the last neuron be one that no layer follows, or return spikes",
            )
        module = ledger.node(name).module
        model, mode = self._neurons.models[module], self._mode_of(tracked)
        batch, call = self._ledger.extent.batch, self._neurons.seen[name]
        if not holds_membrane(tracked.tensor, mode, self._modules[module], model, call, batch=batch):
            raise ledger.error(
                f"the network returns a state of the neuron {name!r} that is not its membrane",
                "return the membrane, its mean, sum or maximum over time or its last step, or the spikes",
            )
        ledger.amend(name, model, carries=Carries.CURRENT)

    def _is_beside(self, other: Tensor, answer: Tracked) -> bool:
        """Whether a further tensor that the network returned is a neuron's state, or the answer once more."""
        tracked = self._ledger.tracked(other)
        if tracked is None or tracked.state is not None:
            return True
        return (tracked.node, tracked.position) == (answer.node, answer.position)

    def _write_readout(self, source: Tracked) -> str:
        ledger = self._ledger
        node, name = ledger.node(source.node), ledger.free("readout")
        spec = ReadoutSpec(self._mode_of(source))
        return ledger.write(name, spec, (node.name,), shape=node.shape, carries=node.carries)

    def _mode_of(self, source: Tracked) -> ReadoutMode:
        """How the answer leaves, told by the part of time that it holds."""
        position, last = source.position, self._ledger.time_steps - 1
        layout = position.axes == (("T", "N") if position.span == "all" else ("N",))
        match position.span:
            case "all" if layout:
                return "steps"
            case "mean" | "max" if layout:
                return position.span
            case "sum" if layout and position.step == last:
                return "sum"
            case "step" if layout and position.step == last:
                return "last"
            case "all" if position.axes == ("N", "T"):
                error = self._misplaced(source, "has the batch before time")
                raise BatchBeforeTimeError(error.message, hints=error.hints)
            case "all":
                raise self._misplaced(source, "folds time into the batch")
            case "step" | "sum" | "still" | "mean" | "max":
                raise self._ledger.error(
                    f"the network returns {position.describe()} of {source.node!r} out of {last + 1} steps, "
                    f"{list(source.tensor.shape)}",
                    "return [T, N, K], its mean, sum or maximum over time, or its last step, [N, K]",
                )
            case _:
                assert_never(position.span)

    def _misplaced(self, source: Tracked, what: str) -> TraceError:
        return self._ledger.error(
            f"the network's output {list(source.tensor.shape)} {what}", "return [T, N, K] or its mean over time, [N, K]"
        )

    # ------------------------------------------------------------------ watching

    @contextlib.contextmanager
    def _module_hooks(self) -> Iterator[None]:
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        name = "" if isinstance(module, Wrapper) else self._names.get(module, type(module).__name__)
        self._stack.append(name)
        self._ledger.place = name
        if self._inside_layer or name in self._neurons.models or is_layer(module):
            self._inside_layer += 1
            self._ledger.require_unchanged(flat_tensors(inputs))
        if self._inside_layer == 1:
            self._neurons.enter(name, module)

    def _leave(
        self, module: nn.Module, inputs: tuple[object, ...], keywords: dict[str, object] | None, output: object = None
    ) -> None:
        try:
            if self._inside_layer == 1 and output is not None and keywords is not None:  # None: the call failed
                name, given = self._names.get(module), (*inputs, *keywords.values())
                record_module(self._ledger, self._neurons, module, name, inputs=given, output=output)
        finally:
            self._inside_layer = max(0, self._inside_layer - 1)
            innermost = self._stack.pop()
            self._failed = None if output is not None else self._failed or innermost
            self._ledger.place = self._stack[-1] if self._stack else ""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function on tensors during the pass."""
        kwargs = kwargs or {}
        if self._inside_layer:
            return func(*args, **kwargs)
        followed = [value for value in _flat([*args, *kwargs.values()]) if self._ledger.follows(value)]
        if not followed:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in _READS:
            raise self._ledger.error(
                f"the network reads the values of a tensor ({name})",
                "a graph is the same for all data: choose by shapes or options, not by values",
            )
        self._ledger.require_unchanged(followed)
        output = func(*args, **kwargs)
        if name == "__iter__":
            output = tuple(output)
        if name not in _FORMS and (name not in _QUESTIONS or isinstance(output, Tensor)):
            record_function(self._ledger, func, args, kwargs, output=output)
        return iter(output) if name == "__iter__" else output


def _flat(values: Sequence[object]) -> Iterator[object]:
    """The values, and those inside lists and tuples (torch.cat and torch.stack take such)."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
