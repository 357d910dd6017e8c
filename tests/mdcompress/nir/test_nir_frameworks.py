"""Networks that a framework's own exporter wrote as NIR: read back, every spike is the one the framework fires."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters.base import cast_inputs
from tests.support.live_networks import assert_integer_parity
from tests.support.nir_versions import nir_with_v_reset

nir = nir_with_v_reset()
T, N = 8, 5
SpikesOf = Callable[[Tensor], dict[str, Tensor]]


def drawn(*shape: int, gain: float) -> Tensor:
    return gain * torch.rand(T, N, *shape, generator=torch.Generator().manual_seed(1))


def quietly(export: Callable[[], Any]) -> Any:
    """An exporter that prints and warns."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export()


def check(source: object, x: Tensor, fired: list[Tensor], **options: object) -> None:
    """The imported network's spikes are `fired`, in the network's order, and its student is exact."""
    network = md.from_nir(source, None, **options)
    traced = md.trace(network, x)
    seen = md.observe(network.double(), traced, x.double()).spikes
    assert len(seen) == len(fired)
    for found, expected in zip(seen.values(), fired, strict=True):
        assert found.shape == expected.shape and expected.any()
        assert torch.equal(found, expected.to(found.dtype))
    assert_integer_parity(network.float(), traced, x)


def written(graph: object, path: Path) -> Path:
    nir.write(path, graph)
    return path


def recorded(network: nn.Module, kinds: tuple[type, ...], run: Callable[[], object]) -> list[Tensor]:
    """What each module of these kinds gave over the run, [T, N, ...], in the order of the network."""
    calls: dict[str, list[Tensor]] = {name: [] for name, one in network.named_modules() if isinstance(one, kinds)}
    modules = dict(network.named_modules())

    def keeper(name: str) -> Callable[..., None]:
        return lambda _, __, out: calls[name].append((out[0] if isinstance(out, tuple) else out).detach())

    handles = [modules[name].register_forward_hook(keeper(name)) for name in calls]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return [found[0] if len(found) == 1 else torch.stack(found) for found in calls.values()]


def scaled(network: nn.Module, gain: float) -> nn.Module:
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(gain)
    return network


def test_spikingjelly(tmp_path: Path) -> None:
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange.to_nir import export_to_nir

    torch.manual_seed(0)
    network = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1), neuron.LIFNode(tau=2.0, v_reset=-0.25), layer.AvgPool2d(2), layer.Flatten(),
        layer.Linear(4 * 4 * 4, 12), neuron.IFNode(v_threshold=0.5),
        layer.Linear(12, 9, bias=False), neuron.ParametricLIFNode(3.0, decay_input=False),
        layer.Linear(9, 5), neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75, v_threshold=0.25),
    )  # fmt: skip
    scaled(network, 3.0)
    functional.set_step_mode(network, "m")
    x = drawn(1, 8, 8, gain=4.0)
    graph = quietly(lambda: export_to_nir(network, x))
    functional.reset_net(network)
    spikes = recorded(network.double(), (neuron.BaseNode,), lambda: network(x.double()))
    check(written(graph, tmp_path / "net.nir"), x, spikes, exporter="spikingjelly")


def snntorch_sequential(**options: object) -> nn.Sequential:
    import snntorch

    torch.manual_seed(0)

    def each(value: float, *shape: int) -> Tensor:
        return torch.full(shape, value)  # scalars are written without a shape, which nir's check calls an error

    def leaky(beta: float, threshold: float, *shape: int) -> nn.Module:
        made: nn.Module = snntorch.Leaky(
            each(beta, *shape), threshold=each(threshold, *shape), init_hidden=True, **options
        )
        return made

    synaptic = snntorch.Synaptic(each(0.7, 10), each(0.5, 10), threshold=each(1.0, 10), init_hidden=True, **options)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), leaky(0.9, 0.8, 3, 6, 6), nn.AvgPool2d(2, 2), nn.Flatten(),
        nn.Linear(27, 10), synaptic, nn.Linear(10, 4), leaky(0.3, 0.5, 4),
    )  # fmt: skip
    scaled(network, 2.0)
    return network


@pytest.mark.parametrize(("mechanism", "reset"), [("subtract", "soft"), ("zero", "hard"), ("none", "none")])
def test_snntorch(tmp_path: Path, mechanism: str, reset: str) -> None:
    snntorch = pytest.importorskip("snntorch")
    from snntorch.export_nir import export_to_nir

    network = snntorch_sequential(reset_mechanism=mechanism)
    x = drawn(1, 8, 8, gain=2.0)
    graph = quietly(lambda: export_to_nir(network, x[0, :1], ignore_dims=[0]))
    network = network.double()
    for module in network:
        if isinstance(module, snntorch.SpikingNeuron):
            module.reset_mem()
        cast_inputs(module, torch.float64)  # its spikes are float32 whatever the weights are
    spikes = recorded(network, (snntorch.SpikingNeuron,), lambda: [network(step) for step in x.double()])
    check(written(graph, tmp_path / "net.nir"), x, spikes, exporter="snntorch", reset=reset)


