"""What a PyTorch layer's arguments say, as the graph's specs; what a graph cannot hold is a TraceError."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, cast

from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.graph import PoolSpec, Sizes, SynapseOperator, SynapseSpec

ItemT = TypeVar("ItemT")
ErrorMaker = Callable[[str, str], TraceError]  # what is wrong, what to do

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
FloatTransposed: TypeAlias = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
FloatConvolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
POOLS = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
SUM_POOLS = (nn.LPPool1d, nn.LPPool2d, nn.LPPool3d)  # with norm_type 1
_AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
FUNCTIONAL_POOLS: dict[str, tuple[str, ...]] = {  # positional arguments after the input
    **{f"max_pool{rank}d": _MAX for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": _AVERAGE for rank in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{rank}d": ("output_size",) for kind in ("avg", "max") for rank in (1, 2, 3)},
}


def base_of(module: nn.Module, classes: Collection[type[nn.Module]]) -> type[nn.Module] | None:
    """The one of torch's `classes` that a module's class is, or is made from; None where it is none."""
    return next((base for base in type(module).__mro__ if base in classes), None)


def sizes(value: int | Sequence[int], rank: int) -> Sizes:
    """One number per axis of a window, of an argument that may be one number for all."""
    given = several(value)
    return given if len(given) == rank else given * rank


def several(value: ItemT | Sequence[ItemT]) -> tuple[ItemT, ...]:
    """An argument that may be one thing, a tuple or a list of them, as a tuple."""
    return tuple(value) if isinstance(value, tuple | list) else (cast("ItemT", value),)


def conv_spec(name: str, module: FloatConvolution, error: ErrorMaker) -> SynapseSpec:
    """The spec of a convolution; its batch norm is added when it is met."""
    if module.padding_mode != "zeros":
        raise error(f"{name!r} pads with {module.padding_mode}", "use padding_mode='zeros'")
    rank = module.weight.dim() - 2
    kernel, dilation, padding = tuple(module.weight.shape[2:]), sizes(module.dilation, rank), module.padding
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if padding == "same" and any(r % 2 for r in reach):
            raise error(f"{name!r} pads 'same' with an even kernel", "use an odd kernel or a padding in numbers")
        padding = tuple(0 if padding == "valid" else r // 2 for r in reach)
    return SynapseSpec(
        operator=_operator(rank),
        weight_shape=tuple(module.weight.shape),
        stride=sizes(module.stride, rank),
        padding=sizes(padding, rank),
        dilation=dilation,
        groups=module.groups,
        bias=module.bias is not None,
        batch_norm=None,
    )


def transposed_spec(name: str, module: FloatTransposed, error: ErrorMaker) -> SynapseSpec:
    """The spec of a transposed convolution, whose weight is [Ci, Co/groups, *kernel]."""
    inputs, outputs, *kernel = module.weight.shape
    rank = len(kernel)
    padding, dilation = sizes(_numbers(module.padding), rank), sizes(module.dilation, rank)
    reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    if any(p > r for p, r in zip(padding, reach, strict=True)):
        raise error(
            f"transposed convolution {name!r} crops its output: padding {padding} is more than dilation*(kernel - 1), "
            f"{reach}",
            "lower its padding, and take a slice of its output where it shall be smaller",
        )
    operators: tuple[SynapseOperator, ...] = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
    return SynapseSpec(
        operator=operators[rank - 1],
        weight_shape=(outputs * module.groups, inputs // module.groups, *kernel),
        stride=sizes(module.stride, rank),
        padding=padding,
        dilation=dilation,
        groups=module.groups,
        bias=module.bias is not None,
        batch_norm=None,
        output_padding=sizes(module.output_padding, rank),
    )


def _numbers(padding: str | Sizes) -> Sizes:
    assert not isinstance(padding, str), "torch refuses words for a transposed convolution"
    return padding


def _operator(rank: int) -> SynapseOperator:
    operators: tuple[SynapseOperator, ...] = ("conv1d", "conv2d", "conv3d")
    return operators[rank - 1]


def linear_spec(module: nn.Linear) -> SynapseSpec:
    """The spec of a linear layer."""
    return SynapseSpec("linear", tuple(module.weight.shape), (1, 1), (0, 0), (1, 1), 1, module.bias is not None, None)


def pool_rank(name: str) -> int:
    """How many axes a pooling class or function named MaxPool2d or max_pool2d has."""
    return int(name[-2])


def pool_spec(module: nn.Module, x: Tensor, error: ErrorMaker) -> PoolSpec:
    """The spec of one of POOLS, called on x [..., *map]; of one of SUM_POOLS that of the average."""
    base = base_of(module, (*POOLS, *SUM_POOLS))
    assert base is not None, "called for one of these alone"
    name, rank = base.__name__, pool_rank(base.__name__)
    words = ("output_size",) if name.startswith("Adaptive") else _MAX if name.startswith("Max") else _AVERAGE
    given = {word: getattr(module, word) for word in words if hasattr(module, word)}
    return _pool_spec("max" if "Max" in name else "average", rank, given, x, error)


def functional_pool_spec(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: ErrorMaker) -> PoolSpec:
    """The spec of a call of one of FUNCTIONAL_POOLS; args[0] is the tensor."""
    given = dict(zip(FUNCTIONAL_POOLS[name], args[1:], strict=False)) | kwargs
    return _pool_spec("max" if "max" in name else "average", pool_rank(name), given, args[0], error)


def _pool_spec(
    mode: Literal["max", "average"], rank: int, given: dict[str, Any], x: Tensor, error: ErrorMaker
) -> PoolSpec:
    if "output_size" in given:
        return _adaptive_spec(mode, rank, given["output_size"], x, error)
    kernel, padding = sizes(given["kernel_size"], rank), sizes(given.get("padding", 0), rank)
    stride = sizes(given.get("stride") or given["kernel_size"], rank)
    ceil = given.get("ceil_mode", False) and not _fits(x.shape[-rank:], kernel, stride, padding)
    if mode == "max" and (ceil or sizes(given.get("dilation", 1), rank) != (1,) * rank):
        raise error("a max pooling uses ceil_mode or dilation", "use plain windows")
    partial = any(padding) and not given.get("count_include_pad", True)
    if mode == "average" and (ceil or partial or given.get("divisor_override") is not None):
        raise error(
            "an average pooling has windows of unequal size (ceil_mode, divisor_override or count_include_pad=False)",
            "use windows that fit, with padding counted",
        )
    return PoolSpec(mode, kernel, stride, padding)


def _fits(size: Sequence[int], kernel: Sizes, stride: Sizes, padding: Sizes) -> bool:
    """Whether windows end where the padded map ends: then ceil_mode adds none."""
    axes = zip(size, kernel, stride, padding, strict=True)
    return all((length + 2 * pad - reach) % step == 0 for length, reach, step, pad in axes)


def _adaptive_spec(
    mode: Literal["max", "average"], rank: int, output_size: Any, x: Tensor, error: ErrorMaker
) -> PoolSpec:
    size = tuple(x.shape[-rank:])
    wanted = [have if want is None else want for have, want in zip(size, sizes(output_size, rank), strict=True)]
    if any(have % want for have, want in zip(size, wanted, strict=True)):
        raise error(
            f"an adaptive pooling of {size} to {tuple(wanted)} has uneven windows",
            "choose a divisor of the size, or a larger input whose map is a multiple of what is asked",
        )
    kernel = tuple(have // want for have, want in zip(size, wanted, strict=True))
    return PoolSpec(mode, kernel, kernel, (0,) * rank)


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, word: str, default: Any = None) -> Any:
    """An argument of a tensor function, given by place or by word."""
    return args[place] if len(args) > place else kwargs.get(word, default)


def axes_of(x: Tensor, dim: Any) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front and sorted; all of them for None."""
    if dim is None:
        return tuple(range(x.dim()))
    return tuple(sorted(axis % x.dim() for axis in several(dim)))


def is_active_dropout(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of functional.dropout(input, p=0.5, training=True) drops anything."""
    given = {"p": 0.5, "training": True} | dict(zip(("p", "training"), args[1:], strict=False)) | kwargs
    return bool(given["training"]) and given["p"] > 0
