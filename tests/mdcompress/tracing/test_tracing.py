"""Reading a network off one forward pass: what becomes a node, and what is refused with which words."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdcompress.errors import TraceError
from mdcompress.graph import (
    AddSpec,
    Carries,
    FlattenSpec,
    PoolSpec,
    ReadoutMode,
    ReadoutSpec,
    SnnGraph,
    SynapseSpec,
)
from mdcompress.tracing import trace
from mdcompress.zoo import IF, LIF
from tests.support.layered_network import Forward, Net, fold

T, N = 3, 2


def image_sample(*, channels: int = 1, size: int = 4, time_steps: int = T, batch: int = N) -> Tensor:
    return torch.rand(time_steps, batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def vector_sample(features: int = 4, *, time_steps: int = T, batch: int = N) -> Tensor:
    return torch.rand(time_steps, batch, features)


def conv(
    in_channels: int = 1,
    out_channels: int = 2,
    *,
    stride: int | tuple[int, int] = 1,
    bias: bool = True,
    padding_mode: Literal["zeros", "reflect"] = "zeros",
) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, stride=stride, bias=bias, padding_mode=padding_mode)


def kinds(graph: SnnGraph) -> list[str]:
    return [node.kind for node in graph]


def refused(net: nn.Module, sample: Tensor, *, says: str, hint: str) -> None:
    with pytest.raises(TraceError) as caught:
        trace(net, sample)
    assert says in caught.value.message
    assert any(hint in line for line in caught.value.hints), caught.value.hints


# --- what becomes a node ---------------------------------------------------------------------------------------------


def test_a_convolutional_network_is_read_layer_by_layer() -> None:
    net = Net(
        lambda m, x: m.head(m.neuron(fold(m.norm, fold(m.conv, x))).flatten(2)).mean(0),
        conv=conv(bias=False, stride=(1, 2)),
        norm=nn.BatchNorm2d(2),
        neuron=LIF(tau=4.0, threshold=0.5),
        head=nn.Linear(16, 3),
    )
    graph = trace(net, image_sample())
    assert [node.name for node in graph] == ["input", "conv", "neuron", "neuron.flatten", "head", "readout"]
    assert [node.inputs for node in graph] == [
        (), ("input",), ("conv",), ("neuron",), ("neuron.flatten",), ("head",),
    ]  # fmt: skip
    assert [node.shape for node in graph] == [(1, 4, 4), (2, 4, 2), (2, 4, 2), (16,), (3,), (3,)]
    assert [node.carries.value for node in graph] == ["input", "current", "spikes", "spikes", "current", "current"]
    assert graph.time_steps == T and graph.input.name == "input"
    assert graph.node("conv").spec == SynapseSpec("conv2d", (2, 1, 3, 3), (1, 2), (1, 1), (1, 1), 1, False, "norm")
    assert graph.node("head").spec == SynapseSpec("linear", (3, 16), (1, 1), (0, 0), (1, 1), 1, True, None)
    neuron = graph.node("neuron").spec
    assert neuron.decay == 0.75 and neuron.threshold == 0.5 and neuron.reset == "hard"  # type: ignore[union-attr]
    assert graph.readout.spec == ReadoutSpec("mean")
    assert graph.readers("neuron") == (graph.node("neuron.flatten"),)
    with pytest.raises(KeyError):
        graph.node("neuron2")


@pytest.mark.parametrize(
    ("readout", "mode"),
    [
        (lambda y: y, "steps"),
        (lambda y: y.mean(0), "mean"),
        (lambda y: y.mean(dim=-3), "mean"),
        (lambda y: y.mean(axis=0), "mean"),
        (lambda y: torch.mean(input=y, dim=0), "mean"),
        (lambda y: y.sum(0), "sum"),
        (lambda y: torch.sum(y, (0,)), "sum"),
        (lambda y: y.mean(0).float().contiguous(), "mean"),
    ],
)
def test_the_answer_is_a_mean_a_sum_or_every_step(readout: Callable[[Tensor], Tensor], mode: ReadoutMode) -> None:
    net = Net(lambda m, x: readout(m.head(x)), head=nn.Linear(4, 3))
    assert trace(net, vector_sample()).readout.spec == ReadoutSpec(mode)


def test_spikes_can_be_the_answer() -> None:
    graph = trace(Net(lambda m, x: m.neuron(m.head(x)).mean(0), head=nn.Linear(4, 3), neuron=IF()), vector_sample())
    assert graph.readout.carries is Carries.SPIKES


@pytest.mark.parametrize(
    "reshape",
    [
        lambda m, x: m.conv(x.flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[1])),
        lambda m, x: m.conv(x.view(-1, *x.shape[2:])).view(x.size(0), x.size(1), 2, 4, 4),
        lambda m, x: m.conv(x.reshape(-1, 1, 4, 4)).reshape(x.shape[0], -1, 2, 4, 4).contiguous().clone(),
        lambda m, x: m.conv(torch.flatten(x, 0, 1)).unflatten(0, x.shape[:2]).to(x.dtype),
    ],
)
@pytest.mark.parametrize(("time_steps", "batch"), [(1, 1), (1, 3), (3, 1), (2, 2), (3, 2)])
def test_time_may_be_folded_into_the_batch_in_any_wording(reshape: Forward, time_steps: int, batch: int) -> None:
    net = Net(lambda m, x: m.neuron(reshape(m, x)).flatten(2).mean(0), conv=conv(), neuron=LIF())
    graph = trace(net, image_sample(time_steps=time_steps, batch=batch))
    assert kinds(graph) == ["input", "synapse", "neuron", "flatten", "readout"]
    assert graph.time_steps == time_steps


def test_as_many_channels_as_steps_times_samples_confuse_nothing() -> None:
    net = Net(
        lambda m, x: m.head(m.neuron(fold(m.conv, x)).flatten(2)).mean(0),
        conv=conv(T * N, T * N), neuron=LIF(), head=nn.Linear(T * N * 16, T * N),
    )  # fmt: skip
    shapes = [node.shape for node in trace(net, image_sample(channels=T * N))]
    assert shapes == [(6, 4, 4), (6, 4, 4), (6, 4, 4), (96,), (6,), (6,)]


def test_one_sample_that_is_a_view_can_be_viewed() -> None:
    """The sample is doubled for N = 1, and repeated over time as a view: `view` needs it contiguous."""
    net = Net(lambda m, x: m.head(x.view(x.shape[0] * x.shape[1], -1)).view(*x.shape[:2], 3), head=nn.Linear(4, 3))
    assert kinds(trace(net, torch.rand(1, 4).expand(5, 1, 4))) == ["input", "synapse", "readout"]


def _two_columns(y: Tensor) -> Tensor:
    return F.adaptive_max_pool2d(y, (None, 2))  # type: ignore[arg-type]  # torch's stub leaves out None, "as it is"


@pytest.mark.parametrize(
    ("pool", "spec"),
    [
        (nn.AvgPool2d(2), PoolSpec("average", (2, 2), (2, 2), (0, 0))),
        (nn.AvgPool2d((2, 1), stride=1, padding=(1, 0)), PoolSpec("average", (2, 1), (1, 1), (1, 0))),
        (nn.MaxPool2d(3, stride=2, padding=1), PoolSpec("max", (3, 3), (2, 2), (1, 1))),
        (nn.AdaptiveAvgPool2d((2, None)), PoolSpec("average", (2, 1), (2, 1), (0, 0))),
        (nn.AdaptiveMaxPool2d(1), PoolSpec("max", (4, 4), (4, 4), (0, 0))),
        (lambda y: F.max_pool2d(y, 2), PoolSpec("max", (2, 2), (2, 2), (0, 0))),
        (lambda y: F.max_pool2d(input=y, kernel_size=2, stride=1), PoolSpec("max", (2, 2), (1, 1), (0, 0))),
        (lambda y: F.avg_pool2d(y, 2, padding=1), PoolSpec("average", (2, 2), (2, 2), (1, 1))),
        (lambda y: F.adaptive_avg_pool2d(y, (1, 2)), PoolSpec("average", (4, 2), (4, 2), (0, 0))),
        (_two_columns, PoolSpec("max", (1, 2), (1, 2), (0, 0))),
    ],
)
def test_every_pooling_has_the_same_spec_as_module_and_as_function(pool: Callable[..., Tensor], spec: PoolSpec) -> None:
    layers = {"pool": pool} if isinstance(pool, nn.Module) else {}
    net = Net(lambda m, x: m.neuron(fold(pool, fold(m.conv, x))), conv=conv(), neuron=LIF(), **layers)
    graph = trace(net, image_sample())
    found = graph.of(PoolSpec)
    assert [node.spec for node in found] == [spec]
    assert found[0].name == ("pool" if layers else found[0].name) and found[0].carries is Carries.CURRENT
    assert found[0].shape == tuple(pool(torch.zeros(1, 2, 4, 4)).shape[1:])


@pytest.mark.parametrize("keepdim", [False, True])
def test_a_mean_over_height_and_width_is_a_global_average_pooling(keepdim: bool) -> None:
    net = Net(
        lambda m, x: m.head(m.neuron(fold(m.conv, x)).mean((-1, -2), keepdim=keepdim).flatten(2)).mean(0),
        conv=conv(), neuron=LIF(), head=nn.Linear(2, 3),
    )  # fmt: skip
    graph = trace(net, image_sample())
    assert kinds(graph) == ["input", "synapse", "neuron", "pool", "flatten", "synapse", "readout"]
    assert graph.node("neuron.average").spec == PoolSpec("average", (4, 4), (4, 4), (0, 0))
    assert graph.node("neuron.average").shape == (2, 1, 1) and graph.of(FlattenSpec)[0].shape == (2,)


@pytest.mark.parametrize(
    "add",
    [
        lambda a, b: a + b,
        torch.add,
        lambda a, b: a.add(b),
        lambda a, b: a.add_(b),
        lambda a, b: torch.add(a, other=b),
        lambda a, b: torch.add(a, b, alpha=1),
    ],
)
def test_membrane_and_spike_element_wise_residuals_are_sums(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        current = fold(m.conv, x)
        first = m.neuron1(current)
        current = add(fold(m.branch, first), current)  # membrane shortcut: currents
        second = m.neuron2(current)
        return fold(m.last, add(m.neuron3(fold(m.branch2, second)), second)).flatten(2)  # SEW: spikes

    layers = {"conv": conv(), "branch": conv(2), "branch2": conv(2), "last": conv(2)}
    neurons = {"neuron1": LIF(), "neuron2": LIF(), "neuron3": LIF()}
    graph = trace(Net(forward, **layers, **neurons), image_sample())
    currents, spikes = graph.of(AddSpec)
    assert (currents.carries, spikes.carries) == (Carries.CURRENT, Carries.SPIKES)
    assert (currents.inputs, spikes.inputs) == (("branch", "conv"), ("neuron3", "neuron2"))
    assert (currents.name, spikes.name) == ("add", "add_2")


def test_a_sum_is_named_after_the_module_it_stands_in() -> None:
    def block_forward(m: Net, x: Tensor) -> Tensor:
        return m.neuron(x) + m.neuron2(x)

    net = Net(lambda m, x: m.block(m.fc(x)), fc=nn.Linear(4, 4), block=Net(block_forward, neuron=LIF(), neuron2=LIF()))
    assert trace(net, vector_sample()).of(AddSpec)[0].name == "block.add"


def test_layers_without_effect_in_evaluation_leave_no_trace() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.dropout_in_place(m.dropout(m.identity(m.neuron(m.fc(x)))))
        y = F.dropout(F.dropout1d(y, 0.5, m.training), p=0.0)
        return m.head(m.flatten(y))

    layers = {"identity": nn.Identity(), "dropout": nn.Dropout(), "dropout_in_place": nn.Dropout(inplace=True)}
    net = Net(forward, fc=nn.Linear(4, 5), neuron=LIF(), flatten=nn.Flatten(2), head=nn.Linear(5, 3), **layers)
    assert kinds(trace(net, vector_sample())) == ["input", "synapse", "neuron", "synapse", "readout"]


def test_modules_and_branches_that_the_answer_does_not_need_are_left_out() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        answer = m.head(x).mean(0)
        m.auxiliary(x).mean(0)  # a second readout, later in the pass
        return answer

    net = Net(forward, head=nn.Linear(4, 3), auxiliary=nn.Linear(4, 7), never=nn.Linear(9, 9))
    graph = trace(net, vector_sample())
    assert [node.name for node in graph] == ["input", "head", "readout"]
    assert graph.readout.inputs == ("head",)


def test_a_pooling_module_may_stand_in_two_places() -> None:
    net = Net(
        lambda m, x: m.neuron(fold(m.pool, fold(m.pool, fold(m.conv, x)))),
        conv=conv(),
        pool=nn.MaxPool2d(2),
        neuron=IF(),
    )
    assert [node.name for node in trace(net, image_sample()).of(PoolSpec)] == ["pool", "pool_2"]


def test_modules_keep_their_names_where_the_graph_would_use_them_itself() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = fold(m.pool_2, fold(m.pool, fold(m.pool, fold(m.input, x))))
        return m.readout(m.add(y).flatten(2)).mean(0)

    layers = {"input": conv(), "pool": nn.MaxPool2d(2, 1), "pool_2": nn.AvgPool2d(2), "add": IF()}
    graph = trace(Net(forward, **layers, readout=nn.Linear(2, 3)), image_sample())
    assert [(node.name, node.kind) for node in graph] == [
        ("input_2", "input"), ("input", "synapse"), ("pool", "pool"), ("pool_3", "pool"), ("pool_2", "pool"),
        ("add", "neuron"), ("add.flatten", "flatten"), ("readout", "synapse"), ("readout_2", "readout"),
    ]  # fmt: skip


def test_parametrized_layers_are_read_as_what_they_compute() -> None:
    net = Net(lambda m, x: m.head(x), head=nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    assert kinds(trace(net, vector_sample())) == ["input", "synapse", "readout"]


@pytest.mark.parametrize(
    ("padding", "dilation", "expected"), [("same", 2, (2, 2)), ("valid", 1, (0, 0)), (1, 1, (1, 1))]
)
def test_padding_in_words_becomes_numbers(padding: str | int, dilation: int, expected: tuple[int, int]) -> None:
    layer = nn.Conv2d(1, 2, 3, padding=padding, dilation=dilation)
    graph = trace(Net(lambda m, x: m.neuron(fold(m.conv, x)), conv=layer, neuron=LIF()), image_sample(size=6))
    assert graph.node("conv").spec.padding == expected  # type: ignore[union-attr]


# --- what tracing leaves as it was -----------------------------------------------------------------------------------


def test_the_network_and_the_sample_are_left_as_they_were() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        x += 0 * x if False else x  # in place on the input
        return m.neuron(fold(m.norm, fold(m.conv, x)))

    net = Net(forward, conv=conv(), norm=nn.BatchNorm2d(2), neuron=LIF()).train()
    net.norm.eval()  # a frozen norm in a network that trains
    state, sample = copy.deepcopy(net.state_dict()), image_sample()
    kept = sample.clone()
    trace(net, sample)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())
    assert (net.training, net.conv.training, net.norm.training) == (True, True, False)
    assert torch.equal(sample, kept)
    hooks = [module._forward_hooks or module._forward_pre_hooks for module in net.modules()]
    assert not any(hooks) and not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_a_refused_network_is_left_as_it_was_too() -> None:
    net = Net(lambda m, x: F.relu(m.head(x)), head=nn.Linear(4, 3)).train()
    with pytest.raises(TraceError):
        trace(net, vector_sample())
    assert net.training and net.head.training
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_tracing_works_in_inference_mode_and_leaves_no_gradients() -> None:
    net = Net(lambda m, x: m.head(x), head=nn.Linear(4, 3))
    with torch.inference_mode():
        assert kinds(trace(net, vector_sample())) == ["input", "synapse", "readout"]
    assert net.head.weight.grad is None


# --- samples and weights that are refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "seen"),
    [
        (torch.zeros(3, 4), "float32 [3, 4]"),
        (torch.zeros(3, 0, 4), "[3, 0, 4]"),
        (torch.zeros(3, 2, 4, dtype=torch.int64), "int64 [3, 2, 4]"),
        ([[[0.0]]], "list"),
    ],
)
def test_a_sample_must_be_float_with_time_and_batch_in_front(sample: Tensor, seen: str) -> None:
    net = Net(lambda m, x: m.head(x), head=nn.Linear(4, 3))
    refused(net, sample, says=f"float tensor [T, N, ...] with T steps and N samples (got torch.{seen}".replace(
        "torch.[", "torch.float32 [").replace("torch.list", "list"), hint="image.unsqueeze(0)")  # fmt: skip


def test_a_sample_that_the_network_cannot_take_is_named_with_the_networks_own_error() -> None:
    net = Net(lambda m, x: m.head(x), head=nn.Linear(5, 3))
    refused(
        net,
        vector_sample(4),
        says="the network fails in 'head' (Linear), which takes [..., 5] and is given [3, 2, 4]",
        hint="the recipe's `data.name`",
    )


def test_weights_must_be_finite_and_exist() -> None:
    net = Net(lambda m, x: m.head(x), head=nn.Linear(4, 3))
    with torch.no_grad():
        net.head.bias[1] = float("nan")
    refused(net, vector_sample(), says="'head.bias' holds NaN", hint="earlier checkpoint")
    lazy = Net(lambda m, x: m.head(x), head=nn.LazyLinear(3))
    refused(lazy, vector_sample(), says="'head.weight' of a lazy layer has no shape yet", hint="run the network once")


# --- structures that are refused -------------------------------------------------------------------------------------


def _data_dependent(m: Net, x: Tensor) -> Tensor:
    y = m.fc(x)
    return m.neuron(y) if torch.equal(y, x) else y


def _values_read(m: Net, x: Tensor) -> Tensor:
    return m.fc(x) if x.numpy().sum() else x


def _made_inside(m: Net, x: Tensor) -> Tensor:
    y: Tensor = nn.Linear(4, 4)(x)
    return y


def _view_changed_in_place(m: Net, x: Tensor) -> Tensor:
    y = m.fc(x)
    view = y.flatten(0, 1)
    view += m.fc2(x).flatten(0, 1)
    return m.neuron(y)


def _view_changed_before_a_function(m: Net, x: Tensor) -> Tensor:
    y = m.fc(x)
    view = y.flatten(0, 1)
    view += m.fc2(x).flatten(0, 1)
    return y.mean(0)


def _steps_then_more(m: Net, x: Tensor) -> Tensor:
    return m.fc(x).mean(0).unsqueeze(0).expand(1, 2, 4)


FUNCTIONS: list[tuple[Forward, str, str]] = [
    (lambda m, x: F.relu(m.fc(x)), "the network calls torch.nn.functional.relu, which a graph", "put a neuron"),
    (lambda m, x: m.fc(x) * -2, "multiplied by a parameter, a constant that is not positive", "a positive number"),
    (lambda m, x: m.fc(x) * m.constant.weight[0], "multiplied by a parameter", "a positive number"),
    (lambda m, x: m.fc(x) * m.fc2(x), "currents of 'fc' are multiplied", "multiply spikes"),
    (lambda m, x: m.fc(x) / -2, "the network calls torch.Tensor.div", "positive numbers only"),
    (lambda m, x: 2 - m.neuron(m.fc(x)), "the network subtracts tensors", "only 1 - spikes"),
    (lambda m, x: 1 - m.fc(x), "1 - 'fc' is taken, which are no spikes", "take 1 - spikes"),
    (lambda m, x: 1 - m.neuron(m.fc(x)), "a layer reads 1 - 'neuron'", "a*(1 - b)"),
    (lambda m, x: torch.cat([m.fc(x), x.detach()], dim=2), "the network calls torch.cat", "join channels"),
    (lambda m, x: torch.cat([m.fc(x), m.fc2(x)], dim=1), "the network calls torch.cat", "join channels"),
    (lambda m, x: m.fc(x).mT, "the network calls torch.Tensor.mT.__get__", "use convolution"),
    (lambda m, x: m.fc(x).unbind(0), "must return one tensor computed from its input (got tuple)", "logits alone"),
    (lambda m, x: m.fc(x)[1:], "the network takes a part of 'fc' ([3, 2, 4] becomes [2, 2, 4])", "whole steps"),
    (lambda m, x: m.fc(x)[:, 1], "the network takes a part of 'fc' ([3, 2, 4] becomes [3, 4])", "whole steps"),
    (lambda m, x: m.fc(x).unbind(1)[0], "apart into 2 by unbind over axis 1, which is not time", "whole steps"),
    (lambda m, x: F.dropout(m.neuron(m.fc(x))), "calls torch.nn.functional.dropout", "training=self.training"),
    (lambda m, x: m.fc(x).to(torch.int32), "a tensor is converted to torch.int32", "stay in floating point"),
    (lambda m, x: m.fc(x).flatten(), "a reshape turns [3, 2, 4] into [24]", "whole axes in front"),
    (lambda m, x: m.fc(x).reshape(2, 3, 4), "a reshape turns [3, 2, 4] into [2, 3, 4]", "whole axes in front"),
    (lambda m, x: m.fc(x) + 1.0, "added to a constant or scaled", "only sums of two layers"),
    (lambda m, x: torch.add(m.fc(x), m.fc2(x), alpha=2), "added to a constant or scaled", "only sums"),
    (lambda m, x: m.fc(x) + m.constant.weight[0], "does not come from the network's input", "learned constant"),
    (lambda m, x: m.fc(x) + m.three(x), "'fc' (4,) is added to 'three' (1,)", "one shape"),
    (lambda m, x: m.fc(x).mean(1), "a mean over axes (1,) turns [3, 2, 4] into [3, 4]", "over time"),
    (lambda m, x: m.fc(x).mean(), "a mean over axes (0, 1, 2)", "over time"),
    (lambda m, x: m.fc(x).mean(0, keepdim=True), "returns the mean over time of 'fc'", "over time"),
    (_data_dependent, "reads the values of a tensor (equal)", "not by values"),
    (_values_read, "reads the values of a tensor (numpy)", "not by values"),
    (_made_inside, "a Linear is made inside forward", "in __init__"),
    (_view_changed_in_place, "the output of 'fc' was changed in place through a view", "y = y + z"),
    (_view_changed_before_a_function, "the output of 'fc' was changed in place through a view", "y = y + z"),
    (lambda m, x: m.neuron(m.fc(x).flatten(0, 1)), "reads [6, 4], all steps with leading axes (TN)", "unflatten"),
    (lambda m, x: m.neuron(), "the network fails on the sample", "float [T, N, ...]"),
    (lambda m, x: m.fc(x).flatten(0, 1), "the network's output [6, 4] folds time into the batch", "[N, K]"),
    (lambda m, x: m.fc(x).flatten(0, 1).mean(0), "a mean over axes (0,)", "over time"),
    (lambda m, x: (m.fc(x), x), "must return one tensor computed from its input (got tuple)", "logits alone"),
    (lambda m, x: torch.zeros(2, 3), "must return one tensor computed from its input (got Tensor)", "logits alone"),
    (lambda m, x: m.norm1(m.fc(x)), "batch norm 'norm1' reads [3, 2, 4]: it takes the batch axis", "x.flatten(0, 1)"),
    (lambda m, x: m.inner(m.fc(x)), "the network calls torch.nn.functional.relu", "put a neuron"),
    (_steps_then_more, "the network calls torch.Tensor.expand", "whole steps"),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "says", "hint"), FUNCTIONS)
def test_what_a_graph_cannot_hold_is_refused_with_what_to_do(forward: Forward, says: str, hint: str) -> None:
    layers = {
        "fc": nn.Linear(4, 4), "fc2": nn.Linear(4, 4), "neuron": IF(),
        "norm1": nn.BatchNorm1d(2), "norm4": nn.BatchNorm1d(4),
        "constant": nn.Linear(4, 4), "inner": nn.Sequential(nn.ReLU()), "three": nn.Linear(4, 1),
    }  # fmt: skip
    refused(Net(forward, **layers), vector_sample(), says=says, hint=hint)


def test_a_sample_of_another_type_than_the_weights_is_told_how_to_become_theirs() -> None:
    net = Net(lambda m, x: m.fc(x), fc=nn.Linear(4, 4))
    said = "the sample is torch.float64 and the weights are torch.float32: give x.to(torch.float32)"
    refused(net, vector_sample().double(), says="the network fails on the sample", hint=said)


def test_weights_without_values_are_refused() -> None:
    net = Net(lambda m, x: m.fc(x), fc=nn.Linear(4, 4, device="meta"))
    refused(net, vector_sample(), says="'fc.weight' is on the device 'meta'", hint="a device that computes")


def test_the_error_names_the_module_in_which_it_stands() -> None:
    net = Net(lambda m, x: m.block(m.fc(x)), fc=nn.Linear(4, 4), block=nn.Sequential(nn.Identity(), nn.ReLU()))
    refused(net, vector_sample(), says="(in module 'block.1')", hint="put a neuron")


@pytest.mark.parametrize("reduced", [lambda y: y.mean(0), lambda y: y.sum(0), lambda y: y.amax(0)])
def test_a_neuron_after_the_reduction_over_time_is_refused(reduced: Callable[[Tensor], Tensor]) -> None:
    net = Net(lambda m, x: m.neuron(reduced(m.fc(x)).unsqueeze(0)), fc=nn.Linear(4, 4), neuron=IF())
    refused(net, vector_sample(), says="of 'fc': a graph ends there", hint="over time last")


def test_a_linear_layer_after_the_mean_over_time_is_the_mean_of_the_linear_layer() -> None:
    net = Net(lambda m, x: m.head(m.neuron(m.fc(x)).mean(0)), fc=nn.Linear(4, 4), neuron=IF(), head=nn.Linear(4, 3))
    graph = trace(net, vector_sample())
    assert kinds(graph) == ["input", "synapse", "neuron", "synapse", "readout"]
    assert graph.readout.spec == ReadoutSpec("mean") and graph.readout.inputs == ("head",)


@pytest.mark.parametrize(
    ("reduced", "bias"), [(lambda y: y.sum(0), True), (lambda y: y.amax(0), True), (lambda y: y.amax(0), False)]
)
def test_a_linear_layer_after_another_reduction_over_time_is_another_function(
    reduced: Callable[[Tensor], Tensor], bias: bool
) -> None:
    head = nn.Linear(4, 3, bias=bias)
    net = Net(lambda m, x: m.head(reduced(m.neuron(m.fc(x)))), fc=nn.Linear(4, 4), neuron=IF(), head=head)
    refused(net, vector_sample(), says="'head' follows the ", hint="over time last")


def test_a_linear_layer_without_bias_may_follow_the_sum_over_time() -> None:
    head = nn.Linear(4, 3, bias=False)
    net = Net(lambda m, x: m.head(m.neuron(m.fc(x)).sum(0)), fc=nn.Linear(4, 4), neuron=IF(), head=head)
    assert trace(net, vector_sample()).readout.spec == ReadoutSpec("sum")


def _conv_net(layer: nn.Module, **layers: nn.Module) -> nn.Module:
    return Net(lambda m, x: m.neuron(fold(m.conv, x)), conv=layer, neuron=IF(), **layers)


class Scaled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Tuples(LIF):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # wrong on purpose
        return super().forward(x), x


LAYERS: list[tuple[nn.Module, str, str]] = [
    (conv(padding_mode="reflect"), "'conv' pads with reflect", "padding_mode='zeros'"),
    (nn.Conv2d(1, 2, 2, padding="same"), "'conv' pads 'same' with an even kernel", "odd kernel"),
    (Scaled(1, 2, 3), "'conv' (Scaled) has a forward of its own", "use nn.Conv2d"),
    (nn.Sequential(conv(), nn.AvgPool2d(3, ceil_mode=True)), "windows of unequal size", "windows that fit"),
    (nn.Sequential(conv(), nn.AvgPool2d(2, padding=1, count_include_pad=False)), "of unequal size", "windows that fit"),
    (nn.Sequential(conv(), nn.AvgPool2d(2, divisor_override=3)), "windows of unequal size", "windows that fit"),
    (nn.Sequential(conv(), nn.MaxPool2d(3, ceil_mode=True)), "uses ceil_mode or dilation", "plain windows"),
    (nn.Sequential(conv(), nn.AdaptiveAvgPool2d(3)), "of (4, 4) to (3, 3) has uneven windows", "divisor of the size"),
    (nn.Sequential(nn.BatchNorm2d(1), conv()), "'conv.1' reads currents (from 'conv.0')", "a neuron between"),
    (nn.Sequential(conv(), nn.BatchNorm2d(2, track_running_stats=False)), "keeps no running statistics", "track"),
    (nn.Sequential(conv(), nn.MaxPool2d(2, return_indices=True)), "and returned tuple)", "y = layer(x)"),
]


@pytest.mark.parametrize(("layer", "says", "hint"), LAYERS)
def test_layers_with_options_that_a_graph_cannot_hold_are_refused(layer: nn.Module, says: str, hint: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of an even kernel with padding 'same'
        refused(_conv_net(layer), image_sample(), says=says, hint=hint)


def test_a_neuron_that_the_probe_cannot_run_is_refused() -> None:
    net = Net(lambda m, x: m.neuron(m.fc(x))[0], fc=nn.Linear(4, 4), neuron=Tuples())
    refused(net, vector_sample(), says=f"neuron 'neuron' ({__name__}.Tuples", hint="in evaluation mode")


def test_a_layer_whose_forward_was_replaced_is_refused() -> None:
    net = Net(lambda m, x: m.fc(x), fc=nn.Linear(4, 3))
    vars(net.fc)["forward"] = lambda x: x[..., :3]
    refused(net, vector_sample(), says="'fc' (Linear) has a forward of its own", hint="use nn.Linear")


@pytest.mark.parametrize("layer", [nn.Linear(4, 3), LIF()])
def test_a_network_of_one_bare_layer_is_refused(layer: nn.Module) -> None:
    refused(layer, vector_sample(), says=f"the network is one {type(layer).__name__} and no more", hint="nn.Sequential")


def test_images_need_a_channel_axis() -> None:
    """[T, N, H, W] would run, with the batch taken for channels."""
    net = Net(lambda m, x: m.neuron(m.conv(x)), conv=nn.Conv2d(2, 2, 3, padding=1), neuron=IF())
    refused(
        net, torch.rand(T, 2, 4, 4), says="'conv' must read (C, H, W) per sample and step (got (4, 4)", hint="[T, N"
    )
    net = Net(lambda m, x: m.neuron(m.fc(m.pool(x))), pool=nn.AvgPool2d((1, 2)), fc=nn.Linear(2, 2), neuron=IF())
    refused(net, vector_sample(), says="'pool' must read (C, H, W)", hint="pool maps")


@pytest.mark.parametrize("alias", [lambda y: y, lambda y: y.unflatten(0, (T, N)).flatten(0, 1)])
def test_a_tensor_before_its_batch_norm_has_no_other_reader(alias: Callable[[Tensor], Tensor]) -> None:
    """Also under another name: the graph's one node stands for the norm's output."""

    def forward(m: Net, x: Tensor) -> Tensor:
        before = m.conv(x.flatten(0, 1))
        other = alias(before)
        return m.neuron((m.norm(before) + other).view(T, N, 2, 4, 4))

    net = Net(forward, conv=conv(), norm=nn.BatchNorm2d(2), neuron=IF())
    refused(net, image_sample(), says="read both by its batch norm and by another layer", hint="norm's output only")


def test_a_tensor_that_was_read_before_its_batch_norm_is_refused() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        before = m.fc(x)
        return m.neuron(before) + m.neuron2(fold(m.norm, before))

    net = Net(forward, fc=nn.Linear(4, 4), norm=nn.BatchNorm1d(4), neuron=IF(), neuron2=IF())
    refused(net, vector_sample(), says="'fc' is read both by 'norm' and by another layer", hint="norm's output only")
