"""Two processes train what one would, on shares of its batches; killed, they go on to the same bits."""

from __future__ import annotations

import copy
import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mdcompress.errors import TrainingError
from mdcompress.losses import membrane_loss
from mdcompress.processes import ALONE, ValueT
from mdcompress.training.launch import join_processes
from mdcompress.training.parallel import share, sum_gradients, whole_batch
from mdcompress.training.statistics import global_statistics, moments_over
from tests.support.changes import MembraneDistance
from tests.support.command_line import environment, invoke, write_tiny_files
from tests.support.narrowed import gradient
from tests.support.paths import ROOT
from tests.support.training_cases import Second, Shuffled, float_network, tiny_student

Fabric = pytest.importorskip("lightning_fabric").Fabric


class Meeting:
    """One of two threads in the place of two processes: sums are of what both bring."""

    device, size = "cpu", 2

    def __init__(self, rank: int, table: list[Tensor], barrier: Barrier) -> None:
        self.rank, self._table, self._barrier = rank, table, barrier

    def wait(self) -> None:
        self._barrier.wait(timeout=60)

    def broadcast(self, value: ValueT) -> ValueT:
        return value  # both have it

    def sum(self, tensor: Tensor) -> Tensor:
        self._table[self.rank] = tensor
        self._barrier.wait(timeout=60)
        total = self._table[0] + self._table[1]
        self._barrier.wait(timeout=60)
        return total


# ------------------------------------------------------------------ by hand


def test_each_process_has_every_second_sample() -> None:
    x, y = torch.arange(5.0).expand(3, 5), torch.arange(5)
    mine = share(Second(), x, y)
    assert mine.y.tolist() == [1, 3] and mine.x.tolist() == [[1.0, 3.0]] * 3
    assert (mine.weight, mine.correct_weight) == (2 / 5, 1.0)
    alone = share(ALONE, x, y)
    assert alone.y.tolist() == [0, 1, 2, 3, 4] and alone.weight == 1.0


def test_a_batch_of_one_sample_is_given_to_both_with_half_its_weight() -> None:
    mine = share(Second(), torch.ones(3, 1), torch.tensor([7]))
    assert (mine.y.tolist(), mine.weight, mine.correct_weight) == ([7], 0.5, 0.5)


def test_losses_and_gradients_are_summed_by_weight() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[1.0, 2.0]])
    mine = share(Second(), torch.ones(1, 4), torch.arange(4))
    whole = whole_batch(Second(), mine, {"total": torch.tensor(3.0)}, torch.tensor(2))
    assert whole.tolist() == [3.0, 4.0]
    sum_gradients(Second(), list(layer.parameters()))
    assert gradient(layer.weight).tolist() == [[2.0, 4.0]] and layer.bias.grad is None


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_over_processes_is_batch_norm_of_the_whole_batch(affine: bool) -> None:
    """With equal halves the global batch is the own one twice."""
    torch.manual_seed(0)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    one = nn.BatchNorm1d(3, affine=affine).double().requires_grad_(True)
    two = nn.BatchNorm1d(3, affine=affine).double().requires_grad_(True)
    mine, whole = x.clone().requires_grad_(), x.clone().requires_grad_()
    direction = torch.randn(6, 3, 4, dtype=torch.float64)
    with global_statistics(Second()):
        found = one(mine)
        (found * direction).sum().backward()
    expected = two(torch.cat([whole, whole]))
    (expected * torch.cat([direction, direction])).sum().backward()
    torch.testing.assert_close(found, expected[:6])
    torch.testing.assert_close(one.running_mean, two.running_mean)
    torch.testing.assert_close(one.running_var, two.running_var)  # by 48/47, not by 24/23
    assert mine.grad is not None and whole.grad is not None
    torch.testing.assert_close(2 * mine.grad, whole.grad)  # `whole` is used twice


def test_a_students_own_statistics_are_those_of_the_whole_batch_too() -> None:
    student = tiny_student(float_network()).train()
    other, x = copy.deepcopy(student), Shuffled().x[:, :6]
    with global_statistics(Second()):
        found = student(x)
    torch.testing.assert_close(found, other(torch.cat([x, x], dim=1))[:6])
    shared, whole = dict(student.named_buffers()), dict(other.named_buffers())
    norms = [name for name in whole if "running_" in name]
    assert len(norms) == 2
    for name in norms:
        torch.testing.assert_close(shared[name], whole[name], rtol=1e-5, atol=1e-7)
    before = shared[norms[0]].clone()
    student(x)  # outside, it is a network like any other
    assert not torch.equal(student.get_buffer(norms[0]), before)


