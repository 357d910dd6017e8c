"""Names of runs as identifiers of C."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intsnn.errors import UsageError
from intsnn.microcontroller.naming import c_name, require_c_name


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("digits", "digits"),
        ("4bit", "net_4bit"),
        ("my-net v2.1", "my_net_v2_1"),
        ("_hidden", "net_hidden"),
        ("double", "net_double"),
        ("class", "net_class"),
        ("xor_eq", "net_xor_eq"),
        ("New", "New"),
        ("String", "net_String"),
        ("stdint", "net_stdint"),
        ("größe", "gr__e"),
        ("", "net_"),
    ],
)
def test_name_of_a_run_becomes_an_identifier(name: str, written: str) -> None:
    assert c_name(name) == written


@given(st.text())
def test_every_name_becomes_an_identifier_that_is_allowed(name: str) -> None:
    written = c_name(name)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", written) and require_c_name(written) == written
    assert c_name(written) == written


@pytest.mark.parametrize("name", ["4bit", "a-b", "while", "template", "and", "math", "STDIO", "", "_x", "a b", "é"])
def test_chosen_name_that_c_forbids_is_refused_with_one_that_works(name: str) -> None:
    with pytest.raises(UsageError, match="must be letters, digits and underscores") as raised:
        require_c_name(name)
    assert repr(c_name(name)) in raised.value.hints[0]
