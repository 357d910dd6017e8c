"""Every fenced block of every page has a row here: the test that executes it, or why nothing does.

A block without a row fails, and so does a row without a block, or with a test that there is not. Below the table are
the blocks that no page's own test runs; they share one folder.
"""

from __future__ import annotations

import ast
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import mdcompress as md
from benchmarks.__main__ import main as benchmarks
from mdcompress.data import DataSplits, load_data
from mdcompress.recipe import DataSpec
from mdcompress.trust import GIVEN
from tests.support.command_line import TINY_NETWORK, invoke
from tests.support.page_blocks import Block, blocks_of, pages
from tests.support.paths import ROOT

HERE = "tests/whole/test_page_blocks.py::"
README, OWN, NATIVE = (
    "tests/whole/test_readme.py::",
    "tests/whole/test_own_network_page.py::",
    "tests/whole/test_native_page.py::",
)
FRAMEWORKS, NIR = "tests/frameworks/test_pages.py::", "tests/mdcompress/nir/test_nir_page.py::"
YAML, COMMANDS = f"{HERE}test_the_yaml_of_a_page_is_that_of_a_recipe", f"{HERE}test_the_commands_of_a_page_run"

# What of a page in one language is run by one test as a whole: a new block of it is run too.
WHOLE = {
    ("docs/calibration.md", "yaml"): YAML,
    ("docs/calibration.md", "console"): COMMANDS,
    ("docs/data.md", "yaml"): YAML,
    ("docs/data.md", "console"): COMMANDS,
    ("docs/files_from_others.md", "python"): f"{HERE}test_data_whose_code_was_agreed_to_are_loaded",
    ("docs/frameworks/norse.md", "bash"): f"{FRAMEWORKS}test_the_four_commands_take_the_network_as_it_is",
    ("docs/frameworks/norse.md", "python"): f"{FRAMEWORKS}test_the_python_examples_run",
    ("docs/frameworks/own.md", "python"): f"{FRAMEWORKS}test_the_python_examples_run",
    ("docs/frameworks/sinabs.md", "bash"): f"{FRAMEWORKS}test_the_four_commands_take_the_network_as_it_is",
    ("docs/frameworks/sinabs.md", "python"): f"{FRAMEWORKS}test_the_python_examples_run",
    ("docs/frameworks/snntorch.md", "bash"): f"{FRAMEWORKS}test_the_four_commands_take_the_network_as_it_is",
    ("docs/frameworks/snntorch.md", "python"): f"{FRAMEWORKS}test_the_python_examples_run",
    ("docs/frameworks/spikingjelly.md", "bash"): f"{FRAMEWORKS}test_the_four_commands_take_the_network_as_it_is",
    ("docs/frameworks/spikingjelly.md", "python"): f"{FRAMEWORKS}test_the_python_examples_run",
    ("docs/frameworks/styles.md", "python"): "tests/mdcompress/lifting/test_style_forms.py::"
    "test_a_style_that_is_read_has_the_equations_of_its_row",  # the page is made from the rows that it runs
    ("docs/hardware_report.md", "python"): "tests/intsnn/report/test_report_schema.py::"
    "test_the_examples_of_the_documentation_run",
    ("docs/native.md", "bash"): f"{NATIVE}test_the_commands_and_the_firmware_work_in_their_order",
    ("docs/native.md", "c"): f"{NATIVE}test_the_commands_and_the_firmware_work_in_their_order",
    ("docs/native.md", "python"): f"{NATIVE}test_the_python_examples_run",
    ("docs/nir.md", "bash"): f"{NIR}test_the_commands_of_the_page_run_in_their_order",
    ("docs/nir.md", "python"): f"{NIR}test_the_python_of_the_page_runs_in_its_order",
    ("docs/notebooks/event_network.ipynb", "cell"): "tests/whole/test_notebooks.py::"
    "test_a_notebook_runs_and_prints_what_it_shows",
    ("docs/notebooks/own_cnn.ipynb", "cell"): "tests/whole/test_notebooks.py::"
    "test_a_notebook_runs_and_prints_what_it_shows",
    ("docs/own_network.md", "bash"): f"{OWN}test_the_commands_run",
    ("docs/python.md", "python"): f"{README}test_the_python_examples_run",
    ("docs/search.md", "console"): COMMANDS,
    ("docs/sizes.md", "python"): "tests/whole/test_sizes_page.py::test_the_pages_python_runs",
    ("docs/start.md", "bash"): f"{README}test_every_other_command_works_after_it_in_its_order",
    ("docs/training.md", "yaml"): YAML,
    ("docs/training.md", "console"): COMMANDS,
    ("export/FORMAT.md", "c"): "tests/whole/test_format_md.py::test_the_c_form_declares_what_the_page_says",
    ("recipes/README.md", "yaml"): "tests/mdcompress/recipe/test_recipe.py::"
    "test_example_on_the_page_of_keys_is_a_valid_recipe",
}

