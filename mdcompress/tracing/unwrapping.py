"""A network out of what is put around it, and around its parts, to train it: torch.compile, DataParallel, averages.

Wrappers are told by class name and package: no library is imported for it. What is wrapped is the user's own module,
with its own parameters; only the modules above a wrapper are copied, so that they hold what the wrapper held.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType

import torch
from torch import nn

from mdcompress.adapters.base import package_of

_HELD_AS: Mapping[tuple[str, str], str] = {  # package and class of a wrapper: the attribute that holds the network
    ("torch", "OptimizedModule"): "_orig_mod",  # torch.compile(network)
    ("torch", "DataParallel"): "module",
    ("torch", "DistributedDataParallel"): "module",
    ("torch", "AveragedModel"): "module",  # torch.optim.swa_utils
    ("lightning", "_FabricModule"): "_original_module",
    ("lightning_fabric", "_FabricModule"): "_original_module",
    ("timm", "ModelEma"): "ema",
    ("timm", "ModelEmaV2"): "module",
    ("timm", "ModelEmaV3"): "module",
}
_LIGHTNING = ("lightning", "pytorch_lightning")


def unwrapped(network: nn.Module) -> nn.Module:
    """The network without wrappers around it or its parts, with the names that it has without them.

    A LightningModule that has no `forward` of its own is the one network that it holds. Parameters, buffers and all
    modules that have no wrapper below them are the given network's own; a network without wrappers is returned itself.

    Args:
        network: it is left as it is.
    """
    return _seen_through(network, {})


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, what torch.compile has made runs as it was written; the compiler is not started."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and the compiler takes seconds to import
        yield
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Using `torch\.compile\(module\)` when there are global hooks")
        yield


def _seen_through(module: nn.Module, known: dict[nn.Module, nn.Module]) -> nn.Module:
    if module in known:
        return known[module]
    known[module] = module  # where a part holds the whole
    held = _held(module)
    known[module] = _with_plain_parts(module, known) if held is None else _seen_through(held, known)
    return known[module]


def _held(module: nn.Module) -> nn.Module | None:
    """What a wrapper holds; None for every other module."""
    for base in type(module).__mro__:
        attribute = _HELD_AS.get((package_of(base), base.__name__))
        if attribute is not None:
            return module._modules.get(attribute)
        if base.__name__ == "LightningModule" and package_of(base) in _LIGHTNING:
            return _only_network(module)
    return None


def _only_network(module: nn.Module) -> nn.Module | None:
    """The one part of a LightningModule with parameters, where nothing else says how it is called."""
    owner = next(base for base in type(module).__mro__ if "forward" in vars(base))
    if package_of(owner) not in (*_LIGHTNING, "torch"):
        return None
    networks = [part for part in module.children() if any(True for _ in part.parameters())]
    own = any(True for _ in module.parameters(recurse=False))
    return networks[0] if len(networks) == 1 and not own else None


def _with_plain_parts(module: nn.Module, known: dict[nn.Module, nn.Module]) -> nn.Module:
    """The module, or where a wrapper is below it or it was compiled in place, a copy with the same tensors."""
    parts = {name: None if part is None else _seen_through(part, known) for name, part in module._modules.items()}
    compiled = any(_as_written(value) is not value for value in vars(module).values())
    same = all(part is module._modules[name] for name, part in parts.items())
    if same and not compiled and vars(module).get("_compiled_call_impl") is None:
        return module
    twin = type(module).__new__(type(module))
    for name, value in vars(module).items():
        vars(twin)[name] = _of_twin(value, module, twin)
    vars(twin)["_modules"] = type(module._modules)(parts)
    if "_compiled_call_impl" in vars(twin):  # network.compile()
        vars(twin)["_compiled_call_impl"] = None
    return twin


def _of_twin(value: object, module: nn.Module, twin: nn.Module) -> object:
    """An attribute for the copy: a dictionary of its own, a method bound to it, a function as it was written."""
    value = _as_written(value)
    if isinstance(value, MethodType) and value.__self__ is module:
        return MethodType(value.__func__, twin)
    return value.copy() if isinstance(value, dict) else value


def _as_written(value: object) -> object:
    """A function before torch.compile: `network.forward = torch.compile(network.forward)`."""
    return vars(value).get("_torchdynamo_orig_callable", value) if isinstance(value, FunctionType) else value
