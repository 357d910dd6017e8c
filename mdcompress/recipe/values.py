"""The kinds of values that a recipe's keys hold beyond plain numbers and words, each with its check and its wording."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer

from intsnn.weight_bits import TERNARY_BITS, WEIGHT_BITS
from intsnn.yaml.file import RuleError
from mdcompress.data.names import DATA_SETS
from mdcompress.recipe.patterns import check_pattern

NEURON_ROLES = ("@stage_ends",)  # what `match` of a loss knows besides names

_NAMES_OF_BITS = {1: " (binary)", TERNARY_BITS: " (ternary)"}
_BITS_IN_WORDS = ", ".join(f"{bits}{_NAMES_OF_BITS.get(bits, '')}" for bits in WEIGHT_BITS)
_IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
_RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # also a folder's name, on every file system


@dataclass(frozen=True)
class Wording:
    """What may stand at a key, in words, where its Python type does not say it (recipes/README.md)."""

    words: str


def _weight_bits(value: float) -> float:
    if value not in WEIGHT_BITS:
        raise RuleError(f"must be one of {_BITS_IN_WORDS} (got {value:g})")
    return _as_written(value)


def _as_written(value: float) -> int | float:
    """Whole numbers of bits as int, so that they print as people write them."""
    return int(value) if value == int(value) else value


def _import_path(value: str) -> str:
    if not re.fullmatch(_IMPORT_PATH, value, re.ASCII):
        hint = "write it as in `mdcompress.zoo:digits_snn`"
        raise RuleError(f"must be an import path `module:function` (got {value!r})", hint=hint)
    return value


def _builder(value: str) -> str:
    return value if is_nir_file(value) else _import_path(value)


def is_nir_file(builder: str) -> bool:
    """Whether a builder is the path of a `.nir` file: a network with its weights."""
    return builder.endswith(".nir")


def _data_name(value: str) -> str:
    if value in DATA_SETS or re.fullmatch(_IMPORT_PATH, value, re.ASCII):
        return value
    near = get_close_matches(value, DATA_SETS, n=1)
    named = f"write `{near[0]}`" if near else f"the data sets are: {', '.join(DATA_SETS)}"
    message = f"must be the name of a data set or an import path `module:function` (got {value!r})"
    raise RuleError(message, hint=named)


def _run_name(value: str) -> str:
    if not re.fullmatch(_RUN_NAME, value, re.ASCII):
        message = f"must be letters, digits, `.`, `_` and `-`, as it names a folder (got {value!r})"
        raise RuleError(message, hint="write it as in `4bit`")
    return value


def _node_patterns(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    for pattern in as_tuple(value):
        check_pattern(pattern)
    return value


def _neuron_patterns(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    for pattern in as_tuple(value):
        check_pattern(pattern, roles=NEURON_ROLES)
    return value


def _layer_weights(value: Mapping[str, float]) -> Mapping[str, float]:
    for pattern, weight in value.items():
        check_pattern(pattern, roles=NEURON_ROLES)
        if weight < 0:
            raise RuleError(f"must be at least 0 (got {weight:g} for {pattern!r})", hint="0 leaves a layer out")
    return value


def _layer_targets(value: Mapping[str, float]) -> Mapping[str, float]:
    for pattern, rate in value.items():
        check_pattern(pattern, roles=NEURON_ROLES)
        if not 0 <= rate < 1:
            raise RuleError(
                f"must be at least 0 and below 1 (got {rate:g} for {pattern!r})",
                hint="a neuron fires once a step at most",
            )
    return value


def as_tuple(patterns: str | tuple[str, ...]) -> tuple[str, ...]:
    """One pattern or several, as several."""
    return (patterns,) if isinstance(patterns, str) else patterns


def _increasing(value: Sequence[int]) -> Sequence[int]:
    if list(value) != sorted(set(value)):
        raise RuleError(
            f"must increase, each number once (got {list(value)})", hint="write it sorted, without repetitions"
        )
    return value


WeightBits = Annotated[
    float,
    AfterValidator(_weight_bits),
    PlainSerializer(_as_written),
    Wording(f"1, {TERNARY_BITS}, or an integer from 2 to 8"),
]
ImportPath = Annotated[str, AfterValidator(_import_path), Wording("import path `module:function`")]
Builder = Annotated[str, AfterValidator(_builder), Wording("import path `module:function`, or path of a `.nir` file")]
DataName = Annotated[str, AfterValidator(_data_name), Wording("name of a data set, or import path `module:function`")]
RunName = Annotated[str, AfterValidator(_run_name), Wording("word of letters, digits, `.`, `_`, `-`")]
Patterns = str | Annotated[tuple[str, ...], Field(min_length=1)]
NodePatterns = Annotated[Patterns, AfterValidator(_node_patterns), Wording("pattern, or list of patterns")]
NeuronPatterns = Annotated[Patterns, AfterValidator(_neuron_patterns), Wording("pattern, or list of patterns")]
LayerWeights = Annotated[
    Mapping[str, float], AfterValidator(_layer_weights), Wording("mapping of patterns to numbers, each at least 0")
]
LayerTargets = Annotated[
    Mapping[str, float], AfterValidator(_layer_targets), Wording("mapping of patterns to numbers from 0 to below 1")
]
Counterparts = Annotated[Mapping[str, str], Wording("mapping of names to names")]
StepCounts = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    Field(min_length=1),
    AfterValidator(_increasing),
    Wording("increasing list of integers, each at least 1"),
]
