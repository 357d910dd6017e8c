"""Integers and weights, carried in float -> the sums that a synapse makes of them; exact where that is asked for.

Sums of integers are exact in a float type, in any order, while no part of a sum leaves the integers that the type has:
2^24 in float32, 2^53 in float64. That holds of whatever adds the products themselves. Some arithmetic of libraries is
other:

- factors of fewer bits: TF32 has 11, bfloat16 has 8. Who asks torch for them (`torch.backends.*.fp32_precision`,
  `set_float32_matmul_precision`), or the libraries by an environment variable, is given float64 here.
- convolutions by Winograd's or Fourier's transform, which add fractions. cuDNN takes them for float32 as it likes, with
  TF32 off and with `deterministic` too (they are deterministic), and Fourier's for float64 along one axis; NNPACK takes
  Winograd's. So on a GPU a convolution is a product of matrices here, windows times weights, which cuBLAS adds up in at
  least the type that it is given. On a CPU it is torch's: oneDNN's direct one, or im2col and a product.

int8 products with int32 sums would be exact too, but torch has them as a private function for some sizes alone.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mdcompress.graph import SynapseSpec

EXACT_IN_FLOAT32 = 2**24  # sums of integers whose absolute values add up to less are exact in any order
_MOST_COLUMNS = 2**26  # numbers in the windows that are written out at once: 256 MB of float32
_WHOLE = ("ieee", "none")  # what torch calls float32 with all its 24 bits
_SHORTENING = {  # environment variables that shorten float32 factors, whatever torch says -> values that do not
    "NVIDIA_TF32_OVERRIDE": ("0",),
    "CUBLAS_EMULATE_SINGLE_PRECISION": ("0",),
    "ONEDNN_DEFAULT_FPMATH_MODE": ("STRICT",),
    "DNNL_DEFAULT_FPMATH_MODE": ("STRICT",),
}
_CONVOLUTIONS = {"conv1d": F.conv1d, "conv2d": F.conv2d, "conv3d": F.conv3d}
_TRANSPOSED = {
    "conv_transpose1d": F.conv_transpose1d,
    "conv_transpose2d": F.conv_transpose2d,
    "conv_transpose3d": F.conv_transpose3d,
}

Form = Literal["convolution", "product"]


@dataclass(frozen=True)
class Arithmetic:
    """In which type sums are computed, and whether as torch's convolution or as a product of matrices."""

    dtype: torch.dtype
    form: Form


TRAINING = Arithmetic(torch.float32, "convolution")  # the fastest there is: what is inexact perturbs a gradient step


def exact_arithmetic(largest: float, device: torch.device) -> Arithmetic:
    """What computes sums of integers exactly.

    Args:
        largest: a bound of the absolute values of a sum's products, added up.
        device: where.
    """
    form: Form = "convolution" if device.type == "cpu" else "product"
    fits = largest < EXACT_IN_FLOAT32 and adds_float32_products(device)
    return Arithmetic(torch.float32 if fits else torch.float64, form)


def adds_float32_products(device: torch.device) -> bool:
    """Whether sums of float32 on a device are of the products themselves, in the forms of `exact_arithmetic`."""
    if any(os.environ.get(name, plain[0]) not in plain for name, plain in _SHORTENING.items()):
        return False
    backends = torch.backends
    if device.type == "cuda":
        return _is_whole(backends.cuda.matmul)
    if device.type != "cpu":
        return False  # nothing is known of it
    of_onednn = (getattr(backends.mkldnn, name, None) for name in ("conv", "matmul"))
    return all(map(_is_whole, of_onednn)) and (_is_there("mkldnn") or not _is_there("nnpack"))


def _is_there(name: str) -> bool:
    """Whether torch was built with a backend, and nobody has switched it off."""
    backend = getattr(torch.backends, name)
    return bool(backend.is_available() and getattr(backend, "enabled", True))


def _is_whole(backend: object) -> bool:
    """Whether float32 factors keep their 24 bits; torch before 2.9 has one word for all products."""
    said = getattr(backend, "fp32_precision", None)
    return torch.get_float32_matmul_precision() == "highest" if said is None else said in _WHOLE


