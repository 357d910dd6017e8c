"""Bad input of every kind: the right exit code, place, value and hint; no traceback, and nothing half-written."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from intsnn.onnx.file import write_onnx
from tests.support.command_line import TINY_RECIPE, copy_finished_run, invoke, snapshot, spawn
from tests.support.intgraphs import dense_graph

if TYPE_CHECKING:
    from torch import Tensor

Prepare = Callable[[Path], None]


@dataclass(frozen=True)
class Bad:
    """One kind of bad input: how the folder is prepared, the command, and what must be seen."""

    name: str
    arguments: str
    code: int
    seen: tuple[str, ...]
    prepare: Prepare = lambda folder: None


def text(name: str, content: str) -> Prepare:
    return lambda folder: void((folder / name).write_text(content))


def void(_: object) -> None:
    """Turns an expression into a statement."""


def recipe_with(old: str, new: str) -> Prepare:
    assert old in TINY_RECIPE
    return text("bad.yaml", TINY_RECIPE.replace(old, new))


def truncated(source: str, target: str) -> Prepare:
    return lambda folder: void((folder / target).write_bytes((folder / source).read_bytes()[:-100]))


class Malice:
    """Unpickling this makes a folder."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


def malicious(name: str) -> Prepare:
    return lambda folder: void((folder / name).write_bytes(pickle.dumps({"weight": Malice()})))


def malicious_torch_file(name: str) -> Prepare:
    def prepare(folder: Path) -> None:
        import torch

        torch.save({"weight": Malice()}, folder / name)

    return prepare


def weights_with(change: Callable[[dict[str, Tensor]], None], name: str) -> Prepare:
    """The teacher's weights after a change, as a safetensors file."""

    def prepare(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "runs/tiny/teacher.safetensors")
        change(tensors)
        save_file(tensors, folder / name)

    return prepare


def with_nan(tensors: dict[str, Tensor]) -> None:
    tensors["hidden.weight"][0, 0] = float("nan")


def of_another_network(tensors: dict[str, Tensor]) -> None:
    tensors["other.weight"] = tensors.pop("hidden.weight")


def foreign_onnx(folder: Path) -> None:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "foreign", [x], [y])
    (folder / "foreign.onnx").write_bytes(helper.make_model(graph).SerializeToString())


def lonely_model(folder: Path) -> None:
    (folder / "lonely").mkdir()
    (folder / "lonely/model.onnx").write_bytes((folder / "runs/tiny/model.onnx").read_bytes())


def model_of_another_graph(place: str) -> Prepare:
    return lambda folder: write_onnx(dense_graph(), folder / place / "model.onnx")


def golden_of_another_graph(folder: Path) -> None:
    (folder / "lonely").mkdir()
    (folder / "lonely/golden.npz").write_bytes((folder / "runs/tiny/golden.npz").read_bytes())
    model_of_another_graph("lonely")(folder)


def second_run(folder: Path) -> None:
    (folder / "runs/other").mkdir()
    (folder / "runs/other/recipe.yaml").write_text(TINY_RECIPE)


