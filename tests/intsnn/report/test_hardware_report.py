import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import intsnn
from intsnn.activity import assume, measure
from intsnn.errors import HardwareError, InvalidFileError, MissingFileError, UsageError
from intsnn.estimation.costs import EnergyPart
from intsnn.estimation.estimation import estimate
from intsnn.estimation.remarks import ASSUMED, CHANGING_INPUT, STILL_INPUT, remarks
from intsnn.estimation.report import Floorplan, HardwareReport
from intsnn.hardware import HardwareSpec, SpikeSimSpec, load_hardware, shipped_hardware
from intsnn.hardware.catalogue import Item
from intsnn.mapping import map_graph
from intsnn.report import summary_table, to_html, to_json, to_markdown
from intsnn.report.markdown import node_cells
from intsnn.report.published import published_in_words
from intsnn.report.words import counted, readable
from intsnn.shares import percent
from tests.support.crossbar_by_hand import hardware_spec, small_hardware
from tests.support.intgraphs import GraphBuilder, dense_graph, random_input, residual_graph
from tests.support.paths import ROOT

FOLDER = Path(intsnn.__file__).parent / "hardware"
SHIPPED = FOLDER / "rram_64x64_65nm.yaml"


@pytest.fixture(scope="module")
def report() -> HardwareReport:
    graph = residual_graph()
    return estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")


