"""A text with `@WORD@` in it and what each word stands for -> the text."""

from __future__ import annotations

from collections.abc import Mapping


def filled(text: str, values: Mapping[str, str]) -> str:
    """Put the values in, one word after the other: a value may hold words that come later."""
    for word, value in values.items():
        text = text.replace(f"@{word}@", value)
    return text
