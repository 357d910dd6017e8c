"""A program that imports once and forks pairs of training processes, for `test_training_processes`.

Each line on stdin is a request in JSON; each answer is the wait statuses of its processes. The environment is that of
torchrun, whose own start costs seconds for each request.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from safetensors.torch import save_file

from mdcompress.compression import compress
from mdcompress.processes import Processes
from mdcompress.recipe import DistillSpec, MembraneLossSpec, OptimizerSpec, RateLossSpec, TeacherSpec, TrainSpec
from mdcompress.training import Event, Progress, StepRecord, distill, train_network, write_history
from mdcompress.training.launch import join_processes
from tests.support.training_cases import RECIPE, Shuffled, Tiny, state_of

SETTINGS = TrainSpec(optimizer=OptimizerSpec(name="sgd", lr=0.05), ema=0.9)  # a student's batch is a step at each T
TEACHER = TeacherSpec(epochs=3, optimizer=OptimizerSpec(name="sgd", lr=0.1))
DISTILL = DistillSpec(
    epochs=2, time_steps=(1, 3), membrane=MembraneLossSpec(weight=1.0), rates=RateLossSpec(weight=1.0)
)
STUDENTS = {
    "student": DISTILL,
    # validated by one process: a loss on moments over all of them would wait for the others for ever
    "kept weights": DISTILL.model_copy(
        update={"weights": "keep", "best": "loss", "membrane": MembraneLossSpec(distance="moments", weight=0.1)}
    ),
}
ODD = Shuffled(samples=97, batch_size=16)  # the last batch has one sample: fewer than there are processes


@dataclass(frozen=True)
class Request:
    """kind: teacher, or one of STUDENTS. folder: of checkpoint, history and end. kill_at: step at which rank 0 dies."""

    kind: str
    folder: str
    size: int
    kill_at: int | None = None


class How(TypedDict):
    """What training a float network and distilling have in common."""

    train: Shuffled
    validate: Shuffled
    settings: TrainSpec
    checkpoint: Path
    checkpoint_every: int
    progress: Progress
    processes: Processes


def network() -> Tiny:
    torch.manual_seed(3)
    made = Tiny().eval()
    made.drop.p = 0.0  # processes draw other masks than one would
    return made


def work(request: Request) -> None:
    folder, processes = Path(request.folder), join_processes()
    events: list[Event] = []

    def progress(event: Event) -> None:
        events.append(event)
        if request.kill_at == sum(isinstance(each, StepRecord) for each in events):
            os.kill(os.getpid(), signal.SIGKILL)

    how: How = {
        "train": ODD,
        "validate": ODD,
        "settings": SETTINGS,
        "checkpoint": folder / "last",
        "checkpoint_every": 4,
        "progress": progress,
        "processes": processes,
    }
    if request.kind == "teacher":
        trained: torch.nn.Module = train_network(network(), spec=TEACHER, **how)
    else:
        teacher = network()
        student = compress(teacher, ODD.x[:, :16], RECIPE, list(ODD))
        trained = distill(student, teacher=teacher, spec=STUDENTS[request.kind], **how)
    save_file(state_of(trained), folder / f"end{processes.rank}")
    assert processes.rank == 0 or not events
    if processes.rank == 0:
        from mdcompress.training import read_history

        write_history(read_history(folder / "last"), folder / "history.csv")


def serve(request: Request) -> list[int]:
    """Fork the processes of a request; when one dies the others are killed, as torchrun does."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for rank in range(request.size):
        child = os.fork()
        if child == 0:
            os.environ |= {
                "WORLD_SIZE": str(request.size),
                "LOCAL_WORLD_SIZE": str(request.size),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "GROUP_RANK": "0",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_RUN_ID": "test",
            }
            try:
                work(request)
            except BaseException as error:
                sys.stderr.write(f"rank {rank}: {error!r}\n")
                os._exit(1)
            os._exit(0)
        children.append(child)
    statuses: dict[int, int] = {}
    while len(statuses) < len(children):
        child, status = os.wait()
        statuses[child] = status
        for other in set(children) - set(statuses) if status else ():
            os.kill(other, signal.SIGKILL)
    return [statuses[child] for child in children]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        print(json.dumps(serve(Request(**json.loads(line)))), flush=True)  # noqa: T201
