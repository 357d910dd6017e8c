"""What a PyTorch layer's arguments say, as the graph's specs; what a graph cannot hold is a TraceError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.graph import Pair, PoolSpec, SynapseSpec

ErrorMaker = Callable[[str, str], TraceError]  # what is wrong, what to do

POOLS = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
FUNCTIONAL_POOLS = {  # positional arguments after the input
    "max_pool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "avg_pool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "adaptive_avg_pool2d": ("output_size",),
    "adaptive_max_pool2d": ("output_size",),
}


def pair(value: int | tuple[int, ...]) -> Pair:
    """(vertical, horizontal) of an argument that may be one number for both."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def conv_spec(name: str, module: nn.Conv2d, error: ErrorMaker) -> SynapseSpec:
    """The spec of a convolution; its batch norm is added when it is met."""
    if module.padding_mode != "zeros":
        raise error(f"{name!r} pads with {module.padding_mode}", "use padding_mode='zeros'")
    padding = module.padding
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        if padding == "same" and any(r % 2 for r in reach):
            raise error(f"{name!r} pads 'same' with an even kernel", "use an odd kernel or a padding in numbers")
        padding = (0, 0) if padding == "valid" else (reach[0] // 2, reach[1] // 2)
    return SynapseSpec(
        operator="conv2d",
        weight_shape=tuple(module.weight.shape),
        stride=pair(module.stride),
        padding=pair(padding),
        dilation=pair(module.dilation),
        groups=module.groups,
        bias=module.bias is not None,
        batch_norm=None,
    )


def linear_spec(module: nn.Linear) -> SynapseSpec:
    """The spec of a linear layer."""
    return SynapseSpec("linear", tuple(module.weight.shape), (1, 1), (0, 0), (1, 1), 1, module.bias is not None, None)


def pool_spec(module: nn.Module, x: Tensor, error: ErrorMaker) -> PoolSpec:
    """The spec of one of POOLS, called on x [..., H, W]."""
    match module:
        case nn.AvgPool2d():
            options = (module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad)
            return _average_spec(*options, module.divisor_override, error)
        case nn.AdaptiveAvgPool2d():
            return _adaptive_spec("average", module.output_size, x, error)
        case nn.AdaptiveMaxPool2d():
            return _adaptive_spec("max", module.output_size, x, error)
        case _:
            assert isinstance(module, nn.MaxPool2d)
            geometry = (module.kernel_size, module.stride, module.padding, module.dilation)
            return _max_spec(*geometry, module.ceil_mode, error)


def functional_pool_spec(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: ErrorMaker) -> PoolSpec:
    """The spec of a call of one of FUNCTIONAL_POOLS; args[0] is the tensor."""
    given = dict(zip(FUNCTIONAL_POOLS[name], args[1:], strict=False)) | kwargs
    if name.startswith("adaptive"):
        return _adaptive_spec("average" if "avg" in name else "max", given["output_size"], args[0], error)
    kernel, stride, padding = given["kernel_size"], given.get("stride"), given.get("padding", 0)
    ceil = given.get("ceil_mode", False)
    if name == "max_pool2d":
        return _max_spec(kernel, stride, padding, given.get("dilation", 1), ceil, error)
    include, divisor = given.get("count_include_pad", True), given.get("divisor_override")
    return _average_spec(kernel, stride, padding, ceil, include, divisor, error)


def _average_spec(
    kernel: Any, stride: Any, padding: Any, ceil: bool, include_pad: bool, divisor: int | None, error: ErrorMaker
) -> PoolSpec:
    if ceil or divisor is not None or (pair(padding) != (0, 0) and not include_pad):
        raise error(
            "an average pooling has windows of unequal size (ceil_mode, divisor_override or count_include_pad=False)",
            "use windows that fit, with padding counted",
        )
    return PoolSpec("average", pair(kernel), pair(stride or kernel), pair(padding))


def _max_spec(kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, error: ErrorMaker) -> PoolSpec:
    if ceil or pair(dilation) != (1, 1):
        raise error("a max pooling uses ceil_mode or dilation", "use plain windows")
    return PoolSpec("max", pair(kernel), pair(stride or kernel), pair(padding))


def _adaptive_spec(mode: Literal["max", "average"], output_size: Any, x: Tensor, error: ErrorMaker) -> PoolSpec:
    size = (x.shape[-2], x.shape[-1])
    asked = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    wanted = [have if want is None else want for have, want in zip(size, asked, strict=True)]
    if any(have % want for have, want in zip(size, wanted, strict=True)):
        raise error(
            f"an adaptive pooling of {size} to {tuple(wanted)} has uneven windows", "choose a divisor of the size"
        )
    kernel = (size[0] // wanted[0], size[1] // wanted[1])
    return PoolSpec(mode, kernel, kernel, (0, 0))


def axes_of(x: Tensor, dim: Any) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front and sorted; all of them for None."""
    if dim is None:
        return tuple(range(x.dim()))
    return tuple(sorted(axis % x.dim() for axis in ([dim] if isinstance(dim, int) else dim)))


def is_active_dropout(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of functional.dropout(input, p=0.5, training=True) drops anything."""
    given = {"p": 0.5, "training": True} | dict(zip(("p", "training"), args[1:], strict=False)) | kwargs
    return bool(given["training"]) and given["p"] > 0
