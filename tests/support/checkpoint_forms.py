"""Files of weights as training scripts leave them: how each is saved, and what `load_weights` makes of it.

The tables of docs/checkpoints.md are these rows: `python -m tests.support.checkpoint_forms` writes the page anew.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import decimal
import functools
import gzip
import io
import os
import pickle
import random
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "checkpoints.md"
State = dict[str, Tensor]


def network(seed: int = 1) -> nn.Sequential:
    """A convolution, its batch norm with statistics, and a linear layer: 9 tensors, `0.weight` to `3.bias`."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 6 * 6, 3))
    made.get_buffer("1.running_mean").normal_()
    made.get_buffer("1.running_var").uniform_(0.5, 1.5)
    return made.eval()


@dataclass(frozen=True)
class Form:
    """A file `file` that holds `holds`. says: of one that is read the sentence, else words of its refusal."""

    holds: str
    file: str
    save: Callable[[nn.Sequential, Path], None]
    says: str = ""


def state(net: nn.Module) -> State:
    return dict(net.state_dict())


def other() -> State:
    return state(network(2))


def prefixed(net: nn.Module, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in net.state_dict().items()}


def saved(content: Callable[[nn.Sequential], object]) -> Callable[[nn.Sequential, Path], None]:
    """Save what `content` makes of the network with torch.save."""
    return lambda net, path: torch.save(content(net), path)


def written(content: Callable[[nn.Sequential], bytes]) -> Callable[[nn.Sequential, Path], None]:
    def write(net: nn.Sequential, path: Path) -> None:
        path.write_bytes(content(net))

    return write


def legacy(net: nn.Sequential, path: Path) -> None:
    torch.save({"state_dict": state(net), "epoch": 3}, path, _use_new_zipfile_serialization=False)


def protocol_4(net: nn.Sequential, path: Path) -> None:
    torch.save({"state_dict": state(net)}, path, pickle_protocol=4)


def optimizer(net: nn.Sequential) -> torch.optim.Optimizer:
    made = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net(torch.rand(2, 1, 8, 8)).sum().backward()
    made.step()
    net.zero_grad()
    return made


def with_optimizer(net: nn.Sequential) -> object:
    made = optimizer(net)
    schedule = torch.optim.lr_scheduler.MultiStepLR(made, [3, 5])
    return {"epoch": 90, "arch": "snn", "state_dict": state(net), "best_acc1": torch.tensor(68.2),
            "optimizer": made.state_dict(), "lr_scheduler": schedule.state_dict()}  # fmt: skip


def lightning(net: nn.Sequential, **beside: Tensor) -> dict[str, object]:
    return {
        "epoch": 4,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {**prefixed(net, "model."), **beside},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_acc'}": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [optimizer(net).state_dict()],
        "hyper_parameters": {"lr": 1e-3},
    }


@contextlib.contextmanager
def module_of(full_name: str, kind: type) -> Iterator[type]:
    """A class under the name that one of an uninstalled library has, as long as a file is written."""
    module, _, name = full_name.rpartition(".")
    parents = [module.rsplit(".", n)[0] for n in range(module.count(".") + 1)]
    before = {parent: sys.modules.get(parent) for parent in parents}
    sys.modules.update({parent: types.ModuleType(parent) for parent in parents})
    made = type(name, (kind,), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, made)
    try:
        yield made
    finally:
        for parent, old in before.items():
            sys.modules.pop(parent)
            if old is not None:
                sys.modules[parent] = old


def attribute_dict(net: nn.Sequential, path: Path) -> None:
    with module_of("lightning.fabric.utilities.data.AttributeDict", dict) as kind:
        torch.save({**lightning(net), "hyper_parameters": kind(lr=1e-3, time_steps=4)}, path)


def own_class(net: nn.Sequential, path: Path) -> None:
    with module_of("my_project.config.Config", object) as kind:
        torch.save({"state_dict": state(net), "config": kind()}, path)


