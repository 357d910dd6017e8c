"""docs/frameworks/support.md says what the adapters, the tracer and the table of refusals say."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from mdcompress.adapters import ADAPTERS, REFUSALS
from mdcompress.graph import InputSpec, LayerSpec, NeuronModel
from tests.support.changes import NeuronChanges
from tests.support.paths import ROOT

pytest.importorskip("spikingjelly")
pytest.importorskip("snntorch")
pytest.importorskip("norse")
pytest.importorskip("sinabs")

from mdcompress.reference.support_page import DESCRIBED, equation, samples, support_table

PLAIN = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "hard", 0.0, 1.0, 0.0)


def test_the_page_is_current() -> None:
    """python -m mdcompress.reference.support_page > docs/frameworks/support.md."""
    assert (ROOT / "docs/frameworks/support.md").read_text() == support_table()


def test_every_described_class_is_in_the_table() -> None:
    shown = {sample.name for rows in samples().values() for sample in rows}
    described = {name for adapter in ADAPTERS for name in getattr(adapter, "classes", ())}
    assert len(described) > 25 and described <= shown


def test_every_kind_of_node_with_a_policy_is_in_the_table() -> None:
    kinds = {spec.kind for spec in get_args(InputSpec | LayerSpec)} - {"recurrent"}  # which is a synapse's
    assert set(DESCRIBED) == kinds
    text = support_table()
    assert all(f"| {described} |" in text for described in DESCRIBED.values())


def test_every_refusal_is_in_the_table_with_its_hint() -> None:
    text = support_table()
    for row in REFUSALS:
        assert f"| {row.reason} | {row.hint} |" in text
        assert all(f"`{name}`" in text for name in row.classes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "h = 0.5 v + x; s = [h >= 1]; v = 0 where s, else h"),
        ({"reset": "soft", "soft_amount": 2.0, "comparator": "greater"}, "h = 0.5 v + x; s = [h > 1]; v = h - 2 s"),
        ({"reset": "none", "decay": 1.0, "drive": 0.25}, "h = v + x + 0.25; s = [h >= 1]; v = h"),
        ({"reset": "soft", "timing": "after_leak"}, "h = 0.5 v + x - s'; s = [h >= 1]; v = h"),
        ({"timing": "masked"}, "h = (0.5 v + x)(1 - s'); s = [h >= 1]; v = h"),
        ({"synapse_decay": 0.9, "synapse_gain": 0.1, "input_gain": 3.0},
         "i = 0.9 i + 0.1 x; h = 0.5 v + 3 i; s = [h >= 1]; v = 0 where s, else h"),
        ({"spike": "floor", "max_spikes": None, "reset": "soft", "floor": "after_reset", "floor_value": -1.0},
         "h = 0.5 v + x; s = floor(h), at least 0; v = h - s; v = max(v, -1)"),
        ({"spike": "round", "max_spikes": 4, "threshold": 2.0, "reset": "none", "floor": "before_fire"},
         "h = max(0.5 v + x, 0); s = round(h / 2), at least 0, at most 4; v = h"),
        ({"rearm": "double", "reset": "soft", "threshold": 3.0, "soft_amount": 3.0},
         "h = 0.5 v + x; s = [h - 3 [v > 3] >= 3]; v = h - 3 s"),
        ({"recurrent": "rec", "threshold": (1.0, 2.0)},
         "h = 0.5 v + (x + W s'); s = [h >= per channel]; v = 0 where s, else h"),
        ({"output": "membrane", "reset": "none"}, "h = 0.5 v + x; puts out h; v = h"),
    ],
)  # fmt: skip
def test_an_equation_in_one_line(changes: NeuronChanges, says: str) -> None:
    assert equation(replace(PLAIN, **changes)) == says
