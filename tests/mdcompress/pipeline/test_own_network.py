"""The whole command line on a network in its author's own style: neurons inline, one image for all steps, own file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mdcompress as md
from intsnn.yaml.tree import parse_tree
from mdcompress.graph import Finding
from tests.support.command_line import Finished, invoke
from tests.support.own_network import OWN_NETWORK, OWN_RECIPE

pytestmark = pytest.mark.slow
FOUND = (
    Finding("norm_neuron", "own_net.py:21", "h = 0.5*v + x, s = [h > 0.5], v = 0 where s, else h"),
    Finding("hidden_neuron", "own_net.py:24", "h = 0.75*v + x, s = [h >= 0.5], v = 0 where s, else h"),
)


@dataclass(frozen=True)
class OwnRun:
    """A folder with a finished run, and how it ended."""

    folder: Path
    run: Finished


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRun]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_net.py").write_text(OWN_NETWORK)
    (folder / "own.yaml").write_text(OWN_RECIPE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield OwnRun(folder, invoke("run", "--recipe", "own.yaml"))
    torch.set_num_threads(threads)
    sys.modules.pop("own_net", None)


def test_run_goes_from_the_code_to_hardware_figures(own: OwnRun) -> None:
    assert own.run.code == 0, own.run.err
    said = "the network of own_net:build takes one image, [N, ...], for all steps; 2 neurons were read off its code"
    assert own.run.err.count(said) == 1, own.run.err
    assert "not trained, as they were read off as numbers: leak" in own.run.err
    assert "distill does not train these, as they are numbers of the student's neurons: leak (" in own.run.err
    assert re.search(
        r"parity +student = interpreter = onnxruntime = native on 64 samples x 4 steps: [\d,]+ .* equal", own.run.out
    )
    assert "Energy per inference" in own.run.out
    assert (own.folder / "runs/own/hardware.json").is_file()
    student = md.load_student(own.folder / "runs/own/distilled.safetensors")
    assert student.findings == FOUND
    assert student.trace(torch.rand(4, 8, 1, 8, 8)).spikes["norm_neuron"].any()


def test_the_plan_keeps_what_was_read(own: OwnRun) -> None:
    tree = parse_tree((own.folder / "runs/own/plan.yaml").read_text(), "plan.yaml")
    assert tree.at(("findings", 0)) == {"name": FOUND[0].name, "place": FOUND[0].place, "words": FOUND[0].words}


def test_dry_run_shows_line_and_equation(own: OwnRun) -> None:
    shown = invoke("quantize", "--run", "own", "--dry-run")
    assert shown.code == 0, shown.err
    for found in FOUND:
        assert re.search(rf"\| {found.name} +\| {found.place} +\| {re.escape(found.words)} +\|", shown.out)
    rows = {row["node"]: row for row in json.loads(invoke("quantize", "--run", "own", "--dry-run", "--json").out)}
    assert (rows["norm_neuron"]["place"], rows["norm_neuron"]["read_as"]) == (FOUND[0].place, FOUND[0].words)
    assert "place" not in rows["conv"]


def test_the_teachers_file_is_of_the_users_network_and_is_read_again(own: OwnRun) -> None:
    file = own.folder / "runs/own/teacher.safetensors"
    import own_net  # type: ignore[import-not-found]  # the test's own file

    network = own_net.build()
    assert load_file(file).keys() == network.state_dict().keys()
    assert str(md.load_weights(network, file)) == ""
    again = invoke("run", "--run", "own")
    assert again.code == 0 and again.err.count("up to date") == 5, again.err
    given = invoke("quantize", "--recipe", "own.yaml", "--run", "other", "--weights", str(file))
    assert given.code == 0, given.err
    taught = json.loads((own.folder / "runs/own/run.json").read_text())["stages"]["quantize"]["measured"]
    other = json.loads((own.folder / "runs/other/run.json").read_text())["stages"]["quantize"]["measured"]
    assert other == taught


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("eval", "hidden_neuron"),
        ("eval runs/own/teacher.safetensors", "x 2 steps"),
        ("eval runs/own/model.onnx", "test accuracy"),
        ("sensitivity --bits 4 --membrane-bits 4 --samples 32", "norm_neuron"),
        ("export --format nir --force", "membranes equal"),
        ("estimate-hw --force", "Energy per inference"),
    ],
)
def test_commands_after_it(own: OwnRun, line: str, said: str) -> None:
    result = invoke(*line.split(), "--run", "own")
    assert result.code == 0, result.err
    assert said in result.out


@pytest.mark.parametrize("steps", [2, 6])
def test_other_steps_than_the_network_makes_are_said(own: OwnRun, steps: int) -> None:
    change = (f"data.time_steps={steps}", "teacher.time_steps=null", "distill.time_steps=null")
    sets = [word for each in change for word in ("--set", each)]
    result = invoke("quantize", "--recipe", "own.yaml", *sets, "--dry-run")
    assert result.code == 1
    assert f"the sample must have as many steps as the network makes, 4 (it has {steps})" in result.err
    hint = re.search(r"--set (data\.time_steps=\d)\)", result.err)
    assert hint is not None
    assert invoke("quantize", "--recipe", "own.yaml", *sets, "--set", hint[1], "--dry-run").code == 0


def test_neurobench_takes_its_student(own: OwnRun) -> None:
    pytest.importorskip("neurobench")
    from mdcompress.evaluation.neurobench import NeuroBenchStudent

    model = NeuroBenchStudent(md.lower(md.load_student(own.folder / "runs/own/distilled.safetensors")))
    assert model(torch.rand(3, 4, 1, 8, 8)).shape == (3, 10)


POOLED = """
import torch
from mdcompress.zoo import LIF

def build():
    layers = [torch.nn.Conv2d(1, 4, 1), LIF(), torch.nn.Flatten(2), torch.nn.Linear(16, 10)]
    return Pooled(*layers)

class Pooled(torch.nn.Module):
    def __init__(self, conv, neuron, flatten, head):
        super().__init__()
        self.pool, self.conv, self.neuron, self.flatten, self.head = torch.nn.AvgPool2d(4), conv, neuron, flatten, head

    def forward(self, x):  # [T, N, 1, 8, 8]
        y = self.conv(self.pool(x.flatten(0, 1)))
        return self.head(self.flatten(self.neuron(y.unflatten(0, x.shape[:2])))).mean(0)
"""


def test_what_no_integer_graph_can_hold_is_said_before_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of 5 bits, 16 of them added, reach 496; a convolution reads bytes."""
    monkeypatch.chdir(tmp_path)
    Path("pooled_net.py").write_text(POOLED)
    code: dict[str, Any] = {}
    exec(compile(POOLED, "pooled_net.py", "exec"), code)
    torch.save(code["build"]().state_dict(), "weights.pt")
    command = ["quantize", "--recipe", "4bit", "--model", "pooled_net:build", "--weights", "weights.pt"]
    done = invoke(*command)
    sys.modules.pop("pooled_net", None)
    assert done.code == 1 and "conv: a conv must read values in [0, 255] or [-128, 127] (got [0, 496])" in done.err
    assert "give an input that is pooled fewer bits" in done.err
    assert not Path("runs/4bit/quantized.safetensors").exists()
