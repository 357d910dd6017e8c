"""A layer module that was called in the pass, as a node: weight layers, norms, poolings, neurons."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from mdcompress.adapters import describe_neuron, probe
from mdcompress.graph import Carries, NodeKind, SynapseSpec
from mdcompress.tracing.functions import record_pool, record_reshape, require_axes
from mdcompress.tracing.ledger import Ledger
from mdcompress.tracing.specs import POOLS, conv_spec, linear_spec, pool_spec

_ALIASES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten)
_LAYERS: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, *POOLS, *_ALIASES)


def is_layer(module: nn.Module) -> bool:
    """Whether a module becomes a node as a whole, so that what happens inside it is not looked at."""
    return isinstance(module, _LAYERS) or describe_neuron(module) is not None


def record_module(
    ledger: Ledger, module: nn.Module, name: str | None, *, inputs: tuple[object, ...], output: object
) -> None:
    """Write the node of a layer that was called on `inputs`. `name`: None where it is no submodule of the network."""
    name = _checked_name(ledger, module, name)
    x = inputs[0] if len(inputs) == 1 else None
    if not isinstance(x, Tensor) or not isinstance(output, Tensor):
        raise ledger.error(
            f"{name!r} must map one tensor to one (it was called with {len(inputs)} positional arguments and returned "
            f"{type(output).__name__})",
            "call it with its input alone, y = layer(x), and keep states inside the neuron",
        )
    match module:
        case nn.Conv2d() | nn.Linear():
            _record_synapse(ledger, name, module, x, output)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            _record_norm(ledger, name, module, x, output)
        case _ if isinstance(module, POOLS):
            spec = pool_spec(module, x, ledger.error)
            record_pool(ledger, ledger.numbered(name), spec=spec, x=x, output=output)
        case _ if isinstance(module, _ALIASES):
            record_reshape(ledger, x, output)
        case _:
            _record_neuron(ledger, name, module, x, output)


def _checked_name(ledger: Ledger, module: nn.Module, name: str | None) -> str:
    """The module's name, after a check that it has one and that it does what its class does."""
    kind = type(module).__name__
    if name is None:
        raise ledger.error(f"a {kind} is made inside forward", "make it in __init__, as a submodule")
    if not name:
        raise ledger.error(f"the network is one {kind} and no more", "wrap it: nn.Sequential(layer)")
    base = next((layer for layer in _LAYERS if isinstance(module, layer)), None)
    if base is not None and getattr(module.forward, "__func__", None) is not base.forward:
        raise ledger.error(
            f"{name!r} ({kind}) has a forward of its own, which a graph does not know", f"use nn.{base.__name__}"
        )
    return name


def _record_synapse(ledger: Ledger, name: str, module: nn.Conv2d | nn.Linear, x: Tensor, output: Tensor) -> None:
    source = ledger.source(x)
    if source.carries is Carries.CURRENT:
        raise ledger.error(
            f"{name!r} reads currents (from {source.name!r}): a weight layer must read spikes, sums of spikes "
            "or the network's input",
            "put a neuron between two weight layers; a shortcut convolution can read the block's spikes",
        )
    if isinstance(module, nn.Linear):
        require_axes(ledger, name, x, axes=("features",), hint="flatten before a linear layer")
        spec = linear_spec(module)
    else:
        require_axes(ledger, name, x, axes=("C", "H", "W"), hint="give images a channel axis: [T, N, C, H, W]")
        spec = conv_spec(name, module, ledger.error)
    ledger.write_output(ledger.once(name), NodeKind.SYNAPSE, (source,), output, carries=Carries.CURRENT, spec=spec)


def _record_norm(ledger: Ledger, name: str, module: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, output: Tensor) -> None:
    """No node of its own: the norm becomes part of the weight layer that it follows."""
    source = ledger.source(x)
    spec = source.spec
    if not isinstance(spec, SynapseSpec) or spec.batch_norm is not None:
        raise ledger.error(
            f"batch norm {name!r} follows {source.name!r} ({source.kind.value}), not a weight layer",
            "put the batch norm right after its convolution or linear layer",
        )
    if ledger.has_time_axis(x):
        raise ledger.error(
            f"batch norm {name!r} reads {list(x.shape)}: it takes the batch axis for channels",
            "fold time into the batch before it: x.flatten(0, 1)",
        )
    if ledger.is_read(source.name):
        raise ledger.error(
            f"{source.name!r} is read both by {name!r} and by another layer", "read the norm's output only"
        )
    if module.running_mean is None:
        raise ledger.error(f"batch norm {name!r} keeps no running statistics", "use track_running_stats=True")
    ledger.amend(source.name, replace(spec, batch_norm=ledger.once(name)))
    ledger.mark_before_norm(source.name)
    ledger.follow(output, source.name)


def _record_neuron(ledger: Ledger, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
    model, source = describe_neuron(module), ledger.source(x)
    assert model is not None
    if not ledger.has_time_axis(x):
        raise ledger.error(
            f"neuron {name!r} reads {list(x.shape)}: it needs time as its own axis, [T, N, ...]",
            "unflatten before the neuron: x.unflatten(0, (T, N))",
        )
    if source.carries is not Carries.CURRENT:
        raise ledger.error(
            f"neuron {name!r} reads {source.carries.value} from {source.name!r}, not currents",
            "put a weight layer before it",
        )
    probe(name, module, model)
    ledger.write_output(ledger.once(name), NodeKind.NEURON, (source,), output, carries=Carries.SPIKES, spec=model)
