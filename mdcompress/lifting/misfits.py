"""A layer that was given samples of another size than it has weights for, as an error that names it and both sizes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from mdcompress.errors import TraceError
from mdcompress.modes import modules_of

_AXES = {1: "L", 2: "H, W", 3: "D, H, W"}


class MisfitError(TraceError):
    """A layer takes another size than it is given.

    plain: whether nothing else went wrong before, as far as it can be told: the axes are right, and of the samples.
    passed: how many layers with weights ran before it.
    """

    def __init__(self, error: TraceError, *, plain: bool, passed: int) -> None:
        super().__init__(error.message, hints=error.hints)
        self.plain, self.passed = plain, passed


@dataclass(frozen=True)
class _Misfit:
    """What a layer takes, in words, and of how many axes a sample then is.

    given: the size that is wrong; None where the number of axes is.
    """

    takes: str
    rank: int
    given: int | None
    advice: str


@dataclass
class _Calls:
    """The calls of modules: those that have begun, the layers that ran, and the innermost call that failed."""

    begun: list[tuple[nn.Module, object]] = field(default_factory=list)
    ran: set[nn.Module] = field(default_factory=set)
    failed: tuple[nn.Module, object] | None = None

    def enter(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        self.begun.append((module, inputs[0] if inputs else None))

    def leave(self, module: nn.Module, _: object, output: object) -> None:
        begun = self.begun.pop() if self.begun else None  # none where another hook failed before it was noted
        if output is None:
            self.failed = self.failed or begun
        elif isinstance(module, nn.Linear | _ConvNd):
            self.ran.add(module)


@contextlib.contextmanager
def layers_explained(
    network: nn.Module, sample: Tensor, per_sample: Callable[[Tensor], Sequence[int] | None] | None = None
) -> Iterator[None]:
    """Inside, a failure of a layer of `network` on the size of what it reads is a MisfitError.

    Args:
        network: it runs inside.
        sample: [T, N, ...], from which it runs.
        per_sample: the shape of a tensor of the pass without the axes of time and batch, None where it is not known
            where these are. Without it a size is told to be the samples' by its value.
    """
    calls = _Calls()
    handles = [
        register_module_forward_pre_hook(calls.enter),
        register_module_forward_hook(calls.leave, always_call=True),
    ]
    try:
        yield
    except TraceError:
        raise
    except Exception as error:
        found = None if calls.failed is None else _explained(network, sample, *calls.failed)
        if found is None:
            raise
        message, misfit, x = found
        if per_sample is not None:
            own = per_sample(x)
            plain = own is not None and len(own) >= misfit.rank
        else:
            plain = misfit.given in (*sample.shape[2:], math.prod(sample.shape[2:]))
        raise MisfitError(message, plain=plain and misfit.given is not None, passed=len(calls.ran)) from error
    finally:
        for handle in handles:
            handle.remove()


def _explained(
    network: nn.Module, sample: Tensor, layer: nn.Module, x: object
) -> tuple[TraceError, _Misfit, Tensor] | None:
    """The error where `x` is of a wrong size for `layer`; None where it is not, or its sizes are not known."""
    name = {module: name for name, module in modules_of(network).items()}.get(layer)
    if name is None or not isinstance(x, Tensor):
        return None
    match layer:
        case nn.Linear():
            misfit = _of_linear(layer, x)
        case _ConvNd():
            misfit = _of_convolution(layer, x)
        case _:
            misfit = None
    if misfit is None:
        return None
    own = list(sample.shape[2:])
    message = (
        f"the network fails in {name!r} ({type(layer).__name__}), which takes {misfit.takes} and is given "
        f"{list(x.shape)}: x [T, N, ...] is {list(sample.shape)}, a sample {own} at each step"
    )
    return TraceError(message, hints=[_hint(layer, misfit, own)]), misfit, x


def _hint(layer: nn.Module, misfit: _Misfit, own: Sequence[int]) -> str:
    values = math.prod(own)
    if isinstance(layer, nn.Linear) and values == layer.in_features and len(own) > 1:
        return (
            f"the {values} values of a step must be flattened first: in the network, x.flatten(2) of x [T, N, ...], or "
            "in loaders of one's own, `data: {name: my_data:loaders}`"
        )
    return (
        "let the samples be of the size for which the network is made: the recipe's `data.name` says which they are, "
        f"and of recorded events `data.size` their height and width; or {misfit.advice}"
    )


def _of_linear(layer: nn.Linear, x: Tensor) -> _Misfit | None:
    if x.dim() and x.shape[-1] == layer.in_features:
        return None
    given = x.shape[-1] if x.dim() > 1 else None
    advice = f"give the layer {x.shape[-1]} inputs" if given is not None else "give it [..., features]"
    return _Misfit(f"[..., {layer.in_features}]", 1, given, advice)


def _of_convolution(layer: _ConvNd, x: Tensor) -> _Misfit | None:
    rank = layer.weight.dim() - 2
    takes = f"[N, {layer.in_channels}, {_AXES[rank]}]"
    if x.dim() < rank + 2:
        return _Misfit(takes, rank + 1, None, f"give it maps, {takes}")
    channels, sizes = x.shape[-rank - 1], x.shape[-rank:]
    if channels != layer.in_channels:
        return _Misfit(takes, rank + 1, channels, f"give the layer {channels} channels")
    return _of_window(layer, sizes)


def _of_window(layer: _ConvNd, sizes: torch.Size) -> _Misfit | None:
    """Maps that are smaller than the window that slides over them."""
    if layer.transposed or isinstance(layer.padding, str):
        return None
    kernels = zip(layer.kernel_size, layer.dilation, layer.padding, strict=True)
    least = [max(1, dilation * (kernel - 1) + 1 - 2 * int(padding)) for kernel, dilation, padding in kernels]
    if all(size >= smallest for size, smallest in zip(sizes, least, strict=True)):
        return None
    given = next(size for size, smallest in zip(sizes, least, strict=True) if size < smallest)
    words = " x ".join(map(str, least))
    return _Misfit(
        f"maps of at least {words}", len(sizes) + 1, given, "give the layer a smaller kernel, or pool less before it"
    )
