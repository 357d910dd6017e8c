"""build_network("module:factory") -> nn.Module: imports a user's function and calls it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from torch import nn

from intsnn.errors import UsageError
from mdcompress.trust import REFUSED, Consent, NamedCode, import_named


def build_network(builder: str, *, consent: Consent = REFUSED, key: str = "model.builder") -> nn.Module:
    """Call the function at import path `package.module:function` and check that it returns a module.

    The current folder is searched too, as `python -m` does.

    Args:
        builder: the import path.
        consent: whether code may run that is not of mdcompress.zoo; `mdcompress.trust.GIVEN` where the program that
            calls has chosen it.
        key: where a recipe names it.

    Raises:
        UsageError: a part of the path is wrong, which is named; or there is no consent.
    """
    module_name, _, name = builder.partition(":")
    if module_name.endswith(".py"):
        raise UsageError(
            f"a network is named as module:function, not by its file (got {builder!r})",
            hints=[f"from the folder that holds the file: {Path(module_name).stem}:{name or 'build'}"],
        )
    if not all(part.isidentifier() for part in [*module_name.split("."), name]):
        raise UsageError(
            f"a network is named as module:function (got {builder!r})", hints=["for example mdcompress.zoo:digits_snn"]
        )
    try:
        module = import_named(NamedCode(key, builder), consent)
    except ImportError as error:
        raise UsageError(
            f"the module {module_name!r} of {builder!r} cannot be imported: {error}",
            hints=["run from the folder that holds it, or install it"],
        ) from error
    except SyntaxError as error:
        raise UsageError(
            f"the module {module_name!r} of {builder!r} is not Python: {error.msg} ({_place(error)})",
            hints=["mend that line"],
        ) from error
    factory = getattr(module, name, None)
    if not callable(factory):
        offered = [key for key, value in vars(module).items() if _may_build(value) and not key.startswith("_")]
        raise UsageError(f"{module_name!r} has no function {name!r}", hints=[f"it has: {', '.join(sorted(offered))}"])
    if isinstance(factory, nn.Module):
        raise UsageError(
            f"{builder} must be a function that returns the network (it is a network itself)",
            hints=[f"add `def build(): return {name}` to the module, and give {module_name}:build"],
        )
    _require_no_arguments(factory, builder)
    network = factory()
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"{builder} must return a torch.nn.Module (it returned {type(network).__name__})",
            hints=["return the network itself, with its weights or without"],
        )
    return network


def _may_build(value: object) -> bool:
    return callable(value) and not isinstance(value, nn.Module)


def _place(error: SyntaxError) -> str:
    return f"{Path(error.filename or '?').name}, line {error.lineno}"


def _require_no_arguments(factory: Callable[..., object], builder: str) -> None:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise UsageError(
            f"{builder} must be callable without arguments ({error})",
            hints=["give its parameters defaults, or name a function of your own that calls it with them"],
        ) from error
