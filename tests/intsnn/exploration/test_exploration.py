import csv
import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.activity import Activity, assume, first_steps, measure
from intsnn.errors import HardwareError, InvalidFileError, MissingFileError, UsageError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.report import HardwareReport
from intsnn.exploration.design_space import DesignPoint, DesignSpace
from intsnn.exploration.exploration import Exploration, explore, non_dominated
from intsnn.exploration.files import csv_text, pareto_table, read_accuracies
from intsnn.exploration.plot import write_plot
from intsnn.graph import IntGraph
from intsnn.hardware import HardwareSpec
from intsnn.mapping.demand import demand_of
from intsnn.mapping.widths import with_membrane_bits, with_weight_bits
from tests.support.crossbar_by_hand import hardware_spec
from tests.support.descriptions import keys_of, read_description
from tests.support.hand_made_graphs import wide_hand_made_graphs
from tests.support.intgraphs import GraphBuilder, random_input, residual_graph

SPACE = DesignSpace(
    crossbar=(32, 64),
    cell_bits=(1, 2),
    adc_bits=("lossless", 5),
    column_mux=(4, 8),
    encoding=("offset", "differential"),
    mapping=("kernel_split", "im2col"),
    gating=("none", "array"),
    schedule=("layer_by_layer", "row_pipeline"),
    array_budget=(None, 300),
    weight_bits=(2, 4),
    membrane_bits=(4, 8),
    time_steps=(1, 3),
)


def spec(name: str = "rram_64x64_65nm", **changes: object) -> HardwareSpec:
    return HardwareSpec.model_validate({**hardware_spec(name).model_dump(), **changes})


@pytest.fixture(scope="module")
def graph() -> IntGraph:
    return residual_graph()


@pytest.fixture(scope="module")
def activity(graph: IntGraph) -> Activity:
    return measure(graph, [random_input(graph, time_steps=3)])


@pytest.fixture(scope="module")
def found(graph: IntGraph, activity: Activity) -> Exploration:
    return explore(graph, activity, spec(), space=SPACE)


def one_by_one(
    graph: IntGraph, activity: Activity, point: DesignPoint, *changes: str, name: str = "rram_64x64_65nm"
) -> HardwareReport:
    """The same design through `estimate`: the description is its file with the keys of the point written anew."""
    demand = demand_of(graph)
    demand = demand if point.weight_bits is None else with_weight_bits(demand, point.weight_bits)
    demand = demand if point.membrane_bits is None else with_membrane_bits(demand, point.membrane_bits)
    written_anew = read_description(name, *changes, *keys_of(point))
    return estimate(graph, first_steps(activity, point.time_steps), written_anew, demand=demand)


def test_the_grid_has_every_combination_once(found: Exploration) -> None:
    assert len(found.designs) + len(found.infeasible) == 2**12
    assert len({design.point for design in found.designs}) == len(found.designs)


