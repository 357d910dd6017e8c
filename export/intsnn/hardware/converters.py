"""Converters that are shipped by name: for `costs.adc_conversion`, `--converter` and an axis of `explore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from pydantic import ConfigDict

from intsnn.hardware.cost import Cost
from intsnn.yaml.file import StrictModel, read_yaml

CONVERTERS_SCHEMA = "mdcompress.converters/1"
_FILE = Path(__file__).parent / "prices" / "converters.yaml"


class Converters(StrictModel):
    """Prices of `adc_conversion` by name."""

    model_config = ConfigDict(title="list of converters")

    converters: Mapping[str, Cost]


@cache
def shipped_converters() -> Mapping[str, Cost]:
    """Price of each converter that is shipped, by name."""
    return read_yaml(_FILE, Converters, schema=CONVERTERS_SCHEMA).converters


def converter_hint(name: str, own: Sequence[str]) -> str:
    """What to write instead of a name that is neither an own converter of the description nor a shipped one."""
    known = (*own, *shipped_converters())
    near = get_close_matches(name, known, n=1)
    shipped = f"shipped converters: {', '.join(shipped_converters())}"
    shipped += f"; of the description: {', '.join(own)}" if own else ""
    return f"did you mean `{near[0]}`? {shipped}" if near else shipped
