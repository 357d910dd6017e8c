"""snnTorch's tutorial networks: explicit membranes in a time loop, hidden state, recurrent and synaptic neurons."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mdcompress as md
from intsnn.graph import IntRecurrentNeuron
from mdcompress.errors import TraceError
from mdcompress.graph import Carries, ReadoutMode, ReadoutSpec, RecurrentSpec
from mdcompress.tracing import trace
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity
from tests.support.narrowed import statistics
from tests.support.recurrent_networks import FEATURES, MAP, NEURONS, check_recurrent, counts, enlivened, maps

snn = pytest.importorskip("snntorch")

T, N = 4, 2


def still(*shape: int) -> Tensor:
    return torch.rand(1, N, *shape, generator=torch.Generator().manual_seed(0)).expand(T, N, *shape)


def moving(*shape: int) -> Tensor:
    return torch.rand(T, N, *shape, generator=torch.Generator().manual_seed(0))


def checked(network: nn.Module, x: Tensor) -> list[str]:
    network.eval()
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x)
    return [node.kind for node in graph]


class FullyConnected(nn.Module):
    """Tutorial 5: one image, presented at every step."""

    def __init__(self, num_steps: int = T) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.num_steps = num_steps
        self.fc1, self.lif1 = nn.Linear(12, 10), snn.Leaky(beta=0.95, threshold=0.3)
        self.fc2, self.lif2 = nn.Linear(10, 3), snn.Leaky(beta=0.95, threshold=0.2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _ in range(self.num_steps):
            cur1 = self.fc1(x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Convolutional(nn.Module):
    """Tutorial 6: currents are max-pooled before the neuron."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.lif1 = nn.Conv2d(1, 4, 5), snn.Leaky(beta=0.5, threshold=0.3)
        self.conv2, self.lif2 = nn.Conv2d(4, 6, 5), snn.Leaky(beta=0.5, threshold=0.2)
        self.fc1, self.lif3 = nn.Linear(6 * 4 * 4, 10), snn.Leaky(beta=0.5, threshold=0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch_size = x.size(0)
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spk3_rec, mem3_rec = [], []
        for _ in range(T):
            spk1, mem1 = self.lif1(F.max_pool2d(self.conv1(x), 2), mem1)
            spk2, mem2 = self.lif2(F.max_pool2d(self.conv2(spk1), 2), mem2)
            spk3, mem3 = self.lif3(self.fc1(spk2.view(batch_size, -1)), mem3)
            spk3_rec.append(spk3)
            mem3_rec.append(mem3)
        return torch.stack(spk3_rec, dim=0), torch.stack(mem3_rec, dim=0)


def test_tutorial_5_fully_connected_with_explicit_membranes() -> None:
    kinds = checked(md.StillImage(FullyConnected()), still(12))
    assert kinds == ["input", "synapse", "neuron", "synapse", "neuron", "readout"]


def test_tutorial_6_convolutions_with_explicit_membranes() -> None:
    kinds = checked(md.StillImage(Convolutional()), still(1, 28, 28))
    assert kinds == [
        "input", "synapse", "pool", "neuron", "synapse", "pool", "neuron", "flatten", "synapse", "neuron", "readout",
    ]  # fmt: skip


def test_tutorial_6_sequential_with_hidden_state() -> None:
    torch.manual_seed(0)
    options = {"beta": 0.5, "init_hidden": True}
    network = nn.Sequential(
        nn.Conv2d(1, 4, 5), nn.MaxPool2d(2), snn.Leaky(threshold=0.3, **options),
        nn.Conv2d(4, 6, 5), nn.MaxPool2d(2), snn.Leaky(threshold=0.2, **options),
        nn.Flatten(), nn.Linear(6 * 4 * 4, 10), snn.Leaky(threshold=0.1, output=True, **options),
    )  # fmt: skip
    checked(md.Stepped(network), moving(1, 28, 28))


@pytest.mark.parametrize(
    "make",
    [
        lambda: snn.Synaptic(alpha=0.9, beta=0.8, threshold=0.5, init_hidden=True),
        lambda: snn.Synaptic(alpha=0.9, beta=0.8, threshold=0.5, init_hidden=True, reset_mechanism="zero"),
        lambda: snn.Lapicque(beta=0.8, threshold=0.3, init_hidden=True),
        lambda: snn.Leaky(beta=0.8, threshold=0.3, init_hidden=True, reset_delay=False),
        lambda: snn.Leaky(beta=0.8, threshold=0.3, init_hidden=True, reset_mechanism="zero"),
    ],
)
def test_neurons_with_hidden_state(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(3)
    checked(md.Stepped(nn.Sequential(nn.Linear(8, 16), make(), nn.Linear(16, 3))), 2 * moving(8))


class Synaptic(nn.Module):
    """Tutorial 4's neuron in a network: two states are passed by hand, over an input that moves."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = nn.Linear(6, 8), snn.Synaptic(alpha=0.9, beta=0.8, threshold=0.4)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> float | Tensor:
        syn, mem = self.lif.init_synaptic()
        total: float | Tensor = 0
        for t in range(x.shape[0]):
            spk, syn, mem = self.lif(self.fc(x[t]), syn, mem)
            total = total + self.out(spk)
        return total / x.shape[0]


def test_synaptic_states_passed_by_hand() -> None:
    network = Synaptic().eval()
    assert trace(network, moving(6)).readout.spec == ReadoutSpec("mean")
    checked(network, 2 * moving(6))


def test_as_many_steps_as_the_network_makes_are_needed() -> None:
    with pytest.raises(TraceError) as caught:
        trace(md.StillImage(FullyConnected(num_steps=5)), still(12))
    assert "is called for step 4 as call 5 of 4" in caught.value.message
    with pytest.raises(TraceError) as caught:
        trace(md.StillImage(FullyConnected(num_steps=3)), still(12))
    assert "joined over the steps 0, 1, 2, of 4" in caught.value.message


def test_the_membranes_and_their_registry_are_left_as_they_were() -> None:
    network = nn.Sequential(nn.Linear(4, 4), snn.Leaky(beta=0.9, init_hidden=True)).eval()
    network(torch.rand(2, 4))
    before, attributes = network[1].mem, set(vars(network[1]))
    trace(md.Stepped(network), moving(4))
    assert network[1].mem is before and set(vars(network[1])) == attributes


def test_a_membrane_given_to_another_neuron_is_refused() -> None:
    class Crossed(FullyConnected):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the answer alone
            mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
            spikes: list[Tensor] = []
            for _ in range(T):
                spk1, mem1 = self.lif1(self.fc1(x), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                mem1 = mem1 if len(spikes) < 1 else torch.zeros_like(mem1)
                spikes.append(spk2)
            return torch.stack(spikes)

    with pytest.raises(TraceError) as caught:
        trace(md.StillImage(Crossed()), still(12))
    assert "neuron 'lif1' is given another tensor for its state at step 2" in caught.value.message


class MembraneReadout(FullyConnected):
    """The last neuron's membrane is the answer, as in the tutorials' regressions."""

    def __init__(self, reduce: Callable[[Tensor], Tensor], **options: object) -> None:
        super().__init__()
        self.reduce = reduce
        self.lif2 = snn.Leaky(beta=0.9, threshold=0.3, **options)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the answer alone
        return self.reduce(super().forward(x)[1])


@pytest.mark.parametrize(
    "options", [{"reset_mechanism": "none"}, {"reset_mechanism": "subtract"}, {"reset_delay": False}]
)
@pytest.mark.parametrize(
    ("mode", "reduce"),
    [
        ("steps", lambda v: v), ("mean", lambda v: v.mean(0)), ("sum", lambda v: v.sum(0)),
        ("max", lambda v: v.amax(0)), ("last", lambda v: v[-1]),
    ],
)  # fmt: skip
def test_the_membrane_of_the_last_neuron_can_be_the_answer(
    mode: ReadoutMode, reduce: Callable[[Tensor], Tensor], options: dict[str, object]
) -> None:
    network, x = md.StillImage(MembraneReadout(reduce, **options)).eval(), still(12)
    graph = trace(network, x)
    assert graph.readout.spec == ReadoutSpec(mode) and graph.readout.carries.value == "current"
    assert_float_parity(graph, network, x)
    student = assert_integer_parity(network, graph, x, silent=("lif2",))
    seen, expected = student.observe(x), md.observe(network, graph, x)
    assert seen.logits.shape == expected.logits.shape == (T, N, 3)
    torch.testing.assert_close(seen.output, expected.output, rtol=0.1, atol=0.15)


class ThroughTime(nn.Module):
    """BNTT: a norm for every step, as snnTorch makes them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bntt1 = nn.Conv2d(1, 4, 3), snn.BatchNormTT2d(4, T)
        self.fc, self.bntt2 = nn.Linear(64, 8), snn.BatchNormTT1d(8, T)
        self.lif1, self.lif2 = snn.Leaky(beta=0.8, threshold=0.3), snn.Leaky(beta=0.8, threshold=0.3)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                statistics(module)[0].uniform_(-0.4, 0.1)
                statistics(module)[1].uniform_(0.2, 0.6)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        record = []
        for step in range(T):
            spk1, mem1 = self.lif1(self.bntt1[step](self.conv(x[step])), mem1)
            spk2, mem2 = self.lif2(self.bntt2[step](self.fc(spk1.flatten(1))), mem2)
            record.append(spk2)
        return torch.stack(record)


def test_batch_norm_through_time() -> None:
    network = ThroughTime().eval()
    assert checked(network, moving(1, 6, 6)) == [
        "input",
        "synapse",
        "neuron",
        "flatten",
        "synapse",
        "neuron",
        "readout",
    ]
    assert trace(network, moving(1, 6, 6)).fixed_steps == T


# --- recurrent neurons -----------------------------------------------------------------------------------------------

FEEDBACK: dict[str, dict[str, object]] = {
    "linear": {"linear_features": NEURONS},
    "one weight": {"all_to_all": False, "V": -0.4},
    "a weight each": {"all_to_all": False, "V": torch.linspace(-1.0, 0.5, NEURONS)},
}


@pytest.mark.parametrize("feedback", FEEDBACK)
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_recurrent_leaky_neurons_with_hidden_state(feedback: str, reset: str, delay: bool) -> None:
    torch.manual_seed(0)
    options = {"reset_mechanism": reset, "reset_delay": delay, "init_hidden": True, **FEEDBACK[feedback]}
    neuron = snn.RLeaky(beta=0.8, threshold=2.0, **options)
    network = md.Stepped(enlivened(nn.Sequential(nn.Linear(FEATURES, NEURONS), neuron, nn.Linear(NEURONS, 3))))
    check_recurrent(network, counts(), matters=feedback == "linear" or reset != "zero" or not delay)


@pytest.mark.parametrize("feedback", FEEDBACK)
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_recurrent_synaptic_neurons_with_hidden_state(feedback: str, reset: str) -> None:
    torch.manual_seed(0)
    neuron = snn.RSynaptic(0.5, 0.8, threshold=3.0, reset_mechanism=reset, init_hidden=True, **FEEDBACK[feedback])
    network = md.Stepped(enlivened(nn.Sequential(nn.Linear(FEATURES, NEURONS), neuron, nn.Linear(NEURONS, 3))))
    check_recurrent(network, counts(), recipe="4bit")


@pytest.mark.parametrize(
    "make",
    [
        lambda: snn.RLeaky(0.8, conv2d_channels=MAP[0], kernel_size=3, threshold=2.0, init_hidden=True),
        lambda: snn.RSynaptic(0.5, 0.8, conv2d_channels=MAP[0], kernel_size=(1, 3), threshold=2.0, init_hidden=True),
        lambda: snn.RLeaky(0.8, all_to_all=False, V=torch.rand(4, 1, 1) - 0.7, threshold=2.0, init_hidden=True),
    ],
)
def test_feedback_on_maps_is_a_convolution(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, MAP[0], 3, padding=1), make(), nn.Flatten(), nn.Linear(64, 3)]
    student = check_recurrent(md.Stepped(enlivened(nn.Sequential(*layers))), maps())
    neuron = md.lower(student).node("1")
    assert isinstance(neuron, IntRecurrentNeuron) and neuron.recurrent_weight.ndim == 4


class RecurrentTutorial(nn.Module):
    """RLeaky's own documentation: two layers with spikes and membranes passed by hand, one all-to-all, one not."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(FEATURES, NEURONS), snn.RLeaky(beta=0.8, linear_features=NEURONS)
        self.fc2, self.lif2 = nn.Linear(NEURONS, 10), snn.RLeaky(beta=0.8, all_to_all=False, V=0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spk1, mem1 = self.lif1.init_rleaky()
        spk2, mem2 = self.lif2.init_rleaky()
        spk2_rec, mem2_rec = [], []
        for step in range(x.shape[0]):
            spk1, mem1 = self.lif1(self.fc1(x[step]), spk1, mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), spk2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec), torch.stack(mem2_rec)


class RecurrentSynapticTutorial(nn.Module):
    """Three states passed by hand, and the membrane of the last neuron as the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(FEATURES, NEURONS), snn.RSynaptic(0.5, 0.8, linear_features=NEURONS)
        self.fc2, self.lif2 = nn.Linear(NEURONS, 10), snn.RLeaky(0.8, linear_features=10, reset_mechanism="none")

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.lif1.init_rsynaptic(), self.lif2.init_rleaky()
        membranes = []
        for step in x:
            states = self.lif1(self.fc1(step), *states)
            last = self.lif2(self.fc2(states[0]), *last)
            membranes.append(last[1])
        return torch.stack(membranes)


def test_the_tutorial_of_recurrent_neurons() -> None:
    torch.manual_seed(0)
    student = check_recurrent(enlivened(RecurrentTutorial()), counts())
    assert [node.name for node in student.graph.of(RecurrentSpec)] == ["lif1.recurrent", "lif2.recurrent"]


def test_recurrent_states_by_hand_and_a_membrane_as_the_answer() -> None:
    torch.manual_seed(0)
    student = check_recurrent(enlivened(RecurrentSynapticTutorial()), counts())
    assert student.graph.node("lif2").carries is Carries.CURRENT
    assert md.lower(student).node("lif2").kind == "recurrent_neuron"


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((6,), r"neuron '1' with spikes \(6, 4, 6\) .* neither one value nor one for each channel .* \(6,\)"),
        (
            (3, 1, 1),
            r"the network fails on the sample .*, in module '1\.recurrent': .*\(6\) must match.*\(3\)",
        ),
        ((4, 6), "differs from neuron to neuron within a channel"),
    ],
)
def test_recurrent_weights_of_another_size_than_the_channels_are_refused(shape: tuple[int, ...], says: str) -> None:
    neuron = snn.RLeaky(0.5, all_to_all=False, V=torch.full(shape, 0.5) + torch.arange(shape[-1]), init_hidden=True)
    network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), neuron).eval()
    with pytest.raises(TraceError, match=says):
        trace(md.Stepped(network), moving(1, 4, 6))
