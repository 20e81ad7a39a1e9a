"""What is said to people: on a terminal nothing but text, whatever a file of rows or a model holds."""

from __future__ import annotations

import unicodedata

import click

__all__ = ["printable", "say"]


def printable(text: str) -> str:
    r"""Characters that steer a terminal, or hide what is there, as their escapes; ends of lines too.

    >>> print(printable("age\x1b[2J\nof birth"))
    age\x1b[2J\nof birth
    """
    if text.isprintable():
        return text
    return "".join(c if _shown(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def _shown(character: str) -> bool:
    """Of what is not printable to Python, spaces that keep a line whole are harmless."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def say(*lines: object, err: bool = True) -> None:
    """Writes lines, to standard error unless told otherwise; each stays one."""
    click.echo("\n".join(printable(str(line)) for line in lines), err=err)
