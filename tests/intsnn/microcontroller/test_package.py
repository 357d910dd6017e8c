"""The folder of C on this machine: every kind of node and neuron gives the golden vectors, with sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intsnn.checking.stages import longest_run
from intsnn.emission.source import portable_source
from intsnn.execution.interpreter import run
from intsnn.graph import IntGraph
from tests.support.c_programs import (
    NAME,
    WARNINGS_OF_CPP,
    Compilation,
    compilations,
    compile_here,
    cpp_compilers,
    run_golden_test,
    run_program,
    write_measured_package,
    write_package,
)
from tests.support.graph_builder import GraphBuilder
from tests.support.hand_made_graphs import norm_per_step_graph, wide_hand_made_graphs
from tests.support.intgraphs import dense_graph, graph_inputs, random_input, residual_graph, with_changed_node
from tests.support.wide_graphs import any_graphs

HAND_MADE = wide_hand_made_graphs()
EQUAL = "answers, spikes and membranes equal"


@pytest.mark.parametrize("compilation", compilations(), ids=lambda one: one.name)
def test_drawn_graphs_are_equal_and_defined(compilation: Compilation) -> None:
    @settings(max_examples=8)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        graph = data.draw(any_graphs())
        with tempfile.TemporaryDirectory() as folder:
            write_package(graph, data.draw(graph_inputs(graph)), Path(folder))
            assert EQUAL in run_golden_test(Path(folder), compilation)

    holds()


@pytest.mark.parametrize("compilation", compilations(), ids=lambda one: one.name)
def test_a_block_of_as_many_words_as_bytes_are_cleared_compiles_without_a_warning(compilation: Compilation) -> None:
    """Found by drawing: GCC warns of a memset whose bytes are as many as the array has elements."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.input((1, 2), bit_width=1), mode="steps")
    graph = build.graph()
    with tempfile.TemporaryDirectory() as folder:
        write_package(graph, np.ones((1, 1, 1, 2), np.int64), Path(folder))
        assert EQUAL in run_golden_test(Path(folder), compilation)


