import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from intsnn.activity import assume
from intsnn.errors import HardwareError
from intsnn.estimation.estimation import estimate
from intsnn.estimation.events import count
from intsnn.hardware import HardwareSpec
from intsnn.hardware.chip import Duplication
from intsnn.mapping import map_graph
from intsnn.mapping.duplication import Replicable, duplicates
from tests.support.crossbar_by_hand import small_hardware
from tests.support.intgraphs import GraphBuilder, residual_graph


def test_copies_by_hand() -> None:
    """1024, 256 and 64 positions of one read; 9, 9 and 18 arrays a copy; 100 arrays leave 64 after one copy each.

    1024 -> 512 (9), 342 (18), 256 (27): now both first layers take 256. -> 205 (36), and 256 -> 128 (45), 205 -> 171
    (54), 171 -> 147 (63): one array is left.
    """
    layers = [Replicable(1024, 1, 9), Replicable(256, 1, 9), Replicable(64, 1, 18)]
    assert duplicates(layers, 100) == (7, 2, 1)


def test_a_layer_read_bit_by_bit_is_slower() -> None:
    assert duplicates([Replicable(16, 8, 1), Replicable(16, 1, 1)], 9) == (8, 1)


def test_a_budget_below_one_copy_of_each_is_an_error() -> None:
    with pytest.raises(HardwareError, match="one copy of every layer, 4 arrays \\(got 3\\)"):
        duplicates([Replicable(8, 1, 3), Replicable(8, 1, 1)], 3)


def test_copies_end_where_every_position_has_its_own() -> None:
    assert duplicates([Replicable(4, 1, 1), Replicable(2, 1, 1)], 1000) == (4, 2)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.builds(Replicable, st.integers(1, 7), st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3),
    st.integers(0, 20),
)
def test_greedy_is_as_fast_as_the_best_of_all_choices(layers: list[Replicable], spare: int) -> None:
    budget = sum(layer.arrays for layer in layers) + spare
    chosen = duplicates(layers, budget)

    def slowest(copies: Sequence[int]) -> int:
        return max(layer.reads_with(number) for layer, number in zip(layers, copies, strict=True))

    def arrays(copies: Sequence[int]) -> int:
        return sum(layer.arrays * number for layer, number in zip(layers, copies, strict=True))

    every = itertools.product(*(range(1, layer.positions + 1) for layer in layers))
    assert arrays(chosen) <= budget
    assert slowest(chosen) == min(slowest(copies) for copies in every if arrays(copies) <= budget)


def with_budget(arrays: int | str | None) -> HardwareSpec:
    hardware = small_hardware(rows=64, columns=64, cell_bits=2)
    return HardwareSpec.model_validate({**hardware.model_dump(), "duplication": {"arrays": arrays}})


def test_copies_are_built_and_leave_the_events_alone() -> None:
    graph = residual_graph()
    activity = assume(graph, rate=0.2, time_steps=2)
    single, many = (map_graph(graph, with_budget(arrays)) for arrays in (None, 200))
    assert single.arrays < many.arrays <= 200
    assert count(single, activity).events == count(many, activity).events
    for one, more in zip(single.layers, many.layers, strict=True):
        assert more.arrays == one.arrays * more.copies and more.pes == one.pes * more.copies
        assert more.utilisation == one.utilisation
    fast, slow = (estimate(graph, activity, with_budget(arrays)) for arrays in (200, None))
    assert fast.latency_ns < slow.latency_ns and fast.area_um2 > slow.area_um2
    assert any("Copies that work side by side" in note for note in fast.notes)
    assert [node.copies for node in fast.nodes if node.copies] == [layer.copies for layer in many.layers]


@pytest.mark.parametrize(("more", "arrays"), [("+0%", 0), ("+5%", 5), ("+12.5%", 13), ("+99%", 105), ("+100%", 107)])
def test_a_budget_may_be_so_many_more_arrays_than_one_copy_takes(more: str, arrays: int) -> None:
    assert Duplication(arrays=more).budget(107, 0.0) == 107 + arrays


@pytest.mark.parametrize("wrong", ["5%", "+5", "+%", "+-5%", "+1e2%", ""])
def test_other_words_for_a_budget_are_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Duplication(arrays=wrong)


def test_a_layer_read_once_for_all_steps_needs_fewer_copies() -> None:
    """Input of 8 bits, 25 positions: 200 reads a step against 25 of the second layer; held over 8 steps they are equal.

    100 arrays more than one copy: without holding they go to the first layer until it is as fast as the second.
    """
    build = GraphBuilder(np.random.default_rng(0))
    x = build.neuron(build.requant(build.conv(build.input((1, 5, 5), bit_width=8), 2, bit_width=2)))
    build.readout(build.conv(x, 2, bit_width=2))
    hardware = with_budget("+300%")
    held = HardwareSpec.model_validate(
        {**hardware.model_dump(), "buffers": {"input_reuse": "none", "constant_input": "hold"}}
    )
    repeated = [layer.copies for layer in map_graph(build.graph(), hardware, constant_steps=8).layers]
    once = [layer.copies for layer in map_graph(build.graph(), held, constant_steps=8).layers]
    assert repeated[0] > repeated[1] and once[0] == once[1] > 1
