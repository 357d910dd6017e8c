"""Networks that override what torch's modules have: train, eval, __call__, modules, named_parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.calibration.norm_statistics import with_statistics
from mdcompress.errors import TraceError
from mdcompress.modes import evaluating, modules_of, tensors_of, to_training_mode, train_with_frozen_norms
from mdcompress.tracing import trace
from mdcompress.tracing.conventions import fit
from mdcompress.zoo import IF, LIF

X = 2 * torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.lif, self.outer = LIF(threshold=0.3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        currents = self.norm(self.inner(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        logits: Tensor = self.outer(self.lif(currents)).mean(0)
        return logits


class OwnModes(Plain):
    """train() and eval() as older code has them: no mode, nothing returned."""

    def train(self) -> None:  # type: ignore[override]
        self.outer.train()

    def eval(self) -> None:  # type: ignore[override]
        self.outer.eval()


class OwnNames(Plain):
    """A plain list named `modules`, and other generators of names than torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.modules = [self.inner]  # type: ignore[assignment, method-assign]

    def named_parameters(self) -> list[str]:  # type: ignore[override]
        return ["inner"]

    def parameters(self) -> None:  # type: ignore[override]
        return None

    def named_modules(self) -> list[str]:  # type: ignore[override]
        return ["inner"]

    def named_buffers(self) -> None:  # type: ignore[override]
        return None

    def buffers(self) -> None:  # type: ignore[override]
        return None


class OwnCall(Plain):
    """Its own __call__: no hook of torch runs."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)


def _off(network: nn.Module) -> nn.Module:
    for module in modules_of(network).values():
        module.training = False
    return network


@pytest.mark.parametrize("kind", [Plain, OwnModes, OwnNames, OwnCall])
@pytest.mark.parametrize("inside", [False, True])
def test_a_network_is_taken_whatever_it_overrides(kind: type[Plain], inside: bool) -> None:
    network: nn.Module = _off(nn.Sequential(kind())) if inside else _off(kind())
    before = {name: tensor.clone() for name, tensor in tensors_of(network).items()}
    found = fit(network, X)
    student = md.compress(found.network, X, "8bit", [X])
    report = md.verify(student, X)
    assert report.equal and report.spikes > 0
    assert not any(module.training for module in modules_of(network).values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors_of(network).items())
    with_statistics(found.network, [X])


@pytest.mark.parametrize("kind", [Plain, OwnModes, OwnNames])
def test_each_module_gets_its_own_mode_back(kind: type[Plain]) -> None:
    network = kind()
    for module in modules_of(network).values():
        module.training = True
    network.norm.training = False
    with evaluating(network):
        assert not any(module.training for module in modules_of(network).values())
    assert [name for name, module in modules_of(network).items() if not module.training] == ["norm"]


def test_names_are_those_of_torch_also_of_a_part_that_stands_twice() -> None:
    shared = nn.Linear(2, 2)
    network = nn.Sequential(shared, nn.Sequential(IF(), shared), nn.BatchNorm1d(2))
    network.register_module("none", None)
    assert modules_of(network) == dict(network.named_modules())
    assert tensors_of(network).keys() == {*dict(network.named_parameters()), *dict(network.named_buffers())}


def test_a_train_that_takes_a_mode_keeps_its_norms_frozen_and_one_that_takes_none_is_not_called() -> None:
    class Frozen(Plain):
        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self.norm.eval()
            return self

    network = nn.ModuleList([Frozen(), OwnModes()])
    to_training_mode(network)
    assert [name for name, module in modules_of(network).items() if not module.training] == ["0.norm"]
    train_with_frozen_norms(network)
    assert [name for name, module in modules_of(network).items() if not module.training] == ["0.norm", "1.norm"]


def test_state_of_a_network_with_a_call_of_its_own_is_seen() -> None:
    class Counting(OwnCall):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counting.calls += 1
            return super().forward(x) * (1.0 + Counting.calls)

    with pytest.raises(TraceError, match="gives another output for the same input"):
        trace(_off(Counting()), X)


def test_a_network_with_a_train_of_its_own_is_trained() -> None:
    data = [(X, torch.tensor([0, 1, 2]))]
    recipe = md.load_recipe("4bit").teacher
    network = OwnModes()
    md.train_network(network, train=data, validate=data, spec=recipe.model_copy(update={"epochs": 1}))
    assert not any(module.training for module in modules_of(network).values())