@pytest.mark.parametrize("k", range(len(HAND_MADE)), ids=list(HAND_MADE))
def test_every_kind_of_node_and_neuron_is_equal_and_defined(k: int, tmp_path: Path) -> None:
    """Each graph by one compilation, each compilation with its share: compiling takes long."""
    graph = list(HAND_MADE.values())[k]
    write_package(graph, random_input(graph), tmp_path)
    assert EQUAL in run_golden_test(tmp_path, compilations()[(k + k // 2) % len(compilations())])


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


@pytest.mark.parametrize("compilation", cpp_compilers(), ids=lambda one: one.name)
@pytest.mark.parametrize("trace", [[], [f"-D{NAME.upper()}_TRACE"]], ids=["plain", "trace"])
def test_header_serves_a_program_in_cpp(compilation: Compilation, trace: list[str], tmp_path: Path) -> None:
    """The code is compiled as C; struct and functions are what C++ takes them for."""
    write_package(graph := residual_graph(), x := random_input(graph), tmp_path)
    frame, answer = x[0, 0].ravel(), run(graph, x[:1, :1]).output.ravel()
    (tmp_path / "main.cpp").write_text(CPP_MAIN % (", ".join(map(str, frame)), ", ".join(map(str, answer))))
    compile_here(tmp_path, compilation, ["main.cpp"], flags=["-c", *trace], warnings=WARNINGS_OF_CPP).rename(
        tmp_path / "main.o"
    )
    run_program(compile_here(tmp_path, compilations()[0], [f"{NAME}.c", "main.o"], flags=trace))


CPP_MAIN = """\
#include "drawn.h"

static_assert(DRAWN_MAX_STEPS > 1000, "a number that the preprocessor knows");

int main() // without the library of C++, which zig would build first
{
    const uint8_t frame[DRAWN_INPUT_SIZE] = {%s};
    const int32_t wanted[DRAWN_OUTPUT_SIZE] = {%s};
    static drawn net;
    int32_t answer[DRAWN_OUTPUT_SIZE];
    drawn_reset(&net);
    bool equal = drawn_step(&net, frame) == 1;
    drawn_answer(&net, answer);
    for (int i = 0; i < DRAWN_OUTPUT_SIZE; i++) {
        equal = equal && answer[i] == wanted[i];
    }
    return equal ? 0 : 1;
}
"""


@pytest.mark.parametrize("name", ["nn", "NN", "net", "stage0", "drawn"])
def test_name_may_be_one_that_the_code_begins_its_own_with(name: str, tmp_path: Path) -> None:
    graph = residual_graph()
    write_package(graph, random_input(graph), tmp_path, name=name)
    assert EQUAL in run_golden_test(tmp_path, compilations()[0], name=name)


def loud_graph() -> IntGraph:
    """One input of 255 makes currents of about 2^20: their sum is proved for little more than 1024 steps."""
    build = GraphBuilder(np.random.default_rng(0))
    build.readout(build.linear(build.input((64,)), 4, bit_width=8))
    return build.graph()


def test_no_sum_overflows_up_to_the_last_step_and_none_is_made_after_it(tmp_path: Path) -> None:
    """With the undefined-behaviour sanitizer: the answer is the exact sum of all steps that were taken."""
    graph = loud_graph()
    longest = longest_run(graph)
    assert longest is not None and 1024 <= longest < 100_000
    signed = np.concatenate([graph.synapses[0].weight, -graph.synapses[0].weight]).clip(min=0)
    frame = np.where(signed[signed.sum(axis=1).argmax()] > 0, 255, 0)
    step = run(graph, frame[None, None]).output.ravel()
    assert np.abs(longest * step).max() < 2**31 <= np.abs((longest + 1) * step).max()
    write_package(graph, frame[None, None], tmp_path)
    values = ", ".join(map(str, frame)), ", ".join(map(str, longest * step))
    (tmp_path / "main.c").write_text(STEPS_MAIN % (*values, longest))
    run_program(compile_here(tmp_path, compilations()[0], ["main.c", f"{NAME}.c"]))


STEPS_MAIN = """\
#include "drawn.h"

int main(void)
{
    static struct drawn net;
    static const uint8_t frame[DRAWN_INPUT_SIZE] = {%s};
    static const int32_t wanted[DRAWN_OUTPUT_SIZE] = {%s};
    int32_t answer[DRAWN_OUTPUT_SIZE];
    int taken = 0, wrong = DRAWN_MAX_STEPS != %d;
    for (int again = 0; again < 2; again++, taken = 0) {
        drawn_reset(&net);
        for (int step = 0; step < DRAWN_MAX_STEPS + 100; step++) {
            taken += drawn_step(&net, frame);
        }
        drawn_answer(&net, answer);
        wrong |= taken != DRAWN_MAX_STEPS;
        for (int i = 0; i < DRAWN_OUTPUT_SIZE; i++) {
            wrong |= answer[i] != wanted[i];
        }
    }
    return wrong;
}
"""


def test_header_and_readme_say_how_many_steps_there_may_be() -> None:
    norms, summed = norm_per_step_graph(time_steps=3), dense_graph()
    said = {graph: portable_source(graph, "net") for graph in (norms, summed)}
    assert "#define NET_MAX_STEPS 3 /* the network has its norms for so many */" in said[norms].header
    assert "#define NET_MAX_STEPS 51130563 /* up to here every sum of the answer fits int32 */" in said[summed].header
    for mode in ("last", "max", "steps"):
        source = portable_source(with_changed_node(summed, "readout", mode=mode), "net")
        assert "#define NET_MAX_STEPS INT32_MAX /* no limit: nothing is summed over the steps */" in source.header
        assert "step;" not in source.header and "return 0" not in source.code  # nothing is counted, nothing can end


def test_readme_says_how_long_a_stream_may_be(tmp_path: Path) -> None:
    texts = []
    for graph in (
        norm_per_step_graph(time_steps=3),
        dense_graph(),
        with_changed_node(dense_graph(), "readout", mode="last"),
    ):
        write_package(graph, random_input(graph), tmp_path)
        texts.append(" ".join((tmp_path / "README.md").read_text().split()))
    end = "After so many `drawn_step` does nothing and returns 0, else 1."
    assert f"norms for `DRAWN_MAX_STEPS` = 3 steps: a sample has exactly so many. {end}" in texts[0]
    assert "at most `DRAWN_MAX_STEPS` = 51,130,563 steps, up to which every sum of the answer" in texts[1]
    assert end in texts[1] and "for ever (`DRAWN_MAX_STEPS` is `INT32_MAX`)" in texts[2]


def test_readme_says_whether_anything_was_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    graph = dense_graph()
    write_measured_package(graph, random_input(graph), tmp_path)
    assert "Compiled with `-Os` for a Cortex-M4" in (tmp_path / "README.md").read_text()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    write_measured_package(graph, random_input(graph), tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert "Compiled with" not in readme and "nothing was compiled when this was written" in readme
    assert "**flash** at least " in readme and "**RAM** at least " in readme


def test_folder_is_the_same_when_it_is_written_again(tmp_path: Path) -> None:
    graph = residual_graph()
    texts = []
    for _ in range(2):
        write_package(graph, random_input(graph), tmp_path)
        texts.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert texts[0] == texts[1]
    assert sorted(texts[0]) == ["Makefile", "README.md", "drawn.c", "drawn.h", "test_drawn.c"]
