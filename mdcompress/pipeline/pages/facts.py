"""The folder of a run -> all that its pages say: recipe, record, layers, trainings, mismatch, hardware totals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, TypeAdapter

from intsnn.errors import reading
from intsnn.yaml.file import StrictModel, read_yaml
from mdcompress.errors import RunError
from mdcompress.pipeline.pages.histories import Curves, read_curves
from mdcompress.recipe import (
    BatchNormPolicy,
    InputPolicy,
    MembranePolicy,
    Recipe,
    WeightPolicy,
    dump_recipe,
    load_kept_recipe,
)
from mdcompress.runs import (
    HARDWARE_JSON_FILE,
    HISTORY_FILE,
    MISMATCH_FILE,
    PLAN_FILE,
    RECIPE_FILE,
    TEACHER_HISTORY_FILE,
    RunDirectory,
)
from mdcompress.runs.manifest import Manifest, Stage, file_hash


class Finding(StrictModel):
    """A neuron that was read off the network's code: where, and as what."""

    name: str
    place: str
    words: str


class PlannedLayer(StrictModel):
    """A node of plan.yaml and its policies."""

    name: str
    kind: str
    shape: tuple[int, ...]
    weight: WeightPolicy | None = None
    membrane: MembranePolicy | None = None
    batch_norm: BatchNormPolicy | None = None
    input: InputPolicy | None = None
    origin: dict[str, str] = Field(default_factory=dict)


class PlanFile(StrictModel):
    """plan.yaml."""

    model_config = ConfigDict(title="plan of a run")
    findings: tuple[Finding, ...] = ()
    nodes: tuple[PlannedLayer, ...]


class LayerFigures(StrictModel):
    """A neuron layer beside the teacher's, in the letters of `mdcompress.evaluation.mismatch`."""

    membrane: float
    teacher_rate: float
    student_rate: float
    rate_difference: float


class MismatchedLayer(StrictModel):
    """One neuron layer before and after the distillation."""

    neuron: str
    before: LayerFigures
    after: LayerFigures


class MismatchFile(StrictModel):
    """mismatch.json. Membranes in squared thresholds, rates in spikes per neuron and step."""

    schema_name: Literal["mdcompress.mismatch/1"] = Field(alias="schema")
    time_steps: int
    samples: int
    membrane_before: float
    membrane_after: float
    layers: tuple[MismatchedLayer, ...]


@dataclass(frozen=True)
class HardwareTotals:
    """The totals of hardware.json by key, in the units of the keys; None where the rules give none."""

    hardware: str
    totals: Mapping[str, float | None]


@dataclass(frozen=True)
class RunFacts:
    """One run as its folder has it.

    None: the stage that writes it has not been run, or its file is gone or changed.
    """

    folder: Path
    recipe: Recipe
    manifest: Manifest
    plan: PlanFile | None
    teaching: Curves | None
    distillation: Curves | None
    mismatch: MismatchFile | None

    @property
    def name(self) -> str:
        """The folder's name, by which people tell runs apart; of one of several students `4bit/T2`."""
        place = self.folder.resolve()
        return f"{place.parent.name}/{place.name}" if (place.parent / RECIPE_FILE).is_file() else place.name

    @property
    def recipe_text(self) -> str:
        """The resolved recipe as YAML."""
        return dump_recipe(self.recipe)

    @property
    def layers(self) -> tuple[PlannedLayer, ...]:
        """The nodes of the plan; none where there is no plan."""
        return () if self.plan is None else self.plan.nodes

    def measured(self, stage: Stage, figure: str) -> float | None:
        """A figure that a stage found; None where it has not been run or an earlier version did not keep it."""
        record = self.manifest.record(stage)
        return None if record is None else record.measured.get(figure)


def read_facts(run: RunDirectory) -> RunFacts:
    """Read all but the hardware's figures.

    Raises:
        RunError: there is no run in the folder.
        InvalidFileError: a file of it cannot be read.
    """
    if not run.file(RECIPE_FILE).is_file():
        raise RunError(
            f"{run.path} must hold a run (there is no {RECIPE_FILE} in it)",
            hints=["give the folder of a run, or the name of one under runs/"],
        )
    manifest = run.manifest()
    return RunFacts(
        folder=run.path,
        recipe=load_kept_recipe(run.file(RECIPE_FILE)),
        manifest=manifest,
        plan=_plan(run, manifest),
        teaching=_curves(run, manifest, Stage.TRAIN, TEACHER_HISTORY_FILE),
        distillation=_curves(run, manifest, Stage.DISTILL, HISTORY_FILE),
        mismatch=_mismatch(run, manifest),
    )


def read_hardware(run: RunDirectory) -> HardwareTotals | None:
    """The totals of hardware.json; None where `estimate-hw` has not been run."""
    path = _written(run, run.manifest(), Stage.ESTIMATE, HARDWARE_JSON_FILE)
    return None if path is None else read_totals(path)


def read_totals(path: Path) -> HardwareTotals:
    """Read the totals of a hardware.json; UnreadableFileError where it is none."""
    with reading(path, "the hardware figures of a run"):
        found = json.loads(path.read_bytes())
        wanted = {"hardware": found["hardware"], "totals": found["totals"]}
        return TypeAdapter(HardwareTotals).validate_json(json.dumps(wanted), strict=True)


def _plan(run: RunDirectory, manifest: Manifest) -> PlanFile | None:
    path = _written(run, manifest, Stage.QUANTIZE, PLAN_FILE)
    return None if path is None else read_yaml(path, PlanFile, schema="mdcompress.plan/1")


def _curves(run: RunDirectory, manifest: Manifest, stage: Stage, name: str) -> Curves | None:
    path = _written(run, manifest, stage, name)
    return None if path is None else read_curves(path)


def _mismatch(run: RunDirectory, manifest: Manifest) -> MismatchFile | None:
    path = _written(run, manifest, Stage.DISTILL, MISMATCH_FILE)
    return None if path is None else read_mismatch(path)


def read_mismatch(path: Path) -> MismatchFile:
    """Read mismatch.json; UnreadableFileError where it is none."""
    with reading(path, "the mismatch of a student and its teacher"):
        return MismatchFile.model_validate_json(path.read_bytes())


def _written(run: RunDirectory, manifest: Manifest, stage: Stage, name: str) -> Path | None:
    """A file of a finished stage; None where it has not been run, or the file is gone or no longer what it was."""
    record, path = manifest.record(stage), run.file(name)
    if record is None or not path.is_file() or file_hash(path) != record.outputs.get(name):
        return None
    return path
