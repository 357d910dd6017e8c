"""Histories and mismatch of a run -> its training curves, and bars of each layer before and after distillation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from intsnn.report.html.blocks import Section, figure, table
from intsnn.report.html.markup import Html, tag
from intsnn.report.words import readable
from mdcompress.pipeline.kept_epoch import SCORES, kept_scores
from mdcompress.pipeline.pages.blocks import missing
from mdcompress.pipeline.pages.charts import Pair, line_chart, pair_legend, paired_bars
from mdcompress.pipeline.pages.facts import MismatchFile, RunFacts
from mdcompress.pipeline.pages.histories import Curves, Points
from mdcompress.pipeline.report import percent
from mdcompress.recipe import DistillSpec
from mdcompress.runs.manifest import Stage

_LOSSES = "Parts of the loss, each before its weight, and their weighted total"
_NOT_DISTILLED = "`distill` has not been run."


def training_section(run: RunFacts) -> Section:
    """The curves of teacher and student."""
    return Section("training", "Training", (*_of_teacher(run), *_of_student(run)))


def mismatch_section(run: RunFacts) -> Section:
    """How far each layer's membranes are from the teacher's."""
    found = run.mismatch
    if found is None:
        return Section("mismatch", "Mismatch by layer", (missing(_why_not(run, "mismatch.json")),))
    pairs = [
        Pair(
            layer.neuron,
            layer.before.membrane,
            layer.after.membrane,
            f"{readable(layer.before.membrane)} → {readable(layer.after.membrane)}",
        )
        for layer in found.layers
    ]
    worst = max(found.layers, key=lambda layer: layer.after.membrane)
    chart = figure(
        "Membrane mismatch of each layer with the teacher, squared thresholds",
        tag("div", pair_legend("quantized", "distilled"), paired_bars(pairs)),
        alt=f"Two bars for each layer. {worst.neuron} is farthest from the teacher, {readable(worst.after.membrane)}.",
        numbers=_mismatch_numbers(found),
        note=f"Mean over layers: {found.membrane_before:.4f} quantized, {found.membrane_after:.4f} distilled; "
        f"{found.samples:,} validation samples, T = {found.time_steps}.",
    )
    return Section("mismatch", "Mismatch by layer", (chart,))


def rates_section(run: RunFacts) -> Section:
    """How often each layer fires, beside the teacher's."""
    found = run.mismatch
    if found is None:
        return Section("rates", "Spike rates", (missing(_why_not(run, "mismatch.json")), *_exported_rate(run)))
    pairs = [
        Pair(
            layer.neuron,
            layer.before.student_rate,
            layer.after.student_rate,
            f"{percent(layer.after.student_rate)}, teacher {percent(layer.after.teacher_rate)}",
            against=layer.after.teacher_rate,
        )
        for layer in found.layers
    ]
    most = max(found.layers, key=lambda layer: layer.after.student_rate)
    chart = figure(
        "Spikes per neuron and step",
        tag("div", pair_legend("quantized", "distilled", "teacher"), paired_bars(pairs)),
        alt=f"Two bars for each layer and a mark for the teacher. {most.neuron} fires most, "
        f"{percent(most.after.student_rate)}.",
        numbers=_rate_numbers(found),
        note=f"{found.samples:,} validation samples, T = {found.time_steps}.",
    )
    return Section("rates", "Spike rates", (chart, *_exported_rate(run)))


def _of_teacher(run: RunFacts) -> tuple[Html, ...]:
    heading = tag("h3", "Teacher")
    if run.teaching is not None:
        return (heading, _charts(run.teaching, "Teacher"))
    model = run.recipe.model
    if run.manifest.record(Stage.TRAIN) is not None:
        words = "teacher_history.csv is gone or no longer what `train` wrote."
    elif model is not None and model.trained is not None:
        words = f"`train` has not been run: the weights come from {model.trained}."
    else:
        words = "`train` has not been run."
    return (heading, missing(words))


