"""The ablation: what is run, resumed, chosen and told."""

from __future__ import annotations

import linecache
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import distillation_ablation, experiment_runs
from benchmarks.distillation_ablation import (
    RECIPES,
    SEARCHES,
    SETTINGS,
    Plan,
    compare,
    decided,
    planned,
    print_page,
    tune,
)
from benchmarks.distillation_page import Cell, Results, page
from benchmarks.distillation_variants import (
    CONTROL,
    EVERY,
    FEW_BITS,
    FEW_BITS_CONTROL,
    FIELDS,
    NEAR,
    TEACHER,
    Choice,
    Tuned,
    ablation_tasks,
    choice_of,
    decisions,
    stage,
)
from benchmarks.experiment_runs import run_units
from benchmarks.experiment_store import Exactness, Layer, Result, Store
from benchmarks.experiment_students import Kind, Task, Workplace, group_of, key_of, measure, setting_of, teacher_network
from mdcompress.data import DataSplits
from mdcompress.errors import RunError
from mdcompress.recipe import load_recipe
from mdcompress.tracing import trace
from mdcompress.trust import GIVEN
from mdcompress.zoo.builders import build_network
from tests.support import experiment_cases
from tests.support.experiment_cases import write_recipe
from tests.support.training_cases import Shuffled


def place_in(folder: Path) -> Workplace:
    return Workplace(None, folder / "work", Store(folder / "results.jsonl"))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    recipes = (write_recipe(tmp_path, setting="2bit", bits=2), write_recipe(tmp_path, setting="8bit", bits=8))
    tuned = {"search": Tuned(recipes[1:], recipes[:1], seeds=(100,))}
    return Plan(recipes, seeds=(0,), tuned=tuned, searches={"loaders": "search"}, changes=())


def without_time(results: dict[str, Result]) -> dict[str, Result]:
    return {key: replace(result, seconds=0.0) for key, result in results.items()}


class KilledError(Exception):
    pass


