"""One training step of the 4-bit student beside one of the float network: CPU time of both, and their ratio.

    python -m benchmarks training_step_cost > docs/results/training_step_cost.md

A step is forward, backward, gradient clipping and optimizer on one batch of random images. Both alternate, so that what
else the machine does falls on both alike; the median is reported. `--profile` prints where the student's time goes.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import mdcompress as md
from mdcompress import zoo
from mdcompress.losses import distillation_loss, task_loss
from mdcompress.recipe import DistillSpec, TrainSpec, load_recipe
from mdcompress.student.observation import observe
from mdcompress.tracing import trace
from mdcompress.training.optimization import clip_gradient, make_optimizer

Step = Callable[[], None]


@dataclass(frozen=True)
class Subject:
    """A network and the batch it is timed on: x [T, N, C, H, W]."""

    name: str
    network: nn.Module
    x: Tensor
    classes: int


def subjects() -> list[Subject]:
    """Small enough for a CPU: the digits network, VGG-9 and MS-ResNet-18 on 32x32 images."""
    torch.manual_seed(0)
    return [
        Subject("digits_snn, T=4, batch 64, 1x8x8", zoo.digits_snn(), torch.rand(4, 64, 1, 8, 8), 10),
        Subject("vgg9, T=4, batch 16, 3x32x32", zoo.vgg9(), torch.rand(4, 16, 3, 32, 32), 10),
        Subject("ms_resnet18, T=2, batch 4, 3x32x32", zoo.ms_resnet18(), torch.rand(2, 4, 3, 32, 32), 10),
    ]


def steps_of(subject: Subject) -> dict[str, Step]:
    """The float network's step, the student's on the labels alone, and the student's with all that a teacher adds."""
    x, y = subject.x, torch.arange(subject.x.shape[1]) % subject.classes
    recipe, settings = load_recipe("4bit"), TrainSpec()
    teacher = subject.network.eval()
    with torch.no_grad():
        teacher.train()(x)  # batch norms take statistics of their own, so that currents have a usual size
    graph = trace(teacher.eval(), x[:, :2])
    quick = recipe.calibrate.model_copy(update={"weights": "nearest", "offsets": "keep"})  # what a step costs is alike
    student = md.compress(teacher, x[:, :2], recipe.model_copy(update={"calibrate": quick}), [x]).train()
    floating = copy.deepcopy(teacher).train()

    def step(network: nn.Module, loss: Callable[[], Tensor]) -> Step:
        optimizer = make_optimizer(network, settings.optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]

        def perform() -> None:
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss())
            clip_gradient(parameters, settings.grad_clip)
            optimizer.step()

        return perform

    def distilled(spec: DistillSpec) -> Tensor:
        with torch.no_grad():
            target = observe(teacher, graph, x)
        seen = observe(student, student.graph, x)
        return distillation_loss(seen, target, y=y, graph=student.graph, spec=spec).total

    def answers(network: nn.Module) -> Tensor:
        output = network(x)
        return task_loss(output if output.dim() == 3 else output[None], y)

    return {
        "float network": step(floating, lambda: answers(floating)),
        "4-bit student, labels alone": step(student, lambda: answers(student)),
        "4-bit student, with teacher, logits and membranes": step(student, lambda: distilled(recipe.distill)),
    }


def timed(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each, in turn; the first two rounds warm up. Waiting for a busy machine is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 2):
        for name, step in steps.items():
            started = time.process_time()
            step()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values[2:]) for name, values in seconds.items()}


def table(rounds: int) -> str:
    """Both absolute figures and the ratio, for each network."""
    lines = ["| network | step | CPU ms | ratio to the float network |", "|---|---|---|---|"]
    for subject in subjects():
        found = timed(steps_of(subject), rounds)
        base = found["float network"]
        lines += [
            f"| {subject.name} | {name} | {1000 * each:.1f} | {each / base:.2f} |" for name, each in found.items()
        ]
    return "\n".join(lines)


def print_profile() -> None:
    """The operations that take most of the student's step, by their own time, beside those of the float network."""
    subject = subjects()[1]
    for name, step in steps_of(subject).items():
        step()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(3):
                step()
        sys.stdout.write(f"\n{subject.name}: {name}, 3 steps\n")
        sys.stdout.write(
            profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=18, max_name_column_width=40)
        )


_HEAD = """\
# What a training step of the 4-bit student costs

`python -m benchmarks training_step_cost --rounds {rounds} > docs/results/training_step_cost.md` writes this page
(seed 0, `recipes/4bit.yaml`, threads: {threads}, torch {torch}, {machine}, no GPU).
A step is forward, backward, clipping and optimizer; median CPU time of {rounds}, taken in turn. The bar is 2.0 for the
student's own step; the last line of each network adds what a distillation needs besides: the teacher's forward pass
and the losses."""


_TAIL = """\
Where it goes (`--profile`, VGG-9, own CPU time of 3 steps, one profile on the same machine under load): convolutions
forward and backward take 5.6 s of the float network's 9.6 s and 3.7 s of the student's 11.6 s on labels alone. The rest
of the student is element-wise: mul 1.2 s, div 0.9 s, var_mean 0.7 s, where 0.7 s, add 0.6 s, reciprocal, sub and pow
0.3 s each."""


def main() -> None:
    """Print the page, or the profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.profile:
        print_profile()
        return
    head = _HEAD.format(
        threads=chosen.threads,
        torch=torch.__version__,
        machine=f"2 shared {platform.machine()} cores",
        rounds=chosen.rounds,
    )
    sys.stdout.write(f"{head}\n\n{table(chosen.rounds)}\n\n{_TAIL}\n")


if __name__ == "__main__":
    main()
