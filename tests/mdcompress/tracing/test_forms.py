"""Network forms: what each becomes in the graph, the same spikes in floats, equal integers in all three witnesses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import CalibrationError, PlanError, TraceError
from mdcompress.graph import (
    AffineSpec,
    Carries,
    MultiplySpec,
    ReadoutMode,
    ReadoutSpec,
    ReshapeSpec,
    SliceSpec,
    SnnGraph,
    TransposeSpec,
)
from mdcompress.layers.activation import ActivationQuantizer
from mdcompress.layers.rearranging import rearrange
from mdcompress.tracing import trace
from mdcompress.zoo import LIF
from tests.support import layered_network
from tests.support.float_graph import assert_float_parity
from tests.support.form_cases import Forward, N, Net, T, sample
from tests.support.layered_network import fold
from tests.support.live_networks import assert_integer_parity
from tests.support.narrowed import batch_norm, gradient, statistics


def checked(network: nn.Module, x: Tensor) -> SnnGraph:
    """The graph, after its float run and its integers were compared on every spike; every neuron fires."""
    network.eval()
    with torch.no_grad():
        network(x)  # lazy layers
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    for recipe in ("8bit", "4bit"):
        assert_integer_parity(network, graph, x, recipe=recipe)
    return graph


def kinds(graph: SnnGraph) -> list[str]:
    return [node.kind for node in graph]


def to_head(m: Net, values: Tensor) -> Tensor:
    logits: Tensor = m.head(values.flatten(2))
    return logits


def _iand(m: Net, x: Tensor) -> Tensor:
    a, b = m.spikes(x)
    return to_head(m, a * (1.0 - b))


def _iand_with_ones(m: Net, x: Tensor) -> Tensor:
    a, b = m.spikes(x)
    return to_head(m, (torch.ones_like(b) - b) * a)


def _and(m: Net, x: Tensor) -> Tensor:
    a, b = m.spikes(x)
    return to_head(m, torch.mul(a, b))


def _concatenated(m: Net, x: Tensor) -> Tensor:
    return to_head(m, torch.cat(m.spikes(x), dim=2))


def _concatenated_currents(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.last(torch.cat([fold(m.conv_a, x), fold(m.conv_b, x)], 2)))


def _attention(m: Net, x: Tensor) -> Tensor:
    a, b = (spikes.flatten(3).reshape(T, N, 2, 2, 16) for spikes in m.spikes(x))
    scores = a.transpose(-1, -2) @ b * 0.25
    return to_head(m, m.last(torch.matmul(scores, b.permute(0, 1, 2, 4, 3))))


def _gated(m: Net, x: Tensor) -> Tensor:
    a, b = m.spikes(x)
    return to_head(m, m.last(a.sum(dim=2, keepdim=True)) * b)


def _channel_means(m: Net, x: Tensor) -> Tensor:
    logits: Tensor = m.head(m.spikes(x)[0].flatten(3).mean(-1))
    return logits


def _current_means(m: Net, x: Tensor) -> Tensor:
    logits: Tensor = m.head(m.last(fold(m.conv_a, x).flatten(3).mean(-1)))
    return logits


def _chunks(m: Net, x: Tensor) -> Tensor:
    first, second = m.spikes(x)[0].chunk(2, dim=2)
    return to_head(m, first + second)


def _slices(m: Net, x: Tensor) -> Tensor:
    spikes = m.spikes(x)[0]
    return to_head(m, spikes[:, :, 1:3] + spikes[:, :, -2:])


def _one_channel(m: Net, x: Tensor) -> Tensor:
    spikes = m.spikes(x)[0]
    return to_head(m, spikes[:, :, 0] + spikes[..., 0, :, :] + spikes.unbind(2)[1] + spikes.select(2, 3))


def _scaled(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.last(fold(m.read, m.spikes(x)[0] / 2) * 1.5))


def _spikes_and_currents(m: Net, x: Tensor) -> Tensor:
    a, _ = m.spikes(x)
    return to_head(m, m.last(fold(m.read, a) + a))


def _neuron_on_sums(m: Net, x: Tensor) -> Tensor:
    a, b = m.spikes(x)
    return to_head(m, m.last((a + b) * 0.2))


def _neuron_on_input(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.last(x))


def _maximum_of_sums(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.spikes(x)[0]).amax(0)


def _last_step(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.spikes(x)[0])[-1]


def _head_after_mean(m: Net, x: Tensor) -> Tensor:
    logits: Tensor = m.head(m.spikes(x)[0].mean(0).flatten(1))
    return logits


FORMS: list[tuple[Forward, list[str]]] = [
    (_iand, ["multiply", "flatten"]),
    (_iand_with_ones, ["multiply", "flatten"]),
    (_and, ["multiply", "flatten"]),
    (_concatenated, ["concat", "flatten"]),
    (_concatenated_currents, ["concat", "neuron", "flatten"]),
    (_gated, ["sum", "affine", "neuron", "multiply", "flatten"]),
    (_channel_means, ["reshape", "sum", "scale", "flatten"]),
    (_current_means, ["reshape", "sum", "scale", "flatten", "neuron"]),
    (_chunks, ["slice", "slice", "add", "flatten"]),
    (_slices, ["slice", "slice", "add", "flatten"]),
    (_scaled, ["scale", "synapse", "scale", "neuron", "flatten"]),
    (_spikes_and_currents, ["synapse", "affine", "add", "neuron", "flatten"]),
    (_neuron_on_sums, ["add", "scale", "affine", "neuron", "flatten"]),
    (_maximum_of_sums, ["flatten"]),
    (_last_step, ["flatten"]),
    (_head_after_mean, ["flatten"]),
]


@pytest.mark.parametrize(("forward", "between"), FORMS)
def test_every_form_is_equal_in_floats_and_in_integers(forward: Forward, between: list[str]) -> None:
    found = kinds(checked(Net(forward), sample()))
    assert found[-2:] == ["synapse", "readout"]
    assert found[-2 - len(between) : -2] == between


def test_attention_is_two_matrix_products() -> None:
    found = checked(Net(_attention), sample())
    assert kinds(found).count("matmul") == 2 and kinds(found).count("transpose") == 2
    assert [node.spec for node in found.of(TransposeSpec)] == [TransposeSpec((0, 2, 1))] * 2


def test_one_channel_of_many_is_a_slice_without_its_axis() -> None:
    graph = checked(Net(_one_channel), sample())
    assert [node.spec for node in graph.of(SliceSpec)] == [
        SliceSpec(0, 0, 1),
        SliceSpec(0, 1, 2),
        SliceSpec(0, 3, 4),
    ]
    assert kinds(graph).count("add") == 3 and graph.of(ReshapeSpec)[0].shape == (4, 4)


def test_a_neuron_may_read_the_input_itself() -> None:
    graph = checked(Net(_neuron_on_input), 2 * sample())
    assert kinds(graph) == ["input", "affine", "neuron", "flatten", "synapse", "readout"]
    assert graph.node("input.current").spec == AffineSpec(None)


def test_the_modes_of_a_product() -> None:
    assert trace_of(_and).of(MultiplySpec)[0].spec == MultiplySpec("product")
    graph = trace_of(_iand)
    assert graph.of(MultiplySpec)[0].spec == MultiplySpec("inhibit")
    assert graph.of(MultiplySpec)[0].inputs == ("b", "a")


def trace_of(forward: Forward) -> SnnGraph:
    network, x = Net(forward), sample()
    network(x)
    return trace(network, x)


@pytest.mark.parametrize(
    ("forward", "mode"), [(_maximum_of_sums, "max"), (_last_step, "last"), (_head_after_mean, "mean")]
)
def test_readouts(forward: Forward, mode: ReadoutMode) -> None:
    network, x = Net(forward), sample()
    network(x)
    graph = trace(network, x)
    assert graph.readout.spec == ReadoutSpec(mode)
    seen = md.observe(network, graph, x)
    assert seen.logits.shape == (T, N, 3) and seen.output.shape == (N, 3)
    reduced = {"max": seen.logits.amax(0), "last": seen.logits[-1], "mean": seen.logits.mean(0)}[mode]
    torch.testing.assert_close(seen.output, reduced)


# --- batch norm without a synapse before it ---------------------------------------------------------------------


def _norm_on_spikes(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.last(fold(m.norm, m.spikes(x)[0])))


def _norm_after_pool(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.last(fold(m.norm, fold(lambda y: F.avg_pool2d(y, 2), fold(m.conv_a, x)))))


def _norm_on_input(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.last(fold(m.norm_in, x)))


@pytest.mark.parametrize("forward", [_norm_on_spikes, _norm_after_pool, _norm_on_input])
@pytest.mark.parametrize("mode", ["quantize", "fold", "power_of_two"])
def test_a_batch_norm_of_its_own_is_an_affine_node(forward: Forward, mode: str) -> None:
    network, x = Net(forward, norm=nn.BatchNorm2d(4), norm_in=nn.BatchNorm2d(2)), sample()
    with torch.no_grad():
        for norm in (network.norm, network.norm_in):
            norm.bias.fill_(0.3)
            norm.running_mean.fill_(0.1)
            norm.running_var.fill_(0.5)
    graph = checked(network, x)
    (node,) = graph.of(AffineSpec)
    assert node.name in ("norm", "norm_in") and node.spec == AffineSpec(node.name)
    recipe = md.Recipe.model_validate({"name": "a", "summary": "b", "quantize": {"batch_norm": {"mode": mode}}})
    student = md.compress(network, x, recipe, [x])
    assert md.verify(student, x).equal


def test_an_affine_layer_learns_from_batch_statistics() -> None:
    network, x = Net(_norm_on_spikes, norm=nn.BatchNorm2d(4)), sample()
    network(x)
    student = md.compress(network, x, "8bit", [x])
    layer = student.affine("norm")
    norm = batch_norm(layer.norm)
    before = statistics(norm)[0].clone()
    student.train()(0.5 * x).square().sum().backward()
    assert gradient(norm.weight).abs().sum() > 0
    assert not torch.equal(before, statistics(norm)[0])
    assert md.verify(student, x).equal


# --- other ranks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [False, True])
def test_one_dimensional_convolutions_and_pools(average: bool) -> None:
    torch.manual_seed(0)

    def forward(m: layered_network.Net, x: Tensor) -> Tensor:
        return m.out(m.lif(fold(m.pool, fold(m.norm, fold(m.conv, x)))).flatten(2))

    pool = nn.AvgPool1d(2) if average else nn.MaxPool1d(2)
    conv = nn.Conv1d(2, 4, 3, stride=2, padding=1)
    network = layered_network.Net(
        forward, conv=conv, norm=nn.BatchNorm1d(4), pool=pool, lif=LIF(threshold=0.3), out=nn.Linear(16, 3)
    )
    graph = checked(network, 2 * sample(2, 16))
    assert kinds(graph) == ["input", "synapse", "pool", "neuron", "flatten", "synapse", "readout"]
    assert graph.node("conv").spec.batch_norm == "norm"  # type: ignore[union-attr]


@pytest.mark.parametrize("average", [False, True])
def test_three_dimensional_convolutions_and_pools(average: bool) -> None:
    torch.manual_seed(0)

    def forward(m: layered_network.Net, x: Tensor) -> Tensor:
        return m.out(fold(m.pool, m.lif(fold(m.norm, fold(m.conv, x)))).flatten(2))

    pool = nn.AvgPool3d((2, 1, 2)) if average else nn.AdaptiveMaxPool3d(2)
    conv = nn.Conv3d(1, 4, 3, padding=(1, 0, 1), groups=1, bias=False)
    network = layered_network.Net(
        forward, conv=conv, norm=nn.BatchNorm3d(4), pool=pool, lif=LIF(threshold=0.2), out=nn.LazyLinear(3)
    )
    assert "pool" in kinds(checked(network, 2 * sample(1, 4, 4, 4)))


# --- synapses that read currents --------------------------------------------------------------------------------


def _shortcut(m: Net, x: Tensor) -> Tensor:
    stream = fold(m.conv_a, x)
    stream = fold(m.short, stream) + fold(m.read, m.a(stream))
    return to_head(m, m.last(stream))


def test_a_shortcut_convolution_on_a_stream_reads_it_as_small_integers() -> None:
    network = Net(_shortcut, short=nn.Conv2d(4, 4, 1))
    graph = checked(network, sample())
    assert kinds(graph)[:7] == ["input", "synapse", "digitizer", "synapse", "neuron", "synapse", "add"]
    assert graph.node("conv_a.digits").carries is Carries.SPIKES
    plan = md.plan(md.load_recipe("8bit"), graph)
    assert plan.node("conv_a.digits").input is not None


def test_a_padded_weight_layer_cannot_read_currents() -> None:
    network, x = Net(_shortcut, short=nn.Conv2d(4, 4, 3, padding="same")), sample()
    network(x)
    with pytest.raises(TraceError, match="'short' reads currents"):
        trace(network, x)


def test_eight_bits_of_a_stream_stay_close_to_the_floats() -> None:
    network, x = Net(_shortcut, short=nn.Conv2d(4, 4, 1)).eval(), sample()
    with torch.no_grad():
        network(x)
        student = md.compress(network, x, "8bit", [x])
        float_spikes = md.observe(network, student.graph, x).spikes["last"]
        spikes = student.observe(x).spikes["last"]
    assert (spikes != float_spikes).float().mean() < 0.05


def test_a_digitizer_rounds_half_to_even_and_saturates() -> None:
    activation_quantizer, unit = ActivationQuantizer(4), torch.tensor(0.5)
    with pytest.raises(CalibrationError, match="range is not known"):
        activation_quantizer(torch.zeros(1), unit)
    activation_quantizer.fit(torch.tensor([-14.0, 28.0]), unit)  # 28 * 0.5 = 14 = 7 levels of 2 = 4 units
    assert activation_quantizer.integers(unit).level == 4 and activation_quantizer.scale(unit) == 2.0
    found = activation_quantizer(torch.tensor([0.0, 2.0, 6.0, 7.0, -2.0, -6.0, 100.0, -100.0]), unit)
    assert found.tolist() == [0, 0, 2, 2, 0, -2, 7, -8]


# --- units -----------------------------------------------------------------------------------------------------------


def _inhibited_by_a_sum(m: Net, x: Tensor) -> Tensor:
    a, b = m.spikes(x)
    return to_head(m, a * (1 - (a + b)))


def _unlike_concatenated(m: Net, x: Tensor) -> Tensor:
    a, b = m.spikes(x)
    return to_head(m, torch.cat([a, b * 0.5], 2))


def _input_squared(m: Net, x: Tensor) -> Tensor:
    return to_head(m, m.last(x * x))


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (_inhibited_by_a_sum, "takes 1 - 'add', which must be 0 or 1"),
        (_unlike_concatenated, "concatenation 'cat' joins spike tensors of different scales"),
        (_input_squared, "multiplies the network's input by itself"),
    ],
)
def test_values_that_no_integers_can_hold_are_refused_before_any_work(forward: Forward, says: str) -> None:
    network, x = Net(forward), sample()
    network(x)
    with pytest.raises(PlanError) as caught:
        md.compress(network, x, "8bit", [x])
    assert says in caught.value.message


def test_a_node_with_a_layer_of_its_own_is_no_rearrangement() -> None:
    graph = trace_of(_and)
    with pytest.raises(AssertionError):
        rearrange(graph.node("a").spec, (1,), [torch.zeros(1)])  # type: ignore[arg-type]


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forward", [_iand, _concatenated, _attention, _gated, _chunks, _norm_on_spikes, _shortcut])
def test_students_of_every_form_are_saved_and_read_back(forward: Forward, tmp_path: Path) -> None:
    network = Net(forward, norm=nn.BatchNorm2d(4), short=nn.Conv2d(4, 4, 1)).eval()
    x = sample()
    with torch.no_grad():
        network(x)
    student = md.compress(network, x, "8bit", [x])
    md.save_student(student, tmp_path / "student")
    again = md.load_student(tmp_path / "student")
    assert again.graph == student.graph
    assert md.lower(again) == md.lower(student)


# --- what a sample's own axes cannot do ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda m, x: to_head(m, m.spikes(x)[0][:, :, ::2]), "takes a part of 'a'"),
        (lambda m, x: to_head(m, m.spikes(x)[0].permute(2, 0, 1, 3, 4)), "torch.Tensor.permute"),
        (lambda m, x: to_head(m, m.spikes(x)[0].movedim((2, 3), (3, 2))), "torch.Tensor.movedim"),
        (lambda m, x: m.spikes(x)[0].sum((2, 3, 4)), "a sum over axes (2, 3, 4)"),
        (lambda m, x: m.spikes(x)[0].amax(2), "a max over axes (2,)"),
        (lambda m, x: m.spikes(x)[0].mT, "torch.Tensor.mT"),
        (lambda m, x: m.last(fold(m.conv_a, x) @ m.a(fold(m.conv_b, x))), "a matrix product reads currents"),
        (lambda m, x: m.a(fold(m.conv_a, x)) * m.b(fold(m.conv_b, x)).sum((3, 4)), "the network fails"),
        (lambda m, x: m.a(fold(m.conv_a, x)).mean(0) @ torch.ones(4, 3), "torch.Tensor.matmul"),
        (lambda m, x: to_head(m, m.spikes(x)[0].repeat(1, 1, 2, 1, 1)), "torch.Tensor.repeat"),
        (lambda m, x: to_head(m, m.spikes(x)[0].expand(T, N, 4, 4, 4).repeat_interleave(2, 2)), "torch.Tensor.expand"),
        (lambda m, x: to_head(m, m.spikes(x)[0] + m.spikes(x)[1]), "neuron 'a' is called more than once"),
        (lambda m, x: to_head(m, (lambda a, b: (1 - a) * (1 - b))(*m.spikes(x))), "(1 - a) by (1 - b)"),
        (lambda m, x: fold(lambda y: F.lp_pool2d(y, 2, 2), m.spikes(x)[0]), "lp_pool2d"),
        (lambda m, x: to_head(m, fold(nn.Identity(), fold(m.square_pool, m.spikes(x)[0]))), "pools by a norm of 2"),
        (lambda m, x: (lambda s: to_head(m, s.mean(0)) + to_head(m, s.amax(0)))(m.spikes(x)[0]), "the network fails"),
    ],
)  # fmt: skip
def test_rearrangements_that_no_graph_holds_are_refused(forward: Forward, says: str) -> None:
    network, x = Net(forward, square_pool=nn.LPPool2d(2, 2)), sample()
    network.head = nn.Linear(64, 3)
    with pytest.raises(TraceError) as caught:
        trace(network, x)
    assert says in caught.value.message, caught.value.message