# Single blocks: page, and how the block begins.
SINGLE = {
    ("CONTRIBUTING.md", "bash: python -m benchmarks"): f"{HERE}test_the_benchmarks_that_pages_name_are_there",
    ("README.md", "bash: pip install -e . && mdcompress run"): f"{README}"
    "test_the_first_command_prints_accuracies_parity_and_hardware",
    ("README.md", "text: mdcompress quantize --recipe 4bit"): COMMANDS,
    ("benchmarks/README.md", "bash: python -m benchmarks"): f"{HERE}test_the_benchmarks_that_pages_name_are_there",
    ("docs/checkpoints.md", "python: loaded = mdcompress.load_weights"): f"{HERE}test_weights_load_as_the_page_says",
    ("docs/data.md", "python: def loaders"): f"{HERE}test_loaders_of_the_pages_form_are_taken",
    ("docs/hardware_report.md", "text: mdcompress explore"): COMMANDS,
    ("docs/own_network.md", "python: decay, thresh"): f"{OWN}test_the_page_shows_the_file_as_it_is",
    ("docs/own_network.md", "python: import torch"): f"{OWN}test_the_python_example_runs_and_prints_what_the_page_says",
    ("docs/results/any_network.md", "bash: python -m benchmarks drawn_neurons"): f"{HERE}"
    "test_the_benchmarks_that_pages_name_are_there",
    ("docs/training.md", "console: $ pip install 'mdcompress[distributed]'"): "tests/mdcompress/training/"
    "test_training_processes.py::test_torchrun_of_the_command_writes_and_prints_once",  # after CI's own installation
    ("docs/start.md", "text: mdcompress run --recipe recipes/4bit.yaml"): f"{README}"
    "test_the_first_command_prints_accuracies_parity_and_hardware",
}

# Lines that `.ci/run` executes in the environment that it makes, by the words that stand there too.
IN_CI = {
    ("CONTRIBUTING.md", "bash: python -m venv"): ("-m venv", "-e '.[test]'", "-e '.[dev,docs]'"),
    ("CONTRIBUTING.md", "bash: bash .ci/run"): ("set -euo pipefail",),
    ("CONTRIBUTING.md", "bash: ruff check"): ("ruff check .", "mypy", "lint-imports", "pytest -n logical"),
    ("README.md", "bash: pip install -e '.[test]'"): ("-e '.[test]'", "pytest -n logical"),
    ("docs/start.md", "text: pip install -e ."): ("-e '.[test]'",),
}

# What is no code, and what nothing runs.
SHOWN = {
    ("ARCHITECTURE.md", "text: recipes/4bit.yaml"): "a drawing",
    ("README.md", "text: | network"): "output",
    ("docs/files_from_others.md", "text: stranger/recipe.yaml names code"): "output",
    ("docs/own_network.md", "text: model_best.pth.tar"): "output",
    ("docs/own_network.md", "text: teacher test accuracy"): "output",
    ("docs/own_network.md", "text: parity student"): "output",
    ("docs/own_network.md", "text: the weights are"): "output",
    ("docs/own_network.md", "text: this looks like a neuron"): "output",
    ("docs/start.md", "text: docker build"): "wants a Docker daemon",
    ("docs/start.md", "text: | network"): "output",
    ("docs/start.md", "text: pip install torch torchvision"): "loads torch from an index that CI need not reach",
    ("export/FORMAT.md", "plain: j = (acc * M_c + B_c) >> S"): "a formula",
    ("export/FORMAT.md", "plain: j = j + "): "a formula",
    ("export/FORMAT.md", "plain: acc[o, y] = Σ_c Σ_k w[o, c, k]"): "a formula",
    ("export/FORMAT.md", "plain: acc[o, y] = Σ_c Σ_k w[c, o, k]"): "a formula",
}
SHOWN_PAGES = {"docs/commands.md": "the help of every command, which test_commands_page.py holds to the code"}

