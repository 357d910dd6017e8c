"""Which keys of a recipe make which stage stale, held against a run that an earlier version recorded."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mdcompress.data.names import Download
from mdcompress.pipeline.workspace import Compute, Listener, Workspace, default_read_by, stages_reading
from mdcompress.recipe import Recipe, load_kept_recipe
from mdcompress.runs import Overwrite, RunDirectory
from mdcompress.runs.manifest import Manifest, Stage
from tests.support.paths import DATA

EARLIER = DATA / "earlier_run"  # run.json and recipe.yaml of `mdcompress run --recipe 4bit` before keys named stages
FROM_RECIPE = (Stage.TRAIN, Stage.QUANTIZE, Stage.DISTILL, Stage.EXPORT)


@pytest.fixture
def earlier(tmp_path: Path, listener: Listener) -> Workspace:
    """The earlier run, of whose files only the record is there."""
    folder = tmp_path / "4bit"
    shutil.copytree(EARLIER, folder)
    recipe = load_kept_recipe(folder / "recipe.yaml")
    compute = Compute("cpu", None, Download.NEVER)
    return Workspace(RunDirectory(folder), recipe, compute, Overwrite.NEVER, "mdcompress run", "", listener)


@pytest.fixture
def listener() -> Listener:
    class Nobody:
        def note(self, message: str) -> None:
            raise AssertionError(message)

        def training(self, title: str) -> None:
            raise AssertionError(title)

    return Nobody()  # type: ignore[return-value]


def changed(workspace: Workspace, *changes: str) -> Workspace:
    return replace(workspace, recipe=load_kept_recipe(workspace.run.file("recipe.yaml"), changes=changes))


def reasons(workspace: Workspace, stage: Stage) -> list[str]:
    """Why a stage is stale, without the files, which are not there."""
    return [reason for reason in workspace.stale(stage) if not reason.endswith(" is gone")]


def forgetting(workspace: Workspace, key: str) -> Workspace:
    """The run as recorded by a version that had no such key."""
    manifest = workspace.run.manifest()
    stages = {
        name: replace(record, settings={known: value for known, value in record.settings.items() if known != key})
        for name, record in manifest.stages.items()
    }
    workspace.run.write_manifest(Manifest(stages=stages))
    return workspace


@pytest.mark.parametrize("stage", FROM_RECIPE)
def test_stage_depends_on_what_an_earlier_version_recorded_in_the_same_order(earlier: Workspace, stage: Stage) -> None:
    record = earlier.run.record(stage)
    assert record is not None and len(record.settings) > 3
    found = earlier.start(stage).origin.settings
    assert [item for item in found.items() if item[0] in record.settings] == list(record.settings.items())
    added = found.keys() - record.settings.keys()  # keys of later versions, at their defaults
    assert {key: found[key] for key in added} == {key: default_read_by(key, stage) for key in added}


@pytest.mark.parametrize("stage", FROM_RECIPE)
def test_run_of_an_earlier_version_is_not_stale(earlier: Workspace, stage: Stage) -> None:
    assert reasons(earlier, stage) == []


@pytest.mark.parametrize(
    ("change", "first", "reason"),
    [
        ("teacher.epochs=3", Stage.TRAIN, "`teacher.epochs` was 20, now it is 3"),
        ("train.ema=0.9", Stage.TRAIN, "`train.ema` was null, now it is 0.9"),
        ("quantize.membrane.bit_width=3", Stage.QUANTIZE, "`quantize.membrane.bit_width` was 4, now it is 3"),
        ("calibrate.offsets=keep", Stage.QUANTIZE, '`calibrate.offsets` was "correct", now it is "keep"'),
        ("data.calibration_samples=9", Stage.QUANTIZE, "`data.calibration_samples` was 512, now it is 9"),
        ("distill.time_steps=[4]", Stage.QUANTIZE, "`distill.time_steps` was null, now it is [4]"),
        ("train.optimizer.lr=0.1", Stage.DISTILL, "`train.optimizer.lr` was 0.002, now it is 0.1"),
        ("distill.rates={}", Stage.DISTILL, "`distill.rates` was null, now it is given"),
        ("distill.membrane=null", Stage.DISTILL, "`distill.membrane` was given, now it is null"),
        ("distill.membrane.layer_weights={conv1: 2}", Stage.DISTILL,
         "`distill.membrane.layer_weights` was {}, now it is given"),
    ],
)  # fmt: skip
def test_changed_key_makes_stale_the_stage_that_reads_it_and_those_after(
    earlier: Workspace, change: str, first: Stage, reason: str
) -> None:
    now = changed(earlier, change)
    for stage in FROM_RECIPE:
        after = FROM_RECIPE.index(stage) >= FROM_RECIPE.index(first)
        assert reasons(now, stage) == ([reason] if after else [])


@pytest.mark.parametrize("change", ["name=other", "summary=other", "data.folder=elsewhere"])
def test_key_that_decides_no_result_makes_nothing_stale(earlier: Workspace, change: str) -> None:
    assert all(reasons(changed(earlier, change), stage) == [] for stage in FROM_RECIPE)


@pytest.mark.parametrize(
    ("key", "other", "first"),
    [("teacher.autocast", "bfloat16", Stage.TRAIN), ("calibrate.weights", "nearest", Stage.QUANTIZE),
     ("distill.membrane.align", "mean", Stage.DISTILL)],
)  # fmt: skip
def test_key_that_a_record_does_not_know_stands_there_for_its_default(
    earlier: Workspace, key: str, other: str, first: Stage
) -> None:
    before = forgetting(earlier, key)
    assert all(reasons(before, stage) == [] for stage in FROM_RECIPE)
    default = default_read_by(key, first)
    for stage in FROM_RECIPE:
        after = FROM_RECIPE.index(stage) >= FROM_RECIPE.index(first)
        expected = [f'`{key}` was {default}, now it is "{other}"'] if after else []
        assert reasons(changed(before, f"{key}={other}"), stage) == expected


def test_default_that_a_record_does_not_know_is_no_reason_where_its_section_was_off(earlier: Workspace) -> None:
    before = forgetting(earlier, "distill.rates.align")
    assert reasons(changed(before, "distill.rates={}"), Stage.DISTILL) == ["`distill.rates` was null, now it is given"]


def test_stages_of_a_setting_inside_a_mapping_are_those_of_its_key() -> None:
    assert stages_reading("distill.membrane.layer_weights.conv1.*") == {Stage.DISTILL}
    assert stages_reading("hardware") == frozenset()


def test_every_setting_of_a_recipe_has_its_default(earlier: Workspace) -> None:
    plain = replace(earlier, recipe=Recipe(name="plain"))
    for stage in Stage:
        assert plain.defaults[stage] == {
            key: value for key, value in plain.settings.items() if stage in stages_reading(key)
        }


def test_key_of_a_recipe_that_trains_a_teacher_lies_in_a_section_that_names_stored_teachers() -> None:
    """`benchmarks.experiment_students` keeps teachers under a digest of these sections and the seed.

    It calls the library, where the number of threads is torch's: `threads` is read by the commands alone.
    """
    from mdcompress.recipe.keys import recipe_keys

    read = {key.path.partition(".")[0] for key in recipe_keys(Recipe) if Stage.TRAIN in (key.stages or ())}
    assert read == {"model", "teacher", "data", "train", "seed", "threads"}
