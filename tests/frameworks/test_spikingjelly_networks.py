"""SpikingJelly's model zoo: traced, equal in floats on every spike, and as integers equal in all three witnesses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import mdcompress as md
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, ReadoutSpec, RecurrentSpec, SynapseSpec
from mdcompress.tracing import trace
from tests.support.float_graph import assert_float_parity
from tests.support.live_networks import assert_integer_parity, enliven
from tests.support.recurrent_networks import FEATURES, MAP, NEURONS, check_recurrent, counts, enlivened, maps

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model import (
    ms_resnet,
    parametric_lif_net,
    qkformer,
    sew_resnet,
    spike_driven_transformer,
    spikformer,
    spiking_resnet,
    spiking_vgg,
)

T, N = 2, 1


def images(channels: int = 3, size: int = 32, *, time_steps: int = T, batch: int = N) -> Tensor:
    return torch.rand(time_steps, batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def checked(network: nn.Module, x: Tensor, *, bias: float = 0.5, weight: float = 1.0) -> list[str]:
    """The kinds of the graph's nodes, after every check that a network form gets."""
    network = enliven(network, x, bias=bias, weight=weight)
    graph = trace(network, x)
    assert_float_parity(graph, network, x)
    assert_integer_parity(network, graph, x)
    return [node.kind for node in graph]


def small_sew_resnet(connect: str, *, step_mode: str) -> nn.Module:
    network = sew_resnet.SEWResNet(
        sew_resnet.BasicBlock, [1, 1, 0, 0], num_classes=3, cnf=connect, spiking_neuron=neuron.IFNode
    )
    network.layer3, network.layer4, network.fc = nn.Identity(), nn.Identity(), layer.Linear(128, 3)
    functional.set_step_mode(network, step_mode)
    return network if step_mode == "m" else md.Stepped(network)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize(("connect", "kind"), [("ADD", "add"), ("AND", "multiply"), ("IAND", "multiply")])
def test_sew_blocks_add_and_multiply_spikes(connect: str, kind: str, step_mode: str) -> None:
    network = small_sew_resnet(connect, step_mode=step_mode)
    kinds = checked(network, images(size=16), bias=0.9 if connect == "AND" else 0.5)
    assert kinds.count(kind) == 2 and kinds.count("neuron") == 1 + 2 + 3


def test_sew_resnet18_has_the_same_graph_step_by_step() -> None:
    graphs = []
    for step_mode in ("m", "s"):
        network = sew_resnet.sew_resnet18(cnf="ADD", spiking_neuron=neuron.IFNode, num_classes=3)
        functional.set_step_mode(network, step_mode)
        graphs.append(trace(network if step_mode == "m" else md.Stepped(network), images()))
    multi, single = (
        [(node.name.removeprefix("network."), node.kind, node.shape) for node in graph] for graph in graphs
    )
    assert multi == single and len(multi) == 54


def test_spiking_resnet18_adds_spikes_to_currents() -> None:
    network = spiking_resnet.spiking_resnet18(spiking_neuron=neuron.LIFNode, tau=2.0, num_classes=3)
    functional.set_step_mode(network, "m")
    kinds = checked(network, images(), weight=2.0)
    assert kinds.count("add") == 8 and kinds.count("affine") == 5  # five shortcuts carry spikes as they are


def test_spiking_vgg() -> None:
    network = spiking_vgg.SpikingVGG([8, "M", 512], batch_norm=True, spiking_neuron=neuron.LIFNode, tau=2.0)
    network.avgpool = layer.AdaptiveAvgPool2d((1, 1))
    network.classifier = nn.Sequential(
        layer.Linear(512, 16), neuron.LIFNode(v_threshold=0.1), layer.Dropout(), layer.Linear(16, 3)
    )
    functional.set_step_mode(network, "m")
    with torch.no_grad():
        network.classifier[0].weight.uniform_(-0.02, 0.04)
    assert "flatten" in checked(network, images(size=8), weight=2.0)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_parametric_lif_networks_vote(step_mode: str) -> None:
    network = parametric_lif_net.MNISTNet(channels=4, spiking_neuron=neuron.ParametricLIFNode, v_threshold=0.3)
    functional.set_step_mode(network, step_mode)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.uniform_(-0.04, 0.06)
    wrapped = network if step_mode == "m" else md.Stepped(network)
    kinds = checked(wrapped, images(channels=1, size=28))
    assert kinds[-4:] == ["reshape", "pool", "flatten", "readout"]


