"""What several commands share: names that may be given, settings, the layout of examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from chainrule.errors import ConfigError, DataError, nearest

__all__ = [
    "DATASETS",
    "EXECUTORS",
    "Data",
    "Duration",
    "Name",
    "Settings",
    "Units",
    "Whole",
    "debug_option",
    "examples",
    "executor_option",
    "held_out_option",
    "model_file",
    "seconds_of",
]

DATASETS = ("mnist",)
"""What the command line trains and evaluates on."""

EXECUTORS = ("auto", "reference", "cpu")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"(?:\d+(?:\.\d+)?[smh])+|\d+(?:\.\d+)?")
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass
class Settings:
    """What holds for a whole call of the command line."""

    debug: bool = False


class Name(click.ParamType):
    """One of a few names; an unknown one is answered with the nearest."""

    name = "name"

    def __init__(self, what: str, known: Sequence[str]) -> None:
        self.what, self.known = what, tuple(known)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.known:
            self.fail(f"unknown {self.what} {value!r}; {nearest(value, self.known)}", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self.known if name.startswith(incomplete)]


class Whole(click.ParamType):
    """A whole number from ``least`` up to 2⁶³ − 1."""

    name = "number"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = -1
        if not self.least <= number < 2**63:
            self.fail(f"{value!r} is not a whole number from {self.least} up", param, ctx)
        return number


class Data(click.ParamType):
    """The name of a data set, or the path of a file."""

    name = "data"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        path = Path(value)
        if value in DATASETS or path.exists():
            return str(value)
        if path.suffix or len(path.parts) > 1:
            self.fail(f"no such file: {value}; check the spelling", param, ctx)
        known = nearest(value, DATASETS)
        return self.fail(f"unknown data set {value!r}; {known}, or a file of a table", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in DATASETS if name.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]


class Duration(click.ParamType):
    """A length of time: 90, 60s, 2m, 1h30m."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            seconds_of(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def seconds_of(text: str) -> float:
    """
    >>> seconds_of("1h30m"), seconds_of("45"), seconds_of("0.5m")
    (5400.0, 45.0, 30.0)
    """
    if not _TIME.fullmatch(text):
        raise ConfigError(f"{text!r} is no length of time; give one such as 60s, 2m or 1h30m")
    parts = re.findall(r"([\d.]+)([smh]?)", text)
    found = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if not found:
        raise ConfigError(f"{text!r} is no time at all; give some, such as 60s")
    return found


class Units(click.ParamType):
    """Units of the hidden layers: 64,32; 0 or none for none."""

    name = "units"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = str(value).replace(" ", "").split(",")
        if words in (["0"], ["none"], [""]):
            return ()
        if not all(word.isdecimal() and int(word) > 0 for word in words):
            self.fail(f"{value!r} are no units of layers; give whole numbers such as 64,32", param, ctx)
        return tuple(map(int, words))


def examples(*lines: str, notes: Sequence[str] = ()) -> str:
    """The end of a command's help: examples as they stand, then notes, a paragraph each."""
    shown = "\n".join(f"  {line}" for line in lines)
    return "\n\n".join([f"\b\nExamples:\n{shown}", *notes])


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    settings = ctx.find_root().obj
    if value and isinstance(settings, Settings):
        settings.debug = True


def debug_option(command: _Command) -> _Command:
    """``--debug``, before or after the command's name."""
    option = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_debug,
        help="Show the traceback of errors.",
    )
    return option(command)


def executor_option(command: _Command) -> _Command:
    """``--executor NAME``"""
    option = click.option(
        "--executor", type=Name("executor", EXECUTORS), default="auto", metavar="NAME", show_default=True,
        help=f"What computes: {', '.join(EXECUTORS)}.",
    )  # fmt: skip
    return option(command)


def held_out_option(text: str) -> Callable[[_Command], _Command]:
    """``--held-out``: the last sixth of the training rows in place of the test set."""
    return click.option("--held-out", is_flag=True, help=text)


def model_file(path: Path) -> Path:
    """A model file as it is; a run folder's own model."""
    if not path.is_dir():
        return path
    model = path / "model.safetensors"
    if not model.is_file():
        raise DataError(
            f"{path} holds no model.safetensors; give a model file, or the folder of a run that has ended"
        )
    return model
