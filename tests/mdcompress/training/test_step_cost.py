"""What a training step must not do: wait for its device, or run a teacher's neurons twice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from mdcompress.adapters import simulate
from mdcompress.compression import compress
from mdcompress.graph import NeuronModel
from mdcompress.layers.host_values import HostValue
from mdcompress.layers.sums import Arithmetic, exact_arithmetic
from mdcompress.losses import distillation_loss, task_loss
from mdcompress.recipe import DistillSpec, TeacherSpec, TrainSpec, load_recipe
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.training import engine
from mdcompress.training.distillation import distill
from mdcompress.training.history import StepRecord
from mdcompress.training.layout import lay_out_for
from mdcompress.training.optimization import clip_gradient
from mdcompress.training.teaching import train_network
from mdcompress.zoo import IF, LIF, digits_snn
from mdcompress.zoo.neurons import Reset

READS = ("aten::item", "aten::_local_scalar_dense")
SETTINGS = TrainSpec.model_validate({"optimizer": {"name": "sgd", "lr": 1e-3, "momentum": 0.9}, "grad_clip": 1.0})


class Watched:
    """Batches of which the profiler sees the second and third step; what it saw is in `events`."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        images = [torch.rand(6, 1, 8, 8, generator=generator) for _ in range(4)]
        self.batches = [(image.expand(3, *image.shape), torch.arange(6)) for image in images]
        self.events: list[str] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.batches[0]
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
            yield self.batches[1]
            yield self.batches[2]
        self.events += [event.name for event in profiler.events()]
        yield self.batches[3]


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read before the end of the epoch, however slow the machine is."""
    monkeypatch.setattr(engine, "_SECONDS_UNREAD", float("inf"))


@pytest.mark.slow
@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(("range_", "device"), [("learned", "cpu"), ("mse", "cpu"), ("learned", "cuda")])
def test_no_step_of_a_distillation_reads_from_its_device(
    range_: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cuda`: what is done otherwise on a GPU is done here, on a CPU."""
    monkeypatch.setattr("mdcompress.training.observed_teacher.lay_out_for", partial(as_for, torch.device(device)))
    for layer in ("synapse", "recurrence"):
        decided = partial(exact_arithmetic_for, torch.device(device))
        monkeypatch.setattr(f"mdcompress.layers.{layer}.exact_arithmetic", decided)
    torch.manual_seed(0)
    teacher, watched = digits_snn(channels=4), Watched()
    recipe = load_recipe("4bit")
    weight = recipe.quantize.weight.model_copy(update={"range": range_})
    recipe = recipe.model_copy(update={"quantize": recipe.quantize.model_copy(update={"weight": weight})})
    student = compress(teacher, watched.batches[0][0], recipe, [x for x, _ in watched.batches])
    losses: list[StepRecord] = []
    distill(
        student, teacher=teacher, train=watched, validate=watched.batches[:1], settings=SETTINGS,
        spec=DistillSpec.model_validate({"epochs": 1, "weights": "train", "membrane": {}, "logits": {}, "rates": {}}),
        progress=lambda event: losses.append(event) if isinstance(event, StepRecord) else None,
    )  # fmt: skip
    assert watched.events.count("aten::convolution_backward") >= 6, "the profiler saw the steps"
    assert not [name for name in watched.events if name in READS]
    assert [record.step for record in losses] == [1, 2, 3, 4] and all(record.loss > 0.0 for record in losses)


def as_for(device: torch.device, _own: torch.device, network: nn.Module, x: Tensor) -> bool:
    """The layout of another device than the network is on."""
    found = lay_out_for(device, network, x)
    assert found == (device.type == "cuda")
    return found


def exact_arithmetic_for(device: torch.device, largest: float, _own: torch.device) -> Arithmetic:
    """The arithmetic of another device than the sums are on."""
    return exact_arithmetic(largest, device)


@pytest.mark.usefixtures("unread")
def test_no_step_of_a_float_training_reads_from_its_device() -> None:
    torch.manual_seed(0)
    watched = Watched()
    spec = TeacherSpec.model_validate({"epochs": 1, "optimizer": {"name": "sgd", "lr": 1e-3}})
    train_network(digits_snn(channels=4), train=watched, validate=watched.batches[:1], spec=spec)
    assert watched.events.count("aten::convolution_backward") >= 6
    assert not [name for name in watched.events if name in READS]


def _calls(step: Callable[[], Tensor]) -> int:
    """Of ATen, forward and back."""
    torch.autograd.backward(step())
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        torch.autograd.backward(step())
    return sum(event.name.startswith("aten::") for event in profiler.events())


def test_a_students_step_makes_at_most_one_and_a_half_times_its_float_networks_calls() -> None:
    """With teacher and losses; what an operation costs besides is in benchmarks/training_step_cost.py."""
    torch.manual_seed(0)
    teacher, x, y = digits_snn(channels=4), torch.rand(4, 6, 1, 8, 8), torch.arange(6)
    recipe = load_recipe("4bit")
    student = compress(teacher, x, recipe, [x]).train()
    graph, floating = trace(teacher.eval(), x), copy.deepcopy(teacher).train()

    def distilled() -> Tensor:
        with torch.no_grad():
            target = observe(teacher, graph, x)
        seen = observe(student, student.graph, x)
        return distillation_loss(seen, target, y=y, graph=student.graph, spec=recipe.distill).total

    floats = _calls(lambda: task_loss(floating(x)[None], y))
    assert floats > 500 and _calls(distilled) <= 1.5 * floats


