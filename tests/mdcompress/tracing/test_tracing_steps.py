"""Networks that take one step at a time, read back as layers over all steps; states reset, checked and put back."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from types import EllipsisType
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mdcompress as md
from intsnn.errors import UsageError
from mdcompress.adapters import NeuronAdapter
from mdcompress.adapters.state import fresh_state, reset_state, run_fresh
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel, ReadoutMode, ReadoutSpec, SnnGraph, SynapseSpec
from mdcompress.tracing import trace
from mdcompress.tracing.positions import Extent, Position
from mdcompress.zoo import IF
from tests.support.layered_network import Forward, Net

Place = int | tuple[int | slice | EllipsisType, ...]  # where a step is written
T, N = 3, 2


class Leaky(nn.Module):
    """A single-step neuron: v = v/2 + x, spike at 1, reset to 0. Its state is its own (`hidden`) or passed by hand."""

    def __init__(self, *, hidden: bool = True) -> None:
        super().__init__()
        self.hidden = hidden
        self.v: Tensor | None = None

    def reset_state(self) -> None:
        self.v = None

    def forward(self, x: Tensor, v: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        before = self.v if self.hidden else v
        h = x if before is None else 0.5 * before + x
        spikes = (h >= 1).to(x.dtype)
        after = h * (1 - spikes)
        if self.hidden:
            self.v = after
            return spikes
        return spikes, after


def _run_leaky(module: nn.Module, currents: Tensor) -> Tensor:
    assert isinstance(module, Leaky)
    spikes, v = [], None
    module.reset_state()
    for current in currents:
        if module.hidden:
            spikes.append(module(current))
        else:
            spike, v = module(current, v)
            spikes.append(spike)
    return torch.stack(spikes)


LEAKY = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "hard", 0.0, 0.0, 0.0)
ADAPTERS = (NeuronAdapter(lambda module: LEAKY if isinstance(module, Leaky) else None, _run_leaky),)


def net(forward: Forward, **layers: nn.Module) -> Net:
    torch.manual_seed(0)
    parts = {"fc": nn.Linear(4, 5), "lif": Leaky(), "out": nn.Linear(5, 3), "mem": Leaky(hidden=False), **layers}
    return Net(forward, **parts)


def sample(*shape: int) -> Tensor:
    return 2 * torch.rand(T, N, *(shape or (4,)), generator=torch.Generator().manual_seed(0))


def traced(network: nn.Module, x: Tensor | None = None) -> SnnGraph:
    return trace(network, sample() if x is None else x, adapters=ADAPTERS)


def refused(network: nn.Module, *, says: str, hint: str, x: Tensor | None = None) -> None:
    with pytest.raises(TraceError) as caught:
        traced(network, x)
    assert says in caught.value.message, caught.value.message
    assert any(hint in line for line in caught.value.hints), caught.value.hints


def step(m: Net, x: Tensor) -> Tensor:
    return m.out(m.lif(m.fc(x)))


FORMS: list[tuple[ReadoutMode, Forward]] = [
    ("steps", lambda m, x: torch.stack([step(m, x[t]) for t in range(len(x))])),
    ("steps", lambda m, x: torch.stack([step(m, one) for one in x], dim=0)),
    ("steps", lambda m, x: torch.stack([step(m, one) for one in x.unbind()])),
    ("steps", lambda m, x: torch.stack([step(m, x.select(0, t)) for t in range(len(x))])),
    ("steps", lambda m, x: torch.cat([step(m, one).unsqueeze(0) for one in x])),
    ("steps", lambda m, x: torch.cat([step(m, one).unsqueeze(0) for one in torch.unbind(x, dim=0)], dim=0)),
    ("steps", lambda m, x: torch.cat([step(m, one.squeeze(0))[None] for one in x.split(1)])),  # type: ignore[no-untyped-call]  # torch's Tensor.split
    ("steps", lambda m, x: torch.cat([step(m, x[t : t + 1].squeeze(0)).unsqueeze(0) for t in range(len(x))])),
    ("steps", lambda m, x: torch.stack([step(m, one[0]) for one in x.chunk(len(x), dim=0)])),
    ("steps", lambda m, x: torch.cat([step(m, one) for one in x]).view(x.shape[0], x.shape[1], -1)),
    ("steps", lambda m, x: torch.stack([step(m, one) for one in x], dim=1).transpose(0, 1)),
    ("steps", lambda m, x: torch.cat([step(m, one).unsqueeze(1) for one in x], dim=1).transpose(0, 1)),
    ("steps", lambda m, x: torch.stack([step(m, x.transpose(0, 1)[:, t]) for t in range(len(x))])),
    ("steps", lambda m, x: torch.stack([step(m, one) for one in x]).permute(1, 0, 2).movedim(0, 1)),
    ("mean", lambda m, x: torch.stack([step(m, one) for one in x]).mean(0)),
    ("mean", lambda m, x: torch.stack([step(m, one) for one in x], dim=1).mean(1)),
    ("mean", lambda m, x: sum(step(m, one) for one in x) / len(x)),
    ("sum", lambda m, x: sum(step(m, one) for one in x)),
    ("sum", lambda m, x: torch.stack([step(m, one) for one in x]).sum(0)),
    ("max", lambda m, x: torch.stack([step(m, one) for one in x]).max(0)[0]),
    ("max", lambda m, x: torch.stack([step(m, one) for one in x]).max(dim=0).values),
    ("max", lambda m, x: torch.stack([step(m, one) for one in x]).amax(0)),
    ("last", lambda m, x: [step(m, one) for one in x][-1]),
    ("last", lambda m, x: torch.stack([step(m, one) for one in x])[-1]),
    ("last", lambda m, x: m.out([m.lif(m.fc(one)) for one in x][-1])),
    ("steps", lambda m, x: torch.stack([step(m, one[...]) for one in x[:]])),
    ("steps", lambda m, x: _batch_first_loop(m, x)),
    ("steps", lambda m, x: _filled(m, x, torch.zeros(*x.shape[:2], 3), lambda t: t)),
    ("steps", lambda m, x: _filled(m, x, x.new_zeros(*x.shape[:2], 3), lambda t: (t, slice(None), slice(None)))),
    ("steps", lambda m, x: _filled(m, x, torch.empty(*x.shape[:2], 3), lambda t: (t - len(x), ...))),
    ("mean", lambda m, x: _filled(m, x, torch.zeros(x.shape[1], len(x), 3), lambda t: (slice(None), t)).mean(1)),
    ("max", lambda m, x: _filled(m, x, torch.zeros(*x.shape[:2], 3), lambda t: t).max(0).values),
]


def _filled(m: Net, x: Tensor, outputs: Tensor, place: Callable[[int], Place]) -> Tensor:
    """Norse's ConvNet4 writes its voltages so."""
    for t in range(len(x)):
        outputs[place(t)] = step(m, x[t])
    return outputs


