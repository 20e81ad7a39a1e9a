"""``chainrule train``: one command from nothing to a trained network, its score and its report."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.cli.command import FILE, TrainCommand
from chainrule.cli.folders import new_folder, newest
from chainrule.cli.options import (
    DATASETS,
    Data,
    Name,
    Whole,
    debug_option,
    examples,
    executor_option,
    held_out_option,
)
from chainrule.cli.table_options import OF_TABLES, table_options
from chainrule.errors import ConfigError, DataError

if TYPE_CHECKING:
    from chainrule.recipes import Recipe

__all__ = ["train"]

_RECIPES = ("quick", "lecture", "best", "conv", "invariant")
_DEFAULTS: dict[str, Any] = {"recipe": "quick", "seed": 0, "executor": "auto", "held_out": False}
_OF_MNIST = ("recipe", "held_out")


@click.command(
    epilog=examples(
        "chainrule train people.csv --target income                 a table: all is chosen",
        "chainrule train people.csv --target income --time 2m       … within two minutes",
        "chainrule train people.csv --target income --search        tries architectures first",
        "chainrule train people.csv --target age --hidden 64,32 --kinds zip=categorical",
        "chainrule train people.csv --target income --write-config run.toml",
        "chainrule train --config run.toml                          again, with the same settings",
        "chainrule train mnist                                      the quick recipe, under a minute",
        "chainrule train mnist --recipe lecture --seed 1            50 epochs, dropout, batch normalisation",
        "chainrule train mnist --resume                             goes on with a run that was stopped",
        notes=(
            "A table is a CSV or TSV file (also .gz), Parquet, Feather, .xlsx, .npy or .npz. One row in "
            "seven is kept for the test, which is read once, at the end; of mnist the test set.",
            "Ctrl-C saves a checkpoint first; a resumed run ends with the same bits as one that was never "
            "stopped.",
        ),
    )
)
@click.argument("data", type=Data(), required=False, metavar="DATA")
@table_options
@click.option(
    "--recipe",
    type=Name("recipe", _RECIPES),
    metavar="NAME",
    help="mnist: quick (default), lecture, best or invariant.",
)
@click.option("--epochs", type=Whole(1), metavar="N", help="Passes over the data, at most.")
@click.option("--batch-size", type=Whole(1), metavar="N", help="Rows per step.")
@click.option("--seed", type=Whole(0), metavar="N", help="Of weights, order, noise and parts; default: 0.")
@click.option(
    "--run-dir", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Where the run is kept; default: runs/FILE-COL-SEED or runs/mnist-RECIPE-SEED, numbered if that is "
    "taken.",
)  # fmt: skip
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in --run-dir, or with the newest of this data and seed.",
)
@executor_option
@held_out_option(
    "mnist: train on all but the last sixth of the training rows and judge on that sixth; the test set is "
    "not read."
)
@click.option("-q", "--quiet", is_flag=True, help="Only the result.")
@debug_option
@click.pass_context
def train(ctx: click.Context, run_dir: Path | None, resume: bool, quiet: bool, **options: Any) -> None:
    """Train a network on DATA.

    DATA is the file of a table, of which --target is to be learned, or mnist.
    """
    given = {
        name: value
        for name, value in options.items()
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT and value is not None
    }
    if given.get("data") not in DATASETS and _is_table(given, run_dir, resume=resume):
        _refuse(given, _OF_MNIST, "mnist")
        from chainrule.cli.train_table import train_table

        train_table(given, run_dir, resume=resume, quiet=quiet, words=_words(ctx))
        return
    if "data" not in given:
        raise click.UsageError("Missing argument 'DATA': the file of a table, or mnist.")
    _refuse(given, OF_TABLES, "tables")
    _train_mnist({"dataset": given.pop("data"), **given}, run_dir, resume=resume, quiet=quiet)


def _is_table(given: dict[str, Any], run_dir: Path | None, *, resume: bool) -> bool:
    """Whether a table is meant: by its file, its settings, or the folder of its run."""
    if "data" in given or "config" in given:
        return True
    return resume and run_dir is not None and not (run_dir / FILE).exists()


def _refuse(given: dict[str, Any], names: Collection[str], what: str) -> None:
    """UsageError for an option of the other kind of data."""
    if odd := sorted(name for name in given if name in names):
        raise click.UsageError(f"--{odd[0].replace('_', '-')} is an option of {what} only; leave it out.")


def _words(ctx: click.Context) -> list[str]:
    """The command line behind ``chainrule train``, as it was written, but for where the run is kept."""
    found: list[str] = []
    for param in ctx.command.params:
        name, value = param.name or "", ctx.params.get(param.name or "")
        if ctx.get_parameter_source(name) is click.core.ParameterSource.DEFAULT or value is None:
            continue
        if isinstance(param, click.Argument):
            found = [str(value), *found]
        elif name not in ("run_dir", "resume", "quiet", "write_config"):
            for one in value if param.multiple else [value]:
                shown = ",".join(map(str, one)) or "0" if isinstance(one, tuple) else str(one)
                if isinstance(one, bool):
                    found += [f"--{'' if one else 'no-'}{name.replace('_', '-')}"]
                else:
                    found += ["--" + name.replace("_", "-"), shown]
    return found


# ------------------------------------------------------------------ mnist


def _train_mnist(given: dict[str, Any], run_dir: Path | None, *, resume: bool, quiet: bool) -> None:
    from chainrule.cli.training import run
    from chainrule.recipes import RECIPES

    options = {"recipe": None, "seed": None, **given}
    if resume:
        recipe, seed = options["recipe"] or _DEFAULTS["recipe"], options["seed"]
        base = f"{options['dataset']}-{recipe}-{_DEFAULTS['seed'] if seed is None else seed}"
        folder = newest(run_dir, base, FILE)
        command = _resumed(folder, given)
    else:
        command = _asked(given, RECIPES)
        base = f"{command.dataset}-{command.recipe}-{command.seed}"
        folder = new_folder(run_dir, base, ["chainrule", "train", command.dataset])
    run(command, RECIPES[command.recipe], folder, resume=resume, quiet=quiet)


def _asked(given: dict[str, Any], recipes: dict[str, Recipe]) -> TrainCommand:
    """The command with the defaults of the command line and of the recipe filled in."""
    chosen = {**_DEFAULTS, **given}
    recipe = recipes[chosen["recipe"]]
    return TrainCommand(**{"epochs": recipe.epochs, "batch_size": recipe.batch_size, **chosen})


def _resumed(folder: Path, given: dict[str, Any]) -> TrainCommand:
    """The command with which the run was begun; options that are given again must not differ."""
    from chainrule.report import read_json

    if not (folder / FILE).is_file():
        raise DataError(f"{folder} holds no run of `chainrule train`; name the folder of one with --run-dir")
    command = TrainCommand.from_json(read_json(folder, FILE), folder / FILE)
    for name, value in given.items():
        if getattr(command, name) != value:
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{folder} was begun with {option} {getattr(command, name)}, not {value}; leave {option} out "
                "to go on with that run, or start another without --resume"
            )
    for value, table in ((command.dataset, DATASETS), (command.recipe, _RECIPES)):
        if value not in table:
            raise DataError(
                f"{folder / FILE} names {value!r}, which this version does not know; "
                "start again in another --run-dir"
            )
    return command
