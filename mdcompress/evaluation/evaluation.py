"""A network and labelled batches -> Metrics: accuracy, loss, confusion; with a graph also what its neurons do."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdcompress.adapters.state import run_time_first
from mdcompress.data.inputs import on_device
from mdcompress.errors import DataError
from mdcompress.graph import SnnGraph
from mdcompress.layers.neuron import QuantNeuron
from mdcompress.modes import evaluating, tensors_of
from mdcompress.student import Observation, Student
from mdcompress.student.observation import observe

Batch = tuple[Tensor, Tensor]
Answer = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class NeuronStatistics:
    """One neuron layer over all samples, steps and neurons.

    `spike_rate`: spikes per neuron and step. `potential_mean`, `potential_std`: of the membrane potential before reset,
    in real units. `saturated`: share of membranes that storage clips; None in a float network, which clips none.
    """

    spike_rate: float
    potential_mean: float
    potential_std: float
    saturated: float | None


@dataclass(frozen=True)
class Metrics:
    """How well a network does at T = `time_steps`.

    `accuracy`: share of samples whose logits, averaged over time, are largest at the label. `loss`: cross-entropy of
    those averages. `confusion[i][j]`: samples of class i taken for j. `neurons`: by neuron name; empty without a graph.
    """

    accuracy: float
    loss: float
    samples: int
    time_steps: int
    confusion: tuple[tuple[int, ...], ...]
    neurons: Mapping[str, NeuronStatistics]

    @property
    def class_accuracy(self) -> tuple[float | None, ...]:
        """Accuracy of each class; None where it has no sample."""
        return tuple(row[label] / sum(row) if sum(row) else None for label, row in enumerate(self.confusion))

    @property
    def mean_spike_rate(self) -> float | None:
        """Mean of the layers' spike rates, each layer counted once; None without a graph."""
        rates = [statistics.spike_rate for statistics in self.neurons.values()]
        return math.fsum(rates) / len(rates) if rates else None

    def to_json(self) -> str:
        """The fields, `class_accuracy` and `mean_spike_rate` as one JSON object."""
        derived = {"class_accuracy": self.class_accuracy, "mean_spike_rate": self.mean_spike_rate}
        return json.dumps({**dataclasses.asdict(self), **derived}, indent=2)


def evaluate(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    graph: SnnGraph | None = None,
    time_steps: int | None = None,
    answer: Answer | None = None,
) -> Metrics:
    """Run `network` on every batch in evaluation mode, without gradients; its modes are restored.

    Args:
        network: float network or Student; it gives [N, K], or [T, N, K] which is averaged.
        batches: (x float [T, N, ...], y int64 [N]).
        graph: the network's trace; with it the neurons are watched too (`Metrics.neurons`), which takes longer.
        time_steps: use the first so many steps of each batch; None: all.
        answer: gives the output for whole x, y and the number of its first steps, where more is wanted of a run than
            that; None: the network's own. Not with `graph`.

    Returns:
        Accuracy and loss over all samples, their number, and the neurons' figures where `graph` is given.

    Raises:
        DataError: there is no batch, a batch is shorter than `time_steps`, or a label has no logit.
    """
    assert graph is None or answer is None
    if graph is None:
        (metrics,) = evaluate_at(network, batches, [time_steps], answer=answer)
        return metrics
    totals = _Totals()
    device = _device(network)
    with evaluating(network), torch.no_grad():
        for x, y in batches:
            x = _first_steps(on_device(x, device), time_steps)
            seen = observe(network, graph, x)
            totals.add(seen.logits.mean(0), y.to(device, non_blocking=True), steps=len(x))
            totals.watch(network, seen)
    return totals.metrics()


def evaluate_at(
    network: nn.Module,
    batches: Iterable[Batch],
    time_steps: Sequence[int | None],
    *,
    answer: Answer | None = None,
) -> tuple[Metrics, ...]:
    """`evaluate` at each number of steps, in one walk over the batches.

    Args:
        network: as for `evaluate`; so are the others.
        batches: see there.
        time_steps: each T; None: all steps.
        answer: see there; of each batch it is asked at each T in turn.

    Raises:
        DataError: as `evaluate`.
    """
    totals = [_Totals() for _ in time_steps]
    device = _device(network)
    with evaluating(network), torch.no_grad():
        for x, y in batches:
            whole, y = on_device(x, device), y.to(device, non_blocking=True)
            for own, steps in zip(totals, time_steps, strict=True):
                x = _first_steps(whole, steps)
                output = run_time_first(network, x) if answer is None else answer(whole, y, len(x))
                own.add(mean_logits(output), y, steps=len(x))
    return tuple(each.metrics() for each in totals)


def mean_logits(output: Tensor) -> Tensor:
    """A network's output as logits [N, K]: [T, N, K] is averaged over time."""
    return output.mean(0) if output.dim() == 3 else output


