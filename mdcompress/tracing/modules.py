"""A layer module that was called in the pass, as a node: synapses, poolings; `neurons` and `norms` have theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mdcompress.adapters.layers import does_as_torch, is_library_dropout
from mdcompress.graph import ActivationSpec, Carries, ScaleSpec
from mdcompress.tracing.functions import MAP_AXES, record_pool, require_axes
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.neurons import NeuronCalls
from mdcompress.tracing.norms import record_norm
from mdcompress.tracing.rearranging import record_copies, record_token_linear
from mdcompress.tracing.samplewise import record_reshape
from mdcompress.tracing.specs import (
    CONVOLUTIONS,
    POOLS,
    SUM_POOLS,
    TRANSPOSED,
    FloatConvolution,
    FloatTransposed,
    base_of,
    conv_spec,
    linear_spec,
    pool_spec,
    transposed_spec,
)
from mdcompress.tracing.wrappers import FirstStep, record_first_step

_ALIASES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten)
_Recorder: TypeAlias = Callable[[Ledger, str, Any, Tensor, Tensor], None]  # name, module, what it reads and writes


def layer_classes() -> tuple[type[nn.Module], ...]:
    """The classes that become nodes, or vanish in evaluation."""
    return tuple(_RECORDERS)


def is_layer(module: nn.Module) -> bool:
    """Whether a module, which is no neuron, becomes a node as a whole: what happens inside it is not looked at."""
    return type(module) is FirstStep or base_of(module, _RECORDERS) is not None or is_library_dropout(module)


def record_module(
    ledger: Ledger,
    neurons: NeuronCalls,
    module: nn.Module,
    name: str | None,
    *,
    inputs: Sequence[object],
    output: object,
) -> None:
    """Write the node of a layer that was called on `inputs`. `name`: None where it is no submodule of the network."""
    name = _checked_name(ledger, module, name)
    if name in neurons.models:
        neurons.record(ledger, module, name, inputs=inputs, output=output)
        return
    x = inputs[0] if len(inputs) == 1 else None
    if not isinstance(x, Tensor) or not isinstance(output, Tensor):
        raise ledger.error(
            f"{name!r} must map one tensor to one (it was called with {len(inputs)} arguments and returned "
            f"{type(output).__name__})",
            "call it with its input alone, y = layer(x)",
        )
    if type(module) is FirstStep:
        record_first_step(ledger, x, output)
        return
    base = base_of(module, _RECORDERS)
    record = _record_alias if base is None else _RECORDERS[base]
    record(ledger, name, module, x, output)


def _checked_name(ledger: Ledger, module: nn.Module, name: str | None) -> str:
    """The module's name, after a check that it has one and that it does what its class does."""
    kind = type(module).__name__
    if name is None:
        raise ledger.error(f"a {kind} is made inside forward", "make it in __init__, as a submodule")
    if not name:
        raise ledger.error(f"the network is one {kind} and no more", "wrap it: nn.Sequential(layer)")
    base = base_of(module, _RECORDERS)
    if base is not None and not does_as_torch(module):
        raise ledger.error(
            f"{name!r} ({kind}) has a forward of its own, which a graph does not know", f"use nn.{base.__name__}"
        )
    return name


def _record_linear(ledger: Ledger, name: str, module: nn.Linear, x: Tensor, output: Tensor) -> None:
    source = ledger.source(x)
    if ledger.node(source.node).carries is Carries.CURRENT:
        source = _quantized_activation(ledger, source)
    _require_linear_after(ledger, name, source, module.bias is not None)
    if len(ledger.node(source.node).shape) > 1:
        record_token_linear(ledger, name, module, source, output)
        return
    require_axes(ledger, name, source, axes=("features",), hint="flatten before a linear layer")
    ledger.write_module(name, linear_spec(module), [source], output, carries=Carries.CURRENT)


