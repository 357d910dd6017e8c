"""Sessions of all engines give the same values, and `auto` takes the one that is done first."""

import errno
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import intsnn.native
from intsnn import write_onnx
from intsnn.activity.counting import NumpyCounting, counting_for
from intsnn.compiling import folder
from intsnn.compiling.compiler import find_compiler, host_flags
from intsnn.engines import CHOICES, EngineName, InterpreterSession, Work, open_engine, open_native
from intsnn.engines.work import Size, compiling_seconds, seconds
from intsnn.errors import CompilerError, UsageError
from intsnn.execution.interpreter import run
from intsnn.execution.parity import compare
from intsnn.graph import IntGraph
from mdcompress.cli.options import ENGINES
from tests.support.command_line import environment
from tests.support.compilers import hide_compilers
from tests.support.intgraphs import dense_graph, graph_inputs, random_input, residual_graph
from tests.support.wide_graphs import any_graphs

pytestmark = pytest.mark.usefixtures("compiled_as_shipped")
NO_WORK, MUCH_WORK = Work(samples=1, time_steps=1), Work(samples=10**9, time_steps=4)
GRAPHS = [dense_graph(), residual_graph()]


def require_same_values(graph: IntGraph, engine: EngineName, x: np.ndarray) -> int:
    """How many spikes there were."""
    session, exact = open_engine(graph, engine, work=NO_WORK).session, run(graph, x)
    assert session.graph is graph
    assert compare(exact, session.run(x)).equal
    assert np.array_equal(session.answer(x), exact.output) and session.answer(x).dtype == np.int64
    spikes = session.spikes(x)
    assert list(spikes) == list(exact.spikes)
    assert all(np.array_equal(spikes[name], values) for name, values in exact.spikes.items())
    return sum(int(values.sum()) for values in spikes.values())


@settings(max_examples=15, deadline=None)
@given(st.data(), any_graphs())
@pytest.mark.parametrize("engine", ["interpreter", "onnxruntime"])
def test_sessions_give_the_values_of_the_interpreter(engine: EngineName, data: st.DataObject, graph: IntGraph) -> None:
    require_same_values(graph, engine, data.draw(graph_inputs(graph)))


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_compiled_session_gives_the_values_of_the_interpreter(graph: IntGraph) -> None:
    assert require_same_values(graph, "native", random_input(graph)) > 0


def test_a_model_file_is_opened(tmp_path: Path) -> None:
    graph = dense_graph()
    write_onnx(graph, tmp_path / "model.onnx")
    opened = open_engine(tmp_path / "model.onnx", "interpreter", work=NO_WORK)
    assert opened.name == "interpreter" and opened.session.graph == graph


def test_little_work_is_not_compiled_for_and_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_compilers(monkeypatch)
    opened = open_engine(dense_graph(), work=NO_WORK)
    assert (opened.name, opened.notes) == ("interpreter", ())


@pytest.mark.parametrize("graph", GRAPHS)
def test_much_work_is_compiled_for(graph: IntGraph) -> None:
    opened = open_engine(graph, work=MUCH_WORK)
    assert (opened.name, opened.notes) == ("native", ())


def test_work_that_does_not_pay_to_compile_takes_a_library_that_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(tmp_path))
    graph = residual_graph()
    size, work = Size.of(graph), Work(samples=2000, time_steps=4)
    fastest = min(seconds("interpreter", size, work), seconds("onnxruntime", size, work))
    assert 0 < fastest - seconds("native", size, work) < compiling_seconds(size)
    assert open_engine(graph, work=work).name != "native"
    open_engine(graph, "native", work=work)
    assert open_engine(graph, work=work).name == "native"


def test_without_a_compiler_auto_goes_on_and_says_what_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_compilers(monkeypatch)
    opened = open_engine(residual_graph(), work=MUCH_WORK)
    assert opened.name == "onnxruntime"
    (note,) = opened.notes
    assert "no C compiler works here" in note and "pip install 'mdcompress[native]'" in note and "\n" not in note


def test_without_a_compiler_there_is_no_witness_and_the_same_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_compilers(monkeypatch)
    found = open_native(dense_graph(), work=NO_WORK)
    assert found.session is None and "no C compiler works here" in found.notes[0]


