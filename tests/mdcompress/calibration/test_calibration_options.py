"""What the `calibrate` section switches on: ranges, rounding and offsets by hand, and equality of what comes out."""

from __future__ import annotations

import copy
import itertools
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mdcompress.calibration import calibrate
from mdcompress.calibration.layer_walk import first_of, walk
from mdcompress.calibration.ranges import best_reach, percentile_of
from mdcompress.calibration.reconstruction import _columns, round_rows
from mdcompress.compression import compress
from mdcompress.errors import CalibrationError
from mdcompress.evaluation.verification import verify
from mdcompress.graph import SynapseOperator, SynapseSpec
from mdcompress.layers.neuron import MembraneUnit
from mdcompress.layers.quantizers import integer_weight, set_integer_weight, weight_limits
from mdcompress.modes import evaluating
from mdcompress.planning import plan
from mdcompress.recipe import CalibrateSpec, Recipe, WeightPolicy
from mdcompress.student import Student
from mdcompress.student.observation import observe
from mdcompress.student.quantizing import quantize
from mdcompress.tracing import trace
from mdcompress.zoo import LIF, digits_snn
from tests.support.narrowed import batch_norm
from tests.support.networks import NETWORKS, NetworkDraw, make_input, make_network, recipes


def only(**options: object) -> CalibrateSpec:
    """Nothing but these options."""
    return CalibrateSpec.model_validate({"weights": "nearest", "offsets": "keep", **options})


RECONSTRUCT, CORRECT = only(weights="reconstruct"), only(offsets="correct")


def data(*, seed: int = 0, samples: int = 16) -> Tensor:
    return torch.rand(4, samples, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


# --- ranges ----------------------------------------------------------------------------------------------------------


def test_a_percentile_by_hand() -> None:
    values = [torch.tensor([-10.0, 1.0, 2.0]), torch.tensor([[3.0], [4.0]])]
    found = [percentile_of(values, percentile) for percentile in (100, 75, 50, 1)]
    assert found == [10.0, 4.0, 3.0, 1.0]


@given(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=40), st.sampled_from([1, 7, 127]))
def test_the_best_reach_loses_no_more_than_the_largest_value(values: list[float], high: int) -> None:
    x = torch.tensor(values)

    def loss(reach: float) -> float:
        step = reach / high
        return 0.0 if step == 0 else float(((x - (x / step).round().clamp(-high, high) * step) ** 2).sum())

    largest = float(x.abs().max())
    assert loss(best_reach([x], high=high)) <= loss(largest) + 1e-5
    assert 0.0 <= best_reach([x], high=high) <= largest * 1.000001


def test_an_input_with_an_outlier_is_resolved_where_the_data_are() -> None:
    """One pixel in 16,384 is 50: 8 bits up to 50 have steps of 0.2, up to the 99.9th percentile of 0.004."""
    x = data(samples=64)
    x[0, 0, 0, 0, 0] = 50.0
    scales = {}
    for input_ in ("max", "percentile", "mse"):
        student = calibrate(fresh(), [x], spec=only(input=input_))
        scales[input_] = float(student.input.scale)
        assert verify(student.eval(), x).equal
    assert scales["max"] == pytest.approx(50 / 255)
    assert scales["percentile"] == pytest.approx(1.0 / 255, rel=0.02)
    assert scales["mse"] < scales["max"]


def test_inputs_on_a_grid_keep_it_whatever_is_asked_for() -> None:
    student = calibrate(fresh(), [(data() * 16).round() / 16], spec=only(input="percentile", percentile=50))
    assert float(student.input.scale) == pytest.approx(1 / 16)


@pytest.mark.parametrize("way", ["percentile", "mse"])
def test_where_most_inputs_are_zero_the_others_say_how_far_the_integers_reach(way: str) -> None:
    """Of 200,704 values 300 are not 0: the percentile is 0, and none of them need be among those sampled."""
    x, others = torch.zeros(4, 784, 1, 8, 8), 0.5 + torch.rand(300, generator=torch.Generator().manual_seed(0))
    x.view(-1)[1:600:2] = others
    student = calibrate(fresh(), [x], spec=only(input=way, percentile=50))
    expected = float(others.sort().values[150]) if way == "percentile" else float(others.max())
    assert float(student.input.scale) * 255 == pytest.approx(expected, rel=1e-3)
    assert verify(student.eval(), x[:, :8]).equal


