"""The name of a run -> an identifier of C, which begins every name of the emitted code."""

from __future__ import annotations

import re

from intsnn.errors import UsageError

PREFIX = "net_"
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KEYWORDS = re.compile(  # C11 6.4.1, without those that begin with an underscore
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register|"
    "restrict|return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|volatile|while"
)


def c_name(text: str) -> str:
    """`4bit` -> `net_4bit`, `my-net v2` -> `my_net_v2`.

    What is no letter, digit or underscore of ASCII becomes an underscore. What then begins with no letter, or is a
    keyword of C, gets `net_` in front.
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if _is_name(name) else f"{PREFIX}{name.lstrip('_')}"


def require_c_name(name: str) -> str:
    """The name itself; UsageError where C does not allow it."""
    if not _is_name(name):
        raise UsageError(
            f"a name for C must be letters, digits and underscores, the first a letter, and no keyword (got {name!r})",
            hints=[f"for example {c_name(name)!r}"],
        )
    return name


def _is_name(name: str) -> bool:
    return bool(_IDENTIFIER.fullmatch(name)) and not _KEYWORDS.fullmatch(name)