@pytest.mark.parametrize("mesh", [1, "mesh"])
def test_designs_have_the_figures_of_an_estimate(graph: IntGraph, activity: Activity, mesh: int | str) -> None:
    changes = ("interconnect.encoding=smaller", f"interconnect.hops={mesh}")
    designs = explore(graph, activity, read_description("rram_64x64_65nm", *changes), space=SPACE).designs
    for design in designs[:: len(designs) // 37]:
        report = one_by_one(graph, activity, design.point, *changes)
        assert design.energy_pj == report.energy_pj
        assert design.latency_ns == report.latency_ns
        assert design.area_um2 == report.area_um2
        assert design.edap_pj_ns_um2 == report.edap_pj_ns_um2
        by_item: dict[str, float] = {}
        for part in report.energy:
            by_item[part.component] = by_item.get(part.component, 0) + part.energy_pj
        assert design.energy_in.component == max(by_item, key=by_item.__getitem__)
        assert design.energy_in.share == pytest.approx(max(by_item.values()) / report.energy_pj)


@pytest.mark.parametrize("name", ["attention", "attention of counts", "recurrent on a map", "2-d maps"])
def test_designs_of_every_node_have_the_figures_of_an_estimate(name: str) -> None:
    graph = wide_hand_made_graphs()[name]
    activity = measure(graph, [random_input(graph, time_steps=3)])
    designs = explore(graph, activity, spec(), space=replace(SPACE, array_budget=(None, 3000))).designs
    for design in designs[:: len(designs) // 17]:
        report = one_by_one(graph, activity, design.point)
        assert design.energy_pj == report.energy_pj
        assert design.latency_ns == report.latency_ns
        assert design.area_um2 == report.area_um2


def test_accumulators_have_the_figures_of_an_estimate_and_no_multiplexers(graph: IntGraph, activity: Activity) -> None:
    name = "sram_event_driven"
    space = DesignSpace(
        crossbar=(16, 32, 64),
        column_mux=(1, 2),
        encoding=("twos_complement", "offset"),
        mapping=("kernel_split", "im2col"),
    )
    found = explore(graph, activity, spec(name), space=space)
    assert len(found.designs) == 12 and len({design.latency_ns for design in found.designs}) == 4
    for design in found.designs:
        report = one_by_one(graph, activity, design.point, name=name)
        assert (design.energy_pj, design.latency_ns) == (report.energy_pj, report.latency_ns)
        assert design.area_um2 == report.area_um2
    assert {one.reason.partition(":")[0] for one in found.infeasible} == {"every weight of a row has an accumulator"}
    with pytest.raises(HardwareError, match="accumulators are as wide as each layer's weights"):
        explore(graph, activity, spec(name), space=DesignSpace(array_budget=("5 mm2",)))


def test_what_dominates_says_why(found: Exploration) -> None:
    design = found.designs[0]
    assert design.energy_in.component == "adc_conversion"
    count, _, rest = design.energy_in.why.partition(" x ")
    price = float(rest.split(" ")[0])
    assert float(count.replace(",", "")) * price == pytest.approx(design.energy_in.share * design.energy_pj, rel=0.01)
    assert "one used column" in design.energy_in.why and "um2" in design.area_in.why


def test_leakage_can_dominate(graph: IntGraph) -> None:
    """A chip whose prices are all for leakage."""
    hardware = spec()
    document = hardware.model_dump()
    document["costs"]["adc_conversion"] = {
        "energy_pj": 0.0, "area_um2": 1.0, "leakage_uw": 1.0, "latency_ns": 10.0, "source": "by this test"
    }  # fmt: skip
    for section in ("components", "costs"):
        for name, cost in document[section].items():
            if isinstance(cost, dict) and cost["energy_pj"] is not None:
                energy = cost["energy_pj"]
                cost["energy_pj"] = tuple(0.0 for _ in energy) if isinstance(energy, tuple) else 0.0
            assert name
    silent = HardwareSpec.model_validate(document)
    (design,) = explore(graph, assume(graph, rate=0.1, time_steps=1), silent, space=DesignSpace()).designs
    assert design.energy_in.component == "leakage" and design.energy_in.share == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=25))
def test_non_dominated_rows_equal_a_search_over_all_pairs(rows: list[tuple[int, ...]]) -> None:
    expected = [
        not any(all(a <= b for a, b in zip(other, row, strict=True)) and other != row for other in rows) for row in rows
    ]
    assert non_dominated(np.array(rows, dtype=np.float64)).tolist() == expected


def test_without_accuracies_exact_designs_are_compared_with_those_of_their_network(found: Exploration) -> None:
    assert all(design.point.exact for design in found.pareto)
    groups = itertools.product(SPACE.weight_bits, SPACE.membrane_bits, SPACE.time_steps)
    for weight, membrane, steps in groups:
        same = [
            one
            for one in found.designs
            if (one.point.weight_bits, one.point.membrane_bits, one.point.time_steps) == (weight, membrane, steps)
        ]
        best = min((one for one in same if one.point.exact), key=lambda one: one.energy_pj)
        assert best.pareto
    assert not all(design.pareto for design in found.designs if design.point.exact)


def test_with_accuracies_all_designs_that_have_one_are_compared(graph: IntGraph, activity: Activity) -> None:
    def accuracy(point: DesignPoint) -> float | None:
        return None if point.column_mux == 4 else 0.9 + 0.01 * (point.weight_bits or 0)

    space = replace(SPACE, adc_bits=("lossless",), encoding=("offset",), array_budget=(None,))
    designs = explore(graph, activity, spec(), space=space, accuracy=accuracy).designs
    assert all(one.point.column_mux == 8 for one in designs if one.pareto)
    assert {one.point.weight_bits for one in designs if one.pareto} == {2, 4}
    assert {one.point.time_steps for one in designs if one.pareto} == {1}


