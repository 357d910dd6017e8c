"""The student against the float network it came from, where nothing is lost: every spike and potential is equal."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from intsnn.errors import InputError
from mdcompress.calibration.stream_units import fit_to_bounds
from mdcompress.compression import compress
from mdcompress.errors import CalibrationError, PlanError
from mdcompress.evaluation.verification import verify
from mdcompress.graph import NeuronModel, SnnGraph, typical
from mdcompress.layers.neuron import MembraneUnit, ReadoutUnit
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.planning import plan
from mdcompress.recipe import DistillSpec, Recipe
from mdcompress.student import Observation, Student
from mdcompress.student.observation import observe
from mdcompress.student.quantizing import quantize
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF, digits_snn
from tests.support.narrowed import statistics
from tests.support.networks import DrawnNetwork, LayerDraw, NetworkDraw, make_input, make_network

FINE = Recipe.model_validate(
    {
        "name": "fine",
        "quantize": {
            "weight": {"bit_width": 8, "scale": "power_of_two", "range": "max"},
            "membrane": {"bit_width": 16},
            "batch_norm": {"scale_bit_width": 16, "shift_bit_width": 24},
        },
    }
)

# --- nothing is lost -------------------------------------------------------------------------------------------------

EXACT_LAYERS = st.builds(
    LayerDraw,
    channels=st.sampled_from([2, 4]),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 1, 2]),
    bias=st.booleans(),
    norm=st.booleans(),
    current_pool=st.sampled_from(["none", "none", "max", "average"]),
    neuron=st.sampled_from(["if", "lif", "lif"]),
    tau=st.sampled_from([2.0, 4.0]),
    threshold=st.sampled_from([0.5, 1.0, 1.5]),
    reset=st.sampled_from(["hard", "soft", "none"]),
    reset_value=st.sampled_from([0.0, -0.25]),
    decay_input=st.booleans(),
    residual=st.sampled_from(["none", "currents", "spikes"]),
    spike_pool=st.sampled_from(["none", "max", "average"]),
)
EXACT_NETWORKS = st.builds(
    NetworkDraw,
    layers=st.lists(EXACT_LAYERS, min_size=1, max_size=2).map(tuple),
    hidden=st.booleans(),
    in_channels=st.sampled_from([1, 2]),
    size=st.sampled_from([4, 6, 8]),
    time_steps=st.integers(1, 3),
    batch=st.just(2),
    inputs=st.sampled_from(["spikes", "counts", "quarters"]),
    readout=st.sampled_from(["mean", "sum", "steps"]),
    seed=st.integers(0, 2**16),
)
_seen = {"networks": 0, "spikes": 0, "ties": 0, "currents": 0, "averages": 0}
_resets: set[tuple[str, str, bool, float]] = set()


def _binary_fractions(shape: torch.Size, *, step: float, reach: int) -> Tensor:
    return torch.randint(-reach, reach + 1, shape) * step


def put_on_grid(network: nn.Module, *, seed: int) -> None:
    """Weights, biases and norms become short binary fractions: then 8-bit weights and every product are exact."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(_binary_fractions(module.weight.shape, step=0.5, reach=2))
                if module.bias is not None:
                    module.bias.copy_(_binary_fractions(module.bias.shape, step=0.25, reach=2))
            elif isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
                mean, variance = statistics(module)
                variance.fill_(1.0)
                mean.copy_(_binary_fractions(module.bias.shape, step=0.25, reach=2))
                module.weight.copy_(torch.tensor([1.0, 0.5, -1.0, 2.0])[torch.randint(0, 4, module.weight.shape)])
                module.bias.copy_(_binary_fractions(module.bias.shape, step=0.25, reach=3))