def averaged(net: nn.Sequential) -> object:
    return torch.optim.swa_utils.AveragedModel(net).state_dict()


def parts_in_parallel(net: nn.Sequential) -> object:
    """`net.features = nn.DataParallel(net.features)`, as ImageNet scripts have it for VGG: here the first layer."""
    return {f"0.module.{name[2:]}" if name.startswith("0.") else name: value for name, value in state(net).items()}


def times_and_places(net: nn.Sequential) -> object:
    return {"net": state(net), "when": datetime.datetime(2026, 1, 2), "took": datetime.timedelta(1),
            "where": Path("runs") / "1", "scores": collections.defaultdict(list, {"val": [1.0]}), "seen": {1, 2},
            "last": collections.deque([1, 2], maxlen=2), "count": collections.Counter("aab"), "size": torch.Size([1]),
            "rate": decimal.Decimal("0.1"), "type": torch.float16, "on": torch.device("cuda", 0),
            "args": types.SimpleNamespace(T=4)}  # fmt: skip


def numpy_values(net: nn.Sequential) -> object:
    return {"model_state_dict": state(net), "acc": np.float64(0.81), "losses": np.array([0.7, 0.4]), "n": np.int64(3),
            "kind": np.dtype("float32"), "names": np.array(["a", "b"], dtype=object)}  # fmt: skip


def random_states(net: nn.Sequential) -> object:
    return {"model": state(net), "python": random.getstate(), "numpy": np.random.get_state(),
            "generator": np.random.default_rng(0).bit_generator.state, "torch": torch.get_rng_state()}  # fmt: skip


def script(net: nn.Sequential, path: Path) -> None:
    traced = torch.jit.trace(net, torch.rand(1, 1, 8, 8))  # type: ignore[no-untyped-call]  # torch ships it untyped
    torch.jit.save(traced, path)


