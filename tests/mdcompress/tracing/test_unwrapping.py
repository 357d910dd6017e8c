"""Networks inside torch.compile, DataParallel, averages and LightningModules are the networks inside."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mdcompress.compression import compress
from mdcompress.student.lowering import lower
from mdcompress.student.observation import observe
from mdcompress.student.weights import load_weights, save_weights
from mdcompress.tracing import Stepped, trace
from mdcompress.tracing.conventions import fit
from mdcompress.tracing.unwrapping import unwrapped
from mdcompress.zoo import LIF
from tests.support.one_step import OneStep as Neuron

T, N = 4, 3


class Block(nn.Module):
    """conv, norm and neuron on [T, N, C, H, W], of which a script may compile a part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.neuron = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), LIF()

    def forward(self, x: Tensor) -> Tensor:
        currents = self.norm(self.conv(x.flatten(0, 1)))
        spikes: Tensor = self.neuron(currents.unflatten(0, x.shape[:2]))
        return spikes


class Net(nn.Module):
    """A block and a head; `listed` holds the parts in a list of Python's, which torch does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = Block(), nn.Linear(4 * 16, 3)
        self.listed: list[nn.Module] | None = None

    def forward(self, x: Tensor) -> Tensor:
        backbone = self.backbone if self.listed is None else self.listed[0]
        answer: Tensor = self.head(backbone(x).flatten(2)).mean(0)
        return answer


class OneStep(nn.Module):
    """A network of one step, [N, F]."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.neuron, self.head = nn.Linear(4, 5), Neuron(), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.neuron(self.fc(x)))
        return answer


def made() -> Net:
    torch.manual_seed(0)
    net = Net()
    net.get_buffer("backbone.norm.running_var").uniform_(0.1, 0.5)
    return net.eval()


def data() -> Tensor:
    return 2 * torch.rand(T, N, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def never(*_: Any, **__: Any) -> Any:
    """A compiler that must not be started."""
    raise AssertionError("the compiler was started")


def compiled(module: Any) -> Any:
    return torch.compile(module, backend=never)


def with_part(name: str, wrap: Callable[[Any], nn.Module]) -> nn.Module:
    net = made()
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, wrap(net.get_submodule(name)))
    return net


def compiled_in_place(name: str = "") -> nn.Module:
    net = made()
    net.get_submodule(name).compile(backend=never)
    return net


def with_compiled_forward() -> nn.Module:
    net = made()
    net.forward = compiled(net.forward)  # type: ignore[method-assign]  # as scripts do
    return net


def with_listed_part() -> nn.Module:
    net = with_part("backbone", compiled)
    assert isinstance(net, Net)
    net.listed = [net.backbone]
    return net


def named(name: str, package: str, *bases: type) -> type:
    """A class of a library that is not installed."""
    return type(name, bases, {"__module__": package})


class _Lightning(nn.Module):
    def forward(self, *inputs: Any) -> Any:
        return super().forward(*inputs)


_Lightning.__module__ = "lightning.pytorch.core.module"
_LightningModule = named("LightningModule", "lightning.pytorch.core.module", _Lightning)


