"""Several runs -> one row each, or an error that names why their figures cannot stand side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from intsnn.errors import UsageError
from intsnn.estimation.report import TOTALS, Total, Unavailable
from intsnn.report.markdown import quantity
from mdcompress.data.names import DATA_SETS
from mdcompress.errors import RunError
from mdcompress.pipeline.pages.facts import HardwareTotals, RunFacts, read_facts, read_hardware
from mdcompress.pipeline.pages.scores import final_score, scores_of
from mdcompress.runs import RunDirectory
from mdcompress.runs.manifest import Stage, StageRecord

Hardwares = Literal["equal", "any"]

COMPARED_TOTALS = ("energy_pj", "latency_ns", "area_um2", "power_mw", "edap_pj_ns_um2", "effective_tops_per_w")
_OF_A_FOLDER = ("image_folder",)  # sets whose name does not say which samples they have


@dataclass(frozen=True)
class ComparedRun:
    """One run. Accuracies in [0, 1], on test_samples; bits as they occur; units in the names; None: not measured.

    run: the folder's name, or where two have one name, the folder. network: which one is compared, the distilled
    student where there is one. latency_ns: per inference, where a batch of them shares loads of
    weights. membrane_mismatch: squared thresholds, mean over layers. parameter_bytes: weights and
    constants as deployed. spike_rate: spikes per neuron and step of the exported network.
    """

    run: str
    network: str | None
    time_steps: int
    weight_bits: str
    membrane_bits: str
    teacher_accuracy: float | None
    test_accuracy: float | None
    test_samples: int | None
    membrane_mismatch: float | None
    spike_rate: float | None
    parameter_bytes: float | None
    ratio_to_float32: float | None
    hardware: str | None
    energy_pj: float | None
    latency_ns: float | None
    area_um2: float | None
    power_mw: float | None
    edap_pj_ns_um2: float | None
    effective_tops_per_w: float | None

    def total(self, key: str) -> float | None:
        """One of COMPARED_TOTALS."""
        found = getattr(self, key)
        return None if found is None else float(found)

    def in_words(self, key: str) -> str:
        """The same as the command line has it; a dash where there is none."""
        kind = next(kind for kind in TOTALS if kind.key == key)
        value = self.total(key)
        figure = Unavailable("not measured") if value is None else value
        return "-" if value is None else quantity(Total(kind.key, kind.label, kind.unit, figure))


@dataclass(frozen=True)
class Comparison:
    """Runs of one data set, scored on the same test samples; priced on one description, or `hardware` says so."""

    data: str
    runs: tuple[ComparedRun, ...]

    def to_csv(self) -> str:
        """A line a run."""
        text = io.StringIO()
        names = [field.name for field in fields(ComparedRun)]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: "" if value is None else value for name, value in asdict(run).items()} for run in self.runs
        )
        return text.getvalue()


def compare_runs(folders: Sequence[RunDirectory], *, hardwares: Hardwares = "equal") -> Comparison:
    """Read the runs and set them side by side.

    Args:
        folders: of the runs, in the order of the rows.
        hardwares: whether all must be priced on the same description.

    Raises:
        UsageError: there are fewer than two, or one is there twice.
        RunError: a result is stale, or two runs have other data, another test part or other hardware.
    """
    _require_several(folders)
    runs = [(read_facts(folder), read_hardware(folder)) for folder in folders]
    for folder, (run, _) in zip(folders, runs, strict=True):
        _require_current(folder, run)
    facts = [one for one, _ in runs]
    _require_equal(facts, _data, "data", "compare runs of one data set")
    _require_same_test_part(facts)
    if hardwares == "equal":
        _require_same_hardware([one for one, hardware in runs if hardware is not None])
    names = [run.name for run in facts]
    if len(set(names)) < len(names):
        names = [str(folder.path) for folder in folders]
    rows = (_compared(name, *run) for name, run in zip(names, runs, strict=True))
    return Comparison(facts[0].recipe.data.name, tuple(rows))


def _require_several(folders: Sequence[RunDirectory]) -> None:
    if len(folders) < 2:
        raise UsageError(
            f"a comparison needs at least two runs (got {len(folders)})",
            hints=["name them: `mdcompress compare runs/8bit runs/4bit`"],
        )
    places = [folder.path.resolve() for folder in folders]
    twice = [str(folder.path) for folder, place in zip(folders, places, strict=True) if places.count(place) > 1]
    if twice:
        raise UsageError(f"each run is compared once (got {', '.join(twice)})", hints=["name each run once"])


def _require_current(folder: RunDirectory, facts: RunFacts) -> None:
    """RunError where what a stage left is not what the stages before it give now."""
    records = facts.manifest.stages
    settings = {key: value for record in records.values() for key, value in record.settings.items()}
    for stage in Stage:
        if facts.manifest.record(stage) is None:
            continue
        if reasons := folder.stale(stage, settings):
            raise RunError(
                f"the result of `{stage.value}` in {folder.path} is stale: {'; '.join(reasons)}",
                hints=[f"do it again: `mdcompress run --run {folder.path} --force`"],
            )


def _require_equal(runs: Sequence[RunFacts], read: Callable[[RunFacts], str], what: str, hint: str) -> None:
    first, *others = runs
    for other in others:
        if read(other) != read(first):
            raise RunError(
                f"runs are compared on the same {what}: {first.folder} has {read(first)}, {other.folder} {read(other)}",
                hints=[hint],
            )


def _data(run: RunFacts) -> str:
    data = run.recipe.data
    return data.name if data.encoding == "direct" else f"{data.name} with {data.encoding} encoding"


def _require_same_test_part(runs: Sequence[RunFacts]) -> None:
    name = runs[0].recipe.data.name
    known = [run for run in runs if run.measured(Stage.QUANTIZE, "test_samples") is not None]
    tested = [run for run in runs if run.manifest.record(Stage.QUANTIZE) is not None]
    if name not in DATA_SETS or name in _OF_A_FOLDER:
        for run in tested:
            if run not in known:
                raise RunError(
                    f"the record of {run.folder} must say which test samples its accuracy is of (it is of an earlier "
                    f"version, and {name} may have others in each run)",
                    hints=[f"do it again: `mdcompress run --run {run.folder} --force`"],
                )
    if known:
        _require_equal(known, _test_part, "test samples", "score them on one test part: with one seed, and one folder")


def _test_part(run: RunFacts) -> str:
    samples, labels = (run.measured(Stage.QUANTIZE, name) for name in ("test_samples", "test_labels_crc32"))
    return f"{samples or 0:,.0f} (labels {int(labels or 0):08x})"


def _require_same_hardware(runs: Sequence[RunFacts]) -> None:
    if runs:
        hint = "price them on one: `mdcompress estimate-hw --run … --hardware … --force`; or add --across-hardware"
        _require_equal(runs, _priced_on, "hardware", hint)


def _priced_on(run: RunFacts) -> str:
    record = run.manifest.stages[Stage.ESTIMATE.value]
    settings = [f"{key} {value}" for key, value in sorted(record.settings.items()) if value != "null"]
    return ", ".join([*settings, *_descriptions(record)])


def _descriptions(record: StageRecord) -> list[str]:
    """A description of the user's own, by its hash: two may have one name."""
    return [f"SHA-256 {digest[:8]}" for name, digest in record.inputs.items() if name.endswith((".yaml", ".yml"))]


