"""A graph, or a model.onnx, and an engine's name or `auto` -> an engine that is open.

`auto` takes the engine that is done first, the time to compile and to load included. Where the compiled one would be,
and there is no C compiler or no folder for what it writes, it takes the next and notes what is missed. Rooms that one
engine needs are loaded for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_never, get_args

from intsnn.engines.session import InterpreterSession, Session
from intsnn.engines.work import EngineName, Size, Work, compiling_seconds, seconds
from intsnn.errors import CompilerError, IntsnnError, UsageError
from intsnn.graph import IntGraph

if TYPE_CHECKING:
    from intsnn.compiling.compiler import Compiler

Auto = Literal["auto"]
EngineChoice = Literal["auto", "native", "onnxruntime", "interpreter"]
AUTO: Auto = "auto"
CHOICES: tuple[EngineChoice, ...] = get_args(EngineChoice)
_FAST: tuple[str, ...] = ()  # the flags are those of the fastest library
_SOON = ("-O0",)  # after them: a third of the time to compile, and much slower code


@dataclass(frozen=True)
class Engine:
    """A session, which engine it is of, and what a user should hear of the choice: nothing, or a sentence each."""

    name: EngineName
    session: Session
    notes: tuple[str, ...] = ()


def open_engine(source: IntGraph | Path | str, engine: EngineChoice = AUTO, *, work: Work) -> Engine:
    """Make a graph ready to run.

    Args:
        source: the graph, or the path of a model.onnx.
        engine: which engine; `auto`: the one that has done the work first.
        work: what the session will be given in all, which `auto` weighs against the time to compile.

    Returns:
        The engine's name, its session, and what a user should hear of the choice.

    Raises:
        CompilerError: `native` is asked for, and there is no C compiler or it fails.
        UsageError: there is no such engine.
        MissingFileError: there is no such file.
        InvalidFileError: the file is no model of mdcompress.
    """
    if engine not in CHOICES:
        raise UsageError(
            f"engine must be one of {', '.join(CHOICES)} (got {engine!r})", hints=["`auto` chooses itself"]
        )
    graph = source if isinstance(source, IntGraph) else _read(source)
    if engine == "auto":
        return _chosen(graph, work)
    return Engine(engine, _session(graph, engine), _kept() if engine == "native" else ())


@dataclass(frozen=True)
class Native:
    """The compiled session; or none, and the sentence that says why."""

    session: Session | None
    notes: tuple[str, ...] = ()


def open_native(graph: IntGraph, *, work: Work) -> Native:
    """Compile a graph where there is a C compiler, however little work there is: as a witness beside others.

    For little work the compiler is told to take less trouble.

    Raises:
        CompilerError: there is a compiler, and it fails.
    """
    found = _compiler()
    if isinstance(found, IntsnnError):
        return Native(None, (_missed(found, "the network is not run as native code"),))
    size = Size.of(graph)
    saved = seconds("onnxruntime", size, work) - seconds("native", size, work)
    return Native(_native(graph, found, _FAST if saved > compiling_seconds(size) else _SOON), _kept())


def _chosen(graph: IntGraph, work: Work) -> Engine:
    size = Size.of(graph)
    others: tuple[EngineName, ...] = ("interpreter", "onnxruntime")
    name = min(others, key=lambda other: seconds(other, size, work))
    saved = seconds(name, size, work) - seconds("native", size, work)
    pays = saved > compiling_seconds(size)
    found = _compiler() if saved > 0 or _chosen_is_missing() else None
    if isinstance(found, IntsnnError) and (pays or _is_chosen(found)):
        said = _missed(found, f"the network is not run as native code, but by {name}")
        return Engine(name, _session(graph, name), (said,))
    if found is None or isinstance(found, IntsnnError):
        return Engine(name, _session(graph, name))
    native = _native(graph, found, _FAST) if pays else _stored(graph, found)
    return Engine(name, _session(graph, name)) if native is None else Engine("native", native, _kept())


def _compiler() -> Compiler | CompilerError | UsageError:
    from intsnn.compiling.compiler import usable_compiler

    return usable_compiler()


def _missed(error: IntsnnError, instead: str) -> str:
    """One sentence: why nothing is compiled, what is done, and what helps."""
    from intsnn.compiling.folder import StorageError

    if _is_chosen(error):
        why = "the compiler that CC names does not work"
    elif isinstance(error, UsageError | StorageError):
        why = "compiled code has no folder here"
    else:
        why = "no C compiler works here"
    return f"{why}, so {instead} ({error.message.splitlines()[0]}): {error.hints[0]}"


def _is_chosen(error: IntsnnError) -> bool:
    from intsnn.compiling.compiler import ChosenCompilerError

    return isinstance(error, ChosenCompilerError)


def _chosen_is_missing() -> bool:
    from intsnn.compiling.compiler import chosen_is_missing

    return chosen_is_missing()


def _kept() -> tuple[str, ...]:
    """What a user should hear of the folder of compiled code."""
    from intsnn.compiling.folder import unkept

    said = unkept()
    return () if said is None else (said,)


def _session(graph: IntGraph, engine: EngineName) -> Session:
    match engine:
        case "interpreter":
            return InterpreterSession(graph)
        case "onnxruntime":
            from intsnn.onnx.runtime import open_session

            return open_session(graph)
        case "native":
            from intsnn.compiling.compiler import find_compiler

            return _native(graph, find_compiler(), _FAST)
        case _:
            assert_never(engine)


def _native(graph: IntGraph, compiler: Compiler, effort: tuple[str, ...]) -> Session:
    from intsnn.compiling.compiler import host_flags
    from intsnn.native import compile as compile_graph

    return compile_graph(graph, compiler=compiler, flags=(*host_flags(compiler), *effort))


def _stored(graph: IntGraph, compiler: Compiler) -> Session | None:
    from intsnn.native import stored_session

    return stored_session(graph, compiler=compiler)


def _read(path: Path | str) -> IntGraph:
    from intsnn.onnx.file import read_onnx

    return read_onnx(path)
