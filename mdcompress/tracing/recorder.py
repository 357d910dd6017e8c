"""The recorder behind trace(): watches the modules and tensor functions of one forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from mdcompress.graph import Carries, NodeKind, SnnGraph
from mdcompress.tracing.functions import record_function, write_readout
from mdcompress.tracing.ledger import Ledger
from mdcompress.tracing.modules import is_layer, record_module

_READS = {"__bool__", "__int__", "__float__", "__index__", "__array__", "item", "tolist", "numpy", "equal", "allclose"}
_QUESTIONS = {
    "size", "dim", "numel", "ndimension", "stride", "is_floating_point", "is_contiguous", "get_device",
    "__len__", "__get__",
}  # fmt: skip


class Recorder(TorchFunctionMode):
    """Runs `model(sample)` once and writes down its graph. Sample [T, N, ...] with N >= 2."""

    def __init__(self, model: nn.Module, sample: Tensor) -> None:
        super().__init__()
        self._model, self._sample = model, sample
        self._names = {module: name for name, module in model.named_modules()}
        self._ledger = Ledger(sample.shape[0], sample.shape[1], reserved=self._names.values())
        self._stack: list[str] = []
        self._inside_layer = 0

    def record(self) -> SnnGraph:
        """Run the network and return its graph."""
        name = self._ledger.free("input")
        self._ledger.write_output(name, NodeKind.INPUT, (), self._sample, carries=Carries.INPUT)
        with self._module_hooks(), self:
            output = self._model(self._sample)
        return self._ledger.graph_of(self._readout_of(output))

    def _readout_of(self, output: object) -> str:
        """The readout that the network returned; where it returned a tensor of all steps, one of mode `steps`."""
        if not isinstance(output, Tensor) or not self._ledger.follows(output):
            raise self._ledger.error(
                f"the network must return one tensor computed from its input (got {type(output).__name__})",
                "return the logits alone: [N, K] averaged over time, or [T, N, K]",
            )
        last = self._ledger.source(output)
        return last.name if last.kind is NodeKind.READOUT else write_readout(self._ledger, output, "steps")

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
        self._stack.append(self._names.get(module, type(module).__name__))
        self._ledger.place = self._stack[-1]
        if self._inside_layer or is_layer(module):
            self._inside_layer += 1
            self._ledger.require_unchanged(inputs)

    def _leave(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        try:
            if self._inside_layer == 1 and output is not None:  # None: the call failed; its own error is on the way
                record_module(self._ledger, module, self._names.get(module), inputs=inputs, output=output)
        finally:
            self._inside_layer = max(0, self._inside_layer - 1)
            self._stack.pop()
            self._ledger.place = self._stack[-1] if self._stack else ""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function on tensors during the pass."""
        kwargs = kwargs or {}
        followed = [value for value in _flat([*args, *kwargs.values()]) if self._ledger.follows(value)]
        if self._inside_layer or not followed:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in _READS:
            raise self._ledger.error(
                f"the network reads the values of a tensor ({name})",
                "a graph is the same for all data: choose by shapes or options, not by values",
            )
        self._ledger.require_unchanged(followed)
        output = func(*args, **kwargs)
        if name not in _QUESTIONS or isinstance(output, Tensor):
            record_function(self._ledger, func, args, kwargs, output=output)
        return output


def _flat(values: Sequence[object]) -> Iterator[object]:
    """The values, and those inside lists and tuples (torch.cat and torch.stack take such)."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
