"""NeuroBench's harness on an integer graph: every figure beside one counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("neurobench")

from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.workload import ActivationSparsity, ClassificationAccuracy, SynapticOperations

import mdcompress as md
from intsnn.errors import UsageError
from intsnn.footprint import footprint_of
from intsnn.graph import (
    IntConvTranspose,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntReadout,
    IntRecurrentNeuron,
    IntRequant,
)
from mdcompress.evaluation.neurobench import MembraneUpdates, NeuroBenchStudent, TrueFootprint, classes
from mdcompress.zoo import LIF


def integers(*values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64)


FIRST, SECOND = integers([1, 0], [2, -1], [0, 3]), integers([1, 0, 1], [0, 1, 0])


def small_graph(*, input_bits: int = 1) -> IntGraph:
    """Two inputs, three neurons without leak and threshold 2, soft reset by 2, two outputs."""
    one, zero = integers(1), integers(0)
    return IntGraph((
        IntInput("x", (), (2,), input_bits, False, 1.0),
        IntLinear("a", ("x",), (3,), FIRST, 3),
        IntRequant("a.requant", ("a",), (3,), one, zero, 0, 1.0),
        IntNeuron("n", ("a.requant",), (3,), leak=one, drive=zero, threshold=integers(2), reset="soft",
                  reset_value=zero, soft_amount=integers(2), guard_bits=0, bit_width=4, initial=0, scale=1.0),
        IntLinear("b", ("n",), (2,), SECOND, 1.58),
        IntRequant("b.requant", ("b",), (2,), one, zero, 0, 1.0),
        IntReadout("y", ("b.requant",), (2,), "sum", 0.5),
    ))  # fmt: skip


Figures = dict[str, float | dict[str, float]]  # of each metric one number, or several by name


def figures(graph: IntGraph, x: torch.Tensor, y: torch.Tensor, *, batch_size: int = 8) -> Figures:
    """What the harness reports for x [N, T, ...] and labels y."""
    loader = DataLoader(TensorDataset(x, y), batch_size=batch_size)
    static = [TrueFootprint, Footprint, ParameterCount, ConnectionSparsity]
    workload = [ClassificationAccuracy, ActivationSparsity, SynapticOperations, MembraneUpdates]
    model = NeuroBenchStudent(graph)
    found: Figures = Benchmark(model, loader, [], [classes], [static, workload]).run(quiet=True)
    return found


def multiplications(found: Figures) -> float:
    """Of all synaptic operations, those that multiply."""
    operations = found["SynapticOperations"]
    assert isinstance(operations, dict)
    return operations["Effective_MACs"]


STEPS = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])  # one sample, two steps


def test_every_figure_is_the_one_counted_by_hand() -> None:
    """Sums [1, 1, 3] and [0, -1, 3]; the third neuron fires twice; membranes [1, 1, 1] and [1, 0, 2]."""
    found = figures(small_graph(), STEPS, torch.tensor([0]))
    assert found["ActivationSparsity"] == pytest.approx(4 / 6)
    # x: both inputs have 2 weights, 3 inputs are set; spikes: the third neuron has 1 weight, twice
    assert found["SynapticOperations"] == {"Effective_MACs": 0.0, "Effective_ACs": 8.0, "Dense": 24.0}
    assert found["ConnectionSparsity"] == pytest.approx(5 / 12, abs=1e-4)
    assert found["MembraneUpdates"] == 3 + 2
    assert found["ParameterCount"] == 12
    assert found["ClassificationAccuracy"] == 1.0  # logits [2, 0]


def test_the_footprint_counts_true_bits() -> None:
    """Weights 6*3 + 6*2; M = 1 in 1 bit, twice; leak 1, theta 2 and rho 2 in 1 + 2 + 2; v 3*4; sums at their proof."""
    footprint = footprint_of(small_graph())
    sums = footprint.bits("state") - 12
    assert footprint.bits("weights") == 30 and footprint.bits("constants") == 7
    assert sums % 2 == 0 and 2 <= sums // 2 <= 32
    assert (
        footprint.bytes == (30 + 7 + 12 + sums) / 8 == figures(small_graph(), STEPS, torch.tensor([0]))["TrueFootprint"]
    )
    assert figures(small_graph(), STEPS, torch.tensor([0]))["Footprint"] == 12 * 8  # NeuroBench's: float64 weights


def test_inputs_above_one_are_multiplications() -> None:
    found = figures(small_graph(input_bits=2), 2 * STEPS, torch.tensor([0]))
    assert multiplications(found) == 6.0


def test_batches_do_not_change_the_figures() -> None:
    x = torch.randint(0, 2, (7, 5, 2), generator=torch.Generator().manual_seed(0)).float()
    y = torch.zeros(7, dtype=torch.int64)
    whole, parts = (figures(small_graph(), x, y, batch_size=size) for size in (7, 1))
    assert whole["SynapticOperations"] == parts["SynapticOperations"]
    assert whole["MembraneUpdates"] == parts["MembraneUpdates"]
    assert whole["ActivationSparsity"] == pytest.approx(parts["ActivationSparsity"])


def test_a_student_answers_as_its_own_graph() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(0, 1), nn.Conv2d(1, 3, 3), nn.Unflatten(0, (4, -1)), LIF(), nn.Flatten(2), nn.Linear(48, 4)
    )
    x = 4 * torch.rand(4, 6, 1, 6, 6)
    student = md.compress(network, x, "4bit", [x])
    graph = md.lower(student)
    model = NeuroBenchStudent(graph)
    logits = model(x.transpose(0, 1))
    assert logits.shape == (6, 4, 4)
    torch.testing.assert_close(logits.transpose(0, 1).float(), student.eval()(x))
    found = figures(graph, x.transpose(0, 1), classes(logits))
    spikes = student.trace(x).spikes["3"]
    assert spikes.any() and found["ClassificationAccuracy"] == 1.0
    assert found["ActivationSparsity"] == pytest.approx(1 - (spikes != 0).mean())
    inputs = student.quantize_input(x) != 0
    window = torch.nn.functional.conv2d(
        inputs.flatten(0, 1).double(), (student.synapse("1").integers(1.0, torch.tensor(1.0)).weight != 0).double()
    )
    assert multiplications(found) == float(window.sum()) / 6
    eight = footprint_of(md.lower(md.compress(network, x, "8bit", [x])))
    assert footprint_of(graph).bits() < eight.bits()


def test_recurrent_connections_are_counted() -> None:
    """Each of two neurons excites the other; from the second step on there is one spike to pass on."""
    one, zero = integers(1), integers(0)
    neuron = IntRecurrentNeuron("n", ("a.requant",), (2,), leak=zero, drive=zero, threshold=one, reset="none",
                                reset_value=zero, soft_amount=zero, guard_bits=0, bit_width=2, initial=0, scale=1.0,
                                recurrent_weight=integers([0, 1], [1, 0]), recurrent_bit_width=2,
                                recurrent_multiplier=one, recurrent_bias=zero)  # fmt: skip
    graph = IntGraph((
        IntInput("x", (), (2,), 1, False, 1.0),
        IntLinear("a", ("x",), (2,), integers([1, 0], [0, 1]), 2),
        IntRequant("a.requant", ("a",), (2,), one, zero, 0, 1.0),
        neuron,
        IntReadout("y", ("n",), (2,), "steps", 1.0),
    ))  # fmt: skip
    found = figures(graph, torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]), torch.tensor([0]))
    assert found["SynapticOperations"] == {"Effective_MACs": 0.0, "Effective_ACs": 1.0 + 2.0, "Dense": 24.0}
    assert found["ClassificationAccuracy"] == 1.0  # neuron 0 at steps 0 and 2
    state = {part.holds: part.bits for part in footprint_of(graph).parts if part.purpose == "state"}
    assert state == {"membrane": 2 * 2, "spikes": 2 * 1}


def test_what_neurobench_would_leave_out_is_refused() -> None:
    up = IntConvTranspose("up", ("x",), (1, 2), integers([[[1, 1]]]), 2, (1,), (0,), (0,), (1,), 1)
    graph = IntGraph((IntInput("x", (), (1, 1), 1, False, 1.0), up, IntReadout("y", ("up",), (1, 2), "sum", 1.0)))
    with pytest.raises(UsageError, match=r"it counts none of 'up' \(conv_transpose\)") as caught:
        NeuroBenchStudent(graph)
    assert "estimate-hw" in caught.value.hints[0]