def _batch_first_loop(m: Net, x: Tensor) -> Tensor:
    batch_first = x.swapaxes(0, 1)
    parts = [step(m, batch_first[:, t : t + 1].squeeze(1)).unsqueeze(1) for t in range(x.shape[0])]
    return torch.cat(parts, 1).swapaxes(0, 1).transpose(1, 1)


@pytest.mark.parametrize(("mode", "forward"), FORMS)
def test_a_time_loop_is_the_network_over_all_steps(mode: ReadoutMode, forward: Forward) -> None:
    graph = traced(net(forward))
    assert [node.kind for node in graph] == ["input", "synapse", "neuron", "synapse", "readout"]
    assert [node.name for node in graph] == ["input", "fc", "lif", "out", "readout"]
    assert [node.shape for node in graph] == [(4,), (5,), (5,), (3,), (3,)]
    assert graph.readout.spec == ReadoutSpec(mode)


@pytest.mark.parametrize("start", [0, 0.0, torch.tensor(0.0)])
def test_a_running_sum_starts_from_zero(start: float | Tensor) -> None:
    def forward(m: Net, x: Tensor) -> float | Tensor:
        total = start
        for one in x:
            total = total + step(m, one)
        return total / len(x)

    def in_place(m: Net, x: Tensor) -> Tensor:
        total: float | Tensor = 0.0
        for one in x:
            total += step(m, one)
        assert isinstance(total, Tensor)
        return total.div(T)

    assert traced(net(forward)).readout.spec == ReadoutSpec("mean")
    assert traced(net(in_place)).readout.spec == ReadoutSpec("mean")


