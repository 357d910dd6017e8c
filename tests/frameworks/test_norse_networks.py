"""Norse's documented networks: SequentialState over cells and over sequences, Lift, a module with a time loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.graph import ReadoutSpec
from mdcompress.tracing import trace
from tests.support.command_line import invoke
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity
from tests.support.recurrent_networks import FEATURES, NEURONS, check_recurrent, counts, enlivened

norse = pytest.importorskip("norse.torch")

T, N = 8, 2


def images(*shape: int, gain: float = 1.0) -> Tensor:
    return gain * torch.rand(T, N, *shape, generator=torch.Generator().manual_seed(0))


def checked(network: nn.Module, x: Tensor) -> list[str]:
    network.eval()
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x)
    return [node.kind for node in graph]


def test_sequential_state_of_cells_runs_step_by_step() -> None:
    torch.manual_seed(0)
    network = norse.SequentialState(
        nn.Conv2d(1, 4, 5), norse.LIFCell(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4 * 4 * 4, 10), norse.LIFBoxCell(), nn.Linear(10, 3),
    )  # fmt: skip
    with torch.no_grad():
        network[4].weight.uniform_(-0.5, 1.5)
    kinds = checked(md.Stepped(network), images(1, 12, 12, gain=20.0))
    assert kinds == ["input", "synapse", "neuron", "pool", "flatten", "synapse", "neuron", "synapse", "readout"]


def test_sequences_and_lifted_layers() -> None:
    torch.manual_seed(0)
    network = norse.SequentialState(
        norse.Lift(nn.Conv2d(1, 4, 5)), norse.LIF(), norse.Lift(nn.MaxPool2d(2)), nn.Flatten(2), nn.Linear(4 * 4 * 4, 3)
    )
    kinds = checked(network, images(1, 12, 12, gain=20.0))
    assert kinds == ["input", "synapse", "neuron", "pool", "flatten", "synapse", "readout"]


class Classifier(nn.Module):
    """The form of Norse's MNIST task: cells with explicit states in a loop, and the largest output over time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif = nn.Linear(6, 20), norse.LIFCell()
        self.out = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        voltages = []
        for t in range(x.shape[0]):
            spikes, state = self.lif(self.fc1(x[t]), state)
            voltages += [self.out(spikes)]
        values, _ = torch.max(torch.stack(voltages), 0)
        return values


def test_states_in_a_loop_and_the_largest_output() -> None:
    assert trace(Classifier(), images(6)).readout.spec == ReadoutSpec("max")
    checked(Classifier(), images(6, gain=20.0))


def test_the_last_output_is_a_readout_too() -> None:
    class Last(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            state = None
            for step in x:
                spikes, state = self.lif(self.fc1(step), state)
            y: Tensor = self.out(spikes)
            return y

    assert trace(Last(), images(6)).readout.spec == ReadoutSpec("last")
    checked(Last(), images(6, gain=20.0))


def test_a_cell_whose_state_is_dropped_is_refused() -> None:
    class Forgetful(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.out(self.lif(self.fc1(step))[0]) for step in x]).mean(0)

    with pytest.raises(TraceError) as caught:
        trace(Forgetful(), images(6))
    assert "'lif' is called without its state at step 1" in caught.value.message
    assert "spikes, state = neuron(x, state)" in caught.value.hints[0]


def test_a_state_that_is_not_at_rest_is_refused() -> None:
    class Excited(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            state = self.lif(torch.ones(x.shape[1], 20))[1] if False else None
            zero = torch.zeros(x.shape[1], 20)
            state = norse.LIFFeedForwardState(v=zero + 0.5, i=zero)
            spikes = []
            for step in x:
                z, state = self.lif(self.fc1(step), state)
                spikes.append(z)
            return torch.stack(spikes).mean(0)

    with pytest.raises(TraceError) as caught:
        trace(Excited(), images(6))
    assert "starts from a state that is not its resting state" in caught.value.message


# --- the network of Norse's MNIST task -------------------------------------------------------------------------------


def documented(size: int = 16) -> nn.Module:
    """norse.task.mnist's ConvNet4, for smaller images; with the default time constants it needs strong weights."""
    from norse.torch.models.conv import ConvNet4

    torch.manual_seed(0)
    network: nn.Module = ConvNet4(feature_size=size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4.0)
    return network.eval()


def test_the_network_of_the_mnist_task_fires_in_every_layer_and_is_exact() -> None:
    network, x = documented(), images(1, 16, 16, gain=8.0)
    graph = trace(network, x)
    assert [(node.name, node.kind) for node in graph][-3:] == [
        ("out.input", "synapse"), ("out", "neuron"), ("readout", "readout"),
    ]  # fmt: skip
    assert graph.membrane_readout == graph.node("out") and graph.readout.spec == ReadoutSpec("steps")
    assert_float_parity(graph, network, x)
    seen = md.observe(network, graph, x)
    with torch.no_grad():
        torch.testing.assert_close(seen.logits, network(x))
    student = assert_integer_parity(network, graph, x, silent=("out",))
    with torch.no_grad():
        error = (student.observe(x).logits - seen.logits).abs().mean() / seen.logits.abs().max()
    assert float(error) < 0.1
    student.train()(x).square().sum().backward()
    assert student.synapse("out.input").layer.weight.grad.any()


DATA = """\
import torch

def loaders(time_steps, batch_size, seed):
    images = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(20) % 10
    batch = 8.0 * images.expand(time_steps, -1, -1, -1, -1).contiguous(), labels
    return [batch], [batch], [batch]
"""


def test_the_network_of_the_mnist_task_passes_the_four_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "images_for_norse.py").write_text(DATA)
    (tmp_path / "network_of_norse.py").write_text(
        "from norse.torch.models.conv import ConvNet4\n\ndef build():\n    return ConvNet4(feature_size=16)\n"
    )
    torch.save(documented().state_dict(), tmp_path / "weights.pt")
    own = ["--recipe", "4bit", "--model", "network_of_norse:build", "--weights", "weights.pt",
           "--set", "data.name=images_for_norse:loaders", "--set", "distill.epochs=1"]  # fmt: skip
    for command in (["quantize", *own], ["distill", *own], ["export"], ["estimate-hw"]):
        result = invoke(*command)
        assert result.code == 0, f"{command}\n{result.err}"
    assert (tmp_path / "runs/4bit/report.html").is_file()


