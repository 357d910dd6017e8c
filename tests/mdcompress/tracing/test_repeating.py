"""A network that answers differently when it runs again is refused: it keeps state, or it is random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mdcompress as md
from mdcompress.adapters import Adapted, Calling, NeuronAdapter
from mdcompress.adapters.state import run_fresh
from mdcompress.errors import TraceError
from mdcompress.graph import NeuronModel
from mdcompress.tracing import trace
from mdcompress.tracing.conventions import fit
from mdcompress.tracing.repeating import _Digests
from mdcompress.zoo import LIF

MODEL = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "soft", 0.0, 1.0, 0.0)


class Keeping(nn.Module):
    """h = v/2 + x over all steps; v goes on in the next call, unless it is put to rest between the two."""

    def __init__(self) -> None:
        super().__init__()
        self.make()

    def make(self) -> None:
        raise NotImplementedError

    def last(self) -> Tensor | None:
        raise NotImplementedError

    def keep(self, v: Tensor) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        v, spikes = self.last(), []
        v = torch.zeros_like(x[0]) if v is None or v.shape != x[0].shape else v
        for current in x:
            h = 0.5 * v + current
            spikes.append((h >= 1.0).to(x.dtype))
            v = h - spikes[-1]
        self.keep(v)
        return torch.stack(spikes)


class InAttribute(Keeping):
    v: Tensor | None

    def make(self) -> None:
        self.v = None

    def last(self) -> Tensor | None:
        return self.v

    def keep(self, v: Tensor) -> None:
        self.v = v


class InList(Keeping):
    def make(self) -> None:
        self.states: list[Tensor] = []

    def last(self) -> Tensor | None:
        return self.states[-1] if self.states else None

    def keep(self, v: Tensor) -> None:
        self.states.append(v)


class InDict(Keeping):
    def make(self) -> None:
        self.states: dict[str, Tensor] = {}

    def last(self) -> Tensor | None:
        return self.states.get("v")

    def keep(self, v: Tensor) -> None:
        self.states["v"] = v


class InBuffer(Keeping):
    v: Tensor

    def make(self) -> None:
        self.register_buffer("v", torch.zeros(0))

    def last(self) -> Tensor | None:
        return self.v

    def keep(self, v: Tensor) -> None:
        self.v = v


class InClosure(Keeping):
    def make(self) -> None:
        states: list[Tensor] = []
        self.read: Callable[[], Tensor | None] = lambda: states[-1] if states else None
        self.write: Callable[[Tensor], None] = states.append

    def last(self) -> Tensor | None:
        return self.read()

    def keep(self, v: Tensor) -> None:
        self.write(v)


class Cleared(InAttribute):
    def clear(self) -> None:
        self.make()

    def reset_to(self, value: float) -> None:
        raise AssertionError("never called: it wants an argument")


def _describe(module: nn.Module) -> NeuronModel | None:
    return MODEL if isinstance(module, Keeping) else None


def _run(_: nn.Module, currents: Tensor) -> Tensor:
    return md.adapters.simulate(MODEL, currents).spikes


ADAPTERS = (NeuronAdapter(_describe, _run),)


def network(neuron: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), LIF(), nn.Linear(6, 6), neuron, nn.Linear(6, 2)).eval()


def sample() -> Tensor:
    return 2 * torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(0))


def loud(neuron: nn.Module) -> nn.Sequential:
    """A network whose neuron is driven so that what it keeps shows in the next run."""
    made = network(neuron)
    with torch.no_grad():
        cast(nn.Linear, made[2]).bias.fill_(0.4)
    return made


# --- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [InAttribute, InList, InDict, InBuffer, InClosure, Cleared])
def test_a_neuron_that_keeps_state_between_calls_is_refused_by_name(kind: Callable[[], nn.Module]) -> None:
    with pytest.raises(TraceError, match=r"module '3' \(.*\) gives another output for the same input .* keeps state"):
        trace(loud(kind()), sample(), adapters=ADAPTERS)


def test_the_fault_is_that_the_teacher_drifts_from_batch_to_batch() -> None:
    drifting, x = loud(Cleared()), sample()
    first, second = (run_fresh(drifting, x).mean(0) for _ in range(2))
    assert float((first - second).detach().abs().max()) > 0.01


def test_the_method_that_resets_is_named_and_the_hint_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TraceError) as caught:
        trace(loud(Cleared()), sample(), adapters=ADAPTERS)
    said = "if clear() puts its state to rest, say so: Cleared.reset_state = Cleared.clear"
    assert caught.value.hints[0] == said and "reset_to" not in str(caught.value.hints)
    monkeypatch.setattr(Cleared, "reset_state", Cleared.clear, raising=False)
    made, x = loud(Cleared()), sample()
    trace(made, x, adapters=ADAPTERS)
    assert torch.equal(run_fresh(made, x), run_fresh(made, x))


def test_a_class_without_such_a_method_is_told_to_have_one() -> None:
    with pytest.raises(TraceError) as caught:
        trace(loud(InList()), sample(), adapters=ADAPTERS)
    assert caught.value.hints[0] == "give InList a method reset_state() that puts its state to rest"


class OfOneSize(nn.Module):
    """It keeps its membrane from call to call, in the sizes of the call before."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 0.0

    def clear(self) -> None:
        self.v = 0.0

    def forward(self, x: Tensor) -> Tensor:
        spikes = []
        for current in x:
            h = 0.5 * self.v + current
            spikes.append((h >= 1.0).to(x.dtype))
            self.v = h - spikes[-1]
        return torch.stack(spikes)