BLOCKS = [block for page in pages() for block in blocks_of(page)]
ROWS = {**SINGLE, **IN_CI, **SHOWN}


def rows_of(block: Block) -> list[tuple[str, str]]:
    """The rows of the table that a block has: its own, or that of its page and language."""
    own = [row for row in ROWS if row[0] == block.page and block.begins(row[1])]
    whole = (block.page, block.language)
    return own or [whole] * (whole in WHOLE)


def executed_by(block: Block) -> str | None:
    """The test of a block; None where CI's script runs it, or nothing."""
    (row,) = rows_of(block)
    return {**WHOLE, **SINGLE}.get(row)


def test_every_block_has_one_row() -> None:
    assert len(BLOCKS) > 150
    unlisted = [(block.page, block.key) for block in BLOCKS if block.page not in SHOWN_PAGES and not rows_of(block)]
    assert not unlisted, "say in this table which test executes the block, or why none does"
    assert not [(block.page, block.key) for block in BLOCKS if len(rows_of(block)) > 1]


def test_every_row_has_a_block() -> None:
    found = {row for block in BLOCKS for row in rows_of(block)}
    assert found == {*WHOLE, *ROWS}
    assert {block.page for block in BLOCKS} >= set(SHOWN_PAGES)


def test_what_is_code_is_executed() -> None:
    """Nothing but text may be only shown; and text that begins with a command is none."""
    for block in BLOCKS:
        if block.page in SHOWN_PAGES or any(row in SHOWN for row in rows_of(block)):
            assert block.language in ("text", ""), block.key
            assert block.page in SHOWN_PAGES or not block.text.startswith("mdcompress "), block.key


@pytest.mark.parametrize("test", sorted({*WHOLE.values(), *SINGLE.values()}))
def test_the_tests_of_the_table_are_there(test: str) -> None:
    file, _, name = test.partition("::")
    functions = [
        part.name for part in ast.parse((ROOT / file).read_text("utf-8")).body if isinstance(part, ast.FunctionDef)
    ]
    assert name in functions


def test_continuous_integration_runs_the_lines_that_it_is_said_to_run() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    for row, words in IN_CI.items():
        assert all(word in script for word in words), row


# ------------------------------------------------------------------ blocks that no page's own test runs

SMALL = shlex.split(  # of commands that make, train or search a student
    "--model tiny_network:build --set data.batch_size=256 --set data.calibration_samples=64 "
    "--set teacher.epochs=1 --set distill.epochs=1 --set calibrate.weights=nearest"
)
SMALLER = {  # what is written behind a page's command, so that it takes a second
    "run": SMALL,
    "quantize": SMALL,
    "sensitivity": [*SMALL, "--samples", "32"],
    "search": [*SMALL, *shlex.split("--trials 2 --samples 64 --steps 2 --crossbar 64")],
    "explore": shlex.split("--crossbar 64 --cell-bits 2 --adc-bits 4 --encoding offset --samples 20 --chips 1"),
}
AS_IT_STANDS = ("--dry-run", "--model")  # a command with one of these


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small network, its weights, and a run of it, `runs/4bit`: where the commands of pages start."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "tiny_network.py").write_text(TINY_NETWORK)
    (folder / "my_network.py").write_text(TINY_NETWORK.replace("class Tiny", "class Net").replace("Tiny", "Net"))
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        done = invoke("run", "--recipe", "4bit", *SMALLER["run"])
        assert done.code == 0, done.err
        torch.save(load_file("runs/4bit/teacher.safetensors"), "weights.pt")
        yield folder
    for name in ("tiny_network", "my_network"):
        sys.modules.pop(name, None)