def test_every_network_is_measured_once_and_a_killed_run_goes_on_to_the_same_results(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, whole = replace(plan, recipes=plan.recipes[:1], tuned={}), place_in(tmp_path / "whole")
    compare(plan, whole, processes=1)
    results = whole.store.results()
    wanted = {(TEACHER, "float"), (CONTROL, "float")} | {(variant, "2bit") for variant in EVERY}
    assert {(result.variant, result.setting) for result in results.values()} == wanted
    assert all(result.group == "loaders" and result.seed == 0 for result in results.values())
    students = [result for result in results.values() if result.setting != "float"]
    for result in students:
        assert result.exactness is not None and result.exactness.differing == 0
        assert result.exactness.samples == 32 and result.exactness.values > 0
        assert result.layers is not None and list(result.layers) == ["neuron"]
    unchanged = [r for r in students if r.variant == "calibration only" and r.layers is not None]
    assert all(r.layers["neuron"].membrane_before == r.layers["neuron"].membrane_after for r in unchanged if r.layers)
    assert [path.name.partition("-")[0] for path in (tmp_path / "whole" / "work").iterdir()] == ["teacher"]

    killed = place_in(tmp_path / "killed")
    measured: list[str] = []

    def killed_at_the_fifth(task: Task, seed: int, place: Workplace, splits: DataSplits) -> Result:
        if len(measured) == 4:
            raise KilledError
        measured.append(task.variant)
        return measure(task, seed, place, splits)

    monkeypatch.setattr(experiment_runs, "measure", killed_at_the_fifth)
    with pytest.raises(KilledError):
        compare(plan, killed, processes=1)
    assert len(killed.store.results()) == 4
    monkeypatch.setattr(experiment_runs, "measure", measure)
    compare(plan, killed, processes=1)
    assert without_time(killed.store.results()) == without_time(results)

    before = killed.store.path.read_bytes()
    monkeypatch.setattr(experiment_runs, "measure", killed_at_the_fifth)
    compare(plan, killed, processes=1)  # nothing is left to measure
    assert killed.store.path.read_bytes() == before


@pytest.mark.slow  # a new process imports torch
def test_a_process_of_its_own_gives_the_results_of_this_one(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(plan, recipes=plan.recipes[:1], tuned={}, changes=("distill.epochs=0", "teacher.epochs=1"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one, two = place_in(tmp_path / "one"), place_in(tmp_path / "two")
    few = [replace(unit, tasks=unit.tasks[:4]) for unit in planned(short, one)]  # teacher, control and two students
    run_units(few, one, processes=1)
    run_units(few, two, processes=2)
    assert [result.setting for result in one.store.results().values()] == ["float", "float", "2bit", "2bit"]
    assert without_time(two.store.results()) == without_time(one.store.results())


def test_a_unit_that_fails_is_named_and_the_others_are_done(plan: Plan, tmp_path: Path) -> None:
    place = place_in(tmp_path)
    good, bad = planned(replace(plan, recipes=plan.recipes[:1], seeds=(0, 1), changes=("distill.epochs=0",)), place)
    broken = replace(
        bad, tasks=(replace(bad.tasks[0], changes=("model.builder=tests.support.experiment_cases:nothing",)),)
    )
    with pytest.raises(RunError, match=r"1 of 2 units failed; the first: loaders, seed 1: .*nothing") as caught:
        run_units([broken, good], place, processes=1)
    assert "start again" in caught.value.hints[0]
    assert {result.seed for result in place.store.results().values()} == {0}


# ---------------------------------------------------------------------- keys


def test_a_key_is_of_what_decides_the_result_and_not_of_words_and_folders(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, setting="2bit", bits=2)
    base = key_of(Task("student", "x", recipe, "QAT"), 0)
    for same in (
        Task("student", "other", recipe, "another name"),
        Task("student", "x", recipe, "QAT", ("summary=Words",)),
        Task("student", "x", recipe, "QAT", ("data.folder=elsewhere",)),
    ):
        assert key_of(same, 0) == base
    other = [
        key_of(Task("student", "x", recipe, "QAT"), 1),
        key_of(Task("student", "x", recipe, "QAT", ("distill.epochs=2",)), 0),
        key_of(Task("student", "x", recipe, "QAT", input_steps=2), 0),
        key_of(Task("teacher", "x", recipe, "QAT"), 0),
        key_of(Task("control", "x", recipe, "QAT"), 0),
    ]
    assert len({base, *other}) == 6


def test_a_key_is_of_the_code_that_makes_network_and_data_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    recipe = write_recipe(tmp_path, setting="2bit", bits=2)
    changes = ("model.builder=own_network:build", "data.name=own_network:loaders")

    def keys(source: str) -> set[str]:
        (tmp_path / "own_network.py").write_text(source)
        monkeypatch.delitem(sys.modules, "own_network", raising=False)
        linecache.checkcache()
        kinds: tuple[Kind, ...] = ("teacher", "control", "student")
        return {key_of(Task(kind, "x", recipe, "QAT", changes), 0) for kind in kinds}

    first = keys('"""A net."""\nSIZE = 8\n\ndef build():\n    """Make it."""\n    return SIZE\n')
    assert keys('"""My net."""\nSIZE  = 8  # neurons\ndef build():\n    "Makes it."\n    return SIZE\n') == first
    assert not keys('"""A net."""\nSIZE = 9\n\ndef build():\n    """Make it."""\n    return SIZE\n') & first


def test_a_teacher_is_trained_on_its_own_samples_where_the_data_have_a_loader_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are those of a recipe that names the teacher's data; tuning and test share it."""
    recipe, place = write_recipe(tmp_path, setting="2bit", bits=2), place_in(tmp_path)
    own = teacher_network(load_recipe(recipe), place, input_steps=None)
    key = key_of(Task("teacher", "x", recipe, TEACHER), 0)

    def loaders_teacher(time_steps: int, batch_size: int, seed: int) -> object:
        return Shuffled(samples=160), list(Shuffled(samples=48)), list(Shuffled(samples=32))

    monkeypatch.setattr(experiment_cases, "loaders_teacher", loaders_teacher, raising=False)
    monkeypatch.setattr(experiment_cases, "other", loaders_teacher, raising=False)
    more = teacher_network(load_recipe(recipe), place, input_steps=None)
    named = teacher_network(
        load_recipe(recipe, changes=["data.name=tests.support.experiment_cases:other"]), place, input_steps=None
    )
    assert all(torch.equal(a, b) for a, b in zip(more.parameters(), named.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(more.parameters(), own.parameters(), strict=True))
    tuning = ("data.name=tests.support.experiment_cases:loaders_tuning",)
    keys = [key_of(Task("teacher", "x", recipe, TEACHER, changes), 0) for changes in ((), tuning)]
    assert keys[0] == keys[1] != key


def test_shipped_recipes_whose_data_have_no_module_have_keys_too() -> None:
    kinds: tuple[Kind, ...] = ("teacher", "control", "student")
    assert len({key_of(Task(kind, "x", "4bit", "QAT"), 0) for kind in kinds}) == 3


def test_recipes_of_one_data_set_and_any_student_optimizer_share_the_teacher(tmp_path: Path) -> None:
    two, eight = (write_recipe(tmp_path, setting=f"{bits}bit", bits=bits) for bits in (2, 8))
    keys = {
        key_of(Task("teacher", "x", recipe, TEACHER, changes), 0)
        for recipe in (two, eight)
        for changes in ((), ("train.optimizer.lr=0.5",), ("distill.epochs=9",))
    }
    assert len(keys) == 1
    assert key_of(Task("teacher", "x", two, TEACHER, ("teacher.epochs=3",)), 0) not in keys
    control = {key_of(Task("control", "x", two, CONTROL, c), 0) for c in ((), ("train.optimizer.lr=0.5",))}
    assert len(control) == 2


# ---------------------------------------------------------------------- tuning


def test_tuning_chooses_the_best_of_each_stage_on_the_samples_for_tuning(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_in(tmp_path)
    monkeypatch.setattr("benchmarks.distillation_variants.RATES", (0.01, 1e-6))
    monkeypatch.setattr("benchmarks.distillation_variants.LOGIT_GRID", ((1.0, 2.0),))
    monkeypatch.setattr("benchmarks.distillation_variants.MEMBRANE_GRID", (("cosine", 1.0), ("mse", 10.0)))
    monkeypatch.setattr("benchmarks.distillation_variants.BOTH_FACTORS", ((0.5, 2.0),))
    tune(plan, place, processes=1)
    results = place.store.results()
    assert {result.group for result in results.values()} == {"loaders_tuning"}
    assert {result.setting for result in results.values()} == {"8bit", "2bit"}
    assert all(result.exactness is None and result.layers is None for result in results.values())
    made = decided(plan, place, "search")
    assert [len(decision.scores) for decision in made] == [2, 2, 1, 2, 2, 2, 1, 2]
    for decision in made:
        near = [each for each, score in decision.scores.items() if score > max(decision.scores.values()) - 0.1]
        assert decision.chosen == near[0]
    chosen = choice_of(made)
    assert chosen.logits == ("distill.logits.weight=1", "distill.logits.temperature=2")
    weight = {"distill.membrane.weight=1": 0.5, "distill.membrane.weight=10": 5}[chosen.membrane[1]]
    assert chosen.both == (f"distill.membrane.weight={weight:g}", "distill.logits.weight=2")
    ablated = {task.variant: task for unit in planned(plan, place) for task in unit.tasks}
    assert ablated["QAT"].changes[0] == chosen.many_bits_rate[0]  # the last recipe's
    assert ablated[CONTROL].changes[0] == chosen.many_bits_rate[0]
    if chosen.few_bits_rates["QAT"] != chosen.many_bits_rate:
        assert ablated[FEW_BITS_CONTROL].changes[0] == chosen.few_bits_rates["QAT"][0]
    few = {task.variant: task for unit in planned(plan, place) for task in unit.tasks if task.recipe == plan.recipes[0]}
    for variant, rate in chosen.few_bits_rates.items():
        assert few[variant].changes[0] == rate[0]
    assert set(chosen.few_bits_rates) == {"QAT", "+ logits", "+ membrane", "+ both"}
    assert ablated["+ both"].of_seed(0).distill.logits is not None
    spec = ablated["+ membrane"].of_seed(0).distill
    assert spec.logits is None and spec.membrane is not None and spec.membrane.distance in ("cosine", "mse")


def test_every_stage_is_of_valid_recipes_and_nothing_is_decided_without_results(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, setting="2bit", bits=2)
    assert decisions(Tuned((recipe,), (recipe,), seeds=(0,)), {}) == ()
    chosen = Choice(membrane=("distill.membrane.distance=emd", "distill.membrane.weight=10"))
    assert stage("both", chosen).candidates[-1] == ("distill.membrane.weight=10", "distill.logits.weight=4")
    assert Choice().scaled(0.5, 0.5) == ("distill.membrane.weight=0.5", "distill.logits.weight=2")
    assert {c[0].partition("=")[2] for c in stage("membrane", chosen).candidates} == {
        "mse",
        "cosine",
        "firing",
        "moments",
    }
    for field in FIELDS:
        step = stage(field, chosen)
        for candidate in step.candidates:
            load_recipe(recipe, changes=chosen.deciding(step.field, candidate).changes(step.variant, "2bit"))


# ---------------------------------------------------------------------- page

MACHINE = "2 shared cores"


def result(setting: str, variant: str, seed: int, *, test: float, validation: float = 50.0) -> Result:
    is_student = setting != "float"
    return Result(
        key=f"{setting} {variant} {seed}", experiment="ablation", group="cifar10", setting=setting, variant=variant,
        seed=seed, changes=(), validation={4: validation}, test={4: test}, seconds=1.0, machine=MACHINE,
        layers={"a": Layer(0.2, 0.1, 0, 0, 0), "b": Layer(0.4, 0.2, 0, 0, 0)} if is_student else None,
        exactness=Exactness(10, 1000, 0, 1) if is_student else None,
    )  # fmt: skip


def rows_by_hand() -> list[Result]:
    """2bit: QAT 2 and 1 points under the teacher, + both 1 and 2 points over QAT. 4bit: QAT at the teacher."""
    found = [result("float", TEACHER, 0, test=60.0), result("float", TEACHER, 1, test=61.0)]
    found += [result("float", CONTROL, 0, test=60.5), result("float", CONTROL, 1, test=61.5)]
    for seed, teacher, qat, both in ((0, 60.0, 58.0, 59.0), (1, 61.0, 60.0, 62.0)):
        found += [result("2bit", "QAT", seed, test=qat), result("2bit", "+ both", seed, test=both)]
        found += [result("4bit", "QAT", seed, test=teacher), result("4bit", "+ both", seed, test=teacher - 5)]
    return found


def line(text: str, *starts: str) -> str:
    """The cells of the only table row that starts with these cells."""
    pattern = r"\| +" + r" +\| +".join(map(re.escape, starts)) + r" +\|.*"
    (found,) = re.findall(pattern, text)
    return " ".join(found.split())


def test_differences_are_paired_and_only_hard_settings_are_pooled() -> None:
    """Gains of + both at 2 bits 1 and 2: mean 1.5, s = 0.7071, t(0.975, 1) = 12.706, half width 6.35."""
    results = Results(rows_by_hand())
    assert results.differences(Cell("cifar10", "2bit"), "+ both", "QAT", lambda r: r.accuracy) == {0: 1.0, 1: 2.0}
    text = page(rows_by_hand(), {}, missing=0, command="python -m x page")
    assert line(text, "test", "1", "+ both") == "| test | 1 | + both | +1.50 ± 6.35 (n = 2) | +1.50 ± ? (n = 1) |"
    assert line(text, "validation", "0", "+ both") == "| validation | 0 | + both | - | - |"
    assert "+0.50 ± 0.00 (n = 2)" in line(text, "cifar10", "2")  # trained on
    assert "All of the plan is done" in text and MACHINE in text and "`python -m x page`" in text


def test_a_page_of_an_unfinished_plan_says_so_and_leaves_its_cells_empty() -> None:
    text = page(rows_by_hand(), {}, missing=7, command="x")
    assert "**7 networks of the plan are not done yet.**" in text
    accuracies = next(row for row in text.splitlines() if row.startswith("| cifar10 | 2bit") and "60.50 ± 0.71" in row)
    assert [cell.strip() for cell in accuracies.split("|")[3:-1]] == [
        "60.50 ± 0.71", "-", "59.00 ± 1.41", "-", "-", "60.50 ± 2.12"
    ]  # fmt: skip


def test_the_page_has_each_layers_mismatch_and_the_values_compared() -> None:
    text = page(rows_by_hand(), {}, missing=0, command="x")
    assert line(text, "cifar10", "2bit", "a").endswith("| - | 0.1000 | - | - | 0.1000 |")
    assert line(text, "cifar10", "4bit", "4") == "| cifar10 | 4bit | 4 | 10 | 4,000 | 0 | 4 |"


def test_the_page_counts_where_distillation_lowers_the_mismatch() -> None:
    """From 0.3 after rounding and 0.15 after calibration: both parts end at 0.2 and 0.1."""

    def of(setting: str, variant: str, mismatch: float) -> Result:
        return replace(result(setting, variant, 0, test=60.0), layers={"a": Layer(9.0, mismatch, 0, 0, 0)})

    ends = {"rounding only": 0.3, "calibration only": 0.15, "rounding, + both": 0.2, "+ both": 0.1}
    rows = [of("2bit", variant, mismatch) for variant, mismatch in ends.items()]
    rows += [of("8bit", variant, mismatch + 0.1 * ("both" in variant)) for variant, mismatch in ends.items()]
    text = page(rows, {}, missing=0, command="x")
    assert "by distillation in 1 of 2 settings from plain rounding and in 1 from calibration" in text
    assert "to the calibrated and distilled student in 2" in text
    cells = ["60.00"] * 4 + ["0.3000", "0.1500", "0.2000", "0.1000"]
    assert line(text, "cifar10", "2bit", "60.00") == f"| cifar10 | 2bit | {' | '.join(cells)} |"


def test_the_page_says_how_many_students_end_nearer_on_samples_that_chose_nothing() -> None:
    """Two at 2 bits, 0.4 to 0.3 and 0.2 to 0.21: the mean falls to 0.85; validation samples, 0.3 to 0.15, say else."""
    pairs = ((0.4, 0.3), (0.2, 0.21))
    rows = [result("float", TEACHER, seed, test=61.0) for seed in (0, 1)]
    rows += [replace(result("2bit", NEAR, seed, test=60.0), test_mismatch=pair) for seed, pair in enumerate(pairs)]
    rows += [
        replace(result("8bit", NEAR, 0, test=60.0), test_mismatch=(0.1, 0.2)),
        result("2bit", "+ both", 0, test=59.0),
    ]
    text = page(rows, {}, missing=0, command="x")
    assert "falls in 1 of 2 settings, and that of 1 of 3 students" in text
    assert line(text, "cifar10", "2bit", "-1.00 ± 0.00 (n = 2)").split(" | ", 3)[3] == (
        "+1.00 ± ? (n = 1) | 0.3000 | 0.1500 | 0.1500 | 0.3000 | 0.2550 | 0.85 |"
    )
    assert line(text, "cifar10", "8bit", "-1.00 ± ? (n = 1)").endswith("| 0.1000 | 0.2000 | 2.00 |")


@pytest.mark.parametrize(
    ("few", "controls"), [("2e-4", {CONTROL: "2e-4"}), ("2e-3", {CONTROL: "2e-4", FEW_BITS_CONTROL: "2e-3"})]
)
def test_a_control_is_trained_at_the_rate_of_each_setting(plan: Plan, few: str, controls: dict[str, str]) -> None:
    """The recipe of few bits stands first, and decides nothing for the one of many."""
    rates = [(f"train.optimizer.lr={rate}",) for rate in ("2e-4", few)]
    chosen = Choice(many_bits_rate=rates[0], few_bits_rates={"QAT": rates[1]})
    tasks = [task for task in ablation_tasks(plan.recipes, chosen, ()) if task.kind == "control"]
    assert {task.variant: task.changes for task in tasks} == {
        name: (f"train.optimizer.lr={rate}",) for name, rate in controls.items()
    }
    alone = [task.variant for task in ablation_tasks(plan.recipes[:1], chosen, ()) if task.kind == "control"]
    assert alone == [CONTROL]


def test_the_page_shows_each_setting_beside_its_own_control() -> None:
    controls = [result("float", CONTROL, 0, test=60.5), result("float", FEW_BITS_CONTROL, 0, test=58.5)]
    rows = [result("float", TEACHER, 0, test=60.0), *controls]
    rows += [result("8bit", "QAT", 0, test=59.0), result("2bit", "QAT", 0, test=50.0)]
    text = page(rows, {}, missing=0, command="x")
    every = text.partition("## Every seed")[2]
    assert [line.split(" | ")[4].strip() for line in every.splitlines() if "cifar10" in line] == ["60.50", "58.50"]
    assert "| cifar10, few bits |" in text and "-1.50 ± ? (n = 1)" in text
    elsewhere = [replace(one, machine="another") if one.variant == FEW_BITS_CONTROL else one for one in rows]
    assert "-1.50 ±" not in page(elsewhere, {}, missing=0, command="x")


def test_students_are_not_trained_before_the_searches_that_choose_for_them(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"missing: search \(8 of 8 stages\)") as caught:
        compare(plan, place_in(tmp_path), processes=1)
    assert "`tune`" in caught.value.hints[0]
    assert not place_in(tmp_path).store.results()


def test_the_page_of_a_store_is_printed(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = place_in(tmp_path)
    short = replace(plan, recipes=plan.recipes[:1], tuned={}, changes=("distill.epochs=0", "teacher.epochs=1"))
    compare(short, place, processes=1)
    capsys.readouterr()
    print_page(short, place, "the command")
    text = capsys.readouterr().out
    assert text.startswith("# What distillation is worth") and "All of the plan is done" in text
    assert "Nothing was tuned" in text and "| loaders | 2bit" in text


# ---------------------------------------------------------------------- the committed recipes


@pytest.mark.parametrize("group", list(distillation_ablation.SEEDS))
def test_recipes_of_a_data_set_differ_in_bits_and_what_was_chosen_for_them(group: str) -> None:
    recipes = {setting: load_recipe(RECIPES / f"{group}_{setting}.yaml") for setting in SETTINGS}
    for setting, recipe in recipes.items():
        assert (group_of(recipe), setting_of(recipe)) == (group, setting)
        shipped = load_recipe(setting).quantize
        assert recipe.quantize.model_copy(update={"overrides": shipped.overrides}) == shipped
        assert bool(recipe.quantize.overrides) == (setting == "4bit")
        few_steps = SEARCHES[group] in ("mnist", "nmnist") and setting in FEW_BITS
        assert recipe.train.optimizer.lr == (2e-3 if few_steps else 2e-4)  # as `tune` chose them
        of_all = recipes["8bit"]
        same = {"name": "", "summary": "", "quantize": shipped, "train": of_all.train, "calibrate": of_all.calibrate}
        assert recipe.model_copy(update=same) == of_all.model_copy(update=same)


@pytest.mark.parametrize("group", list(distillation_ablation.SEEDS))
def test_the_networks_of_the_recipes_can_be_quantized_for_their_data(group: str) -> None:
    shapes = {
        "mnist": (1, 28, 28), "nmnist": (2, 34, 34), "cifar10": (3, 32, 32), "tiny_imagenet": (3, 32, 32),
    }  # fmt: skip
    recipe = load_recipe(RECIPES / f"{group}_4bit.yaml")
    assert recipe.model is not None
    graph = trace(build_network(recipe.model.builder, consent=GIVEN).eval(), torch.rand(4, 2, *shapes[group]))
    assert graph.readout.shape == ((50,) if group == "tiny_imagenet" else (10,))
