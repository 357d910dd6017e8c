"""What one integer of every tensor is worth, worked out by hand on small graphs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mdcompress.errors import PlanError
from mdcompress.graph import SnnGraph
from mdcompress.planning import QuantPlan, plan
from mdcompress.planning.units import NeuronUnit, UnitPlan, ValueUnit, assign_units
from mdcompress.recipe import Recipe
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF
from tests.support.layered_network import Net, fold


def conv(in_channels: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, 1, 3, padding=1)


def planned(network: nn.Module, **membrane: object) -> tuple[SnnGraph, QuantPlan]:
    graph = trace(network, torch.rand(2, 2, 1, 8, 8))
    recipe = Recipe.model_validate({"name": "r", "quantize": {"membrane": {"bit_width": 8, **membrane}}})
    return graph, plan(recipe, graph)


def units_of(network: nn.Module, **membrane: object) -> UnitPlan:
    return assign_units(*planned(network, **membrane))


def test_spikes_count_one_and_average_pools_count_their_windows() -> None:
    """A 2x2 average of 0/1 is a sum of 0..4 worth 1/4 each; a 4x4 after it 0..64 worth 1/64; a max changes nothing."""
    net = Net(
        lambda m, x: fold(m.flat, fold(m.most, fold(m.wide, fold(m.small, m.neuron(fold(m.first, x)))))),
        first=conv(), neuron=IF(), small=nn.AvgPool2d(2), wide=nn.AvgPool2d(4), most=nn.MaxPool2d(1), flat=nn.Flatten(),
    )  # fmt: skip
    values = units_of(net).values
    assert values["input"] == ValueUnit(1.0, True, 255)
    assert values["neuron"] == ValueUnit(1.0, False, 1)
    assert values["small"] == ValueUnit(0.25, False, 4)
    assert values["wide"] == values["most"] == values["most.flatten"] == ValueUnit(1 / 64, False, 64)


def test_the_pooled_input_keeps_the_inputs_scale() -> None:
    net = Net(lambda m, x: m.neuron(fold(m.first, fold(m.pool, x))), pool=nn.AvgPool2d(2), first=conv(), neuron=IF())
    assert units_of(net).values["pool"] == ValueUnit(0.25, True, 4 * 255)


def _spike_sum(first: nn.Module, second: nn.Module) -> nn.Module:
    def forward(m: Net, x: Tensor) -> Tensor:
        spikes = m.neuron(fold(m.first, x))
        return fold(m.left, spikes) + fold(m.right, spikes)

    return Net(forward, first=conv(), neuron=IF(), left=first, right=second)


def test_a_sum_of_spikes_counts_to_the_sum_of_its_branches() -> None:
    assert units_of(_spike_sum(nn.MaxPool2d(2), nn.MaxPool2d(2))).values["add"] == ValueUnit(1.0, False, 2)
    pooled = units_of(_spike_sum(nn.AvgPool2d((2, 4), (2, 2), (0, 1)), nn.AvgPool2d((4, 2), (2, 2), (1, 0))))
    assert pooled.values["left"] == pooled.values["right"] == ValueUnit(1 / 8, False, 8)
    assert pooled.values["add"] == ValueUnit(1 / 8, False, 16)


def test_pools_in_another_order_give_the_same_scale() -> None:
    """1/5/7 and 1/7/5 differ in the last bit of a float; they are one scale."""
    order = [nn.AvgPool2d((1, n), stride=1, padding=(0, n // 2)) for n in (5, 7)]
    net = _spike_sum(nn.Sequential(order[0], order[1]), nn.Sequential(*[nn.AvgPool2d(p.kernel_size, 1, p.padding)
                                                                       for p in reversed(order)]))  # fmt: skip
    assert units_of(net).values["add"].largest == 2 * 35


def test_branches_of_a_spike_sum_with_other_scales_are_refused() -> None:
    with pytest.raises(PlanError, match=r"'add' adds spike tensors of different scales \(0.25 and 1\)") as caught:
        units_of(_spike_sum(nn.AvgPool2d(2), nn.MaxPool2d(2)))
    assert "pool both branches alike" in caught.value.hints[0]
    behind = [nn.Sequential(pool, conv(1)) for pool in (nn.AvgPool2d(2), nn.MaxPool2d(2))]
    assert len(units_of(_spike_sum(*behind)).streams) == 2  # the hint works: their currents are one stream


def _residual(neuron1: nn.Module, neuron2: nn.Module, *, left: nn.Module, right: nn.Module) -> nn.Module:
    def forward(m: Net, x: Tensor) -> Tensor:
        current = fold(m.first, x)
        spikes: Tensor = m.neuron2(fold(m.left, current) + fold(m.right, fold(m.second, m.neuron1(current))))
        return spikes

    return Net(forward, first=conv(), second=conv(), neuron1=neuron1, neuron2=neuron2, left=left, right=right)


def _currents(units: UnitPlan) -> dict[str, float]:
    return {name: factor for stream in units.streams for name, factor in stream.currents.items()}


def _neurons(units: UnitPlan) -> dict[str, NeuronUnit]:
    return {name: unit for stream in units.streams for name, unit in stream.readers.items()}


def _references(units: UnitPlan) -> dict[str, str | None]:
    return {stream.name: next(iter(stream.readers), None) for stream in units.streams}


def test_one_unit_serves_a_whole_residual_stream() -> None:
    units = units_of(_residual(IF(), IF(), left=nn.Identity(), right=nn.Identity()))
    assert [stream.name for stream in units.streams] == ["first"]
    assert _references(units) == {"first": "neuron1"}
    assert units.streams[0].readers == {"neuron1": NeuronUnit(1.0, 4), "neuron2": NeuronUnit(1.0, 4)}


def test_pooled_branches_carry_their_windows_in_the_unit() -> None:
    units = units_of(_residual(IF(), IF(), left=nn.AvgPool2d(2), right=nn.MaxPool2d(2)))
    assert _currents(units)["left"] == 0.25 and _currents(units)["add"] == 0.25
    assert _currents(units)["second"] == 0.25 and _currents(units)["first"] == 1.0


def test_branches_that_cannot_share_a_unit_are_refused() -> None:
    """first feeds both sides of the sum: once averaged, once not."""

    def forward(m: Net, x: Tensor) -> Tensor:
        current = fold(m.first, x)
        spikes: Tensor = m.neuron(fold(m.left, current) + fold(m.right, current))
        return spikes

    net = Net(forward, first=conv(), neuron=IF(), left=nn.AvgPool2d(2), right=nn.MaxPool2d(2))
    with pytest.raises(PlanError, match=r"meet in units .* of 'first'") as caught:
        units_of(net)
    assert "average pooling of currents" in caught.value.hints[0]


def test_guard_bits_differ_by_powers_of_two_on_one_stream() -> None:
    """Thresholds 1 and 4 at 8 bits: the second stores in steps four times as large, two guard bits more."""
    units = units_of(_residual(IF(1.0), IF(4.0), left=nn.Identity(), right=nn.Identity()))
    assert (_neurons(units)["neuron1"].guard_bits, _neurons(units)["neuron2"].guard_bits) == (4, 6)


def test_the_leakiest_neuron_lifts_the_guard_bits_of_its_stream() -> None:
    """tau = 16 needs 4 bits; a second threshold of 1/4 leaves that neuron two fewer, so that both get two more."""
    net = _residual(IF(1.0), LIF(tau=16.0, threshold=0.25), left=nn.Identity(), right=nn.Identity())
    units = units_of(net)
    assert (_neurons(units)["neuron1"].guard_bits, _neurons(units)["neuron2"].guard_bits) == (6, 4)


def test_the_input_gain_belongs_to_the_unit() -> None:
    net = Net(lambda m, x: m.neuron(fold(m.first, x)), first=conv(), neuron=LIF(tau=4.0, decay_input=True))
    (stream,) = units_of(net).streams
    assert stream.name == "first" and stream.readers["neuron"] == NeuronUnit(0.25, 4)


def test_neurons_too_different_to_share_a_stream_are_named() -> None:
    net = _residual(IF(0.001), IF(4000.0), left=nn.Identity(), right=nn.Identity())
    with pytest.raises(PlanError, match=r"neuron 'neuron2' needs 26 guard bits to share a stream") as caught:
        units_of(net)
    assert "similar thresholds" in caught.value.hints[0]


def test_currents_that_no_neuron_reads_belong_to_the_readout() -> None:
    net = Net(lambda m, x: fold(m.head, m.neuron(fold(m.first, x))).mean(0), first=conv(), neuron=IF(), head=conv())
    assert _references(units_of(net)) == {"first": "neuron", "head": None}