@pytest.mark.parametrize("how", [{"distance": "moments"}, {"normalize": "variance"}])
def test_a_loss_on_moments_is_that_of_the_whole_batch(how: MembraneDistance) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    whole = student.clone().requires_grad_()
    expected = membrane_loss(whole, teacher, threshold=0.7, **how)
    torch.autograd.backward(expected)

    def loss_of(process: Meeting) -> tuple[float, Tensor]:
        mine = slice(process.rank, None, 2)  # three samples, and two
        own = student[:, mine].clone().requires_grad_()
        loss = membrane_loss(own, teacher[:, mine], threshold=0.7, moments_of=moments_over(process), **how)
        share = loss * own.shape[1] / 5
        torch.autograd.backward(share)
        return share.item(), gradient(own)

    table, barrier = [torch.zeros(())] * 2, Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(loss_of, (Meeting(rank, table, barrier) for rank in range(2)))
    assert first[0] + second[0] == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(first[1], gradient(whole)[:, 0::2])
    torch.testing.assert_close(second[1], gradient(whole)[:, 1::2])


def test_a_fabric_of_one_process_answers_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from mdcompress.training.fabric import FabricProcesses

    monkeypatch.setenv("WORLD_SIZE", "1")
    with monkeypatch.context() as patch:  # a group of one needs no port
        patch.setattr("mdcompress.training.fabric.Fabric", lambda **how: Fabric(**{**how, "strategy": "auto"}))
        processes = FabricProcesses.join("cpu")
    assert (processes.rank, processes.size, processes.device) == (0, 1, "cpu")
    processes.wait()
    assert processes.broadcast(("a", 1)) == ("a", 1)
    tensor = torch.ones(2)
    assert processes.sum(tensor).tolist() == [1.0, 1.0]


def test_evaluation_is_not_touched() -> None:
    norm = nn.BatchNorm1d(3).eval()
    x = torch.randn(4, 3)
    with global_statistics(Second()):
        assert torch.equal(norm(x), nn.BatchNorm1d(3).eval()(x))


# ------------------------------------------------------------------ two real processes


class Pairs:
    """The program of `process_pairs`, one for all tests here."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert self._line() == "ready"

    def train(self, kind: str, folder: Path, *, size: int = 2, kill_at: int | None = None) -> list[int]:
        folder.mkdir(exist_ok=True)
        assert self.process.stdin is not None
        request = {"kind": kind, "folder": str(folder), "size": size, "kill_at": kill_at}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        statuses: list[int] = json.loads(self._line())
        return statuses

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.process_pairs"]
    paths = os.pathsep.join([environment()["PYTHONPATH"], str(ROOT)])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment() | {"PYTHONPATH": paths}
    ) as process:
        yield Pairs(process)
        assert process.stdin is not None
        process.stdin.close()


def curve(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v and k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["teacher", "student", "kept weights"])
def test_two_processes_have_the_loss_curve_of_one_and_survive_a_kill(pairs: Pairs, tmp_path: Path, kind: str) -> None:
    one, two, killed = tmp_path / "one", tmp_path / "two", tmp_path / "killed"
    assert pairs.train(kind, one, size=1) == [0]
    assert pairs.train(kind, two) == [0, 0]
    alone, shared = curve(one), curve(two)
    assert [row["epoch"] for row in shared] == [row["epoch"] for row in alone]
    if kind != "teacher":
        start, *alone = alone
        assert shared.pop(0) == start and (start["epoch"], start["best"]) == (0, 0)  # what came, scored by one process
        assert "validation_total_T3" in start
    for row in (*alone, *shared):
        del row["best"]  # two epochs may lie nearer to each other than two ways to sum
    assert shared[0] == pytest.approx(alone[0], rel=1e-3 if kind == "teacher" else 5e-3)
    for expected, found in zip(alone[1:], shared[1:], strict=True):
        # sums in another order: in time an integer of the student rounds otherwise, and one sample's answer turns
        assert found == pytest.approx(expected, rel=1e-3 if kind == "teacher" else 0.1, abs=0.02)
    assert alone[0]["total"] != alone[1]["total"]
    ends = [load_file(two / f"end{rank}") for rank in range(2)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])  # both hold the same network

    statuses = pairs.train(kind, killed, kill_at=9)
    assert os.WTERMSIG(statuses[0]) == signal.SIGKILL and not (killed / "end0").exists()
    assert pairs.train(kind, killed) == [0, 0]
    assert curve(killed) == curve(two)
    again = load_file(killed / "end0")
    assert all(torch.equal(again[name], ends[0][name]) for name in again)


# ------------------------------------------------------------------ the command line


@pytest.mark.slow
def test_torchrun_of_the_command_writes_and_prints_once(tmp_path: Path) -> None:
    write_tiny_files(tmp_path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "--", "mdcompress", "run", "--recipe", "tiny.yaml", "--run", "tiny"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| distilled |") == 1
    assert done.stderr.count("train 2/2") == 1 and done.stderr.count("distill 1/1") == 1
    assert (tmp_path / "runs/tiny/model.onnx").is_file()


def test_a_command_that_cannot_share_its_work_refuses_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = invoke("quantize", "--recipe", "tiny.yaml")
    assert result.code == 2
    assert "only train, distill and run work in several processes (torchrun started 2)" in result.err


def test_without_fabric_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mdcompress.training.fabric", None)
    with pytest.raises(TrainingError, match="2 processes needs lightning-fabric") as caught:
        join_processes()
    assert "mdcompress[distributed]" in str(caught.value)
