"""A layer module that was called in the pass, as a node: synapses, poolings; `neurons` and `norms` have theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    FloatSynapse,
    FloatTransposed,
    conv_spec,
    linear_spec,
    pool_spec,
)
from mdcompress.tracing.wrappers import FirstStep, record_first_step

_ALIASES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten)
_LAYERS: tuple[type[nn.Module], ...] = (
    *CONVOLUTIONS,
    *TRANSPOSED,
    nn.Linear,
    _BatchNorm,
    *POOLS,
    *SUM_POOLS,
    *_ALIASES,
)


def layer_classes() -> tuple[type[nn.Module], ...]:
    """The classes that become nodes, or vanish in evaluation."""
    return _LAYERS


def is_layer(module: nn.Module) -> bool:
    """Whether a module, which is no neuron, becomes a node as a whole: what happens inside it is not looked at."""
    return isinstance(module, (*_LAYERS, FirstStep)) or is_library_dropout(module)


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
    match module:
        case _ if isinstance(module, FloatSynapse):
            _record_synapse(ledger, name, module, x, output)
        case _BatchNorm():
            record_norm(ledger, name, module, x, output)
        case FirstStep():
            record_first_step(ledger, x, output)
        case nn.LPPool1d() | nn.LPPool2d() | nn.LPPool3d():
            _record_sum_pool(ledger, name, module, x, output)
        case _ if isinstance(module, POOLS):
            if hasattr(module, "output_size") and output.numel() > x.numel() and record_copies(ledger, x, output):
                return
            spec = pool_spec(module, x, ledger.error)
            record_pool(ledger, name, spec=spec, x=x, output=output, module=module)
        case _:
            record_reshape(ledger, x, output)


def _checked_name(ledger: Ledger, module: nn.Module, name: str | None) -> str:
    """The module's name, after a check that it has one and that it does what its class does."""
    kind = type(module).__name__
    if name is None:
        raise ledger.error(f"a {kind} is made inside forward", "make it in __init__, as a submodule")
    if not name:
        raise ledger.error(f"the network is one {kind} and no more", "wrap it: nn.Sequential(layer)")
    base = next((layer for layer in _LAYERS if isinstance(module, layer)), None)
    if base is not None and not does_as_torch(module):
        raise ledger.error(
            f"{name!r} ({kind}) has a forward of its own, which a graph does not know", f"use nn.{base.__name__}"
        )
    return name


def _record_synapse(ledger: Ledger, name: str, module: FloatSynapse, x: Tensor, output: Tensor) -> None:
    source = ledger.source(x)
    node = ledger.node(source.node)
    if node.carries is Carries.CURRENT:
        source = _quantized_activation(ledger, name, module, source)
    _require_linear_after(ledger, name, source, module.bias is not None)
    if isinstance(module, nn.Linear):
        if len(ledger.node(source.node).shape) > 1:
            record_token_linear(ledger, name, module, source, output)
            return
        require_axes(ledger, name, source, axes=("features",), hint="flatten before a linear layer")
        spec = linear_spec(module)
    else:
        axes = MAP_AXES[module.weight.dim() - 2]
        require_axes(ledger, name, source, axes=axes, hint=f"give maps a channel axis: [T, N, {', '.join(axes)}]")
        spec = conv_spec(name, module, ledger.error)
    ledger.write_module(name, spec, [source], output, carries=Carries.CURRENT)


def _quantized_activation(ledger: Ledger, name: str, module: FloatSynapse, source: Tracked) -> Tracked:
    """Currents as small integers, for a synapse that reads them: a shortcut convolution on a residual stream.

    Not where it pads, or is transposed and puts zeros between: those are no zeros of the counts that the integer graph
    has for currents.
    """
    if isinstance(module, FloatTransposed):
        raise ledger.error(
            f"transposed convolution {name!r} reads currents (from {source.node!r}): it must read spikes, sums of "
            "spikes or the network's input",
            "put a neuron between two synapses",
        )
    if not isinstance(module, nn.Linear) and (isinstance(module.padding, str) or any(module.padding)):
        raise ledger.error(
            f"{name!r} reads currents (from {source.node!r}) and pads them: a padded synapse must read spikes, "
            "sums of spikes or the network's input",
            "put a neuron between two synapses; a shortcut convolution can read the block's spikes",
        )
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
