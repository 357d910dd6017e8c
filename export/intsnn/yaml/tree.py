"""YAML text -> plain values with the place of every key and item, and the faults of the text itself.

The subset read here: one document, mappings with text keys, lists, and the scalars of YAML 1.2's core schema (section
10.3.2), so that `1e-3` is a number and `yes` is text. No anchors, aliases, merge keys, tags or directives: what a file
says is what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from intsnn.errors import Problem

KeyPath = tuple[str | int, ...]
PlainValue = None | bool | int | float | str | list["PlainValue"] | dict[str, "PlainValue"]

DEEPEST_LEVEL = 50  # a recipe has 5 levels; deeper nesting is an attack or an accident, and would exhaust the stack
LONGEST_NUMBER = 400  # digits; a float64 has at most 309 before the point

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NOT_A_NUMBER = {".nan", ".NaN", ".NAN"}


@dataclass(frozen=True)
class Place:
    """Where something stands: file, line and column from 1; line 0 where there are no lines (a `--set` argument)."""

    file: str
    line: int
    column: int


@dataclass(frozen=True)
class YamlTree:
    """Plain values, the place of every key and list item by its path (() is the top), and the faults of the text.

    `complete`: whether the text was read to its end; if not, a key that seems missing may stand further down.
    `unknown`: paths whose value could not be taken (an alias, say); it is None here, and nothing more is to be said.
    """

    value: PlainValue
    places: Mapping[KeyPath, Place]
    problems: tuple[Problem, ...] = ()
    complete: bool = True
    unknown: frozenset[KeyPath] = frozenset()

    def place(self, path: KeyPath) -> Place:
        """The place of `path`, or of the nearest thing around it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def at(self, path: KeyPath) -> PlainValue:
        """The value at `path`; None where the path leads nowhere."""
        value = self.value
        for part in path:
            match value, part:
                case dict(), str():
                    value = value.get(part)
                case list(), int() if part < len(value):
                    value = value[part]
                case _:
                    return None
        return value


def problem_at(place: Place, path: KeyPath, message: str, *, hint: str | None = None) -> Problem:
    """A Problem at a place; the path in dotted form, as `--set` takes it."""
    return Problem(place.file, place.line, place.column, ".".join(map(str, path)), message, hint)