def _of_student(run: RunFacts) -> tuple[Html, ...]:
    heading = tag("h3", "Student, under the teacher")
    if run.distillation is None:
        return (heading, missing(_why_not(run, "history.csv")))
    if run.distillation.epochs == 0:
        return (heading, missing("There was nothing to train: distill.epochs is 0."))
    return (heading, *_what_was_kept(run), _charts(run.distillation, "Student", _sum_in_words(run.recipe.distill)))


def _what_was_kept(run: RunFacts) -> Iterator[Html]:
    """What `distill` said of the epoch that it kept and of those that it refused, and the scores of both."""
    record = run.manifest.record(Stage.DISTILL)
    if record is None:
        return
    for line in record.summary.splitlines():
        name, _, words = line.partition(" ")
        if name in ("kept", "refused"):
            yield tag("p", tag("b", name), f" {words.strip()}")
    rows = kept_scores(record.measured)
    if rows:
        yield table(SCORES, rows)


def _sum_in_words(spec: DistillSpec) -> str:
    """`total = 1 × task + 4 × logits`: the parts of the loss with the weights that the recipe gives them."""
    parts = {
        "task": spec.task,
        "logits": spec.logits,
        "membrane": spec.membrane,
        "rates": spec.rates,
        "sparsity": spec.sparsity,
    }
    terms = (f"{part.weight:g} × {name}" for name, part in parts.items() if part is not None)
    return f"total = {' + '.join(terms)}"


def _charts(curves: Curves, whose: str, total: str = "") -> Html:
    """total: what the total is the sum of."""
    return tag("div", *_figures(curves, whose, total), class_="charts")


def _figures(curves: Curves, whose: str, total: str) -> Iterator[Html]:
    kept = "" if curves.kept is None else f" Epoch {curves.kept} was kept."
    wanted = (
        ("Accuracy", "accuracy, %", curves.accuracies, False, ""),
        (_LOSSES if total else "Loss", "loss", {**curves.losses, **curves.totals}, True, total),
        ("Loss of each layer", "loss of a layer", curves.layers, True, ""),
    )
    for title, label, lines, logarithmic, note in wanted:
        if lines:
            yield figure(
                title,
                line_chart(lines, y_label=label, kept=curves.kept, logarithmic=logarithmic),
                alt=f"{whose}: {', '.join(lines)} over {curves.epochs} epochs.{kept}",
                numbers=_curve_numbers(lines),
                note=note,
            )


def _curve_numbers(lines: Mapping[str, Points]) -> Html:
    epochs = sorted({epoch for points in lines.values() for epoch, _ in points})
    at = {name: dict(points) for name, points in lines.items()}
    rows = (
        (f"{epoch:.0f}", *("-" if epoch not in at[name] else f"{at[name][epoch]:.4g}" for name in lines))
        for epoch in epochs
    )
    return table(("epoch", *lines), rows)


def _mismatch_numbers(found: MismatchFile) -> Html:
    columns = ("layer", "quantized", "distilled", "rate difference quantized", "rate difference distilled")
    rows = (
        (
            layer.neuron,
            readable(layer.before.membrane),
            readable(layer.after.membrane),
            percent(layer.before.rate_difference),
            percent(layer.after.rate_difference),
        )
        for layer in found.layers
    )
    return table(columns, rows)


def _rate_numbers(found: MismatchFile) -> Html:
    columns = ("layer", "teacher", "quantized", "distilled")
    rows = (
        (
            layer.neuron,
            percent(layer.after.teacher_rate),
            percent(layer.before.student_rate),
            percent(layer.after.student_rate),
        )
        for layer in found.layers
    )
    return table(columns, rows)


def _exported_rate(run: RunFacts) -> tuple[Html, ...]:
    rate, samples = run.measured(Stage.EXPORT, "mean_spike_rate"), run.measured(Stage.EXPORT, "parity_samples")
    if rate is None or samples is None:
        return ()
    return (tag("p", f"The exported network, on {samples:,.0f} test samples: mean spike rate {percent(rate, 1)}."),)


def _why_not(run: RunFacts, file: str) -> str:
    if run.manifest.record(Stage.DISTILL) is None:
        return _NOT_DISTILLED
    return f"{file} is gone or no longer what `distill` wrote."