def stored_values(graph: SnnGraph, seen: Observation) -> dict[str, Tensor]:
    """Each neuron's membrane after reset in the float network."""
    stored = {}
    for node in graph.of(NeuronModel):
        model, h, s = node.spec, seen.potentials[node.name], seen.spikes[node.name]
        assert isinstance(model, NeuronModel)
        goal, amount = typical(model.reset_value), typical(model.soft_amount)
        after = {"hard": torch.where(s > 0, goal, h), "soft": h - amount * s, "none": h}
        stored[node.name] = after[model.reset]
    return stored


def set_units(student: Student, *, stored: float) -> None:
    """Every stream counts in a power of two, and every word reaches as far as the membranes go."""
    for module in student.units.values():
        if isinstance(module, MembraneUnit):
            module.quantizer.set_range(2.0 ** math.ceil(math.log2(4 * stored)))
        elif isinstance(module, ReadoutUnit):
            module.value.fill_(2.0**-10)


def exact_student(network: nn.Module, x: Tensor) -> tuple[SnnGraph, Observation, Student]:
    """A student that can hold this network on this input without any loss, or a rejected draw."""
    graph = trace(network, x)
    with torch.no_grad():
        seen = observe(network, graph, x)
    stored = stored_values(graph, seen)
    largest = max((float(v.abs().max()) for v in stored.values()), default=1.0)
    student = quantize(network, graph, plan(FINE, graph)).eval()
    student.input.fit(x)
    set_units(student, stored=max(largest, 1.0))
    streams = student.stream_units()
    for name, values in stored.items():
        scale = float(student.fine_scale(name, streams).detach()) * 2.0 ** student.neuron(name).guard_bits
        assume(torch.equal(values / scale, (values / scale).round()))
        assume(float(values.abs().max()) < scale * 2**15)
    return graph, seen, student


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
@given(draw=EXACT_NETWORKS)
def test_a_network_on_the_grid_and_its_student_are_one_function(draw: NetworkDraw) -> None:
    """Leaks, resets and their values, input gains, poolings and residuals: all as the float network means them."""
    network = DrawnNetwork(draw).eval()
    x = make_input(draw, samples=3)
    x = (x * 4).round() / 4 if draw.inputs == "quarters" else x.clone()
    x.view(-1)[:2] = torch.tensor([0.25 if draw.inputs == "quarters" else 1.0, 1.0])  # the grid's step is seen
    network(x)
    put_on_grid(network, seed=draw.seed)
    graph, expected, student = exact_student(network, x)
    with torch.no_grad():
        found = observe(student, graph, x)
    for name, spikes in expected.spikes.items():
        assert torch.equal(found.spikes[name].float(), spikes), name
        assert torch.equal(found.potentials[name].float(), expected.potentials[name]), name
    assert torch.equal(found.logits.float(), expected.logits)
    assert torch.allclose(found.output, expected.output, rtol=1e-6)
    _count(draw, graph, expected)


def _count(draw: NetworkDraw, graph: SnnGraph, seen: Observation) -> None:
    _seen["networks"] += 1
    _seen["spikes"] += any(bool(s.any()) and not bool(s.all()) for s in seen.spikes.values())
    _seen["ties"] += any(
        bool((seen.potentials[node.name] == typical(node.spec.threshold)).any()) for node in graph.of(NeuronModel)
    )
    _seen["currents"] += any(layer.residual == "currents" for layer in draw.layers)
    _seen["averages"] += any("average" in (layer.current_pool, layer.spike_pool) for layer in draw.layers)
    _resets.update((layer.reset, layer.neuron, layer.decay_input, layer.reset_value) for layer in draw.layers)


def test_the_networks_on_the_grid_were_enough_and_fired_and_stood_at_ties() -> None:
    assert _seen["networks"] >= 100 and _seen["spikes"] >= 70 and _seen["ties"] >= 60, _seen
    assert _seen["currents"] >= 20 and _seen["averages"] >= 20 and len(_resets) >= 12, (_seen, _resets)