def parse_tree(text: str, name: str) -> YamlTree:
    """Read one document. Never raises for a fault of the text: the faults are in `problems`."""
    builder = _Builder(name)
    complete = False
    try:
        complete = builder.read(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        builder.report_syntax(error)
    except ReaderError as error:
        builder.report_character(text, error)
    return YamlTree(builder.top, builder.places, tuple(builder.problems), complete, frozenset(builder.unknown))


def scalar_value(text: str) -> PlainValue:
    """A plain (unquoted) scalar by the core schema: null, true, 12, 0x1F, 1e-3, .inf, or else text."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) <= LONGEST_NUMBER:
        number = _number(text)
        if number is not None:
            return number
    return text


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, base=0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text) or text in _NOT_A_NUMBER:
        return float(text.replace(".", ""))
    return None


def _syntax_hint(reason: str) -> str:
    if "'\\t'" in reason:
        return "indent with spaces, never with tabs"
    if "cannot start any token" in reason:
        return 'put text that starts with this character in quotes inside the value, for example "@first"'
    return "check brackets, quotes and indentation"


class _TooDeepError(Exception):
    """Ends the reading of a document that nests deeper than DEEPEST_LEVEL."""


@dataclass
class _Builder:
    """Builds the tree from the parser's events, which unlike a loader's values know line, style, anchor and tag."""

    name: str
    top: PlainValue = None
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unknown: set[KeyPath] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.places[()] = Place(self.name, 1, 1)

    def read(self, events: Iterator[Event]) -> bool:
        """Consume the stream; whether the document was read to its end."""
        documents = 0
        for event in events:
            match event:
                case DocumentStartEvent():
                    documents += 1
                    if event.version or event.tags:
                        self._report(event, (), "directives are not offered", hint="delete the line that starts with %")
                    if documents > 1:
                        message = "a second document starts here; the file must hold one"
                        self._report(event, (), message, hint="delete everything from this `---` on, or split the file")
                        return True
                case NodeEvent():
                    try:
                        self.top = self._node(event, (), events)
                    except _TooDeepError:
                        return False
                case _:
                    continue
        return True

    def report_syntax(self, error: MarkedYAMLError) -> None:
        """What the scanner or parser could not read."""
        mark = error.problem_mark or error.context_mark
        place = self._mark_place(mark) if mark else self.places[()]
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        self.problems.append(problem_at(place, (), f"this is not YAML: {reason}", hint=_syntax_hint(reason)))

    def report_character(self, text: str, error: ReaderError) -> None:
        """A control character, which YAML forbids."""
        before = text[: error.position]
        place = Place(self.name, before.count("\n") + 1, error.position - before.rfind("\n"))
        message = f"must be text without control characters (got {chr(error.character)!r})"
        self.problems.append(
            problem_at(place, (), message, hint="delete the character, or write the file anew as text")
        )

    def _node(self, event: Event, path: KeyPath, events: Iterator[Event]) -> PlainValue:
        self.places.setdefault(path, self._place(event))
        if len(path) >= DEEPEST_LEVEL and isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._report(event, path, f"must nest at most {DEEPEST_LEVEL} levels deep")
            raise _TooDeepError
        self._refuse_references(event, path)
        match event:
            case MappingStartEvent():
                return self._mapping(path, events)
            case SequenceStartEvent():
                return self._sequence(path, events)
            case ScalarEvent():
                return self._scalar(event, path)
            case _:
                return None

    def _refuse_references(self, event: Event, path: KeyPath) -> None:
        match event:
            case AliasEvent():
                hint = f'write the value out here; where text is meant, quote it: "*{event.anchor}"'
                self._report(event, path, f"aliases are not offered (got *{event.anchor})", hint=hint)
                self.unknown.add(path)
            case ScalarEvent() | MappingStartEvent() | SequenceStartEvent():
                if event.anchor:
                    hint = "write the value out where it is needed"
                    self._report(event, path, f"anchors are not offered (got &{event.anchor})", hint=hint)
                if event.tag:
                    hint = "delete the word that starts with `!`"
                    self._report(event, path, f"tags are not offered (got {event.tag})", hint=hint)
                    self.unknown.add(path)

    def _sequence(self, path: KeyPath, events: Iterator[Event]) -> PlainValue:
        items: list[PlainValue] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, (*path, len(items)), events))
        return items

    def _mapping(self, path: KeyPath, events: Iterator[Event]) -> PlainValue:
        values: dict[str, PlainValue] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, path, events)
            if key in values:
                self._report_duplicate(event, (*path, key))
                key = None
            if key is None:
                self._read_aside(next(events), path, events)
                continue
            self.places[(*path, key)] = self._place(event)
            values[key] = self._node(next(events), (*path, key), events)
        return values

    def _read_aside(self, event: Event, path: KeyPath, events: Iterator[Event]) -> None:
        """Read a node that nobody wants, because it is a key that was refused or the value of one."""
        _Builder(self.name)._node(event, (*path, ""), events)

    def _key(self, event: Event, path: KeyPath, events: Iterator[Event]) -> str | None:
        if not isinstance(event, ScalarEvent):
            self._report(event, path, "a key must be a word, not a list, a mapping or an alias")
            self._read_aside(event, path, events)
            return None
        self._refuse_references(event, path)
        if event.value == "<<" and event.style is None:
            hint = "write the keys out here"
            self._report(event, path, "merge keys are not offered (got <<)", hint=hint)
            self.unknown.add(path)
            return None
        if event.style is None and not isinstance(scalar_value(event.value), str):
            message = f"a key must be text (got {event.value or 'nothing'})"
            self._report(event, path, message, hint=f"if it is meant, put it in quotes: '{event.value}'")
            return None
        return str(event.value)

    def _scalar(self, event: ScalarEvent, path: KeyPath) -> PlainValue:
        text = str(event.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._report(event, path, "must be Unicode text (got half a surrogate pair)")
            self.unknown.add(path)
            return None
        return scalar_value(text) if event.style is None else text

    def _report_duplicate(self, event: Event, path: KeyPath) -> None:
        first = self.places[path].line
        self._report(event, path, f"this key was given already in line {first}", hint="delete one of the two")

    def _report(self, event: Event, path: KeyPath, message: str, *, hint: str | None = None) -> None:
        self.problems.append(problem_at(self._place(event), path, message, hint=hint))

    def _place(self, event: Event) -> Place:
        return self._mark_place(event.start_mark)

    def _mark_place(self, mark: StringMark) -> Place:
        return Place(self.name, mark.line + 1, mark.column + 1)
