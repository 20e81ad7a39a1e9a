"""The commands that only show: data sets, a model's layers, a run's report."""

from __future__ import annotations

from pathlib import Path

import click

from chainrule.cli.command import FILE, TrainCommand
from chainrule.cli.options import debug_option, examples, model_file

__all__ = ["datasets", "report", "summary"]


@click.command(
    epilog=examples(
        "chainrule datasets", 'python -c "import chainrule as cr; print(cr.datasets.spirals(200))"'
    )
)
@debug_option
def datasets() -> None:
    """List the data sets, and where they are."""
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

    click.echo(load(model_file(model)).summary())


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
