"""What several commands share: names that may be given, settings, the layout of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from chainrule.errors import DataError, nearest

__all__ = [
    "DATASETS",
    "Name",
    "Settings",
    "Whole",
    "debug_option",
    "examples",
    "executor_option",
    "held_out_option",
    "model_file",
]

DATASETS = ("mnist",)
"""What the command line trains and evaluates on."""

_EXECUTORS = ("auto", "reference", "cpu")
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
        "--executor", type=Name("executor", _EXECUTORS), default="auto", metavar="NAME", show_default=True,
        help=f"What computes: {', '.join(_EXECUTORS)}.",
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
