"""Strict YAML: what is read, every kind of fault with its exact place, changes, and writing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, model_validator
from ruamel.yaml import YAML

from intsnn.errors import InvalidFileError, MissingFileError, Problem
from intsnn.yaml.file import RuleError, StrictModel, read_yaml, read_yaml_text
from intsnn.yaml.tree import DEEPEST_LEVEL, PlainValue, parse_tree, scalar_value
from intsnn.yaml.writing import write_yaml_text, write_yaml_value

SCHEMA = "mdcompress.toy/1"


class Cell(StrictModel):
    kind: Literal["rram", "sram"] = Field("rram", description="the device")
    bits: int = Field(1, ge=1, le=8)


class Sized(StrictModel):
    kind: Literal["sized"]
    size: int


class Named(StrictModel):
    kind: Literal["named"]
    label: str


class Toy(StrictModel):
    name: str = Field(min_length=2, description="what it is called")
    rate: float = Field(0.5, gt=0, lt=1)
    on: bool = True
    steps: tuple[int, ...] = Field((1,), min_length=1, max_length=3)
    match: str | tuple[str, ...] = "**"
    cell: Cell = Cell()
    maybe: Cell | None = None
    prices: dict[str, float] = Field({})
    many: tuple[Cell, ...] = ()
    pair: tuple[int, str] | None = None
    part: Annotated[Sized | Named, Field(discriminator="kind")] | None = None
    code: str = Field("a", pattern="^[a-z]$")

    @model_validator(mode="after")
    def _rate_fits_bits(self) -> Toy:
        if self.cell.bits == 8 and self.rate > 0.9:
            raise RuleError("must be at most 0.9 with 8 bits", hint="lower rate", field="rate")
        if self.name == "nobody":
            raise ValueError("must be somebody")
        if self.name == "no rule":
            raise RuleError("breaks a rule of the whole")
        return self


def read(body: str, *changes: str) -> Toy:
    return read_yaml_text(f"schema: {SCHEMA}\n{body}", "toy.yaml", Toy, schema=SCHEMA, changes=changes)


def problems_of(body: str, *changes: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidFileError) as caught:
        read(body, *changes)
    return caught.value.problems


@dataclass(frozen=True)
class Fault:
    """A body (line 1 is `schema`), where its one problem stands, and what the problem says."""

    body: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""


FAULTS = {
    "unknown key": Fault("name: abc\ncell: {kinds: rram}", 3, 8, "cell.kinds", "unknown key", "the key is `kind`"),
    "unknown key far from all": Fault("name: abc\ncell: {zzz: 1}", 3, 8, "cell.zzz", "unknown key", "kind, bits"),
    "key of another section": Fault("name: abc\nlabel: x", 3, 1, "label", "unknown key", "is a key of `part`"),
    "misspelt schema": Fault("name: abc\nshema: x", 3, 1, "shema", "unknown key", "the key is `schema`"),
    "missing key": Fault("rate: 0.1", 1, 1, "name", "this key is required", "add `name: …` (what it is called)"),
    "missing key below": Fault("name: abc\npart:\n  kind: sized", 3, 1, "part.size", "this key is required", "add"),
    "missing item": Fault("name: abc\npair: [1]", 3, 1, "pair.1", "this key is required"),
    "wrong word": Fault(
        "name: abc\ncell: {kind: rrm}", 3, 8, "cell.kind", "must be one of rram, sram (got 'rrm')", "`rram`"
    ),
    "word for a number": Fault("name: abc\nrate: hot", 3, 1, "rate", "must be a number (got 'hot')"),
    "nothing for a number": Fault("name: abc\nrate:", 3, 1, "rate", "must be a number (got nothing)"),
    "true for a number": Fault("name: abc\ncell: {bits: true}", 3, 8, "cell.bits", "must be an integer (got true)"),
    "quoted number": Fault("name: abc\nrate: '0.1'", 3, 1, "rate", "must be a number (got '0.1')"),
    "fraction for an integer": Fault(
        "name: abc\ncell:\n  bits: 1.5", 4, 3, "cell.bits", "must be an integer (got 1.5)"
    ),
    "whole fraction for an integer": Fault("name: abc\ncell:\n  bits: 2.0", 4, 3, "cell.bits", "must be an integer"),
    "yes for a truth": Fault("name: abc\non: yes", 3, 1, "on", "must be true or false (got 'yes')", "YAML 1.2"),
    "number for a truth": Fault("name: abc\non: 1", 3, 1, "on", "must be true or false (got 1)"),
    "number for text": Fault("name: 12", 2, 1, "name", "must be text (got 12)", "put it in quotes: '12'"),
    "truth for text": Fault("name: true", 2, 1, "name", "must be text (got true)", "put it in quotes: 'true'"),
    "nothing for text": Fault("name: null", 2, 1, "name", "must be text (got nothing)"),
    "too small": Fault("name: abc\ncell: {bits: 0}", 3, 8, "cell.bits", "must be at least 1 (got 0)"),
    "too large": Fault("name: abc\ncell: {bits: 9}", 3, 8, "cell.bits", "must be at most 8 (got 9)"),
    "not above": Fault("name: abc\nrate: 0", 3, 1, "rate", "must be greater than 0 (got 0)"),
    "not below": Fault("name: abc\nrate: 1.0", 3, 1, "rate", "must be less than 1 (got 1.0)"),
    "infinite": Fault("name: abc\nrate: .inf", 3, 1, "rate", "must be a finite number (got inf)"),
    "not a number": Fault("name: abc\nrate: .nan", 3, 1, "rate", "must be a finite number (got nan)"),
    "overflow": Fault("name: abc\nrate: 1e999", 3, 1, "rate", "must be a finite number (got inf)"),
    "huge integer": Fault(
        f"name: abc\nrate: 1{'0' * 60}", 3, 1, "rate", "must be less than 1 (got a number of 61 digits)"
    ),
    "integer beyond float": Fault(
        f"name: abc\nrate: 1{'0' * 350}", 3, 1, "rate", "must be a finite number (got a number of 351 digits)"
    ),
    "endless digits": Fault(f"name: abc\nrate: {'9' * 5000}", 3, 1, "rate", f"must be a number (got '{'9' * 60}'…)"),
    "list for a section": Fault("name: abc\ncell: []", 3, 1, "cell", "must be a mapping of keys (got a list)"),
    "mapping for a list": Fault("name: abc\nsteps: {a: 1}", 3, 1, "steps", "must be a list (got a mapping)"),
    "single for a list": Fault("name: abc\nsteps: 3", 3, 1, "steps", "must be a list (got 3)", "[a, b]"),
    "wrong item": Fault("name: abc\nsteps: [1, x]", 3, 12, "steps.1", "must be an integer (got 'x')"),
    "wrong item in a block": Fault("name: abc\nsteps:\n  - 1\n  - x", 5, 5, "steps.1", "must be an integer (got 'x')"),
    "list too short": Fault("name: abc\nsteps: []", 3, 1, "steps", "must have at least 1 item (got a list)"),
    "list too long": Fault("name: abc\nsteps: [1, 2, 3, 4]", 3, 1, "steps", "must have at most 3 items (got a list)"),
    "text too short": Fault("name: a", 2, 1, "name", "must have at least 2 characters (got 'a')"),
    "pattern": Fault("name: abc\ncode: A", 3, 1, "code", "must match ^[a-z]$ (got 'A')"),
    "union of types": Fault("name: abc\nmatch: 3", 3, 1, "match", "must be text or a list (got 3)"),
    "item in a union": Fault("name: abc\nmatch: [a, 3]", 3, 12, "match.1", "must be text (got 3)"),
    "wrong tag": Fault("name: abc\npart: {kind: x}", 3, 1, "part", "'kind' must be one of 'sized', 'named'"),
    "no tag": Fault("name: abc\npart: {size: 1}", 3, 1, "part", "must have the key 'kind'"),
    "below a tag": Fault("name: abc\npart: {kind: sized, size: x}", 3, 21, "part.size", "must be an integer (got 'x')"),
    "in an item": Fault("name: abc\nmany:\n- bits: 2\n- kind: x", 5, 3, "many.1.kind", "must be one of rram, sram"),
    "in a table": Fault("name: abc\nprices: {a: 1, b: x}", 3, 16, "prices.b", "must be a number (got 'x')"),
    "in an optional section": Fault("name: abc\nmaybe: {bit: 2}", 3, 9, "maybe.bit", "unknown key", "`bits`"),
    "rule between fields": Fault(
        "name: abc\nrate: 0.95\ncell: {bits: 8}", 3, 1, "rate", "must be at most 0.9", "lower rate"
    ),
    "rule of the whole": Fault("name: no rule", 1, 1, "", "breaks a rule of the whole"),
    "plain ValueError": Fault("name: nobody", 1, 1, "", "must be somebody"),
    "duplicate key": Fault("name: abc\nname: def", 3, 1, "name", "this key was given already in line 2", "delete one"),
    "duplicate below": Fault("name: abc\ncell: {bits: 1, bits: {a: [1]}}", 3, 17, "cell.bits", "already in line 3"),
    "anchor": Fault("name: &a abc", 2, 7, "name", "anchors are not offered (got &a)", "write the value"),
    "alias": Fault("name: abc\nmatch: *a", 3, 8, "match", "aliases are not offered (got *a)", 'quote it: "*a"'),
    "role without quotes": Fault("name: abc\nmatch: @first", 3, 8, "", "this is not YAML", "put text that starts"),
    "merge key": Fault(
        "name: abc\ncell:\n  <<: {bits: 2}", 4, 3, "cell", "merge keys are not offered", "write the keys"
    ),
    "tag": Fault("name: !!str 3", 2, 7, "name", "tags are not offered (got tag:yaml.org,2002:str)", "delete"),
    "tagged section": Fault("name: abc\ncell: !Cell {bits: 2}", 3, 7, "cell", "tags are not offered (got !Cell)"),
    "number as key": Fault("name: abc\ncell: {1: 2}", 3, 8, "cell", "a key must be text (got 1)", "quotes: '1'"),
    "nothing as key": Fault("name: abc\ncell: {: 2}", 3, 9, "cell", "a key must be text (got nothing)"),
    "list as key": Fault("name: abc\ncell: {[a, b]: {c: d}}", 3, 8, "cell", "a key must be a word, not a list"),
    "tab": Fault("name: abc\ncell:\n\tbits: 2", 4, 1, "", "this is not YAML", "spaces, never with tabs"),
    "open bracket": Fault("name: abc\nsteps: [1, 2\n", 4, 1, "", "this is not YAML", "check brackets"),
    "indentation": Fault("name: abc\n cell: 3", 3, 6, "", "this is not YAML", "indentation"),
    "control character": Fault("name: abc\nmatch: a\x01b", 3, 9, "", "text without control characters (got '\\x01')"),
    "half a surrogate": Fault('name: abc\nmatch: "\\ud800"', 3, 8, "match", "must be Unicode text"),
    "second document": Fault("name: abc\n---\nname: d", 3, 1, "", "a second document starts here", "split the file"),
    "directive": Fault(
        "name: abc\n...\n%YAML 1.1\n---\nname: d", 5, 1, "", "directives are not offered", "starts with %"
    ),
    "deep nesting": Fault(
        f"name: abc\nsteps: {'[' * 60}{']' * 60}", 3, 8 + 49, "steps" + ".0" * 49, "must nest at most 50"
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_reported_at_its_place_with_what_must_hold(fault: Fault) -> None:
    problem = problems_of(fault.body)[0]
    assert (problem.file, problem.line, problem.column) == ("toy.yaml", fault.line, fault.column)
    assert problem.path == fault.path
    assert fault.message in problem.message
    assert fault.hint in (problem.hint or "")


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("directive",)])
def test_one_fault_is_one_problem(name: str) -> None:
    assert len(problems_of(FAULTS[name].body)) == 1


def test_all_problems_are_reported_at_once_and_sorted_by_place() -> None:
    problems = problems_of("cell: {bits: 9, kind: x, zz: 1}\nrate: hot\nrate: 2\nname: 3\nsteps: [a, b]")
    assert [(p.line, p.column, p.path) for p in problems] == [
        (2, 8, "cell.bits"), (2, 17, "cell.kind"), (2, 26, "cell.zz"), (3, 1, "rate"), (4, 1, "rate"), (5, 1, "name"),
        (6, 9, "steps.0"), (6, 12, "steps.1"),
    ]  # fmt: skip


def test_message_reads_as_in_the_interface_document() -> None:
    with pytest.raises(InvalidFileError) as caught:
        read("name: abc\ncell: {kind: rrm, bit: 3}")
    assert str(caught.value) == (
        "toy.yaml is not a valid toy (2 problems)\n"
        "  toy.yaml:3:8   cell.kind: must be one of rram, sram (got 'rrm')\n"
        "      hint: write `rram`\n"
        "  toy.yaml:3:19  cell.bit: unknown key\n"
        "      hint: the key is `bits`"
    )
    assert caught.value.exit_code == 2


def test_model_title_names_the_kind_of_file() -> None:
    class Titled(StrictModel):
        model_config = ConfigDict(title="crossbar description")

    with pytest.raises(InvalidFileError, match="x is not a valid crossbar description"):
        read_yaml_text("a: 1", "x", Titled, schema=SCHEMA)


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("name: abc", 1, "schema", "this key is required"),
        ("name: abc\nschema: mdcompress.toy/2", 2, "schema", "must be mdcompress.toy/1 (got 'mdcompress.toy/2')"),
        ("name: abc\nschema: 1", 2, "schema", "must be mdcompress.toy/1 (got 1)"),
        ("schema: mdcompress.other/1\nbits: 3\n", 1, "schema", "must be mdcompress.toy/1 (got 'mdcompress.other/1')"),
        ("", 1, "", "must be a mapping of keys (got nothing)"),
        ("# only a comment\n", 1, "", "must be a mapping of keys (got nothing)"),
        ("- a\n- b", 1, "", "must be a mapping of keys (got a list)"),
        ("toy", 1, "", "must be a mapping of keys (got 'toy')"),
        ("3", 1, "", "must be a mapping of keys (got 3)"),
    ],
)
def test_schema_key_must_say_what_the_file_is(text: str, line: int, path: str, message: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read_yaml_text(text, "toy.yaml", Toy, schema=SCHEMA)
    first = next(problem for problem in caught.value.problems if problem.path == path)
    assert (first.line, first.message) == (line, message)
    assert SCHEMA in (first.hint or "")


def test_file_of_another_kind_is_one_problem_only() -> None:
    with pytest.raises(InvalidFileError) as caught:
        read_yaml_text("schema: mdcompress.other/1\nbits: 3\nx: y", "toy.yaml", Toy, schema=SCHEMA)
    assert len(caught.value.problems) == 1


def test_wrong_version_is_reported_with_the_other_problems() -> None:
    with pytest.raises(InvalidFileError) as caught:
        read_yaml_text("schema: mdcompress.toy/2\nnam: x", "toy.yaml", Toy, schema=SCHEMA)
    assert [problem.path for problem in caught.value.problems] == ["schema", "name", "nam"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("5E4", 5e4), (".5", 0.5), ("-1.", -1.0), ("+3", 3), ("0o17", 15), ("0x1F", 31), ("007", 7),
        ("true", True), ("FALSE", False), ("~", None), ("Null", None), ("-.inf", float("-inf")),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("12:30", "12:30"), ("1_000", "1_000"), ("2001-1-1", "2001-1-1"),
        ("0b1", "0b1"), ("1e", "1e"), ("e5", "e5"), ("tRue", "tRue"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: PlainValue) -> None:
    assert scalar_value(text) == value
    assert type(scalar_value(text)) is type(value)


def test_good_file_becomes_a_frozen_model() -> None:
    toy = read("name: abc\nrate: 1e-1\nsteps: [1, 2]\nmatch: [a, b]\non: false\nprices: {x: 2}\npair: [1, b]")
    assert toy == Toy(name="abc", rate=0.1, steps=(1, 2), match=("a", "b"), on=False, prices={"x": 2.0}, pair=(1, "b"))
    with pytest.raises(ValueError, match="frozen"):
        toy.name = "x"  # type: ignore[misc]  # read-only: the test writes on purpose


def test_schema_may_stand_anywhere_and_lines_may_end_as_on_windows() -> None:
    text = f"name: abc\r\ncell:\r\n  bits: 2\r\nschema: {SCHEMA}\r\n"
    assert read_yaml_text(text, "toy.yaml", Toy, schema=SCHEMA).cell.bits == 2


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + f"schema: {SCHEMA}\nname: größe\n".encode())
    assert read_yaml(path, Toy, schema=SCHEMA).name == "größe"


def test_missing_file_and_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.yaml: no such file"):
        read_yaml(tmp_path / "none.yaml", Toy, schema=SCHEMA)
    with pytest.raises(MissingFileError, match="a folder, not a file"):
        read_yaml(tmp_path, Toy, schema=SCHEMA)


def test_file_that_is_not_utf8_is_reported_at_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_bytes(b"name: abc\nmatch: \xff\xfe")
    with pytest.raises(InvalidFileError) as caught:
        read_yaml(path, Toy, schema=SCHEMA)
    problem = caught.value.problems[0]
    assert (problem.line, problem.column, problem.message) == (2, 8, "must be UTF-8 text (got byte 0xff)")


def test_unreadable_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("name: abc")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InvalidFileError, match="cannot be read: Permission denied") as caught:
        read_yaml(path, Toy, schema=SCHEMA)
    assert caught.value.problems[0].place == str(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("rate=1e-3", Toy(name="abc", rate=1e-3)),
        ("cell.bits=4", Toy(name="abc", cell=Cell(bits=4))),
        ("cell={bits: 4}", Toy(name="abc", cell=Cell(bits=4))),
        ("maybe.bits=4", Toy(name="abc", maybe=Cell(bits=4))),
        ("steps.1=7", Toy(name="abc", steps=(1, 7))),
        ("many.0.bits=3", Toy(name="abc", many=(Cell(bits=3),))),
        ("match=a=b", Toy(name="abc", match="a=b")),
        ("match='3'", Toy(name="abc", match="3")),
        ("maybe=", Toy(name="abc")),
    ],
)
def test_change_puts_a_value_in(change: str, expected: Toy) -> None:
    body = (
        "name: abc\n" + ("steps: [1, 2]\n" if "steps" in change else "") + ("many: [{}]\n" if "many" in change else "")
    )
    assert read(body, change) == expected


def test_later_change_wins_and_the_faults_it_replaces_are_gone() -> None:
    assert read("name: abc\nrate: hot\ncell: 3", "rate=0.1", "rate=0.2", "cell=null", "cell.bits=2") == Toy(
        name="abc", rate=0.2, cell=Cell(bits=2)
    )


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ("rate=hot", "rate", "must be a number (got 'hot')"),
        ("cell.bit=3", "cell.bit", "unknown key"),
        ("cell={bits: 9}", "cell.bits", "must be at most 8 (got 9)"),
        ("zzz.y=3", "zzz", "unknown key"),
        ("part.kind=sized", "part.size", "this key is required"),
        ("steps.2=1", "steps.2", "the list has 2 items (got item 2)"),
        ("steps.x=1", "steps.x", "the list has 2 items (got item x)"),
        ("many.0.bits=1", "many.0", "the list has 0 items (got item 0)"),
        ("rate.x=1", "rate", "has no keys: it is a single value (got 0.5)"),
        ("rate", "", "must be key.path=value"),
        ("=3", "", "must be key.path=value"),
        ("a..b=3", "", "must be key.path=value"),
        ("rate=[1", "", "this is not YAML"),
        ("rate=&a 3", "", "anchors are not offered"),
        ("schema=other", "schema", "must be mdcompress.toy/1"),
    ],
)
def test_change_is_checked_like_the_file_and_named_as_the_place(change: str, path: str, message: str) -> None:
    (problem,) = problems_of("name: abc\nrate: 0.5\nsteps: [1, 2]\nmany: []", change)
    assert problem.place == f"--set {change}"
    assert problem.path == path
    assert message in problem.message


def test_faulty_changes_are_reported_together_with_the_file() -> None:
    problems = problems_of("nam: abc", "rate=[1", "cell.bits=9")
    assert [problem.path for problem in problems] == ["cell.bits", "", "name", "nam"]


def test_fields_with_aliases_enums_and_plain_lists_are_described_too() -> None:
    class Aliased(StrictModel):
        value: Literal["a", "b"] | None = Field(None, alias="val")
        items: list[Literal["x", "y"]] = Field([])

    with pytest.raises(InvalidFileError) as caught:
        read_yaml_text(f"schema: {SCHEMA}\nval: c\nitems: [z]\nvel: a", "t", Aliased, schema=SCHEMA)
    assert [(p.path, p.message, p.hint) for p in caught.value.problems] == [
        ("val", "must be one of a, b, null (got 'c')", None),
        ("items.0", "must be one of x, y (got 'z')", None),
        ("vel", "unknown key", "the key is `val`"),
    ]


def test_kind_of_error_without_words_of_our_own_keeps_pydantics() -> None:
    class Rare(StrictModel):
        number: int = Field(2, multiple_of=2)

    with pytest.raises(InvalidFileError, match=r"number: input should be a multiple of 2 \(got 3\)"):
        read_yaml_text(f"schema: {SCHEMA}\nnumber: 3", "t", Rare, schema=SCHEMA)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
FLOATS = st.floats(allow_nan=False)
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | FLOATS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_what_is_written_reads_back_equal(value: PlainValue) -> None:
    text = write_yaml_text(value)
    tree = parse_tree(text, "x")
    assert tree.problems == ()
    assert tree.value == value
    assert parse_tree(write_yaml_value(value), "x").value == value


@given(VALUES)
def test_another_yaml_reader_reads_what_is_written(value: PlainValue) -> None:
    text = write_yaml_text(value)
    assert YAML(typ="safe", pure=True).load(text) == value


def test_not_a_number_is_written_as_yaml_has_it() -> None:
    assert write_yaml_value([float("nan"), float("inf"), -float("inf")]) == "[.nan, .inf, -.inf]"


def test_long_innermost_sections_are_written_as_blocks() -> None:
    value: PlainValue = {"a": {f"key_{number}": "word" for number in range(20)}, "b": {"c": 1}}
    text = write_yaml_text(value)
    assert max(map(len, text.splitlines())) < 120
    assert "\n  key_19: word\nb: {c: 1}\n" in text
    assert parse_tree(text, "x").value == value


@given(st.text(alphabet="ab: {}[]-,&*!'\"\\#\n\t|>%@`?<~0.é\x01", max_size=60))
def test_no_text_whatever_raises_anything_but_invalid_file(text: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read_yaml_text(text, "x", Toy, schema=SCHEMA)
    for problem in caught.value.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.line <= text.count("\n") + 2


@given(st.binary(max_size=40))
def test_no_bytes_whatever_raise_anything_but_invalid_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    with pytest.raises(InvalidFileError):
        read_yaml(path, Toy, schema=SCHEMA)


def test_nesting_up_to_the_limit_is_read() -> None:
    deep = "[" * DEEPEST_LEVEL + "]" * DEEPEST_LEVEL
    assert parse_tree(deep, "x").problems == ()
    assert parse_tree(f"[{deep}]", "x").problems[0].message == f"must nest at most {DEEPEST_LEVEL} levels deep"
    assert parse_tree("{1: " * 3000 + "}" * 3000, "x").problems
