"""The options of ``chainrule train FILE``: each has the name of a setting of a table's plan."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from chainrule.cli.options import Duration, Name, Units, Whole
from chainrule.errors import ChainruleError

__all__ = ["OF_TABLES", "SEARCHED", "kinds_of", "table_options"]

SEARCHED = 9
"""Plans that ``--search`` tries where no number is given."""

_KINDS = ("numeric", "categorical", "ordinal", "boolean", "date", "text", "identifier")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Column(click.ParamType):
    """The name of a column of the file."""

    name = "column"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from chainrule.data.tables.dialect import sniff

        # click has parsed nothing yet where an option lacks its value: the shell's words are all there is
        words = os.environ.get("COMP_WORDS", "").split()
        for path in (Path(word) for word in words if Path(word).is_file()):
            with contextlib.suppress(ChainruleError, OSError):
                return [CompletionItem(n) for n in sniff(path).names if n.startswith(incomplete)]
        return []


class _Rate(click.ParamType):
    """A learning rate, or auto."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        try:
            return "auto" if value == "auto" else float(value)
        except ValueError:
            self.fail(f"{value!r} is no learning rate; give a number, or auto", param, ctx)


def kinds_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """
    >>> kinds_of(("zip=categorical", "a=b=numeric"))
    {'zip': 'categorical', 'a=b': 'numeric'}
    """
    found = {}
    for pair in pairs:
        column, equals, kind = pair.rpartition("=")
        if not equals or not column:
            raise click.BadParameter(
                f"{pair!r} is no column=kind, such as zip=categorical", param_hint="--kinds"
            )
        found[column] = kind
    return found


_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
_OPTIONS = (
    click.option("--target", type=_Column(), metavar="COL", help="The column to learn."),
    click.option("--task", type=Name("task", ("classification", "regression")), metavar="TASK",
                 help="classification or regression; default: as the column is."),
    click.option("--time", type=Duration(), metavar="TIME", help="End within this time: 60s, 2m, 1h30m."),
    click.option("--search", type=Whole(0), metavar="[N]", is_flag=False, flag_value=str(SEARCHED),
                 help=f"Try N architectures first ({SEARCHED} without a number), in half of the time."),
    click.option("--kinds", metavar="COL=KIND", multiple=True,
                 help=f"What a column is, where it is mistaken: {', '.join(_KINDS)}; once per column."),
    click.option("--scaling", metavar="NAME",
                 type=Name("scaling", ("auto", "standard", "robust", "minmax", "quantile", "none")),
                 help="Of numbers: auto, standard, robust, minmax, quantile or none."),
    click.option("--embed-from", type=Whole(0), metavar="N",
                 help="Categories from which a column has learned vectors; 0: never."),
    click.option("--log-target", type=Name("transform", ("none", "log", "log1p")), metavar="NAME",
                 help="Learn log or log1p of a number, so that errors count as shares of it."),
    click.option("--hidden", type=Units(), metavar="UNITS", help="Of the hidden layers: 64,32; 0: none."),
    click.option("--activation", metavar="NAME", help="relu, tanh, gelu, …"),
    click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), metavar="P", help="Of units."),
    click.option("--batch-norm/--no-batch-norm", default=None, help="Normalise before each activation."),
    click.option("--weight-decay", type=click.FloatRange(0), metavar="X", help="Decoupled decay."),
    click.option("--learning-rate", type=_Rate(), metavar="RATE", help="A number; auto: by a range test."),
    click.option("--networks", type=Whole(1), metavar="N", help="To train and average."),
    click.option("--patience", type=Whole(1), metavar="N", help="Epochs without a lower loss before a stop."),
    click.option("--validation", type=_SHARE, metavar="P", help="Share of rows that say when to stop."),
    click.option("--test", type=_SHARE, metavar="P", help="Share of rows for the test at the end."),
    click.option("--stream", is_flag=True,
                 help="Read the rows block by block, for CSV and Parquet files larger than memory."),
    click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="TOML",
                 help="Settings by the names of these options; what is given beside it goes first."),
    click.option("--write-config", type=click.Path(dir_okay=False, path_type=Path), metavar="TOML",
                 help="Write the settings that would be used, and end."),
)  # fmt: skip

OF_TABLES = frozenset(
    {"target", "task", "time", "search", "kinds", "scaling", "embed_from", "log_target", "hidden",
     "activation", "dropout", "batch_norm", "weight_decay", "learning_rate", "networks", "patience",
     "validation", "test", "config", "write_config", "stream"}
)  # fmt: skip
"""Options that only a table has."""


def table_options(command: _Command) -> _Command:
    """All of them, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
