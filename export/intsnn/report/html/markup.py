"""Text, attributes and children -> HTML in which everything that came from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

_EMPTY = frozenset({"br", "hr", "meta", "rect", "line", "use", "path"})  # elements that the page writes without content


@dataclass(frozen=True)
class Html:
    """Markup that is safe to write."""

    text: str


Child = Html | str


def tag(name: str, /, *children: Child, **attributes: str | float) -> Html:
    """One element. `class_` gives `class`, `aria_label` gives `aria-label`; numbers lose needless digits."""
    written = "".join(f' {_attribute(key)}="{_value(value)}"' for key, value in attributes.items())
    if name in _EMPTY and not children:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(children).text}</{name}>")


def join(children: Iterable[Child], between: str = "") -> Html:
    """One after the other; text is escaped."""
    return Html(between.join(child.text if isinstance(child, Html) else escape(child) for child in children))


def number(value: float) -> str:
    """At most three decimals, none that are 0."""
    return f"{value:.3f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def share(value: float) -> str:
    """0.125 -> 12.5%."""
    return f"{number(100 * value)}%"


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-") if key != "viewBox" else key


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else number(value)
