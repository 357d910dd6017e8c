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
from mdcompress.training.own_neurons import own_neurons_at_once

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
    """The float network's step, as it is written and as `train` runs it, the student's on the labels alone, and the
    student's with all that a teacher adds.
    """
    x = subject.x
    y = torch.arange(x.shape[1], device=x.device) % subject.classes
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

    def at_once() -> Tensor:
        with own_neurons_at_once(floating):
            return answers(floating)

    return {
        "float network": step(floating, lambda: answers(floating)),
        "float network as `train` runs it": step(floating, at_once),
        "4-bit student, labels alone": step(student, lambda: answers(student)),
        "4-bit student, with teacher, logits and membranes": step(student, lambda: distilled(recipe.distill)),
    }


def timed(steps: dict[str, Step], rounds: int, *, clock: Callable[[], float] = time.process_time) -> dict[str, float]:
    """Median CPU seconds of each, in turn; the first two rounds warm up. Waiting for a busy machine is not counted.

    clock: another one, where the work is not the CPU's.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 2):
        for name, step in steps.items():
            started = clock()
            step()
            seconds[name].append(clock() - started)
    return {name: statistics.median(values[2:]) for name, values in seconds.items()}


def table(rounds: int) -> str:
    """Time, ratio, calls of ATen and numbers read back from the device, for each network."""
    lines = ["| network | step | CPU ms | ratio | ATen calls | ratio | read back |", "|---|---|---|---|---|---|---|"]
    for subject in subjects():
        steps = steps_of(subject)
        found, calls = timed(steps, rounds), {name: counted(step) for name, step in steps.items()}
        base, base_calls = found["float network"], calls["float network"][0]
        lines += [
            f"| {subject.name} | {name} | {1000 * each:.1f} | {each / base:.2f} | {calls[name][0]:,} | "
            f"{calls[name][0] / base_calls:.2f} | {calls[name][1]} |"
            for name, each in found.items()
        ]
    return "\n".join(lines)


def counted(step: Step) -> tuple[int, int]:
    """Calls of ATen in a step, and how often a number is read back from the device.

    Not what torch's fused optimizer reads: on a CPU it asks its own counters of steps.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = profiler.events()
    reads = [event for event in events if event.name == "aten::item"]
    own = [event for event in reads if event.cpu_parent is None or "fused" not in event.cpu_parent.name]
    return sum(event.name.startswith("aten::") for event in events), len(own)


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
A step is forward, backward, clipping and optimizer; median CPU time of {rounds}, taken in turn. The bars are 1.35 times
the float network's time for the student's own step, 1.7 for that of a distillation, which adds the teacher's forward
pass and the losses, twice its calls of ATen, and no number read back from the device (torch's fused AdamW reads its own
counters of steps on a CPU; they are not counted)."""


_TAIL = """\
The float network is run as it is written, with its maps laid out channel by channel (NCHW). A student lays its own out
with channels beside each other, which halves the time of a convolution on this machine: that is why its step can cost
less than the float network's, whose neurons are plain PyTorch besides. `mdcompress train` runs the zoo's neurons over
all steps at once (`mdcompress.training.own_neurons`), with the same numbers. A teacher's answers are remembered over
the epochs of a distillation where 512 MB hold them (`mdcompress.training.answers`): its forward pass, which is in every
step here, is then in those of the first epoch alone."""


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
