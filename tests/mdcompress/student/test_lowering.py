"""Student to integer graph: names, formats, and every constant equal to what evaluation computes with."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intsnn.errors import GraphError
from intsnn.execution.interpreter import run
from intsnn.graph import (
    IntAdd,
    IntConv,
    IntFlatten,
    IntGraph,
    IntInput,
    IntLinear,
    IntNeuron,
    IntPool,
    IntReadout,
    IntRequant,
)
from mdcompress.compression import compress
from mdcompress.errors import CalibrationError
from mdcompress.evaluation.verification import verify, verify_graph
from mdcompress.planning import plan
from mdcompress.recipe import Recipe
from mdcompress.student import Student
from mdcompress.student.lowering import lower
from mdcompress.student.quantizing import quantize
from mdcompress.tracing import trace
from mdcompress.zoo import LIF, digits_snn
from tests.support.narrowed import batch_norm, statistics


def data() -> Tensor:
    return torch.rand(4, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    return compress(digits_snn(channels=4), data(), "4bit", [data()])


def test_every_node_of_the_student_is_a_node_of_the_graph_under_its_name(student: Student) -> None:
    graph = lower(student)
    expected = {
        "input": IntInput, "stem.conv": IntConv, "stem.conv.requant": IntRequant, "neuron1": IntNeuron,
        "residual.conv": IntConv, "residual.conv.requant": IntRequant, "add": IntAdd, "neuron2": IntNeuron,
        "pool2": IntPool, "conv3.conv": IntConv, "conv3.conv.requant": IntRequant, "neuron3": IntNeuron,
        "pool3": IntPool, "pool3.flatten": IntFlatten, "head": IntLinear, "head.requant": IntRequant,
        "readout": IntReadout,
    }  # fmt: skip
    assert {node.name: type(node) for node in graph} == expected
    assert graph.node("add").inputs == ("stem.conv.requant", "residual.conv.requant")
    assert graph.node("neuron1").inputs == ("stem.conv.requant",)
    assert graph.metadata["producer"].startswith("mdcompress ")


def test_formats_are_those_of_the_plan(student: Student) -> None:
    graph = lower(student)
    assert [(s.name, s.bit_width) for s in graph.synapses] == [
        ("stem.conv", 8.0), ("residual.conv", 4.0), ("conv3.conv", 4.0), ("head", 8.0),
    ]  # fmt: skip
    for synapse in graph.synapses:
        high = 2 ** (int(synapse.bit_width) - 1) - 1
        assert np.abs(synapse.weight).max() <= high
    assert {(n.bit_width, n.guard_bits, *n.leak, n.reset) for n in graph.neurons} == {(4, 8, 128, "hard")}
    pools = [graph.node(name) for name in ("pool2", "pool3")]
    assert [pool.mode for pool in pools if isinstance(pool, IntPool)] == ["sum", "max"]
    assert graph.output.mode == "sum" and graph.input.bit_width == 8 and not graph.input.signed


def test_constants_of_the_graph_are_those_of_the_float_network_in_its_units(student: Student) -> None:
    """theta/s_f from the scale that the graph itself declares, and g*s_w*s_in/s_f from the student's norm."""
    graph = lower(student)
    for neuron in graph.neurons:
        fine_scale = neuron.scale * 2.0**-neuron.guard_bits
        half = 2 ** (neuron.guard_bits - 1)
        assert int(neuron.threshold[0]) == round(1.0 / fine_scale) + half
        assert int(neuron.reset_value[0]) == int(neuron.drive[0]) == half and neuron.initial == 0
        assert neuron.soft_amount.tolist() == [0]  # a hard reset has no use for it
    requant = graph.node("conv3.conv.requant")
    assert isinstance(requant, IntRequant)
    layer = student.synapse("conv3.conv")
    norm = batch_norm(layer.norm)
    gain = norm.weight / torch.sqrt(statistics(norm)[1] + norm.eps)
    scale = layer.layer.quant_weight().scale.flatten()
    real = (gain * scale).detach().numpy() * 0.25 / requant.scale  # 0.25: the 2x2 average before it
    step = np.abs(requant.multiplier).max() / 2**6
    assert np.abs(requant.multiplier * 2.0**-requant.shift - real).max() <= step * 2.0**-requant.shift
    quantized = layer.layer.quant_weight()
    weight = (quantized.value / quantized.scale).detach().round().numpy()
    conv = graph.node("conv3.conv")
    assert isinstance(conv, IntConv) and np.array_equal(conv.weight, weight)


