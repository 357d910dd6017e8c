"""The contract of the public names, executed as it is written down, and what importing them costs."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import intsnn
import mdcompress as md
from intsnn.report import to_json
from tests.support.paths import ROOT


def data(*, seed: int = 0) -> Tensor:
    return torch.rand(4, 6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def network() -> nn.Module:
    torch.manual_seed(0)
    return md.zoo.digits_snn(channels=4)


@pytest.fixture(scope="module")
def student() -> md.Student:
    return md.compress(network(), data(), "4bit", [data()])


# --- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", [str, Path])
def test_the_contract_from_recipe_to_report_holds_as_written(
    tmp_path: Path, spelled: Callable[[Path], str | Path]
) -> None:
    model, sample, batches = network(), data(), [data(seed=1), data(seed=2)]

    recipe = md.load_recipe(spelled(ROOT / "recipes" / "4bit.yaml"))
    graph = md.trace(model, sample)
    plan = md.plan(recipe, graph)
    student = md.quantize(model, graph, plan)
    md.calibrate(student, batches)
    igraph = md.lower(student)
    whole = md.calibrate(md.quantize(model, graph, plan), batches, spec=recipe.calibrate, teacher=model)
    assert md.lower(md.compress(model, sample, recipe, batches)) == md.lower(whole)

    intsnn.check(igraph)
    x = student.quantize_input(sample).numpy()
    trace = intsnn.run(igraph, x)
    assert trace.output.shape == (6, 10)
    assert trace.spikes["neuron1"].shape == trace.membranes["neuron1"].shape == (4, 6, 4, 8, 8)
    assert trace.spikes["neuron1"].any()

    path = tmp_path / "model.onnx"
    intsnn.write_onnx(igraph, path)
    assert igraph == intsnn.read_onnx(path)
    report = md.verify(student, sample)
    assert report.equal and report.values > 5_000 and report.first_difference is None

    activity = intsnn.measure(igraph, [x])
    text = to_json(intsnn.estimate(igraph, activity, "rram_64x64_65nm"))
    assert text.startswith("{") and "energy" in text


@pytest.mark.parametrize("recipe", ["4bit", ROOT / "recipes" / "4bit.yaml", str(ROOT / "recipes" / "4bit.yaml")])
def test_a_recipe_may_be_a_name_or_a_path(recipe: str | Path, student: md.Student) -> None:
    assert md.lower(md.compress(network(), data(), recipe, [data()])) == md.lower(student)


def test_a_hardware_description_may_be_a_name_or_a_path(student: md.Student, tmp_path: Path) -> None:
    igraph = md.lower(student)
    activity = intsnn.measure(igraph, [student.quantize_input(data()).numpy()])
    shipped = ROOT / "export" / "intsnn" / "hardware" / "rram_64x64_65nm.yaml"
    texts = {to_json(intsnn.estimate(igraph, activity, one)) for one in ("rram_64x64_65nm", shipped, str(shipped))}
    assert len(texts) == 1


def test_spikesim_takes_its_settings_by_name() -> None:
    layers = [{"in_channels": 3, "out_channels": 64, "in_size": 32, "out_size": 32}]
    report = intsnn.spikesim(
        layers=layers, crossbar=64, kernel=3, time_steps=5, device="rram", pe_per_tile=8, clock_mhz=250
    )
    assert report.energy_pj > 0 and report.layers[0].n_pe > 0


def test_neurons_take_tau_threshold_and_reset() -> None:
    neuron = md.zoo.LIF(tau=2.0, threshold=1.0, reset="hard")
    assert neuron(torch.full((3, 1), 0.8)).flatten().tolist() == [0.0, 1.0, 0.0]  # h = 0.8, 1.2, 0.8


def test_students_and_weights_are_saved_and_loaded_by_either_path(tmp_path: Path, student: md.Student) -> None:
    for spelled in (str, Path):
        md.save_student(student, spelled(tmp_path / "s.safetensors"))
        assert md.lower(md.load_student(spelled(tmp_path / "s.safetensors"))) == md.lower(student)
        md.save_weights(network(), spelled(tmp_path / "n.safetensors"))
        md.load_weights(network(), spelled(tmp_path / "n.safetensors"))


@pytest.mark.parametrize("spelled", [str, Path])
def test_integer_graphs_are_written_and_read_by_either_path(
    tmp_path: Path, student: md.Student, spelled: Callable[[Path], str | Path]
) -> None:
    path = spelled(tmp_path / "model.onnx")
    intsnn.write_onnx(md.lower(student), path)
    assert intsnn.read_onnx(path) == md.lower(student)
    answer = intsnn.run_onnx(Path(path), student.quantize_input(data()).numpy()).output
    assert np.array_equal(answer, student.trace(data()).output)


def test_observing_shows_teacher_and_student_alike(student: md.Student) -> None:
    model = network().eval()
    graph = md.trace(model, data())
    for one in (model, student):
        seen = md.observe(one, graph, data())
        assert seen.logits.shape == (4, 6, 10) and list(seen.potentials) == ["neuron1", "neuron2", "neuron3"]


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [md, intsnn], ids=["mdcompress", "intsnn"])
def test_public_names_are_sorted_importable_and_complete(package: ModuleType) -> None:
    assert package.__all__ == sorted(package.__all__) and dir(package) == package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None, name
    offered = {name for name in package.__all__ if name not in ("__version__", "zoo")}
    assert offered == set(package._ROOMS)
    assert vars(md)["__getattr__"]("zoo") is importlib.import_module("mdcompress.zoo")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = package.nonsense


def test_every_public_function_says_what_it_does() -> None:
    for package in (md, intsnn):
        for name in package._ROOMS:
            assert getattr(package, name).__doc__, name


@pytest.mark.parametrize("package", [md, intsnn])
def test_every_public_function_says_what_it_takes_gives_and_raises(package: ModuleType) -> None:
    functions = [one for name in package.__all__ if inspect.isfunction(one := getattr(package, name))]
    assert len(functions) > 10
    for function in functions:
        text, signature = inspect.getdoc(function) or "", inspect.signature(function)
        silent = [name for name in signature.parameters if not re.search(rf"^    {name}: ", text, flags=re.MULTILINE)]
        assert silent == [], f"{function.__name__} does not say what {silent} are"
        gives = signature.return_annotation not in (None, "None")
        assert gives == bool(re.search(r"^(Returns|Yields):", text, flags=re.MULTILINE)), function.__name__
        assert "\nRaises:\n" in text, f"{function.__name__} does not say what it raises"


@pytest.mark.parametrize("folder", ["mdcompress", "export/intsnn"])
def test_what_is_raised_stands_under_one_heading(folder: str) -> None:
    other = [path for path in (ROOT / folder).rglob("*.py") if re.search(r"^ *Errors: ", path.read_text("utf-8"), re.M)]
    assert other == []


def test_the_version_is_that_of_the_distribution() -> None:
    assert md.__version__ == importlib.import_module("mdcompress._version").__version__


def test_importing_both_packages_loads_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, mdcompress as md, intsnn; md.load_recipe('4bit'); "
        "heavy = {'torch', 'brevitas', 'torchvision', 'onnx', 'onnxruntime', 'sklearn'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'export'}", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
