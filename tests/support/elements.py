"""Elements and attributes of a parsed page that a test knows to be there."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tests.support.narrowing import present


def part(element: Element, path: str) -> Element:
    """The first element at the path, which must be there."""
    return present(element.find(path))


def attribute(element: Element, name: str) -> str:
    """The attribute, which must be there."""
    return present(element.get(name))


def percent(element: Element, name: str) -> float:
    """An attribute in percent."""
    text = attribute(element, name)
    assert text.endswith("%")
    return float(text[:-1])


def words(element: Element) -> str:
    """All text of the element, one space between words."""
    return " ".join("".join(element.itertext()).split())
