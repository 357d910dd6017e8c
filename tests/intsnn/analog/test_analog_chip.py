"""Chips: a network on cells that are not ideal, its seeds, its reads, and what calibration mends."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from intsnn.activity import measure
from intsnn.analog import load_analog, make_chip, run_analog, shipped_analog
from intsnn.analog.inference import AnalogChip, is_undisturbed
from intsnn.analog.spec import AnalogSpec, Converters
from intsnn.arithmetic import IntArray
from intsnn.engines import InterpreterSession
from intsnn.errors import UsageError
from intsnn.estimation.events import count
from intsnn.execution.interpreter import run
from intsnn.graph import IntGraph, Synapse
from intsnn.hardware import HardwareSpec
from intsnn.hardware.catalogue import Item
from intsnn.hardware.chip import Encoding, Gating, KernelMapping
from intsnn.mapping import map_graph
from tests.support.analog_cases import Parts, analog, drift, reading, relative_programming, stuck, wires, with_adc
from tests.support.crossbar_by_hand import ENCODINGS, pulses, small_hardware
from tests.support.intgraphs import GraphBuilder, dense_graph, random_input, residual_graph

HARDWARE = small_hardware(rows=16, columns=16, cell_bits=2)


def differences(
    graph: IntGraph,
    spec: AnalogSpec,
    *,
    hardware: HardwareSpec = HARDWARE,
    seed: int = 0,
    calibration: IntArray | None = None,
) -> float:
    """Share of spikes and membranes that differ from the exact ones."""
    x = random_input(graph)
    found = run_analog(make_chip(graph, hardware, spec=spec, seed=seed, calibration=calibration), x).trace
    exact = run(graph, x)
    return float(np.mean([(found.membranes[name] != exact.membranes[name]).mean() for name in exact.membranes]))


def no_effect() -> AnalogSpec:
    """Every part is there and does nothing."""
    return analog(
        programming=relative_programming(0.0),
        drift=drift(after_s=0, spread=0.01, compensation="global"),
        reading=reading(),
        stuck=stuck(0, 0),
        wires=wires(0, 0),
        column_gains="calibrated",
    )


@pytest.mark.parametrize("graph", [dense_graph(), residual_graph()])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("minimum", [0.0, 4.0])
def test_parts_of_size_zero_are_ideal(graph: IntGraph, encoding: Encoding, minimum: float) -> None:
    spec = no_effect().model_copy(update={"conductance": analog(minimum_us=minimum).conductance})
    hardware = small_hardware(rows=16, columns=16, cell_bits=4, encoding=encoding)  # 4 cells hold every magnitude
    assert differences(graph, spec, hardware=hardware, calibration=random_input(graph)) == 0
    assert all(spikes.any() for spikes in run(graph, random_input(graph)).spikes.values())


@pytest.mark.parametrize(
    "part",
    [
        {"programming": relative_programming(0.2)},
        {"drift": drift()},
        {"reading": reading(of_maximum=0.2)},
        {"reading": reading(slow=0.03, drawn="once")},
        {"stuck": stuck(0.05, 0.05)},
        {"wires": wires(200, 200)},
        {"converters": Converters(range="full_scale", noise_codes=1.0, source="a")},
        {"converters": Converters(range="calibrated", percentile=30.0, source="a")},
    ],
    ids=lambda part: next(iter(part)),
)
def test_each_effect_changes_the_network(part: Parts) -> None:
    graph = residual_graph()
    hardware = with_adc(HARDWARE, 3) if "converters" in part else HARDWARE
    assert differences(graph, analog(**part), hardware=hardware, calibration=random_input(graph)) > 0


def test_few_converter_bits_change_the_network_and_enough_do_not() -> None:
    graph = residual_graph()
    found = [differences(graph, analog(), hardware=with_adc(HARDWARE, bits)) for bits in (2, 4, 6)]
    assert found[0] > found[1] > found[2] == 0


def test_more_noise_makes_more_differences_on_average() -> None:
    graph, sigmas = residual_graph(), (0.0, 0.03, 0.1, 0.3)
    means = [
        np.mean([differences(graph, analog(programming=relative_programming(s)), seed=seed) for seed in range(6)])
        for s in sigmas
    ]
    assert means[0] == 0 and means == sorted(means) and means[-1] > 0.1


def test_a_seed_decides_chip_and_reading() -> None:
    graph, x = residual_graph(), random_input(residual_graph())
    spec = analog(programming=relative_programming(0.05), reading=reading(of_maximum=0.1))
    first, again, other = (run_analog(make_chip(graph, HARDWARE, spec=spec, seed=seed), x).trace for seed in (5, 5, 6))
    chip = make_chip(graph, HARDWARE, spec=spec, seed=5)
    for trace in (again, run_analog(chip, x).trace, run_analog(chip, x).trace):
        assert all(np.array_equal(first.membranes[name], trace.membranes[name]) for name in first.membranes)
    assert any(not np.array_equal(first.membranes[name], other.membranes[name]) for name in first.membranes)


def wide_layer() -> IntGraph:
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((100,), bit_width=1), 40), mode="steps")
    return build.graph()


def test_read_noise_is_new_in_each_step_and_a_programmed_cell_is_not() -> None:
    graph, hardware = wide_layer(), small_hardware(rows=64, columns=64, cell_bits=2)
    x = np.ones((6, 1, 100), np.int64)
    fresh = analog(reading=reading(of_maximum=0.05))
    stays = analog(reading=reading(of_maximum=0.05, drawn="once"), programming=relative_programming(0.05))
    noisy = run_analog(make_chip(graph, hardware, spec=fresh), x).trace.output
    fixed = run_analog(make_chip(graph, hardware, spec=stays), x).trace.output
    assert all((noisy[t] != noisy[0]).any() for t in range(1, 6))
    assert (fixed == fixed[0]).all() and (fixed[0] != run(graph, x).output[0]).any()


def test_read_noise_of_a_column_has_the_variance_of_its_active_cells() -> None:
    """64 rows of +7 in one cell: sums of 30 pulses deviate by sqrt(30) * 0.02 * 15 levels (15 levels = G_max)."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((64,), bit_width=1)
    build.linear(x, 50)
    object.__setattr__(build.nodes[-1], "weight", np.full((50, 64), 7))
    build.readout(build.nodes[-1].name, mode="steps")
    hardware = small_hardware(rows=64, columns=64, cell_bits=4)
    spikes = np.zeros((200, 1, 64), np.int64)
    spikes[:, :, :30] = 1
    chip = make_chip(build.graph(), hardware, spec=analog(reading=reading(of_maximum=0.02)))
    output = run_analog(chip, spikes).trace.output
    assert output.mean() == pytest.approx(210, abs=0.1)
    assert output.std() == pytest.approx(np.sqrt(30 * (0.02 * 15) ** 2 + 1 / 12), rel=0.03)  # 1/12: rounding


