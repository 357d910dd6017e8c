"""NamedCode -> its module. The one place where a name that may come from a file becomes an import."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from mdcompress.trust.consent import Consent
from mdcompress.trust.names import NamedCode


def import_named(code: NamedCode, consent: Consent) -> ModuleType:
    """Import the module of `code`, if that may be.

    The working folder is searched too, as `python -m` does, but last, so that nothing there hides a library; and only
    from here on: before consent nothing is imported from it.

    Raises:
        UsageError: there is no consent.
        ImportError, SyntaxError, and whatever the module raises.
    """
    if not code.is_own:
        consent.require(code)
        _search_working_folder()
    return importlib.import_module(code.module)


def _search_working_folder() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
