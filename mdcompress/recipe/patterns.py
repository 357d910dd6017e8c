"""Patterns that select nodes by name: globs on dotted names, `re:` regular expressions, and the words of roles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal, get_args

from intsnn.yaml.file import RuleError

Role = Literal["@first", "@last", "@residual", "@readout"]
ROLES: tuple[Role, ...] = get_args(Role)
REGEX_PREFIX = "re:"
_OF_WRAPPER = re.compile(rf"^({REGEX_PREFIX})?network\\?\.")


def match_names(patterns: str | Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The names that any of the patterns matches, in the order of `names`. Roles match no name.

    A glob is matched against the whole name: `*` and `?` do not cross a dot, `**` does, `[abc]` and `[!abc]` are sets.
    `re:` starts a regular expression, which must match the whole name too. In 1.0 the names of a network in a wrapper
    (`Stepped`, ...) began with `network.`: a pattern that matches nothing may begin so still.

    Raises:
        re.error: a pattern is not sound; `check_pattern` says so before.
    """
    several = [patterns] if isinstance(patterns, str) else patterns
    matched = {name for pattern in several if not pattern.startswith("@") for name in _matched(pattern, names)}
    return tuple(name for name in names if name in matched)


def check_pattern(pattern: str, *, roles: Sequence[str] = ROLES) -> str:
    """The pattern itself, if its form is right: a known role, a sound regular expression, or a glob.

    Raises:
        RuleError: it has another form.
    """
    if pattern.startswith("@") and pattern not in roles:
        near = get_close_matches(pattern, roles, n=1)
        offered = f"the roles are {', '.join(roles)}"
        raise RuleError(f"unknown role {pattern!r}", hint=f"write `{near[0]}`" if near else offered)
    if not pattern.removeprefix(REGEX_PREFIX):
        raise RuleError(f"a pattern must not be empty (got {pattern!r})", hint="write a node's name, or `**` for all")
    try:
        _compile(pattern)
    except re.error as error:
        form = "regular expression" if pattern.startswith(REGEX_PREFIX) else "glob"
        raise RuleError(f"{pattern!r} is not a {form}: {error}", hint="copy a node's name from --dry-run") from error
    return pattern


def _matched(pattern: str, names: Sequence[str]) -> list[str]:
    compiled = _compile(pattern)
    matched = [name for name in names if compiled.fullmatch(name)]
    own = _OF_WRAPPER.sub(r"\1", pattern)
    return matched if matched or own == pattern else _matched(own, names)


def _compile(pattern: str) -> re.Pattern[str]:
    if pattern.startswith(REGEX_PREFIX):
        return re.compile(pattern.removeprefix(REGEX_PREFIX))
    return re.compile("".join(map(_glob_part, re.findall(r"\*\*|\[!?\]?[^\]]+\]|.", pattern, re.DOTALL))))


def _glob_part(part: str) -> str:
    match part:
        case "**":
            return ".*"
        case "*":
            return r"[^.]*"
        case "?":
            return r"[^.]"
        case _ if len(part) > 1:  # a set; all but the minus of a range stands for itself
            negated = "^" if part.startswith("[!") else ""
            inside = re.sub(r"([\\\[\]^&|~])", r"\\\1", part[1 + len(negated) : -1])
            return f"[{negated}{inside}]"
        case _:
            return re.escape(part)
