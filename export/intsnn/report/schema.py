"""The types of report_document.py -> hardware_report.schema.json (JSON Schema 2020-12).

`python -m intsnn.report.schema > export/intsnn/report/hardware_report.schema.json` writes it; a test holds that it is
current.
"""

from __future__ import annotations

import json
import sys
from typing import assert_never

from pydantic import TypeAdapter

from intsnn.estimation.report import TOTALS
from intsnn.report.document import REPORT_SCHEMA, ReportDocument

Json = dict[str, "Json"] | list["Json"] | str | float | bool | None

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The published schema."""
    generated = _closed(_readable(TypeAdapter(ReportDocument).json_schema(mode="serialization")))
    assert isinstance(generated, dict) and isinstance(generated["properties"], dict)
    generated["properties"]["totals"] = _totals()
    head: dict[str, Json] = {"$schema": _DIALECT, "title": f"Hardware report, {REPORT_SCHEMA}"}
    return json.dumps({**head, **generated}, indent=1, ensure_ascii=False) + "\n"


def _readable(node: Json) -> Json:
    """Without titles that repeat the key and defaults that never apply, and with docstrings on one line."""
    match node:
        case dict():
            kept = {key: value for key, value in node.items() if key != "default" and not _repeats(key, value)}
            return {key: _one_line(key, _readable(value)) for key, value in kept.items()}
        case list():
            return [_readable(entry) for entry in node]
        case str() | bool() | int() | float() | None:
            return node
        case _:
            assert_never(node)


def _repeats(key: str, value: Json) -> bool:
    return key == "title" and isinstance(value, str)  # a property called `title` is an object here


def _one_line(key: str, value: Json) -> Json:
    return " ".join(value.split()) if key == "description" and isinstance(value, str) else value


def _closed(node: Json) -> Json:
    """An object with named properties has all of them and no others: every key is always written."""
    match node:
        case dict():
            closed: dict[str, Json] = {key: _closed(value) for key, value in node.items()}
            if not isinstance(named := closed.get("properties"), dict):
                return closed
            return {**closed, "required": list(named), "additionalProperties": False}
        case list():
            return [_closed(entry) for entry in node]
        case str() | bool() | int() | float() | None:
            return node
        case _:
            assert_never(node)


def _totals() -> Json:
    """Every total by key: a number, or null where the hardware's rules cannot give it."""
    number: Json = [{"type": "number"}, {"type": "null"}]
    return {
        "type": "object",
        "description": "Figures of the whole; null where unavailable.",
        "properties": {kind.key: {"anyOf": number, "description": f"{kind.label}, {kind.unit}"} for kind in TOTALS},
        "required": [kind.key for kind in TOTALS],
        "additionalProperties": False,
    }


if __name__ == "__main__":
    sys.stdout.write(schema_text())