def noisy_spec() -> AnalogSpec:
    return analog(programming=relative_programming(0.1), reading=reading(of_maximum=0.05))


@dataclass(frozen=True)
class ChipSession(InterpreterSession):
    """The noisy network in place of the exact one."""

    chip: AnalogChip

    def spikes(self, x: npt.ArrayLike) -> dict[str, npt.NDArray[np.integer]]:
        return {name: spikes.astype(np.uint8) for name, spikes in run_analog(self.chip, x).trace.spikes.items()}


@pytest.mark.parametrize("gating", ["none", "array"])
@pytest.mark.parametrize("mapping", ["kernel_split", "im2col"])
@pytest.mark.parametrize("constant_input", ["repeat", "hold"])
def test_reads_of_a_noisy_run_are_the_events_that_the_estimator_counts(
    mapping: KernelMapping, gating: Gating, constant_input: Literal["repeat", "hold"]
) -> None:
    """The activity of the noisy network on a still input, against what the arrays really read."""
    graph = residual_graph()
    hardware = small_hardware(
        rows=16, columns=16, cell_bits=2, mapping=mapping, gating=gating, constant_input=constant_input
    )
    x, chip = random_input(graph), make_chip(residual_graph(), hardware, spec=noisy_spec())
    x = x[:1].repeat(len(x), axis=0)
    noisy, samples = run_analog(chip, x), x.shape[1]
    assert any((noisy.trace.spikes[name] != spikes).any() for name, spikes in run(graph, x).spikes.items())
    activity = measure(graph, [x], engine=ChipSession(graph, chip))
    mapping_ = map_graph(graph, hardware, constant_steps=activity.constant_steps)
    assert any(layer.held_steps == len(x) for layer in mapping_.layers) == (constant_input == "hold")
    counts = count(mapping_, activity)
    for name, reads in noisy.reads.items():
        events = {event.item: event.total for event in counts.events if event.node == name}
        assert events[Item.ROW_ACTIVATION] * samples == pytest.approx(reads.row_activations, rel=1e-12)
        conversions = reads.conversions if gating == "none" else reads.active_conversions
        assert events[Item.ADC_CONVERSION] * samples == pytest.approx(conversions, rel=1e-12)


