"""trace(module, sample): runs the network once and reads its layers off, as an SnnGraph.

One eager forward pass under a `TorchFunctionMode`: leaf modules (convolution, linear, norm, pooling, neurons) become
nodes as they are called, tensor functions between them (add, flatten, mean over time) become nodes or are followed.
Whatever a graph cannot hold is a TraceError that names the function and the module it stands in; nothing is guessed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mdcompress.errors import MdcompressError, TraceError
from mdcompress.graph import SnnGraph
from mdcompress.modes import evaluating
from mdcompress.tracing.recorder import Recorder


def trace(model: nn.Module, sample: Tensor) -> SnnGraph:
    """The graph of `model`, read off one forward pass on `sample` [T, N, ...]; both are left as they were.

    Errors: TraceError names the module or function that a graph cannot hold and what to do.
    """
    _check_model(model)
    _check_sample(sample)
    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        try:
            return Recorder(model, _own_copy(sample)).record()
        except MdcompressError:
            raise
        except Exception as error:
            raise TraceError(
                f"the network fails on the sample of shape {list(sample.shape)}: {type(error).__name__}: {error}",
                hints=["the sample must be what the network takes: float [T, N, ...] for a multi-step network"],
            ) from error


def _own_copy(sample: Tensor) -> Tensor:
    """A contiguous copy with at least two samples: then [T, N, ...] and [T*N, ...] differ in shape."""
    copies = 2 if sample.shape[1] == 1 else 1
    return torch.cat([sample.detach()] * copies, dim=1)


def _check_model(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise TraceError(
                f"the weights must exist: {name!r} of a lazy layer has no shape yet",
                hints=["run the network once on a sample, or give the layer its number of inputs"],
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TraceError(
                f"the weights must be finite: {name!r} holds NaN or infinity",
                hints=["the training that made these weights diverged; load an earlier checkpoint"],
            )


def _check_sample(sample: Tensor) -> None:
    if not isinstance(sample, Tensor) or not sample.is_floating_point() or sample.dim() < 3 or 0 in sample.shape:
        seen = f"{sample.dtype} {list(sample.shape)}" if isinstance(sample, Tensor) else type(sample).__name__
        raise TraceError(
            f"the sample must be a float tensor [T, N, ...] with T steps and N samples (got {seen})",
            hints=["one image for 4 steps: image.unsqueeze(0).expand(4, *image.shape) with image [N, C, H, W]"],
        )