def test_the_probe_starts_from_rest_and_its_error_names_the_reset() -> None:
    """The pass that finds the neuron leaves state in it; a copy of it is what the probe runs."""

    def describe(module: nn.Module) -> NeuronModel | None:
        return MODEL if isinstance(module, OfOneSize) else None

    made, x = loud(OfOneSize()), sample()
    with pytest.raises(TraceError, match="fails on currents of shape") as caught:
        trace(made, x, adapters=[NeuronAdapter(describe)])
    said = "where it keeps state from call to call, if clear() puts its state to rest, say so: OfOneSize.reset_state"
    assert any(hint.startswith(said) for hint in caught.value.hints)
    adapted = Adapted(made, [NeuronAdapter(describe, reset=OfOneSize.clear)])
    student = md.compress(adapted, x, "8bit", [x])
    assert md.verify(student, x).equal


def test_an_adapter_that_resets_travels_with_the_network() -> None:
    adapter = NeuronAdapter(_describe, _run, reset=Cleared.clear)
    made, x = loud(Cleared()), sample()
    with pytest.raises(TraceError) as caught:
        trace(made, x, adapters=[adapter])  # evaluation meets the network alone
    assert "mdcompress.adapters.Adapted(network, adapters)" in caught.value.hints[1]
    adapted = Adapted(made, [adapter])
    student = md.compress(adapted, x, "8bit", [x])
    assert md.verify(student, x).equal
    y = torch.zeros(3, dtype=torch.int64)
    losses = {md.evaluate(adapted, [(x, y)] * times).loss for times in (1, 2, 3)}
    assert len(losses) == 1
    graph = trace(adapted, x)
    first, second = (md.observe(adapted, graph, x) for _ in range(2))
    assert all(torch.equal(first.spikes[name], second.spikes[name]) for name in first.spikes)
    assert int(first.spikes["3"].sum()) > 0


def test_a_neuron_of_one_step_is_found_its_wrapper_with_its_adapters_inside() -> None:
    class OneStep(nn.Module):
        v: Tensor | float = 0.0

        def clear(self) -> None:
            self.v = 0.0

        def forward(self, x: Tensor) -> Tensor:
            h = 0.5 * self.v + x
            spikes = (h >= 1.0).to(x.dtype)
            self.v = h - spikes
            return spikes

    def run(module: nn.Module, currents: Tensor) -> Tensor:
        cast(OneStep, module).clear()
        return torch.stack([module(current) for current in currents])

    adapter = NeuronAdapter(
        lambda module: MODEL if isinstance(module, OneStep) else None,
        run,
        calling=lambda _: Calling(("N",)),
        reset=OneStep.clear,
        is_at_rest=lambda module: not torch.as_tensor(module.v).any(),
    )
    found = fit(Adapted(nn.Sequential(nn.Linear(4, 6), OneStep(), nn.Linear(6, 2)).eval(), [adapter]), sample())
    assert isinstance(found.network, md.Stepped)
    with torch.no_grad():
        assert torch.equal(found.network(sample()), found.network(sample()))


