"""Errors of the library name arguments of Python; on the command line they name options."""

from __future__ import annotations

import re
import shlex

__all__ = ["as_options", "plain_number"]

_COUNTED = re.compile(r"\b(?:in|has no value in|,) \d+ rows? \(\d|\bin row \d|\bis infinite in \d")
_SAYINGS = (
    ("kinds={name: kind}", "--kinds name=kind"),
    ("kinds names ", "--kinds names "),
    ("use transform='none'", "leave out --log-target"),
    (", or say header=False", ""),
    ("if the file is UTF-16 say encoding='utf-16', else correct the line", "save it as UTF-8, or correct it"),
    (
        "say what it is: Excel on Windows writes encoding='cp1252', older programs 'latin-1'",
        "give it that encoding: in Excel save it as CSV UTF-8, elsewhere iconv -f cp1252 -t utf-8",
    ),
    (
        "read fewer columns, stream it in blocks, or allow more: memory=bytes",
        "read it block by block: --stream",
    ),
)


def as_options(message: str) -> str:
    """The message of an error with options for arguments.

    >>> as_options("column 'y' is odd; say that it is of categories: kinds={'a b': 'categorical'}")
    "column 'y' is odd; say that it is of categories: --kinds 'a b=categorical'"
    >>> as_options("TablePlan: learning_rate is -1.0; it must be a number in (0, inf)")
    '--learning-rate is -1.0; it must be a number in (0, inf)'
    >>> as_options("y has no value in 2 rows (0, 7); drop these rows")
    'y has no value in 2 rows (0, 7); drop these rows (row 0 is the first below the header)'
    """
    message = re.sub(r"kinds=\{'([^']*)': '(\w+)'\}", lambda m: _kinds(m[1], m[2]), message)
    message = re.sub(r"\bTablePlan: (\w+) is ", lambda m: f"--{m[1].replace('_', '-')} is ", message)
    message = re.sub(r"\bscaling='(\w+)'", r"--scaling \1", message)
    for python, option in _SAYINGS:
        message = message.replace(python, option)
    return message + " (row 0 is the first below the header)" * bool(_COUNTED.search(message))


def _kinds(column: str, kind: str) -> str:
    return f"--kinds {shlex.quote(f'{column}={kind}')}"


def plain_number(value: float) -> str:
    """A score to five figures, without powers of ten where people would write the number.

    >>> plain_number(79.80288), plain_number(470926.4), plain_number(-5.4461e-05), plain_number(2.5e-9)
    ('79.803', '470,926', '-5.4461e-05', '2.5e-09')
    """
    return f"{value:,.0f}" if 1e5 <= abs(value) < 1e15 else f"{value:.5g}"
