"""Plain values -> YAML text that yaml_tree reads back equal: sections as blocks, the innermost level on one line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

from intsnn.yaml.tree import PlainValue, scalar_value

LONGEST_LINE = 120  # characters; a longer innermost level is written as a block too

_PLAIN_TEXT = re.compile(r"([A-Za-z_]|[0-9]+[a-z]{2})([A-Za-z0-9_./+-]|:(?=[A-Za-z0-9_]))*")  # no number in any dialect
_UNPRINTABLE = re.compile(
    "[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]"
)  # YAML 1.2, 5.1, and what YAML 1.1 took for breaks


def write_yaml_text(value: PlainValue) -> str:
    """The document, ending in a newline."""
    return "\n".join(_block(value)) + "\n"


def write_yaml_value(value: PlainValue) -> str:
    """The value on one line, in brackets where it has parts."""
    return _flow(value)


def _block(value: PlainValue) -> Iterator[str]:
    """The lines of a value that starts at column 0."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _entry(f"{_text(key)}:", inner)
    elif isinstance(value, list) and value:
        for inner in value:
            first, *rest = [*_block(inner)] if isinstance(inner, dict) else [_flow(inner)]
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _flow(value)


def _entry(key: str, value: PlainValue) -> Iterator[str]:
    line = f"{key} {_flow(value)}"
    if not isinstance(value, dict | list) or not value or (_is_innermost(value) and len(line) <= LONGEST_LINE):
        yield line
        return
    yield key
    yield from (f"  {inner}" for inner in _block(value))


def _is_innermost(value: dict[str, PlainValue] | list[PlainValue]) -> bool:
    """Whether nothing below holds a mapping, and at most lists of single values."""
    if isinstance(value, list):
        return not any(isinstance(inner, dict | list) for inner in value)
    return all(
        not isinstance(inner, dict) and (not isinstance(inner, list) or _is_innermost(inner))
        for inner in value.values()
    )


def _flow(value: PlainValue) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_text(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case str():
            return _text(value)
        case None | bool():
            return json.dumps(value)
        case float() if math.isinf(value):
            return ".inf" if value > 0 else "-.inf"
        case float() if math.isnan(value):
            return ".nan"
        case _:
            return repr(value)


def _text(value: str) -> str:
    """Plain where nothing else can be meant, else in double quotes."""
    if _PLAIN_TEXT.fullmatch(value) and isinstance(scalar_value(value), str):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", quoted)
