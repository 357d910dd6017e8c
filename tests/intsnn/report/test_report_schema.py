"""hardware.json against its published schema."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import intsnn
from intsnn.activity import assume, measure
from intsnn.estimation.estimation import estimate
from intsnn.hardware import HardwareSpec, load_hardware
from intsnn.report import to_html, to_json
from intsnn.report.schema import schema_text
from tests.support.crossbar_by_hand import small_hardware
from tests.support.intgraphs import GraphBuilder, graph_inputs, random_input, residual_graph
from tests.support.paths import ROOT
from tests.support.wide_graphs import weighted_graphs

Document = dict[str, Any]  # the parsed JSON
PUBLISHED = Path(intsnn.__file__).parent / "report" / "hardware_report.schema.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(PUBLISHED.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def document() -> Document:
    graph = residual_graph()
    found: Document = json.loads(to_json(estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")))
    return found


def test_the_published_schema_is_current() -> None:
    hint = "run: python -m intsnn.report.schema > export/intsnn/report/hardware_report.schema.json"
    assert PUBLISHED.read_text("utf-8") == schema_text(), hint


def test_a_report_is_valid(validator: jsonschema.Draft202012Validator, document: Document) -> None:
    validator.validate(document)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_report_of_any_graph_is_valid(data: st.DataObject) -> None:
    schema = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text("utf-8")))
    graph = data.draw(weighted_graphs())
    hardware = small_hardware(rows=16, columns=16, cell_bits=data.draw(st.sampled_from((1, 2))))
    report = estimate(graph, measure(graph, [data.draw(graph_inputs(graph))]), hardware)
    schema.validate(json.loads(to_json(report)))
    schema.validate(json.loads(to_json(replace(report, basis=None))))


def test_a_report_with_unavailable_figures_is_valid(validator: jsonschema.Draft202012Validator) -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((70, 4, 4)), 70)))
    build.readout(build.requant(build.conv(x, 4)))
    graph = build.graph()
    found = json.loads(to_json(estimate(graph, assume(graph, rate=0.2, time_steps=2), "spikesim")))
    assert found["totals"]["area_um2"] is None and "PE counts" in found["unavailable"]["area_um2"]
    assert found["area"] is None and found["spikesim"] is None
    validator.validate(found)


def test_every_object_is_closed_and_complete(validator: jsonschema.Draft202012Validator, document: Document) -> None:
    """A key that is missing, unknown, or of another type breaks the schema, at the top and inside."""
    for change in (
        {"hardware": 3},
        {"schema": "mdcompress.hardware_report/2"},
        {"extra": 1},
        {"totals": {**document["totals"], "energy_pj": "12"}},
        {"totals": {"energy_pj": 12.0}},
        {"nodes": [{**document["nodes"][0], "colour": "red"}]},
        {"events": [{"node": "a", "item": "adc_conversion", "bits": 8}]},
    ):
        assert not validator.is_valid({**document, **change}), change
    for key in document:
        assert not validator.is_valid({name: value for name, value in document.items() if name != key}), key


def test_every_key_and_every_object_is_described(validator: jsonschema.Draft202012Validator) -> None:
    schema = validator.schema
    assert schema["$schema"].endswith("2020-12/schema") and schema["description"]
    for name, entry in schema["$defs"].items():
        assert len(entry["description"]) > 15, name
        assert entry["additionalProperties"] is False and entry["required"] == list(entry["properties"]), name
    for entry in schema["properties"]["totals"]["properties"].values():
        assert "," in entry["description"]


def test_the_document_holds_what_the_figures_were_computed_from(document: Document) -> None:
    events: dict[str, float] = {}
    for event in document["events"]:
        events[event["item"]] = events.get(event["item"], 0.0) + sum(event["steps"])
    parts = {part["component"] for part in document["energy"]}
    assert set(events) <= parts
    assert {entry["node"] for entry in document["placed"]} == {
        node["name"] for node in document["nodes"] if node["arrays"]
    }
    assert sum(entry["arrays"] for entry in document["placed"]) == 6
    assert document["timeline"]["latency_ns"] == document["totals"]["latency_ns"]
    assert max(one["end_ns"] for one in document["timeline"]["intervals"]) == pytest.approx(
        document["totals"]["latency_ns"]
    )
    assert {neuron["name"] for neuron in document["neurons"]} == {
        node["name"] for node in document["nodes"] if node["kind"] == "neuron"
    }
    assert document["sensitivities"] and document["arithmetic_proxy"]["snn_pj"] > 0
    assert document["floorplan"]["factor"] == 1.0
    adders = [one for one in document["instances"] if one["item"] == "neuron_add"]
    assert adders and all(one["bits"] > 0 for one in adders)


def test_the_new_totals_by_hand(document: Document) -> None:
    totals = document["totals"]
    assert totals["mean_step_energy_pj"] == pytest.approx(totals["energy_pj"] / 4)
    assert totals["throughput_per_s"] == pytest.approx(1e9 / document["timeline"]["interval_ns"])
    leak = sum(part["energy_pj"] for part in document["energy"] if part["component"] == "leakage")
    assert leak > 0 and totals["leakage_power_mw"] == pytest.approx(leak / totals["latency_ns"])
    assert totals["dynamic_power_mw"] + totals["leakage_power_mw"] == pytest.approx(totals["power_mw"], rel=1e-12)
    assert totals["floorplan_um2"] == totals["area_um2"]


def test_the_examples_of_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = residual_graph()
    activity = measure(graph, [random_input(graph)])
    run = tmp_path / "runs" / "4bit"
    run.mkdir(parents=True)
    intsnn.write_onnx(graph, run / "model.onnx")
    intsnn.write_activity(activity, run / "activity.json")
    report = estimate(graph, activity, "rram_64x64_65nm")
    (run / "hardware.json").write_text(to_json(report), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "hardware_report.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    exec("\n".join(blocks), {})
    assert isinstance(load_hardware(tmp_path / "my_chip.yaml"), HardwareSpec)
    assert (tmp_path / "report.html").read_text("utf-8") == to_html(report)
    assert f"{report.energy_pj}" in capsys.readouterr().out


def test_the_documentation_names_every_key_of_the_document(document: Document) -> None:
    page = (ROOT / "docs" / "hardware_report.md").read_text("utf-8")
    headers = {"schema", "hardware", "summary", "technology", "workload", "energy_per_step_pj"}
    operations = {"dense_operations", "effective_operations"}
    for key in set(document) - headers - operations:
        assert f"`{key}`" in page, key