def exported(_: nn.Sequential, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # the names in a file of torch.export.save
        for name in ("archive_format", "models/model.json", "data/weights/model.pt"):
            archive.writestr(f"net/{name}", "{}")


def archive_of_files(net: nn.Sequential, path: Path) -> None:
    content = io.BytesIO()
    torch.save(state(net), content)
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("net.pth")
        entry.size = len(content.getvalue())
        archive.addfile(entry, io.BytesIO(content.getvalue()))


def zipped_up(net: nn.Sequential) -> bytes:
    content = io.BytesIO()
    torch.save(state(net), content)
    return gzip.compress(content.getvalue())


def cut(net: nn.Sequential) -> bytes:
    content = io.BytesIO()
    torch.save(state(net), content)
    return content.getvalue()[:2000]


class Runs:
    """Pickled, a call of `function`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


def without(net: nn.Sequential, *names: str) -> State:
    return {name: tensor for name, tensor in state(net).items() if name not in names}


READ = (
    Form("a state dict", "net.pt", saved(state)),
    Form("the same in the form before torch 1.6", "net.pth", legacy, "the weights are 'state_dict' of the file"),
    Form("safetensors", "net.safetensors", written(lambda net: safetensors_bytes(state(net)))),
    Form("safetensors under another name", "model.bin", written(lambda net: safetensors_bytes(state(net)))),
    Form("parameters in half precision", "half.pt", saved(lambda net: state(network().half()))),
    Form("`state_dict` beside epoch, optimizer and schedule", "model_best.pth.tar", saved(with_optimizer),
         "the weights are 'state_dict' of the file"),
    Form("`model` beside the script's arguments (`argparse.Namespace`)", "checkpoint_max.pth",
         saved(lambda net: {"model": state(net), "args": argparse.Namespace(T=4, opt="sgd"), "epoch": 3}),
         "the weights are 'model' of the file"),
    Form("`net`, as SpikingJelly's examples, beside dates, paths and collections", "ckpt.pth", saved(times_and_places),
         "the weights are 'net' of the file"),
    Form("`model_state_dict` beside NumPy scalars and arrays", "best.pth", saved(numpy_values),
         "the weights are 'model_state_dict' of the file"),
    Form("`model` beside states of random generators", "last.pt", saved(random_states),
         "the weights are 'model' of the file"),
    Form("`network` beside a pickled optimizer", "net.tar",
         saved(lambda net: {"network": state(net), "optimizer": optimizer(net)}),
         "the weights are 'network' of the file"),
    Form("one key inside another", "net.pt", saved(lambda net: {"model": {"state_dict": state(net), "arch": "snn"}}),
         "the weights are 'model.state_dict' of the file"),
    Form("a key of one's own", "net.pt", saved(lambda net: {"spiking_resnet": state(net), "epoch": 1}),
         "the weights are 'spiking_resnet' of the file"),
    Form("tensors beside numbers, without a key", "net.pt", saved(lambda net: {**state(net), "epoch": 3, "acc": 0.9})),
    Form("names of DataParallel", "net.pth", saved(lambda net: {"state_dict": prefixed(net, "module.")}),
         "the weights are 'state_dict' of the file; 'module.' taken off before their names"),
    Form("names of torch.compile", "net.pt", saved(lambda net: prefixed(net, "_orig_mod.")),
         "'_orig_mod.' taken off before their names"),
    Form("a compiled network in DataParallel", "net.pt", saved(lambda net: prefixed(net, "module._orig_mod.")),
         "'module._orig_mod.' taken off before their names"),
    Form("DataParallel, compiled", "net.pt", saved(lambda net: prefixed(net, "_orig_mod.module.")),
         "'_orig_mod.module.' taken off before their names"),
    Form("any prefix of all names", "net.pt", saved(lambda net: prefixed(net, "encoder.backbone.")),
         "'encoder.backbone.' taken off before their names"),
    Form("one part in DataParallel", "net.pt", saved(parts_in_parallel), "'module.' taken out of their names"),
    Form("one part in DataParallel, all of it compiled", "net.pt",
         saved(lambda net: {f"_orig_mod.{k}": v for k, v in dict(parts_in_parallel(net)).items()}),  # type: ignore[call-overload]
         "'_orig_mod.' and 'module.' taken out of their names"),
    Form("Lightning", "epoch=4-step=500.ckpt", saved(lightning),
         "the weights are 'state_dict' of the file; 'model.' taken off before their names"),
    Form("Lightning with hyperparameters by dot", "last.ckpt", attribute_dict,
         "the weights are 'state_dict' of the file; 'model.' taken off before their names"),
    Form("Lightning whose loss has weights too", "last.ckpt",
         saved(lambda net: lightning(net, **{"criterion.weight": torch.ones(3)})),
         "the weights are 'state_dict' of the file; 'model.' taken off before their names; left out: "
         "criterion.weight"),
    Form("`AveragedModel` of torch", "swa.pt", saved(averaged),
         "'module.' taken off before their names; left out: n_averaged"),
    Form("`model` and its average `model_ema`", "net.pth",
         saved(lambda net: {"model_ema": other(), "model": state(net)}),
         "the weights are 'model' of the file; not taken, though it fits too: its 'model_ema'"),
    Form("`state_dict_ema` first", "net.pth", saved(lambda net: {"state_dict_ema": other(), "state_dict": state(net)}),
         "the weights are 'state_dict' of the file; not taken, though it fits too: its 'state_dict_ema'"),
    Form("`model` and an equal average", "net.pth", saved(lambda net: {"model": state(net), "ema": state(net)}),
         "the weights are 'model' of the file"),
    Form("an average alone", "net.pth", saved(lambda net: {"ema": prefixed(net, "module.")}),
         "the weights are 'ema' of the file; 'module.' taken off before their names"),
    Form("`student` and `teacher` of a distillation", "net.pth",
         saved(lambda net: {"teacher": other(), "student": state(net)}),
         "the weights are 'student' of the file; not taken, though it fits too: its 'teacher'"),
    Form("the two as prefixes", "last.ckpt",
         saved(lambda net: {"state_dict": {**prefixed(network(2), "teacher."), **prefixed(net, "student.")}}),
         "the weights are 'state_dict' of the file; 'student.' taken off before their names; left out: "
         "teacher.0.weight, teacher.0.bias, teacher.1.weight and 6 more; not taken, though it fits too: its "
         "'state_dict', of those named 'teacher.*'"),
    Form("a generator and a discriminator of another shape", "gan.pt",
         saved(lambda net: {"generator": state(net), "discriminator": state(nn.Linear(2, 3))}),
         "the weights are 'generator' of the file"),
)  # fmt: skip

REFUSED = (
    Form("a whole network", "net.pth", saved(lambda net: net),
         "found a whole pickled network, of torch.nn.modules.container.Sequential, torch.nn.modules.conv.Conv2d, "
         "torch.nn.modules.batchnorm.BatchNorm2d and 2 more; reading it runs code"),
    Form("a whole network under a key", "net.pth", saved(lambda net: {"model": net, "epoch": 2}),
         "found a whole pickled network, of torch.nn.modules.container.Sequential"),
    Form("TorchScript", "net.pt", script, "found a TorchScript archive, which holds a program: code"),
    Form("a program of torch.export", "net.pt", exported, "found a program of torch.export: code"),
    Form("an object of a class of one's own", "net.pt", own_class,
         "found my_project.config.Config; reading it runs code"),
    Form("a function with arguments", "net.pt",
         saved(lambda net: {"state_dict": state(net), "f": functools.partial(print, 1)}),
         "found functools.partial, builtins.print; reading it runs code"),
    Form("a call of a shell", "net.pt", saved(lambda net: {**state(net), "evil": Runs(os.system, "true")}),
         "found posix.system; reading it runs code"),
    Form("the same, not in torch's form", "net.pt",
         written(lambda net: pickle.dumps({"w": 1, "evil": Runs(os.system, "true")})),
         "found posix.system; reading it runs code"),
    Form("a call of `eval` in the form before torch 1.6", "net.pth",
         lambda net, path: torch.save({"a": Runs(eval, "1 + 1")}, path, _use_new_zipfile_serialization=False),
         "found builtins.eval; reading it runs code"),
    Form("pickle protocol 4", "net.pt", protocol_4, "must be written by torch.save with its own pickle protocol, 2"),
    Form("a pickle of another kind", "net.pt", written(lambda net: pickle.dumps([1, 2], protocol=2)),
         "must hold tensors only, in a whole file"),
    Form("an archive of files", "net.tar", archive_of_files, "found an archive of files, tar or gzip"),
    Form("a compressed file", "net.pt", written(zipped_up), "found an archive of files, tar or gzip"),
    Form("the page of a failed download", "net.pth", written(lambda net: b"<!DOCTYPE html><html></html>"),
         "must be a whole file that torch.save wrote (found one that begins with b'<!DOCTYPE')"),
    Form("the first 2,000 bytes", "net.pt", written(cut), "must hold tensors only, in a whole file"),
    Form("no tensors at all", "net.pt", saved(lambda net: {"epoch": 3}),
         "must hold a state dict of tensors (found a dict of 'epoch': int)"),
    Form("NumPy arrays in place of tensors", "net.pt",
         saved(lambda net: {name: tensor.numpy() for name, tensor in state(net).items()}),
         "must hold a state dict of tensors (found a dict of '0.weight': _reconstruct"),
    Form("tensors without numbers (device meta)", "net.pt",
         saved(lambda net: {name: tensor.to("meta") for name, tensor in state(net).items()}),
         "must hold a state dict of tensors (found a dict of '0.weight': Tensor"),
    Form("parameters without buffers", "net.pt", saved(lambda net: dict(net.named_parameters())),
         "does not fit the network: missing: 1.running_mean, 1.running_var, 1.num_batches_tracked"),
    Form("one tensor less", "net.pt", saved(lambda net: {"state_dict": without(net, "3.bias")}),
         "its 'state_dict', does not fit the network: missing: 3.bias"),
    Form("the state dict of another network, and its optimizer", "checkpoint.pth",
         saved(lambda net: {"state_dict": {"fc.weight": torch.ones(2, 2)}, "optimizer": optimizer(net).state_dict()}),
         "its 'state_dict', does not fit the network: missing: 0.weight, 0.bias, 1.weight and 6 more; not known: "
         "fc.weight"),
    Form("one tensor more", "net.pt", saved(lambda net: {**state(net), "4.weight": torch.zeros(1)}),
         "does not fit the network: not known: 4.weight"),
    Form("one of another shape", "net.pt", saved(lambda net: {**state(net), "3.bias": torch.zeros(5)}),
         "does not fit the network: of another shape: 3.bias is [5], not [3]"),
    Form("a prefix, and one tensor less", "net.pt",
         saved(lambda net: {f"module.{name}": tensor for name, tensor in without(net, "0.bias").items()}),
         "of those named 'module.*', does not fit the network: missing: 0.bias"),
    Form("a prefix before some names only", "net.pt",
         saved(lambda net: {("" if name == "3.bias" else "module.") + name: v for name, v in state(net).items()}),
         "does not fit the network"),
    Form("two networks that fit, under keys of one's own", "gan.pt",
         saved(lambda net: {"first": state(net), "second": other()}),
         "must hold one state dict that fits the network (found its 'first', and its 'second', with other values)"),
    Form("a weight that is not finite", "net.pt",
         saved(lambda net: {**state(net), "3.bias": torch.full((3,), torch.nan)}),
         "all weights must be finite, but '3.bias' holds NaN or infinity"),
)  # fmt: skip

_PAGE = """\
# Files of weights

`--weights FILE`, `model.weights` in a recipe and `mdcompress.load_weights(network, path)` take a trained network's
weights as training scripts leave them: safetensors, or what `torch.save` wrote (`.pt`, `.pth`, `.pth.tar`, `.ckpt`,
`.bin`).

```python
loaded = mdcompress.load_weights(network, "model_best.pth.tar")
print(loaded)  # the weights are 'state_dict' of the file; 'module.' taken off before their names
```

- **What is taken** is what fits the network entirely, names and shapes, wherever it stands: under `state_dict`,
  `model`, `net`, `network`, `model_state_dict` or any other key, to three keys deep; with any prefix before all names.
  Where several fit, plain weights come before averaged ones (`ema`) and these before a teacher's. What was chosen is
  said on the command line. Nothing is filled up: a tensor too many, missing or of another shape is an error that names
  it.
- **Nothing in the file is run.** Tensors and plain containers are built from a list of names; arguments, NumPy values,
  dates, paths and optimizers beside them are passed over, without a call of their classes. Every other name is refused,
  and a pickled network too, since reading it runs the code of its class. Where it was made:
  `torch.save(network.state_dict(), "weights.pt")`.
- **The network** may stand in `torch.compile`, `DataParallel`, `DistributedDataParallel`, `AveragedModel` or a
  LightningModule without a `forward` of its own, or have such parts: weights go to and come from the network inside,
  here and in `trace`, `compress`, `save_weights`. Names and node names are those without wrappers, and the compiler
  does not run.

Made from `tests/support/checkpoint_forms.py`, whose rows the tests save and read:
`python -m tests.support.checkpoint_forms`.
"""


def page() -> str:
    """The text of docs/checkpoints.md."""
    lines = ["## Read", "", "| what the file holds | for example | what is said |", "|---|---|---|"]
    lines += [f"| {form.holds} | `{form.file}` | {form.says or 'nothing'} |" for form in READ]
    lines += ["", "## Refused", "", "| what the file holds | for example | the message has |", "|---|---|---|"]
    lines += [f"| {form.holds} | `{form.file}` | {form.says} |" for form in REFUSED]
    return _PAGE + "\n" + "\n".join(lines).replace("*'", "\\*'") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
