"""Adapters, tracing and the table of refusals -> docs/frameworks/support.md: what is supported, what is not, and why.

`python -m mdcompress.reference.support_page > docs/frameworks/support.md` writes it; it needs the frameworks (extra
`frameworks`), since every neuron in it is made, described and probed. A test holds that the page is current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

from mdcompress.adapters import REFUSALS, Refusal, describe_neuron, probe, shipped
from mdcompress.adapters.calling import calling_of
from mdcompress.adapters.samples import Sample
from mdcompress.graph import (
    ActivationSpec,
    AffineSpec,
    Carries,
    InputSpec,
    NeuronModel,
    NodeKind,
    Numbers,
    ReadoutSpec,
    SnnGraph,
    SnnNode,
    SynapseSpec,
    channel_values,
)
from mdcompress.planning import plan
from mdcompress.recipe import load_recipe
from mdcompress.tracing.modules import layer_classes
from mdcompress.tracing.specs import FUNCTIONAL_POOLS

_INTRODUCTION = """\
# What is supported

This page is written by `python -m mdcompress.reference.support_page` from the adapters, the tracer and the table of
refusals; each neuron below was made, described and run beside its description when it was written. The tests run every
one of them, with more options than its defaults, as student, interpreter and onnxruntime on more than 100,000 spikes.

