"""plan.yaml -> the table of layers with their bits, and what was read off the network's code."""

from __future__ import annotations

from collections.abc import Iterator

from intsnn.report.html.blocks import Section, table
from intsnn.report.html.markup import Html, tag
from mdcompress.pipeline.pages.blocks import DASH, missing
from mdcompress.pipeline.pages.facts import PlanFile, PlannedLayer, RunFacts
from mdcompress.pipeline.report import bits_in_words

_COLUMNS = ("layer", "kind", "shape", "input", "weights", "membrane", "scale and offset", "set by")


def layers_section(run: RunFacts) -> Section:
    """Each layer and its bits."""
    if run.plan is None:
        return Section("layers", "Layers and bits", (missing("plan.yaml is not there, or not what `quantize` wrote."),))
    shown = table(_COLUMNS, (_cells(layer) for layer in run.plan.nodes))
    return Section("layers", "Layers and bits", (shown, *_findings(run.plan)))


def _cells(layer: PlannedLayer) -> tuple[str, ...]:
    norm = layer.batch_norm
    return (
        layer.name,
        layer.kind,
        "×".join(map(str, layer.shape)),
        DASH if layer.input is None else f"up to {bits_in_words(layer.input.bit_width)}",
        DASH if layer.weight is None else bits_in_words(layer.weight.bit_width),
        DASH if layer.membrane is None else bits_in_words(layer.membrane.bit_width),
        DASH if norm is None else f"{norm.scale_bit_width} and {norm.shift_bit_width} bits",
        ", ".join(_rules(layer)) or DASH,
    )


def _rules(layer: PlannedLayer) -> Iterator[str]:
    """The rules that people wrote about the bits of weights and membranes, each once."""
    kinds = ("weight.bit_width", "membrane.bit_width", "input.bit_width")
    yield from dict.fromkeys(rule for kind in kinds if (rule := layer.origin.get(kind)) and rule != "automatic")


def _findings(plan: PlanFile) -> tuple[Html, ...]:
    if not plan.findings:
        return ()
    rows = ((one.name, one.place, one.words) for one in plan.findings)
    return tag("h3", "Read off the network's code"), table(("neuron", "place", "read as"), rows)