def test_designs_that_cannot_be_priced_are_kept_with_their_reason(graph: IntGraph, activity: Activity) -> None:
    space = DesignSpace(cell_bits=(2, 8), array_budget=(None, 3), column_mux=(8, 128), mapping=("kernel_split",))
    found = explore(graph, activity, spec(), space=space)
    reasons = {one.reason for one in found.infeasible}
    assert any("from 1 to 10 bits" in reason for reason in reasons)
    assert any("must hold one PE of every layer: 9 arrays" in reason for reason in reasons)
    assert any("column_mux must be at most" in reason for reason in reasons)
    assert len(found.designs) == 1


def test_a_space_without_any_design_is_an_error(graph: IntGraph, activity: Activity) -> None:
    with pytest.raises(HardwareError, match="no design of the space can be priced"):
        explore(graph, activity, spec(), space=DesignSpace(cell_bits=(8,)))


def test_an_empty_axis_keeps_what_is_there(graph: IntGraph, activity: Activity) -> None:
    (design,) = explore(graph, activity, spec(), space=DesignSpace()).designs
    assert design.point == DesignPoint(
        64, 2, "lossless", 8, "offset", "auto", "none", "row_pipeline", "+25%", None, None, 3, "jia_2020_65nm"
    )
    report = estimate(graph, activity, spec())
    assert design.energy_pj == report.energy_pj


def test_fewer_steps_are_the_first_steps(graph: IntGraph, activity: Activity) -> None:
    x = random_input(graph, time_steps=3)
    assert first_steps(activity, 2) == measure(graph, [x[:2]])
    with pytest.raises(UsageError, match="between 1 and the activity's 3 \\(got 4\\)"):
        first_steps(activity, 4)


def test_more_steps_than_the_activity_has_are_an_error(graph: IntGraph, activity: Activity) -> None:
    with pytest.raises(UsageError, match="time_steps must lie between"):
        explore(graph, activity, spec(), space=DesignSpace(time_steps=(4,)))


def test_a_value_that_no_design_can_have_is_an_error() -> None:
    with pytest.raises(UsageError, match="cell_bits must be between 1 and 8 \\(got 0\\)"):
        DesignSpace(cell_bits=(1, 0))


def test_arrays_need_not_be_square(graph: IntGraph, activity: Activity) -> None:
    """The axis takes rows and columns, is left as the description has them, and gives its figures."""
    wide = spec(crossbar={**spec().crossbar.model_dump(), "columns": 128})
    (kept,), (asked,) = (
        explore(graph, activity, hardware, space=space).designs
        for hardware, space in ((wide, DesignSpace()), (spec(), DesignSpace(crossbar=("64x128",))))
    )
    assert kept.point.crossbar == asked.point.crossbar == "64x128"
    report = estimate(graph, activity, wide)
    for design in (kept, asked):
        found = (design.energy_pj, design.latency_ns, design.area_um2)
        assert found == pytest.approx((report.energy_pj, report.latency_ns, report.area_um2), rel=1e-12)


@pytest.mark.parametrize("size", ["64x", "x64", "64x0", "64x64x64", "wide", "-4x4"])
def test_other_words_for_a_size_are_refused(size: str) -> None:
    with pytest.raises(UsageError, match="rows and columns"):
        DesignSpace(crossbar=(size,))


def test_an_activity_of_another_graph_is_an_error(activity: Activity) -> None:
    with pytest.raises(HardwareError, match="must be of the graph that is explored"):
        explore(residual_graph(seed=5), activity, spec(), space=DesignSpace())