def test_the_json_holds_every_figure_and_is_the_same_each_time(report: HardwareReport) -> None:
    text = to_json(report)
    graph = residual_graph()
    assert text == to_json(estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm"))
    document = json.loads(text)
    assert document["schema"] == "mdcompress.hardware_report/1"
    assert document["totals"]["energy_pj"] == report.energy_pj
    assert document["totals"]["edap_pj_ns_um2"] == report.energy_pj * report.latency_ns * report.area_um2
    assert document["unavailable"] == {}
    assert sum(part["energy_pj"] for part in document["energy"]) == pytest.approx(report.energy_pj, rel=1e-12)
    assert document["workload"] == {
        "time_steps": 4, "activity": "measured", "samples": 3, "mean_rate": report.workload.mean_rate
    }  # fmt: skip
    assert len(document["provenance"]) == len(Item)


def test_operations_by_hand() -> None:
    """12 -> 10 -> 8 -> 4 features: 240 weights; T = 2; all inputs of the last two layers active at rate 1."""
    graph = dense_graph()
    one = estimate(graph, assume(graph, rate=1.0, time_steps=2), "rram_64x64_65nm")
    assert one.dense_operations == 2 * 2 * (120 + 80 + 32)
    assert one.effective_operations == pytest.approx(2 * (120 * 255 / 256 + 80 + 32))
    assert one.dense_tops_per_w == one.dense_operations / one.energy_pj
    assert one.effective_tops_per_mm2 == 1e3 * one.effective_operations / (one.latency_ns * one.area_um2)
    assert one.dense_tops_per_mm2 > one.effective_tops_per_mm2
    assert one.effective_tops_per_w < one.dense_tops_per_w
    assert one.pj_per_synaptic_operation == one.energy_pj / one.effective_operations
    assert one.power_mw == one.energy_pj / one.latency_ns
    assert one.edp_pj_ns == one.energy_pj * one.latency_ns


def test_an_assumed_activity_says_what_it_assumes_and_no_operations_are_0() -> None:
    graph = residual_graph()
    assumed = estimate(graph, assume(graph, rate=0.0, time_steps=2), "rram_64x64_65nm")
    assert ASSUMED in assumed.notes and ASSUMED in to_markdown(assumed)
    assert ASSUMED not in estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm").notes
    assert CHANGING_INPUT in assumed.notes and CHANGING_INPUT in to_markdown(assumed)
    still = estimate(graph, assume(graph, rate=0.1, time_steps=2, constant_input=True), "rram_64x64_65nm")
    assert STILL_INPUT in still.notes and CHANGING_INPUT not in still.notes
    one = estimate(graph, assume(graph, rate=0.1, time_steps=1), "rram_64x64_65nm")  # nothing can change
    assert not {STILL_INPUT, CHANGING_INPUT} & set(one.notes)
    columns, rows = node_cells(assumed)
    shown = {row[0]: row[columns.index("synaptic operations")] for row in rows}
    for node in assumed.nodes:
        assert (shown[node.name] == "-") == (node.dense_operations == 0), node.name
    assert "0" in shown.values()


def test_the_short_table_has_the_floorplan_where_there_is_a_factor(report: HardwareReport) -> None:
    placed = replace(report, floorplan=Floorplan(4.2, "test"))
    assert "floorplan" not in summary_table(report) and "| Area with floorplan factor |" in summary_table(placed)


def test_markdown_has_every_section_node_component_and_source(report: HardwareReport) -> None:
    text = to_markdown(report)
    for section in ("## Totals", "## By node", "## By component", "## Where the numbers come from", "## Not modelled"):
        assert section in text
    for node in report.nodes:
        assert f"| {node.name} |" in text
    for item in Item:
        assert item.value in text or item is Item.PARTIAL_SUM_TRANSFER
    for words in ("SATA_Sim", "Stillmaker & Baas 2017", "CACTI 7", "NeuroSim", "synaptic operation", "T = 4"):
        assert words in text
    assert "Less than 10 % of the cells are used" in text
    assert "6 arrays in 6 PEs on 5 tiles" in text


def test_tables_are_well_formed(report: HardwareReport) -> None:
    for text in (to_markdown(report), summary_table(report)):
        tables = [block.split("\n") for block in text.strip().split("\n\n") if block.startswith("|")]
        assert tables
        for lines in tables:
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_the_summary_is_short_and_carries_units(report: HardwareReport) -> None:
    table, notes = summary_table(report).split("\n\n")
    lines = table.split("\n")
    assert len(lines) == 10
    assert notes.startswith("- Most energy: ") and "of all circuits, ADC takes" in notes
    assert any("uJ |" in line for line in lines) and any("mm2 |" in line for line in lines)


def test_the_summary_says_what_first_and_last_layer_take(report: HardwareReport) -> None:
    (line,) = [line for line in summary_table(report).split("\n") if line.startswith("- First and last layer: ")]
    assert report.basis is not None and report.basis.mapping is not None
    first, *_, last = report.basis.mapping.layers
    whole = sum(part.energy_pj for part in report.energy)
    for layer in (first, last):
        share = sum(part.energy_pj for part in report.energy if part.node == layer.name) / whole
        assert f"{layer.name}" in line and percent(share, 1) in line
    assert f"whose input has {first.input_bits} bits, one read for each" in line
    assert line.endswith("Fewer bits of the input and of their weights lower both.")


@pytest.mark.parametrize(("share", "words"), [(0.0, "0.0 %"), (0.0004, "less than 0.1 %"), (0.0006, "0.1 %")])
def test_what_a_layer_takes_is_never_written_as_nothing(share: float, words: str) -> None:
    graph = residual_graph()
    mapping = map_graph(graph, hardware_spec("rram_64x64_65nm"))
    last = mapping.layers[-1].name
    energy = (EnergyPart("other", "x", "x", (1 - share,)), EnergyPart(last, "x", "x", (share,)))
    activity = assume(graph, rate=0.1, time_steps=1)
    (line,) = [one for one in remarks(mapping, activity, energy) if one.startswith("First and last layer: ")]
    assert f"{last} takes {words}. " in line


def test_an_input_of_one_bit_is_not_advised_to_have_fewer() -> None:
    build = GraphBuilder(np.random.default_rng(2))
    x = build.neuron(build.requant(build.linear(build.input((12,), bit_width=1), 8)))
    build.readout(build.requant(build.linear(x, 4)))
    graph = build.graph(recipe="one bit")
    report = estimate(graph, measure(graph, [random_input(graph)]), "rram_64x64_65nm")
    (line,) = [note for note in report.notes if note.startswith("First and last layer: ")]
    assert "whose input has 1 bit, takes" in line and line.endswith("Fewer bits of their weights lower both.")


def test_a_report_stands_beside_published_chips(report: HardwareReport) -> None:
    """The same sentence in the table, the page and the terminal: ours first, then each chip's pJ an operation."""
    (line,) = published_in_words(report)
    assert line.startswith(f"Beside silicon: {readable(report.pj_per_synaptic_operation)} pJ a synaptic operation here")
    for name, number in (("Tianjic", "1.54"), ("TrueNorth", "2.5"), ("ODIN", "12.7"), ("Loihi", "23.6")):
        assert f"{name} {number}" in line
    for text in (summary_table(report), to_markdown(report), to_html(report)):
        assert line in text


def test_the_figures_of_another_tool_do_not_stand_beside_chips() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((2, 8, 8)), 4)))
    build.readout(build.requant(build.linear(build.flatten(x), 3)))
    graph = build.graph()
    report = estimate(graph, assume(graph, rate=0.2, time_steps=4), "spikesim")
    assert report.pj_per_synaptic_operation > 0
    assert published_in_words(report) == () and "Beside silicon" not in summary_table(report)