def _record_convolution(ledger: Ledger, name: str, module: FloatConvolution, x: Tensor, output: Tensor) -> None:
    source = ledger.source(x)
    if ledger.node(source.node).carries is Carries.CURRENT:
        if any(module.padding):  # a word is true in each letter: it may pad
            raise ledger.error(
                f"{name!r} reads currents (from {source.node!r}) and pads them: a padded synapse must read spikes, "
                "sums of spikes or the network's input",
                "put a neuron between two synapses; a shortcut convolution can read the block's spikes",
            )
        source = _quantized_activation(ledger, source)
    _require_map(ledger, name, module, source)
    spec = conv_spec(name, module, ledger.error)
    ledger.write_module(name, spec, [source], output, carries=Carries.CURRENT)


def _record_transposed(ledger: Ledger, name: str, module: FloatTransposed, x: Tensor, output: Tensor) -> None:
    source = ledger.source(x)
    if ledger.node(source.node).carries is Carries.CURRENT:
        raise ledger.error(
            f"transposed convolution {name!r} reads currents (from {source.node!r}): it must read spikes, sums of "
            "spikes or the network's input",
            "put a neuron between two synapses",
        )
    _require_map(ledger, name, module, source)
    spec = transposed_spec(name, module, ledger.error)
    ledger.write_module(name, spec, [source], output, carries=Carries.CURRENT)


def _require_map(ledger: Ledger, name: str, module: FloatConvolution | FloatTransposed, source: Tracked) -> None:
    """TraceError unless a convolution reads a map of its rank, from where a linear layer may still stand."""
    _require_linear_after(ledger, name, source, module.bias is not None)
    axes = MAP_AXES[module.weight.dim() - 2]
    require_axes(ledger, name, source, axes=axes, hint=f"give maps a channel axis: [T, N, {', '.join(axes)}]")


def _quantized_activation(ledger: Ledger, source: Tracked) -> Tracked:
    """Currents as small integers, for a synapse that reads them: a shortcut convolution on a residual stream.

    Not where it pads, or is transposed and puts zeros between: those are no zeros of the counts that the integer graph
    has for currents.
    """
    fresh = source.tensor.view_as(source.tensor)
    base = f"{source.node}.digits"
    return ledger.write_function(base, ActivationSpec(), [source], fresh, carries=Carries.SPIKES)


def _require_linear_after(ledger: Ledger, name: str, source: Tracked, has_bias: bool) -> None:
    """A synapse after the mean over time is the mean of the synapse; after a sum only without a bias."""
    span = source.position.span
    if span == "max" or (span == "sum" and has_bias):
        ledger.require_running(source, name)


def _record_sum_pool(ledger: Ledger, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
    """A power-average pooling of norm 1 is a sum: the average times the window."""
    if module.norm_type != 1:
        raise ledger.error(f"{name!r} pools by a norm of {module.norm_type}", "use a sum, average or max pooling")
    spec = pool_spec(module, x, ledger.error)
    pooled = output.clone()
    record_pool(ledger, name, spec=spec, x=x, output=pooled, module=module)
    ledger.write_moving(ledger.source(pooled), ScaleSpec(float(math.prod(spec.kernel))), output)


def _record_pool(ledger: Ledger, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
    if hasattr(module, "output_size") and output.numel() > x.numel() and record_copies(ledger, x, output):
        return
    spec = pool_spec(module, x, ledger.error)
    record_pool(ledger, name, spec=spec, x=x, output=output, module=module)


def _record_alias(ledger: Ledger, _name: str, _module: nn.Module, x: Tensor, output: Tensor) -> None:
    record_reshape(ledger, x, output)


_RECORDERS: Mapping[type[nn.Module], _Recorder] = {
    **dict.fromkeys(CONVOLUTIONS, _record_convolution),
    **dict.fromkeys(TRANSPOSED, _record_transposed),
    nn.Linear: _record_linear,
    _BatchNorm: record_norm,
    **dict.fromkeys(POOLS, _record_pool),
    **dict.fromkeys(SUM_POOLS, _record_sum_pool),
    **dict.fromkeys(_ALIASES, _record_alias),
}