class Task(_LightningModule):  # type: ignore[misc, valid-type]  # a stand-in of an untyped library's class
    """A LightningModule that only trains: it holds the network, a loss and no `forward`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = net, nn.CrossEntropyLoss()


WRAPPED: dict[str, Callable[[], nn.Module]] = {
    "torch.compile": lambda: compiled(made()),
    "network.compile()": compiled_in_place,
    "a compiled forward": with_compiled_forward,
    "DataParallel": lambda: nn.DataParallel(made()),
    "AveragedModel": lambda: AveragedModel(made()),
    "DataParallel compiled": lambda: compiled(nn.DataParallel(made())),
    "compiled in DataParallel": lambda: nn.DataParallel(compiled(made())),
    "a part compiled": lambda: with_part("backbone", compiled),
    "a part compiled in place": lambda: compiled_in_place("backbone"),
    "a part of a part compiled": lambda: with_part("backbone.norm", compiled),
    "a neuron compiled": lambda: with_part("backbone.neuron", compiled),
    "a neuron compiled in place": lambda: compiled_in_place("backbone.neuron"),
    "a part in DataParallel": lambda: with_part("backbone", nn.DataParallel),
    "a part, and all of it": lambda: compiled(with_part("backbone", compiled)),
    "a part that a list holds too": with_listed_part,
    "a LightningModule without forward": lambda: Task(made()),
    "the same around a compiled network": lambda: Task(compiled(made())),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_graph_and_the_student_are_those_of_the_network_inside(name: str) -> None:
    plain, wrapped, x = made(), WRAPPED[name](), data()
    modules, state = dict(wrapped.named_modules()), copy.deepcopy(wrapped.state_dict())
    graph = trace(plain, x)
    assert trace(wrapped, x) == graph
    found = fit(wrapped, x)
    assert found.graph == graph and found.convention == ""
    expected = lower(compress(plain, x, "4bit", [x]))
    student = compress(wrapped, x, "4bit", [x])
    assert lower(student) == expected
    assert float(observe(wrapped, graph, x).spikes["backbone.neuron"].sum()) > 0
    assert torch.equal(observe(wrapped, graph, x).logits, observe(plain, graph, x).logits)
    assert dict(wrapped.named_modules()) == modules
    assert all(torch.equal(tensor, state[key]) for key, tensor in wrapped.state_dict().items())


@pytest.mark.parametrize("name", WRAPPED)
def test_weights_go_to_and_come_from_the_network_inside(name: str, tmp_path: Path) -> None:
    trained, wrapped, fresh = made(), WRAPPED[name](), made()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)
    save_weights(trained, tmp_path / "plain.safetensors")
    assert str(load_weights(wrapped, tmp_path / "plain.safetensors")) == ""
    torch.save(wrapped.state_dict(), tmp_path / "wrapped.pt")
    load_weights(fresh, tmp_path / "wrapped.pt")
    assert all(torch.equal(tensor, trained.state_dict()[key]) for key, tensor in fresh.state_dict().items())
    load_weights(wrapped, tmp_path / "wrapped.pt")
    save_weights(wrapped, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()


def test_distributed_data_parallel_is_seen_through(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(made())
        assert trace(wrapped, data()) == trace(made(), data())
    finally:
        torch.distributed.destroy_process_group()


def test_a_network_without_wrappers_is_itself() -> None:
    net = made()
    assert unwrapped(net) is net
    assert fit(net, data()).network is net


def test_only_what_stands_above_a_wrapper_is_copied_and_tensors_are_shared() -> None:
    net = with_part("backbone.norm", compiled)
    found = unwrapped(net)
    assert found is not net and found.get_submodule("backbone") is not net.get_submodule("backbone")
    assert found.get_submodule("head") is net.get_submodule("head")
    assert [id(p) for p in found.parameters()] == [id(p) for p in net.parameters()]
    assert [name for name, _ in found.named_modules() if "_orig_mod" in name] == []
    assert "backbone.norm._orig_mod" in dict(net.named_modules())


def test_a_module_that_stands_twice_stands_twice() -> None:
    part = compiled(nn.Linear(2, 2))
    found = unwrapped(nn.Sequential(part, nn.Sequential(part)))
    assert found.get_submodule("0") is found.get_submodule("1.0")


def test_a_part_that_holds_the_whole_is_no_endless_walk() -> None:
    net = made()
    net.backbone.whole = net
    assert unwrapped(net) is net


@pytest.mark.parametrize("order", ["inside", "outside"])
def test_a_network_of_one_step_may_be_compiled_inside_or_outside_of_its_wrapper(order: str) -> None:
    torch.manual_seed(0)
    plain = OneStep().eval()
    wrapped = Stepped(compiled(plain)) if order == "inside" else compiled(Stepped(plain))
    x = torch.rand(T, N, 4)
    graph = trace(Stepped(plain), x)
    assert trace(wrapped, x) == graph
    if order == "inside":
        assert fit(compiled(plain), x).graph == graph and "one step at a time" in fit(compiled(plain), x).convention


def test_a_network_that_takes_its_state_is_told_through_a_wrapper() -> None:
    class Threaded(OneStep):
        def forward(self, x: Tensor, state: object = None) -> tuple[Tensor, object]:  # type: ignore[override]
            return super().forward(x), state

    assert Stepped(compiled(Threaded()))._threads_state and Stepped(nn.DataParallel(Threaded()))._threads_state


def test_a_function_that_was_compiled_is_traced_as_it_was_written() -> None:
    class Scaled(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(doubled(x))

    def double(x: Tensor) -> Tensor:
        return x * 2.0

    doubled = double
    torch.manual_seed(0)
    net, x = Scaled().eval(), data()
    graph = trace(net, x)
    doubled = compiled(double)
    assert trace(net, x) == graph


def test_a_lightning_module_with_a_forward_is_called_by_it() -> None:
    class Turning(Task):
        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.model(x.transpose(0, 1).transpose(0, 1))
            return answer

    module = Turning(made()).eval()
    assert unwrapped(module) is module
    assert "model.backbone.conv" in {node.module for node in trace(module, data())}


def test_a_lightning_module_of_two_networks_is_left_as_it_is() -> None:
    module = Task(made())
    module.teacher = made()
    assert unwrapped(module) is module


def test_a_class_of_ones_own_that_has_a_wrappers_name_is_no_wrapper() -> None:
    own = named("DataParallel", "my_project.parallel", Net)()
    assert unwrapped(own) is own