def test_lowering_changes_nothing_and_gives_equal_graphs_in_either_mode(student: Student) -> None:
    student = copy.deepcopy(student)
    state = copy.deepcopy(student.state_dict())
    first, second = lower(student.train()), lower(student.eval())
    assert first == second
    assert all(torch.equal(value, student.state_dict()[name]) for name, value in state.items())


def test_the_graph_gives_the_students_answer_in_real_units(student: Student) -> None:
    graph, x = lower(student), data()
    integers = run(graph, student.quantize_input(x).numpy()).output
    with torch.no_grad():
        expected = copy.deepcopy(student).eval()(x).numpy()
    assert np.allclose(integers * graph.output.scale / 4, expected, rtol=1e-6)


def test_a_soft_reset_lowers_its_amount_and_no_reset_value() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), LIF(tau=4.0, threshold=0.5, reset="soft"))
    x = torch.rand(3, 4, 4)
    (neuron,) = lower(compress(network, x, "8bit", [x])).neurons
    fine_scale = neuron.scale * 2.0**-neuron.guard_bits
    assert (neuron.reset, neuron.leak) == ("soft", round(0.75 * 2**neuron.guard_bits))
    assert neuron.soft_amount.tolist() == [round(0.5 / fine_scale)] and neuron.reset_value.tolist() == [0]


def test_a_student_without_calibration_cannot_be_lowered() -> None:
    network = digits_snn(channels=4)
    graph = trace(network, data())
    with pytest.raises(CalibrationError, match="must be calibrated first"):
        lower(quantize(network, graph, plan(Recipe(name="r"), graph)))


@pytest.mark.parametrize(
    ("features", "weight_bits", "legal"), [(300, 8, True), (9_000, 8, True), (200_000, 2, True), (200_000, 8, False)]
)
def test_an_enormous_fan_in_is_exact_or_refused_by_name(features: int, weight_bits: int, legal: bool) -> None:
    """255 * 127 * 200,000 is beyond 2^31: onnxruntime would wrap silently."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(features, 2, bias=False), LIF(), nn.Linear(2, 2))
    x = torch.rand(2, 2, features)
    recipe = Recipe.model_validate({"name": "r", "quantize": {"weight": {"bit_width": weight_bits}}})
    student = compress(network, x, recipe, [x])
    if legal:
        assert verify(student, x).equal
        return
    with pytest.raises(
        GraphError, match=r"layer '0' must leave room for its multiplier: its sums reach \d{10}"
    ) as caught:
        lower(student)
    assert "lower the bits of its weights (8)" in caught.value.hints[0]


def test_a_changed_graph_is_found_with_its_first_difference(student: Student) -> None:
    graph = lower(student)
    broken = tuple(
        replace(node, threshold=node.threshold + 60) if isinstance(node, IntNeuron) and node.name == "neuron2" else node
        for node in graph
    )
    report = verify_graph(student, IntGraph(broken, graph.metadata), data())
    assert not report.equal and report.first_difference is not None
    assert report.first_difference.node == "neuron2"


def test_more_samples_than_fit_at_once_are_compared_in_parts() -> None:
    network = nn.Sequential(nn.Linear(3, 2), LIF(), nn.Linear(2, 2))
    x = torch.rand(2, 300, 3)
    report = verify(compress(network, x[:, :8], "8bit", [x]), x)
    assert report.equal and report.samples == 300 and report.values == 2 * 2 * 300 * 2


def test_the_answer_of_a_mean_is_logits_times_scale_over_t(student: Student) -> None:
    """FORMAT.md, "Nodes": T belongs to the run, so the scale is that of the sum."""
    graph, evaluated = lower(student), copy.deepcopy(student).eval()
    with torch.no_grad():
        answer = evaluated(data())
    logits = run(graph, evaluated.quantize_input(data()).numpy()).output
    readout = graph.node("readout")
    assert isinstance(readout, IntReadout) and readout.mode == "sum" and bool(answer.any())
    assert torch.allclose(answer.double(), torch.from_numpy(logits * readout.scale / len(data())), rtol=1e-6, atol=0)