RECIPES = [
    Bad("unknown key", "quantize --recipe bad.yaml", 2, ("bad.yaml:7:1", "seeds: unknown key", "`seed`"),
        text("bad.yaml", TINY_RECIPE + "seeds: 3\n")),
    Bad("wrong type", "train --recipe bad.yaml", 2, ("bad.yaml:4:11", "teacher.epochs", "'many'"),
        recipe_with("epochs: 2", "epochs: many")),
    Bad("duplicate key", "run --recipe bad.yaml", 2, ("bad.yaml:7:1", "name", "already in line 2"),
        text("bad.yaml", TINY_RECIPE + "name: again\n")),
    Bad("number that is none", "run --recipe bad.yaml", 2, ("optimizer.lr", "'1e-3x'"),
        recipe_with("lr: 0.02", "lr: 1e-3x")),
    Bad("wrong schema", "run --recipe bad.yaml", 2, ("mdcompress.recipe/1", "mdcompress.recipe/9"),
        recipe_with("recipe/1", "recipe/9")),
    Bad("recipe that is no text", "run --recipe bad.yaml", 2, ("bad.yaml:1:1", "UTF-8"),
        lambda folder: void((folder / "bad.yaml").write_bytes(b"\xff\xfe\x00"))),
    Bad("missing recipe", "run --recipe nowhere.yaml", 1, ("nowhere.yaml", "no such file")),
    Bad("unknown shipped recipe", "run --recipe 4bits", 2, ("'4bits'", "`4bit`")),
    Bad("change of an unknown key", "run --recipe tiny.yaml --set teacher.epoch=1", 2,
        ("--set teacher.epoch=1", "unknown key", "`epochs`")),
    Bad("change without a value", "run --recipe tiny.yaml --set epochs", 2, ("--set epochs", "key.path=value")),
    Bad("name that leads elsewhere", "run --recipe bad.yaml", 2, ("name", "'../up'"),
        recipe_with("name: tiny", "name: ../up")),
    Bad("override that matches nothing", "quantize --recipe bad.yaml --force", 2,
        ("quantize.overrides.0.match", "'layer9.*' matches no node", "hidden"),
        text("bad.yaml", TINY_RECIPE + 'quantize: {overrides: [{match: "layer9.*", weight: {bit_width: 8}}]}\n')),
    Bad("override of the wrong kind", "run --recipe bad.yaml --dry-run", 2,
        ("quantize.overrides.0.weight", "neuron (neuron)", "hidden, head"),
        text("bad.yaml", TINY_RECIPE + 'quantize: {overrides: [{match: "neuron", weight: {bit_width: 8}}]}\n')),
    Bad("recipe without a network", "train --recipe bad.yaml", 2, ("names no network", "--model"),
        recipe_with('model: {builder: "tiny_network:build"}\n', "")),
]  # fmt: skip

NETWORKS = [
    Bad("module that is not there", "train --recipe tiny.yaml --model nowhere:build --run new", 2, ("nowhere",)),
    Bad("function that is not there", "train --recipe tiny.yaml --model tiny_network:nothing --run new", 2,
        ("nothing", "build")),
    Bad("function that returns no network", "train --recipe tiny.yaml --model tiny_network:build_no_network --run new",
        2, ("tiny_network:build_no_network", "str")),
    Bad("own function that fails", "train --recipe tiny.yaml --model tiny_network:build_wrongly --run new", 1,
        ("tiny_network:build_wrongly failed: RuntimeError: my own bug (tiny_network.py, line ", "--debug")),
    Bad("own loader that fails", "train --recipe tiny.yaml --set data.name=tiny_network:load_wrongly --run new", 1,
        ("tiny_network:load_wrongly failed: KeyError: 'train' (tiny_network.py, line ",)),
    Bad("own loader whose file is not there", "train --recipe tiny.yaml --set data.name=lost_frames:load --run new", 1,
        ("lost_frames:load failed: FileNotFoundError: ", "frames.npz", "(lost_frames.py, line 2)"),
        text("lost_frames.py", "def load(time_steps, batch_size, seed):\n    return open('frames.npz')\n")),
    Bad("own network without values", "quantize --recipe tiny.yaml --model on_meta:build --run new --dry-run", 1,
        ("'hidden.weight' is on the device 'meta'", "device='meta'"),
        text("on_meta.py", "from tiny_network import Tiny\ndef build():\n    return Tiny().to('meta')\n")),
    Bad("own forward that wants more", "quantize --recipe tiny.yaml --model masked:Net --run new --dry-run", 1,
        ("missing 1 required positional argument: 'mask'", "give `mask` a default"),
        text("masked.py", "from tiny_network import Tiny\nclass Net(Tiny):\n    def forward(self, x, mask):\n"
             "        return super().forward(x)\n")),
    Bad("own forward that fails", "quantize --recipe tiny.yaml --model failing:Net --run new --dry-run", 1,
        ("ValueError: of mine", "it was raised in failing.py, line 4 (failing:Net.forward)"),
        text("failing.py", "from tiny_network import Tiny\nclass Net(Tiny):\n    def forward(self, x):\n"
             "        raise ValueError('of mine')\n")),
    Bad("own module that is no Python", "train --recipe tiny.yaml --model not_python:build --run new", 2,
        ("'not_python'", "not_python.py, line 2"), text("not_python.py", "x = 1\ndef build(:\n")),
    Bad("network without neurons", "quantize --recipe tiny.yaml --model tiny_network:build_without_neurons --dry-run"
        " --run new", 2, ("the network has no spiking neuron",)),
    Bad("network that runs on all steps only", "train --recipe tiny.yaml --model tiny_network:build_of_two_steps"
        " --set teacher.time_steps=[1,2] --run new", 1,
        ("teacher.time_steps: the network must run on 1 of 2 steps too", "leave teacher.time_steps out")),
    Bad("recipe that does not fit the network to train", "train --recipe bad.yaml --run new", 2,
        ("'nowhere' matches no node", "quantize.overrides.0.match"),
        recipe_with("distill:", "quantize: {overrides: [{match: nowhere, weight: {bit_width: 2}}]}\ndistill:")),
    Bad("samples of the wrong shape", "quantize --recipe tiny.yaml --model tiny_network:build_for_other_images"
        " --weights wide.pt --run new", 1, ("64", "100"), lambda folder: save_wide_weights(folder)),
    Bad("unknown device", "train --recipe tiny.yaml --device abacus --run new", 2, ("'abacus'", "--device cpu")),
    Bad("nothing to train", "train --recipe tiny.yaml --weights runs/tiny/teacher.safetensors --run new", 2,
        ("nothing to train", "mdcompress quantize")),
]  # fmt: skip


