"""trace(module, sample): runs the network once and reads its layers off, as an SnnGraph.

One eager forward pass under a `TorchFunctionMode`: leaf modules (convolution, linear, norm, pooling, neurons) become
nodes as they are called, tensor functions between them (add, flatten, mean over time) become nodes or are followed.
A network that takes one step at a time is folded back into layers over all steps (`ledger`, `timewise`). At the end
every neuron's spikes are compared with the graph's (`agreement`), and the network runs once more, to see that it keeps
no state (`repeating`). Whatever a graph cannot hold is a TraceError that names the function and the module it stands
in; nothing is guessed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mdcompress.adapters import Adapter
from mdcompress.adapters.state import fresh_state, reset_state
from mdcompress.adapters.users import carried
from mdcompress.errors import MdcompressError, TraceError
from mdcompress.graph import NeuronModel, SnnGraph
from mdcompress.lifting.misfits import layers_explained
from mdcompress.modes import Wrapper, evaluating, modules_of, tensors_of
from mdcompress.tracing.recorder import Recorder
from mdcompress.tracing.repeating import Repeated, reproducible
from mdcompress.tracing.unwrapping import uncompiled, unwrapped
from mdcompress.tracing.wrappers import BatchFirst, BatchFirstAnswer, Stepped, StepsFolded, StillImage

_GATHERING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # nobody has to give these

__all__ = [
    "BatchFirst",
    "BatchFirstAnswer",
    "Failure",
    "Stepped",
    "StepsFolded",
    "StillImage",
    "attempt",
    "fresh_state",
    "reset_state",
    "trace",
]


@dataclass(frozen=True)
class Failure:
    """A pass that no graph came of. reached: how many nodes it wrote before."""

    error: TraceError
    reached: int


def trace(model: nn.Module, sample: Tensor, *, adapters: Sequence[Adapter] = ()) -> SnnGraph:
    """The graph of `model`, read off one forward pass on `sample` [T, N, ...]; both are left as they were.

    The pass starts from a fresh state, and the state that the neurons had is put back. A second pass must give the
    same.

    Args:
        model: called as model(sample). Other conventions are wrapped: `Stepped`, `BatchFirst`, `StillImage`. What
            torch.compile or DataParallel made of it, or of its parts, is traced as it was before (`unwrapped`).
        sample: [T, N, ...], float.
        adapters: for neurons of one's own (`mdcompress.adapters.NeuronAdapter`), asked before the shipped ones.

    Returns:
        The graph: nodes in execution order, with the names of the network's modules.

    Raises:
        TraceError: a graph cannot hold a module or function, or a module keeps state between two runs or is
            random; it is named, with what to do.
    """
    match attempt(model, sample, adapters=adapters):
        case SnnGraph() as graph:
            return graph
        case Failure(error=error):
            raise TraceError(error.message, hints=[*error.hints, *_calling_hints(model)]) from error
        case other:
            assert_never(other)


def attempt(model: nn.Module, sample: Tensor, *, adapters: Sequence[Adapter] = ()) -> SnnGraph | Failure:
    """`trace`, with an error of the pass as a value.

    Raises:
        TraceError: a neuron has no integer form, or weights are not finite: seen before any pass.
    """
    model = unwrapped(model)
    check_model(model)
    check_sample(sample)
    adapters = (*adapters, *carried(model))
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        uncompiled(),
        evaluating(model),
        fresh_state(model, adapters),
        reproducible(),
    ):
        recorder = Recorder(model, with_two_samples(model, sample), adapters=adapters)
        repeated = Repeated(model)
        try:
            with layers_explained(model, sample, recorder.per_sample), repeated.first(recorder.aside):
                graph = recorder.record(repeated.answered)
            neurons = {node.module for node in graph.of(NeuronModel)}
            repeated.check(partial(with_two_samples, model, sample), neurons)
            return graph
        except TraceError as error:
            return Failure(error, recorder.reached)
        except MdcompressError:
            raise
        except Exception as error:
            place = f", in module {recorder.failed_in!r}" if recorder.failed_in else ""
            what = f"the network fails on the sample of shape {list(sample.shape)}{place}"
            failed = TraceError(
                f"{what}: {type(error).__name__}: {error}",
                hints=[
                    *_arguments_hints(model),
                    *_sample_hints(model, sample),
                    "the sample must be what the network takes: float [T, N, ...] for a multi-step network",
                    "what a training script does to a batch first (flatten, permute) belongs into the network or into "
                    "loaders of one's own, `data: {name: my_data:loaders}`",
                ],
            )
            failed.__cause__ = error
            return Failure(failed, recorder.reached)


def _arguments_hints(model: nn.Module) -> list[str]:
    """What to do about arguments of `forward` that nobody gives."""
    while isinstance(model, Wrapper):
        model = model.network
    others = list(inspect.signature(model.forward).parameters.values())[1:]
    wanted = [one.name for one in others if one.default is one.empty and one.kind not in _GATHERING]
    if not wanted:
        return []
    given = ", ".join(f"`{name}`" for name in wanted)
    return [
        f"forward is given the sample alone: give {given} a default, or build a module whose forward(x) fills it in"
    ]


def _sample_hints(model: nn.Module, sample: Tensor) -> list[str]:
    """What to do about a sample of another type or device than the weights."""
    weights = next((tensor for tensor in tensors_of(model).values() if tensor.is_floating_point()), sample)
    hints = []
    if weights.dtype != sample.dtype:
        hints.append(f"the sample is {sample.dtype} and the weights are {weights.dtype}: give x.to({weights.dtype})")
    if weights.device != sample.device:
        hints.append(
            f"the sample is on {sample.device} and the weights are on {weights.device}: put both on one device"
        )
    return hints


def _calling_hints(model: nn.Module) -> list[str]:
    """What a network may want that was given as it is; nothing where its owner has said how it is called."""
    if isinstance(unwrapped(model), Wrapper):
        return []
    return [
        "a network of one image for all steps is StillImage(network), of one step Stepped(network), of [N, T, ...] "
        "BatchFirst(network); `mdcompress.compress` finds it by itself"
    ]


def with_two_samples(model: nn.Module, sample: Tensor) -> Tensor:
    """A contiguous copy with at least two samples, so that [T, N, ...] and [T*N, ...] differ in shape.

    Layers that hold the size of their batches, and were made for one, get the one sample.
    """
    made_for_one = any(_is_one(getattr(module, "batch_size", None)) for module in modules_of(model).values())
    copies = 2 if sample.shape[1] == 1 and not made_for_one else 1
    return torch.cat([sample.detach()] * copies, dim=1)


def _is_one(size: object) -> bool:
    return isinstance(size, int) and size == 1


def check_model(model: nn.Module) -> None:
    """TraceError where weights do not exist yet, or are not finite."""
    check_values(model)
    for name, tensor in tensors_of(model).items():
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


def check_values(model: nn.Module) -> None:
    """TraceError where weights are on the device `meta`, which holds shapes alone."""
    for name, tensor in tensors_of(model).items():
        if tensor.is_meta:
            raise TraceError(
                f"the weights must have values: {name!r} is on the device 'meta', which holds shapes alone",
                hints=["build the network on a device that computes, without `init_empty_weights` or device='meta'"],
            )


def check_sample(sample: Tensor) -> None:
    """TraceError unless it is a float tensor [T, N, ...]."""
    if not isinstance(sample, Tensor) or not sample.is_floating_point() or sample.dim() < 3 or 0 in sample.shape:
        seen = f"{sample.dtype} {list(sample.shape)}" if isinstance(sample, Tensor) else type(sample).__name__
        raise TraceError(
            f"the sample must be a float tensor [T, N, ...] with T steps and N samples (got {seen})",
            hints=[
                "one image for 4 steps: image.unsqueeze(0).expand(4, *image.shape) with image [N, C, H, W]; one number "
                "at each step is [T, N, 1]"
            ],
        )
