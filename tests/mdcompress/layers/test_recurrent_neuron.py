"""Neurons that read their own spikes of the step before: as integers, in the plan, in training and in files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mdcompress as md
from intsnn.graph import IntRecurrentNeuron
from mdcompress.adapters import describe_neuron, probe
from mdcompress.adapters.weights import OneToOne, weighted_sum
from mdcompress.adapters.weights import composed as multiplied_out
from mdcompress.errors import PlanError, TraceError
from mdcompress.graph import Carries, NeuronModel, RecurrentSpec, SnnGraph, SnnNode, SynapseSpec
from mdcompress.layers.firing import integrate_and_fire
from mdcompress.layers.integer_ops import NeuronIntegers
from mdcompress.layers.neuron import QuantNeuron
from mdcompress.layers.recurrence import RecurrentIntegers
from mdcompress.planning import format_plan, plan
from mdcompress.recipe import DistillSpec, OptimizerSpec, Recipe, TrainSpec
from mdcompress.recipe.policies import MembranePolicy
from mdcompress.student import Student
from mdcompress.tracing import trace
from tests.support.canonical_neurons import PLAIN, neuron_graph, neuron_models, startable
from tests.support.composed_neuron import LEARNED, composed, floored
from tests.support.float_graph import assert_float_parity

EXAMPLES = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
MAPS = (3, 2, 4)
SPECS = {
    "linear": SynapseSpec("linear", (3, 3), (1, 1), (0, 0), (1, 1), 1, True, None),
    "one to one": SynapseSpec("linear", (3, 1), (1, 1), (0, 0), (1, 1), 3, False, None),
    "convolution": SynapseSpec("conv2d", (3, 3, 1, 3), (1, 1), (0, 1), (1, 1), 1, True, None),
    "depthwise": SynapseSpec("conv2d", (3, 1, 3, 3), (1, 1), (1, 1), (1, 1), 3, False, None),
}


def recurrent_graph(model: NeuronModel, spec: SynapseSpec, *, inputs: int, time_steps: int) -> SnnGraph:
    """One synapse and the neuron, with its recurrent weights between them."""
    shape = (3,) if spec.operator == "linear" else MAPS
    model = replace(model, recurrent="feedback")
    first, synapse, neuron, readout = neuron_graph(model, inputs=inputs, shape=shape, time_steps=time_steps)
    feedback = SnnNode("neuron.recurrent", RecurrentSpec(spec), (), shape, Carries.CURRENT)
    neuron = replace(neuron, inputs=("synapse", "neuron.recurrent"))
    return SnnGraph((first, synapse, feedback, neuron, readout), time_steps)


def recurrent_student(
    model: NeuronModel, spec: SynapseSpec, x: Tensor, *, recipe: Recipe, spread: float = 0.6
) -> Student:
    """A calibrated student that fires on x [T, N, inputs, ...]; spread: of its weights, in thresholds."""
    graph = recurrent_graph(model, spec, inputs=x.shape[2], time_steps=len(x))
    student = Student(graph, plan(recipe, graph))
    gain = float(torch.tensor(model.current_gain).mean() / torch.tensor(model.threshold).mean())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, mean in (("synapse", 0.1 + 0.2 * spread), ("neuron.recurrent", -0.1)):
            layer = student.synapse(name).layer
            layer.weight.normal_(mean, spread, generator=generator).div_(gain)
            if layer.bias is not None:
                layer.bias.fill_(0.1 / gain)
    return md.calibrate(student, [x])


def plain_recipe(**quantize: object) -> Recipe:
    return Recipe.model_validate({"name": "plain", "summary": "plain", "quantize": quantize})


def counts(*shape: int) -> Tensor:
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(1)).float()


# --- integers --------------------------------------------------------------------------------------------------------


def test_what_last_spikes_add_by_hand() -> None:
    """theta = 4, no leak, soft reset by 4; w = -3 on itself, +2 to the other, M = 1, B = 0, S = 0.

    currents 4,4 each step: both fire (1, 1): x = 0, 0; then 4-3+2 = 3: none, x = 3, 3; then 4+3 = 7: both, 3, 3 left;
    then 3+4-1 = 6: both.
    """
    model = replace(PLAIN, decay=1.0, reset="soft", threshold=4.0, soft_amount=4.0)
    neuron = QuantNeuron(model, MembranePolicy(bit_width=8, rounding="floor"), guard_bits=0)
    weight = torch.tensor([[-3.0, 2.0], [2.0, -3.0]], dtype=torch.float64)
    one = torch.ones(2, dtype=torch.float64)
    spec = SynapseSpec("linear", (2, 2), (1, 1), (0, 0), (1, 1), 1, False, None)
    current = torch.full((4, 1, 2), 4.0, dtype=torch.float64)
    fine_scale = torch.tensor(1.0)
    firing = neuron(current, fine_scale, recurrence=RecurrentIntegers(spec, weight, one, 0 * one, one[0]))
    assert firing.spikes[:, 0].tolist() == [[1, 1], [0, 0], [1, 1], [1, 1]]
    assert firing.membranes[:, 0].tolist() == [[0, 0], [3, 3], [3, 3], [2, 2]]


def test_a_convolution_of_last_spikes_by_hand() -> None:
    """One spike in the middle of 3 places, kernel (1, 2, 4), M = 3, B = 1, S = 1: (4*3 + 1) >> 1 to the left."""
    spec = SynapseSpec("conv1d", (1, 1, 3), (1,), (1,), (1,), 1, False, None)
    weight, factor = torch.tensor([[[1.0, 2.0, 4.0]]]), torch.tensor([3.0])
    added = RecurrentIntegers(spec, weight, factor, torch.tensor([1.0]), torch.tensor(2.0))(
        torch.tensor([[[0.0, 1.0, 0.0]]])
    )
    assert added.tolist() == [[[6.0, 3.0, 2.0]]]


_fired = {"drawn": 0, "firing": 0}


@EXAMPLES
@given(
    model=neuron_models(channels=3).map(startable),
    form=st.sampled_from(sorted(SPECS)),
    bits=st.sampled_from([2, 4, 8, 16]),
    weight_bits=st.sampled_from([1, 1.58, 2, 4, 8]),
    mode=st.sampled_from(["quantize", "power_of_two"]),
)
def test_student_interpreter_and_onnxruntime_agree_on_every_drawn_recurrent_neuron(
    model: NeuronModel, form: str, bits: int, weight_bits: float, mode: str
) -> None:
    recipe = plain_recipe(membrane={"bit_width": bits}, weight={"bit_width": weight_bits}, batch_norm={"mode": mode})
    x = counts(6, 4, 5, *(() if SPECS[form].operator == "linear" else MAPS[1:]))
    student = recurrent_student(model, SPECS[form], x, recipe=recipe)
    report = md.verify(student, 2.0 * x)  # beyond the calibrated range, so that membranes saturate
    assert report.equal, str(report)
    _fired["drawn"] += 1
    _fired["firing"] += report.spikes > 0


def test_the_drawn_recurrent_neurons_fired() -> None:
    assert _fired["drawn"] >= 50 and _fired["firing"] > 0.8 * _fired["drawn"], _fired


@pytest.mark.parametrize("form", SPECS)
def test_fine_integers_fire_as_the_float_neuron_does(form: str) -> None:
    norm = {"scale_bit_width": 16, "shift_bit_width": 24}
    x = counts(12, 30, 5, *(() if SPECS[form].operator == "linear" else MAPS[1:]))
    recipe = plain_recipe(membrane={"bit_width": 16}, batch_norm=norm)
    student = recurrent_student(PLAIN, SPECS[form], x, recipe=recipe, spread=0.05)
    layer, spec = student.synapse("neuron.recurrent").layer, SPECS[form]
    weight = layer.quant_weight().value.detach().double()
    bias = None if layer.bias is None else layer.bias.detach().double()

    def added(spikes: Tensor) -> Tensor:
        if spec.operator == "linear":
            return spikes * weight[:, 0] if spec.groups > 1 else F.linear(spikes, weight, bias)
        return F.conv2d(spikes, weight, bias, padding=spec.padding, groups=spec.groups)

    with torch.no_grad():
        result = student.eval().run(x)
        unit = student.current_unit("synapse", result.units).double()
        seen = student.observe(x).spikes["neuron"]
    expected = md.adapters.simulate(PLAIN, result.currents["synapse"] * unit, recurrent=added)
    assert 0.02 < float(expected.spikes.mean()) < 0.98
    assert float((seen == expected.spikes).double().mean()) > 0.99


def test_one_weight_for_each_neuron_is_lowered_to_a_diagonal() -> None:
    x = counts(6, 4, 5)
    for bits, stored in ((8, 8), (1, 1.58)):  # 1 bit has no 0, which the rest of the matrix is
        recipe = plain_recipe(weight={"bit_width": bits})
        neuron = md.lower(recurrent_student(PLAIN, SPECS["one to one"], x, recipe=recipe)).node("neuron")
        assert isinstance(neuron, IntRecurrentNeuron)
        assert neuron.recurrent_weight.shape == (3, 3) and neuron.recurrent_groups == 1
        assert (neuron.recurrent_weight == neuron.recurrent_weight * torch.eye(3).numpy()).all()
        assert abs(neuron.recurrent_weight.diagonal()).min() > 0 and neuron.recurrent_bit_width == stored


# --- gradients -------------------------------------------------------------------------------------------------------


def on_maps(integers: NeuronIntegers, *, rank: int) -> NeuronIntegers:
    """Its numbers [C] as [C, 1, ...]."""

    def mapped(values: Tensor | float) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float64).reshape(-1, *(1,) * rank)

    return replace(
        integers,
        leak=mapped(integers.leak),
        synapse_leak=None if integers.synapse_leak is None else mapped(integers.synapse_leak),
        threshold=mapped(integers.threshold),
        level=mapped(integers.level),
        soft_amount=mapped(integers.soft_amount),
        drive=mapped(integers.drive),
        reset_value=mapped(integers.reset_value),
        floor_value=mapped(integers.floor_value),
        synapse_drive=mapped(integers.synapse_drive),
    )


@EXAMPLES
@given(model=neuron_models(channels=3), form=st.sampled_from(sorted(SPECS)), seed=st.integers(0, 1000))
def test_gradients_through_recurrence_equal_those_of_composed_parts(model: NeuronModel, form: str, seed: int) -> None:
    generator, spec = torch.Generator().manual_seed(seed), SPECS[form]
    neuron = QuantNeuron(startable(model), MembranePolicy(bit_width=6), guard_bits=8)
    integers = neuron.integers(torch.tensor(1 / 2048))
    leaves = {name: getattr(integers, name).detach().clone().requires_grad_() for name in LEARNED}
    integers = replace(integers, **leaves)
    shape = (7, 3, 3) if spec.operator == "linear" else (7, 3, *MAPS)
    current = torch.randint(-1500, 4000, shape, generator=generator).double().requires_grad_()
    weight = torch.randint(-7, 8, spec.weight_shape, generator=generator).double().requires_grad_()
    factor, bias = (torch.randint(-900, 900, (3,), generator=generator).double().requires_grad_() for _ in range(2))
    recurrence = RecurrentIntegers(spec, weight, factor, bias, torch.tensor(8.0))
    losses = [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2)]

    def added(spikes: Tensor) -> Tensor:
        view = (-1, *(1 for _ in shape[3:]))
        if spec.operator == "linear":
            sums = spikes * weight[:, 0] if spec.groups > 1 else spikes @ weight.T
        else:
            sums = F.conv2d(spikes, weight, padding=spec.padding, groups=spec.groups)
        return floored(sums * factor.view(view) + bias.view(view), 3)

    def gradients(spikes: Tensor, potentials: Tensor) -> list[Tensor]:
        loss = (losses[0] * spikes).sum() + (1e-3 * losses[1] * potentials).sum()
        of = [current, weight, factor, bias, *leaves.values()]
        return list(torch.autograd.grad(loss, of, materialize_grads=True, allow_unused=True))

    firing = integrate_and_fire(current, integers, recurrence=recurrence)
    spikes, potentials = composed(current, on_maps(integers, rank=len(shape) - 3), recurrent=added)
    assert torch.equal(firing.spikes, spikes) and torch.equal(firing.potentials, potentials)
    for mine, other in zip(gradients(firing.spikes, firing.potentials), gradients(spikes, potentials), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


def test_recurrent_weights_learn_from_the_second_step_on() -> None:
    x = counts(6, 8, 5)
    student = recurrent_student(PLAIN, SPECS["linear"], x, recipe=plain_recipe()).train()
    layer = student.synapse("neuron.recurrent").layer
    for steps, learns in ((1, False), (6, True)):
        student.zero_grad()
        student(x[:steps]).square().sum().backward()
        assert layer.weight.grad is not None and bool(layer.weight.grad.any()) == learns
        assert layer.bias.grad is not None and bool(layer.bias.grad.any())  # a bias acts from the first


def test_training_moves_recurrent_weights_towards_a_goal() -> None:
    x = counts(6, 32, 5)
    student = recurrent_student(PLAIN, SPECS["linear"], x, recipe=plain_recipe()).train()
    layer = student.synapse("neuron.recurrent").layer
    optimizer = torch.optim.Adam([layer.weight, layer.bias], lr=0.03)
    losses = []
    for _ in range(25):
        loss = student(x)[1:].mean()  # the fewest spikes
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert md.verify(student.eval(), x).equal


# --- plans -----------------------------------------------------------------------------------------------------------


def test_a_pattern_reaches_recurrent_weights_by_their_own_name() -> None:
    graph = recurrent_graph(PLAIN, SPECS["linear"], inputs=5, time_steps=2)
    override = {"match": "**.recurrent", "weight": {"bit_width": 3}, "batch_norm": {"scale_bit_width": 5}}
    found = plan(plain_recipe(weight={"bit_width": 4}, overrides=(override,)), graph)
    weight, norm = found.node("neuron.recurrent").weight, found.node("neuron.recurrent").batch_norm
    assert weight is not None and weight.bit_width == 3 and norm is not None and norm.scale_bit_width == 5
    other = found.node("synapse").weight
    assert other is not None and other.bit_width == 4
    row = next(row for row in format_plan(found, graph) if row.node == "neuron.recurrent")
    assert (
        row.kind == "recurrent"
        and row.policy.startswith("3-bit weights")
        and "; requantization 5-bit scale" in row.policy
        and "**.recurrent" in row.rule
    )


def test_recurrent_weights_follow_the_weight_policy_and_no_role() -> None:
    graph = recurrent_graph(PLAIN, SPECS["linear"], inputs=5, time_steps=2)
    override = {"match": ("@first", "@last"), "weight": {"bit_width": 8}}
    found = plan(plain_recipe(weight={"bit_width": 2}, overrides=(override,)), graph)
    recurrent, synapse = found.node("neuron.recurrent").weight, found.node("synapse").weight
    assert recurrent is not None and recurrent.bit_width == 2
    assert synapse is not None and synapse.bit_width == 8


def test_recurrent_weights_have_no_membrane() -> None:
    graph = recurrent_graph(PLAIN, SPECS["linear"], inputs=5, time_steps=2)
    override = {"match": "neuron.recurrent", "membrane": {"bit_width": 6}}
    with pytest.raises(PlanError, match=r"applies to neurons, and matches none \(got neuron.recurrent \(recurrent\)\)"):
        plan(plain_recipe(overrides=(override,)), graph)


def test_recurrent_currents_count_in_the_unit_of_the_stream() -> None:
    graph = recurrent_graph(PLAIN, SPECS["linear"], inputs=5, time_steps=2)
    (stream,) = Student(graph, plan(plain_recipe(), graph)).streams
    assert stream.currents["neuron.recurrent"] == stream.currents["synapse"]
    assert stream.name == "synapse" and [reader.name for reader in stream.readers] == ["neuron"]


# --- one's own neurons -----------------------------------------------------------------------------------------------


class Fed(nn.Module):
    """A user's own recurrent neuron: what its description says, over all steps, [T, N, ...]."""

    def __init__(self, feedback: nn.Module) -> None:
        super().__init__()
        self.feedback = feedback

    def neuron_model(self) -> NeuronModel:
        return replace(PLAIN, recurrent="feedback")

    def forward(self, currents: Tensor) -> Tensor:
        v, s, spikes = torch.zeros_like(currents[0]), torch.zeros_like(currents[0]), []
        for x in currents:
            h = 0.5 * v + x + self.feedback(s)
            s = (h >= 1.0).to(h.dtype)
            v = h * (1 - s)
            spikes.append(s)
        return torch.stack(spikes)