def test_larger_arrays_of_one_resolution_never_cost_more_energy() -> None:
    """Fewer blocks of rows: fewer conversions and partial sums. 200 channels fill arrays of every size here."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((200, 6, 6), bit_width=1), 200)))
    build.readout(build.conv(x, 200), mode="steps")
    graph = build.graph()
    space = DesignSpace(crossbar=(16, 32, 64, 128, 256), adc_bits=(8,))
    designs = explore(graph, assume(graph, rate=0.2, time_steps=2), spec(), space=space).designs
    energies = [design.energy_pj for design in designs]
    assert energies == sorted(energies, reverse=True) and len(set(energies)) == 5


def test_the_csv_has_every_design_once(found: Exploration, graph: IntGraph, activity: Activity) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert len(rows) == len(found.designs)
    assert float(rows[0]["energy_pj"]) == pytest.approx(found.designs[0].energy_pj, rel=1e-9)
    assert {row["pareto"] for row in rows} == {"yes", "no"}
    assert rows[0]["adc_bits"] == "lossless" and rows[0]["array_budget"] == ""
    space = DesignSpace(cell_bits=(2, 8))
    (good, bad) = csv.DictReader(io.StringIO(csv_text(explore(graph, activity, spec(), space=space))))
    assert good["infeasible"] == "" and "from 1 to 10 bits" in bad["infeasible"] and bad["energy_pj"] == ""


def test_the_table_shows_the_axes_that_differ_and_what_was_left_out(
    graph: IntGraph, activity: Activity, found: Exploration
) -> None:
    table = pareto_table(found, rows=3)
    assert table.split("\n")[0].startswith("| no | crossbar | cell_bits | adc_bits |")
    assert len([line for line in table.split("\n") if line.startswith("| ")]) == 5
    for words in ("dominated by no other", "the CSV has all", "too coarse for exact sums", "No accuracy is given"):
        assert words in table
    small = pareto_table(explore(graph, activity, spec(), space=DesignSpace(cell_bits=(2, 8))))
    assert "1 design left out: adc_conversion is priced from 1 to 10 bits (got 14)." in small
    alone = pareto_table(explore(graph, activity, spec(), space=DesignSpace()))
    assert "1 of 1 design is dominated by no other." in alone and "options such as `--crossbar 32,64,128`" in alone
    assert "--crossbar" not in table and "--crossbar" not in small and "e+0" not in alone
    budgets = DesignSpace(cell_bits=(2, 8), array_budget=(None, 1, 2, 3, 4, 5, 6), mapping=("kernel_split",))
    assert "more left out; the CSV says why" in pareto_table(explore(graph, activity, spec(), space=budgets))


def test_a_converter_with_one_price_is_explored_at_its_own_resolution_only(graph: IntGraph, activity: Activity) -> None:
    space = DesignSpace(crossbar=(64, 128), cell_bits=(1, 4), adc_bits=("lossless", 4, 8))
    found = explore(graph, activity, spec("spikesim_fixed"), space=space)
    assert {design.point.adc_bits for design in found.designs} == {4}
    assert "adc_conversion has one price, at 4 bits (got 10)" in {one.reason for one in found.infeasible}


def test_digital_arrays_have_no_converter_and_cells_of_the_bits_that_are_priced(
    graph: IntGraph, activity: Activity
) -> None:
    space = DesignSpace(cell_bits=(1, 2), adc_bits=("lossless", 8))
    found = explore(graph, activity, spec("sram_digital"), space=space)
    assert [(design.point.cell_bits, design.point.adc_bits) for design in found.designs] == [(1, "lossless")]
    assert {one.reason for one in found.infeasible} == {
        "digital arrays sum exactly: adc_bits must be lossless (got 8)",
        "the digital cells are priced at 1 bit (got 2)",
    }


def test_a_value_given_twice_is_an_error() -> None:
    with pytest.raises(UsageError, match="crossbar must have each value once \\(got 64 more than once\\)"):
        DesignSpace(crossbar=(64, 32, 64))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "accuracies.csv"
    path.write_text(text)
    return path


POINT = DesignPoint(64, 2, "lossless", 8, "offset", "kernel_split", "none", "row_pipeline", None, 4, None, 2)


def test_accuracies_are_looked_up_by_the_axes_of_the_file(tmp_path: Path) -> None:
    accuracy = read_accuracies(written(tmp_path, "weight_bits,time_steps,accuracy\n4,2,0.91\n4.0,1,0.88\n"))
    assert accuracy(POINT) == 0.91
    assert accuracy(replace(POINT, time_steps=1)) == 0.88
    assert accuracy(replace(POINT, time_steps=3)) is None
    assert accuracy(replace(POINT, adc_bits=4)) is None  # measured on exact integers
    assert accuracy(replace(POINT, adc_bits=8)) == 0.91


def test_accuracies_with_converters_count_for_coarse_ones_too(tmp_path: Path) -> None:
    accuracy = read_accuracies(written(tmp_path, "adc_bits,accuracy\nlossless,0.9\n4,0.5\n"))
    assert (accuracy(POINT), accuracy(replace(POINT, adc_bits=4))) == (0.9, 0.5)


def test_no_budget_is_written_as_none_or_left_empty(tmp_path: Path) -> None:
    for word in ("none", "", " none "):
        accuracy = read_accuracies(written(tmp_path, f"array_budget,accuracy\n{word},0.9\n100,0.5\n"))
        assert (accuracy(POINT), accuracy(replace(POINT, array_budget=100))) == (0.9, 0.5)


def test_the_table_says_how_many_designs_have_no_accuracy(tmp_path: Path, graph: IntGraph, activity: Activity) -> None:
    space = DesignSpace(weight_bits=(2, 4), array_budget=(None, 1000))
    accuracy = read_accuracies(written(tmp_path, "weight_bits,array_budget,accuracy\n4,none,0.9\n"))
    table = pareto_table(explore(graph, activity, spec(), space=space, accuracy=accuracy))
    assert "1 of 4 designs is dominated by no other" in table and "| none | 4 |" in table
    assert "3 designs without an accuracy in the table: only designs that have one are compared." in table
    nothing = pareto_table(explore(graph, activity, spec(), space=space, accuracy=lambda _: None))
    assert "4 designs without an accuracy" in nothing and "No accuracy is given" not in nothing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_bit,accuracy\n4,0.9\n", "unknown column"),
        ("weight_bits\n4\n", "the column must be there"),
        ("weight_bits,accuracy\n4,high\n", "must lie in \\[0, 1\\] \\(got 'high'\\)"),
        ("weight_bits,accuracy\n4,91\n", "must lie in \\[0, 1\\] \\(got '91'\\)"),
        ("weight_bits,accuracy\n4,0.9\n4.0,0.8\n", "is the second row for these values"),
    ],
)
def test_a_faulty_table_of_accuracies_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidFileError, match=message):
        read_accuracies(written(tmp_path, text))


def test_a_missing_table_of_accuracies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_accuracies(tmp_path / "accuracies.csv")


@pytest.mark.usefixtures("drawn_as_shipped")
def test_the_picture_is_the_same_each_time_and_has_a_panel_for_accuracy(
    tmp_path: Path, graph: IntGraph, activity: Activity, found: Exploration
) -> None:
    some = replace(found, designs=found.designs[::16])
    write_plot(some, tmp_path / "one.svg")
    write_plot(some, tmp_path / "two.svg")
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "latency, us" in text and "area, mm2" in text and "accuracy" not in text
    space = DesignSpace(column_mux=(4, 8))
    known = explore(graph, activity, spec(), space=space, accuracy=lambda point: 0.9)
    write_plot(known, tmp_path / "known.svg")
    assert "accuracy, %" in (tmp_path / "known.svg").read_text()
    write_plot(known, tmp_path / "known.png")
    assert (tmp_path / "known.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_another_kind_is_an_error(tmp_path: Path, found: Exploration) -> None:
    with pytest.raises(UsageError, match="must end in"):
        write_plot(found, tmp_path / "designs.bmp")


def test_a_mapping_whose_items_have_no_price_is_left_out(graph: IntGraph, activity: Activity) -> None:
    """PEs of several arrays send their sums; a description of one array each need not price that."""
    document = spec(crossbar={**spec().crossbar.model_dump(), "mapping": "im2col"}).model_dump()
    for section in ("costs", "excluded"):
        document[section].pop("pe_transfer", None)
    space = DesignSpace(mapping=("kernel_split", "im2col"))
    found = explore(graph, activity, HardwareSpec.model_validate(document), space=space)
    assert [design.point.mapping for design in found.designs] == ["im2col"]
    assert [one.reason for one in found.infeasible] == [
        "rram_64x64_65nm neither prices nor excludes pe_transfer (kernel_split)"
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "must be comma-separated text in UTF-8"),
        (b"adc_bits,accuracy\n4,0.5\x00\n", "must"),
        (b'adc_bits,accuracy\n4,"0.5\n', "must"),
        (b"adc_bits,accuracy\n" + b"9" * 200_000 + b",0.5\n", "field larger than field limit"),
        (b"adc_bits,accuracy\n4\n", "the row must have 2 fields"),
        (b"adc_bits,accuracy\n4,0.5,6\n", "the row must have 2 fields"),
        (b"adc_bits,accuracy,accuracy\n4,0.5,0.6\n", "the column must be there once"),
        (b"adc_bits,accuracy\n4,nan\n", "must lie in [0, 1]"),
        (b"", "the column must be there"),
    ],
)
def test_a_damaged_table_of_accuracies_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "accuracies.csv").write_bytes(content)
    with pytest.raises(InvalidFileError) as caught:
        read_accuracies(tmp_path / "accuracies.csv")
    assert said in str(caught.value)
