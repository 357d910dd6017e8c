"""The neurons of one old release: described, probed, and equal as integers to the last spike."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from types import ModuleType

import pytest
import torch
from spikingjelly.clock_driven import functional, neuron, surrogate
from torch import Tensor, nn

from mdcompress.adapters import Calling, describe_neuron, find_neurons, probe
from mdcompress.adapters.calling import calling_of
from mdcompress.adapters.state import fresh_state, is_at_rest, reset_state
from mdcompress.errors import TraceError
from tests.support.neuron_layers import check_neuron
from tests.support.old_releases import DESCRIBED, REFUSED, without_constructor

RELEASE = importlib.metadata.version("spikingjelly")
HAS_DECAY_INPUT = int(RELEASE.rpartition(".")[2]) >= 10
BROKEN = ("AdaptiveBaseNode", "MultiStepGeneralNode")  # their constructors fail
HAS_MEMORIES = RELEASE != "0.0.0.0.4"
PLAIN: list[dict[str, object]] = [
    {"v_threshold": 1.0},
    {"v_threshold": 1.5, "v_reset": None},
    {"v_reset": -0.25, "detach_reset": True},
]
RATES: list[dict[str, object]] = [{"decay_input": True}, {"decay_input": False}] if HAS_DECAY_INPUT else [{}]


def options_of(name: str) -> list[dict[str, object]]:
    if "LIF" not in name:
        return PLAIN
    tau = "init_tau" if "Parametric" in name else "tau"
    return [{tau: value, **rate, **plain} for value in (2.0, 2.7) for rate in RATES for plain in PLAIN]


def run(module: nn.Module, currents: Tensor) -> Tensor:
    functional.reset_net(module)
    if "MultiStep" in type(module).__name__:
        y: Tensor = module(currents)
        return y
    return torch.stack([module(current) for current in currents])


def made(name: str, options: dict[str, object]) -> nn.Module:
    module: nn.Module = getattr(neuron, name)(**options).eval()
    return module


@pytest.mark.parametrize("name", DESCRIBED[RELEASE])
def test_every_option_follows_its_description(name: str) -> None:
    for options in options_of(name):
        module = made(name, options)
        model = describe_neuron(module)
        assert model is not None, options
        probe(name, module, model)
        soft = options.get("v_reset", 0.0) is None
        assert model.reset == ("soft" if soft else "hard")
    assert calling_of(module) == Calling(("T", "N") if "MultiStep" in name else ("N",))


@pytest.mark.parametrize("name", DESCRIBED[RELEASE])
def test_every_neuron_becomes_exact_integers(name: str) -> None:
    for options in (options_of(name)[-2], options_of(name)[-1]):
        check_neuron(made(name, options), run)


@pytest.mark.parametrize("name", DESCRIBED[RELEASE])
def test_defaults_are_described_as_the_class_has_them(name: str) -> None:
    module = made(name, {})
    model = describe_neuron(module)
    assert model is not None
    slow = RELEASE == "0.0.0.0.4" and name == "LIFNode"  # its tau is 100 where none is given
    rate = 0.0 if name in ("IFNode", "MultiStepIFNode") else 0.01 if slow else 0.5
    assert model.decay == 1.0 - rate and model.input_gain == (rate or 1.0)
    probe(name, module, model)


@pytest.mark.parametrize("name", DESCRIBED[RELEASE])
def test_its_state_is_reset_and_put_back(name: str) -> None:
    module = made(name, {"v_reset": -0.25})
    x = torch.rand(3, 2, 4, requires_grad=True)
    for step in [x] if "MultiStep" in name else x:
        module(step)
    before = module.v
    assert isinstance(before, Tensor) and before.requires_grad and not is_at_rest(module)
    with fresh_state(module):
        assert is_at_rest(module) and module.v == -0.25
        module(x if "MultiStep" in name else x[0])
        assert not is_at_rest(module)
    assert module.v is before
    model = describe_neuron(module)
    assert model is not None
    probe(name, module, model)  # it still holds a state that hangs on a graph
    assert module.v is before
    reset_state(module)
    assert is_at_rest(module)


@pytest.mark.parametrize("name", DESCRIBED[RELEASE])
def test_subclasses_are_their_base_and_others_are_caught(name: str) -> None:
    base = getattr(neuron, name)
    same = type("Same", (base,), {"extra_repr": lambda _: "mine"})()
    model = describe_neuron(same)
    assert model is not None
    probe("same", same, model)

    def charge(self: nn.Module, x: Tensor) -> None:
        self.v = 0.75 * self.v + x  # type: ignore[operator]

    other = type("Other", (base,), {"neuronal_charge": charge})()
    model = describe_neuron(other)
    assert model is not None
    with pytest.raises(TraceError, match=rf"Other, spikingjelly {RELEASE}\) does not follow its description"):
        probe("other", other, model)


@pytest.mark.parametrize("name", DESCRIBED[RELEASE])
def test_its_surrogate_function_in_place_of_spikes_is_refused(name: str) -> None:
    with pytest.raises(TraceError, match=f"{name}, spikingjelly {RELEASE}.* surrogate function itself"):
        describe_neuron(made(name, {"surrogate_function": surrogate.Sigmoid(spiking=False)}))


@pytest.mark.parametrize("name", REFUSED[RELEASE])
def test_classes_without_integers_are_refused_by_name_and_release(name: str) -> None:
    kind = getattr(neuron, name)
    options = {"GeneralNode": (1.0, 1.0), "LIAFNode": (torch.relu, False)}
    if name in BROKEN:
        with pytest.raises((AssertionError, TypeError)):
            kind()
        module = without_constructor(kind)
    else:
        module = kind(*options.get(name, ()))
    with pytest.raises(TraceError) as caught:
        find_neurons(nn.Sequential(nn.Linear(2, 2), module))
    says = f"neuron '1' (spikingjelly.clock_driven.neuron.{name}, spikingjelly {RELEASE}) cannot become integers: "
    assert says in caught.value.message and caught.value.hints


def test_every_class_is_described_or_refused() -> None:
    offered = {name for name, value in vars(neuron).items() if isinstance(value, type) and issubclass(value, nn.Module)}
    assert offered - {"BaseNode"} == {*DESCRIBED[RELEASE], *REFUSED[RELEASE]}


def test_a_class_of_ones_own_equation_is_refused() -> None:
    own = type("Own", (neuron.BaseNode,), {"neuronal_charge": lambda self, x: None})()
    with pytest.raises(TraceError, match=rf"Own, spikingjelly {RELEASE}\).*no description of its equation is known"):
        describe_neuron(own)


@pytest.mark.skipif(not HAS_DECAY_INPUT, reason="its threshold is an attribute that no reset gives back")
def test_a_threshold_that_the_next_reset_gives_back_is_not_believed() -> None:
    module = made("LIFNode", {"v_threshold": 0.75})
    module.v_threshold = 0.25  # type: ignore[assignment]
    model = describe_neuron(module)
    assert model is not None and model.threshold == 0.75
    probe("neuron", module, model)


@pytest.mark.skipif(not HAS_MEMORIES, reason="it has no multi-step neurons")
def test_a_neuron_of_the_cupy_backend_is_proved_on_the_cpu() -> None:
    module = made("MultiStepLIFNode", {})
    module.backend = "cupy"  # type: ignore[assignment]  # where cupy is installed, backend="cupy" does it
    model = describe_neuron(module)
    assert model is not None
    probe("neuron", module, model)
    assert module.backend == "cupy"


@pytest.mark.skipif(RELEASE not in ("0.0.0.0.12", "0.0.0.0.14"), reason="it has no such backend")
def test_the_lava_backend_is_refused() -> None:
    module = made("MultiStepIFNode", {})
    module.backend = "lava"  # type: ignore[assignment]
    with pytest.raises(TraceError, match=r"fixed point of its own \(here backend is 'lava'\)"):
        describe_neuron(module)


@pytest.mark.skipif(importlib.util.find_spec("spikingjelly.cext.neuron") is None, reason="it has no such module")
def test_neurons_of_compiled_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_C_neuron", ModuleType("_C_neuron"))  # built on a machine with a GPU
    cext = importlib.import_module("spikingjelly.cext.neuron")
    for name in ("IFNode", "LIFNode", "MultiStepIFNode", "MultiStepLIFNode"):
        with pytest.raises(TraceError, match=rf"cext.neuron.{name}, spikingjelly {RELEASE}\).*compiled kernels"):
            describe_neuron(getattr(cext, name)())


@pytest.mark.skipif(HAS_MEMORIES, reason="a monitor watches its neurons from outside")
def test_recorded_values_stay_as_they_were() -> None:
    module = made("LIFNode", {"tau": 2.0, "monitor_state": False})
    module.set_monitor(True)  # type: ignore[operator]
    module(torch.rand(2, 4))
    kept = module.monitor["s"]  # type: ignore[index]
    with fresh_state(module):
        module(torch.rand(2, 4))
    model = describe_neuron(module)
    assert model is not None
    probe("neuron", module, model)
    assert module.monitor["s"] is kept and len(kept) == 1  # type: ignore[index]