class Net(nn.Module):
    def __init__(self, feedback: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.fed, self.head = nn.Linear(5, 8), Fed(feedback), nn.Linear(8, 3)
        with torch.no_grad():
            self.linear.weight.add_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.fed(self.linear(x)))
        return answer


def feedback_of_three() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 4), nn.Sequential(nn.Identity(), nn.Linear(4, 6, bias=False)), nn.Linear(6, 8))


@pytest.mark.parametrize("feedback", [lambda: nn.Linear(8, 8), feedback_of_three, lambda: OneToOne(-0.5)])
def test_ones_own_recurrent_neuron_goes_all_the_way(feedback: Callable[[], nn.Module], tmp_path: Path) -> None:
    network, x = Net(feedback()).eval(), counts(6, 10, 5)
    graph = trace(network, x)
    assert [node.name for node in graph][1:4] == ["linear", "fed.recurrent", "fed"]
    assert_float_parity(graph, network, x)
    student = md.compress(network, x, "8bit", [x])
    assert md.verify(student, x).equal
    with torch.no_grad():
        seen, expected = student.observe(x), md.observe(network, graph, x)
    assert float((seen.spikes["fed"] != expected.spikes["fed"]).float().mean()) < 0.05
    md.save_student(student, tmp_path / "student")
    assert md.lower(md.load_student(tmp_path / "student")) == md.lower(student)