def test_more_bits_come_nearer_to_the_float_network() -> None:
    """On weights of any value: 8 bits and 16-bit membranes leave few spikes different, 2 bits many."""
    torch.manual_seed(0)
    network, x = digits_snn(channels=8).eval(), torch.rand(4, 16, 1, 8, 8)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of the very data, so that calibration finds the same
    with torch.no_grad():
        network.train()(x)
    network.eval()
    graph = trace(network, x)
    with torch.no_grad():
        expected = observe(network, graph, x)
    differing = {}
    for bits, membrane in ((2, 2), (4, 4), (8, 16)):
        recipe = Recipe.model_validate(
            {"name": "r", "quantize": {"weight": {"bit_width": bits}, "membrane": {"bit_width": membrane},
                                       "batch_norm": {"scale_bit_width": 16}}}
        )  # fmt: skip
        student = compress(network, x, recipe, [x]).eval()
        with torch.no_grad():
            found = observe(student, graph, x)
        rates = [float((found.spikes[n] != expected.spikes[n]).float().mean()) for n in expected.spikes]
        differing[bits] = sum(rates) / len(rates)
    assert differing[8] < 0.04, differing
    assert differing[8] < differing[4] < differing[2], differing


# --- structures ------------------------------------------------------------------------------------------------------


class Spoken(nn.Module):
    """Linear only, [T, N, F], no norm, spikes as the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.first = nn.Linear(6, 8), LIF(tau=4.0, reset="soft")
        self.two, self.second = nn.Linear(8, 3, bias=False), IF(0.5)

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.second(self.two(self.first(self.one(x))))
        return spikes.sum(0)


class TwoHeads(nn.Module):
    """The answer is a sum of two heads of very different size: one stream that no neuron reads."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.neuron = nn.Linear(6, 8), LIF()
        self.large, self.small = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron(self.fc(x))
        y: Tensor = (self.large(spikes) + self.small(spikes)).mean(0)
        return y


