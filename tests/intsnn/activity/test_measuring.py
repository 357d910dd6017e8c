"""Counts on bit planes against counts value by value, on any graph, cut and number of samples."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intsnn.activity import Activity, measure
from intsnn.activity.counting import CompiledCounting, NumpyCounting, counting_for
from intsnn.activity.occupancy import Cut
from intsnn.arithmetic import IntArray
from intsnn.engines import EngineName, InterpreterSession
from intsnn.errors import UsageError
from intsnn.graph import IntGraph
from tests.support.activity_by_hand import Counts, counts_by_hand
from tests.support.compilers import hide_compilers
from tests.support.graph_builder import GraphBuilder, NeuronOptions
from tests.support.intgraphs import graph_inputs, random_input, residual_graph
from tests.support.wide_graphs import any_graphs

CUTS = st.lists(
    st.builds(Cut, st.sampled_from(("kernel_split", "im2col")), st.integers(1, 40), st.integers(1, 4)), max_size=4
)


def counts_of(activity: Activity) -> Counts:
    """The lists of counts by name."""
    found: Counts = {neuron.name: [neuron.spikes] for neuron in activity.neurons}
    for one in activity.synapses:
        occupied = [steps for seen in one.occupancy for steps in (seen.arrays, seen.pes, seen.outputs)]
        found[one.name] = [one.active_inputs, one.row_activations, one.row_pulses, one.input_sum, *occupied]
    for product in activity.products:
        found[product.name] = [product.active_left, product.active_right, product.active_pairs]
    return found


def require_equal_by_hand(graph: IntGraph, x: IntArray, activity: Activity) -> None:
    cuts = {one.name: [seen.cut for seen in one.occupancy] for one in activity.synapses}
    assert counts_of(activity) == counts_by_hand(graph, x, cuts.__getitem__)


@pytest.fixture(params=["numpy", "compiled"])
def counting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Count by NumPy or by C, however little there is to count."""
    enough = 0 if request.param == "compiled" else 10**18
    monkeypatch.setattr("intsnn.activity.counting._WORTH_ASKING", enough)
    monkeypatch.setattr("intsnn.activity.counting._WORTH_COMPILING", 0)
    name: str = request.param
    return name


def test_counting_is_done_in_both_ways(counting: str) -> None:
    kind = CompiledCounting if counting == "compiled" else NumpyCounting
    assert isinstance(counting_for(1), kind)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), any_graphs(), CUTS)
def test_counts_equal_those_value_by_value(
    counting: str, data: st.DataObject, graph: IntGraph, cuts: list[Cut]
) -> None:
    x = data.draw(graph_inputs(graph))
    require_equal_by_hand(graph, x, measure(graph, [x], cuts=cuts))


@pytest.mark.parametrize("samples", [1, 63, 64, 65, 130])
def test_any_number_of_samples_is_counted(counting: str, samples: int) -> None:
    graph = residual_graph()
    x = random_input(graph, samples=samples)
    activity = measure(graph, [x])
    assert activity.mean_rate > 0
    require_equal_by_hand(graph, x, activity)


def test_little_memory_changes_no_count(counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = residual_graph()
    x = random_input(graph, samples=9)
    whole = measure(graph, [x])
    monkeypatch.setattr("intsnn.activity.measuring._VALUES_AT_ONCE", 1)
    assert measure(graph, [x]) == whole


def test_a_still_image_is_counted_as_often_as_it_is_shown(counting: str) -> None:
    graph = residual_graph()
    x = random_input(graph, time_steps=1).repeat(5, axis=0)
    require_equal_by_hand(graph, x, measure(graph, [x]))


def graph_between_spikes(seed: int = 8) -> IntGraph:
    """All that may lie between spikes and a synapse: sums, maxima, products, of counts and of signed values."""
    build = GraphBuilder(np.random.default_rng(seed))
    x = build.input((4, 6, 6), bit_width=3, signed=True)
    current = build.requant(build.conv(x, 4))
    binary, counts = build.neuron(current), build.neuron(current, options=NeuronOptions("floor", 3))
    both = build.concat(build.add(binary, counts), build.slice(counts, 0, 1, 3))
    pooled = build.pool(build.pool(both, "max", padding=(1, 1)), "sum", kernel=(2, 2), stride=(1, 1))
    signed = build.pool(build.multiply(x, counts), "max")
    gated = build.multiply(binary, build.multiply(binary, counts), mode="inhibit")
    first = build.neuron(build.requant(build.conv(pooled, 3)))
    second = build.neuron(build.requant(build.conv(signed, 3)))
    third = build.neuron(build.requant(build.linear(build.sum(build.transpose(gated, 1, 0, 2), 1), 3)))
    product = build.matmul(build.reshape(second, 3, 9), build.reshape(build.slice(x, 2, 0, 3), 9, 8))
    heads = [build.flatten(each) for each in (first, second, third, product)]
    build.readout(build.linear(build.concat(*heads), 2))
    return build.graph()


def test_all_that_lies_between_spikes_and_synapses_is_recomputed(counting: str) -> None:
    graph = graph_between_spikes()
    x = random_input(graph, samples=5)
    activity = measure(graph, [x])
    assert all(neuron.rate > 0 for neuron in activity.neurons)
    require_equal_by_hand(graph, x, activity)


@pytest.mark.parametrize("engine", ["native", "onnxruntime", "interpreter", "auto"])
def test_every_engine_gives_the_same_activity(engine: EngineName) -> None:
    graph = graph_between_spikes()
    x = random_input(graph, samples=5)
    assert measure(graph, [x], engine=engine) == measure(graph, [x], engine=InterpreterSession(graph))


def test_batches_that_come_one_by_one_are_measured() -> None:
    graph = residual_graph()
    x = random_input(graph, samples=4)

    def batches() -> Iterator[IntArray]:
        yield x[:, :3]
        yield x[:, 3:]

    assert measure(graph, batches()) == measure(graph, [x])


def test_an_engine_that_there_is_not_is_an_error() -> None:
    with pytest.raises(UsageError, match="engine must be one of auto, native, onnxruntime, interpreter"):
        measure(residual_graph(), [random_input(residual_graph())], engine="gpu")  # type: ignore[arg-type]  # it is refused


def test_without_a_compiler_numpy_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_compilers(monkeypatch)
    assert isinstance(counting_for(10**12), NumpyCounting)


def test_little_is_counted_by_numpy_until_the_c_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(tmp_path))
    assert isinstance(counting_for(10**8), NumpyCounting)
    assert isinstance(counting_for(10**12), CompiledCounting)
    assert isinstance(counting_for(10**8), CompiledCounting)


class SeeingSession(InterpreterSession):
    """The interpreter, which notes the type of what it is given."""

    seen: ClassVar[list[np.dtype[np.generic]]] = []

    def spikes(self, x: npt.ArrayLike) -> dict[str, npt.NDArray[np.integer]]:
        """As the interpreter."""
        self.seen.append(np.asarray(x).dtype)
        return super().spikes(x)


def test_input_stays_in_its_type_and_every_type_counts_the_same() -> None:
    graph = residual_graph()
    x = random_input(graph)
    activities = [
        measure(graph, [x.astype(kind)], engine=SeeingSession(graph)) for kind in (np.uint8, np.int16, np.int64)
    ]
    assert SeeingSession.seen == [np.uint8, np.int16, np.int64]
    assert activities[0] == activities[1] == activities[2] and activities[0].mean_rate > 0