def save_wide_weights(folder: Path) -> None:
    import torch

    weights = {"hidden.weight": torch.ones(32, 100), "hidden.bias": torch.ones(32)}
    torch.save(weights | {"head.weight": torch.ones(10, 32), "head.bias": torch.ones(10)}, folder / "wide.pt")


QUANTIZE = "quantize --recipe tiny.yaml --run new --weights "
WEIGHTS = [
    Bad("missing NIR file", "quantize --recipe 8bit --run new --model nowhere.nir", 1,
        ("nowhere.nir: the NIR file must be there", "--model")),
    Bad("missing weights", QUANTIZE + "nowhere.pt", 1, ("nowhere.pt", "no such file", "--weights")),
    Bad("weights of another network", QUANTIZE + "other.safetensors", 1, ("other.safetensors", "other.weight"),
        weights_with(of_another_network, "other.safetensors")),
    Bad("truncated weights", QUANTIZE + "half.safetensors", 1, ("half.safetensors", "whole safetensors file"),
        truncated("runs/tiny/teacher.safetensors", "half.safetensors")),
    Bad("pickle where safetensors is expected", QUANTIZE + "evil.safetensors", 1, ("evil.safetensors", "pickle"),
        malicious("evil.safetensors")),
    Bad("bare pickle", QUANTIZE + "evil.pt", 1, ("evil.pt", "tensors only", "torch.save("), malicious("evil.pt")),
    Bad("torch file with code in it", QUANTIZE + "evil.pth", 1, ("evil.pth", "tensors only", "state_dict()"),
        malicious_torch_file("evil.pth")),
    Bad("empty weights", QUANTIZE + "empty.pt", 1, ("empty.pt",), text("empty.pt", "")),
    Bad("NaN in the weights", QUANTIZE + "nan.safetensors", 1, ("'hidden.weight'", "NaN"),
        weights_with(with_nan, "nan.safetensors")),
    Bad("weights of another network", "eval other.safetensors", 1, ("other.safetensors", "does not fit the network"),
        weights_with(of_another_network, "other.safetensors")),
    Bad("folder that is evaluated", "eval runs/tiny", 2, ("runs/tiny", "must be a file", "--run runs/tiny")),
    Bad("weights that are code", "eval evil.pt", 1, ("evil.pt", "tensors only"), malicious("evil.pt")),
    Bad("truncated student", "eval half.safetensors", 1, ("half.safetensors", "whole safetensors file"),
        truncated("runs/tiny/distilled.safetensors", "half.safetensors")),
    Bad("student that is not there", "eval nowhere.safetensors", 1, ("nowhere.safetensors", "no such file")),
    Bad("file that cannot be evaluated", "eval tiny.yaml", 2, ("tiny.yaml", "'.yaml'", "model.onnx")),
]  # fmt: skip

