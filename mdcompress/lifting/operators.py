"""ATen operators by what they do to elements: compute each from its own, move them, draw them, read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Each element of the output is computed from the elements at its own place. Comparisons among them may be spikes.
COMPARISONS = frozenset({"gt", "ge", "lt", "le", "greater", "greater_equal", "less", "less_equal"})
COUNTING = frozenset({"round", "floor", "trunc", "ceil"})
STEPPING = frozenset({"heaviside", "sign", "sgn"})
_ARITHMETIC = frozenset({
    "add", "sub", "rsub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "neg", "negative", "addcmul",
    "addcdiv", "lerp", "reciprocal", "square", "pow", "sqrt", "rsqrt", "abs", "exp", "log", "sigmoid", "tanh", "atan",
    "erf", "erfc", "sin", "cos", "softplus", "elu", "leaky_relu", "gelu", "silu", "hardtanh", "hardsigmoid", "logit",
    "relu", "relu6", "clamp", "clamp_min", "clamp_max", "clip", "threshold", "maximum", "minimum", "fmax", "fmin",
    "where", "masked_fill", "remainder", "fmod", "floor_divide", "nan_to_num", "atan2", "log1p", "expm1", "sinh",
    "cosh", "hardswish", "mish", "celu", "selu", "threshold_backward", "sigmoid_backward", "eq", "ne", "copysign",
    "prelu", "_prelu_kernel", "isnan", "isinf",
})  # fmt: skip
UNARY_TRUTHS: dict[str, Callable[..., Tensor]] = {
    "logical_not": lambda x: (x == 0).double(),
    "bitwise_not": lambda x: (x == 0).double(),
}
BINARY_TRUTHS: dict[str, Callable[..., Tensor]] = {
    "logical_and": lambda a, b: ((a != 0) & (b != 0)).double(),
    "bitwise_and": lambda a, b: ((a != 0) & (b != 0)).double(),
    "logical_or": lambda a, b: ((a != 0) | (b != 0)).double(),
    "bitwise_or": lambda a, b: ((a != 0) | (b != 0)).double(),
    "logical_xor": lambda a, b: ((a != 0) ^ (b != 0)).double(),
    "bitwise_xor": lambda a, b: ((a != 0) ^ (b != 0)).double(),
}
ELEMENTWISE = frozenset({*COMPARISONS, *COUNTING, *STEPPING, *_ARITHMETIC, *UNARY_TRUTHS, *BINARY_TRUTHS})

# The output holds elements of the inputs, or constants. "alias": it shares the input's memory.
MOVING: dict[str, str] = {
    **dict.fromkeys(("lift_fresh", "_reshape_alias", "_unsafe_view", "set_", "resolve_conj", "resolve_neg"), "alias"),
    **dict.fromkeys((
        "clone", "_to_copy", "contiguous", "cat", "stack", "repeat", "index", "index_select", "gather", "flip", "roll",
        "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d",
        "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d",
        "_upsample_nearest_exact2d", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
        "im2col", "select_scatter", "slice_scatter", "repeat_interleave", "take", "view_copy", "_pack",
    ), "copy"),
}  # fmt: skip
_ON_FLOATS_ONLY = frozenset({
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d", "im2col",
    "_upsample_nearest_exact2d", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d",
})  # fmt: skip
RANDOM = frozenset({
    "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "bernoulli", "uniform", "normal", "poisson",
    "native_dropout", "multinomial", "exponential", "randperm", "random", "normal_functional", "binomial",
})  # fmt: skip
FORMS = frozenset({
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like", "new_zeros",
    "new_ones", "new_full", "new_empty", "new_empty_strided", "size", "dim", "numel", "sym_size", "sym_numel",
    "is_same_size", "bernoulli_p",
})  # fmt: skip
FILLING = frozenset({"zero", "fill"})
REVIEWING = frozenset({"unsqueeze_", "squeeze_", "transpose_", "t_", "swapaxes_", "as_strided_", "detach_"})
READING = frozenset({"_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero", "masked_select", "unique2"})

# What to do instead of a call whose name has this in it: no graph holds it.
INSTEAD: dict[str, str] = {
    "softmax": "attention without softmax, q @ k.transpose(-2, -1) @ v of spikes, has an integer form",
    "layer_norm": "use batch norm: its statistics are constants when the network is run",
    "group_norm": "use batch norm: its statistics are constants when the network is run",
    "cumsum": "let a neuron integrate: a state that goes from step to step",
    "sort": "a graph does not order values",
    "topk": "a graph does not order values",
    "bernoulli": "draw random numbers before the network: an encoder of its input belongs to the data",
}


def base_name(func: Any) -> str:
    """The operator's name without overload, and without the mark of writing in place: add for aten.add_.Tensor."""
    name: str = func._schema.name.partition("::")[2]
    return name if name.startswith("_") or not name.endswith("_") else name[:-1]


def needs_floats(name: str) -> bool:
    """Whether an operator that moves elements takes no integers."""
    return name in _ON_FLOATS_ONLY


def sum_of(*parts: Tensor) -> Tensor:
    """The sum of tensors, in order."""
    return torch.stack(parts).sum(0)
