"""Neurons that never fire, as the readout: SpikingJelly's NonSpiking nodes, Norse's LI, sinabs' ExpLeak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters import describe_neuron, probe
from mdcompress.errors import PlanError, TraceError
from mdcompress.graph import Carries, NeuronModel, ReadoutMode, ReadoutSpec, SnnGraph
from mdcompress.tracing import trace
from mdcompress.zoo import LIF
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity

T, N = 5, 3
Make = Callable[[], nn.Module]


def sample(*shape: int, gain: float = 1.0) -> Tensor:
    return gain * torch.rand(T, N, *shape, generator=torch.Generator().manual_seed(0))


def checked(network: nn.Module, x: Tensor, *, mode: ReadoutMode, last: str, recipe: str = "8bit") -> SnnGraph:
    """Float parity, equal integers, and 8 bits that stay close to the network's own answer."""
    network.eval()
    graph = trace(network, x)
    assert graph.readout.spec == ReadoutSpec(mode)
    assert graph.node(last).carries is Carries.CURRENT and graph.membrane_readout == graph.node(last)
    assert_float_parity(graph, network, x)
    student = assert_integer_parity(network, graph, x, recipe=recipe, silent=(last,))
    assert not student.trace(x).spikes[last].any(), "a neuron that never fires has no spikes in the activity either"
    with torch.no_grad():
        seen, expected = student.observe(x), md.observe(network, graph, x)
    assert seen.logits.shape == expected.logits.shape == (T, N, 3)
    largest = float(expected.logits.abs().max()) * (T if mode == "sum" else 1)
    assert largest > 0.01 and float((seen.output - expected.output).abs().mean()) < 0.1 * largest
    torch.testing.assert_close(_reduced(expected.logits, mode), expected.output)
    return graph


def _reduced(v: Tensor, mode: ReadoutMode) -> Tensor:
    return {"steps": v, "mean": v.mean(0), "sum": v.sum(0), "max": v.amax(0), "last": v[-1]}[mode]


REDUCTIONS: dict[ReadoutMode, Callable[[Tensor], Tensor]] = {
    "steps": lambda v: v,
    "mean": lambda v: v.mean(0),
    "sum": lambda v: v.sum(0),
    "max": lambda v: v.amax(0),
    "last": lambda v: v[-1],
}