MODELS = [
    Bad("ONNX that is not ours", "check foreign.onnx", 2, ("foreign.onnx", "mdcompress"), foreign_onnx),
    Bad("price of an ONNX that is not ours", "estimate-hw foreign.onnx --rate 0.1 --time-steps 4", 2,
        ("foreign.onnx",), foreign_onnx),
    Bad("evaluation of an ONNX that is not ours", "eval foreign.onnx", 2, ("foreign.onnx",), foreign_onnx),
    Bad("truncated model", "check half.onnx", 2, ("half.onnx",), truncated("runs/tiny/model.onnx", "half.onnx")),
    Bad("model that is not the run's own", "check runs/tiny/model.onnx", 2,
        ("must be what `export` wrote", "runs/tiny/run.json"), model_of_another_graph("runs/tiny")),
    Bad("price of a model that is not the run's own", "estimate-hw runs/tiny/model.onnx", 2,
        ("must be what `export` wrote",), model_of_another_graph("runs/tiny")),
    Bad("evaluation of a model that is not the run's own", "eval runs/tiny/model.onnx", 2,
        ("must be what `export` wrote",), model_of_another_graph("runs/tiny")),
    Bad("model that golden.npz is not of", "check lonely/model.onnx", 2,
        ("lonely/golden.npz do not belong together", "export"), golden_of_another_graph),
    Bad("model that is not there", "estimate-hw nowhere.onnx", 1, ("nowhere.onnx", "no such file")),
    Bad("model without spike counts", "estimate-hw lonely/model.onnx", 1,
        ("lonely/activity.json", "--rate 0.1 --time-steps 4"), lonely_model),
    Bad("damaged model without spike counts", "estimate-hw half.onnx", 2, ("half.onnx",),
        truncated("runs/tiny/model.onnx", "half.onnx")),
    Bad("spike counts that are none", "estimate-hw runs/tiny/model.onnx --activity tiny.yaml", 2,
        ("tiny.yaml", "activity")),
    Bad("rate without steps", "estimate-hw --rate 0.1", 2, ("--time-steps is missing", "--time-steps 4")),
    Bad("steps without rate", "estimate-hw --time-steps 4", 2, ("--rate is missing", "--rate 0.1")),
    Bad("rate and spike counts", "estimate-hw --rate 0.1 --time-steps 4 --activity a.json", 2,
        ("--activity and --rate",)),
    Bad("misspelled hardware", "estimate-hw --hardware rram_64x64_65mn", 2, ("did you mean `rram_64x64_65nm`?",)),
    Bad("unknown hardware of a whole run", "run --recipe tiny.yaml --run new --hardware tpu", 2,
        ("there is no hardware description 'tpu'",)),
    Bad("unknown hardware of a preview", "run --recipe tiny.yaml --run new --hardware tpu --dry-run", 2,
        ("there is no hardware description 'tpu'",)),
    Bad("unknown hardware", "estimate-hw --force --hardware abacus", 2, ("'abacus'", "rram_64x64_65nm")),
    Bad("missing hardware file", "estimate-hw --force --hardware abacus.yaml", 1, ("abacus.yaml", "no such file")),
    Bad("hardware that breaks its schema", "check hardware.yaml", 2, ("hardware.yaml:", "crossbars", "unknown key"),
        text("hardware.yaml", "schema: mdcompress.hardware/1\nname: x\ncrossbars: {}\n")),
    Bad("analog description that breaks its schema", "check analog.yaml", 2,
        ("analog.yaml is not a valid analog description", "analog.yaml:5:3", "conductance.maximum", "`maximum_us`",
         "analog.yaml:6:14", "range calibrated needs a percentile", "`percentile: 99.9`", "summary"),
        text("analog.yaml", """\
schema: mdcompress.analog/1
name: mine
column_gains: none
conductance:
  maximum: 40
converters: {range: calibrated, source: mine}
""")),
    Bad("activity that breaks its schema", "check activity.json", 2, ("activity.json:1:", "time_steps", "'four'"),
        text("activity.json", '{"schema": "intsnn.activity/1", "time_steps": "four"}')),
    Bad("activity that is no JSON", "check activity.json", 2, ("activity.json:1:", "not a valid activity"),
        text("activity.json", '{"schema"')),
    Bad("schema that nobody knows", "check mine.yaml", 2,
        ("mine.yaml:1:1  schema", "'mdcompress.hardwear/1'", "write `mdcompress.hardware/1`"),
        text("mine.yaml", "schema: mdcompress.hardwear/1\n")),
    Bad("file that does not say what it is", "check mine.yaml", 2,
        ("mine.yaml:1:1  schema: this key is required", "mdcompress.analog/1", "mdcompress.recipe/1"),
        text("mine.yaml", "name: mine\n")),
    Bad("file of no kind", "check stdout", 2,
        ("stdout", "the suffix must be", "a recipe, hardware or analog description")),
    Bad("file that is not there", "check nowhere.yaml", 2, ("nowhere.yaml", "no such file")),
]  # fmt: skip