def test_integrators_with_weights_follow_the_recipe_and_end_a_sequence() -> None:
    torch.manual_seed(0)
    resting = norse.LIParameters(v_leak=torch.tensor(0.125))
    network = norse.SequentialState(nn.Linear(6, 20), norse.LIFCell(), norse.LILinearCell(20, 3, p=resting))
    x = images(6, gain=30.0)
    graph = trace(md.Stepped(network), x)
    assert [node.name for node in graph][-3:] == ["2.input", "2", "readout"]
    assert_float_parity(graph, md.Stepped(network), x)
    assert_integer_parity(md.Stepped(network), graph, x, recipe="4bit", silent=("2",))
    quantize = {"overrides": ({"match": "2.input", "weight": {"bit_width": 5}},)}
    recipe = md.Recipe.model_validate({"name": "a", "summary": "b", "quantize": quantize})
    weight = md.plan(recipe, graph).node("2.input").weight
    assert weight is not None and weight.bit_width == 5


# --- recurrent neurons -----------------------------------------------------------------------------------------------

FAST = norse.LIFParameters(tau_mem_inv=torch.tensor(400.0), tau_syn_inv=torch.tensor(300.0), v_leak=torch.tensor(-0.25))


@pytest.mark.parametrize("autapses", [True, False])
def test_recurrent_cells_in_a_sequential_state(autapses: bool) -> None:
    torch.manual_seed(0)
    cell = norse.LIFRecurrentCell(FEATURES, NEURONS, p=FAST, autapses=autapses)
    network = md.Stepped(enlivened(norse.SequentialState(cell, nn.Linear(NEURONS, 3))))
    student = check_recurrent(network, counts())
    kinds = [(node.name, node.kind) for node in student.graph]
    assert kinds[1:4] == [
        ("0.input", "synapse"), ("0.recurrent", "recurrent"), ("0", "neuron"),
    ]  # fmt: skip


def test_recurrent_layers_over_sequences() -> None:
    torch.manual_seed(0)
    network = norse.SequentialState(
        norse.LIFRecurrent(FEATURES, NEURONS, p=FAST),
        norse.LIFRecurrent(NEURONS, 20, p=FAST, recurrent_weights=torch.randn(20, 20) / 4, autapses=True),
        nn.Linear(20, 3),
    )
    check_recurrent(enlivened(network), counts(), recipe="4bit")


def test_a_recurrent_layer_that_reads_currents_reads_them_as_small_integers() -> None:
    torch.manual_seed(0)
    network = norse.SequentialState(nn.Linear(FEATURES, 8), norse.LIFRecurrent(8, NEURONS, p=FAST))
    student = check_recurrent(enlivened(network), counts())
    assert [node.kind for node in student.graph][1:4] == ["synapse", "digitizer", "synapse"]


def test_recurrent_cells_in_a_loop() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.out = norse.LIFRecurrentCell(FEATURES, NEURONS, p=FAST), nn.Linear(NEURONS, 3)

        def forward(self, x: Tensor) -> Tensor:
            state, answers = None, []
            for step in x:
                spikes, state = self.hidden(step, state)
                answers.append(self.out(spikes))
            return torch.stack(answers).mean(0)

    torch.manual_seed(0)
    check_recurrent(enlivened(Loop()), counts())


def test_a_recurrent_layer_that_reads_maps_is_refused() -> None:
    network = norse.SequentialState(norse.Lift(nn.Conv2d(1, 2, 3)), norse.LIFRecurrent(6, 4))
    with pytest.raises(TraceError, match=r"neuron '1' holds weights for features, and reads \(2, 6, 6\)"):
        trace(network, images(1, 8, 8))
