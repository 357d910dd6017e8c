"""No field of a description is lost on the way into an explored design, whatever fields a description has."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from intsnn.activity import Activity, measure
from intsnn.errors import HardwareError, UsageError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.exploration.design_space import DesignPoint, DesignSpace, hardware_at
from intsnn.exploration.exploration import explore
from intsnn.exploration.legality import legal_hardware_at
from intsnn.graph import IntGraph
from intsnn.hardware import HardwareSpec, load_hardware
from intsnn.hardware.catalogue import Item
from intsnn.hardware.converters import shipped_converters
from intsnn.yaml.file import checked
from intsnn.yaml.tree import parse_tree
from tests.support.descriptions import keys_of, read_description
from tests.support.intgraphs import random_input, residual_graph

KeyPath = tuple[str, ...]
NAMES = ("rram_64x64_65nm", "sram_digital")  # arrays read by converters, and digital ones
POINT = DesignPoint(32, 1, "lossless", 4, "differential", "im2col", "array", "row_pipeline", 5000, None, None, 2)
SET_BY_AXES = {
    *(("crossbar", name) for name in ("rows", "columns", "adc_bits", "column_mux", "encoding", "mapping", "gating")),
    ("crossbar", "cell", "bits"),
    ("schedule", "rule"),
    ("duplication", "arrays"),
}
REFUSED = {
    ("crossbar", "readout"),
    ("crossbar", "cell", "bits"),
}  # digital cells are explored at the bits of their price
OF_ONE_COST = {"energy_pj", "area_um2", "leakage_uw", "latency_ns", "bits", "interpolation", "missing", "survey"}


def leaves(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Every single value of a description with its path; a list is one value, an empty section too."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def plain(described: HardwareSpec) -> dict[KeyPath, object]:
    return dict(leaves(described.model_dump(mode="json")))


def others(path: KeyPath, value: object, components: list[str]) -> Iterator[object]:
    """Other values to try in the place of one."""
    match value:
        case bool():
            yield not value
        case int() | float():
            yield from (value * 2, value + 1, value // 2, value / 2)
        case [*others_of_it, int() | float() as last]:
            yield [*others_of_it, 2 * last]
        case list():
            yield [] if value else ["another sentence"]
        case str():
            yield from (
                *words_at(path),
                1000,
                *components,
                f"another {value}",
                {"area_um2": 1, "leakage_uw": 1, "source": "here"},
            )
        case None:
            yield from (1000, 1, 0.5, "another text", {"rule": "another rule", "energy": 0.5})
            yield {"least": 1, "most": 2, "source": "here"}
        case {}:
            return
        case _:
            raise AssertionError(f"{path}: what else could stand for {value!r}? Say it here.")


def words_at(path: KeyPath) -> Iterator[str]:
    """The words of the Literal at a path."""
    model: object = HardwareSpec
    for key in path:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return
        model = model.model_fields[key].annotation
    for one in (model, *get_args(model)):
        if get_origin(one) is Literal:
            yield from get_args(one)


def with_values(described: HardwareSpec, values: dict[KeyPath, object]) -> HardwareSpec:
    """The description as a document, with other values at some paths, read again by the rules of the file."""
    document: dict[str, Any] = described.model_dump(mode="json")
    for (*sections, key), value in values.items():
        place = document
        for section in sections:
            place = place[section]
        place[key] = value
    return HardwareSpec.model_validate_json(json.dumps(document))


def every_item_spoken_of(name: str) -> HardwareSpec:
    """The description with what its own structure cannot have excluded too, so that any other structure is legal."""
    described = read_description(name)
    silent = [item.value for item in Item if item.value not in {**described.costs, **described.excluded}]
    return with_values(described, {("excluded", item): "not here" for item in silent})


def changed_one_by_one(name: str) -> dict[KeyPath, HardwareSpec]:
    """The description with each of its values, one at a time, at another legal one."""
    described = every_item_spoken_of(name)
    components = [*described.components, *shipped_converters()]
    found: dict[KeyPath, HardwareSpec] = {}
    for path, value in plain(described).items():
        for other in others(path, value, components if path[0] == "costs" else []):
            with contextlib.suppress(ValidationError):
                changed = with_values(described, {path: other})
                if changed != described:
                    found[path] = changed
                    break
    return found


CHANGED = {name: changed_one_by_one(name) for name in NAMES}


def written_anew(described: HardwareSpec) -> HardwareSpec:
    """The description as a document, with the keys of the point, read again."""
    pairs = (change.partition("=") for change in keys_of(POINT))
    return with_values(described, {tuple(key.split(".")): parse_tree(value, "").value for key, _, value in pairs})


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_a_description_has_another_legal_one(name: str) -> None:
    """But for a price of what is no event or not built, empty sections, and exact adder trees."""
    for path, value in plain(every_item_spoken_of(name)).items():
        of_a_cost = path[0] in ("components", "costs") and (path[-1] in OF_ONE_COST or "missing" in path)
        assert path in CHANGED[name] or of_a_cost or value in ({}, "lossless"), path
    assert {path[0] for path in CHANGED[name]} >= set(HardwareSpec.model_fields) - {"excluded"}


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_value_stays_changed_in_every_design_unless_an_axis_sets_it(name: str) -> None:
    for path, changed in CHANGED[name].items():
        design = hardware_at(POINT, changed)
        assert design == written_anew(changed), path
        found, wanted = plain(design), plain(changed)
        assert {key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)} <= SET_BY_AXES


@pytest.fixture(scope="module")
def network() -> tuple[IntGraph, Activity]:
    graph = residual_graph()
    return graph, measure(graph, [random_input(graph, time_steps=2)])


def three_totals(report: HardwareReport) -> tuple[float, float, float]:
    return report.energy_pj, report.latency_ns, report.area_um2


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_value_has_its_effect_on_the_figures_of_a_design(
    name: str, network: tuple[IntGraph, Activity]
) -> None:
    space = DesignSpace(**{axis: (value,) for axis, value in vars(POINT).items() if value is not None})
    unchanged, moved = three_totals(estimate(*network, written_anew(every_item_spoken_of(name)))), set()
    for path, changed in CHANGED[name].items():
        if path in REFUSED:
            continue
        (design,) = explore(*network, changed, space=space).designs
        expected = three_totals(estimate(*network, written_anew(changed)))
        assert (design.energy_pj, design.latency_ns, design.area_um2) == pytest.approx(expected, rel=1e-12), path
        if expected != unchanged:
            moved.add(path[0])
    assert moved >= {"technology", "crossbar", "tile", "neuron", "components", "costs"}


def test_a_design_that_breaks_a_rule_of_descriptions_is_none() -> None:
    """What explore changes is held to the rules of a file: a copy alone would take any value."""
    described = load_hardware("rram_64x64_65nm")
    assert isinstance(described, HardwareSpec)
    assert checked(described) == described
    with pytest.raises(UsageError, match=r"crossbar\.cell\.bits: Input should be less than or equal to 8"):
        checked(hardware_at(DesignPoint(**{**vars(POINT), "cell_bits": 9}), described))
    for wrong in ({"cell_bits": 9}, {"adc_bits": 17}, {"encoding": "gray"}, {"array_budget": 0}):
        with pytest.raises(HardwareError):
            legal_hardware_at(DesignPoint(**{**vars(POINT), **wrong}), described)
    with pytest.raises(UsageError, match="must be at most the 32 columns of an array"):
        checked(hardware_at(DesignPoint(**{**vars(POINT), "column_mux": 33}), described))