def test_a_percentile_of_the_membranes_has_the_largest_integer() -> None:
    """Brute force on one neuron layer: 100 % of its stored potentials have an integer, nothing clips."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 40), LIF(tau=4.0, reset="soft", decay_input=True), nn.Linear(40, 3))
    x = 4 * torch.rand(6, 50, 6)
    graph = trace(network, x)
    recipe = Recipe.model_validate({"name": "r", "quantize": {"membrane": {"bit_width": 5}}})
    ranges = {}
    for percentile in (100.0, 90.0):
        spec = only(membrane="percentile", percentile=percentile)
        student = calibrate(quantize(network, graph, plan(recipe, graph)), [x], spec=spec)
        unit = student.units["0"]
        assert isinstance(unit, MembraneUnit)
        ranges[percentile] = float(unit.quantizer.scale().detach()) * 15
    v = torch.zeros(50, 40)
    stored = []
    with torch.no_grad():
        for current in network[0](x):
            v = v + (current - v) / 4.0
            v = v - (v >= 1.0).float()
            stored.append(v.abs().flatten())
    values = np.sort(torch.cat(stored).numpy())
    assert ranges[100.0] == pytest.approx(float(values[-1]), rel=0.02)
    assert ranges[90.0] == pytest.approx(float(values[round(0.9 * (len(values) - 1))]), rel=0.02)


# --- rounding for the membrane ---------------------------------------------------------------------------------------


def fresh(**quantize_: object) -> Student:
    torch.manual_seed(0)
    network = digits_snn(channels=4)
    graph = trace(network, data())
    recipe = Recipe.model_validate({"name": "r", "quantize": {"weight": {"bit_width": 3}, **quantize_}})
    return quantize(network, graph, plan(recipe, graph))


def test_an_error_is_made_up_for_by_the_next_weight_by_hand() -> None:
    """Two inputs that always come together: 0.4 + 0.4 is 1, not 0; the first rounds down, the second up."""
    weight, gram = torch.tensor([[0.4, 0.4]], dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    found = round_rows(weight, torch.ones(1, dtype=torch.float64), gram, WeightPolicy(bit_width=4))
    assert sorted(found.values[0].tolist()) == [0.0, 1.0]
    assert float(found.scale) == pytest.approx(0.8)  # 0.8 * 1 is the sum that was wanted
    alone = round_rows(weight, torch.ones(1, dtype=torch.float64), torch.eye(2).double(), WeightPolicy(bit_width=4))
    assert alone.values[0].tolist() == [0.0, 0.0], "inputs that have nothing to do with each other round by themselves"


GRAMS = st.integers(0, 10_000)


def drawn(seed: int, *, inputs: int = 5, samples: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    traces = torch.rand(samples, inputs, generator=generator, dtype=torch.float64) @ mixing
    return torch.randn(3, inputs, generator=generator, dtype=torch.float64), traces


@settings(max_examples=60, deadline=None)
@given(seed=GRAMS, bits=st.sampled_from([1.58, 2, 3, 8]), granularity=st.sampled_from(["per_channel", "per_tensor"]))
def test_no_row_is_worse_than_its_nearest_integers(
    seed: int, bits: float, granularity: Literal["per_tensor", "per_channel"]
) -> None:
    weight, traces = drawn(seed)
    policy = WeightPolicy(bit_width=bits, granularity=granularity)
    low, high = weight_limits(policy)
    scale = weight.abs().amax(1) / high if granularity == "per_channel" else (weight.abs().amax() / high).expand(3)
    found = round_rows(weight, scale, traces.T @ traces, policy)
    nearest = (weight / scale[:, None]).round().clamp(low, high) * scale[:, None]
    lost = ((weight - found.values * found.scale[:, None]) @ traces.T).square().sum(1)
    assert bool((lost <= ((weight - nearest) @ traces.T).square().sum(1) * (1 + 1e-9) + 1e-12).all())
    assert torch.equal(found.values, found.values.round()) and bool((found.scale > 0).all())
    assert low <= int(found.values.min()) and int(found.values.max()) <= high
    assert granularity == "per_channel" or torch.equal(found.scale, scale)


def test_rounding_in_turn_is_near_the_best_of_all_roundings() -> None:
    """Brute force over all 3^5 ternary rows: summed over 20 draws less than half of what nearest loses more than it."""
    policy, totals = WeightPolicy(bit_width=1.58, granularity="per_tensor"), np.zeros(3)
    every = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=5)), dtype=torch.float64)
    for seed in range(20):
        weight, traces = drawn(seed)
        scale = weight.abs().mean().expand(3)
        found = round_rows(weight, scale, traces.T @ traces, policy)
        nearest = (weight / scale[:, None]).round().clamp(-1, 1)
        for row in range(3):
            lost = ((weight[row] - every * scale[row]) @ traces.T).square().sum(1)
            pair = torch.stack([found.values[row], nearest[row]])
            totals += [float(lost.min()), *((weight[row] - pair * scale[row]) @ traces.T).square().sum(1).tolist()]
    best, compensated, plain = totals
    assert best <= compensated and compensated - best < 0.5 * (plain - best), totals


@pytest.mark.parametrize(
    ("shape", "groups", "stride", "padding", "dilation"),
    [
        ((4, 2, 3), 1, (2,), (1,), (1,)),
        ((4, 1, 3, 2), 2, (1, 2), (1, 0), (2, 1)),
        ((2, 2, 2, 1, 2), 1, (1, 1, 1), (0, 1, 1), (1, 1, 1)),
    ],
    ids=["1d", "2d grouped", "3d"],
)
def test_columns_times_weights_are_the_convolution(
    shape: tuple[int, ...], groups: int, stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    maps = len(shape) - 2
    operators: dict[int, SynapseOperator] = {1: "conv1d", 2: "conv2d", 3: "conv3d"}
    spec = SynapseSpec(operators[maps], shape, stride, padding, dilation, groups, False, None)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, shape[1] * groups, *(7, 6, 5)[:maps], generator=generator, dtype=torch.float64)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    expected = getattr(F, f"conv{maps}d")(x, weight, None, stride, padding, dilation, groups)
    columns, rows = _columns(spec, x), weight.flatten(1).view(groups, shape[0] // groups, -1)
    found = torch.einsum("ngi,goi->ngo", columns, rows).flatten(1)
    assert torch.allclose(found, expected.movedim(1, -1).flatten(0, -2))


def potentials_mismatch(student: Student, reference: nn.Module, x: Tensor) -> float:
    with evaluating(student), torch.no_grad():
        seen, wanted = student.observe(x).potentials, observe(reference, student.graph, x).potentials
    return float(torch.stack([(seen[name] - wanted[name]).double().square().mean() for name in wanted]).mean())


def test_reconstruction_lowers_the_membrane_mismatch_on_samples_it_has_not_seen() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 60), LIF(tau=2.0), nn.Linear(60, 30), LIF(tau=2.0), nn.Linear(30, 4)).eval()
    with torch.no_grad():
        network.get_parameter("0.weight").mul_(3)
        network.get_parameter("2.weight").mul_(5)
    mixing = torch.rand(6, 40, generator=torch.Generator().manual_seed(1))

    def drawn_input(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(1, 200, 6, generator=generator).expand(4, -1, -1) @ mixing / 3

    lost = {}
    for weights in ("nearest", "reconstruct"):
        recipe = Recipe.model_validate(
            {
                "name": "r",
                "quantize": {"weight": {"bit_width": 2}},
                "calibrate": {"weights": weights, "offsets": "keep"},
            }
        )
        student = compress(network, drawn_input(2), recipe, [drawn_input(2)])
        lost[weights] = potentials_mismatch(student, network, drawn_input(3))
        report = verify(student.eval(), drawn_input(3)[:, :50])
        assert report.equal and report.spikes > 0
    assert lost["reconstruct"] < 0.7 * lost["nearest"], lost


@pytest.mark.parametrize("scale", ["float", "power_of_two"])
def test_a_layer_computes_with_the_integers_it_is_given_and_keeps_its_weights_where_they_agree(scale: str) -> None:
    student = fresh(weight={"bit_width": 3, "scale": scale})
    layer, policy = student.synapse("head").layer, student.synapse("head").weight_policy
    before, weight = integer_weight(layer), layer.weight.detach().clone()
    values = before.values.detach().clone()
    values[:, :10] = torch.randint(-3, 4, (10, 10), generator=torch.Generator().manual_seed(0)).float()
    scales = before.scale.detach() * 1.25
    set_integer_weight(layer, policy, values, scales)
    after = integer_weight(layer)
    assert torch.equal(after.values, values)
    assert torch.allclose(after.scale, scales if scale == "float" else before.scale.detach())
    kept = (weight / after.scale[:, None]).round().clamp(-3, 3) == values
    assert bool(kept.any()) and not bool(kept.all())
    same = (layer.weight - weight).abs() <= 0.011 * after.scale[:, None]  # within a hundredth of a step of the edge
    assert bool(same[kept].all())


@pytest.mark.parametrize("policy", [{"range": "max"}, {"bit_width": 1}])
def test_layers_that_cannot_be_reconstructed_keep_their_weights(policy: dict[str, object]) -> None:
    plain = calibrate(fresh(weight=policy), [data()], spec=only())
    asked = calibrate(fresh(weight=policy), [data()], spec=RECONSTRUCT)
    states = zip(plain.state_dict().values(), asked.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in states)


# --- offsets and statistics ------------------------------------------------------------------------------------------


def folded() -> tuple[nn.Module, Student]:
    torch.manual_seed(0)
    network = digits_snn(channels=4)
    with torch.no_grad():
        network.train()(data(seed=5))
    graph = trace(network.eval(), data())
    quantize_ = {"weight": {"bit_width": 2}, "batch_norm": {"mode": "fold", "scale_bit_width": 12}}
    recipe = Recipe.model_validate({"name": "r", "quantize": quantize_})
    return network, quantize(network, graph, plan(recipe, graph))


def mean_currents(student: Student, name: str, x: Tensor) -> Tensor:
    with evaluating(student), torch.no_grad():
        result = student.run(x)
    current = result.currents[name] * student.current_unit(name, result.units).detach()
    return current.movedim(2, -1).flatten(0, -2).mean(0)


def test_corrected_offsets_make_the_mean_current_of_each_channel_that_of_the_float_network() -> None:
    network, student = folded()
    before = copy.deepcopy(student)
    calibrate(before, [data()], spec=only())
    calibrate(student, [data()], spec=CORRECT, teacher=network)
    seen: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _m, _x, y, name=name: seen.update({name: y.mean((0, 2, 3))}))
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        network(data())
    for handle in handles:
        handle.remove()
    left, uncorrected = 0.0, 0.0
    for name in ("stem.conv", "conv3.conv"):
        wanted = seen[student.synapse(name).spec.batch_norm or ""]
        unit = float(student.current_unit(name, student.stream_units()).detach())
        difference = float((mean_currents(student, name, data()) - wanted).abs().max())
        assert difference < 2 * unit + 1e-4
        left += difference
        uncorrected += float((mean_currents(before, name, data()) - wanted).abs().max())
    assert uncorrected > 5 * left, (uncorrected, left)
    report = verify(student.eval(), data(seed=9))
    assert report.equal and report.spikes > 0


def test_samples_are_taken_from_the_first_batches_up_to_the_number_asked_for() -> None:
    x = data(samples=30)
    assert [part.shape[1] for part in first_of([x, x, x], 70)] == [30, 30, 10]
    assert [part.shape[1] for part in first_of([x], 70)] == [30]


def test_a_walk_shows_what_each_layer_reads_and_runs_it_once_as_it_then_is() -> None:
    student, batches = calibrate(fresh(), [data(samples=30)]).eval(), [data(samples=5), data(seed=3, samples=7)]
    before = [student.run(x) for x in batches]
    ran: list[str] = []
    for name in ("stem.conv", "conv3.conv", "head"):
        student.synapse(name).register_forward_pre_hook(lambda _m, _x, name=name: ran.append(name))
    read = {}
    for node, sources in walk(student, batches):
        read[node.name] = sources
        if node.name == "conv3.conv":
            bias = batch_norm(student.synapse("conv3.conv").norm).bias
            bias.data.add_(1.0)
    assert ran == ["stem.conv"] * 2 + ["conv3.conv"] * 2 + ["head"] * 2
    after = [student.run(x) for x in batches]
    for place, (x, one, other) in enumerate(zip(batches, before, after, strict=True)):
        assert torch.equal(read["stem.conv"][place][0], student.input(x))
        assert torch.equal(read["neuron1"][place][0], one.currents["stem.conv"])
        assert torch.equal(read["neuron3"][place][0], other.currents["conv3.conv"])
        assert not torch.equal(one.currents["conv3.conv"], other.currents["conv3.conv"])


class Shared(nn.Module):
    """One norm behind two layers, and a layer with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm, self.neurons = nn.Linear(6, 5), nn.Linear(5, 5), nn.BatchNorm1d(5), LIF()
        self.again, self.head = LIF(), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.neurons(self.norm(self.first(x).flatten(0, 1)).unflatten(0, x.shape[:2]))
        x = self.again(self.norm(self.second(x).flatten(0, 1)).unflatten(0, x.shape[:2]))
        logits: Tensor = self.head(x).mean(0)
        return logits