Pages with examples: [SpikingJelly](spikingjelly.md), [snnTorch](snntorch.md), [Norse](norse.md), [sinabs](sinabs.md),
[a neuron of one's own](own.md).
"""

_NEURONS = """\
## Neurons

`h` is the membrane before the comparison, `v` what is stored, `x` the current, `s` the spikes, `s'` those of the step
before, `W` the weights of a recurrent neuron: a linear layer, a convolution, or one weight for each neuron. Where a
neuron holds weights for its input too (Norse's recurrent cells and `LILinearCell`, SpikingJelly's
`LinearRecurrentContainer`), `x` is what they give, and they are a synapse of the graph, `<neuron>.input`, as `W`
is, `<neuron>.recurrent`. A neuron that puts out `h` never fires: it is the last of a network, and its membrane the
answer.

The equations are those of each class with the options shown; other options change the numbers, the reset and the
comparison, and a subclass that keeps the equation is recognised too. Recognition is by class and package name, and the
probe runs the user's own module beside the equation whenever a network is traced. Neurons of SpikingJelly take
`[T, N, ...]` in step mode `m`; the classes of its releases before 2.0 stand
[on its own page](spikingjelly.md#older-releases).
"""

_LAYERS = """\
## Layers and functions

These become nodes, or vanish in evaluation; containers (`nn.Sequential`, SpikingJelly's `SeqToANNContainer` and
`MultiStepContainer`, Norse's `SequentialState` and `Lift`, modules of one's own) are looked through. Between layers:
`+` of spikes or of currents, `*` of spikes, `a * (1 - b)`, a constant factor, `@` of spikes, `torch.cat` and `stack` on
any axis, reshapes, transposes, slices, pixel and channel shuffles, nearest upsampling, sums and means within a sample,
and mean, sum, maximum or last step over time at the end. Steps are taken and joined as `x[t]`, `torch.stack(steps)` or
`outputs[t] = y`. A batch norm may differ from step to step, and a module may stand in several places.
"""

_POLICIES = """\
## Policies

Every neuron and layer above takes every value of its section of the recipe; pairs that cannot be are refused when the
plan is made, with the node's name. [The recipe keys](../../recipes/README.md) have the values.
"""

_REFUSALS = """\
## Refused, and why

A network that holds one of these is refused before it is trained, traced or run. The message names the neuron, its
class, the reason and what to do.
"""


_SECTIONS = ("weight", "batch_norm", "membrane", "input")
DESCRIBED: Mapping[NodeKind, str] = {
    "input": "the network's input",
    "synapse": "synapse, with the batch norm or bias that follows it",
    "affine": "batch norm that follows no synapse",
    "neuron": "neuron of any class",
    "digitizer": "currents that a synapse reads",
}


def samples() -> Mapping[str, tuple[Sample, ...]]:
    """Every class that the adapters describe, by the name of its library."""
    return {library.title: library.samples() for library in shipped.ADAPTERS if library.title}


def support_table() -> str:
    """The text of docs/frameworks/support.md."""
    parts = [_INTRODUCTION, _NEURONS]
    for library, rows in samples().items():
        lines = [f"### {library}", "", "| class | takes | equation |", "|---|---|---|"]
        parts.append("\n".join([*lines, *map(neuron_row, rows)]))
    parts += [_LAYERS + "\n" + "\n".join(_layer_rows()), _POLICIES + "\n" + "\n".join(_policy_rows())]
    parts.append(_REFUSALS + "\n" + "\n".join(_refusal_rows(REFUSALS)))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def neuron_row(sample: Sample) -> str:
    """A row of the table of neurons: the class is made, described and probed."""
    module = sample.make()
    model = describe_neuron(module)
    assert model is not None, f"{sample.name} is described by an adapter"
    probe(sample.name, module, model)
    axes = calling_of(module).axes
    takes = "[T, N, ...]" if axes is None else f"[{', '.join(axes)}, ...]".replace("NT", "N*T")
    return f"| `{sample.name}({sample.arguments})` | `{takes}` | `{equation(model)}` |"


def equation(model: NeuronModel) -> str:
    """A canonical neuron in one line, without what is zero or one."""
    current = "x" if model.recurrent is None else "(x + W s')"
    parts = []
    if model.has_synapse:
        parts.append(f"i = {_sum((_number(model.synapse_decay), 'i'), (_number(model.synapse_gain), current))}")
        current = "i"
    terms = [(_number(model.decay), "v"), (_number(model.input_gain), current), (_number(model.drive), "")]
    late = model.timing == "after_leak" and model.reset == "soft"
    charge = _sum(*terms) + (" - " + _times(model.soft_amount, "s'") if late else "")
    charge = f"({charge})(1 - s')" if model.timing == "masked" else charge
    parts.append(
        f"h = max({charge}, {_number(model.floor_value)})" if model.floor == "before_fire" else f"h = {charge}"
    )
    parts.append(_spikes(model))
    parts.append(_reset(model))
    return "; ".join(part for part in parts if part)


def _number(value: Numbers | None) -> str:
    values = channel_values(0.0 if value is None else value)
    return f"{values[0]:.4g}" if len(set(values)) == 1 else "per channel"


def _times(value: Numbers, symbol: str) -> str:
    """Factor times symbol."""
    factor = _number(value)
    return symbol if factor == "1" else f"{factor} {symbol}"


def _sum(*terms: tuple[str, str]) -> str:
    """Factors times symbols, as a sum; `1` is left out before a symbol, and `0` with it."""
    words = [symbol if factor == "1" and symbol else f"{factor} {symbol}".strip() for factor, symbol in terms
             if factor not in ("0", "-0")]  # fmt: skip
    return " + ".join(words) or "0"


def _spikes(model: NeuronModel) -> str:
    threshold = _number(model.threshold)
    most = "" if model.max_spikes is None else f", at most {model.max_spikes}"
    if model.output == "membrane":
        return "puts out h"
    levels = "h" if threshold == "1" else f"h / {threshold}"
    match model.spike:
        case "floor":
            return f"s = floor({levels}), at least 0{most}"
        case "round":
            return f"s = round({levels}), at least 0{most}"
        case "binary":
            seen = f"h - {_times(model.threshold, f'[v > {threshold}]')}" if model.rearm == "double" else "h"
            return f"s = [{seen} {'>=' if model.comparator == 'greater_equal' else '>'} {threshold}]"
        case _:
            assert_never(model.spike)


def _reset(model: NeuronModel) -> str:
    floor = f"; v = max(v, {_number(model.floor_value)})" if model.floor == "after_reset" else ""
    if model.timing != "same_step":
        return f"v = h{floor}"
    match model.reset:
        case "hard":
            return f"v = {_number(model.reset_value)} where s, else h{floor}"
        case "soft":
            return f"v = h - {_times(model.soft_amount, 's')}{floor}"
        case "none":
            return f"v = h{floor}"
        case _:
            assert_never(model.reset)


def _layer_rows() -> Iterator[str]:
    names = [layer.__name__.removeprefix("_") for layer in layer_classes()]
    yield "| | |"
    yield "|---|---|"
    yield f"| modules, and the libraries' subclasses of them | {', '.join(f'`{name}`' for name in sorted(names))} |"
    yield f"| functions | {', '.join(f'`{name}`' for name in sorted(FUNCTIONAL_POOLS))} |"


def _policy_rows() -> Iterator[str]:
    yield "| node | sections of the recipe's `quantize` |"
    yield "|---|---|"
    for node in plan(load_recipe("8bit"), _one_of_each()).nodes:
        sections = ", ".join(f"`{section}`" for section in _SECTIONS if getattr(node, section) is not None)
        if sections:
            yield f"| {DESCRIBED[node.kind]} | {sections} |"


def _one_of_each() -> SnnGraph:
    """A graph with one node of every kind that has a policy."""
    neuron = NeuronModel(0.5, 1.0, 0.0, 1.0, "greater_equal", "hard", 0.0, 1.0, 0.0)
    layer = SynapseSpec("linear", (4, 4), (1, 1), (0, 0), (1, 1), 1, True, None)
    return SnnGraph(
        (
            SnnNode("input", InputSpec(), (), (4,), Carries.INPUT),
            SnnNode("layer", layer, ("input",), (4,), Carries.CURRENT),
            SnnNode("neuron", neuron, ("layer",), (4,), Carries.SPIKES),
            SnnNode("norm", AffineSpec("norm"), ("neuron",), (4,), Carries.CURRENT),
            SnnNode("digits", ActivationSpec(), ("norm",), (4,), Carries.SPIKES),
            SnnNode("readout", ReadoutSpec("mean"), ("digits",), (4,), Carries.SPIKES),
        ),
        time_steps=1,
    )


def _refusal_rows(refusals: Sequence[Refusal]) -> Iterator[str]:
    yield "| library | classes | refused when | reason | instead |"
    yield "|---|---|---|---|---|"
    for row in refusals:
        classes = ", ".join(f"`{name}`" for name in row.classes) or "any"
        yield f"| {row.library} | {classes} | {row.when or 'always'} | {row.reason} | {row.hint} |"


if __name__ == "__main__":
    sys.stdout.write(support_table())
