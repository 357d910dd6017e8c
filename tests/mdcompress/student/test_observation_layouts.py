"""What observe() shows of float networks, however they are called; the student's view has the same shapes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters import simulate
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF

T, N = 4, 3


class Net(nn.Module):
    """fc, lif, out: called as `run` says."""

    def __init__(self, run: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = run
        self.fc, self.lif, self.out = nn.Linear(5, 6), LIF(threshold=0.3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def sample(samples: int = N) -> Tensor:
    return 2 * torch.rand(T, samples, 5, generator=torch.Generator().manual_seed(0))


def _folded(m: Net, x: Tensor) -> Tensor:
    spikes = m.lif(m.fc(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
    y: Tensor = m.out(spikes.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(0)
    return y


FORMS: list[Callable[[Net, Tensor], Tensor]] = [
    lambda m, x: m.out(m.lif(m.fc(x))),
    lambda m, x: m.out(m.lif(m.fc(x))).mean(0),
    lambda m, x: torch.stack([m.out(spikes) for spikes in m.lif(torch.stack([m.fc(step) for step in x]))]).mean(0),
    _folded,
    lambda m, x: m.out(m.lif(m.fc(x)).transpose(0, 1)).mean(1),
    lambda m, x: m.out(m.lif(m.fc(x)).transpose(0, 1).flatten(0, 1)).unflatten(0, (-1, len(x))).mean(1),
]


@pytest.mark.parametrize("samples", [N, T])
@pytest.mark.parametrize("run", FORMS)
def test_every_layout_shows_the_same(run: Callable[[Net, Tensor], Tensor], samples: int) -> None:
    network, x = Net(run).eval(), sample(samples)
    graph = trace(network, x)
    with torch.no_grad():
        seen = md.observe(network, graph, x)
        currents = network.fc(x)
    model = graph.node("lif").spec
    assert isinstance(model, NeuronModel)
    expected = simulate(model, currents)
    assert torch.equal(seen.spikes["lif"], expected.spikes) and seen.spikes["lif"].sum() > 0
    torch.testing.assert_close(seen.potentials["lif"], expected.potentials)
    torch.testing.assert_close(seen.logits, network.out(expected.spikes))
    assert not network.lif._forward_pre_hooks and not network.out._forward_hooks


def test_the_average_before_the_last_layer_stands_for_every_step() -> None:
    network, x = Net(lambda m, x: m.out(m.lif(m.fc(x)).mean(0))).eval(), sample()
    graph = trace(network, x)
    seen = md.observe(network, graph, x)
    assert seen.logits.shape == (T, N, 2)
    assert torch.equal(seen.logits[0], seen.logits[-1])
    torch.testing.assert_close(seen.logits.mean(0), seen.output)
    student = md.compress(network, x, "8bit", [x])
    torch.testing.assert_close(student.observe(x).output, seen.output, rtol=0.05, atol=0.05)


def test_one_step_is_one_step() -> None:
    network, x = Net(FORMS[1]).eval(), sample()[:1]
    seen = md.observe(network, trace(network, x), x)
    assert seen.logits.shape == (1, N, 2) and seen.spikes["lif"].shape == (1, N, 6)


def test_logits_are_read_from_a_layer() -> None:
    class Doubled(Net):
        def forward(self, x: Tensor) -> Tensor:
            spikes = self.lif(self.fc(x))
            y: Tensor = (spikes + spikes).mean(0)
            return y

    network = Doubled(FORMS[0])
    with pytest.raises(TraceError, match="per-step logits are read where the readout stands"):
        md.observe(network, trace(network, sample()), sample())


def test_a_neuron_may_be_the_last_layer() -> None:
    network = nn.Sequential(nn.Linear(5, 6), IF(threshold=0.3))
    wrapped = _Averaged(network)
    seen = md.observe(wrapped, trace(wrapped, sample()), sample())
    assert torch.equal(seen.logits, seen.spikes["body.1"])


class _Averaged(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x).mean(0)
        return y