def test_an_offset_that_two_layers_share_is_left_alone_and_the_others_are_corrected() -> None:
    torch.manual_seed(0)
    network, x = Shared().eval(), 3 * torch.rand(4, 20, 6)
    graph = trace(network, x)
    recipe = Recipe.model_validate({"name": "r", "quantize": {"weight": {"bit_width": 2}}})
    student = calibrate(quantize(network, graph, plan(recipe, graph)), [x], spec=CORRECT, teacher=network)
    norm = student.synapse("first").norm
    assert isinstance(norm, nn.BatchNorm1d) and torch.equal(norm.bias, network.norm.bias)
    assert not torch.equal(student.synapse("head").layer.bias, network.head.bias)
    assert verify(student.eval(), x).equal


def test_correction_needs_the_float_network() -> None:
    with pytest.raises(CalibrationError, match="compares with the float network"):
        calibrate(fresh(), [data()], spec=CORRECT)


def test_kept_statistics_are_those_of_the_float_network() -> None:
    student = fresh()
    norm = student.synapse("stem.conv").norm
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    before = norm.running_mean.clone()
    calibrate(student, [data()], spec=only(statistics="keep"))
    assert torch.equal(norm.running_mean, before)
    calibrate(student, [data()])
    assert not torch.equal(norm.running_mean, before)