def test_states_passed_by_hand_are_followed() -> None:
    def forward(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        state, spikes, states = None, [], []
        for one in x:
            spike, state = m.mem(m.fc(one), state)
            spikes.append(m.out(spike))
            states.append(state.detach())
        return torch.stack(spikes), torch.stack(states)  # the record of the states is no part of the answer

    assert [node.name for node in traced(net(forward))] == ["input", "fc", "mem", "out", "readout"]


def test_layers_over_all_steps_and_a_neuron_in_a_loop_may_mix() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        currents = m.fc(x)
        spikes = torch.stack([m.lif(currents[t]) for t in range(len(x))])
        return m.out(spikes)

    assert [node.name for node in traced(net(forward))] == ["input", "fc", "lif", "out", "readout"]


def test_a_batch_norm_in_a_loop_is_part_of_its_layer() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return torch.stack([m.lif(m.norm(m.fc(one))) for one in x])

    network = net(forward, norm=nn.BatchNorm1d(5))
    assert traced(network).node("fc").spec.batch_norm == "norm"  # type: ignore[union-attr]

    def after_all(m: Net, x: Tensor) -> Tensor:
        currents = m.fc(x)
        return torch.stack([m.lif(m.norm(currents[t])) for t in range(len(x))])

    assert traced(net(after_all, norm=nn.BatchNorm1d(5))).node("fc").spec.batch_norm == "norm"  # type: ignore[union-attr]


def test_residual_sums_in_a_loop_are_spatial() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        answers = []
        for one in x:
            spikes = m.lif(m.fc(one))
            answers.append(m.out(spikes + m.lif2(m.square(spikes))))
        return torch.stack(answers)

    graph = traced(net(forward, square=nn.Linear(5, 5), lif2=Leaky()))
    assert graph.node("add").inputs == ("lif", "lif2") and len(graph.nodes) == 8


def test_one_image_for_all_steps() -> None:
    def forward(m: Net, image: Tensor) -> Tensor:
        return torch.stack([step(m, image) for _ in range(T)])

    def static_front(m: Net, image: Tensor) -> Tensor:
        current = m.fc(image)  # once for all steps
        return torch.stack([m.out(m.lif(current)) for _ in range(T)])

    def repeated(m: Net, image: Tensor) -> Tensor:
        steps = image.unsqueeze(0).repeat(T, 1, 1)
        return torch.stack([step(m, one) for one in steps])

    def expanded(m: Net, image: Tensor) -> Tensor:
        return torch.stack([step(m, one) for one in image.expand(T, *image.shape)])

    def stacked(m: Net, image: Tensor) -> Tensor:
        return torch.stack([step(m, one) for one in torch.stack([image] * T)])

    x = sample()[:1].expand(T, N, 4)
    forms = (forward, static_front, repeated, expanded, stacked)
    graphs = [traced(md.StillImage(net(form)), x) for form in forms]
    assert all(graph == graphs[0] for graph in graphs[1:])
    assert [node.name for node in graphs[0]] == ["input", "fc", "lif", "out", "readout"]
    refused(md.StillImage(net(forward)), says="must be the same at every step", hint="expand(T", x=sample())


def test_the_number_of_steps_must_be_that_of_the_sample() -> None:
    x = sample()[:1].expand(T, N, 4)

    def repeated(m: Net, image: Tensor) -> Tensor:
        return torch.stack([m.fc(image)] * 5)

    def expanded(m: Net, image: Tensor) -> Tensor:
        return m.fc(image.expand(5, *image.shape))

    def once(m: Net, image: Tensor) -> Tensor:
        return m.out(m.lif(m.fc(image)))

    refused(md.StillImage(net(repeated)), says="repeated 5 times, and the sample has 3 steps", hint="as many", x=x)
    refused(md.StillImage(net(expanded)), says="torch.Tensor.expand", hint="whole steps", x=x)
    refused(md.StillImage(net(once)), says="returns step 0 of 'out' out of 3 steps", hint="last step", x=x)


def test_a_step_may_be_added_to_itself() -> None:
    graph = traced(net(_doubled_step))
    assert [node.kind for node in graph] == ["input", "synapse", "add", "scale", "readout"]
    assert graph.node("add").inputs == ("fc", "fc")


# --- wrappers --------------------------------------------------------------------------------------------------------


def test_stepped_runs_a_single_step_network_over_all_steps_from_rest() -> None:
    own = net(step)
    network = md.Stepped(own)
    graph = traced(network)
    assert [node.name for node in graph] == ["input", "fc", "lif", "out", "readout"]
    x = sample()
    with torch.no_grad():
        first, second = network(x), network(x)
    assert torch.equal(first, second) and first.shape == (T, N, 3)
    assert own.lif.v is None, "nothing of a batch is kept"
    torch.testing.assert_close(first[0], own.out(own.lif(own.fc(x[0]))))


def test_stepped_takes_the_first_of_what_a_network_returns() -> None:
    lif = Leaky()

    def forward(m: Net, x: Tensor) -> tuple[Tensor, Tensor | None]:
        spikes = m.lif(m.fc(x))
        return spikes, lif.v

    assert traced(md.Stepped(net(forward, lif=lif))).readout.inputs == ("lif",)


def test_stepped_threads_a_state_that_the_network_takes_and_returns() -> None:
    class Threaded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.mem = nn.Linear(4, 5), Leaky(hidden=False)

        def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
            answer: tuple[Tensor, Tensor] = self.mem(self.fc(x), state)
            return answer

    assert traced(md.Stepped(Threaded())).readout.inputs == ("mem",)


@pytest.mark.parametrize("layout", ["split", "folded"])
def test_batch_first_turns_what_comes_and_what_goes(layout: Literal["split", "folded"]) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.fc(x)

    own = net(forward)
    network = md.BatchFirst(own, layout=layout)
    x = sample()
    torch.testing.assert_close(network(x), own.fc(x))
    assert [node.kind for node in traced(network)] == ["input", "synapse", "readout"]
    averaged = md.BatchFirst(net(lambda m, x: m.fc(x.reshape(N, T, 4)).mean(1)), layout=layout)
    assert traced(averaged).readout.spec == ReadoutSpec("mean")


def test_batch_first_knows_two_layouts() -> None:
    with pytest.raises(UsageError, match="layout must be split or folded"):
        md.BatchFirst(net(step), layout="flat")  # type: ignore[arg-type]  # wrong on purpose


def test_a_network_must_return_a_tensor() -> None:
    with pytest.raises(TraceError, match="must return a tensor, or one first in a tuple"):
        run_fresh(net(lambda m, x: {"logits": m.fc(x)}), sample())


# --- what is refused -------------------------------------------------------------------------------------------------


def _forgotten(m: Net, x: Tensor) -> Tensor:
    return torch.stack([m.mem(m.fc(one), torch.zeros(N, 5))[0] for one in x])


def _of_another(m: Net, x: Tensor) -> Tensor:
    state, spikes = None, []
    for one in x:
        spike, state = m.mem(m.fc(one), state)
        spike2, _ = m.mem2(m.fc(one), state)
        spikes.append(spike + spike2)
    return torch.stack(spikes)


def _older(m: Net, x: Tensor) -> Tensor:
    states, spikes = [None], []
    for one in x:
        spike, state = m.mem(m.fc(one), states[max(0, len(states) - 2)])
        states.append(state)
        spikes.append(spike)
    return torch.stack(spikes)


def _skips(m: Net, x: Tensor) -> Tensor:
    return torch.stack([m.out(m.lif(m.fc(x[t]))) for t in (0, 2)])


def _backwards(m: Net, x: Tensor) -> Tensor:
    return torch.stack([step(m, x[t]) for t in reversed(range(len(x)))])


def _mixed_order(m: Net, x: Tensor) -> Tensor:
    first, second, third = (step(m, one) for one in x)
    return torch.stack([second, first, third])


def _summed_backwards(m: Net, x: Tensor) -> Tensor:
    _, second, third = (step(m, one) for one in x)
    return second + third


def _partial_sum(m: Net, x: Tensor) -> Tensor:
    first, second, _ = (step(m, one) for one in x)
    return first + second


def _not_the_last(m: Net, x: Tensor) -> Tensor:
    answers = [step(m, one) for one in x]
    return answers[0]


def _delayed(m: Net, x: Tensor) -> Tensor:
    spikes, before = [], None
    for one in x:
        current = m.fc(one)
        spikes.append(m.lif(current if before is None else current + m.square(before)))
        before = spikes[-1]
    return torch.stack(spikes)


def _alternates(m: Net, x: Tensor) -> Tensor:
    return torch.stack([m.out(m.lif(m.fc(one) if t % 2 == 0 else m.fc2(one))) for t, one in enumerate(x)])


def _state_read(m: Net, x: Tensor) -> Tensor:
    state, answers = None, []
    for one in x:
        _, state = m.mem(m.fc(one), state)
        answers.append(m.out(state))
    return torch.stack(answers)


def _state_and_spikes(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    state, states, spikes = None, [], []
    for one in x:
        spike, state = m.mem(m.fc(one), state)
        states.append(state)
        spikes.append(spike + m.lif(m.fc2(one)))
    return torch.stack(states), torch.stack(states)


def _state_half(m: Net, x: Tensor) -> Tensor:
    state, states = None, []
    for one in x:
        _, state = m.mem(m.fc(one), state)
        states.append(state)
    return 0.5 * torch.stack(states)


def _after_the_sum(m: Net, x: Tensor) -> Tensor:
    total = sum(m.fc(one) for one in x)
    return m.lif(total)


def _written_backwards(m: Net, x: Tensor) -> Tensor:
    return _filled(m, x, torch.zeros(T, N, 3), lambda t: T - 1 - t)


def _written_in_part(m: Net, x: Tensor) -> Tensor:
    return _filled(m, x, torch.zeros(T + 1, N, 3), lambda t: t)


def _written_half(m: Net, x: Tensor) -> Tensor:
    record = torch.zeros(T, N, 3)
    for t in range(T - 1):
        record[t] = step(m, x[t])
    return m.mem(record)[0]


def _written_again(m: Net, x: Tensor) -> Tensor:
    record = _filled(m, x, torch.zeros(T, N, 3), lambda t: t)
    record[0] = record[1]
    return record


def _written_and_changed(m: Net, x: Tensor) -> Tensor:
    record = torch.zeros(T, N, 3)
    for t in range(T):
        record.mul_(0.5)
        record[t] = step(m, x[t])
    return record


def _written_by_two(m: Net, x: Tensor) -> Tensor:
    record = torch.zeros(T, N, 5)
    for t in range(T):
        record[t] = (m.fc2 if t else m.fc)(x[t])
    return record


def _weights_as_arguments(m: Net, x: Tensor) -> Tensor:
    return F.linear(x, m.fc.weight)


def _still_running(m: Net, x: Tensor) -> Tensor:
    return m.lif(m.fc(x))


def _gap(m: Net, x: Tensor) -> Tensor:
    return torch.stack([step(m, one) for one in x])[0:2]


def _unlike_joined(m: Net, x: Tensor) -> Tensor:
    return torch.stack([m.fc(x[0]), m.fc(x[1]), m.fc2(x[2])])


def _doubled_step(m: Net, x: Tensor) -> Tensor:
    return torch.stack([m.fc(one) + m.fc(one) for one in x]) / len(x)


def _half_divided(m: Net, x: Tensor) -> Tensor:
    return m.lif(sum(m.fc(one) for one in x) / 2)


REFUSED: list[tuple[Forward, str, str]] = [
    (_forgotten, "neuron 'mem' is given another tensor for its state at step 1", "'mem' itself returned"),
    (_of_another, "neuron 'mem2' starts from a state that is not its resting state", "None, zeros"),
    (_older, "neuron 'mem' is given", "returned at the step before"),
    (_skips, "neuron 'lif' is called for step 2 as call 2 of 3", "in the order of the steps"),
    (_backwards, "neuron 'lif' is called for step 2 as call 1 of 3", "in the order of the steps"),
    (_mixed_order, "'out' is joined over the steps 1, 0, 2, of 3", "in order"),
    (_summed_backwards, "'out' is summed over time out of order: step 1, then step 2", "from the first to the last"),
    (_partial_sum, "returns the sum of steps 0 to 1 of 'out' out of 3 steps", "return [T, N, K]"),
    (_not_the_last, "returns step 0 of 'out' out of 3 steps", "its last step"),
    (_delayed, "is taken at step 1 and", "the neurons' state alone"),
    (_alternates, "'lif' reads 'fc2' at step 1, and read 'fc' before", "the same calls"),
    (_state_read, "a layer reads a state of the neuron 'mem', not its spikes", "let layers read the spikes"),
    (_state_and_spikes, "returns a state of the neuron 'mem', whose spikes other layers read", "or return spikes"),
    (_state_half, "a layer reads a state of the neuron 'mem'", "let layers read the spikes"),
    (_after_the_sum, "follows the sum of steps 0 to 2 of 'fc': a graph ends there", "over time last"),
    (_written_backwards, "__setitem__", "torch.stack(steps)"),
    (_written_in_part, "__setitem__", "torch.stack(steps)"),
    (_written_half, "a tensor that does not come from the network's input", "compute it from the input"),
    (_written_again, "__setitem__", "torch.stack(steps)"),
    (_written_and_changed, "the steps of 'out' are written into a tensor that then holds something else", "in order"),
    (_written_by_two, "the steps of 'fc2' are written into a tensor that then holds something else", "in order"),
    (_weights_as_arguments, "torch.nn.functional.linear", "a module such as nn.Conv2d or nn.Linear"),
    (_gap, "the network takes a part of 'out'", "whole steps"),
    (_unlike_joined, "the network calls torch.stack", "join all of them in order"),
    (_half_divided, "follows the sum of steps 0 to 2", "over time last"),
    (_still_running, "does not follow its description inside the network", "a method reset_state()"),
]


@pytest.mark.parametrize(("forward", "says", "hint"), REFUSED)
def test_what_a_loop_must_not_do_is_refused(forward: Forward, says: str, hint: str) -> None:
    layers = {
        "fc2": nn.Linear(4, 5), "square": nn.Linear(5, 5), "mem2": Leaky(hidden=False),
        "norm": nn.BatchNorm1d(5), "norm2": nn.BatchNorm1d(5),
    }  # fmt: skip
    refused(net(forward, **layers), says=says, hint=hint)


def test_a_neuron_whose_state_is_not_reset_is_found_by_its_spikes() -> None:
    class Stubborn(Leaky):
        def reset_state(self) -> None:
            pass

    network = net(lambda m, x: torch.stack([step(m, one) for one in x]), lif=Stubborn())
    network.lif.v = torch.full((N, 5), 0.9)
    adapters = (NeuronAdapter(ADAPTERS[0].describe, lambda module, currents: _run_leaky(_rested(module), currents)),)
    with pytest.raises(TraceError) as caught:
        trace(network, sample(), adapters=adapters)
    assert "does not follow its description inside the network" in caught.value.message


def _rested(module: nn.Module) -> nn.Module:
    assert isinstance(module, Leaky)
    module.v = None
    return module


# --- state -----------------------------------------------------------------------------------------------------------


def test_the_state_that_the_neurons_had_is_put_back() -> None:
    own = net(step)
    kept = torch.full((N, 5), 0.25)
    own.lif.v = kept
    traced(md.Stepped(own))
    assert own.lif.v is kept


def test_the_state_is_put_back_after_a_refusal_too() -> None:
    own = net(lambda m, x: F.relu(m.out(m.lif(m.fc(x)))))
    kept = torch.full((N, 5), 0.25)
    own.lif.v = kept
    refused(md.Stepped(own), says="relu", hint="put a neuron in its place")
    assert own.lif.v is kept


def test_buffers_and_attributes_written_during_a_pass_are_put_back() -> None:
    class Counting(nn.Module):
        state: Tensor
        count: int
        options: dict[str, int]
        extra: str

    module = Counting()
    module.register_buffer("state", torch.zeros(2))
    module.count, module.options = 0, {"a": 1}
    before = module.state
    with fresh_state(module):
        module.state = torch.ones(3)
        module.count, module.extra = 5, "new"
        module.options["a"] = 2
    assert module.state is before and module.count == 0 and module.options == {"a": 1}
    assert not hasattr(module, "extra")


def test_reset_state_asks_the_modules_that_know_how() -> None:
    neuron = Leaky()
    neuron.v = torch.ones(2)
    reset_state(nn.Sequential(nn.Linear(2, 2), neuron))
    assert neuron.v is None


# --- positions -------------------------------------------------------------------------------------------------------


def test_axes_have_the_sizes_of_time_and_batch() -> None:
    extent = Extent(3, 2)
    assert extent.per_sample(torch.zeros(3, 2, 5), ("T", "N")) == (5,)
    assert extent.per_sample(torch.zeros(6, 5), ("NT",)) == (5,)
    assert extent.per_sample(torch.zeros(2, 3, 5), ("T", "N")) is None
    assert Position("all", ("T", "N")).turned == Position("all", ("N", "T"))
    assert Position("step", ("N",), 1).turned is None
    words = [Position(span, ("N",), 1).describe() for span in ("all", "step", "still", "sum", "mean", "max")]
    assert words == [
        "all steps", "step 1", "what is the same at every step", "the sum of steps 0 to 1", "the mean over time",
        "the max over time",
    ]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(time_steps=st.integers(1, 5), batch=st.integers(1, 4), form=st.integers(0, len(FORMS) - 1))
def test_every_form_of_loop_is_read_for_any_number_of_steps_and_samples(time_steps: int, batch: int, form: int) -> None:
    mode, forward = FORMS[form]
    x = 2 * torch.rand(time_steps, batch, 4, generator=torch.Generator().manual_seed(0))

    def any_length(m: Net, x: Tensor) -> object:
        return forward(m, x)

    if time_steps == 1 or "div" in str(forward):
        return  # a loop of one step has no order to be read from
    graph = traced(net(any_length), x)
    assert graph.readout.spec == ReadoutSpec(mode) and graph.time_steps == time_steps


# --- size ------------------------------------------------------------------------------------------------------------


def test_a_network_of_a_hundred_layers_is_traced_and_planned_in_seconds() -> None:
    layers: list[nn.Module] = [nn.Conv2d(2, 4, 3, padding=1)]
    for _ in range(99):
        layers += [IF(), nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)]

    def forward(m: Net, x: Tensor) -> Tensor:
        for layer in body:
            x = layer(x) if isinstance(layer, IF) else layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return x

    body = nn.Sequential(*layers)
    network = Net(forward, layers=body)
    began = time.perf_counter()
    graph = trace(network, torch.rand(T, N, 2, 8, 8))
    md.plan(md.load_recipe("4bit"), graph)
    assert len(graph.of(SynapseSpec)) == 100
    assert time.perf_counter() - began < 20.0


def test_copies_of_the_graph_are_equal() -> None:
    graph = traced(md.Stepped(net(step)))
    assert copy.deepcopy(graph) == graph
