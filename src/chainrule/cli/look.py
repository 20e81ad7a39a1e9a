"""The commands that only show: data sets, a model's layers, a run's report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.cli.command import FILE, TrainCommand
from chainrule.cli.options import Name, Whole, debug_option, examples, model_file
from chainrule.cli.say import say

if TYPE_CHECKING:
    from chainrule.data.tables import Table

__all__ = ["MADE", "datasets", "report", "summary"]

MADE = ("blobs", "circles", "flats", "moons", "sines", "spirals", "xor")
"""Data sets that are made on demand, and can be written as tables."""


@click.command(
    epilog=examples(
        "chainrule datasets",
        "chainrule datasets flats -o flats.csv                  a made-up table to try things on",
        "chainrule datasets moons --rows 500 --seed 1 -o moons.csv",
    )
)
@click.argument("name", type=Name("data set", MADE), required=False)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True), metavar="FILE",
    help="Where NAME is written: .csv, .tsv, .parquet, .feather, .xlsx; - is standard output, the default.",
)  # fmt: skip
@click.option("--rows", type=Whole(1), metavar="N", help="Of NAME; default: as its function has.")
@click.option("--seed", type=Whole(0), default=0, metavar="N", help="Of NAME; default: 0.")
@debug_option
def datasets(name: str | None, output: Path | None, rows: int | None, seed: int) -> None:
    """List the data sets, and where they are; or write NAME as a table.

    NAME is one that is made on demand.
    """
    if name is None:
        if output is not None or rows is not None:
            raise click.UsageError("-o and --rows need the NAME of a data set that is made on demand.")
        _list()
        return
    from chainrule.cli.writing import check_ending, write_rows

    path = None if output is None or str(output) == "-" else output
    check_ending(path)
    write_rows(_made(name, rows, seed), path)
    if path is not None:
        click.echo(path)


def _made(name: str, rows: int | None, seed: int) -> Table:
    """A data set that is made on demand, as a table; the target is its last column."""
    from chainrule import datasets as room
    from chainrule.data.tables import as_table

    given: dict[str, Any] = {"seed": seed} if rows is None else {"n": rows, "seed": seed}
    found = getattr(room, name)(**given)
    if isinstance(found, tuple):
        x, y = found
        found = {**{f"x{j}": x[:, j] for j in range(x.shape[1])}, "y": y.reshape(len(y))}
    return as_table(found)


def _list() -> None:
    from chainrule.datasets import available

    table = [("name", "rows", "columns", "task", "where")]
    table += [
        (e.name, f"{e.rows:,}" if e.rows else "any", str(e.columns), e.task, e.where) for e in available()
    ]
    widths = [max(len(row[i]) for row in table) for i in range(5)]
    for row in table:
        cells = (
            cell.rjust(w) if i in (1, 2) else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())


@click.command(epilog=examples("chainrule summary runs/mnist-quick-0"))
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@debug_option
def summary(model: Path) -> None:
    """Show a MODEL's layers.

    MODEL is a model file or a run folder.
    """
    from chainrule.modelfile import load

    say(*load(model_file(model)).summary().split("\n"), err=False)


@click.command(
    epilog=examples(
        "chainrule report runs/people-income-0",
        "chainrule report runs/mnist-quick-0 --picture run.svg",
    )
)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="mnist: write one SVG picture as well.",
)
@click.option(
    "--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="The table of the run, where it lies elsewhere now.",
)  # fmt: skip
@debug_option
def report(run: Path, picture: Path | None, data: Path | None) -> None:
    """Write a RUN's report again."""
    if (run / "config.toml").exists():
        from chainrule.cli.table_training import report_again

        if picture is not None:
            raise click.UsageError("--picture is of mnist; leave it out.")
        click.echo(report_again(run, data))
        return
    if data is not None:
        raise click.UsageError("--data is of tables; leave it out.")
    _report_mnist(run, picture)


def _report_mnist(run: Path, picture: Path | None) -> None:
    from chainrule import report as room
    from chainrule.cli.training import load_dataset, parts, report_title
    from chainrule.modelfile import load
    from chainrule.recipes import RECIPES
    from chainrule.storage import atomic_write

    command = TrainCommand.from_json(room.read_json(run, FILE), run / FILE)
    net, dataset = load(model_file(run)), load_dataset(command.dataset)
    recipe = RECIPES[command.recipe]
    _, _, part, x, y = parts(dataset, command.held_out)
    found = room.examine(net, dataset, part, x, y)
    title = report_title(command, found)
    line = command.line(epochs=recipe.epochs, batch_size=recipe.batch_size)
    click.echo(room.write_report(run, net, found, dataset, title=title, command=line))
    if picture is not None:
        steps = room.read_json(run, "result.json")["loss_curve"]
        with atomic_write(picture) as file:
            file.write(room.picture(net, found, steps, title=title).encode())
        click.echo(picture)
