"""Intervals of values, which no weight decides."""

from hypothesis import given, settings

from intsnn.graph import IntGraph
from intsnn.graph.bounds import TensorRole, bounds, carries, value_bounds
from tests.support.wide_graphs import any_graphs


@settings(max_examples=60, deadline=None)
@given(any_graphs())
def test_values_have_the_intervals_that_all_tensors_are_proved_in(graph: IntGraph) -> None:
    means, proved = carries(graph), bounds(graph)
    expected = {name: interval for name, interval in proved.items() if means[name] is TensorRole.VALUES}
    assert value_bounds(graph) == expected and graph.input.name in expected