class Readout(nn.Module):
    """Two layers of weights, a spiking neuron between them, and `last`, of which `take` is the answer."""

    def __init__(self, last: nn.Module, take: Callable[[nn.Module, Tensor], Tensor], *, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif, self.fc2 = nn.Linear(6, 12), LIF(threshold=0.2), nn.Linear(12, outputs)
        self.last, self.take = last, take

    def forward(self, x: Tensor) -> Tensor:
        return self.take(self.last, self.fc2(self.lif(self.fc1(x))))


@pytest.mark.parametrize("size", [0.001, 1.0, 1000.0])
def test_the_unit_of_a_membrane_is_found_whatever_its_size(size: float) -> None:
    """No neuron fires between: what is left is the rounding of weights, input and membrane."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    torch.manual_seed(0)

    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.last = nn.Linear(6, 3), neuron.NonSpikingLIFNode(tau=4.0)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack(self.last(size * self.fc(x)))

    network, x = Direct().eval(), sample(6)
    student = md.compress(network, x, "8bit", [x])
    assert md.verify(student, x).equal
    with torch.no_grad():
        error = (student(x) - network(x)).abs().max() / network(x).abs().max()
    assert float(error) < 0.02


def test_four_bits_are_as_exact() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    network = Readout(neuron.NonSpikingLIFNode(tau=2.0), lambda node, x: torch.stack(node(x))).eval()
    x = 2 * sample(6)
    assert_integer_parity(network, trace(network, x), x, recipe="4bit", silent=("last",))


# --- SpikingJelly ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decode", "mode"), [("max-mem", "max"), ("mean-mem", "mean"), ("last_mem", "last")])
@pytest.mark.parametrize("leaky", [True, False])
def test_spikingjelly_decodes_by_itself(decode: str, mode: ReadoutMode, leaky: bool) -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    last = neuron.NonSpikingLIFNode(tau=3.0, decode=decode) if leaky else neuron.NonSpikingIFNode(decode=decode)
    checked(Readout(last, lambda node, x: node(x)), 2 * sample(6), mode=mode, last="last")


@pytest.mark.parametrize("mode", REDUCTIONS)
def test_spikingjelly_lists_the_membranes_of_all_steps(mode: ReadoutMode) -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    reduce = REDUCTIONS[mode]
    network = Readout(neuron.NonSpikingLIFNode(tau=2.0), lambda node, x: reduce(torch.stack(node(x))))
    checked(network, 2 * sample(6), mode=mode, last="last")


def test_spikingjellys_last_listed_membrane_is_the_last_step() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    checked(Readout(neuron.NonSpikingIFNode(), lambda node, x: node(x)[-1]), 2 * sample(6), mode="last", last="last")


@pytest.mark.parametrize("mode", ["steps", "mean"])
def test_membranes_vote_in_groups(mode: ReadoutMode) -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    layer = pytest.importorskip("spikingjelly.activation_based.layer")
    vote, reduce = layer.VotingLayer(4, step_mode="m"), REDUCTIONS[mode]

    class Voting(Readout):
        def __init__(self) -> None:
            super().__init__(neuron.NonSpikingLIFNode(tau=2.0), lambda _, x: x, outputs=12)
            self.vote = vote

        def forward(self, x: Tensor) -> Tensor:
            return reduce(self.vote(torch.stack(self.last(super().forward(x)))))

    graph = checked(Voting(), 2 * sample(6), mode=mode, last="last")
    assert [node.kind for node in graph][-4:] == ["reshape", "pool", "flatten", "readout"]


def test_spikes_that_vote_before_the_mean_are_observed_step_by_step() -> None:
    layer = pytest.importorskip("spikingjelly.activation_based.layer")
    torch.manual_seed(0)

    class Votes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif, self.vote = nn.Linear(6, 12), LIF(threshold=0.1), layer.VotingLayer(4, step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.vote(self.lif(self.fc(x))).mean(0)
            return y

    network, x = Votes().eval(), 2 * sample(6)
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x)
    seen = md.observe(network, graph, x)
    assert seen.logits.shape == (T, N, 3) and seen.output.any()
    torch.testing.assert_close(seen.logits.mean(0), seen.output)


# --- Norse -----------------------------------------------------------------------------------------------------------


class Cells(Readout):
    """A cell with an explicit state in a time loop."""

    def forward(self, x: Tensor) -> Tensor:
        currents, state, voltages = self.fc2(self.lif(self.fc1(x))), None, []
        for current in currents:
            voltage, state = self.last(current, state)
            voltages.append(voltage)
        return self.take(self.last, torch.stack(voltages))


@pytest.mark.parametrize(
    ("kind", "mode"), [("LICell", "steps"), ("LICell", "sum"), ("LIBoxCell", "mean"), ("LI", "last"), ("LI", "max")]
)
def test_norse_integrators(kind: str, mode: ReadoutMode) -> None:
    norse, reduce = pytest.importorskip("norse.torch"), REDUCTIONS[mode]
    parameters = norse.LIBoxParameters if kind == "LIBoxCell" else norse.LIParameters
    last = getattr(norse, kind)(parameters(v_leak=torch.as_tensor(0.125)))
    if kind == "LI":
        network: nn.Module = Readout(last, lambda node, x: reduce(node(x)[0]))
    else:
        network = Cells(last, lambda _, v: reduce(v))
    checked(network, 2 * sample(6), mode=mode, last="last")


def test_norse_sequences_end_in_an_integrator() -> None:
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(0)
    network = norse.SequentialState(nn.Linear(6, 12), norse.LIFCell(), nn.Linear(12, 3), norse.LICell())
    checked(md.Stepped(network), 30 * sample(6), mode="steps", last="3")


# --- sinabs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_input", [True, False])
def test_sinabs_exponential_leak(norm_input: bool) -> None:
    sinabs = pytest.importorskip("sinabs.layers")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 12), sinabs.LIF(tau_mem=3.0, spike_threshold=torch.tensor(0.2)), nn.Linear(12, 3),
        sinabs.ExpLeak(tau_mem=4.0, norm_input=norm_input),
    )  # fmt: skip
    checked(md.BatchFirst(network), 3 * sample(6), mode="steps", last="3")


def test_sinabs_exponential_leak_on_a_folded_batch() -> None:
    sinabs = pytest.importorskip("sinabs.layers")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 12), sinabs.IAFSqueeze(num_timesteps=T, spike_threshold=torch.tensor(0.5)), nn.Linear(12, 3),
        sinabs.ExpLeakSqueeze(num_timesteps=T, tau_mem=4.0),
    )  # fmt: skip
    checked(md.BatchFirst(network, layout="folded"), 3 * sample(6), mode="steps", last="3")


# --- what is refused -------------------------------------------------------------------------------------------------


def _makers() -> list[tuple[str, Make]]:
    return [
        ("spikingjelly", lambda: pytest.importorskip("spikingjelly.activation_based.neuron").NonSpikingLIFNode()),
        ("norse", lambda: pytest.importorskip("norse.torch").LI()),
        ("sinabs", lambda: pytest.importorskip("sinabs.layers").ExpLeak(tau_mem=2.0)),
    ]


@pytest.mark.parametrize(("library", "make"), _makers())
def test_another_membrane_than_the_described_is_caught_by_the_probe(library: str, make: Make) -> None:
    module = make()
    model = describe_neuron(module)
    assert model is not None and model.output == "membrane"
    probe("last", module, model)
    with pytest.raises(TraceError, match=r"'last' .*does not follow its description.*its membrane is"):
        probe("last", module, replace(model, decay=0.25))


@pytest.mark.parametrize(
    ("take", "says"),
    [
        (lambda net, v: net.lif2(v), "'lif2' (neuron) reads the membrane of the neuron 'last'"),
        (lambda net, v: net.head(v), "'last.digits' (digitizer) reads the membrane of the neuron 'last'"),
        (lambda net, v: v + v * 2, "'add' (add) reads the membrane of the neuron 'last'"),
    ],
)
def test_no_layer_follows_a_neuron_that_never_fires(take: Callable[[nn.Module, Tensor], Tensor], says: str) -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")

    class Followed(Readout):
        def __init__(self) -> None:
            super().__init__(neuron.NonSpikingLIFNode(), lambda _, x: x)
            self.lif2, self.head = LIF(), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return take(self, torch.stack(self.last(super().forward(x))))

    with pytest.raises(TraceError) as caught:
        trace(Followed(), 2 * sample(6))
    assert says in caught.value.message


def test_a_gain_that_differs_by_channel_has_no_one_membrane() -> None:
    norse = pytest.importorskip("norse.torch")
    parameters = norse.LIParameters(tau_mem_inv=torch.tensor([100.0, 200.0, 300.0]))
    with pytest.raises(TraceError, match="its gain differs from channel to channel"):
        trace(Cells(norse.LICell(parameters), lambda _, v: v), 2 * sample(6))


def test_the_readout_role_reaches_a_neuron_that_never_fires() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    network = Readout(neuron.NonSpikingLIFNode(tau=2.0), lambda node, x: torch.stack(node(x))).eval()
    x = 2 * sample(6)
    quantize = {"overrides": ({"match": "@readout", "membrane": {"bit_width": 12}, "weight": {"bit_width": 6}},)}
    recipe = md.Recipe.model_validate({"name": "a", "summary": "b", "quantize": quantize})
    plan = md.plan(recipe, trace(network, x))
    membranes = [policy.bit_width for name in ("lif", "last") if (policy := plan.node(name).membrane) is not None]
    weights = [weight.bit_width for name in ("fc1", "fc2") if (weight := plan.node(name).weight) is not None]
    assert membranes == [8, 12] and weights == [8, 6]


class Leftover(nn.Module):
    """A neuron of the user's own that starts where its last call ended."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 1.0

    def neuron_model(self) -> NeuronModel:
        return NeuronModel(0.5, 1.0, 0.0, 1.0, "greater", "none", 0.0, 0.0, 0.0, output="membrane")

    def forward(self, x: Tensor) -> Tensor:
        v, membranes = 0.0 if x.shape[0] == 100 else self.v, []  # the probe's 100 steps start from rest
        for step in x:
            v = 0.5 * v + step
            membranes.append(v)
        return torch.stack(membranes)


def test_a_membrane_that_does_not_start_from_rest_is_refused() -> None:
    leftover = Leftover()
    network = Readout(leftover, lambda node, x: node(x))
    with pytest.raises(TraceError, match="its output is not the membrane of the canonical neuron"):
        trace(network, 2 * sample(6))
    leftover.v = 0.0
    checked(network, 2 * sample(6), mode="steps", last="last")


def test_a_neuron_that_never_fires_has_no_reset() -> None:
    class Resetting(Leftover):
        def neuron_model(self) -> NeuronModel:
            return replace(super().neuron_model(), reset="hard")

    resetting = Resetting()
    network = Readout(resetting, lambda node, x: node(x))
    resetting.v = 0.0
    with pytest.raises(PlanError, match="a neuron that puts out its membrane has no reset"):
        md.plan(md.load_recipe("8bit"), trace(network, 2 * sample(6)))
