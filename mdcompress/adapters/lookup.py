"""Which adapter knows a module: the user's own that describes it, else that of the library its class comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from mdcompress.adapters import shipped
from mdcompress.adapters.base import Adapter, Library, RefusedParameterError, package_of, with_plain_numbers
from mdcompress.adapters.own import SelfDescribed
from mdcompress.adapters.refusals import UNKNOWN, Refusal
from mdcompress.errors import MdcompressError
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
        except MdcompressError:
            raise
        except Exception as error:
            if not isinstance(adapter, Library) or not adapter.library:
                raise  # a fault in a description of the user's own
            description = _unlike(adapter, module, error)
        if description is not None:
            return adapter, description
    return None


def _unlike(adapter: Library, module: nn.Module, error: Exception) -> Refusal:
    """The refusal of a class that bears a library's name, and has not what the library's class has."""
    return replace(
        UNKNOWN,
        library=adapter.library,
        classes=(type(module).__name__,),
        reason=f"it is not as {adapter.title}'s class of that name ({type(error).__name__}: {error})",
    )