def window_sums(spec: SynapseSpec, x: Tensor, weight: Tensor, form: Form = "convolution") -> Tensor:
    """The sums of x [B, Ci, *map] with weight [Co, Ci/groups, *kernel], or of x [B, I] with [O, I]; of one type."""
    if spec.operator == "linear":
        return F.linear(x, weight)
    return _products(spec, x, weight) if form == "product" else _convolved(spec, x, weight)


def exchanged(weight: Tensor, groups: int) -> Tensor:
    """[Ci, Co/groups, *kernel] to [Co, Ci/groups, *kernel]: channel axes change places within a group; and back."""
    first, second, *kernel = weight.shape
    split = weight.reshape(groups, first // groups, second, *kernel).transpose(1, 2)
    return split.reshape(groups * second, first // groups, *kernel)


def _convolved(spec: SynapseSpec, x: Tensor, weight: Tensor) -> Tensor:
    geometry = (spec.stride, spec.padding)
    if spec.is_transposed:
        transpose, own = _TRANSPOSED[spec.operator], exchanged(weight, spec.groups)
        spread: Tensor = transpose(x, own, None, *geometry, spec.output_padding, spec.groups, spec.dilation)
        return spread
    accumulator: Tensor = _CONVOLUTIONS[spec.operator](x, weight, None, *geometry, spec.dilation, spec.groups)
    return accumulator


def _products(spec: SynapseSpec, x: Tensor, weight: Tensor) -> Tensor:
    """Windows [groups, places, Ci/groups * kernel] times weights, for a few samples at a time.

    A transposed convolution is one of stride 1 with the mirrored kernel, on a map with zeros between its values.
    """
    axes, stride = range(2, weight.dim()), spec.stride
    reach = [dilation * (weight.shape[axis] - 1) for axis, dilation in zip(axes, spec.dilation, strict=True)]
    margins = [(padding, padding) for padding in spec.padding]
    if spec.is_transposed:
        x, weight, stride = _spread(x, spec.stride), weight.flip(*axes), (1,) * len(axes)
        ends = zip(reach, spec.padding, spec.output_padding, strict=True)
        margins = [(far - padding, far - padding + more) for far, padding, more in ends]
    x = F.pad(x, [width for margin in reversed(margins) for width in margin])
    rows = weight.reshape(spec.groups, weight.shape[0] // spec.groups, -1).transpose(1, 2)
    places = [(x.shape[axis] - far - 1) // step + 1 for axis, far, step in zip(axes, reach, stride, strict=True)]
    few = max(1, _MOST_COLUMNS // (math.prod(places) * x.shape[1] * math.prod(weight.shape[2:])))
    found = []
    for part in torch.split(x, few):
        windows = part
        for axis, far, step, dilation in zip(axes, reach, stride, spec.dilation, strict=True):
            windows = windows.unfold(axis, far + 1, step)[..., ::dilation]
        found.append(_product(windows, rows, spec.groups, len(axes)))
    return torch.cat(found)


def _product(windows: Tensor, rows: Tensor, groups: int, axes: int) -> Tensor:
    """[B, Ci, *places, *kernel] with [groups, Ci/groups * kernel, Co/groups] -> [B, Co, *places]."""
    places, kernel = range(3, 3 + axes), range(3 + axes, 3 + 2 * axes)
    count, channels, *sides = windows.shape
    split = windows.reshape(count, groups, channels // groups, *sides).permute(1, 0, *places, 2, *kernel)
    sums = torch.bmm(split.reshape(groups, -1, rows.shape[1]), rows)
    whole = sums.reshape(groups, count, *sides[:axes], -1)
    return whole.permute(1, 0, -1, *range(2, 2 + axes)).flatten(1, 2)


def _spread(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """The values of maps `stride` places apart, with zeros between them."""
    sides = [(side - 1) * step + 1 for side, step in zip(x.shape[2:], stride, strict=True)]
    spread = x.new_zeros(*x.shape[:2], *sides)
    spread[(slice(None), slice(None), *(slice(None, None, step) for step in stride))] = x
    return spread
