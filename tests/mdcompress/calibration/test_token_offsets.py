"""Corrections by channel of linear maps of tokens, [T, N, L, C]: the channel is the last axis, also where L == C."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.calibration.calibration import calibrate
from mdcompress.modes import evaluating
from mdcompress.recipe import CalibrateSpec
from mdcompress.student import Student
from mdcompress.zoo import LIF

T, N, C = 4, 6, 5
OPTIONS = CalibrateSpec(offsets="correct", weights="reconstruct")


class Tokens(nn.Module):
    """Two linear maps of tokens, the first with a norm on (C, L) where asked; logits are means over tokens."""

    def __init__(self, places: tuple[int, ...], *, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.places = nn.BatchNorm1d(C) if norm else None, places
        self.inner, self.lif, self.outer = nn.Linear(3, C), LIF(threshold=0.3), nn.Linear(C, C)
        self.lif2, self.head = LIF(threshold=0.3), nn.Linear(C, 2)
        with torch.no_grad():
            self.inner.bias.copy_(torch.linspace(-0.2, 0.6, C))
            self.outer.bias.copy_(torch.linspace(0.5, -0.1, C))

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if self.norm is not None:
            y = self.norm(y.flatten(0, 1).transpose(-1, -2)).transpose(-1, -2).unflatten(0, x.shape[:2])
        spikes = self.lif2(self.outer(self.lif(y)))
        logits: Tensor = self.head(spikes).mean(tuple(range(2, 2 + len(self.places)))).mean(0)
        return logits


def _note(means: dict[str, Tensor], name: str, axis: int, _module: nn.Module, _given: object, out: Tensor) -> None:
    means[name] = out.double().movedim(axis, -1).flatten(0, -2).mean(0)


def _means(student: Student, name: str, x: Tensor) -> Tensor:
    """The mean real current of each channel; the student's are [T, N, C, L]."""
    with evaluating(student), torch.no_grad():
        result = student.run(x)
    current = result.currents[name] * student.current_unit(name, result.units)
    return current.double().mean((0, 1, 3))


@pytest.mark.parametrize(
    ("places", "norm"), [((C,), False), ((7,), False), ((C,), True), ((7,), True), ((C, C), False), ((2, 3), False)]
)
def test_the_mean_current_of_each_channel_is_that_of_the_float_network(places: tuple[int, ...], norm: bool) -> None:
    network = Tokens(places, norm=norm).eval()
    x = 2 * torch.rand(T, N, *places, 3, generator=torch.Generator().manual_seed(1))
    graph = md.trace(network, x)
    wanted: dict[str, Tensor] = {}
    for name in ("inner", "outer", "head"):
        module = network.norm if norm and name == "inner" else network.get_submodule(name)
        assert module is not None
        axis = 1 if module is network.norm else -1
        module.register_forward_hook(partial(_note, wanted, name, axis))
    with torch.no_grad():
        network(x)
    left, kept = 0.0, 0.0
    students = [md.quantize(network, graph, md.plan(md.load_recipe("2bit"), graph)) for _ in range(2)]
    calibrate(students[0], [x], spec=OPTIONS, teacher=network)
    calibrate(students[1], [x], spec=CalibrateSpec(offsets="keep", weights="reconstruct"))
    for name, means in wanted.items():
        unit = float(students[0].current_unit(name, students[0].stream_units()).detach().max())
        difference = float((_means(students[0], name, x) - means).abs().max())
        assert difference < 2 * unit + 1e-4, name
        left, kept = left + difference, kept + float((_means(students[1], name, x) - means).abs().max())
    assert kept > 3 * left, (kept, left)
    report = md.verify(students[0].eval(), x)
    assert report.equal and report.spikes > 0


@pytest.mark.parametrize("places", [(C,), (7,), (2, 3), (N, T)])
def test_logits_of_tokens_are_observed_where_steps_and_samples_are_as_many(places: tuple[int, ...]) -> None:
    network = Tokens(places, norm=False).eval()
    x = 2 * torch.rand(T, T, *places, 3, generator=torch.Generator().manual_seed(1))
    seen = md.observe(network, md.trace(network, x), x)
    assert seen.logits.shape == (T, T, 2)
    torch.testing.assert_close(seen.logits.mean(0), seen.output)
    with torch.no_grad():
        assert seen.potentials["lif"].shape == (T, T, *places, C)
