"""Sums of integers carried in float: equal to those of int64 wherever they are called exact, in every form."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from mdcompress.compression import compress
from mdcompress.evaluation.verification import verify_graph
from mdcompress.graph import SynapseSpec
from mdcompress.layers import sums
from mdcompress.layers.recurrence import RecurrentIntegers
from mdcompress.layers.sums import EXACT_IN_FLOAT32, Arithmetic, Form, exact_arithmetic, window_sums
from mdcompress.layers.synapse import QuantSynapse
from mdcompress.recipe import BatchNormPolicy, WeightPolicy, load_recipe
from mdcompress.student.lowering import lower
from mdcompress.zoo import digits_snn

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FORMS: tuple[Form, ...] = ("convolution", "product")


# --- the decision: a function of bound and device --------------------------------------------------------------------


@pytest.mark.parametrize(("device", "form"), [(CPU, "convolution"), (GPU, "product")])
def test_float32_is_taken_below_its_bound_and_float64_from_it_on(device: torch.device, form: Form) -> None:
    for largest in (0.0, 1.0, EXACT_IN_FLOAT32 - 1):
        assert exact_arithmetic(largest, device) == Arithmetic(torch.float32, form)
    for largest in (EXACT_IN_FLOAT32, EXACT_IN_FLOAT32 + 1, 2.0**40, math.inf):
        assert exact_arithmetic(largest, device) == Arithmetic(torch.float64, form)


def test_nothing_is_taken_for_exact_in_float32_on_a_device_of_another_kind() -> None:
    assert exact_arithmetic(1.0, torch.device("meta")) == Arithmetic(torch.float64, "product")


@contextmanager
def products_of(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_float64_is_taken_where_torch_may_shorten_factors(precision: str) -> None:
    with products_of(precision):
        assert exact_arithmetic(1.0, GPU).dtype == torch.float64, "TF32"
    with products_of("medium"):
        assert exact_arithmetic(1.0, CPU).dtype == torch.float64, "bfloat16"
    assert exact_arithmetic(1.0, GPU).dtype == exact_arithmetic(1.0, CPU).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "value"),
    [("NVIDIA_TF32_OVERRIDE", "1"), ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"), ("CUBLAS_EMULATE_SINGLE_PRECISION", "1")],
)
def test_float64_is_taken_where_a_library_may_shorten_factors(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert exact_arithmetic(1.0, GPU).dtype == exact_arithmetic(1.0, CPU).dtype == torch.float64


def test_float64_is_taken_where_nnpack_would_sum_the_fractions_of_winograd() -> None:
    spec = conv(2, channels=(32, 16), padding=1)
    x, weight = integers((16, 32, 12, 12), 255), integers(spec.weight_shape, 127)
    with torch.backends.mkldnn.flags(enabled=False):
        loose = window_sums(spec, x.float(), weight.float())
        if torch.equal(loose.double(), by_hand(spec, x, weight)):
            pytest.skip("NNPACK does not run on this machine")
        how = exact_arithmetic(127 * 255 * 32 * 9, CPU)
        assert how.dtype == torch.float64
        assert torch.equal(window_sums(spec, x.to(how.dtype), weight.to(how.dtype), how.form), by_hand(spec, x, weight))


# --- the sums: against int64 -----------------------------------------------------------------------------------------


def conv(
    axes: int, *, channels: tuple[int, int], kernel: int = 3, stride: int = 1, padding: int = 0, dilation: int = 1,
    groups: int = 1, transposed: bool = False, output_padding: int = 0,
) -> SynapseSpec:  # fmt: skip
    """Channels (in, out); each number holds for every axis."""
    every = (1,) * axes
    return SynapseSpec(
        operator=f"conv_transpose{axes}d" if transposed else f"conv{axes}d",  # type: ignore[arg-type]  # one of its words
        weight_shape=(channels[1], channels[0] // groups, *(kernel * each for each in every)),
        stride=tuple(stride * each for each in every),
        padding=tuple(padding * each for each in every),
        dilation=tuple(dilation * each for each in every),
        groups=groups,
        bias=False,
        batch_norm=None,
        output_padding=tuple(output_padding * each for each in every) if transposed else (),
    )


def integers(shape: tuple[int, ...], largest: int, *, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(-largest, largest, shape, endpoint=True))


def by_hand(spec: SynapseSpec, x: Tensor, weight: Tensor) -> Tensor:
    """Every product on its own, in int64: a value i of a map meets the sum o where o*stride + k*dilation = i + padding.

    Where the convolution is transposed, i*stride + k*dilation = o + padding.
    """
    left = x.numpy().reshape(len(x), spec.groups, -1, *x.shape[2:])
    right = weight.numpy().reshape(spec.groups, -1, *weight.shape[1:])
    sides = sums_along(spec, x.shape[2:])
    found = np.zeros((len(x), spec.groups, right.shape[1], *sides), dtype=np.int64)
    kernel = weight.shape[2:]
    for tap, read, written in itertools.product(np.ndindex(*kernel), np.ndindex(*x.shape[2:]), np.ndindex(*sides)):
        few, many = (read, written) if spec.is_transposed else (written, read)
        steps = zip(few, many, tap, spec.stride, spec.dilation, spec.padding, strict=True)
        if all(one * stride + k * dilation == other + padding for one, other, k, stride, dilation, padding in steps):
            met = np.einsum("bgc,goc->bgo", left[(..., *read)], right[(..., *tap)])
            found[(slice(None), slice(None), slice(None), *written)] += met
    return torch.from_numpy(found.reshape(len(x), spec.weight_shape[0], *sides)).double()


def sums_along(spec: SynapseSpec, sides: tuple[int, ...]) -> list[int]:
    """How many sums there are along each axis of maps of so many values."""
    kernel, more = spec.weight_shape[2:], spec.output_padding or (0,) * len(sides)
    each = zip(sides, kernel, spec.stride, spec.padding, spec.dilation, more, strict=True)
    if spec.is_transposed:
        return [(side - 1) * s - 2 * p + d * (k - 1) + o + 1 for side, k, s, p, d, o in each]
    return [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d, _ in each]


@st.composite
def geometries(draw: st.DrawFn) -> tuple[SynapseSpec, tuple[int, ...]]:
    """A layer of any kind, and the shape of its maps."""
    axes, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2 if axes < 3 else 1))
    transposed = draw(st.booleans())
    kernel = draw(st.integers(1, 3 if axes < 2 else 2))
    spec = conv(
        axes, channels=(groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))), kernel=kernel,
        stride=stride, padding=draw(st.integers(0, 2)), dilation=dilation, groups=groups, transposed=transposed,
        output_padding=draw(st.integers(0, max(stride, dilation) - 1)),
    )  # fmt: skip
    sides = tuple(draw(st.integers(dilation * (kernel - 1) + 1, 7 - axes)) for _ in range(axes))
    assume(min(sums_along(spec, sides)) > 0)
    return spec, (draw(st.integers(1, 3)), groups * spec.weight_shape[1], *sides)


@given(geometries(), st.sampled_from(FORMS), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 99))
@settings(deadline=None, max_examples=80)
def test_every_form_of_every_layer_is_the_sum_of_its_products(
    geometry: tuple[SynapseSpec, tuple[int, ...]], form: Form, dtype: torch.dtype, seed: int
) -> None:
    spec, shape = geometry
    x, weight = integers(shape, 255, seed=seed), integers(spec.weight_shape, 127, seed=seed + 1)
    wanted = by_hand(spec, x, weight)
    found = window_sums(spec, x.to(dtype), weight.to(dtype), form)
    assert found.dtype == dtype and torch.equal(found.double(), wanted)


def test_windows_that_are_written_out_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = conv(2, channels=(4, 6), stride=2, padding=1, groups=2)
    x, weight = integers((7, 4, 9, 9), 9), integers(spec.weight_shape, 9)
    for most in (1, 2_000):
        monkeypatch.setattr(sums, "_MOST_COLUMNS", most)
        assert torch.equal(window_sums(spec, x.float(), weight.float(), "product").double(), by_hand(spec, x, weight))


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_sums_just_below_the_bound_are_exact_in_float32_in_every_order(data: st.DataObject) -> None:
    """One row of products whose absolute values add up to 2^24 - 1, in any order and of any signs."""
    words = st.integers(-127, 127)
    drawn = data.draw(st.lists(st.tuples(words, st.integers(-255, 255)), min_size=1, max_size=400))
    left = EXACT_IN_FLOAT32 - 1 - sum(abs(w * s) for w, s in drawn)
    row = data.draw(st.permutations([*drawn, (data.draw(st.sampled_from([1, -1])), left)]))
    weight, x = (torch.tensor(side) for side in zip(*row, strict=True))
    wanted = float((weight * x).sum())
    assert exact_arithmetic(float((weight * x).abs().sum()), GPU).dtype == torch.float32
    weights, inputs = weight.float()[None], x.float()[None]
    linear = SynapseSpec("linear", tuple(weights.shape), (1, 1), (0, 0), (1, 1), 1, False, None)
    along = conv(1, channels=(1, 1), kernel=len(row))
    assert float(window_sums(linear, inputs.expand(17, -1), weights)[-1]) == wanted
    for form in FORMS:
        assert float(window_sums(along, inputs[None].expand(17, 1, -1), weights[None], form)[-1]) == wanted


def test_from_the_bound_on_float32_is_not_exact_and_what_is_taken_is() -> None:
    spec = conv(1, channels=(1, 1), kernel=3)
    x, weight = torch.tensor([[[EXACT_IN_FLOAT32 - 1, 1, 1]]]), torch.ones(1, 1, 3, dtype=torch.int64)
    assert float(window_sums(spec, x.float(), weight.float(), "product")) != EXACT_IN_FLOAT32 + 1
    for device in (CPU, GPU):
        how = exact_arithmetic(EXACT_IN_FLOAT32 + 1, device)
        assert float(window_sums(spec, x.to(how.dtype), weight.to(how.dtype), how.form)) == EXACT_IN_FLOAT32 + 1


# --- the layers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Arithmetic]:
    """Layers compute here as they do on a GPU; what they chose."""
    chosen: list[Arithmetic] = []

    def choose(largest: float, device: torch.device) -> Arithmetic:
        chosen.append(exact_arithmetic(largest, GPU))
        return chosen[-1]

    for module in ("synapse", "recurrence"):
        monkeypatch.setattr(f"mdcompress.layers.{module}.exact_arithmetic", choose)
    return chosen


def quant_synapse(spec: SynapseSpec, *, bits: int, largest_input: int) -> QuantSynapse:
    torch.manual_seed(0)
    layer = QuantSynapse(
        spec, weight=WeightPolicy(bit_width=bits), batch_norm=BatchNormPolicy(), largest_input=largest_input
    )
    layer.adopt(nn.Conv2d(spec.weight_shape[1], spec.weight_shape[0], 3, bias=False), None)
    return layer.eval()


def noted(seen: list[float], value: float) -> float:
    """The value, which is written down."""
    seen.append(value)
    return value


@pytest.mark.parametrize(
    ("bits", "largest_input", "dtype"), [(4, 1, torch.float32), (8, 255, torch.float32), (8, 100_000, torch.float64)]
)
def test_layer_on_a_gpu_gives_the_currents_of_the_cpu_and_reads_no_weight_whose_word_is_small(
    bits: int, largest_input: int, dtype: torch.dtype, as_on_a_gpu: list[Arithmetic], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = quant_synapse(conv(2, channels=(3, 5), padding=1), bits=bits, largest_input=largest_input)
    x = integers((2, 4, 3, 8, 8), largest_input).float()
    read: list[float] = []
    monkeypatch.setattr(Tensor, "__float__", lambda tensor: noted(read, tensor.item()), raising=False)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        found = layer(x, 1.0, torch.tensor(0.01))
    assert as_on_a_gpu == [Arithmetic(dtype, "product")]
    names = [event.name for event in profiler.events()]
    assert "aten::bmm" in names and "aten::convolution" not in names
    assert len(read) == (dtype == torch.float64), "the weights are read where their word is too wide"
    monkeypatch.undo()
    with torch.no_grad():
        assert torch.equal(found, layer(x, 1.0, torch.tensor(0.01))) and found.unique().numel() > 9
    assert found[0].is_contiguous(memory_format=torch.channels_last)


def test_a_word_too_wide_for_float32_whose_weights_are_small_is_summed_in_float32() -> None:
    """What the word allows is 128 * 27 * 20,000; weights of which one is not 0 give at most 127 * 20,000."""
    spec = conv(2, channels=(3, 1))
    layer, kernel = quant_synapse(spec, bits=8, largest_input=20_000), nn.Conv2d(3, 1, 3, bias=False)
    with torch.no_grad():
        kernel.weight.zero_()[0, 0, 0, 0] = 1.0
    layer.adopt(kernel, None)
    seen: list[float] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "mdcompress.layers.synapse.exact_arithmetic",
            lambda largest, device: exact_arithmetic(noted(seen, largest), device),
        )
        layer(torch.ones(1, 1, 3, 5, 5), 1.0, torch.tensor(0.01))
    assert len(seen) == 1 and 0 < seen[0] <= 127 * 20_000 < EXACT_IN_FLOAT32 < 128 * 27 * 20_000


def test_student_computed_as_on_a_gpu_is_its_integer_graph(as_on_a_gpu: list[Arithmetic]) -> None:
    torch.manual_seed(0)
    network, x = digits_snn(channels=4), torch.rand(3, 6, 1, 8, 8)
    student = compress(network, x, load_recipe("4bit"), [x])
    as_on_a_gpu.clear()
    report = verify_graph(student, lower(student), x, native=None)
    assert report.equal and report.values > 1000 and report.spikes > 0
    assert len(as_on_a_gpu) == 4 and set(as_on_a_gpu) == {Arithmetic(torch.float32, "product")}


@pytest.mark.parametrize("operator", ["conv1d", "conv2d", "linear"])
def test_recurrent_synapse_on_a_gpu_adds_what_it_adds_on_a_cpu(
    operator: str, as_on_a_gpu: list[Arithmetic], monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = 0 if operator == "linear" else int(operator[4])
    spec = (
        conv(axes, channels=(4, 4), padding=1) if axes
        else SynapseSpec("linear", (4, 4), (1, 1), (0, 0), (1, 1), 1, False, None)
    )  # fmt: skip
    spikes = integers((6, 4, *(7,) * axes), 1).abs().double()
    own = RecurrentIntegers(
        spec, integers(spec.weight_shape, 127).double(), torch.full((1,), 3.0).double(), torch.zeros(1).double(),
        torch.tensor(4.0).double(),
    )  # fmt: skip
    found = own(spikes)
    assert [how.form for how in as_on_a_gpu] == ["product"]
    monkeypatch.undo()
    assert torch.equal(found, own(spikes)) and found.any()
