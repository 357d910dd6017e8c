"""Names of nodes come from files: whatever they hold, the C that is written holds none of it as code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from intsnn.emission.source import host_source, portable_source
from intsnn.graph import IntGraph
from intsnn.native import compile, host_text
from tests.support.c_programs import write_package
from tests.support.intgraphs import random_input, residual_graph

# each tries to end a comment, a string or a line; a name has no "/" (FORMAT.md), which C has another spelling for
HOSTILE = [
    "*\\\n{}int PAYLOAD(void);",
    '"); PAYLOAD(); ("',
    "x\n#include <PAYLOAD.h>\nx",
    "x\r#define PAYLOAD\r",
    "%:define PAYLOAD",
    "$(shell PAYLOAD)",
    "\x1b]0;PAYLOAD\x07",
]


def renamed(graph: IntGraph, words: str) -> IntGraph:
    names = {node.name: f"{node.name}{words}" for node in graph}
    nodes = (replace(node, name=names[node.name], inputs=tuple(names[one] for one in node.inputs)) for node in graph)
    return IntGraph(tuple(nodes), graph.metadata)


def code_of(text: str) -> str:
    """C without its comments and the inside of its strings, as a compiler sees it: lines that are split come first."""
    text = re.sub(r"\\\r?\n", "", text.replace("??/", "\\"))
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)


@pytest.mark.parametrize("words", HOSTILE)
def test_a_name_is_an_identifier_or_a_comment(words: str, tmp_path: Path) -> None:
    graph = renamed(residual_graph(), words)
    write_package(graph, random_input(graph), tmp_path)
    texts = [host_text(host_source(graph)), host_text(portable_source(graph))]
    texts += [path.read_text() for path in tmp_path.rglob("*") if path.suffix in (".c", ".h")]
    assert len(texts) > 3
    found = {name for text in texts for name in re.findall(r"\w*PAYLOAD\w*", code_of(text))}
    assert found and "PAYLOAD" not in found  # a part of longer names alone
    assert all("PAYLOAD" not in path.read_text() for path in tmp_path.rglob("Makefile"))


def test_the_hardest_of_them_compiles_to_the_same_answers() -> None:
    graph = residual_graph()
    x = random_input(graph)
    hostile = compile(renamed(graph, HOSTILE[0]))
    assert (hostile.answer(x) == compile(graph).answer(x)).all()