RUNS = [
    Bad("result that is there", "quantize", 1, ("runs/tiny", "quantized.safetensors", "--force")),
    Bad("stage that was not run", "distill --recipe tiny.yaml --run new", 1,
        ("must hold the result of `quantize`", "`mdcompress quantize --recipe tiny.yaml --run new`")),
    Bad("teacher that was not trained", "quantize --recipe tiny.yaml --run new", 1,
        ("must hold the result of `train`", "mdcompress train --recipe tiny.yaml --run new")),
    Bad("setting that changed", "distill --set quantize.weight.bit_width=3 --force", 1,
        ("`quantize.weight.bit_width` was 8, now it is 3",
         "`mdcompress quantize --set quantize.weight.bit_width=3 --force`")),
    Bad("stale run", "run --recipe tiny.yaml --set distill.epochs=2", 1,
        ("`distill.epochs` was 1, now it is 2", "--force")),
    Bad("student that was changed", "export --force", 1, ("distilled.safetensors is not what `distill` wrote",),
        truncated("runs/tiny/distilled.safetensors", "runs/tiny/distilled.safetensors")),
    Bad("file in the way of the run", "train --recipe tiny.yaml --run ./stdout", 1, ("stdout", "must be a folder")),
    Bad("file in the way of the named run", "train --recipe bad.yaml", 1, ("runs/other must be writable",),
        lambda folder: void((recipe_with("name: tiny", "name: other")(folder), text("runs/other", "")(folder)))),
    Bad("folder that cannot be made", "train --recipe tiny.yaml --run /proc/mine", 1, ("/proc/mine must be writable",)),
    Bad("figures that cannot be written", "estimate-hw runs/tiny/model.onnx --output /proc/mine", 1,
        ("/proc/mine must be writable",)),
    Bad("damaged record", "export --force", 1, ("runs/tiny/run.json", "must be the record"),
        text("runs/tiny/run.json", "{")),
    Bad("folder that is no run", "eval --run nowhere", 1, ("runs/nowhere must hold a run", "--recipe")),
    Bad("several runs", "eval", 1, ("runs/other, runs/tiny", "--run other"), second_run),
    Bad("unknown device of a whole run", "run --recipe tiny.yaml --run new --device abacus", 2, ("'abacus'",)),
    Bad("missing weights of a whole run", "run --recipe tiny.yaml --run new --weights nowhere.pt", 1, ("nowhere.pt",)),
    Bad("missing data of a whole run", "run --recipe tiny.yaml --run new --set data.name=mnist --data-folder nowhere",
        1, ("nowhere", "--download")),
    Bad("figures of another description", "estimate-hw --hardware spikesim", 1,
        ("found hardware.json", "`--output runs/tiny/hardware/spikesim`", "--force")),
    Bad("run as a model", "estimate-hw runs/tiny", 1, ("runs/tiny: a folder", "`--run runs/tiny`")),
    Bad("unknown data", "train --recipe tiny.yaml --run new --set data.name=digit", 2, ("'digit'", "`digits`")),
    Bad("data that are not there", "train --recipe tiny.yaml --run new --set data.name=mnist --data-folder nowhere", 1,
        ("nowhere", "--download")),
]  # fmt: skip

