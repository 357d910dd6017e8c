"""The number of threads: decided by the size of the work or by the recipe, recorded, and gone afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import mdcompress as md
from mdcompress.adapters.state import run_fresh
from mdcompress.pipeline.threads import SMALL_WORK, chosen_threads, multiply_adds
from mdcompress.training import engine
from tests.support.command_line import Finished, invoke, write_tiny_files


class Transposed(nn.Module):
    """A transposed convolution with a stride, between others."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.first = nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2), md.zoo.LIF(tau=2.0)
        self.up, self.second = nn.ConvTranspose2d(6, 4, 2, stride=2), md.zoo.LIF(tau=2.0)
        self.head = nn.Linear(4 * 8 * 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps, samples = x.shape[:2]
        x = self.first(self.down(x.flatten(0, 1)).unflatten(0, (steps, samples)))
        x = self.second(self.up(x.flatten(0, 1)).unflatten(0, (steps, samples)))
        answer: torch.Tensor = self.head(x.flatten(2))
        return answer.mean(0)


@pytest.mark.parametrize(
    ("network", "shape"),
    [(md.zoo.digits_snn(), (1, 8, 8)), (md.zoo.digits_events_snn(), (2, 16, 16)), (Transposed(), (2, 8, 8))],
    ids=["digits", "events", "transposed"],
)
def test_multiply_adds_are_those_that_torch_counts(network: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.rand(2, 3, *shape)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        run_fresh(network.eval(), x)
    assert 2 * multiply_adds(md.trace(network, x)) * 2 * 3 == counted.get_total_flops()


def test_small_work_has_one_thread_and_large_work_those_of_torch() -> None:
    assert [chosen_threads(work, own=8) for work in (1, SMALL_WORK - 1, SMALL_WORK, 10**12)] == [1, 1, 8, 8]
    digits = multiply_adds(md.trace(md.zoo.digits_snn().eval(), torch.rand(4, 2, 1, 8, 8)))
    images = multiply_adds(md.trace(md.zoo.vgg9().eval(), torch.rand(1, 1, 3, 32, 32)))
    assert digits * 64 * 4 < SMALL_WORK < images * 64 * 4


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The threads that trainings had; torch came with 2."""
    write_tiny_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    had: list[int] = []
    run_job = engine.run_job

    def watched(job: engine.Job) -> None:
        had.append(torch.get_num_threads())
        run_job(job)

    monkeypatch.setattr("mdcompress.training.teaching.run_job", watched)
    monkeypatch.setattr("mdcompress.training.distillation.run_job", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield had
    torch.set_num_threads(before)


def command(*arguments: str, code: int = 0) -> Finished:
    result = invoke(*arguments)
    assert result.code == code, result.err
    assert torch.get_num_threads() == 2
    return result


def recorded(run: str) -> dict[str, float | None]:
    stages = json.loads(Path(f"runs/{run}/run.json").read_text())["stages"]
    return {name: stage["measured"].get("threads") for name, stage in stages.items()}


def test_a_small_network_has_one_thread_whatever_torch_came_with(seen: list[int]) -> None:
    command("run", "--recipe", "tiny.yaml")
    assert seen == [1, 1]
    assert recorded("tiny") == {"train": 1, "quantize": 1, "distill": 1, "export": None, "estimate-hw": None}


def test_the_number_that_is_given_is_used_recorded_and_part_of_the_settings(seen: list[int]) -> None:
    command("train", "--recipe", "tiny.yaml", "--threads", "3")
    command("quantize", "--recipe", "tiny.yaml", "--set", "threads=3")
    assert seen == [3] and recorded("tiny") == {"train": 3, "quantize": 3}
    assert "`threads` was 3, now it is null" in command("quantize", "--recipe", "tiny.yaml", "--force", code=1).err
    assert "threads" in command("train", "--recipe", "tiny.yaml", "--threads", "0", code=2).err


def test_threads_come_back_where_a_stage_fails(seen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(job: engine.Job) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mdcompress.training.teaching.run_job", fails)
    command("train", "--recipe", "tiny.yaml", code=130)
    assert seen == []