def test_ms_resnet_adds_currents_and_convolves_them_in_its_shortcuts() -> None:
    network = ms_resnet.MSResNet(
        T=T, num_classes=3, layers=(1, 1, 1), base_channels=8, stem_kernel_size=3, stem_stride=1
    )
    kinds = checked(network, images(size=8))
    assert kinds.count("digitizer") == 3 and kinds.count("add") == 3


def test_ms_resnet18_is_traced_as_a_still_image_network_too() -> None:
    network = ms_resnet.ms_resnet18(T=3, num_classes=3)
    still = images(time_steps=1).expand(3, -1, -1, -1, -1)
    graph, other = trace(network, still), trace(md.StillImage(network), still)
    assert [node.kind for node in graph] == [node.kind for node in other]
    assert other.readout.spec == ReadoutSpec("mean")


def test_max_resnet() -> None:
    network = ms_resnet.MaxResNet(
        T=T, num_classes=3, layers=(1, 1, 1), base_channels=8, stem_kernel_size=3, stem_stride=1
    )
    assert "pool" in checked(network, images(size=8))


def test_spikformer_multiplies_matrices_of_spikes() -> None:
    network = spikformer.Spikformer(
        T=T, img_size_h=16, img_size_w=16, patch_size=4, num_classes=3, embed_dims=16, num_heads=2, depths=1
    )
    kinds = checked(network, images(size=16), weight=2.0)
    assert kinds.count("matmul") == 2 and "scale" in kinds


@pytest.mark.parametrize("kind", ["token", "channel"])
def test_qkformer_gates_keys_by_summed_queries(kind: str) -> None:
    network = qkformer.QKFormer(
        T=T, num_classes=3, embed_dims=16, num_heads=(1, 2, 2), depths=(1, 0, 0), mlp_ratio=1.0, qka_type=kind
    )
    kinds = checked(network, images(size=16), weight=2.0, bias=1.0)
    assert "multiply" in kinds and "sum" in kinds


def test_spike_driven_transformer() -> None:
    network = spike_driven_transformer.SpikeDrivenTransformer(T=T, num_classes=3, embed_dims=16, num_heads=2, depths=1)
    kinds = checked(network, images(), weight=2.0)
    assert "multiply" in kinds and "sum" in kinds


