"""Scales from data: which data are taken, what they find, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from intsnn.errors import InputError
from mdcompress.adapters import simulate
from mdcompress.calibration import calibrate
from mdcompress.calibration.stream_units import widen_to_bounds
from mdcompress.compression import compress
from mdcompress.errors import CalibrationError
from mdcompress.evaluation.verification import verify
from mdcompress.layers.neuron import MembraneUnit
from mdcompress.planning import plan
from mdcompress.recipe import Recipe
from mdcompress.student import Student
from mdcompress.student.quantizing import quantize
from mdcompress.tracing import trace
from mdcompress.zoo import LIF, digits_snn
from tests.support.narrowed import batch_norm, statistics


def data(*, seed: int = 0, samples: int = 8) -> Tensor:
    return torch.rand(4, samples, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def fresh(**membrane: object) -> Student:
    torch.manual_seed(0)
    network = digits_snn(channels=4)
    graph = trace(network, data())
    recipe = Recipe.model_validate({"name": "r", "quantize": {"membrane": {"bit_width": 4, **membrane}}})
    return quantize(network, graph, plan(recipe, graph))


@pytest.fixture(scope="module")
def once() -> Student:
    return calibrate(fresh(), [data()])


def same(left: Student, right: Student) -> bool:
    states = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in states)


# --- which data ------------------------------------------------------------------------------------------------------


def test_the_same_data_twice_give_the_same_scales(once: Student) -> None:
    assert same(once, calibrate(fresh(), [data()]))


def test_calibrating_again_on_the_same_data_moves_little(once: Student) -> None:
    """From the second time on the norms hold statistics of the data: scales settle, they do not drift."""
    twice = calibrate(copy.deepcopy(once), [data()])
    thrice = calibrate(copy.deepcopy(twice), [data()])
    for name, unit in twice.units.items():
        assert 0.8 < float((thrice.units[name]() / unit()).detach()) < 1.25, name
    assert torch.equal(thrice.input.scale, once.input.scale)


def test_batches_may_come_from_a_generator_with_or_without_labels(once: Student) -> None:
    def batches() -> Iterator[Tensor]:
        yield data()

    labelled = [(data(), torch.zeros(8, dtype=torch.int64))]
    assert same(once, calibrate(fresh(), batches())) and same(once, calibrate(fresh(), labelled))
    assert same(once, calibrate(fresh(), [[data(), "anything"]]))  # type: ignore[list-item]  # nothing but x is read of a batch


def test_the_order_of_equal_batches_does_not_matter_for_scales() -> None:
    forth = calibrate(fresh(), [data(seed=1), data(seed=2)])
    back = calibrate(fresh(), [data(seed=2), data(seed=1)])
    assert torch.equal(forth.input.scale, back.input.scale)
    for name, unit in forth.units.items():
        assert torch.equal(unit(), back.units[name]())


def test_a_student_keeps_its_mode_and_is_returned() -> None:
    student = fresh().train()
    student.synapse("head").eval()
    assert calibrate(student, [data()]) is student
    assert student.training and not student.synapse("head").training and student.synapse("stem.conv").training


@pytest.mark.parametrize("batches", [[], [torch.zeros(4, 0, 1, 8, 8)]])
def test_no_data_are_an_error(batches: list[Tensor]) -> None:
    with pytest.raises(CalibrationError, match="at least one sample") as caught:
        calibrate(fresh(), batches)
    assert "training data" in caught.value.hints[0]


def test_data_without_a_value_are_an_error_and_change_nothing() -> None:
    student = fresh()
    state = copy.deepcopy(student.state_dict())
    for x, says in ((torch.zeros(2, 2, 1, 8, 8), "non-zero value"), (torch.full((2, 2, 1, 8, 8), torch.nan), "finite")):
        with pytest.raises(CalibrationError, match=says):
            calibrate(student, [x])
    assert all(torch.equal(value, student.state_dict()[name]) for name, value in state.items())


def test_data_of_another_shape_are_an_error_and_leave_the_mode() -> None:
    student = fresh().train()
    with pytest.raises(InputError, match=r"\[T, N, 1, 8, 8\]"):
        calibrate(student, [torch.rand(8, 1, 8, 8)])
    assert student.training


# --- what they find --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "bits", "signed", "scale"),
    [
        (data(), 8, False, None),
        ((data() * 255).round() / 255, 8, False, 1 / 255),
        ((data() * 16).round() / 16, 5, False, 1 / 16),
        ((data() > 0.5).float(), 1, False, 1.0),
        ((data() * 6).floor(), 8, False, 1.0),
        (data() * 2 - 1, 8, True, None),
        (torch.sign(data() - 0.5), 2, True, 1.0),
    ],
    ids=["image", "image of 255ths", "grid of 16ths", "spikes", "counts", "signed", "signed events"],
)
def test_data_of_every_kind_are_calibrated_and_exact(x: Tensor, bits: int, signed: bool, scale: float | None) -> None:
    student = calibrate(fresh(), [x]).eval()
    assert (student.input.word().bit_width, student.input.word().signed) == (bits, signed)
    assert float(student.input.scale) == pytest.approx(scale or float(x.abs().max()) / (127 if signed else 255))
    report = verify(student, x)
    assert report.equal and report.spikes > 0


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_membrane_range_loses_least_among_its_neighbours(bits: int) -> None:
    """Brute force on one neuron: quantize the float membranes at every range that calibration tries.

    An error counts whole above -threshold and 3 % below, so that 8 bits hold what lies there and 2 bits do not.
    """
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 40), LIF(tau=4.0, reset="soft"))
    x = 2 * torch.rand(6, 50, 6)
    graph = trace(network, x)
    recipe = Recipe.model_validate(
        {"name": "r", "quantize": {"membrane": {"bit_width": bits}, "batch_norm": {"scale_bit_width": 16}}}
    )
    student = calibrate(quantize(network, graph, plan(recipe, graph)), [x])
    unit, half = student.units["0"], 2 ** (bits - 1)
    assert isinstance(unit, MembraneUnit)
    found = float(unit.quantizer.scale().detach()) * half
    with torch.no_grad():
        run = simulate(graph.node("1").spec, network[0](x))  # type: ignore[arg-type]
    membranes = run.potentials - run.spikes

    def loss(stored_range: float) -> float:
        scale = stored_range / half
        stored = (membranes / scale + 0.5).floor().clamp(-half, half - 1) * scale
        near, whole = membranes.clamp_min(-1.0) - stored.clamp_min(-1.0), membranes - stored
        return float((near.square() + 0.03 * whole.square()).mean())

    tried = [2.0 ** (step / 8) for step in range(-12, 25)]
    best = min(tried, key=loss)
    assert loss(found) <= 1.05 * loss(best), (found, best)
    assert loss(2 * found) > loss(found) and loss(found / 2) > loss(found)
    lowest = -float(membranes.min())
    assert (found > 0.7 * lowest) == (bits == 8)


@pytest.mark.parametrize("scale", ["learned", "calibrated"])
def test_learned_and_calibrated_scales_start_at_the_same_place(scale: str) -> None:
    student = calibrate(fresh(scale=scale), [data()])
    reference = calibrate(fresh(), [data()])
    for name, unit in student.units.items():
        assert float(unit().detach()) == float(reference.units[name]().detach())


def test_norm_statistics_are_those_of_the_quantized_network() -> None:
    """The stem reads the input alone, so that its statistics are those of the dequantized convolution."""
    student = calibrate(fresh(), [data(seed=3), data(seed=4)])
    layer = student.synapse("stem.conv")
    weight = layer.layer.quant_weight().value.detach()
    means, variances = [], []
    for seed in (3, 4):
        x = student.input(data(seed=seed)) * student.input.scale.float()
        y = nn.functional.conv2d(x.flatten(0, 1), weight, padding=1)
        means.append(y.mean((0, 2, 3)))
        variances.append(y.var((0, 2, 3)))
    norm = batch_norm(layer.norm)
    mean, variance = statistics(norm)
    assert norm.momentum == 0.1
    assert torch.allclose(mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-6)
    assert torch.allclose(variance, torch.stack(variances).mean(0), rtol=1e-4)


def test_a_silent_network_is_calibrated_too() -> None:
    network = nn.Sequential(nn.Linear(4, 3, bias=False), LIF(threshold=1e3), nn.Linear(3, 2, bias=False))
    graph = trace(network, torch.rand(2, 2, 4))
    chosen = plan(Recipe(name="r"), graph)
    student = calibrate(quantize(network, graph, chosen), [torch.rand(3, 5, 4)]).eval()
    report = verify(student, torch.rand(3, 5, 4))
    assert report.equal and report.spikes == 0


@pytest.mark.parametrize(("weights", "inputs"), [(1e30, 1.0), (1e37, 1.0), (1.0, 1e30)])
def test_numbers_beyond_any_integer_are_an_error_of_ours(weights: float, inputs: float) -> None:
    torch.manual_seed(0)
    network, x = digits_snn(channels=4).eval(), torch.rand(4, 6, 1, 8, 8) * inputs
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(weights)
    with pytest.raises(CalibrationError, match="must be finite in integers"):
        compress(network, x, "4bit", [x])


@pytest.mark.parametrize("way", ["max", "percentile", "mse"])
def test_inputs_that_are_all_zero_are_an_error(way: str) -> None:
    x = torch.zeros(4, 6, 1, 8, 8)
    recipe = Recipe.model_validate({"name": "r", "calibrate": {"input": way}})
    with pytest.raises(CalibrationError, match="must hold a non-zero value"):
        compress(digits_snn(channels=4).eval(), x, recipe, [x])


# --- units that hold what a neuron can be sent ----------------------------------------------------------------------


def far_beyond(mode: str) -> tuple[nn.Module, Recipe]:
    """A network whose norms multiply by 1e6, and powers of two or words of 16 bits with 12 guard bits for it."""
    torch.manual_seed(0)
    network = digits_snn(channels=4)
    with torch.no_grad():
        network.train()(data())
        for module in network.eval().modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1e6)
    membrane = {"bit_width": 16, "guard_bits": 12}
    return network, Recipe.model_validate(
        {"name": "r", "quantize": {"membrane": membrane, "batch_norm": {"mode": mode}}}
    )


@pytest.mark.parametrize("mode", ["quantize", "power_of_two", "fold"])
def test_a_layer_that_can_send_more_than_sums_hold_gets_a_coarser_unit(mode: str) -> None:
    network, recipe = far_beyond(mode)
    student = compress(network, data()[:, :1], recipe, [data()])
    assert verify(student, data()).equal


def test_the_coarser_unit_is_the_largest_current_over_2_to_28() -> None:
    """By hand for conv3: it reads averaged spikes of at most 1, so it sends at most sum |w|*|g| + |b - mean*g|."""
    network, recipe = far_beyond("quantize")
    student = compress(network, data()[:, :1], recipe, [data()])
    layer = student.synapse("conv3.conv")
    assert isinstance(layer.norm, nn.BatchNorm2d) and layer.norm.running_var is not None
    assert layer.norm.running_mean is not None
    weight = layer.layer.quant_weight().value.detach().double()
    gain = (layer.norm.weight / (layer.norm.running_var + layer.norm.eps).sqrt()).detach().double()
    offset = layer.norm.bias.detach() - layer.norm.running_mean * gain
    largest = float((weight.abs().flatten(1).sum(1) * gain.abs() + offset.abs()).max())
    assert float(student.units["conv3/conv"]().detach()) == pytest.approx(largest / 2.0**28, rel=1e-5)


def test_a_unit_that_holds_all_currents_stays_as_the_membranes_want_it(once: Student) -> None:
    kept = {stream.name: float(stream.unit().detach()) for stream in once.streams}
    widen_to_bounds(once)
    assert {stream.name: float(stream.unit().detach()) for stream in once.streams} == kept
