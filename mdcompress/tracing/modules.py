"""A layer module that was called in the pass, as a node: weight layers, norms, poolings; neurons are in `neurons`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mdcompress.graph import AffineSpec, Carries, NodeKind, SynapseSpec
from mdcompress.tracing.functions import MAP_AXES, record_pool, require_axes
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.neurons import NeuronCalls
from mdcompress.tracing.samplewise import record_reshape, write_scale
from mdcompress.tracing.specs import CONVOLUTIONS, POOLS, SUM_POOLS, conv_spec, linear_spec, pool_spec
from mdcompress.tracing.wrappers import FirstStep, record_first_step

FloatSynapse: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear

_ALIASES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten)
_LAYERS: tuple[type[nn.Module], ...] = (*CONVOLUTIONS, nn.Linear, _BatchNorm, *POOLS, *SUM_POOLS, *_ALIASES)
_TRUSTED = ("torch.nn.", "spikingjelly.activation_based.layer", "sinabs.layers")  # whose forward does what it says
_PER_STEP = ("TemporalEffectiveBatchNorm1d", "TemporalEffectiveBatchNorm2d", "TemporalEffectiveBatchNorm3d")
_LIBRARY_DROPOUTS = ("Dropout", "Dropout2d")  # SpikingJelly's: one mask for all steps, none in evaluation
_SCALED_WEIGHTS = ("WSConv2d", "WSLinear")


def layer_classes() -> tuple[type[nn.Module], ...]:
    """The classes that become nodes, or vanish in evaluation."""
    return _LAYERS


def is_layer(module: nn.Module) -> bool:
    """Whether a module, which is no neuron, becomes a node as a whole: what happens inside it is not looked at."""
    return isinstance(module, (*_LAYERS, FirstStep)) or _is_library_dropout(module)


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
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d() | nn.Linear():
            _record_synapse(ledger, name, module, x, output)
        case _BatchNorm():
            _record_norm(ledger, name, module, x, output)
        case FirstStep():
            record_first_step(ledger, x, output)
        case nn.LPPool1d() | nn.LPPool2d() | nn.LPPool3d():
            _record_sum_pool(ledger, name, module, x, output)
        case _ if isinstance(module, POOLS):
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
    origin = getattr(getattr(module.forward, "__func__", None), "__module__", "")
    if base is not None and (not origin.startswith(_TRUSTED) or kind in _SCALED_WEIGHTS):
        raise ledger.error(
            f"{name!r} ({kind}) has a forward of its own, which a graph does not know", f"use nn.{base.__name__}"
        )
    if kind in _PER_STEP:
        raise ledger.error(
            f"{name!r} ({kind}) scales every step differently", "use BatchNorm, or ThresholdDependentBatchNorm"
        )
    return name


def _is_library_dropout(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__name__ in _LIBRARY_DROPOUTS and kind.__module__.startswith("spikingjelly.activation_based.layer")


def _record_synapse(ledger: Ledger, name: str, module: FloatSynapse, x: Tensor, output: Tensor) -> None:
    source = ledger.source(x)
    node = ledger.node(source.node)
    if node.carries is Carries.CURRENT:
        source = _digitized(ledger, name, module, source)
    _require_linear_after(ledger, name, source, module.bias is not None)
    if isinstance(module, nn.Linear):
        require_axes(ledger, name, source, axes=("features",), hint="flatten before a linear layer")
        spec = linear_spec(module)
    else:
        axes = MAP_AXES[module.weight.dim() - 2]
        require_axes(ledger, name, source, axes=axes, hint=f"give maps a channel axis: [T, N, {', '.join(axes)}]")
        spec = conv_spec(name, module, ledger.error)
    ledger.write_module(name, NodeKind.SYNAPSE, [source], output, carries=Carries.CURRENT, spec=spec)


def _digitized(ledger: Ledger, name: str, module: FloatSynapse, source: Tracked) -> Tracked:
    """Currents as small integers, for a weight layer that reads them: a shortcut convolution on a residual stream.

    Not where it pads: what it would pad with is no zero of the counts that the integer graph has for them.
    """
    if not isinstance(module, nn.Linear) and (isinstance(module.padding, str) or any(module.padding)):
        raise ledger.error(
            f"{name!r} reads currents (from {source.node!r}) and pads them: a padded weight layer must read spikes, "
            "sums of spikes or the network's input",
            "put a neuron between two weight layers; a shortcut convolution can read the block's spikes",
        )
    fresh = source.tensor.view_as(source.tensor)
    base = f"{source.node}.digits"
    return ledger.write_function(base, NodeKind.DIGITIZER, [source], fresh, carries=Carries.SPIKES)


def _require_linear_after(ledger: Ledger, name: str, source: Tracked, has_bias: bool) -> None:
    """A weight layer after the mean over time is the mean of the weight layer; after a sum only without a bias."""
    span = source.position.span
    if span == "max" or (span == "sum" and has_bias):
        ledger.require_running(source, name)


def _record_norm(ledger: Ledger, name: str, module: _BatchNorm, x: Tensor, output: Tensor) -> None:
    """A norm becomes part of the weight layer that it follows; after anything else it is a node of its own."""
    source = ledger.tracked(x)
    if source is None or not source.before_norm:
        source = ledger.source(x)
    if source.position.span == "max" or source.position.span == "sum":
        ledger.require_running(source, name)
    if len(source.position.axes) > 1 and not _folds_time(module):
        raise ledger.error(
            f"batch norm {name!r} reads {list(x.shape)}: it takes the batch axis for channels",
            "fold time into the batch before it: x.flatten(0, 1)",
        )
    if module.running_mean is None:
        raise ledger.error(f"batch norm {name!r} keeps no running statistics", "use track_running_stats=True")
    spec = ledger.node(source.node).spec
    if isinstance(spec, SynapseSpec) and (spec.batch_norm is None or source.before_norm):
        _attach_norm(ledger, name, source, spec)
        ledger.follow(output, source.node, source.position)
        return
    own = AffineSpec(name)
    ledger.write_module(name, NodeKind.AFFINE, [source], output, carries=Carries.CURRENT, spec=own)


def _record_sum_pool(ledger: Ledger, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
    """A power-average pooling of norm 1 is a sum: the average times the window (sinabs' SumPool2d)."""
    if module.norm_type != 1:
        raise ledger.error(f"{name!r} pools by a norm of {module.norm_type}", "use a sum, average or max pooling")
    spec = pool_spec(module, x, ledger.error)
    pooled = output.clone()
    record_pool(ledger, name, spec=spec, x=x, output=pooled, module=module)
    write_scale(ledger, ledger.source(pooled), float(math.prod(spec.kernel)), output)


def _folds_time(module: _BatchNorm) -> bool:
    """Whether a library's norm takes [T, N, C, ...] and folds time into the batch by itself."""
    return type(module).__module__.startswith("spikingjelly") and getattr(module, "step_mode", "s") == "m"


def _attach_norm(ledger: Ledger, name: str, source: Tracked, spec: SynapseSpec) -> None:
    if spec.batch_norm == name:
        return  # the same call at a later step
    if spec.batch_norm is not None:
        raise ledger.error(
            f"{source.node!r} is followed by the batch norm {name!r} at {source.position.describe()}, and was by "
            f"{spec.batch_norm!r} before",
            "use one batch norm for all steps: norms through time are not held yet",
        )
    if ledger.is_read(source.node):
        raise ledger.error(
            f"{source.node!r} is read both by {name!r} and by another layer", "read the norm's output only"
        )
    used_by = ledger.reader_of_norm(name)
    if used_by is not None:
        raise ledger.error(
            f"batch norm {name!r} follows both {used_by!r} and {source.node!r}",
            "give every weight layer a batch norm of its own",
        )
    ledger.amend(source.node, replace(spec, batch_norm=name))
    ledger.mark_before_norm(source.node)