@pytest.mark.parametrize(
    "container",
    [
        lambda *layers: layer.SeqToANNContainer(*layers),
        lambda *layers: layer.MultiStepContainer(*layers),
    ],
)
def test_containers_are_seen_through(container: Callable[..., nn.Module]) -> None:
    inner = (nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
    body = container(*inner)
    network = nn.Sequential(body, neuron.IFNode(step_mode="m"), layer.Flatten(step_mode="m"), nn.Linear(64, 3))
    kinds = checked(network, images(channels=1, size=4, time_steps=3, batch=2))
    assert kinds == ["input", "synapse", "neuron", "flatten", "synapse", "readout"]


def test_threshold_dependent_batch_norm_is_a_batch_norm() -> None:
    norm = layer.ThresholdDependentBatchNorm2d(alpha=1.0, v_th=1.0, num_features=4)
    network = nn.Sequential(layer.Conv2d(1, 4, 3, step_mode="m"), norm, neuron.LIFNode(step_mode="m"))
    x = images(channels=1, size=6)
    checked(network, x)
    assert trace(network, x).node("0").spec.batch_norm == "1"  # type: ignore[union-attr]


def test_a_network_in_the_wrong_step_mode_is_refused() -> None:
    network = nn.Sequential(nn.Linear(4, 4), neuron.LIFNode(step_mode="s"))
    with pytest.raises(TraceError) as caught:
        trace(network, torch.rand(3, 2, 4))
    assert "(T, N): it needs (N)" in caught.value.message and "mdcompress.Stepped" in caught.value.hints[0]


def test_the_hidden_state_of_the_network_is_put_back() -> None:
    network = nn.Sequential(nn.Linear(4, 4), neuron.LIFNode(step_mode="m")).eval()
    x = torch.rand(3, 2, 4)
    network(x)  # with a live autograd graph on the state
    before = network[1].v
    md.compress(network, x, "8bit", [x])
    assert network[1].v is before and before.grad_fn is not None


def test_the_state_of_one_batch_does_not_reach_the_next() -> None:
    network = nn.Sequential(nn.Linear(4, 4), neuron.IFNode(step_mode="m"), nn.Linear(4, 3)).eval()
    graph, x = trace(network, torch.rand(3, 2, 4)), torch.rand(3, 5, 4)
    first, second = (md.observe(network, graph, x) for _ in range(2))
    assert torch.equal(first.output, second.output) and torch.equal(first.logits, first.output)
    labels = torch.zeros(5, dtype=torch.int64)
    both = [md.evaluate(network, [(x, labels)] * n).loss for n in (1, 2)]
    assert both[0] == both[1]


def test_every_neuron_of_the_graph_is_a_neuron_of_the_network() -> None:
    network = small_sew_resnet("ADD", step_mode="m")
    names = {name for name, module in network.named_modules() if isinstance(module, neuron.BaseNode)}
    assert {node.name for node in trace(network, images(size=16)).of(NeuronModel)} == names


@pytest.mark.slow
def test_sew_resnet18_in_full() -> None:
    network = sew_resnet.sew_resnet18(cnf="ADD", spiking_neuron=neuron.IFNode, num_classes=3)
    functional.set_step_mode(network, "m")
    checked(network, images())


@pytest.mark.slow
def test_ms_resnet18_in_full() -> None:
    checked(ms_resnet.ms_resnet18(T=T, num_classes=3), images())


def vgg11_for_small_images() -> nn.Module:
    """spiking_vgg11_bn with every layer of its features, and a classifier of 64 neurons instead of 4,096.

    Built without values, then filled: the library's classifier alone would draw 119 million that nothing here reads.
    """
    torch.manual_seed(0)
    with torch.device("meta"):
        network = spiking_vgg.spiking_vgg11_bn(spiking_neuron=neuron.LIFNode, tau=2.0)
    network.features.to_empty(device="cpu")
    for module in network.features.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.reset_parameters()
    network.avgpool = layer.AdaptiveAvgPool2d((1, 1))
    network.classifier = nn.Sequential(
        layer.Linear(512, 64), neuron.LIFNode(v_threshold=0.1), layer.Dropout(),
        layer.Linear(64, 64), neuron.LIFNode(v_threshold=0.1), layer.Dropout(), layer.Linear(64, 3),
    )  # fmt: skip
    with torch.no_grad():
        for place in (0, 3):
            network.classifier[place].weight.uniform_(-0.02, 0.04)
    functional.set_step_mode(network, "m")
    made: nn.Module = network
    return made


@pytest.mark.slow
def test_spiking_vgg11_in_full() -> None:
    kinds = checked(vgg11_for_small_images(), images(), weight=2.0)
    assert kinds.count("neuron") == 8 + 2 and kinds.count("pool") == 5 + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "channels", "size", "neurons"),
    [
        (parametric_lif_net.NMNISTNet, 2, 34, 4),
        (parametric_lif_net.CIFAR10Net, 3, 32, 8),
        (parametric_lif_net.CIFAR10DVSNet, 2, 128, 6),
        (parametric_lif_net.DVSGestureNet, 2, 128, 7),
    ],
)
def test_parametric_lif_networks_in_full(
    make: Callable[..., nn.Module], channels: int, size: int, neurons: int
) -> None:
    """All layers and the data set's own size of map; 4 channels a convolution instead of 128 or 256."""
    network = make(channels=4, spiking_neuron=neuron.ParametricLIFNode, v_threshold=0.3)
    functional.set_step_mode(network, "m")
    torch.manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.uniform_(-0.04, 0.06)
    kinds = checked(network, images(channels=channels, size=size))
    assert kinds.count("neuron") == neurons and kinds[-4:] == ["reshape", "pool", "flatten", "readout"]


