"""The folder of C on this machine: every kind of node and neuron gives the golden vectors, with sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.graph import IntGraph
from tests.support.c_programs import (
    Compilation,
    compilations,
    compile_here,
    run_golden_test,
    run_program,
    write_package,
)
from tests.support.hand_made_graphs import wide_hand_made_graphs
from tests.support.intgraphs import dense_graph, graph_inputs, random_input, residual_graph
from tests.support.wide_graphs import any_graphs

EQUAL = "answers, spikes and membranes equal"


@pytest.mark.parametrize("compilation", compilations(), ids=lambda one: one.name)
def test_drawn_graphs_are_equal_and_defined(compilation: Compilation) -> None:
    @settings(max_examples=12)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        graph = data.draw(any_graphs())
        with tempfile.TemporaryDirectory() as folder:
            write_package(graph, data.draw(graph_inputs(graph)), Path(folder))
            assert EQUAL in run_golden_test(Path(folder), compilation)

    holds()


@pytest.mark.parametrize("graph", wide_hand_made_graphs().values(), ids=wide_hand_made_graphs())
def test_every_kind_of_node_and_neuron_is_equal_and_defined(graph: IntGraph, tmp_path: Path) -> None:
    write_package(graph, random_input(graph), tmp_path)
    assert EQUAL in run_golden_test(tmp_path, compilations()[-1])


def test_difference_is_named_and_fails(tmp_path: Path) -> None:
    graph = residual_graph()
    write_package(graph, random_input(graph), tmp_path)
    test = tmp_path / "test_drawn.c"
    found = re.search(r"hashes\[.*?\{+(\d+)u, (\d+)u", test.read_text(), re.DOTALL)
    assert found is not None
    test.write_text(test.read_text().replace(f"{{{found[1]}u, {found[2]}u", f"{{{found[1]}u, 1u", 1))
    with pytest.raises(AssertionError, match=r"sample 0, step 0: membranes of .* must be what the graph says"):
        run_golden_test(tmp_path, compilations()[0])


def test_makefile_tests_here_and_compiles_for_a_microcontroller(tmp_path: Path) -> None:
    graph = dense_graph()
    write_package(graph, random_input(graph), tmp_path, name="small")
    text = (tmp_path / "Makefile").read_text()
    cross = re.findall(r"make small\.o CC='(.*)'", text)
    assert cross[0].startswith("arm-none-eabi-gcc") and "ziglang" in cross[1]
    if shutil.which("make") is None:  # the recipes are those of `run_golden_test`
        return
    for arguments in (["test", f"CC={' '.join(compilations()[0].command)}"], ["clean"], ["small.o", f"CC={cross[1]}"]):
        done = subprocess.run(["make", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr
    assert (tmp_path / "small.o").is_file() and not (tmp_path / "test_small").exists()


def test_example_of_the_readme_compiles_and_classifies(tmp_path: Path) -> None:
    graph = dense_graph()
    write_package(graph, random_input(graph), tmp_path)
    example = re.findall(r"```c\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)[0]
    declared = "int classify(const uint8_t *x);\nint classify("
    main = "int main(void) { uint8_t x[DRAWN_INPUT_SIZE] = {9, 200}; return classify(x) > 3; }\n"
    (tmp_path / "main.c").write_text(example.replace("int classify(", declared) + main)
    run_program(compile_here(tmp_path, compilations()[0], ["main.c", "drawn.c"]))


def test_folder_is_the_same_when_it_is_written_again(tmp_path: Path) -> None:
    graph = residual_graph()
    texts = []
    for _ in range(2):
        write_package(graph, random_input(graph), tmp_path)
        texts.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert texts[0] == texts[1]
    assert sorted(texts[0]) == ["Makefile", "README.md", "drawn.c", "drawn.h", "test_drawn.c"]