def foreign_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Someone else can write where compiled code is kept."""
    (tmp_path / "native").mkdir()
    (tmp_path / "native").chmod(0o777)
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(tmp_path))


def folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MDCOMPRESS_CACHE", str(tmp_path / "file" / "cache"))


def no_folder_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home_that_is_a_file(monkeypatch, tmp_path)

    def none(*_: object, **__: object) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "mkdtemp", none)


def home_that_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    for name in ("MDCOMPRESS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(folder, "_temporary_place", folder._temporary_place.__wrapped__)


def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    home_that_is_a_file(monkeypatch, tmp_path)
    monkeypatch.setattr(Path, "home", none)


@pytest.mark.parametrize("spoil", [foreign_folder, folder_that_cannot_be_made, no_folder_at_all])
def test_without_a_folder_of_its_own_auto_goes_on_and_says_what_is_missed(
    spoil: Callable[[pytest.MonkeyPatch, Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find_compiler()  # it is known from before: a process may find the folder spoilt later
    spoil(monkeypatch, tmp_path)
    opened = open_engine(residual_graph(), work=MUCH_WORK)
    (note,) = opened.notes
    begin = "compiled code has no folder here, so the network is not run as native code"
    assert opened.name == "onnxruntime" and note.startswith(f"{begin}, but by onnxruntime (")
    assert "set MDCOMPRESS_CACHE to a folder that is yours" in note and "\n" not in note
    witness = open_native(dense_graph(), work=NO_WORK)
    assert witness.session is None and witness.notes[0].startswith(f"{begin} (")
    assert isinstance(counting_for(10**12), NumpyCounting)
    with pytest.raises((UsageError, CompilerError), match=r"file|native|must be a folder"):
        open_engine(dense_graph(), "native", work=NO_WORK)


@pytest.mark.parametrize("spoil", [home_that_is_a_file, no_home])
def test_without_a_home_code_is_compiled_for_this_process_and_that_is_said(
    spoil: Callable[[pytest.MonkeyPatch, Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spoil(monkeypatch, tmp_path)
    monkeypatch.setattr(folder, "_temporary_place", lambda: tmp_path)
    tmp_path.chmod(0o700)
    for notes in (
        open_engine(residual_graph(), work=MUCH_WORK).notes,
        open_engine(residual_graph(), "native", work=MUCH_WORK).notes,
        open_native(residual_graph(), work=MUCH_WORK).notes,
    ):
        (note,) = notes
        assert note.startswith("compiled code is not kept for the next time (")
        assert "set MDCOMPRESS_CACHE to a folder that is yours" in note
    assert len(list((tmp_path / "native").glob("*.so"))) == 1
    assert open_engine(dense_graph(), work=NO_WORK).notes == ()  # nothing is compiled for it


@pytest.mark.parametrize("work", [MUCH_WORK, NO_WORK])
def test_compiler_that_was_chosen_and_does_not_work_is_said_however_little_it_matters(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "nonsense")
    opened = open_engine(residual_graph(), work=work)
    (note,) = opened.notes
    assert opened.name == ("onnxruntime" if work == MUCH_WORK else "interpreter")
    assert note == (
        f"the compiler that CC names does not work, so the network is not run as native code, but by {opened.name} "
        "(CC=nonsense: must be a C compiler that works here; nonsense cannot be run (No such file or directory)): "
        "set CC to another compiler, or unset it to have one looked for"
    )
    (note,) = open_native(residual_graph(), work=work).notes
    assert note.startswith("the compiler that CC names does not work, so the network is not run as native code (CC=")


def test_compiler_that_was_chosen_and_works_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", " ".join(find_compiler().command))
    assert open_engine(residual_graph(), work=MUCH_WORK).notes == ()
    assert open_engine(residual_graph(), work=NO_WORK).notes == ()


def test_native_without_a_compiler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_compilers(monkeypatch)
    with pytest.raises(CompilerError) as error:
        open_engine(dense_graph(), "native", work=NO_WORK)
    assert any("pip install 'mdcompress[native]'" in hint for hint in error.value.hints)


def test_a_witness_for_little_work_is_compiled_soon_and_equal() -> None:
    graph = residual_graph()
    session = open_native(graph, work=NO_WORK).session
    x = random_input(graph)
    assert session is not None and compare(run(graph, x), session.run(x)).equal


@pytest.mark.parametrize(("work", "effort"), [(NO_WORK, ("-O0",)), (MUCH_WORK, ())])
def test_a_witness_is_compiled_with_as_much_trouble_as_its_work_is_worth(
    work: Work, effort: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def compiled(graph: IntGraph, *, flags: Sequence[str], **_: object) -> InterpreterSession:
        taken.append(tuple(flags))
        return InterpreterSession(graph)

    monkeypatch.setattr(intsnn.native, "compile", compiled)
    open_native(residual_graph(), work=work)
    assert taken == [(*host_flags(find_compiler()), *effort)]


def test_an_engine_that_there_is_not_is_an_error() -> None:
    with pytest.raises(UsageError, match="engine must be one of"):
        open_engine(dense_graph(), "gpu", work=NO_WORK)  # type: ignore[arg-type]  # it is refused


def test_more_work_takes_longer_and_native_least_per_step() -> None:
    for graph in GRAPHS:
        size = Size.of(graph)
        each = {
            name: seconds(name, size, MUCH_WORK) - seconds(name, size, NO_WORK)
            for name in ("native", "onnxruntime", "interpreter")
        }
        assert 0 < each["native"] < each["onnxruntime"] < each["interpreter"]


def test_the_size_of_a_graph_by_hand() -> None:
    """12 features -> 10 -> 8 -> 4: products of the three layers, and all values that are written."""
    size = Size.of(dense_graph())
    assert size.multiplications == 12 * 10 + 10 * 8 + 8 * 4
    assert size.values == 12 + 3 * 10 + 3 * 8 + 3 * 4 and size.nodes == len(dense_graph())


def test_the_command_line_offers_the_engines_there_are() -> None:
    assert ENGINES == CHOICES


@pytest.mark.parametrize("module", ["intsnn.engines", "intsnn.activity"])
def test_engines_that_are_not_taken_are_not_loaded(module: str, tmp_path: Path) -> None:
    code = f"import {module}, sys; print(sorted({{'onnx', 'onnxruntime', 'intsnn.native'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