def test_a_figure_over_zero_spikes_is_unavailable_and_not_zero() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((5,)), 2))
    graph = build.graph()
    report = estimate(graph, measure(graph, [random_input(graph) * 0]), "rram_64x64_65nm")
    with pytest.raises(HardwareError, match="synaptic operations above 0"):
        _ = report.pj_per_synaptic_operation
    assert json.loads(to_json(report))["totals"]["pj_per_synaptic_operation"] is None
    assert report.energy_pj > 0 == report.effective_operations
    assert published_in_words(report) == ()


def test_gating_is_noted_as_an_estimate() -> None:
    graph = dense_graph()
    hardware = small_hardware(rows=64, columns=64, cell_bits=2, gating="array")
    report = estimate(graph, assume(graph, rate=0.1, time_steps=1), hardware)
    assert any("estimated from the row rate" in note for note in report.notes)


def test_an_activity_of_another_graph_is_an_error() -> None:
    activity = assume(dense_graph(seed=3), rate=0.1, time_steps=1)
    with pytest.raises(HardwareError, match="must be of the graph that is priced"):
        estimate(dense_graph(), activity, "rram_64x64_65nm")


def test_the_shipped_descriptions_load_and_name_themselves() -> None:
    rram, spikesims = ("rram_128x128_22nm", "rram_64x64_65nm"), ("spikesim", "spikesim_fixed")
    assert shipped_hardware() == (*rram, *spikesims, "sram_digital", "sram_event_driven")
    for name in shipped_hardware():
        assert load_hardware(name).name == name
        assert load_hardware(FOLDER / f"{name}.yaml") == load_hardware(name)
    assert isinstance(load_hardware("spikesim"), SpikeSimSpec)
    assert isinstance(load_hardware("rram_64x64_65nm"), HardwareSpec)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(UsageError, match="no hardware description 'rram'") as error:
        load_hardware("rram")
    assert "rram_64x64_65nm, spikesim" in error.value.hints[0]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        load_hardware(tmp_path / "mine.yaml")
    with pytest.raises(MissingFileError):
        load_hardware("mine.yaml")


def test_every_price_has_a_source() -> None:
    hardware = hardware_spec("rram_64x64_65nm")
    for item in Item:
        cost = hardware.cost(item)
        assert cost is not None and len(cost.source) > 10
        if "32 nm" in cost.source and "unscaled" not in cost.source:
            assert cost.scaling is not None and "Stillmaker" in cost.scaling.rule