USAGE = [
    Bad("unknown command", "compress", 2, ("'compress'", "--help")),
    Bad("unknown option", "run --recipy 4bit", 2, ("--recipy", "`mdcompress run --help`")),
    Bad("no file to check", "check", 2, ("FILE", "`mdcompress check --help`")),
    Bad("limit that is no fraction", "eval --min-accuracy 95", 2, ("--min-accuracy", "95")),
    Bad("negative seed", "run --recipe 4bit --seed -1", 2, ("--seed", "-1")),
    Bad("two forms of the result", "check tiny.yaml --json -q", 2, ("--json and --quiet",)),
    Bad("model and run", "estimate-hw runs/tiny/model.onnx --run tiny", 2, ("MODEL.onnx or a run",)),
]  # fmt: skip

ALL = [*RECIPES, *NETWORKS, *WEIGHTS, *MODELS, *RUNS, *USAGE]


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_finished_run(tmp_path_factory.getbasetemp(), tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("bad", ALL, ids=lambda bad: bad.name)
def test_bad_input_is_an_error_that_instructs_and_leaves_everything_as_it_was(bad: Bad, folder: Path) -> None:
    bad.prepare(folder)
    before = snapshot(folder)
    result = invoke(*bad.arguments.split())
    assert result.code == bad.code, result.err
    assert "error: " in result.err and "Traceback" not in result.err, result.err
    for words in bad.seen:
        assert words in result.err
    assert "hint: " in result.err or "must be a" in result.err, result.err  # "must be a number" says what to do
    assert snapshot(folder) == before
    assert not (folder / "unpickled").exists()
    assert "weights_only" not in result.err and "Warning" not in result.err


@pytest.mark.parametrize("name", ["unknown key", "unknown command", "damaged record"])
def test_process_of_its_own_ends_with_the_same_code_and_words(name: str, folder: Path) -> None:
    bad = next(bad for bad in ALL if bad.name == name)
    bad.prepare(folder)
    result = spawn(*bad.arguments.split(), folder=folder)
    assert result.code == bad.code and result.out == ""
    assert all(words in result.err for words in bad.seen) and "Traceback" not in result.err


def test_debug_adds_the_traceback_to_an_error(folder: Path) -> None:
    result = invoke("run", "--recipe", "nowhere.yaml", "--debug")
    assert result.code == 1 and "Traceback" in result.err and "error: nowhere.yaml" in result.err


def test_number_in_scientific_notation_is_a_number(folder: Path) -> None:
    (folder / "small.yaml").write_text(TINY_RECIPE.replace("lr: 0.02", "lr: 1e-3"))
    assert invoke("check", "small.yaml").code == 0


def test_header_of_a_weights_file_that_claims_too_much_is_an_error(folder: Path) -> None:
    (folder / "huge.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    result = invoke(*(QUANTIZE + "huge.safetensors").split())
    assert result.code == 1 and "huge.safetensors" in result.err and "Traceback" not in result.err
