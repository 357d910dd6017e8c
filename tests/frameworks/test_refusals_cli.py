"""Neurons that no integer graph holds are refused by every command that meets the network, before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from mdcompress.adapters import REFUSALS
from tests.support.command_line import invoke


@dataclass(frozen=True)
class Case:
    """A neuron as a user writes it, in a network of a linear layer and a block; its reason is that of `row`."""

    library: str
    imports: str
    neuron: str
    row: str


CASES = [
    Case("spikingjelly", "from spikingjelly.activation_based import neuron", "neuron.PSN(4)", "PSN"),
    Case("spikingjelly", "from spikingjelly.activation_based import neuron", "neuron.GatedLIFNode(4)", "GatedLIFNode"),
    Case(
        "spikingjelly",
        "from spikingjelly.activation_based import neuron",
        "neuron.NoisyNonSpikingIFNode(2)",
        "NoisyNonSpikingIFNode",
    ),
    Case("spikingjelly", "from spikingjelly.activation_based import neuron", "neuron.IzhikevichNode()",
         "IzhikevichNode"),
    Case("snntorch", "import snntorch as snn", "snn.Alpha(alpha=0.9, beta=0.8, init_hidden=True)", "Alpha"),
    Case("norse", "import norse.torch as norse", "norse.LSNNCell()", "LSNNCell"),
    Case("norse", "import norse.torch as norse", "norse.LIFRefracCell()", "LIFRefracCell"),
    Case("sinabs", "import sinabs.layers as sl", "sl.ALIF(tau_mem=5.0, tau_adapt=10.0)", "ALIF"),
]  # fmt: skip
OPTIONS = [
    Case("sinabs", "import sinabs.layers as sl, sinabs.activation as sa", "sl.IAF(reset_fn=sa.MembraneReset(0.5))",
         "sinabs adds the value to every neuron at every step"),
    Case("snntorch", "import snntorch as snn", "snn.Leaky(beta=0.5, graded_spikes_factor=2.0, init_hidden=True)",
         "its spikes are scaled by graded_spikes_factor"),
    Case("spikingjelly", "from spikingjelly.activation_based import neuron, surrogate",
         "neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False))", "it puts out the surrogate function"),
]  # fmt: skip


def write_network(folder: Path, case: Case, name: str) -> None:
    """A module `name` whose `build` gives a network with the neuron at 'block.1'."""
    lines = [
        "from torch import nn", case.imports, "", "class Net(nn.Module):", "    def __init__(self):",
        "        super().__init__()",
        f"        self.block = nn.Sequential(nn.Linear(64, 2), {case.neuron}, nn.Linear(2, 10))",
        "    def forward(self, x):", "        raise RuntimeError('no pass may be made')", "def build():",
        "    return Net()", "",
    ]  # fmt: skip
    (folder / f"{name}.py").write_text("\n".join(lines))


@pytest.mark.parametrize("command", ["train", "quantize --dry-run", "run"])
@pytest.mark.parametrize("case", [*CASES, *OPTIONS], ids=lambda case: case.neuron.partition("(")[0])
def test_a_neuron_without_integers_is_refused_before_any_work(
    case: Case, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip(case.library)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"refused_{abs(hash(request.node.name))}"
    write_network(tmp_path, case, name)
    row = next(row for row in REFUSALS if case.row in row.classes or row.reason.startswith(case.row))
    found = invoke(*command.split(), "--recipe", "8bit", "--model", f"{name}:build")
    assert found.code == 1, found.err
    class_name = case.neuron.partition("(")[0].rpartition(".")[2]
    assert f"neuron 'block.1' ({case.library}." in found.err and f".{class_name}, {case.library} " in found.err
    assert "cannot become integers" in found.err
    for part in (row.reason, row.hint, row.when):
        assert part in " ".join(found.err.split())
    assert "Traceback" not in found.err and "no pass" not in found.err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_all_neurons_that_are_refused_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spikingjelly")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "several_refused.py").write_text(
        "from torch import nn\nfrom spikingjelly.activation_based import neuron\n"
        "def build():\n    return nn.Sequential(neuron.PSN(4), neuron.IFNode(), neuron.QIFNode())\n"
    )
    found = invoke("quantize", "--recipe", "8bit", "--model", "several_refused:build", "--dry-run")
    assert found.code == 1
    assert "neuron '0'" in found.err and "neuron '2'" in found.err and "neuron '1'" not in found.err
