"""sinabs' documented networks: Squeeze layers on [N*T, ...], layers on [N, T, ...], pooling as a sum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.graph import ReadoutSpec
from mdcompress.tracing import trace
from mdcompress.tracing.conventions import fit
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity
from tests.support.recurrent_networks import FEATURES, MAP, NEURONS, check_recurrent, counts, enlivened, maps

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
    return [node.kind for node in graph]


def squeezed(**options: object) -> nn.Sequential:
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
            y: Tensor = self.spikes(self.fc(x)).mean(1)
            return y

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


# --- recurrent neurons -----------------------------------------------------------------------------------------------


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


RECURRENT: dict[str, Callable[[], nn.Module]] = {
    "LIF": lambda: sl.LIFRecurrent(tau_mem=8.0, rec_connect=linear(NEURONS, NEURONS)),
    "LIF with a synapse": lambda: sl.LIFRecurrent(
        tau_mem=8.0,
        tau_syn=3.0,
        rec_connect=linear(NEURONS, NEURONS),
        spike_fn=activation.SingleSpike,
        norm_input=False,
    ),
    "IAF with a floor": lambda: sl.IAFRecurrent(rec_connect=linear(NEURONS, NEURONS), min_v_mem=-1.0),
    "IAF through a bottleneck": lambda: sl.IAFRecurrent(
        rec_connect=nn.Sequential(nn.Flatten(), linear(NEURONS, 6), nn.Dropout(0.5), linear(6, NEURONS)),
        spike_fn=activation.MaxSpike(2),
    ),
}


@pytest.mark.parametrize("recipe", ["8bit", "4bit"])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_on_features(name: str, recipe: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(FEATURES, NEURONS), RECURRENT[name](), nn.Linear(NEURONS, 3))
    check_recurrent(md.BatchFirst(enlivened(network)), counts(), recipe=recipe)


class OnMaps(nn.Module):
    def __init__(self, connection: nn.Module) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, MAP[0], 3, padding=1), nn.Linear(64, 3)
        self.spikes = sl.LIFRecurrent(tau_mem=8.0, rec_connect=connection, norm_input=False)

    def forward(self, x: Tensor) -> Tensor:
        currents = self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        logits: Tensor = self.head(self.spikes(currents).flatten(2))
        return logits


@pytest.mark.parametrize(
    "connection",
    [
        lambda: nn.Conv2d(MAP[0], MAP[0], 3, padding=1, groups=2, bias=False),
        lambda: nn.Sequential(nn.Conv2d(MAP[0], MAP[0], (1, 3), padding=(0, 1), bias=False), nn.Identity()),
    ],
)
def test_recurrent_layers_on_maps(connection: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    check_recurrent(md.BatchFirst(enlivened(OnMaps(connection()))), maps())


class Masked(nn.Linear):
    """A layer whose forward is not what its weights say."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0.5


@pytest.mark.parametrize(
    "connection",
    [
        lambda: nn.Sequential(linear(8, 8), nn.ReLU()),
        lambda: Masked(8, 8, bias=False),
        lambda: nn.Sequential(),
    ],
)
def test_connections_that_are_no_one_layer_are_refused(connection: Callable[[], nn.Module]) -> None:
    network = nn.Sequential(nn.Linear(4, 8), sl.IAFRecurrent(rec_connect=connection()))
    with pytest.raises(TraceError) as caught:
        trace(md.BatchFirst(network), images(4))
    assert "neuron '1' with spikes (8,) cannot become integers: what its last spikes add" in caught.value.message
    assert "use one linear layer" in caught.value.hints[0]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    "connection",
    [
        lambda: nn.Conv2d(4, 4, 2, padding="same", bias=False),
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", bias=False),
        lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False),
        lambda: nn.Sequential(nn.Flatten(), linear(64, 64), nn.Unflatten(1, MAP)),
    ],
)
def test_connections_on_maps_that_are_no_plain_convolution_are_refused(connection: Callable[[], nn.Module]) -> None:
    with pytest.raises(TraceError, match=r"neuron 'spikes' with spikes \(4, 4, 4\) cannot become integers"):
        trace(md.BatchFirst(OnMaps(connection())), images(2, 4, 4))


@pytest.mark.parametrize("options", [{"batch_size": 5}, {"num_timesteps": 9}])
def test_squeeze_layers_made_for_other_batches_are_told_the_sizes_of_these(options: dict[str, int]) -> None:
    network, x = squeezed(**options).eval(), images(1, 12, 12, gain=5.0)
    found = fit(network, x)
    assert isinstance(found.network, md.BatchFirst) and "[N*T, ...]" in found.convention
    assert assert_float_parity(found.graph, found.network, x) > 0
    layer = network[1]
    assert isinstance(layer, sl.IAFSqueeze)
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
        network.get_parameter("0.weight").zero_()
    md.load_weights(network, tmp_path / "weights.pt")
    assert torch.equal(network.get_parameter("0.weight"), trained.get_parameter("0.weight"))
    assert network.get_buffer("1.v_mem").numel() == 0