@pytest.mark.slow
def test_spikformer_of_two_blocks() -> None:
    network = spikformer.Spikformer(
        T=T, img_size_h=16, img_size_w=16, patch_size=4, num_classes=3, embed_dims=16, num_heads=2, depths=2
    )
    kinds = checked(network, images(size=16), weight=2.0)
    assert kinds.count("matmul") == 2 * 2 and kinds.count("neuron") == 5 + 2 * 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["token", "channel"])
def test_qkformer_of_two_blocks_in_every_stage(kind: str) -> None:
    """Stages one and two gate keys by queries; stage three is spiking self-attention."""
    network = qkformer.QKFormer(
        T=T, num_classes=3, embed_dims=16, num_heads=(1, 2, 2), depths=(2, 2, 2), mlp_ratio=1.0, qka_type=kind
    )
    kinds = checked(network, images(), weight=2.0, bias=2.0)
    assert kinds.count("multiply") == 2 * 2 and kinds.count("matmul") == 2 * 2


@pytest.mark.slow
def test_spike_driven_transformer_of_two_blocks() -> None:
    network = spike_driven_transformer.SpikeDrivenTransformer(T=T, num_classes=3, embed_dims=16, num_heads=2, depths=2)
    kinds = checked(network, images(), weight=2.0)
    assert kinds.count("multiply") == 2 * 2 and kinds.count("neuron") == 4 + 2 * 7 + 1


def test_vgg_copies_a_map_of_one_value_to_the_seven_by_seven_it_asks_for() -> None:
    first = layer.Conv2d(3, 4, 3, padding=1), layer.BatchNorm2d(4), neuron.IFNode(), layer.AdaptiveAvgPool2d((7, 7))
    network = nn.Sequential(*first, layer.Flatten(), layer.Linear(196, 3))
    functional.set_step_mode(network, "m")
    assert "pool" not in checked(network, images(size=1, batch=2))


# --- recurrent containers --------------------------------------------------------------------------------------------


def contained(step_mode: str, container: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(layer.Linear(FEATURES, NEURONS), container, layer.Linear(NEURONS, 3))
    functional.set_step_mode(network, step_mode)
    enlivened(network)
    return network if step_mode == "m" else md.Stepped(network)


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: neuron.IFNode(v_threshold=2.0),
        lambda: nn.Sequential(neuron.LIFNode(tau=2.0, v_reset=None)),
        lambda: neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75, v_threshold=3.0),
    ],
)
def test_a_linear_recurrent_container_is_two_weight_layers_and_a_neuron(
    step_mode: str, make: Callable[[], nn.Module]
) -> None:
    """FeedBackNet of the examples: the container reads the currents of the layer before."""
    network = contained(step_mode, layer.LinearRecurrentContainer(make(), NEURONS, NEURONS))
    student = check_recurrent(network, counts())
    kinds = [node.kind for node in student.graph]
    assert kinds[1:] == ["synapse", "digitizer", "synapse", "recurrent", "neuron", "synapse", "readout"]


