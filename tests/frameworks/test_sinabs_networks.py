"""sinabs' documented networks: Squeeze layers on [N*T, ...], layers on [N, T, ...], pooling as a sum."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from float_graph import assert_float_parity
from live_networks import assert_integer_parity
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.graph import ReadoutSpec
from mdcompress.tracing import trace
from mdcompress.tracing.conventions import fit

pytest.importorskip("sinabs")
import sinabs.activation as activation
import sinabs.layers as sl

T, N = 4, 2


def images(*shape: int, gain: float = 1.0, batch: int = N) -> Tensor:
    return gain * torch.rand(T, batch, *shape, generator=torch.Generator().manual_seed(0))


def checked(network: nn.Module, x: Tensor) -> list[str]:
    network.eval()
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x)
    return [node.kind.value for node in graph]


def squeezed(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, bias=False), sl.IAFSqueeze(**options), sl.SumPool2d(2), nn.Flatten(),
        nn.Linear(4 * 4 * 4, 10, bias=False), sl.IAFSqueeze(**options),
    )  # fmt: skip


def test_squeeze_layers_with_a_number_of_steps() -> None:
    kinds = checked(md.BatchFirst(squeezed(num_timesteps=T), layout="folded"), images(1, 12, 12, gain=5.0))
    assert kinds == ["input", "synapse", "neuron", "pool", "scale", "flatten", "synapse", "neuron", "readout"]


def test_squeeze_layers_made_for_one_sample() -> None:
    network, x = md.BatchFirst(squeezed(batch_size=1), layout="folded").eval(), images(1, 12, 12, gain=5.0, batch=1)
    assert assert_float_parity(trace(network, x), network, x) > 0


def test_layers_over_batch_and_time() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(12, 10), sl.LIF(tau_mem=20.0, spike_fn=activation.SingleSpike, spike_threshold=torch.tensor(0.1)),
        nn.Linear(10, 5), sl.IAF(min_v_mem=-1.0, spike_threshold=torch.tensor(0.3)), nn.Linear(5, 3),
    )  # fmt: skip
    checked(md.BatchFirst(network), images(12, gain=5.0))


def test_an_average_over_the_second_axis_is_the_average_over_time() -> None:
    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.spikes = nn.Linear(12, 5), sl.IAF()

        def forward(self, x: Tensor) -> Tensor:
            return self.spikes(self.fc(x)).mean(1)

    network = md.BatchFirst(Averaged())
    assert trace(network, images(12)).readout.spec == ReadoutSpec("mean")
    seen = md.observe(network, trace(network, images(12)), images(12, batch=4))
    assert seen.output.shape == (4, 5) and seen.logits.shape == (T, 4, 5)
    torch.testing.assert_close(seen.logits.mean(0), seen.output)


def test_a_network_that_takes_the_batch_first_must_be_wrapped() -> None:
    with pytest.raises(TraceError) as caught:
        trace(nn.Sequential(nn.Linear(4, 4), sl.IAF()), images(4))
    assert "with leading axes (T, N): it needs (N, T)" in caught.value.message
    assert "mdcompress.BatchFirst" in caught.value.hints[0]
    with pytest.raises(TraceError):
        trace(md.BatchFirst(squeezed(num_timesteps=T)), images(1, 12, 12))


def test_the_persistent_buffers_are_left_as_they_were() -> None:
    network = nn.Sequential(nn.Linear(4, 4), sl.IAF()).eval()
    network(torch.rand(3, 5, 4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trace(md.BatchFirst(network), images(4))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("options", [{"batch_size": 5}, {"num_timesteps": 9}])
def test_squeeze_layers_made_for_other_batches_are_told_the_sizes_of_these(options: dict[str, int]) -> None:
    network, x = squeezed(**options).eval(), images(1, 12, 12, gain=5.0)
    found = fit(network, x)
    assert isinstance(found.network, md.BatchFirst) and "[N*T, ...]" in found.convention
    assert assert_float_parity(found.graph, found.network, x) > 0
    layer = network[1]
    assert (layer.batch_size, layer.num_timesteps) == (options.get("batch_size", -1), options.get("num_timesteps", -1))


def test_layers_over_batch_and_time_are_found() -> None:
    found = fit(nn.Sequential(nn.Linear(12, 10), sl.IAF(), nn.Linear(10, 3)).eval(), images(12, gain=5.0))
    assert isinstance(found.network, md.BatchFirst) and found.network.layout == "split"


def test_the_membranes_in_a_state_dict_are_left_out(tmp_path: Path) -> None:
    trained = squeezed(num_timesteps=T)
    trained(images(1, 12, 12, gain=5.0).transpose(0, 1).flatten(0, 1))
    assert trained.state_dict()["1.v_mem"].numel() > 0
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    network = squeezed(num_timesteps=T)
    with torch.no_grad():
        network[0].weight.zero_()
    md.load_weights(network, tmp_path / "weights.pt")
    assert torch.equal(network[0].weight, trained[0].weight) and network[1].v_mem.numel() == 0
