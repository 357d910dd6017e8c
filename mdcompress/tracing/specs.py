"""What a PyTorch layer's arguments say, as the graph's specs; what a graph cannot hold is a TraceError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.graph import PoolSpec, SynapseSpec

ErrorMaker = Callable[[str, str], TraceError]


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def conv_spec(name: str, module: nn.Conv2d, error: ErrorMaker) -> SynapseSpec:
    if module.padding_mode != "zeros":
        raise error(f"{name!r} pads with {module.padding_mode}", "use padding_mode='zeros'")
    padding = module.padding
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        if padding == "same" and any(r % 2 for r in reach):
            raise error(f"{name!r} pads 'same' with an even kernel", "use an odd kernel or a padding in numbers")
        padding = (0, 0) if padding == "valid" else (reach[0] // 2, reach[1] // 2)
    return SynapseSpec(
        "conv2d",
        tuple(module.weight.shape),
        pair(module.stride),
        pair(padding),
        pair(module.dilation),
        module.groups,
        module.bias is not None,
        None,
    )


def linear_spec(module: nn.Linear) -> SynapseSpec:
    return SynapseSpec("linear", tuple(module.weight.shape), (1, 1), (0, 0), (1, 1), 1, module.bias is not None, None)


def pool_spec(module: nn.Module, x: Tensor, error: ErrorMaker) -> PoolSpec:
    match module:
        case nn.AvgPool2d():
            options = (module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad)
            return average_spec(*options, module.divisor_override, error)
        case nn.MaxPool2d():
            return max_spec(module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode, error)
        case nn.AdaptiveAvgPool2d():
            return adaptive_spec("average", module.output_size, x, error)
        case nn.AdaptiveMaxPool2d():
            return adaptive_spec("max", module.output_size, x, error)
        case _:
            raise error(f"unknown pooling {type(module).__name__}", "use AvgPool2d or MaxPool2d")


def average_spec(
    kernel: Any, stride: Any, padding: Any, ceil: bool, include_pad: bool, divisor: int | None, error: ErrorMaker
) -> PoolSpec:
    if ceil or divisor is not None or (pair(padding) != (0, 0) and not include_pad):
        raise error(
            "an average pooling has windows of different sizes (ceil_mode, divisor_override or count_include_pad=False)",
            "use windows that fit, with padding counted",
        )
    return PoolSpec("average", pair(kernel), pair(stride if stride is not None else kernel), pair(padding))


def max_spec(kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, error: ErrorMaker) -> PoolSpec:
    if ceil or pair(dilation) != (1, 1):
        raise error("a max pooling uses ceil_mode or dilation", "use plain windows")
    return PoolSpec("max", pair(kernel), pair(stride if stride is not None else kernel), pair(padding))


def adaptive_spec(mode: Any, output_size: Any, x: Tensor, error: ErrorMaker) -> PoolSpec:
    size = (x.shape[-2], x.shape[-1])
    wanted = tuple(s if w is None else w for s, w in zip(size, pair(output_size), strict=True))
    if any(s % w for s, w in zip(size, wanted, strict=True)):
        raise error(f"an adaptive pooling of {size} to {wanted} has uneven windows", "choose a divisor of the size")
    kernel = (size[0] // wanted[0], size[1] // wanted[1])
    return PoolSpec(mode, kernel, kernel, (0, 0))


def functional_pool_spec(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: ErrorMaker) -> PoolSpec:
    names = {
        "max_pool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
        "avg_pool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
        "adaptive_avg_pool2d": ("output_size",),
    }[name]
    given = dict(zip(names, args[1:], strict=False)) | kwargs
    if name == "adaptive_avg_pool2d":
        return adaptive_spec("average", given["output_size"], args[0], error)
    stride, padding = given.get("stride") or None, given.get("padding", 0)
    if name == "max_pool2d":
        dilation, ceil = given.get("dilation", 1), given.get("ceil_mode", False)
        return max_spec(given["kernel_size"], stride, padding, dilation, ceil, error)
    include, divisor = given.get("count_include_pad", True), given.get("divisor_override")
    return average_spec(given["kernel_size"], stride, padding, given.get("ceil_mode", False), include, divisor, error)


def axes_of(x: Tensor, dim: Any) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(x.dim()))
    return tuple(sorted(axis % x.dim() for axis in ([dim] if isinstance(dim, int) else dim)))