@pytest.mark.parametrize("kind", [Spoken, TwoHeads])
def test_linear_networks_run_and_equal_their_graphs(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    network = kind()
    x = 8 * torch.rand(5, 4, 6)
    student = compress(network, x, "8bit", [x]).eval()
    report = verify(student, x)
    assert report.equal and report.spikes > 0
    with torch.no_grad():
        assert student(x).shape == network(x).shape == (4, 3)
    if isinstance(network, Spoken):
        assert student.readout_scale() == 1.0 and bool((student(x) % 1 == 0).all())


def test_a_readout_starts_from_the_largest_head_before_data_refine_it() -> None:
    """The bound of the small head, found second, must not replace that of the large one."""
    torch.manual_seed(1)
    network, x = TwoHeads(), torch.rand(2, 2, 6)
    with torch.no_grad():
        network.large.weight.mul_(100.0)
    graph = trace(network, x)
    student = quantize(network, graph, plan(FINE, graph))
    student.input.fit(x)
    fit_to_bounds(student)
    bound = student.synapse("large").current_bound(1.0) + student.synapse("small").current_bound(1.0)
    assert student.readout_scale() >= 0.999 * bound / 2**18


@pytest.mark.parametrize("time_steps", [1, 2, 7])
def test_a_student_takes_any_number_of_steps(time_steps: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 2, 1, 8, 8)
    student = compress(digits_snn(channels=4), x, "4bit", [x]).eval()
    run = torch.rand(time_steps, 3, 1, 8, 8)
    with torch.no_grad():
        output, seen = student(run), student.observe(run)
    assert output.shape == (3, 10) and torch.equal(output, seen.output)
    assert seen.logits.shape == (time_steps, 3, 10)
    assert torch.allclose(seen.logits.mean(0).float(), output, atol=1e-5)


@pytest.fixture(scope="module")
def digits_student() -> Student:
    torch.manual_seed(0)
    x = torch.rand(4, 2, 1, 8, 8)
    return compress(digits_snn(channels=4), x, "4bit", [x])


@pytest.mark.parametrize("shape", [(4, 2, 8, 8), (2, 1, 8, 8), (4, 2, 1, 8, 9), (4, 0, 1, 8, 8), (1, 8, 8)])
def test_an_input_of_another_shape_is_refused(digits_student: Student, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        digits_student(torch.zeros(shape))
    assert f"[T, N, 1, 8, 8] (got {list(shape)})" in caught.value.message
    assert "time first" in caught.value.hints[0]


def test_a_student_without_calibration_says_so() -> None:
    network, x = digits_snn(channels=4), torch.rand(2, 2, 1, 8, 8)
    graph = trace(network, x)
    student = quantize(network, graph, plan(FINE, graph))
    with pytest.raises(CalibrationError, match="must be calibrated first"):
        student(x)


def _modes(module: nn.Module) -> Iterator[bool]:
    return (child.training for child in module.modules())


def test_verifying_a_clone_in_training_changes_neither_its_mode_nor_its_state(digits_student: Student) -> None:
    clone = copy.deepcopy(digits_student).train()
    synapse = clone.synapse("stem.conv")
    assert isinstance(synapse, QuantSynapse) and synapse.norm is not None
    synapse.norm.eval()
    modes, state = list(_modes(clone)), copy.deepcopy(clone.state_dict())
    assert verify(clone, torch.rand(3, 2, 1, 8, 8)).equal
    assert list(_modes(clone)) == modes
    assert all(torch.equal(value, clone.state_dict()[name]) for name, value in state.items())


def test_a_clone_is_its_own(digits_student: Student) -> None:
    clone = copy.deepcopy(digits_student)
    with torch.no_grad():
        clone.synapse("head").layer.weight.zero_()
    assert bool(digits_student.synapse("head").layer.weight.any())


def test_the_float_network_is_not_changed() -> None:
    network, x = digits_snn(channels=4).train(), torch.rand(4, 2, 1, 8, 8)
    state = copy.deepcopy(network.state_dict())
    student = compress(network, x, "2bit", [x])
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    assert network.training and set(_modes(network)) == {True}


def test_a_network_in_double_precision_gets_the_same_student() -> None:
    torch.manual_seed(0)
    network, x = digits_snn(channels=4), torch.rand(4, 2, 1, 8, 8)
    single = compress(network, x, "4bit", [x]).eval()
    double = compress(copy.deepcopy(network).double(), x.double(), "4bit", [x.double()]).eval()
    with torch.no_grad():
        assert torch.allclose(single(x), double(x.double()), atol=0.05)
    assert verify(double, x.double()).equal


# --- quantize refuses another network --------------------------------------------------------------------------------


def test_a_graph_of_another_network_is_refused() -> None:
    x = torch.rand(2, 2, 1, 8, 8)
    graph = trace(digits_snn(channels=4), x)
    chosen = plan(FINE, graph)
    with pytest.raises(
        PlanError, match=r"'stem.conv' .* shape \(4, 1, 3, 3\) in the network \(found Conv2d\)"
    ) as caught:
        quantize(digits_snn(channels=8), graph, chosen)
    assert "trace the network that you quantize" in caught.value.hints[0]
    with pytest.raises(PlanError, match=r"must have the batch norm 'stem\.norm' of the graph"):
        quantize(nn.Sequential(), graph, chosen)
    without_norm = digits_snn(channels=4)
    without_norm.get_submodule("stem").norm = nn.Identity()
    with pytest.raises(PlanError, match=r"must have the batch norm 'stem\.norm'"):
        quantize(without_norm, graph, chosen)


def test_a_network_without_neurons_is_a_linear_map_on_integers() -> None:
    network, x = make_network(
        NetworkDraw(
            (), hidden=False, in_channels=1, size=5, time_steps=2, batch=1, inputs="image", readout="steps", seed=0
        )
    )
    student = compress(network, x, FINE.model_copy(update={"distill": DistillSpec(membrane=None)}), [x]).eval()
    with torch.no_grad():
        assert torch.allclose(student(x), network(x), atol=0.05)
