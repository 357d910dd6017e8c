"""The confirmatory experiment: equal trials, a plan that is committed first, clusters, and what the page tells."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    confirmatory,
    confirmatory_data,
    confirmatory_design,
    confirmatory_tuning,
    distillation_ablation,
    experiment_runs,
)
from benchmarks.confirmatory import converge, lengthen, plan_of, print_page, run, tune
from benchmarks.confirmatory_analysis import FEW_BITS, PAIRS, Cell, Cluster, Rows, over_samples_too
from benchmarks.confirmatory_data import Samples
from benchmarks.confirmatory_design import (
    DATA_SETS,
    SCENARIOS,
    SEARCHES,
    SETTINGS,
    TEACHER,
    TRAINED,
    DataSet,
    Scenario,
    Setting,
    candidates,
    student_task,
    tuning_task,
)
from benchmarks.confirmatory_plan import ANALYSIS, Plan, plan_path, read_plan, require_committed, units, write_plan
from benchmarks.confirmatory_tuning import Chosen, Epochs, Trial, converged
from benchmarks.experiment_statistics import holm, sign_flip_p
from benchmarks.experiment_store import Exactness, Layer, Result, Store, packed, unpacked
from benchmarks.experiment_students import (
    TUNING,
    Task,
    Workplace,
    group_of,
    key_of,
    load_splits,
    measure,
    setting_of,
    teachers_recipe,
)
from mdcompress.data import DataSplits, load_data
from mdcompress.errors import RunError
from mdcompress.recipe import DataSpec
from mdcompress.trust import GIVEN
from tests.support.confirmatory_cases import tiny_data
from tests.support.paths import ROOT

Triple = tuple[float, float, float]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Two candidates of each variant on two seeds."""
    monkeypatch.setattr(confirmatory_design, "QAT_RATES", (0.01, 0.001))
    monkeypatch.setattr(confirmatory_design, "RATES", (0.01,))
    for module in (confirmatory_design, confirmatory_tuning):
        monkeypatch.setattr(module, "TUNING_SEEDS", (5, 6))
    monkeypatch.setattr(confirmatory_tuning, "ENOUGH", 101.0)
    return tiny_data(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(None, tmp_path / "work", Store(tmp_path / "results.jsonl"))


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def untrained(task: Task, seed: int, place: Workplace, splits: DataSplits) -> Result:
    """A result whose 32 answers follow from its key alone."""
    recipe, key = task.of_seed(seed), key_of(task, seed)
    right = [digit in "0123456789" for digit in key]
    score = {3: 100 * sum(right) / len(right)}
    tested = task.kind == "student" and not group_of(recipe).endswith(TUNING)
    return Result(
        key, task.experiment, group_of(recipe), setting_of(recipe) if task.kind == "student" else "float",
        task.variant, seed, task.changes, score, score, 1.0, "m",
        layers={"n": Layer(0.4, 0.2, 0, 0, 0)} if tested else None,
        exactness=Exactness(16, 100, 0, 0) if tested else None, right=packed(right) if tested else None, plan=task.plan,
    )  # fmt: skip


# ---------------------------------------------------------------------- the whole way


def test_a_plan_is_tuned_committed_and_run_as_it_was_fixed(
    data: DataSet, place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_runs, "measure", untrained)
    path = plan_path(tmp_path, "tiny")
    with pytest.raises(RunError, match="teachers must be done before"):
        tune([data], place, processes=1)
    converge([data], place, processes=1)
    with pytest.raises(RunError, match="every search must be done"):
        plan_of(data, place, (1000,))
    tune([data], place, processes=1)
    tuned = place.store.results()
    students = [row for row in tuned.values() if row.experiment == "tuning"]
    assert len(students) == len(TRAINED) * 2 * (2 + 1)  # two searches: both candidates on one seed, one on the other
    assert {row.group for row in tuned.values()} == {"tiny_less_tuning"}, "the test part is not read"

    lengthen(data, place, processes=1)
    longer = [row for row in place.store.results().values() if row.experiment == "longer"]
    assert len(longer) == len(TRAINED) * 2 * 2 and all(row.changes[-1] == "distill.epochs=2" for row in longer)
    write_plan(plan_of(data, place, (1000, 1001)), path)
    with pytest.raises(RunError, match="a plan is fixed once"):
        write_plan(plan_of(data, place, (1000,)), path)
    with pytest.raises(RunError, match="must be committed as it is"):
        run(path, data, place, processes=1)
    git(tmp_path, "init")
    git(tmp_path, "add", path.name)
    git(tmp_path, "commit", "-m", "plan")
    run(path, data, place, processes=1)

    plan = read_plan(path)
    rows = [row for row in place.store.results().values() if row.experiment == "confirmatory"]
    assert len(rows) == 2 * (1 + len(SCENARIOS) * len(SETTINGS) * (1 + len(TRAINED)))
    assert {row.plan for row in rows} == {plan.digest} and {row.seed for row in rows} == {1000, 1001}
    print_page(tmp_path, {"tiny": data}, place, command="x")
    text = capsys.readouterr().out
    assert "Each plan is done." in text and plan.digest in text
    assert "Of 60 exported students 0 differ" in text

    path.write_text(path.read_text().replace("1001", "1002"))
    with pytest.raises(RunError, match="must be committed as it is"):
        run(path, data, place, processes=1)
    git(tmp_path, "commit", "-am", "another plan")
    with pytest.raises(RunError, match=f"some are of {plan.digest}"):
        run(path, data, place, processes=1)


def test_a_student_is_compared_on_some_samples_and_answers_on_all(data: DataSet, place: Workplace) -> None:
    task = student_task(data, "less", "2bit", "+ both", (), teacher_epochs=1, plan="p")
    row = measure(task, 1000, place, load_splits(task.of_seed(1000), place, input_steps=None))
    assert row.exactness is not None and row.right is not None and row.layers is not None
    assert (row.exactness.samples, row.exactness.differing) == (16, 0)
    assert row.accuracy == 100 * unpacked(row.right).mean() and len(unpacked(row.right)) == 32
    assert row.plan == "p" and row.test_mismatch is None
    other = student_task(data, "same", "ternary", "QAT", (), teacher_epochs=1, plan="p")
    measure(other, 1000, place, load_splits(other.of_seed(1000), place, input_steps=None))
    assert len(list(place.work.glob("teacher-*"))) == 1, "both scenarios have one teacher"


def test_a_plan_outside_git_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(RunError, match="the plan must be fixed first"):
        read_plan(path)
    path.write_text("{}")
    with pytest.raises(RunError, match="must be a plan"):
        read_plan(path)
    with pytest.raises(RunError, match="must be committed"):
        require_committed(path)


def test_students_have_the_epochs_of_the_plan(tmp_path: Path, data: DataSet) -> None:
    chosen = {search: {each: candidates(each)[0] for each in TRAINED} for search in SEARCHES}
    plan = Plan("tiny", (1000,), 1, {"less": 9, "same": 1}, chosen, ANALYSIS)
    with pytest.raises(RunError, match="for the epochs of the plan"):
        units(plan, data)


# ---------------------------------------------------------------------- design


def test_every_variant_has_as_many_candidates_and_each_is_a_recipe() -> None:
    assert {len(candidates(variant)) for variant in TRAINED} == {6}
    for variant in TRAINED:
        assert len(set(candidates(variant))) == 6
        for candidate in candidates(variant):
            recipe = tuning_task(DATA_SETS["nmnist"], "2bit", variant, candidate, teacher_epochs=80).of_seed(0)
            has = (recipe.distill.logits is not None, recipe.distill.membrane is not None)
            assert has == (variant in ("+ logits", "+ both"), variant in ("+ membrane", "+ both"))
            assert recipe.distill.task is not None and recipe.distill.best == "accuracy"
    rates = {variant: {candidate[0] for candidate in candidates(variant)} for variant in TRAINED}
    assert all(rates[variant] < rates["QAT"] for variant in TRAINED[1:])


@pytest.mark.parametrize("name", DATA_SETS)
def test_four_bits_are_everywhere_and_scenarios_share_the_teacher(name: str) -> None:
    def student(scenario: Scenario, setting: Setting) -> tuple[str, str]:
        task = student_task(DATA_SETS[name], scenario, setting, "QAT", (), teacher_epochs=7, plan="p")
        recipe = task.of_seed(1)
        assert setting_of(recipe) == setting and recipe.teacher.epochs == 7
        return key_of(replace(task, kind="teacher"), 1), teachers_recipe(recipe).data.name

    teachers = {student(scenario, setting) for scenario in SCENARIOS for setting in SETTINGS}
    assert [data for _, data in teachers] == [f"benchmarks.confirmatory_data:{name}_teacher"]
    task = student_task(DATA_SETS[name], "less", "4bit_all", "QAT", (), teacher_epochs=7, plan="p")
    quantize = task.of_seed(0).quantize
    bits = (quantize.weight.bit_width, quantize.membrane.bit_width, quantize.batch_norm.scale_bit_width)
    assert bits == (4, 4, 4) and quantize.overrides == ()


def test_pixels_are_halved_by_hand() -> None:
    pixels = np.array([[[0, 255, 1, 2], [0, 255, 2, 1]]], dtype=np.uint8)
    assert confirmatory_data._means(pixels).tolist() == [[[128, 2]]]  # 127.5 and 1.5, to the even integer
    assert confirmatory_data._sums(pixels.astype(np.float32)).tolist() == [[[510.0, 6.0]]]


def test_parts_share_no_sample_and_a_seed_changes_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image i of training has the value i everywhere, image i of test 100 + i."""
    samples = Samples(less=4, same=8, validation=4, tuning=4, test=6)
    monkeypatch.setattr(confirmatory_data, "MNIST", samples)
    x = np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None, None], (40, 28, 28))
    arrays = {"x_train": x[:20], "y_train": np.arange(20) % 2, "x_test": x[:20] + 100, "y_test": np.arange(20) % 2}
    np.savez(tmp_path / "mnist.npz", **arrays)  # type: ignore[arg-type]  # an option of savez is taken for an array

    def parts(name: str, seed: int) -> list[set[int]]:
        spec = DataSpec(name=f"benchmarks.confirmatory_data:mnist_{name}", time_steps=2, batch_size=3)
        loaded = load_data(spec, seed=seed, folder=tmp_path, consent=GIVEN)
        assert loaded.sample_shape == (1, 14, 14)
        batches = (loaded.train, loaded.validation, loaded.test)
        return [{round(255 * float(v)) for x, _ in each for v in x[0, :, 0, 0, 0]} for each in batches]

    teacher, less, same, tuning = (parts(name, 0) for name in ("teacher", "less", "same", "less_tuning"))
    assert [len(part) for part in less] == [4, 4, 6] and len(teacher[0]) == 8 and min(less[2]) >= 100
    assert less[0] < teacher[0] == same[0] and less[1:] == teacher[1:] == same[1:]
    assert tuning[:2] == less[:2] and len(tuning[2]) == 4
    assert not teacher[0] & (less[1] | tuning[2]) and not less[1] & tuning[2] and max(tuning[2]) < 100
    other = parts("teacher", 1)
    assert other[0] != teacher[0] and other[1:] == teacher[1:]


def test_the_plans_seeds_are_not_those_of_any_search() -> None:
    used = {*range(10), *range(100, 110), *confirmatory_design.TUNING_SEEDS}
    assert not used & {seed for seeds in confirmatory.SEEDS.values() for seed in seeds}
    assert all(len(set(confirmatory.SEEDS[name])) >= 10 for name in ("mnist", "nmnist"))
    assert max(distillation_ablation.SEEDS.values()) < 10


# ---------------------------------------------------------------------- tuning


def made(epochs: int, *scores: float) -> Epochs:
    return Epochs(epochs, scores, scores, scores)


def test_teachers_are_done_when_twice_the_epochs_gain_little() -> None:
    assert converged([made(40, 86.0), made(80, 91.7), made(160, 91.9)]) == 80
    assert converged([made(40, 86.0, 88.0), made(80, 86.2, 88.1)]) == 40
    assert converged([made(40, 86.0), made(80, 91.7)]) is None
    assert converged([made(40, 86.0), made(80, 85.0), made(160, 87.0)]) is None, "a dip is no end"


def test_only_candidates_with_every_seed_are_chosen() -> None:
    lucky, steady = Trial(("a",), (99.0,)), Trial(("b",), (90.0, 92.0, 91.0))
    worse = Trial(("c",), (91.0, 90.0, 90.0))
    assert Chosen("few", "QAT", (lucky, steady, worse)).best is steady


# ---------------------------------------------------------------------- analysis


def test_holm_by_hand() -> None:
    """Sorted 0.01 x 3, 0.02 x 2, 0.04 x 1, never falling."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))
    assert holm([0.5, 0.9]) == (1.0, 1.0) and holm([]) == ()


def test_sign_flips_by_hand() -> None:
    """Of the 8 sums of ±1 ±2 ±3, 6 and -6 are as far out as 6; of 1, 2, -3 the sum is 0: all are."""
    assert sign_flip_p([1.0, 2.0, 3.0]) == 2 / 8
    assert sign_flip_p([1.0, 2.0, -3.0]) == 1.0
    assert sign_flip_p([0.1, 0.2, 0.3]) == 2 / 8  # the order of floating-point sums decides nothing


def test_answers_are_packed_and_unpacked() -> None:
    answers = np.random.default_rng(0).random(301) < 0.9
    assert (unpacked(packed(answers.tolist())) == answers).all()


ROW = Result("", "confirmatory", "nmnist_less", "2bit", "QAT", 0, (), {4: 50.0}, {4: 50.0}, 1.0, "m")


def row(cell: Cell, variant: str, seed: int, right: tuple[bool, ...], *, plan: str = "p") -> Result:
    accuracy = 100 * sum(right) / len(right)
    is_teacher = variant == TEACHER
    return replace(
        ROW,
        key=f"{cell} {variant} {seed}",
        group=f"{cell.data}_{cell.scenario}",
        setting="float" if is_teacher else cell.setting,
        variant=variant,
        seed=seed,
        test={4: accuracy},
        right=None if is_teacher else packed(right),
        layers=None if is_teacher else {"n": Layer(0.4, 0.2, 0, 0, 0)},
        exactness=None if is_teacher else Exactness(2, 100, 0, 0),
        plan=plan,
    )


LESS, SAME = Cell("nmnist", "less", "2bit"), Cell("nmnist", "same", "2bit")


def by_hand() -> Iterator[Result]:
    """+ both over QAT: seed 0 +50 (less) and 0 (same), seed 1 +100 and +50; seed 2 lacks a student."""
    for seed in (0, 1, 2):
        yield row(LESS, TEACHER, seed, (True, True))
    for cell, seed, qat, both in (
        (LESS, 0, (True, False), (True, True)),
        (SAME, 0, (True, False), (False, True)),
        (LESS, 1, (False, False), (True, True)),
        (SAME, 1, (False, False), (True, False)),
        (LESS, 2, (False, False), (True, True)),
    ):
        yield row(cell, "QAT", seed, qat)
        yield row(cell, "+ both", seed, both)


def test_a_cluster_is_the_mean_of_its_cells_and_one_that_lacks_a_student_is_left_out() -> None:
    rows = Rows(by_hand())
    difference = rows.difference("+ both", "QAT", [LESS, SAME])
    assert difference.clusters == {Cluster("nmnist", 0): 25.0, Cluster("nmnist", 1): 75.0}
    assert difference.interval.mean == 50.0 and difference.interval.pairs == 2
    assert difference.interval.half_width == pytest.approx(12.706 * 25, rel=1e-3)  # s = 35.36, t(0.975, 1) = 12.706
    assert rows.difference("+ both", "QAT", [LESS]).clusters[Cluster("nmnist", 2)] == 100.0
    assert rows.where(FEW_BITS) == (LESS, SAME)


def test_answers_of_a_difference_by_hand() -> None:
    """Seed 0: sample 0 (0 - 100)/2, sample 1 (100 + 100)/2; seed 1: (100 + 100)/2 and (100 + 0)/2."""
    rows = Rows(by_hand())
    difference = rows.difference("+ both", "QAT", [LESS, SAME])
    table = rows.answers(difference, "nmnist", [LESS, SAME])
    assert table.tolist() == [[-50.0, 100.0], [100.0, 50.0]]
    assert table.mean(axis=1).tolist() == list(difference.clusters.values())


def test_an_interval_over_samples_too_is_never_narrower_than_over_seeds() -> None:
    """No spread between samples: that of seeds alone. [[0, 2], [2, 4]]: means of seeds 1, 3, of samples 1, 3.

    var = 2/2 + 2/2 - (8/3)/4 = 4/3.
    """
    flat = np.array([[1.0, 1.0], [3.0, 3.0]])
    assert over_samples_too([flat]).half_width == pytest.approx(12.706, rel=1e-4)  # sqrt(2/2) = 1
    crossed = np.array([[0.0, 2.0], [2.0, 4.0]])
    assert over_samples_too([crossed]).half_width == pytest.approx(12.706 * (4 / 3) ** 0.5, rel=1e-4)
    two = over_samples_too([flat, flat + 2])
    assert two.mean == 3.0 and two.half_width == pytest.approx(4.303 * 2**0.5 / 2, rel=1e-3)  # t(0.975, 2)


def test_pairs_are_all_six() -> None:
    assert len(PAIRS) == 6 and ("+ both", "QAT") in PAIRS and ("+ both", "+ logits") in PAIRS


# ---------------------------------------------------------------------- page


def test_the_page_is_what_the_store_prints(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["python -m benchmarks confirmatory", "page"])
    confirmatory.main()
    assert capsys.readouterr().out == Path("docs/results/confirmatory.md").read_text("utf-8")


def test_the_stored_plan_was_committed_before_its_rows() -> None:
    """Every stored row of the comparison names the plan of its data set that is in the folder."""
    folder = ROOT / "docs/results"
    rows = Store(folder / "confirmatory.jsonl").results().values()
    compared = [row for row in rows if row.experiment == "confirmatory"]
    for data in {row.group.rpartition("_")[0] for row in compared}:
        plan = read_plan(plan_path(folder, data))
        assert {row.plan for row in compared if row.group.startswith(f"{data}_")} == {plan.digest}
    assert all(row.exactness is None or row.exactness.differing == 0 for row in compared)