def test_a_second_network_gives_its_own_recurrent_weights() -> None:
    network, x = Net(nn.Linear(8, 8)).eval(), counts(3, 2, 5)
    graph = trace(network, x)
    chosen = plan(plain_recipe(), graph)
    other = Net(nn.Linear(8, 8))
    with torch.no_grad():
        other.fed.get_parameter("feedback.weight").fill_(0.25)
    assert bool((md.quantize(other, graph, chosen).synapse("fed.recurrent").layer.weight == 0.25).all())
    del other.fed
    with pytest.raises(PlanError, match="the network must have the neuron 'fed' of the graph"):
        md.quantize(other, graph, chosen)


class Forgetful(Fed):
    def forward(self, currents: Tensor) -> Tensor:
        return super().forward(currents + self.feedback(torch.ones_like(currents)))


def test_a_neuron_that_feeds_back_otherwise_is_found_by_the_probe() -> None:
    network = Net(nn.Linear(8, 8))
    network.fed = Forgetful(network.fed.feedback)
    with pytest.raises(TraceError, match=r"neuron 'fed' .*Forgetful.* does not follow its description"):
        trace(network.eval(), counts(3, 2, 5))


class Counting(Fed):
    """Counts of spikes that feed on themselves; `late`: one spike too few from that step on."""

    def __init__(self, feedback: nn.Module, *, late: int | None = None) -> None:
        super().__init__(feedback)
        self.late = late

    def neuron_model(self) -> NeuronModel:
        return replace(super().neuron_model(), reset="soft", spike="floor", max_spikes=None)

    def forward(self, currents: Tensor) -> Tensor:
        v, s, spikes = torch.zeros_like(currents[0]), torch.zeros_like(currents[0]), []
        for t, x in enumerate(currents):
            h = self.feedback(s) + (x + 0.5 * v)  # another order of the same sum
            s = (h / 1.0).trunc().clamp_min(0.0)
            s = (s - 1.0).clamp_min(0.0) if self.late is not None and t >= self.late else s
            v = h - s
            spikes.append(s)
        return torch.stack(spikes)