def _compared(name: str, run: RunFacts, hardware: HardwareTotals | None) -> ComparedRun:
    score = final_score(run)
    teacher = next((one for one in scores_of(run) if one.network == "teacher"), None)
    totals: Mapping[str, float | None] = {} if hardware is None else hardware.totals
    return ComparedRun(
        run=name,
        network=None if score is None else score.network,
        time_steps=max(run.recipe.student_step_counts),
        weight_bits=_bits([layer.weight.bit_width for layer in run.layers if layer.weight is not None]),
        membrane_bits=_bits([layer.membrane.bit_width for layer in run.layers if layer.membrane is not None]),
        teacher_accuracy=None if teacher is None else teacher.accuracy,
        test_accuracy=None if score is None else score.accuracy,
        test_samples=None if score is None else score.samples,
        membrane_mismatch=None if score is None else score.mismatch,
        spike_rate=run.measured(Stage.EXPORT, "mean_spike_rate"),
        parameter_bytes=run.measured(Stage.EXPORT, "deployed_parameter_bytes"),
        ratio_to_float32=run.measured(Stage.EXPORT, "ratio_to_float32"),
        hardware=None if hardware is None else hardware.hardware,
        **{key: totals.get(key) for key in COMPARED_TOTALS} | _time(totals),
    )


def _time(totals: Mapping[str, float | None]) -> dict[str, float | None]:
    """Latency of an inference: the time per inference, which figures from before there were batches do not have."""
    return {"latency_ns": totals.get("inference_time_ns", totals.get("latency_ns"))}


def _bits(widths: Sequence[float]) -> str:
    return ", ".join(f"{width:g}" for width in sorted(set(widths))) or "-"
