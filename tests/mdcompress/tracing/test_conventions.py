"""How a network is called is found by tracing it: as it is, step by step, or with one image for all steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mdcompress.errors import CheckpointError, TraceError
from mdcompress.graph import NeuronModel
from mdcompress.lifting import Lifted
from mdcompress.student.weights import load_weights, save_weights
from mdcompress.tracing import BatchFirst, Stepped, StillImage, trace
from mdcompress.tracing.conventions import fit, inner
from mdcompress.zoo import LIF
from tests.support.one_step import OneStep

T, N = 4, 3


def one_step() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), OneStep(), nn.Linear(5, 2)).eval()


class Looping(nn.Module):
    """Takes one image and presents it at every step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.neuron = nn.Linear(4, 5), OneStep()

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([self.neuron(self.fc(image)) for _ in range(T)])


def moving() -> Tensor:
    return 3 * torch.rand(T, N, 4, generator=torch.Generator().manual_seed(0))


def still() -> Tensor:
    return moving()[:1].expand(T, N, 4)


def test_a_network_of_all_steps_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Linear(4, 5), LIF(), nn.Linear(5, 2)).eval()
    found = fit(network, moving())
    assert found.network is network and found.convention == "" and found.graph.of(NeuronModel)


def test_a_network_of_one_step_is_run_step_by_step() -> None:
    network = one_step()
    found = fit(network, moving().unsqueeze(-1))
    assert isinstance(found.network, Stepped) and found.network.network is network
    assert "takes one step at a time" in found.convention and "mdcompress.Stepped(network)" in found.convention
    assert found.network(moving().unsqueeze(-1)).shape == (T, N, 2)


def test_a_network_of_one_image_is_given_it() -> None:
    found = fit(Looping().eval(), still())
    assert isinstance(found.network, StillImage) and "takes one image" in found.convention
    assert torch.equal(found.network(still()), Looping()(still()[0]))


def test_a_wrapper_that_its_owner_chose_is_not_wrapped_again() -> None:
    network = Stepped(one_step())
    assert fit(network, moving().unsqueeze(-1)).network is network
    with pytest.raises(TraceError, match="needs"):
        fit(BatchFirst(nn.Sequential(nn.Linear(4, 5), LIF())), moving())
    assert inner(network) is network.network and inner(network.network) is network.network


def test_the_error_is_that_of_the_attempt_that_came_furthest() -> None:
    """Called with all steps it fails at once; step by step it reaches its sigmoid."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), OneStep(), nn.Linear(5, 5), nn.Sigmoid(), nn.Linear(5, 2))
    with pytest.raises(TraceError, match="sigmoid") as caught:
        fit(network.eval(), moving().unsqueeze(-1))
    assert "on the assumption that the network takes one step at a time" in caught.value.hints[-1]
    with pytest.raises(TraceError, match=r"as many steps as the network makes, 4 \(it has 2\)") as caught:
        fit(Looping().eval(), still()[:2])
    assert "data.time_steps=4" in caught.value.hints[0]


def test_where_not_even_a_layer_runs_the_error_is_that_of_the_network_as_it_is() -> None:
    """It takes four values, and the sample has three: what it does with a still image says nothing."""

    class Stepping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.neuron = nn.Linear(4, 5), OneStep()

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.neuron(self.fc(x[t])) for t in range(x.shape[0])])

    says = (
        r"fails in 'fc' \(Linear\), which takes \[\.\.\., 4\] and is given \[3, 3\]: x \[T, N, \.\.\.\] is \[4, 3, 3\]"
    )
    with pytest.raises(TraceError, match=says) as caught:
        fit(Stepping().eval(), moving()[..., :3])
    assert not any("assumption" in hint for hint in caught.value.hints)


def test_a_neuron_that_nobody_described_is_read_off_its_code_or_advised_to_describe_itself() -> None:
    class Undescribed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0.5).to(x.dtype)

    network = nn.Sequential(nn.Linear(4, 5), Undescribed(), nn.Linear(5, 2)).eval()
    with pytest.raises(TraceError) as caught:
        trace(network, moving())
    assert any("if '1' is a neuron" in hint for hint in caught.value.hints)
    found = fit(network, moving())
    assert [finding.name for finding in found.findings] == ["1"]
    assert "s = [h > 0.5]" in found.findings[0].words
    with pytest.raises(TraceError) as caught:
        fit(nn.Sequential(nn.Linear(4, 5), nn.Sigmoid()).eval(), moving())
    assert not any("is a neuron" in hint for hint in caught.value.hints)


def test_a_batch_that_the_training_script_would_have_flattened_is_named() -> None:
    with pytest.raises(
        TraceError, match=r"takes \[\.\.\., 4\] and is given \[4, 3, 2, 2\].*, a sample \[2, 2\] at each step"
    ) as caught:
        fit(Looping().eval(), torch.unflatten(still(), -1, (2, 2)))
    assert any("the 4 values of a step must be flattened first" in hint for hint in caught.value.hints)


def test_a_rectifier_of_spikes_is_nothing_and_of_currents_is_refused() -> None:
    body = (nn.Linear(4, 5), LIF(), nn.ReLU(), nn.Linear(5, 2))
    kinds = [node.kind for node in fit(nn.Sequential(*body).eval(), moving()).graph]
    assert kinds == ["input", "synapse", "neuron", "synapse", "readout"]
    with pytest.raises(TraceError, match="relu") as caught:
        fit(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), LIF(), nn.Linear(5, 2)).eval(), moving())
    assert "put a neuron in its place" in caught.value.hints[0]


def test_weights_of_the_users_own_network_fit_the_wrapped_one(tmp_path: Path) -> None:
    trained, file = one_step(), tmp_path / "weights.safetensors"
    with torch.no_grad():
        trained.get_parameter("1.weight").fill_(0.25)
    save_weights(trained, file)
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    for path in (file, tmp_path / "weights.pt"):
        wrapped = Stepped(one_step())
        load_weights(wrapped, path)
        assert torch.equal(wrapped.network.get_parameter("1.weight"), trained.get_parameter("1.weight"))
    save_weights(Stepped(trained), file)  # a wrapper's own file
    wrapped = Stepped(one_step())
    load_weights(wrapped, file)
    assert torch.equal(wrapped.network.get_parameter("1.weight"), trained.get_parameter("1.weight"))
    with pytest.raises(CheckpointError, match="does not fit the network"):
        load_weights(StillImage(Looping()), file)


def test_a_neuron_of_one_step_that_does_not_say_how_it_is_reset_is_lifted() -> None:
    class Unresettable(OneStep):
        reset_state = None  # type: ignore[assignment]  # wrong on purpose

    network = nn.Sequential(nn.Linear(4, 5), Unresettable(), nn.Linear(5, 2)).eval()
    with pytest.raises(TraceError, match=r"must have a method reset_state\(\)"):
        trace(Stepped(network), moving())
    assert isinstance(fit(network, moving()).network, Lifted)
