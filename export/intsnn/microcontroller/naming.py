"""The name of a recipe -> an identifier of C, which begins every name of the emitted code."""

from __future__ import annotations

import re

from intsnn.errors import UsageError

PREFIX = "net_"
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KEYWORDS = re.compile(  # C11 6.4.1, without those that begin with an underscore; then C++20 [lex.key], [lex.digraph]
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register|"
    "restrict|return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|volatile|while|"
    "alignas|alignof|and|and_eq|asm|bitand|bitor|bool|catch|char8_t|char16_t|char32_t|class|co_await|co_return|co_yield|"
    "compl|concept|const_cast|consteval|constexpr|constinit|decltype|delete|dynamic_cast|explicit|export|false|friend|"
    "mutable|namespace|new|noexcept|not|not_eq|nullptr|operator|or|or_eq|private|protected|public|reinterpret_cast|"
    "requires|static_assert|static_cast|template|this|thread_local|throw|true|try|typeid|typename|using|virtual|wchar_t|"
    "xor|xor_eq"
)
_HEADERS = re.compile(  # C11 7.1.2: NAME.h must not stand in for one of them, on a disk that sees no case either
    "assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|stdalign|stdarg|stdatomic|"
    "stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|tgmath|threads|time|uchar|wchar",
    re.IGNORECASE,
)


def c_name(text: str) -> str:
    """`4bit` -> `net_4bit`, `my-net v2` -> `my_net_v2`.

    What is no letter, digit or underscore of ASCII becomes an underscore. What then begins with no letter, is a keyword
    of C or C++ or the name of a standard header, gets `net_` in front.
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if _is_name(name) else f"{PREFIX}{name.lstrip('_')}"


def require_c_name(name: str) -> str:
    """The name itself; UsageError where C or C++ does not allow it."""
    if not _is_name(name):
        raise UsageError(
            "a name for C must be letters, digits and underscores, the first a letter, no keyword of C or C++, and no "
            f"standard header's (got {name!r})",
            hints=[f"for example {c_name(name)!r}"],
        )
    return name


def _is_name(name: str) -> bool:
    return bool(_IDENTIFIER.fullmatch(name)) and not (_KEYWORDS.fullmatch(name) or _HEADERS.fullmatch(name))
