"""A library that nobody knows yet: one `Library` in the list of the shipped ones, and everything knows it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters import Calling, Library, NeuronAdapter, Refusal, describe_neuron, find_neurons, shipped
from mdcompress.adapters.base import LayerClasses
from mdcompress.adapters.recurrence import input_layer, recurrent_layer
from mdcompress.adapters.samples import Sample, sample
from mdcompress.adapters.state import is_at_rest, reset_state, sized, state_names
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel
from mdcompress.tracing import trace
from mdcompress.tracing.conventions import fit

_NAME = "madeup"


class Cell(nn.Module):
    """Batch first, [N, T, ...]; weights on its input; its state goes on from call to call."""

    level: Tensor

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(size, size) / size**0.5)
        self.register_buffer("level", torch.zeros(0))
        self.batch, self.steps = 1, 1

    def forward(self, x: Tensor) -> Tensor:
        currents, spikes = x @ self.weights.T, []
        v = self.level if self.level.shape == currents[:, 0].shape else torch.zeros_like(currents[:, 0])
        for current in currents.unbind(1):
            h = 0.5 * v + current
            spikes.append((h >= 1.0).to(x.dtype))
            v = h - spikes[-1]
        self.level = v
        return torch.stack(spikes, 1)


class Scaled(nn.Linear):
    """A layer of the library whose weights are others than it holds."""


class Random(nn.Module):
    """A neuron without integers."""


class MadeUp(Library):
    title, library = "MadeUp", _NAME
    layers = LayerClasses((f"{_NAME}.layers",), rescaled=("Scaled",))
    refusals = (Refusal(_NAME, ("Random",), "it fires at random", "train with Cell"),)

    def describe(self, module: nn.Module) -> NeuronModel | Refusal | None:
        match type(module).__name__:
            case "Cell":
                return NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "soft", 0.0, 1.0, 0.0)
            case "Random":
                return self.refusals[0]
            case _:
                return None

    def run(self, module: Any, currents: Tensor) -> Tensor:
        module.weights = nn.Parameter(torch.eye(currents.shape[-1], dtype=torch.float64))
        self.reset(module)
        spikes: Tensor = module(currents.transpose(0, 1))
        return spikes.transpose(0, 1)

    def calling(self, module: nn.Module) -> Calling:
        return Calling(("N", "T"))

    def reset(self, module: Any) -> None:
        if hasattr(module, "level"):
            module.level = torch.zeros(0)

    def is_at_rest(self, module: Any) -> bool:
        return not module.level.any()

    def state_names(self, module: nn.Module) -> tuple[str, ...]:
        return ("level",)

    def size_names(self, module: nn.Module) -> tuple[str, str] | None:
        return ("batch", "steps") if isinstance(module, Cell) else None

    def input_layer(self, module: Any) -> nn.Linear | None:
        layer = nn.Linear(len(module.weights), len(module.weights), bias=False)
        layer.weight = module.weights
        return layer

    def samples(self) -> tuple[Sample, ...]:
        return (sample(_NAME, "Cell", size=3),)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is installed, and its adapter shipped."""
    package = ModuleType(_NAME)
    for kind in (Cell, Scaled, Random):
        monkeypatch.setattr(kind, "__module__", f"{_NAME}.layers")
        setattr(package, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, _NAME, package)
    monkeypatch.setattr(shipped, "ADAPTERS", (*shipped.ADAPTERS, MadeUp()))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), Cell(), nn.Linear(5, 2)).eval()


def inputs() -> Tensor:
    return 3 * torch.rand(6, 8, 4, generator=torch.Generator().manual_seed(0))


def test_its_networks_are_called_traced_compressed_verified_and_evaluated() -> None:
    x = inputs()
    found = fit(network(), x)
    assert isinstance(found.network, md.BatchFirst)
    assert [node.name for node in found.graph][1:-1] == [
        "0", "0.digits", "1.input", "1", "2",
    ]  # fmt: skip
    student = md.compress(found.network, x, "8bit", [x])
    report = md.verify(student, x)
    assert report.equal and report.spikes > 50
    seen = md.observe(found.network, found.graph, x)
    again = md.observe(found.network, found.graph, x)
    assert torch.equal(seen.spikes["1"], again.spikes["1"]) and seen.spikes["1"].any()
    y = torch.zeros(8, dtype=torch.int64)
    assert md.evaluate(found.network, [(x, y)]).loss == pytest.approx(
        md.evaluate(found.network, [(x, y)] * 3).loss, abs=0
    )


def test_its_states_are_named_reset_and_seen() -> None:
    made = network()
    made(inputs())
    assert state_names(made) == {"1.level"} and not is_at_rest(made[1])
    reset_state(made)
    assert is_at_rest(made[1])
    cell = made[1]
    assert isinstance(cell, Cell)
    with sized(made, 7, 3):
        assert [cell.batch, cell.steps] == [7, 3]
    assert [cell.batch, cell.steps] == [1, 1]


def test_its_refusals_are_said_and_its_layers_are_known() -> None:
    with pytest.raises(TraceError, match=r"neuron '1' \(madeup.layers.Random\) cannot become integers: it fires"):
        find_neurons(nn.Sequential(nn.Linear(2, 2), Random()))
    with pytest.raises(TraceError, match=r"'0' \(Scaled\) has a forward of its own"):
        trace(nn.Sequential(Scaled(4, 5), nn.Linear(5, 2)).eval(), inputs())


def test_its_neurons_are_shown_on_the_page() -> None:
    from mdcompress.reference.support_page import neuron_row, samples

    (shown,) = samples()["MadeUp"]
    assert neuron_row(shown) == "| `Cell(size=3)` | `[N, T, ...]` | `h = 0.5 v + x; s = [h >= 1]; v = h - s` |"


def test_a_users_adapter_without_more_leaves_the_rest_to_the_library() -> None:
    described = describe_neuron(Cell())
    adapter = NeuronAdapter(lambda module: described if isinstance(module, Cell) else None)
    cell = Cell()
    cell.level = torch.ones(2, 5)
    assert adapter.calling(cell) == Calling(("N", "T")) and not adapter.is_at_rest(cell)
    adapter.reset(cell)
    assert adapter.is_at_rest(cell) and input_layer(cell) is not None


def test_an_adapter_of_two_methods_is_completed() -> None:
    class Two:
        def describe(self, module: nn.Module) -> NeuronModel | None:
            return describe_neuron(md.zoo.LIF()) if isinstance(module, nn.Hardtanh) else None

        def run(self, module: nn.Module, currents: Tensor) -> Tensor:
            spikes: Tensor = md.zoo.LIF()(currents)
            return spikes

    assert list(find_neurons(nn.Sequential(nn.Hardtanh()), adapters=[Two()])) == ["0"]  # type: ignore[list-item]
    reset_state(nn.Sequential(nn.Hardtanh()), [Two()])  # type: ignore[list-item]
    assert is_at_rest(nn.Hardtanh(), [Two()])  # type: ignore[list-item]


def test_what_a_recurrent_neuron_names_is_its_layer_by_default() -> None:
    holder = nn.ModuleDict({"synapse": nn.Linear(3, 3)})
    model = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "soft", 0.0, 1.0, 0.0, recurrent="synapse")
    assert recurrent_layer(holder, model) is holder["synapse"]
