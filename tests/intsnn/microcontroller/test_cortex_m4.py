"""The folder of C on an emulated Cortex-M4: equal to the interpreter, within the memory of a small part."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unicorn import UcError

from intsnn.arithmetic import IntArray
from intsnn.execution.golden import read_golden
from intsnn.graph import IntGraph
from intsnn.microcontroller.golden_test import golden_vectors
from intsnn.onnx.file import read_onnx
from tests.support.c_programs import NAME, write_measured_package, write_package
from tests.support.cortex_m4 import KIB, Execution, Image, build_image, count_instructions, execute
from tests.support.firmware_steps import steps_program
from tests.support.hand_made_graphs import wide_hand_made_graphs
from tests.support.intgraphs import dense_graph, graph_inputs, random_input, residual_graph
from tests.support.main_run import MainRun
from tests.support.wide_graphs import any_graphs

FLASH_KIB, RAM_KIB = 64, 24  # what the 4-bit digits student may take
TRACE = f"-D{NAME.upper()}_TRACE"


def golden_image(folder: Path, *, flash_kib: int = 512, ram_kib: int = 128, level: str = "-Os") -> Image:
    """The code and its golden test as one program; roomy unless said."""
    sources = [folder / f"{NAME}.c", folder / f"test_{NAME}.c"]
    return build_image(sources, folder, flags=[level, TRACE], flash_kib=flash_kib, ram_kib=ram_kib)


def stepwise(graph: IntGraph, x: IntArray, folder: Path) -> Execution:
    """One sample step by step, with the instructions of each step, in the memory of a small part."""
    (folder / "main.c").write_text(steps_program(graph, x, NAME))
    return count_instructions(
        build_image([folder / f"{NAME}.c", folder / "main.c"], folder, flash_kib=FLASH_KIB, ram_kib=RAM_KIB)
    )


@pytest.fixture(scope="module")
def digits(main_run: MainRun) -> tuple[IntGraph, IntArray]:
    """The 4-bit student of the README, and its golden input."""
    run = main_run.folder / "runs" / "4bit"
    return read_onnx(run / "model.onnx"), read_golden(run / "golden.npz").x


def test_digits_student_gives_its_golden_vectors_in_64_kib_of_flash_and_24_kib_of_ram(
    digits: tuple[IntGraph, IntArray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, x = digits
    report = write_measured_package(graph, x, tmp_path)
    whole = execute(golden_image(tmp_path, flash_kib=FLASH_KIB, ram_kib=RAM_KIB))  # vectors and traces in it too
    assert whole.exit_code == 0
    steps = stepwise(graph, x[:, 0], tmp_path)
    vectors = golden_vectors(graph, x[:, :1])
    assert steps.words == tuple(np.ravel(vectors.answers).astype(np.uint32).tolist())
    assert report.flash_bytes <= FLASH_KIB * KIB and report.ram_bytes <= RAM_KIB * KIB
    counts = ", ".join(f"{count:,}" for count in steps.instructions)
    with capsys.disabled():
        sys.stdout.write(
            f"\ndigits, 4 bits, Cortex-M4: flash {report.in_words('flash')}; RAM {report.in_words('RAM')}; "
            f"instructions a step {counts}; with the golden test: flash {whole.flash_used:,} bytes, "
            f"RAM {whole.ram_used + whole.stack_bytes:,} bytes\n"
        )


def test_measured_sizes_are_those_of_the_linked_program(tmp_path: Path) -> None:
    graph = residual_graph()
    x = random_input(graph)
    report = write_measured_package(graph, x, tmp_path)
    seen = stepwise(graph, x[:, 0], tmp_path)
    firmware = 600  # start-up, main, and the library's functions
    assert report.measured is not None
    inputs = x[:, 0].size
    assert 0 <= seen.flash_used - report.flash_bytes - inputs <= firmware
    answer = 4 * int(np.prod(graph.output.shape))
    assert 0 <= seen.ram_used - report.measured.variable_bytes - answer <= 8
    main_frame = 128
    assert report.measured.stack_bytes // 4 <= seen.stack_bytes <= report.measured.stack_bytes + main_frame


@pytest.mark.parametrize("graph", wide_hand_made_graphs().values(), ids=wide_hand_made_graphs())
def test_every_kind_of_node_and_neuron_gives_its_golden_vectors(graph: IntGraph, tmp_path: Path) -> None:
    write_package(graph, random_input(graph, samples=2), tmp_path)
    assert execute(golden_image(tmp_path)).exit_code == 0


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O3"])
def test_every_level_of_optimization_gives_the_golden_vectors(level: str, tmp_path: Path) -> None:
    graph = residual_graph()
    write_package(graph, random_input(graph), tmp_path)
    assert execute(golden_image(tmp_path, level=level)).exit_code == 0


@settings(max_examples=12)
@given(st.data())
def test_drawn_graphs_give_their_golden_vectors(data: st.DataObject) -> None:
    graph = data.draw(any_graphs())
    with tempfile.TemporaryDirectory() as folder:
        write_package(graph, data.draw(graph_inputs(graph)), Path(folder))
        assert execute(golden_image(Path(folder))).exit_code == 0


def test_golden_test_counts_what_differs(tmp_path: Path) -> None:
    graph = dense_graph()
    write_package(graph, random_input(graph, samples=2), tmp_path)
    test, head = tmp_path / f"test_{NAME}.c", "answers[SAMPLES][STEPS][DRAWN_OUTPUT_SIZE] = {{{"
    assert head in test.read_text()
    test.write_text(test.read_text().replace(head, f"{head}1 + "))
    assert execute(golden_image(tmp_path)).exit_code == 1


@pytest.mark.parametrize("place", ["0x08010000", "0x20006000", "0x1FFFFFFC", "0x00000000"])
def test_emulated_part_has_no_other_memory(place: str, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(f"int main(void) {{ return *(volatile int *){place}u; }}")
    with pytest.raises(UcError, match="READ_UNMAPPED"):
        execute(build_image([tmp_path / "main.c"], tmp_path))


def test_flash_of_the_emulated_part_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("int main(void) { *(volatile int *)0x08000100u = 1; return 0; }")
    with pytest.raises(UcError, match="WRITE_PROT"):
        execute(build_image([tmp_path / "main.c"], tmp_path))


def test_instructions_between_marks_are_counted(tmp_path: Path) -> None:
    loop = '__asm volatile ("movs r3, #100\\n1: subs r3, #1\\nbne 1b\\n" : : : "r3", "cc");'
    mark = "*(volatile unsigned *)0x40000008u = 0;"
    (tmp_path / "main.c").write_text(f"int main(void) {{ {mark} {loop} {mark} return 7; }}")
    seen = count_instructions(build_image([tmp_path / "main.c"], tmp_path))
    (counted,) = seen.instructions
    assert seen.exit_code == 7 and 200 <= counted <= 210  # to the block