@pytest.fixture
def here(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, as the working folder."""
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(block: Block) -> list[list[str]]:
    """The commands of a block, which are all of mdcompress."""
    assert {words[0] for words in block.commands} == {"mdcompress"}
    return [words[1:] for words in block.commands]


def shortened(words: list[str]) -> list[str]:
    """A command as it is run here: with less to do behind it, and the name of what an earlier one found."""
    names = [_found(word) for word in words]
    return names if any(word in names for word in AS_IT_STANDS) else [*names, *SMALLER.get(names[0], [])]


def _found(word: str) -> str:
    """A file of a search by its place: which trial and design are found is not the page's to say."""
    if not word.startswith("runs/4bit/search/"):
        return word
    return str(sorted(Path(word).parent.iterdir())[0])


COMMAND_BLOCKS = [block for block in BLOCKS if block.page not in SHOWN_PAGES and executed_by(block) == COMMANDS]


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in COMMAND_BLOCKS}))
def test_the_commands_of_a_page_run(page: str, here: Path) -> None:
    """In their order, each behind what the page says before it: a finished run, or none where the page makes it."""
    lines = [words for block in COMMAND_BLOCKS if block.page == page for words in typed(block)]
    assert lines
    for words in lines:
        if words[:3] == ["run", "--recipe", "4bit"] and "--run" not in words:
            shutil.rmtree(here / "runs/4bit")  # the page makes it, with settings of its own
        done = invoke(*shortened(words))
        assert done.code == 0, f"{' '.join(words)}\n{done.err}"


@pytest.mark.parametrize("page", sorted({page for (page, _), test in WHOLE.items() if test == YAML}))
def test_the_yaml_of_a_page_is_that_of_a_recipe(page: str, tmp_path: Path) -> None:
    """Each block, and each line of one that begins the same section anew, is a part of a recipe that loads."""
    blocks = blocks_of(page, "yaml")
    for block in blocks:
        lines = block.text.splitlines()
        parts = lines if all(line.startswith("data:") for line in lines) else [block.text]
        for part in parts:
            path = tmp_path / "part.yaml"
            path.write_text(f"schema: mdcompress.recipe/1\nname: part\n{part}\n", "utf-8")
            assert md.load_recipe(path).model_fields_set > {"name"}
    assert blocks


def test_weights_load_as_the_page_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Linear(3, 2)
    torch.save({"state_dict": nn.DataParallel(network).state_dict()}, here / "model_best.pth.tar")
    (block,) = blocks_of("docs/checkpoints.md", "python")
    exec(block.text, {"mdcompress": md, "network": nn.Linear(3, 2)})
    assert capsys.readouterr().out.strip() == block.text.partition("#")[2].strip()


def test_loaders_of_the_pages_form_are_taken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks_of("docs/data.md", "python")
    batches = "train = validation = test = [(torch.rand(4, 2, 3), torch.tensor([0, 1]))]\n"
    (here / "my_data.py").write_text(f"import torch\nfrom pathlib import Path\n{batches}{block.text}")
    monkeypatch.syspath_prepend(here)
    splits = load_data(DataSpec(name="my_data:loaders"), seed=0, consent=GIVEN)
    assert [x.shape for x, _ in splits.train] == [(4, 2, 3)]


def test_data_whose_code_was_agreed_to_are_loaded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = "[(torch.rand(4, 2, 3), torch.tensor([0, 1]))]"
    (here / "their_data.py").write_text(f"import torch\ndef loaders(**_): return {batches}, {batches}, {batches}\n")
    (here / "recipe.yaml").write_text("schema: mdcompress.recipe/1\nname: r\ndata: {name: 'their_data:loaders'}\n")
    monkeypatch.syspath_prepend(here)
    names: dict[str, DataSplits] = {}
    (block,) = blocks_of("docs/files_from_others.md", "python")
    exec(block.text, names)
    assert [x.shape for x, _ in names["splits"].test] == [(4, 2, 3)]


def test_the_benchmarks_that_pages_name_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """They take minutes to days; tests/benchmarks runs them on small networks. What is run here is the list."""
    assert benchmarks([]) == 0
    listed = capsys.readouterr().out
    lines = [words for block in BLOCKS if block.language == "bash" for words in block.commands]
    named = [words[3] for words in lines if words[:3] == ["python", "-m", "benchmarks"] and len(words) > 3]
    assert {"ir_drop", "drawn_neurons", "distillation_ablation"} <= set(named)
    for name in {*named} - {"NAME"}:
        assert f"\n{name}" in listed
