"""Which adapter knows a module: the user's own that describes it, else that of the library its class comes from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mdcompress.adapters import shipped
from mdcompress.adapters.base import Adapter, Library, RefusedParameterError, package_of, with_plain_numbers
from mdcompress.adapters.own import SelfDescribed
from mdcompress.adapters.refusals import Refusal
from mdcompress.graph import NeuronModel

_UNKNOWN = SelfDescribed()


def library_of(module: nn.Module) -> Library:
    """What is known of the library that the module's class, or the first base of it, comes from."""
    known = {library.library: library for library in shipped.ADAPTERS if library.library}
    packages = (package_of(base) for base in type(module).__mro__)
    return next((known[package] for package in packages if package in known), _UNKNOWN)


def adapter_of(module: nn.Module, adapters: Sequence[Adapter] = ()) -> Adapter:
    """The first of `adapters` that describes the module and says how it is called and reset, else its library's."""
    found = described(module, adapters) if adapters else None
    return found[0] if found is not None and hasattr(found[0], "calling") else library_of(module)


def asked(module: nn.Module, adapters: Sequence[Adapter] = ()) -> tuple[Adapter, NeuronModel | Refusal] | None:
    """The first adapter, `adapters` before the shipped ones, that describes the module, and what it says."""
    return described(module, (*adapters, *shipped.ADAPTERS))


def described(module: nn.Module, adapters: Sequence[Adapter]) -> tuple[Adapter, NeuronModel | Refusal] | None:
    """The first of `adapters` that describes the module, and what it says."""
    for adapter in adapters:
        try:
            description = with_plain_numbers(adapter.describe(module))
        except RefusedParameterError as error:
            description = error.refusal
        if description is not None:
            return adapter, description
    return None