def test_linear_layers_inside_a_container_are_multiplied_out() -> None:
    torch.manual_seed(0)
    held = nn.Sequential(nn.Linear(8, 5, bias=False), nn.Dropout(0.3), nn.Linear(5, NEURONS), neuron.IFNode())
    network = nn.Sequential(
        layer.Linear(FEATURES, 8), neuron.LIFNode(tau=2.0), layer.LinearRecurrentContainer(held, 8, NEURONS),
        layer.Linear(NEURONS, 3),
    )  # fmt: skip
    functional.set_step_mode(network, "m")
    student = check_recurrent(enlivened(network), counts(), recipe="4bit")
    recurrent, synapse = student.graph.node("2.recurrent").spec, student.graph.node("2.input").spec
    assert isinstance(recurrent, RecurrentSpec) and recurrent.synapse.weight_shape == (NEURONS, NEURONS)
    assert isinstance(synapse, SynapseSpec) and synapse.weight_shape == (NEURONS, 8)


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize(
    "function", [lambda y, x: x + y, lambda y, x: 0.5 * x - 0.25 * y, lambda y, x: torch.add(y, x, alpha=2.0)]
)
def test_an_elementwise_container_that_adds_is_one_weight_for_each_neuron(
    step_mode: str, function: Callable[[Tensor, Tensor], Tensor]
) -> None:
    container = layer.ElementWiseRecurrentContainer(neuron.LIFNode(tau=2.0, v_threshold=1.0), function)
    check_recurrent(contained(step_mode, container), counts())


def test_an_elementwise_container_on_maps() -> None:
    torch.manual_seed(0)
    container = layer.ElementWiseRecurrentContainer(neuron.IFNode(v_reset=None), lambda y, x: x - 0.5 * y)
    network = nn.Sequential(layer.Conv2d(2, MAP[0], 3, padding=1), container, layer.Flatten(), layer.Linear(64, 3))
    functional.set_step_mode(network, "m")
    student = check_recurrent(enlivened(network), maps())
    spec = student.graph.node("1.recurrent").spec
    assert isinstance(spec, RecurrentSpec) and spec.synapse.groups == MAP[0]


def _raises(y: Tensor, x: Tensor) -> Tensor:
    raise KeyError("of the user's own")


@pytest.mark.parametrize(
    ("container", "says"),
    [
        (lambda: layer.LinearRecurrentContainer(nn.Sequential(nn.ReLU(), neuron.IFNode()), 4, 4), "what it repeats"),
        (lambda: layer.LinearRecurrentContainer(nn.Linear(4, 4), 4, 4), "what it repeats"),
        (lambda: layer.LinearRecurrentContainer(nn.Sequential(), 4, 4), "what it repeats"),
        (lambda: layer.LinearRecurrentContainer(neuron.QIFNode(), 4, 4), "its membrane equation is not linear"),
        (lambda: layer.ElementWiseRecurrentContainer(nn.ReLU(), lambda y, x: x + y), "what it repeats"),
        (lambda: layer.ElementWiseRecurrentContainer(neuron.QIFNode(), lambda y, x: x + y), "is not linear"),
        (lambda: layer.ElementWiseRecurrentContainer(neuron.IFNode(), lambda y, x: x * (1 - y)), "in another way"),
        (lambda: layer.ElementWiseRecurrentContainer(neuron.IFNode(), lambda y, x: y - x), "in another way"),
        (lambda: layer.ElementWiseRecurrentContainer(neuron.IFNode(), lambda y, x: 1.0), "in another way"),
        (lambda: layer.ElementWiseRecurrentContainer(neuron.IFNode(), _raises), "in another way"),
    ],
)
def test_containers_that_no_neuron_holds_are_refused_with_the_reason(
    container: Callable[[], nn.Module], says: str
) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        trace(nn.Sequential(layer.Linear(4, 4), container()), torch.rand(T, N, 4))
    assert "RecurrentContainer, spikingjelly 2." in caught.value.message and caught.value.hints
