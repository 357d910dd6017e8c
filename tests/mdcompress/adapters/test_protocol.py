"""Methods and classes of a user's own that only share a name with this tool's protocol, or with a library."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters import describe_neuron, find_neurons
from mdcompress.adapters.advice import reset_advice
from mdcompress.adapters.base import class_and_version
from mdcompress.adapters.protocol import method_of
from mdcompress.adapters.state import is_at_rest, reset_state
from mdcompress.errors import TraceError
from mdcompress.tracing.conventions import fit
from mdcompress.zoo import LIF


class Named(nn.Module):
    """A network whose names mean something else: the neuron's equation, the size of a state, a list of modes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.lif, self.outer = nn.Linear(4, 6), LIF(threshold=0.4), nn.Linear(6, 3)
        self.step_mode, self.batch_size = torch.ones(2), torch.ones(2)
        self.adapters, self.state_names, self.calling = ["lif"], {"v": 1}, None

    def neuron_model(self, current: Tensor, voltage: Tensor) -> Tensor:
        return voltage / 2 + current

    def reset_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size)

    def is_at_rest(self, step: int) -> bool:
        raise AssertionError("never called")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.outer(self.lif(self.inner(x))).mean(0)
        return logits


def _sample(*shape: int) -> Tensor:
    return 2 * torch.rand(5, 3, *shape, generator=torch.Generator().manual_seed(0))


def test_a_network_whose_methods_want_arguments_is_a_network_without_a_protocol() -> None:
    network, x = Named().eval(), _sample(4)
    assert describe_neuron(network) is None and list(find_neurons(network)) == ["lif"]
    reset_state(network)
    assert is_at_rest(network)
    found = fit(network, x)
    assert found.network is network
    report = md.verify(md.compress(network, x, "8bit", [x]), x)
    assert report.equal and report.spikes > 0


@pytest.mark.parametrize(
    ("of", "ours"),
    [
        (lambda self: None, True),
        (lambda self, size=1: None, True),
        (lambda self, *sizes, **words: None, True),
        (lambda self, size: None, False),
        (lambda self, *, size: None, False),
        (staticmethod(lambda: None), True),
        (staticmethod(lambda size: None), False),
        (LIF, False),
        (LIF(), False),
        (3, False),
        (None, False),
    ],
)
def test_a_method_is_ours_where_it_can_be_called_without_arguments(of: object, ours: bool) -> None:
    module = type("Own", (nn.Module,), {"reset_state": of})()
    assert (method_of(module, "reset_state") is not None) is ours
    reset_state(module)
    assert is_at_rest(module) is not ours


def test_parts_and_classes_of_that_name_are_no_methods() -> None:
    class Holding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron_model, self.reset_state = LIF(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            spikes: Tensor = self.neuron_model(x)
            return spikes

    assert list(find_neurons(Holding())) == ["neuron_model"]
    reset_state(Holding())
    graph = fit(nn.Sequential(nn.Linear(4, 4), Holding(), nn.Linear(4, 2)).eval(), _sample(4)).graph
    assert "1.neuron_model" in [node.name for node in graph.nodes]


def test_the_advice_on_a_reset_with_arguments_is_to_give_them_defaults() -> None:
    assert reset_advice(Named()) == ["let Named.reset_state be callable without arguments: give each of them a default"]


# --- classes that bear a library's name ------------------------------------------------------------------------------


def _own_copy(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> Callable[[], nn.Module]:
    """The class Leaky of a file `snntorch/copied.py` in a user's tree."""
    path = folder / "snntorch" / "copied.py"
    path.parent.mkdir()
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("snntorch.copied", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "snntorch.copied", module)
    spec.loader.exec_module(module)
    made: Callable[[], nn.Module] = module.Leaky
    return made


_WITHOUT_OPTIONS = """
import torch
from torch import nn

class Leaky(nn.Module):
    def forward(self, x):
        v, spikes = torch.zeros_like(x[0]), []
        for current in x:
            v = 0.5 * v + current
            spikes.append((v >= 0.5).to(x.dtype))
            v = v - 0.5 * spikes[-1]
        return torch.stack(spikes)
"""
_OTHERWISE = """
import torch
from snntorch import Leaky as Original

class Leaky(Original):
    def forward(self, x, mem):
        spikes, mem = super().forward(x, mem)
        return spikes * (x < 3.0), mem
"""


def test_a_class_that_is_not_as_the_librarys_is_refused_by_what_it_lacks_and_read_off_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("snntorch")
    torch.manual_seed(0)
    made = _own_copy(tmp_path, monkeypatch, _WITHOUT_OPTIONS)()
    network = nn.Sequential(nn.Linear(4, 6), made, nn.Linear(6, 2)).eval()
    with pytest.raises(TraceError, match=r"it is not as snnTorch's class of that name \(AttributeError") as caught:
        find_neurons(network)
    assert f"from {tmp_path / 'snntorch'}, not the installed snntorch" in caught.value.message
    reset_state(network)
    found, x = fit(network, _sample(4)), _sample(4)
    assert found.convention and found.findings
    torch.testing.assert_close(md.observe(found.network, found.graph, x).output, network(x))


def test_a_copy_that_does_otherwise_is_refused_by_the_probe_with_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("snntorch")
    kind: Callable[..., nn.Module] = _own_copy(tmp_path, monkeypatch, _OTHERWISE)
    neuron = kind(beta=0.5)
    model = describe_neuron(neuron)
    assert model is not None
    with pytest.raises(TraceError, match="does not follow its description") as caught:
        md.adapters.probe("lif", neuron, model)
    assert f"Leaky, from {tmp_path / 'snntorch'}, not the installed snntorch" in caught.value.message


def test_installed_classes_are_named_with_their_version() -> None:
    snntorch = pytest.importorskip("snntorch")
    assert class_and_version(snntorch.Leaky(beta=0.5)).endswith(f", snntorch {snntorch.__version__}")


def test_a_fault_in_a_description_of_ones_own_is_raised_as_it_is() -> None:
    class Wrong(nn.Module):
        def neuron_model(self) -> object:
            return self.tau

    with pytest.raises(AttributeError, match="tau"):
        describe_neuron(Wrong())
