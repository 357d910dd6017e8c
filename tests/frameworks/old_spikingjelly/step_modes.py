"""`activation_based` of 0.0.0.0.14: the classes with step modes, before 2.0."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters import Calling, describe_neuron
from mdcompress.adapters.calling import calling_of
from mdcompress.errors import TraceError
from mdcompress.tracing import trace
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity, enliven
from tests.support.neuron_layers import check_neuron
from tests.support.old_releases import STEP_MODES, STEP_MODES_REFUSED, without_constructor

if importlib.util.find_spec("spikingjelly.activation_based") is None:
    pytest.skip("it has no step modes", allow_module_level=True)
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model import sew_resnet

BROKEN = ("LIAFNode",)  # its constructor fails
RELEASE = importlib.metadata.version("spikingjelly")


def run(module: nn.Module, currents: Tensor) -> Tensor:
    functional.reset_net(module)
    if module.step_mode == "m":
        y: Tensor = module(currents)
        return y
    return torch.stack([module(current) for current in currents])


def made(name: str, step_mode: str, reset: float | None) -> nn.Module:
    options: dict[str, object] = {"v_reset": reset, "step_mode": step_mode}
    if name != "IFNode":
        options["decay_input"] = step_mode == "m"
    module: nn.Module = getattr(neuron, name)(**options)
    if name == "KLIFNode":
        nn.init.constant_(module.get_parameter("k"), 1.25)
    return module


RESETS = {name: [0.0, -0.25] + [None] * (name != "KLIFNode") for name in STEP_MODES[RELEASE]}  # KLIFNode: fails on None


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize(("name", "reset"), [(name, reset) for name, each in RESETS.items() for reset in each])
def test_every_neuron_becomes_exact_integers(name: str, step_mode: str, reset: float | None) -> None:
    module = made(name, step_mode, reset)
    check_neuron(module, run)
    assert calling_of(module) == Calling(("T", "N") if step_mode == "m" else ("N",))


@pytest.mark.parametrize("name", STEP_MODES_REFUSED[RELEASE])
def test_classes_without_integers_are_refused_by_name_and_release(name: str) -> None:
    kind = getattr(neuron, name)
    module = without_constructor(kind) if name in BROKEN else kind()
    with pytest.raises(TraceError, match=rf"{name}, spikingjelly {RELEASE}\) cannot become integers"):
        describe_neuron(module)


def test_every_class_is_described_or_refused() -> None:
    offered = {name for name, value in vars(neuron).items() if isinstance(value, type) and issubclass(value, nn.Module)}
    assert offered - {"BaseNode"} == {*STEP_MODES[RELEASE], *STEP_MODES_REFUSED[RELEASE]}


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_sew_resnet(step_mode: str) -> None:
    network = sew_resnet.SEWResNet(
        sew_resnet.BasicBlock, [1, 1, 0, 0], num_classes=3, cnf="ADD", spiking_neuron=neuron.IFNode
    )
    network.layer3, network.layer4, network.fc = nn.Identity(), nn.Identity(), layer.Linear(128, 3)
    functional.set_step_mode(network, step_mode)
    wrapped = network if step_mode == "m" else md.Stepped(network)
    x = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    enliven(wrapped, x, bias=0.5, weight=1.0)
    graph = trace(wrapped, x)
    assert_float_parity(graph, wrapped, x)
    assert_integer_parity(wrapped, graph, x)
    assert [node.kind for node in graph].count("add") == 2