def test_norse() -> None:
    norse = pytest.importorskip("norse.torch")
    from norse.torch.utils.export_nir import to_nir

    torch.manual_seed(0)
    box = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.3))
    network = norse.SequentialState(
        nn.Conv2d(1, 3, 3), norse.LIFBoxCell(box),
        nn.Conv2d(3, 2, 3), norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.05))),
        nn.Conv2d(2, 2, 2), norse.IAFCell(norse.IAFParameters(v_th=torch.tensor(0.5))),
    )  # fmt: skip
    scaled(network, 2.0)
    x = drawn(1, 8, 8, gain=2.0)
    graph = quietly(lambda: to_nir(network, x[0]))

    def run() -> None:
        state = None
        for step in x.double():
            _, state = network(step, state)

    network = network.double()
    kinds = (norse.LIFBoxCell, norse.LIFCell, norse.IAFCell)
    check(
        graph, x, recorded(network, kinds, run), exporter="norse", reset="hard"
    )  # None as a shape: nir cannot write it


@pytest.mark.parametrize(("norm_input", "rule"), [(True, "exponential"), (False, "jump")])
def test_sinabs(tmp_path: Path, norm_input: bool, rule: str) -> None:
    pytest.importorskip("sinabs")
    import sinabs.layers as sl
    from sinabs.nir import to_nir

    torch.manual_seed(0)
    leaky = sl.LIFSqueeze(
        tau_mem=torch.full((10,), 5.0), norm_input=norm_input, spike_threshold=torch.ones(10), batch_size=N
    )
    network = nn.Sequential(
        nn.Conv2d(1, 4, 5, bias=False), sl.IAFSqueeze(batch_size=N), sl.SumPool2d(2), nn.Flatten(),
        nn.Linear(16, 10), leaky, nn.Linear(10, 4, bias=False), sl.IAFSqueeze(batch_size=N),
    )  # fmt: skip
    with torch.no_grad():
        network.get_parameter("6.weight").abs_()
    x = drawn(1, 8, 8, gain=3.0)
    folded = x.transpose(0, 1).flatten(0, 1)
    graph = quietly(lambda: to_nir(network, folded))
    graph.infer_types()  # sinabs leaves them open, and nir cannot write that
    network = network.double()
    for module in network:
        if isinstance(module, sl.StatefulLayer):
            module.reset_states()
        cast_inputs(module, torch.float64)  # its spikes are float32 whatever the weights are
    flat = recorded(network, (sl.StatefulLayer,), lambda: network(folded.double()))
    spikes = [torch.unflatten(one, 0, (N, T)).transpose(0, 1) for one in flat]
    check(
        written(graph, tmp_path / "net.nir"), x, spikes, exporter="sinabs", reset="soft", spikes="counts",
        discretization=rule,
    )  # fmt: skip


@pytest.mark.parametrize(("mechanism", "reset"), [("subtract", "soft"), ("zero", "hard")])
@pytest.mark.parametrize("kind", ["RLeaky", "RSynaptic", "one to one"])
def test_recurrent_neurons_of_snntorch(kind: str, mechanism: str, reset: str) -> None:
    snntorch = pytest.importorskip("snntorch")
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    options = {"threshold": torch.full((6,), 0.5), "init_hidden": True, "reset_mechanism": mechanism}
    match kind:
        case "RLeaky":
            neuron = snntorch.RLeaky(torch.full((6,), 0.5), linear_features=6, **options)
        case "RSynaptic":
            neuron = snntorch.RSynaptic(torch.full((6,), 0.6), torch.full((6,), 0.5), linear_features=6, **options)
        case _:
            neuron = snntorch.RLeaky(torch.full((6,), 0.5), V=torch.rand(6), all_to_all=False, **options)
    network, x = nn.Sequential(nn.Linear(4, 6), neuron), 3 * torch.rand(20, N, 4)
    graph = quietly(lambda: export_to_nir(network, x[0, :1], ignore_dims=[0]))
    network = network.double()
    cast_inputs(neuron.recurrent, torch.float64)
    neuron.reset_mem()
    with torch.no_grad():
        expected = torch.stack([network(step) for step in x.double()])
    assert 0.05 < float(expected.mean()) < 0.95
    check(graph, x, [expected], exporter="snntorch", reset=reset)