# --- the teacher -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("decay_input", [True, False])
def test_a_run_of_an_own_neurons_description_is_its_forward_to_the_last_bit(reset: Reset, decay_input: bool) -> None:
    x = 2.0 * torch.randn(5, 40, 7, generator=torch.Generator().manual_seed(0))
    rest = -0.3 if reset == "hard" else 0.0
    neuron = LIF(3.0, 0.7, reset, reset_value=rest, decay_input=decay_input)
    model = trace(nn.Sequential(nn.Linear(7, 7), neuron), x).of(NeuronModel)[0].spec
    with torch.no_grad():
        expected, found = neuron(x), simulate(model, x)
    assert torch.equal(found.spikes, expected) and 0 < int(expected.sum()) < expected.numel()
    composed = simulate(model, x.clone().requires_grad_())  # step by step, as where gradients flow
    for one, other in (
        (found.potentials, composed.potentials), (found.spikes, composed.spikes), (found.membranes, composed.membranes),
    ):  # fmt: skip
        assert torch.equal(one, other.detach())


def test_a_teachers_own_neurons_run_once_and_its_answer_is_the_same() -> None:
    torch.manual_seed(0)
    network = digits_snn(channels=4).eval()
    x, calls = torch.rand(3, 5, 1, 8, 8), []
    graph = trace(network, x)
    for module in network.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(lambda _m, _x, out: calls.append(out))
    with torch.no_grad():
        expected = network(x)
        plain, seen = list(calls), observe(network, graph, x)
    assert torch.equal(seen.output, expected) and len(calls) == 2 * len(plain) == 6
    for node, spikes in zip(graph.of(NeuronModel), calls[len(plain) :], strict=True):
        assert spikes is seen.spikes[node.name], "what the next layer read is what was observed"
    assert not any("forward" in module.__dict__ for module in network.modules())


class Quiet(IF):
    """A subclass with a forward of its own runs by that."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1.0


def test_a_neuron_with_a_forward_of_its_own_is_not_replaced() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 9), Quiet(), nn.Linear(9, 3))
    x, ran = 3.0 * torch.rand(4, 5, 6), []
    graph = trace(network, x)
    network[1].register_forward_hook(lambda module, _x, out: ran.append(out))
    with torch.no_grad():
        seen = observe(network, graph, x)
    assert torch.equal(ran[0], seen.spikes["1"]) and ran[0] is not seen.spikes["1"] and int(ran[0].sum()) > 0


def test_potentials_that_no_loss_asks_for_are_not_computed() -> None:
    torch.manual_seed(0)
    teacher, x = digits_snn(channels=4), torch.rand(3, 5, 1, 8, 8)
    student = compress(teacher, x, load_recipe("4bit"), [x])
    seen = student.observe(x)
    assert seen.potentials["neuron1"] is seen.potentials["neuron1"]
    assert list(seen.potentials) == list(seen.spikes) and len(seen.potentials) == 3
    with pytest.raises(KeyError):
        seen.potentials["head"]


# --- another device --------------------------------------------------------------------------------------------------


def test_a_step_runs_on_a_device_that_has_no_numbers_to_read_and_takes_no_tensor_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`meta` refuses what a GPU would wait for, or not take: a number read back, and a tensor that lies on the CPU."""
    torch.manual_seed(0)
    teacher, x = digits_snn(channels=4).eval(), torch.rand(3, 6, 1, 8, 8)
    graph, student = trace(teacher, x), compress(teacher, x, load_recipe("4bit"), [x])
    student(x)  # reads its scales, which training leaves as they are
    monkeypatch.setattr(HostValue, "__call__", lambda value, _tensor: value._number)
    for network in (teacher, student):
        network.to("meta")
    there, y = x.to("meta"), torch.arange(6, device="meta")
    spec = DistillSpec.model_validate({"membrane": {}, "rates": {}, "sparsity": {}, "task": {"on": "steps"}})
    with torch.no_grad():
        target = observe(teacher, graph, there)
    seen = observe(student.train(), student.graph, there)
    loss = distillation_loss(seen, target, y=y, graph=student.graph, spec=spec)
    torch.autograd.backward(loss.total)
    trained = [parameter for parameter in student.parameters() if parameter.grad is not None]
    assert len(trained) == len(list(student.parameters())) and set(loss.named()) >= {"task", "logits", "total"}
    norm = clip_gradient(trained, 1.0)
    assert {each.device.type for each in (*seen.spikes.values(), loss.total, norm)} == {"meta"}
    assert student.eval()(there).device.type == "meta", "evaluation, by products of matrices"
    with pytest.raises(RuntimeError, match="meta"):
        observe(student, student.graph, x)
