"""Modes and names of a network, whatever its classes override: evaluation, inside a `with` or for good, and training.

Networks are met whose `train()` takes no mode, whose `eval()` returns nothing, or that hold a list named `modules`.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Wrapper(nn.Module):
    """A module around a user's `network`, as which that is called in another way. Modules keep the names they have."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def modules_of(network: nn.Module) -> dict[str, nn.Module]:
    """Every module of a network, itself first, by its qualified name: what `named_modules` of torch gives.

    Of a network in wrappers the names are its own; a wrapper's, which comes after, is no name of a module: `<Stepped>`.
    """
    wrappers: list[Wrapper] = []
    while isinstance(network, Wrapper):
        wrappers.append(network)
        network = network.network
    found: dict[nn.Module, str] = {}
    _collect(network, "", found)
    for wrapper in reversed(wrappers):
        _collect(wrapper, f"<{type(wrapper).__name__}>", found)
    return {name: module for module, name in found.items()}


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Every parameter and every buffer of a network, by its qualified name."""
    return {
        f"{name}.{own}" if name else own: tensor
        for name, module in modules_of(network).items()
        for own, tensor in [*module._parameters.items(), *module._buffers.items()]
        if tensor is not None
    }


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside. A network with some layers frozen in evaluation mode gets that mixture back."""
    modes = {module: module.training for module in modules_of(network).values()}
    to_evaluation_mode(network)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def to_evaluation_mode(network: nn.Module) -> None:
    """Evaluation mode, module by module: a method `train` or `eval` of one's own is not called."""
    for module in modules_of(network).values():
        module.training = False


def to_training_mode(network: nn.Module) -> None:
    """Training mode; parts whose own `train` takes a mode decide themselves, as those do that keep norms frozen."""
    for module in modules_of(network).values():
        module.training = True
    for module in modules_of(network).values():
        if type(module).train is not nn.Module.train and _takes_mode(module):
            module.train(True)


def train_with_frozen_norms(network: nn.Module) -> None:
    """Training mode, but every batch norm uses its running statistics and leaves them as they are."""
    to_training_mode(network)
    for module in modules_of(network).values():
        if isinstance(module, _BatchNorm):
            module.training = False


def _collect(module: nn.Module, name: str, found: dict[nn.Module, str]) -> None:
    if module in found:
        return
    found[module] = name
    for part_name, part in module._modules.items():
        if part is not None:
            _collect(part, f"{name}.{part_name}" if name else part_name, found)


def _takes_mode(module: nn.Module) -> bool:
    """Whether a method `train` of one's own is called as that of torch is."""
    try:
        inspect.signature(module.train).bind(True)
    except TypeError:
        return False
    return True