def test_state_of_another_module_than_a_neuron_is_found_too() -> None:
    class Growing(nn.Module):
        factor = 1.0

        def forward(self, x: Tensor) -> Tensor:
            self.factor *= 1.5
            return self.factor * x

    with pytest.raises(TraceError, match=r"module '0' \(.*Growing\) gives another output"):
        trace(nn.Sequential(Growing(), *network(LIF())), sample())


def test_state_in_the_networks_own_forward_is_the_networks() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.factor = network(LIF()), 1.0

        def forward(self, x: Tensor) -> Tensor:
            self.factor *= 1.5
            answer: Tensor = self.factor * self.body(x)
            return answer

    made = Growing()
    with pytest.raises(TraceError, match=r"the network itself \(.*Growing\) gives another output"):
        trace(made, sample())
    assert made.factor == 1.0, "what it had before is put back"


# --- randomness ------------------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """Its input times a random number, of a generator of the module's own or of a global one."""

    def __init__(self, draw: Callable[[], float], own: object = None) -> None:
        super().__init__()
        self.draw, self.own = draw, own

    def forward(self, x: Tensor) -> Tensor:
        return self.draw() * x


def _own_of_torch() -> Noisy:
    generator = torch.Generator()
    return Noisy(lambda: float(torch.rand((), generator=generator)), generator)


def _own_of_numpy() -> Noisy:
    generator = np.random.default_rng(0)
    return Noisy(generator.random, generator)


def _own_of_python() -> Noisy:
    generator = random.Random(0)
    return Noisy(generator.random, generator)


@pytest.mark.parametrize(
    "noise",
    [
        lambda: Noisy(random.random),
        lambda: Noisy(lambda: float(np.random.random())),
        lambda: Noisy(lambda: float(torch.rand(()))),
        _own_of_torch,
        _own_of_numpy,
        _own_of_python,
    ],
)
def test_a_random_network_is_said_to_be_random(noise: Callable[[], nn.Module]) -> None:
    made = nn.Sequential(*network(LIF()), noise()).eval()
    with pytest.raises(TraceError, match=r"module '5' .* with other random numbers: the network is random") as caught:
        trace(made, sample())
    assert "keeps state" not in caught.value.message and "draw random numbers before the network" in str(
        caught.value.hints
    )


class Poisson(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (torch.rand_like(x) < x).to(x.dtype)


class Dropping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True)


@pytest.mark.parametrize("first", [Poisson, Dropping])
def test_where_a_random_function_is_refused_it_is_said_to_be_random(first: Callable[[], nn.Module]) -> None:
    with pytest.raises(TraceError) as caught:
        trace(nn.Sequential(first(), *network(LIF())).eval(), sample())
    assert "the network is random in evaluation, and a graph is not" in str(caught.value.hints)


def test_numbers_that_are_drawn_and_not_used_change_nothing() -> None:
    class Drawing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.rand(3)
            return x

    made, x = nn.Sequential(*network(LIF()), Drawing()).eval(), sample()
    torch.manual_seed(0)
    trace(made, x)
    found = torch.rand(1)
    torch.manual_seed(0)
    torch.rand(3)
    assert torch.equal(found, torch.rand(1)), "as after one pass"


# --- what it costs, and leaves ---------------------------------------------------------------------------------------


def test_a_network_without_state_runs_twice_and_keeps_no_hook() -> None:
    class Counting(nn.Module):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            type(self).runs += 1
            return x

    made = nn.Sequential(*network(LIF()), Counting()).eval()
    torch.manual_seed(1)
    trace(made, sample())
    assert Counting.runs == 2
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in made.modules())
    assert not nn.modules.module._global_forward_hooks and not nn.modules.module._global_forward_pre_hooks
    found = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(found, torch.rand(1)), "no random number is drawn"