def test_counts_that_grow_without_end_are_probed_while_floats_can_tell_them() -> None:
    growing = nn.Linear(8, 8)
    for weight, late in ((0.7, 3), (1e4, 2)):
        with torch.no_grad():
            growing.weight.fill_(weight / 3)
        neuron = Counting(growing)
        model = describe_neuron(neuron)
        assert model is not None
        probe("neuron", neuron, model)
        with pytest.raises(TraceError, match=f"at step {late} with current"):
            probe("neuron", Counting(growing, late=late), model)


# --- functions -------------------------------------------------------------------------------------------------------


def test_linear_layers_multiply_out_to_one() -> None:
    layers = [nn.Linear(3, 2), nn.Linear(2, 4, bias=False), nn.Linear(4, 3)]
    weight, bias = multiplied_out(layers)
    x = torch.rand(10, 3)
    assert bias is not None
    torch.testing.assert_close(F.linear(x, weight, bias), nn.Sequential(*layers)(x))
    assert multiplied_out([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])[1] is None


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda y, x: x + y, (1.0, 1.0)),
        (lambda y, x: 0.5 * x - 2 * y, (-2.0, 0.5)),
        (lambda y, x: x, (0.0, 1.0)),
        (lambda y, x: y, None),
        (lambda y, x: x + y + 1, None),
        (lambda y, x: torch.maximum(x, y), None),
        (lambda y, x: torch.cat([x, y]), None),
    ],
)
def test_weighted_sums_are_told_from_other_functions(
    function: Callable[[Tensor, Tensor], Tensor], expected: tuple[float, float] | None
) -> None:
    assert weighted_sum(function) == expected


