"""Errors as people read them: one line each."""

from __future__ import annotations


def one_line(value: object, longest: int = 300) -> str:
    """Return the text of an error or another value on one line: printable, and shortened if it is long."""
    words = (str(value) or type(value).__name__).split()
    text = " ".join(word if word.isprintable() else repr(word)[1:-1] for word in words)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
