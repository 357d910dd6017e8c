"""A batch norm that was called in the pass: part of the synapse before it, or a node of its own; norms by step.

A network that normalises every step by a norm of its own (BNTT: a ModuleList indexed by t) calls one after the other on
the same layer. They are gathered as the layer's `step_norms`, call by call; where all turn out the same it is one norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mdcompress.adapters.calling import calling_of
from mdcompress.adapters.layers import has_step_scales
from mdcompress.graph import AffineSpec, Carries, SynapseSpec
from mdcompress.tracing.ledger import Ledger, Tracked
from mdcompress.tracing.positions import Position

SpecT = TypeVar("SpecT", SynapseSpec, AffineSpec)


def norm_lists(modules: Mapping[str, nn.Module], time_steps: int) -> frozenset[str]:
    """The names of the module lists that hold a batch norm for every step, and nothing else."""
    return frozenset(
        name
        for name, module in modules.items()
        if isinstance(module, nn.ModuleList)
        and len(module) >= time_steps
        and all(isinstance(part, _BatchNorm) for part in module)
    )


def record_norm(ledger: Ledger, name: str, module: _BatchNorm, x: Tensor, output: Tensor) -> None:
    """A norm becomes part of the synapse that it follows; after anything else it is a node of its own."""
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
    node = ledger.node(source.node)
    if isinstance(node.spec, SynapseSpec) and (node.spec.batch_norm is None or source.before_norm):
        position = _attach(ledger, name, module, source, node.spec)
        ledger.follow(output, source.node, position)
    else:
        _record_own(ledger, name, module, source, output)


def _folds_time(module: _BatchNorm) -> bool:
    """Whether a library's norm takes [T, N, C, ...] and folds time into the batch by itself."""
    return calling_of(module).axes == ("T", "N")


def _step_scales(ledger: Ledger, name: str, module: _BatchNorm) -> int:
    """T of a norm with a factor for each step; 0 of any other."""
    if not has_step_scales(module):
        return 0
    factors = module.get_parameter("scale")
    if len(factors) != ledger.time_steps:
        raise ledger.error(
            f"batch norm {name!r} has factors for {len(factors)} steps, and the sample has {ledger.time_steps}",
            "give a sample with as many steps as the norm has factors",
        )
    return len(factors)


def _attach(ledger: Ledger, name: str, module: _BatchNorm, source: Tracked, spec: SynapseSpec) -> Position:
    """Make a norm part of its synapse; returns the part of time of its output."""
    position = _position(ledger, name, source, spec)
    if spec.batch_norm is not None:
        longer = _extended(spec, name, position)
        if longer is None:
            raise ledger.error(
                f"{source.node!r} is followed by the batch norm {name!r} at {source.position.describe()}, and was by "
                f"{spec.batch_norm!r} before",
                "use one batch norm for all steps, or one for each: a ModuleList of T norms, indexed by the step",
            )
        ledger.amend(source.node, longer)
        return position
    if ledger.is_read(source.node):
        raise ledger.error(
            f"{source.node!r} is read both by {name!r} and by another layer", "read the norm's output only"
        )
    ledger.amend(source.node, _begun(spec, ledger, name, module, source, position))
    ledger.mark_before_norm(source.node)
    return position


def _record_own(ledger: Ledger, name: str, module: _BatchNorm, source: Tracked, output: Tensor) -> None:
    """A norm that follows no synapse: a node, which the norms of the other steps share."""
    started, spec = _started(ledger, name, source) or (None, AffineSpec(None))
    position = _position(ledger, name, source, spec)
    longer = None if started is None else _extended(spec, name, position)
    if started is not None and longer is not None:
        ledger.amend(started, longer)
        ledger.follow(output, started, position)
        return
    own = _begun(spec, ledger, name, module, source, position)
    written = ledger.write_module(name, own, [source], output, carries=Carries.CURRENT)
    ledger.alias(output, written, position)


def _started(ledger: Ledger, name: str, source: Tracked) -> tuple[str, AffineSpec] | None:
    """The node that the norms of earlier steps made: they are of one list, and read the same tensor."""
    started = {
        node.spec.batch_norm: (node.name, node.spec)
        for node in ledger.readers(source.node)
        if isinstance(node.spec, AffineSpec) and node.spec.batch_norm is not None
    }
    of_list = (node for norm, node in started.items() if _list_of(norm) == _list_of(name) is not None)
    return started.get(name) or next(of_list, None)


def _position(ledger: Ledger, name: str, source: Tracked, spec: SynapseSpec | AffineSpec) -> Position:
    """The part of time of a call. What is still is no longer so behind a norm of a list: each call is the next step."""
    if source.position.span == "still" and _list_of(name) in ledger.norm_lists:
        return Position("step", source.position.axes, len(spec.step_norms))
    return source.position


def _begun(spec: SpecT, ledger: Ledger, name: str, module: _BatchNorm, source: Tracked, position: Position) -> SpecT:
    """The spec with its first norm. A still source has its calls counted from here on."""
    counted = source.position.span == "still" and position.span == "step"
    return replace(
        spec,
        batch_norm=name,
        step_norms=(name,) if counted else (),
        step_scales=_step_scales(ledger, name, module),
    )


def _extended(spec: SpecT, name: str, position: Position) -> SpecT | None:
    """The spec after a further call of a norm; None where it is not the next step's."""
    if spec.batch_norm == name and not spec.step_norms:
        return spec  # the same call at a later step
    if position.span != "step" or position.step == 0:
        return None
    so_far: tuple[str, ...] = spec.step_norms or (str(spec.batch_norm),) * position.step
    if position.step < len(so_far):
        return spec if so_far[position.step] == name else None
    return replace(spec, step_norms=(*so_far, name)) if position.step == len(so_far) else None


def _list_of(name: str) -> str | None:
    """The name of the list that `list.3` is an entry of; None where it is of none."""
    parent, _, last = name.rpartition(".")
    return parent if last.isdigit() else None