def test_cudnn_is_reproducible_inside_and_as_it_was_after(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
            return x

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    trace(nn.Sequential(*network(LIF()), Asking()).eval(), sample())
    assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic


@pytest.mark.parametrize("library", ["spikingjelly", "snntorch", "sinabs"])
def test_neurons_of_a_library_that_still_hold_a_state_are_reset_and_get_it_back(library: str) -> None:
    pytest.importorskip(library)
    torch.manual_seed(0)
    if library == "spikingjelly":
        from spikingjelly.activation_based import neuron

        made, state = neuron.LIFNode(step_mode="m"), "v"
    elif library == "snntorch":
        import snntorch

        made, state = snntorch.Leaky(0.5, init_hidden=True), "mem"
    else:
        import sinabs.layers

        made, state = sinabs.layers.LIF(tau_mem=5.0), "v_mem"
    body = nn.Sequential(nn.Linear(4, 6), made, nn.Linear(6, 2)).eval()
    wrapped = {"spikingjelly": lambda x: x, "snntorch": md.Stepped, "sinabs": md.BatchFirst}[library](body)
    with torch.no_grad():
        body({"spikingjelly": sample(), "snntorch": sample()[0], "sinabs": sample().transpose(0, 1)}[library])
    before = getattr(made, state)
    assert bool(before.any())
    trace(wrapped, sample())
    assert getattr(made, state) is before


# --- digests ---------------------------------------------------------------------------------------------------------


class Marked(Tensor):
    """A subclass, as libraries have them."""


VALUES = torch.arange(12.0).reshape(3, 4)
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "subclass": lambda x: x.as_subclass(Marked),
    "view of a subclass": lambda x: x.as_subclass(Marked)[1:],
    "parameter": nn.Parameter,
    "bool": lambda x: x > 3,
    "bfloat16": Tensor.bfloat16,
    "int64": Tensor.long,
    "complex": lambda x: torch.complex(x, x + 1),
    "conjugate": lambda x: torch.complex(x, x + 1).conj(),
    "negative": lambda x: torch.complex(x, x + 1).conj().imag,
    "expanded": lambda x: x[:1].expand(5, 4),
    "transposed": Tensor.t,
    "strided": lambda x: x[:, ::2],
    "channels last": lambda x: x.reshape(1, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    "no axis": lambda x: x[0, 1],
    "sparse": Tensor.to_sparse,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_of_any_kind_has_the_digest_of_its_values_shape_and_dtype(kind: str) -> None:
    same, other = KINDS[kind](VALUES.clone()), KINDS[kind](VALUES + 1)
    own = same.detach().to_dense() if same.is_sparse else same.detach().as_subclass(Tensor)
    plain = own.resolve_conj().resolve_neg().contiguous().clone()
    digests = _Digests()
    assert digests.of(same) == digests.of(same) == _Digests().of(plain)
    assert digests.of(other) != digests.of(same) or bool((KINDS[kind](VALUES) == other).all())
    assert digests.of(plain.flatten()) != digests.of(plain) or plain.dim() == 1
    with torch.inference_mode():
        assert digests.of(plain.clone()) == digests.of(same)


def test_tensors_without_values_are_told_by_shape_and_dtype() -> None:
    empty = [torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(0, 3).double(), torch.zeros(2, device="meta")]
    assert len({_Digests().of(each) for each in empty}) == len(empty)
    assert _Digests().of(torch.ones(0, 3)) == _Digests().of(torch.zeros(0, 3))


def test_what_was_known_of_a_tensor_is_forgotten_when_it_changes() -> None:
    digests, x = _Digests(), torch.zeros(4)
    before, part = digests.of(x), x[:2]
    assert digests.of(part) == digests.of(torch.zeros(2)) != before
    x[0] = 1.0
    assert digests.of(x) != before and digests.of(part) == digests.of(torch.tensor([1.0, 0.0]))
    complex_ = torch.complex(torch.ones(2), torch.ones(2))
    assert digests.of(complex_) != digests.of(complex_.conj())
    halves = torch.arange(4.0).view(torch.bfloat16)
    assert digests.of(halves) != digests.of(halves[:4])


def test_values_beside_tensors_count_too() -> None:
    own = object()
    values = [
        None, True, 1, 1.5, 1 + 2j, "1", b"1", [], [1], {"a": 1}, {"a": 2}, np.float32(1.0), np.float32(2.0),
        np.zeros(2), np.zeros((2, 1)), np.array([None, 1]), (torch.ones(1), 1), (torch.ones(1), 2),
    ]  # fmt: skip
    assert len({_Digests().of(value) for value in values}) == len(values)
    assert _Digests().of(np.array([own, 1])) == _Digests().of(np.array([object(), 1])), "an address is no value"
