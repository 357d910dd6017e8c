"""The facts of a run and its hardware report -> report.html: one page, nothing loaded from anywhere, no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from intsnn.estimation.report import HardwareReport
from intsnn.report.html.blocks import Section, table
from intsnn.report.html.header import header as hardware_header
from intsnn.report.html.markup import Html, tag
from intsnn.report.html.page import Part, document, hardware_sections
from mdcompress._version import __version__
from mdcompress.pipeline.pages.blocks import DASH, missing, style
from mdcompress.pipeline.pages.blocks import facts as listed
from mdcompress.pipeline.pages.facts import RunFacts
from mdcompress.pipeline.pages.layers import layers_section
from mdcompress.pipeline.pages.scores import scores_of
from mdcompress.pipeline.pages.sizes import sizes_section
from mdcompress.pipeline.pages.trainings import mismatch_section, rates_section, training_section
from mdcompress.pipeline.report import percent
from mdcompress.pipeline.sizes import Sizes
from mdcompress.runs.manifest import Stage

_SAID_OF_SIZES = ("size ", "numbers ")  # lines of an export's summary that stand under Sizes
_FOOTER = "Written by mdcompress estimate-hw from the files of the run; hardware.json has the figures of the hardware."


def run_page(run: RunFacts, hardware: HardwareReport, *, sizes: Sizes | None, command: str) -> str:
    """The page of a run; the same run and figures give the same text.

    Args:
        run: what its folder has.
        hardware: the figures that come with the page.
        sizes: of what was exported; None where nothing was.
        command: the command line that prices, and writes the page.
    """
    own = Part(
        _header(run),
        (
            _accuracy_section(run),
            sizes_section(sizes, run.recipe.quantize.weight.bit_width),
            training_section(run),
            mismatch_section(run),
            rates_section(run),
            _parity_section(run),
            layers_section(run),
            _stages_section(run, command),
        ),
    )
    of_hardware = Part(
        tag("div", hardware_header(hardware, of=run.name, heading="h2"), class_="part", id="hardware"),
        hardware_sections(hardware),
    )
    return document(f"{run.name}: a compressed network", (own, of_hardware), footer=_FOOTER, style=style())


def _header(run: RunFacts) -> Html:
    recipe, data = run.recipe, run.recipe.data
    model = recipe.model
    weights = "trained in this run" if Stage.TRAIN.value in run.manifest.stages else "trained elsewhere"
    newest = list(run.manifest.stages.values())[-1]
    network = "not named" if model is None else model.builder
    if model is not None and model.weights is not None:
        weights = f"from {model.weights}"
    entries = (
        ("recipe", recipe.name),
        ("network", f"{network}, weights {weights}"),
        ("data", f"{data.name}, T = {data.time_steps}, {data.encoding} encoding"),
        ("seed", str(recipe.seed)),
        ("mdcompress", __version__),
        ("finished", newest.finished),
    )
    return tag(
        "header", tag("p", "Compressed network", class_="kind"), tag("h1", run.name), tag("p", recipe.summary),
        listed(entries),
    )  # fmt: skip


def _accuracy_section(run: RunFacts) -> Section:
    scores = scores_of(run)
    columns = ("network", "T", "test accuracy", "test samples", "membrane mismatch")
    rows = (
        (
            score.network,
            str(score.time_steps),
            percent(score.accuracy),
            "not recorded" if score.samples is None else f"{score.samples:,}",
            "-" if score.mismatch is None else f"{score.mismatch:.4f}",
        )
        for score in scores
    )
    shown = table(columns, rows)
    return Section("accuracy", "Accuracy", (shown, *_notes_on_accuracy(run)))


def _notes_on_accuracy(run: RunFacts) -> Iterator[Html]:
    samples = run.measured(Stage.QUANTIZE, "test_samples")
    if samples:
        yield tag("p", f"One test sample is {100 / samples:.2f} points.")
    if run.measured(Stage.DISTILL, "test_accuracy") is None:
        yield missing("`distill` has not been run: what is exported and priced is the quantized student.")
    if run.mismatch is not None:
        words = "Membrane mismatch: mean squared difference to the teacher's membrane potentials before reset, in"
        where = f"{run.mismatch.samples:,} validation samples"
        yield tag("p", f"{words} squared thresholds; mean over layers, on {where}, T = {run.mismatch.time_steps}.")


def _parity_section(run: RunFacts) -> Section:
    record = run.manifest.record(Stage.EXPORT)
    if record is None:
        return Section("parity", "Parity", (missing("`export` has not been run."),))
    lines = (line.partition(" ") for line in record.summary.splitlines() if not line.startswith(_SAID_OF_SIZES))
    entries = tag("div", listed((name, words.strip()) for name, _, words in lines if name), class_="words")
    spikes = run.measured(Stage.EXPORT, "parity_spikes")
    counted = () if spikes is None else (tag("p", f"{spikes:,.0f} of the compared values are spikes that were fired."),)
    return Section("parity", "Parity of the export", (entries, *counted))


def _stages_section(run: RunFacts, command: str) -> Section:
    columns = ("stage", "took", "finished", "version", "command")
    shown = table(columns, _stage_rows(run, command))
    recipe = tag("details", tag("summary", "The recipe in full"), tag("pre", run.recipe_text))
    return Section("stages", "How it was made", (shown, recipe))


def _stage_rows(run: RunFacts, command: str) -> Iterable[tuple[str | Html, ...]]:
    for stage in Stage:
        record = run.manifest.record(stage)
        if stage is Stage.ESTIMATE:  # it writes this page before it is recorded: a record is of the one before
            yield stage.value, DASH, "with this page", __version__, tag("code", command)
        elif record is None:
            yield stage.value, DASH, "not run", DASH, DASH
        else:
            done = tag("code", record.command)
            yield stage.value, f"{record.seconds:,.1f} s", record.finished, record.version, done
