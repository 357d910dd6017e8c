"""Plain values -> YAML text that yaml_tree reads back equal: sections as blocks, the innermost level on one line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import assert_never

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
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from _entry(f"{_text(key)}:", inner)
        case list() if value:
            for inner in value:
                first, *rest = [*_block(inner)] if isinstance(inner, dict) else [_flow(inner)]
                yield f"- {first}"
                yield from (f"  {line}" for line in rest)
        case _:
            yield _flow(value)


def _entry(key: str, value: PlainValue) -> Iterator[str]:
    line = f"{key} {_flow(value)}"
    if _is_single(value) or not value or (_is_innermost(value) and len(line) <= LONGEST_LINE):
        yield line
        return
    yield key
    yield from (f"  {inner}" for inner in _block(value))


def _is_innermost(value: PlainValue) -> bool:
    """Whether nothing below holds a mapping, and at most lists of single values."""
    match value:
        case dict():
            return all(_is_single(inner) or _is_list_of_singles(inner) for inner in value.values())
        case _:
            return _is_list_of_singles(value)


def _is_list_of_singles(value: PlainValue) -> bool:
    return isinstance(value, list) and all(map(_is_single, value))


def _is_single(value: PlainValue) -> bool:
    return not isinstance(value, dict | list)


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
        case int() | float():
            return repr(value)
        case _:
            assert_never(value)


def _text(value: str) -> str:
    """Plain where nothing else can be meant, else in double quotes."""
    if _PLAIN_TEXT.fullmatch(value) and isinstance(scalar_value(value), str):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", quoted)