# --- the product -----------------------------------------------------------------------------------------------------

SPECS = st.builds(
    CalibrateSpec,
    input=st.sampled_from(["max", "mse", "percentile"]),
    membrane=st.sampled_from(["mse", "percentile"]),
    percentile=st.sampled_from([50.0, 99.0, 100.0]),
    weights=st.sampled_from(["nearest", "reconstruct", "reconstruct"]),
    statistics=st.sampled_from(["recompute", "keep"]),
    offsets=st.sampled_from(["keep", "correct"]),
)
_seen = {"networks": 0, "spikes": 0}


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(draw=NETWORKS, recipe=recipes(), spec=SPECS)
def test_drawn_students_equal_interpreter_and_onnxruntime_however_they_were_calibrated(
    draw: NetworkDraw, recipe: Recipe, spec: CalibrateSpec
) -> None:
    network, calibration = make_network(draw)
    student = compress(network, calibration[:, :1], recipe.model_copy(update={"calibrate": spec}), [calibration])
    unseen = 1.5 * make_input(draw, samples=draw.batch)
    report = verify(student, torch.cat([calibration, unseen], dim=1))
    assert report.equal, str(report)
    _seen["networks"] += 1
    _seen["spikes"] += report.spikes > 0


def test_the_drawn_networks_were_enough_and_fired() -> None:
    assert _seen["spikes"] >= 18, _seen


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_how_many_columns_are_corrected_at_once_changes_no_integer(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randint(0, 4, (400, 150), generator=generator).double()
    weight = torch.randn(6, 150, generator=generator, dtype=torch.float64)
    scale, policy = weight.abs().amax(1) / 3, WeightPolicy(bit_width=3)
    expected = round_rows(weight, scale, samples.T @ samples, policy)
    monkeypatch.setattr("mdcompress.calibration.reconstruction._BLOCK", block)
    found = round_rows(weight, scale, samples.T @ samples, policy)
    assert torch.equal(found.values, expected.values) and torch.equal(found.scale, expected.scale)
    assert not torch.equal(found.values, (weight / scale[:, None]).round())