def check_labels(logits: Tensor, y: Tensor) -> None:
    """DataError unless y holds a class 0 <= y < K for each of the N rows of logits [N, K]."""
    count, classes = logits.shape
    if y.shape != (count,) or y.is_floating_point():
        raise DataError(
            f"labels must be {count} class numbers, int64 [{count}] (got {y.dtype} {list(y.shape)})",
            hints=[
                *(["class numbers of one-hot rows are y.argmax(1)"] if y.dim() == 2 else []),
                "give batches (x [T, N, ...], y [N]): time first, then samples",
            ],
        )
    labels = y.cpu().numpy()
    smallest, largest = int(labels.min()), int(labels.max())
    if smallest < 0 or largest >= classes:
        raise DataError(
            f"labels must lie in 0..{classes - 1}, as the network has {classes} logits (got {smallest}..{largest})",
            hints=["give the network as many outputs as there are classes, and number the classes from 0"],
        )


@dataclass
class _Moments:
    """Sums over one neuron layer."""

    count: int = 0
    spikes: float = 0.0
    potential: float = 0.0
    potential_square: float = 0.0
    clipped: int | None = None

    def statistics(self) -> NeuronStatistics:
        """The sums as means."""
        mean = self.potential / self.count
        variance = max(self.potential_square / self.count - mean**2, 0.0)
        saturated = None if self.clipped is None else self.clipped / self.count
        return NeuronStatistics(self.spikes / self.count, mean, math.sqrt(variance), saturated)


class _Totals:
    """Sums over batches."""

    def __init__(self) -> None:
        self._loss, self._samples, self._steps = 0.0, 0, 0
        self._confusion: Tensor | None = None
        self._moments: dict[str, _Moments] = {}

    def add(self, logits: Tensor, y: Tensor, *, steps: int) -> None:
        """Count one batch: logits [N, K], labels [N]."""
        check_labels(logits, y)
        classes = logits.shape[1]
        self._loss += float(functional.cross_entropy(logits, y, reduction="sum"))
        self._samples += len(y)
        self._steps = max(self._steps, steps)
        cells = torch.bincount((y * classes + logits.argmax(1)).cpu(), minlength=classes**2).view(classes, classes)
        self._confusion = cells if self._confusion is None else self._confusion + cells

    def watch(self, network: nn.Module, seen: Observation) -> None:
        """Count what the neurons did in one batch."""
        for name, potentials in seen.potentials.items():
            spikes, h = seen.spikes[name], potentials.double()
            moments = self._moments.setdefault(name, _Moments())
            moments.count += h.numel()
            moments.spikes += float(spikes.sum(dtype=torch.float64))
            moments.potential += float(h.sum())
            moments.potential_square += float(h.square().sum())
            if isinstance(network, Student):
                fine_scale = network.fine_scale(name, network.stream_units()).double()
                moments.clipped = (moments.clipped or 0) + _count_clipped(network.neuron(name), h, spikes, fine_scale)

    def metrics(self) -> Metrics:
        """The sums as figures."""
        if self._confusion is None:
            raise DataError("evaluation needs at least one batch (got none)", hints=["look at the data's split"])
        return Metrics(
            accuracy=int(self._confusion.diagonal().sum()) / self._samples,
            loss=self._loss / self._samples,
            samples=self._samples,
            time_steps=self._steps,
            confusion=tuple(tuple(row) for row in self._confusion.tolist()),
            neurons={name: moments.statistics() for name, moments in self._moments.items()},
        )


def _count_clipped(neuron: QuantNeuron, potentials: Tensor, spikes: Tensor, fine_scale: Tensor) -> int:
    """How many membranes lie outside their word before storage: (x' >> R) not in [-2^(N-1), 2^(N-1) - 1].

    Args:
        neuron: N, R and the reset.
        potentials: h in real units, x = h/s_f + rounding; the rounding makes them the integers they were.
        spikes: 0 or 1, same shape.
        fine_scale: real value of one unit of s_f.
    """
    stored, half = neuron.unclipped(potentials, spikes, fine_scale), 2 ** (neuron.policy.bit_width - 1)
    return int(((stored < -half) | (stored >= half)).sum())


def _first_steps(x: Tensor, time_steps: int | None) -> Tensor:
    if time_steps is None:
        return x
    if not 1 <= time_steps <= len(x):
        raise DataError(
            f"time_steps must be 1..{len(x)}, as the batches have {len(x)} steps (got {time_steps})",
            hints=["load the data with more steps (data.time_steps), or ask for fewer"],
        )
    return x[:time_steps]


def _device(network: nn.Module) -> torch.device:
    tensors = [*tensors_of(network).values()]
    return tensors[0].device if tensors else torch.device("cpu")