def test_idle_arrays_are_counted_cell_by_cell() -> None:
    """Depthwise: 3 groups to an array of 3 rows; one output converts wherever any of its array's rows is driven."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input((5, 4, 4), bit_width=1)
    build.readout(build.conv(x, 5, groups=5, padding=(0, 0), bit_width=4))
    graph = build.graph()
    hardware = small_hardware(rows=3, columns=6, cell_bits=2)
    sparse = (np.random.default_rng(1).random((1, 1, 5, 4, 4)) < 0.2).astype(np.int64)
    node = graph.synapses[0]
    active = 0
    for rows in pulses(node, sparse[0, 0], bits=1):
        for k, pack in np.ndindex(9, 2):
            members = [g for g in range(5) if g // 3 == pack]
            active += 2 * len(members) * any(rows[g, 0, k] for g in members)
    reads = run_analog(make_chip(graph, hardware, spec=load_analog("ideal")), sparse).reads[node.name]
    assert (reads.active_conversions, reads.conversions) == (active, 4 * 9 * 5 * 2)
    assert 0 < active < reads.conversions


def layer_error(spec: AnalogSpec, *, hardware: HardwareSpec, calibrate: bool) -> float:
    """Root mean square error of a layer's sums, in units of their deviation."""
    graph = wide_layer()
    x, held_back = (np.random.default_rng(seed).integers(0, 2, (1, 80, 100)) for seed in (1, 2))
    chip = make_chip(graph, hardware, spec=spec, calibration=x if calibrate else None)
    exact = run(graph, held_back).output
    found = run_analog(chip, held_back).trace.output
    return float(np.sqrt(((found - exact) ** 2).mean()) / exact.std())


def test_column_gains_remove_most_of_the_loss_in_the_wires() -> None:
    hardware = small_hardware(rows=64, columns=64, cell_bits=2)
    mesh, minimum = wires(2, 2), 0.5
    plain = layer_error(analog(minimum_us=minimum, wires=mesh), hardware=hardware, calibrate=False)
    mended = layer_error(
        analog(minimum_us=minimum, wires=mesh, column_gains="calibrated"), hardware=hardware, calibrate=True
    )
    assert plain > 0.5 and mended < 0.4 * plain


def test_a_calibrated_range_beats_full_scale_with_few_bits() -> None:
    hardware = with_adc(small_hardware(rows=64, columns=64, cell_bits=4), 5)
    sparse = Converters(range="calibrated", percentile=99.5, source="a")
    full = layer_error(analog(), hardware=hardware, calibrate=False)
    mended = layer_error(analog(converters=sparse), hardware=hardware, calibrate=True)
    assert mended < 0.8 * full


def test_a_chip_that_has_to_see_data_refuses_to_run_without() -> None:
    with pytest.raises(UsageError, match="needs inputs to calibrate"):
        make_chip(wide_layer(), HARDWARE, spec=load_analog("rram_wires_1ohm"))


def test_arrays_without_converters_are_not_analog() -> None:
    crossbar = HARDWARE.crossbar.model_copy(update={"readout": "adder_tree"})
    with pytest.raises(UsageError, match="digital and exact"):
        make_chip(wide_layer(), HARDWARE.model_copy(update={"crossbar": crossbar}), spec=analog())


@pytest.mark.parametrize("name", shipped_analog())
def test_every_shipped_description_runs_every_layer(name: str) -> None:
    graph, x = residual_graph(), random_input(residual_graph())
    noisy = run_analog(make_chip(graph, HARDWARE, spec=load_analog(name), calibration=x), x)
    assert list(noisy.reads) == [node.name for node in graph if isinstance(node, Synapse)]
    assert all(spikes.any() for spikes in noisy.trace.spikes.values())
    assert noisy.trace.output.shape == (3, 3)


UNDISTURBED = [
    analog(),
    analog(minimum_us=2, programming=relative_programming(0.0), reading=reading(), stuck=stuck(0, 0)),
    load_analog("ideal"),
    load_analog("rram_wan_1day").scaled(0),
    analog(converters=Converters(range="calibrated", percentile=99, source="test")),
]
DISTURBED = [
    load_analog("rram_wan_1day"),
    load_analog("rram_wires_1ohm"),
    load_analog("pcm_nandakumar_1day").scaled(0),  # its mean drift stays
    analog(programming=relative_programming(0.01)),
    analog(drift=drift()),
    analog(reading=reading(of_maximum=0.01)),
    analog(reading=reading(slow=0.01)),
    analog(stuck=stuck(0, 0.01)),
    analog(wires=wires(0, 0)),
    analog(converters=Converters(range="full_scale", noise_codes=0.1, source="test")),
    analog(column_gains="calibrated"),
]


@pytest.mark.parametrize("spec", UNDISTURBED)
@pytest.mark.parametrize("graph", [dense_graph(), residual_graph()])
def test_a_chip_that_nothing_disturbs_gives_the_exact_trace(graph: IntGraph, spec: AnalogSpec) -> None:
    assert is_undisturbed(spec, HARDWARE)
    x = random_input(graph)
    found, exact = run_analog(make_chip(graph, HARDWARE, spec=spec, calibration=x), x).trace, run(graph, x)
    assert np.array_equal(found.output, exact.output)
    for name, spikes in exact.spikes.items():
        assert np.array_equal(found.spikes[name], spikes)
        assert np.array_equal(found.membranes[name], exact.membranes[name])


@pytest.mark.parametrize("spec", DISTURBED)
def test_every_part_that_may_change_a_sum_disturbs(spec: AnalogSpec) -> None:
    assert not is_undisturbed(spec, HARDWARE)


def test_converters_that_join_sums_disturb() -> None:
    assert not is_undisturbed(analog(), with_adc(HARDWARE, 3))
