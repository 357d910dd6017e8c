"""A graph, or a model.onnx, and an engine's name or `auto` -> an engine that is open.

`auto` takes the engine that is done first, the time to compile and to load included. Where the compiled one would be,
and there is no C compiler, it takes the next and notes what is missed. Rooms that one engine needs are loaded for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_never, get_args

from intsnn.engines.session import InterpreterSession, Session
from intsnn.engines.work import EngineName, Size, Work, compiling_seconds, seconds
from intsnn.errors import CompilerError, UsageError
from intsnn.graph import IntGraph

if TYPE_CHECKING:
    from intsnn.native.compiler import Compiler

Auto = Literal["auto"]
EngineChoice = Literal["auto", "native", "onnxruntime", "interpreter"]
AUTO: Auto = "auto"
CHOICES: tuple[EngineChoice, ...] = get_args(EngineChoice)


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
    if engine != AUTO:
        return Engine(engine, _session(graph, engine))
    name, notes = _chosen(graph, work)
    return Engine(name, _session(graph, name), notes)


@dataclass(frozen=True)
class Native:
    """The compiled session; or none, and the sentence that says why."""

    session: Session | None
    notes: tuple[str, ...] = ()


def open_native(graph: IntGraph) -> Native:
    """Compile a graph where there is a C compiler, however little work there is: as a witness beside others.

    Raises:
        CompilerError: there is a compiler, and it fails.
    """
    compiler, notes = _compiler()
    return Native(None if compiler is None else _session(graph, "native"), notes)


def _chosen(graph: IntGraph, work: Work) -> tuple[EngineName, tuple[str, ...]]:
    size = Size.of(graph)
    others: tuple[EngineName, ...] = ("interpreter", "onnxruntime")
    best = min(others, key=lambda name: seconds(name, size, work))
    saved = seconds(best, size, work) - seconds("native", size, work)
    if saved <= 0:
        return best, ()
    compiler, notes = _compiler()
    if compiler is None:
        return best, notes if saved > compiling_seconds(size) else ()
    if saved > compiling_seconds(size) or _is_compiled(graph):
        return "native", ()
    return best, ()


def _compiler() -> tuple[Compiler | None, tuple[str, ...]]:
    """The C compiler, or none and the sentence that says what is missed without it."""
    from intsnn.native.compiler import INSTALL, find_compiler

    try:
        return find_compiler(), ()
    except CompilerError as error:
        return None, (
            f"no C compiler works here, so the network is not run as native code: {INSTALL} ({error.message})",
        )


def _session(graph: IntGraph, engine: EngineName) -> Session:
    match engine:
        case "interpreter":
            return InterpreterSession(graph)
        case "onnxruntime":
            from intsnn.onnx.runtime import open_session

            return open_session(graph)
        case "native":
            from intsnn.native import compile as compile_graph

            return compile_graph(graph)
        case _:
            assert_never(engine)


def _read(path: Path | str) -> IntGraph:
    from intsnn.onnx.file import read_onnx

    return read_onnx(path)