class ByHand(nn.Module):
    """Feedback between the layers, in the loop of the network."""

    def __init__(self, *, starts_at_rest: bool) -> None:
        super().__init__()
        self.linear, self.back, self.lif, self.starts = nn.Linear(5, 5), nn.Linear(5, 5), Stepwise(), starts_at_rest

    def forward(self, x: Tensor) -> Tensor:
        s, spikes = torch.zeros_like(x[0]) if self.starts else None, []
        for step in x.unbind(0):
            s = self.lif(self.linear(step) if s is None else self.linear(step) + self.back(s))
            spikes.append(s)
        return torch.stack(spikes)


class Stepwise(nn.Module):
    """One step of a neuron that remembers nothing."""

    def neuron_model(self) -> NeuronModel:
        return replace(PLAIN, decay=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return (x >= 1.0).to(x.dtype)


@pytest.mark.parametrize(
    ("starts_at_rest", "says"),
    [(True, "does not come from the network's input"), (False, "is taken at step 1 and 'back'")],
)
def test_feedback_written_by_hand_is_refused_and_told_where_it_belongs(starts_at_rest: bool, says: str) -> None:
    with pytest.raises(TraceError) as caught:
        trace(ByHand(starts_at_rest=starts_at_rest), counts(3, 2, 5))
    assert says in caught.value.message
    assert "belong into a recurrent neuron: snnTorch's RLeaky" in caught.value.hints[0]


def test_a_training_that_keeps_weights_keeps_recurrent_ones_too() -> None:
    x, y = counts(3, 24, 5), torch.arange(24) % 3
    student = recurrent_student(PLAIN, SPECS["linear"], x, recipe=plain_recipe())
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    weights = [student.synapse(name).integers(1.0, torch.ones(())).weight for name in ("synapse", "neuron.recurrent")]
    spec = DistillSpec(epochs=5, weights="keep", best="loss", logits=None, membrane=None)
    fast = TrainSpec(optimizer=OptimizerSpec(lr=0.05))
    md.distill(student, teacher=None, train=[(x, y)] * 8, validate=[(x, y)], spec=spec, settings=fast)
    for name, weight in zip(("synapse", "neuron.recurrent"), weights, strict=True):
        assert torch.equal(student.synapse(name).integers(1.0, torch.ones(())).weight, weight)
    moved = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert "layers.neuron/recurrent.layer.bias" in moved and not any("weight" in name for name in moved)