def test_the_scaling_factors_follow_from_the_papers_polynomials() -> None:
    """E = a V^2 + b V + c at the chip's 1.0 V, rows 65 and 32 nm; area of 65 over 32 nm: 1/0.31."""

    volt = hardware_spec("rram_64x64_65nm").technology.voltage_v

    def energy(a: float, b: float, c: float) -> float:
        return a * volt**2 + b * volt + c

    factor = energy(3.755, -4.398, 1.975) / energy(0.9559, -0.7823, 0.471)
    hardware = hardware_spec("rram_64x64_65nm")
    scaling = hardware.components["adder"].scaling
    assert scaling is not None
    assert scaling.energy == pytest.approx(factor, abs=5e-5)
    assert scaling.area == pytest.approx(1 / 0.31, abs=5e-5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  mux_switch:\n", "  mux_swich:\n", "nothing counted is called 'mux_swich'"),
        ("excluded: {}", "excluded: {mux_switch: no reason}", "mux_switch is both priced and excluded"),
        ("excluded: {}", "excluded: {dram: far away}", "nothing counted is called 'dram'"),
        ("  shift_add: adder\n", "", "shift_add is neither priced nor excluded"),
        ("  shift_add: adder\n", "  shift_add: added\n", "there is no component 'added'"),
        ("  shift_add: adder\n", "  shift_add: memory_read\n", "costs.shift_add must say its area_um2"),
        (
            "  buffer_read: memory_read\n",
            "  buffer_read: adder\n",
            "costs.buffer_read has no area_um2: it is not built",
        ),
        ("    energy_pj: 0.094245\n", "    energy_pj: -0.094245\n", "costs.mux_switch.energy_pj: must be at least 0"),
        ("    energy_pj: 0.094245\n", "", "costs.mux_switch must say its energy_pj"),
        ("    energy_pj: 0.094245\n", "    energy_nj: 0.094245\n", "energy_nj: unknown key"),
        ("    energy_pj: 0.094245\n", "    energy_pj: [1, 2]\n", "must have one number for each of `bits`"),
        ("    energy_pj: 0.094245\n", "    energy_pj: 1\n    latency_ns: 1\n", "has no latency_ns"),
        ("    area_um2: 433660\n", "    area_um2: 433660\n    energy_pj: 1\n", "has no energy_pj: it is no event"),
        ("    area_um2: 433660\n", "    area_um2: 1\n    bits: [2]\n    interpolation: linear\n", "bit width"),
        ("    area_um2: 433660\n", "    area_um2: 1\n    leakage_uw: 1\n", "both given and missing"),
        ("    area_um2: 433660\n", "    area_um2: [1, 1]\n    bits: [4, 2]\n    interpolation: linear\n", "must rise"),
        ("    interpolation: quadratic\n", "", "bits and interpolation go together"),
        ('    source: "SpikeSim ela_spikesim.py, 65 nm"\n', "", "source"),
        ("  column_mux: 8\n", "  column_mux: 65\n", "must be at most the 64 columns of an array"),
        ("  rows: 64\n", "  rows: 0\n", "rows"),
        ("schema: mdcompress.hardware/1", "schema: mdcompress.recipe/1", "mdcompress.hardware/1"),
    ],
)
def test_a_faulty_description_is_an_error_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = SHIPPED.read_text()
    assert text.count(old) == 1, old
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InvalidFileError) as error:
        load_hardware(path)
    assert message in str(error.value)
    assert f"{path}:" in str(error.value)


def test_a_faulty_spikesim_description_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text((FOLDER / "spikesim.yaml").read_text().replace("energy_pj: 397", "energy_pj: -397"))
    with pytest.raises(InvalidFileError, match="SpikeSim description"):
        load_hardware(str(path))


def test_ones_own_description_is_used(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SHIPPED.read_text().replace("adc_bits: lossless", "adc_bits: 6"))
    graph = dense_graph()
    activity = assume(graph, rate=0.1, time_steps=1)
    assert estimate(graph, activity, path).energy_pj < estimate(graph, activity, "rram_64x64_65nm").energy_pj


def test_an_estimate_imports_no_torch() -> None:
    script = (
        "import sys; from tests.support.intgraphs import dense_graph; from intsnn.activity import assume;"
        "from intsnn.estimation.estimation import estimate; from intsnn.report import to_markdown; g = dense_graph();"
        "to_markdown(estimate(g, assume(g, rate=0.1, time_steps=1), 'rram_64x64_65nm'));"
        "print([name for name in ('torch', 'brevitas', 'mdcompress') if name in sys.modules])"
    )
    paths = f"{FOLDER.parent.parent}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": paths}
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.726826, "0.7268"), (116.187, "116.2"), (5615.033, "5,615"), (5_615_033, "5,615,000"),
        (94_341_234.5, "94,340,000"), (999_960, "1,000,000"), (9.9999, "10.00"), (-12_345.6, "-12,350"),
        (0, "0"), (2e9, "2.000e+09"),
    ],
)  # fmt: skip
def test_a_figure_has_four_digits_that_mean_something(value: float, words: str) -> None:
    assert readable(value) == words


def test_what_was_counted_keeps_every_digit() -> None:
    assert counted(2_416_320.0) == "2,416,320"
