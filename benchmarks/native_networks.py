"""Networks of `native_speed`: VGG-9 and MS-ResNet-18 whose layers fire as often as trained ones, and their graphs.

No training: biases are set layer by layer, so that each neuron node fires at the wanted rate on training images, as
batch norms and thresholds do in a trained network. What is timed depends on shapes, bits and rates, not on accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import mdcompress as md
from benchmarks.experiment_data import cifar10
from intsnn import IntGraph, run_onnx
from mdcompress import zoo
from mdcompress.recipe import load_recipe
from mdcompress.student import Student

BUILDERS: dict[str, Callable[[], nn.Module]] = {"vgg9": zoo.vgg9, "msresnet18": zoo.ms_resnet18}
TIME_STEPS = 4
NEAR = 1e-4  # of the wanted rate
LARGEST_SHIFT = 16.0  # of a current, in thresholds; normalized currents have a deviation of 1


def images(folder: Path, samples: int, *, part: str = "train") -> Tensor:
    """CIFAR-10 (JPEG q75), shown at each of 4 steps: x [4, samples, 3, 32, 32] in 0 .. 1."""
    train, _, test, _ = cifar10(TIME_STEPS, samples, 0, folder)
    batches = train if part == "train" else test
    return torch.cat([x for x, _ in batches.first(samples, seed=0)], dim=1)


def firing_network(build: Callable[[], nn.Module], x: Tensor, *, rate: float) -> nn.Module:
    """The float network, each of whose neuron nodes fires at `rate` spikes per neuron and step on x [T, N, C, H, W].

    The bias of the layer before a neuron shifts its currents; batch norms have the statistics of x.
    """
    torch.manual_seed(0)
    network = build().train()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0  # running statistics are those of the last pass
    with torch.no_grad():
        for neuron, bias in _neurons_and_biases(network):
            bias += _shift(neuron, _current(network, neuron, x), rate)
        network(x)
    return network.eval()


def graph_of(network: nn.Module, x: Tensor, *, recipe: str) -> tuple[Student, IntGraph]:
    """A calibrated student by a shipped recipe, and its integer graph."""
    student = md.compress(network, x[:, :2], load_recipe(recipe), [x])
    return student, md.lower(student)


def rates(graph: IntGraph, integers: Tensor) -> dict[str, float]:
    """Spikes per neuron and step of each neuron node, by onnxruntime."""
    spikes = run_onnx(graph, integers.numpy()).spikes
    return {name: float(values.mean()) for name, values in spikes.items()}


def _neurons_and_biases(network: nn.Module) -> Iterator[tuple[nn.Module, Tensor]]:
    """Each neuron in the order of the pass, with the bias that shifts its currents alone or first."""
    last: Tensor | None = None
    for module in _in_order(network):
        if isinstance(module, (nn.BatchNorm2d, nn.Linear)):
            last = module.bias
        elif isinstance(module, zoo.LIF):
            assert last is not None
            yield module, last


def _in_order(network: nn.Module) -> Sequence[nn.Module]:
    """Norms, linear layers and neurons; modules of the zoo are registered in the order in which they are called."""
    return [module for module in network.modules() if isinstance(module, (nn.BatchNorm2d, nn.Linear, zoo.LIF))]


class _ReachedError(Exception):
    """The pass has come to the neuron that is asked about."""


def _current(network: nn.Module, neuron: nn.Module, x: Tensor) -> Tensor:
    """What the neuron reads, [T, N, ...]; the pass ends there."""
    seen: list[Tensor] = []

    def stop(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0])
        raise _ReachedError

    handle = neuron.register_forward_pre_hook(stop)
    try:
        network(x)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return seen[0]


def _shift(neuron: nn.Module, current: Tensor, rate: float) -> float:
    """What is to be added to the currents, by bisection: the rate grows with it."""
    low, high = -LARGEST_SHIFT, LARGEST_SHIFT
    middle = 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        found = float(neuron(current + middle).mean())
        if abs(found - rate) < NEAR:
            break
        low, high = (middle, high) if found < rate else (low, middle)
    return middle
