"""``chainrule train``: one command from nothing to a trained network, its error and its report."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.cli.command import FILE, TrainCommand
from chainrule.cli.options import (
    DATASETS,
    Name,
    Whole,
    debug_option,
    examples,
    executor_option,
    held_out_option,
)
from chainrule.errors import ConfigError, DataError

if TYPE_CHECKING:
    from chainrule.recipes import Recipe

__all__ = ["train"]

_RECIPES = ("quick", "lecture", "best")
_DEFAULTS: dict[str, Any] = {"recipe": "quick", "seed": 0, "executor": "auto", "held_out": False}
_RUNS = Path("runs")
_CHECKPOINT = "checkpoint.safetensors"


@click.command(
    epilog=examples(
        "chainrule train mnist                             the quick recipe, under a minute",
        "chainrule train mnist --recipe lecture --seed 1   50 epochs, dropout, batch normalisation",
        "chainrule train mnist --recipe best --held-out    judged on held-out training rows",
        "chainrule train mnist --resume                    goes on with a run that was stopped",
        notes=(
            "Without --held-out the network learns from all training rows, and the test set is read once, at "
            "the end.",
            "Ctrl-C saves a checkpoint first; a resumed run ends with the same bits as one that was never "
            "stopped.",
        ),
    )
)
@click.argument("dataset", type=Name("data set", DATASETS))
@click.option(
    "--recipe", type=Name("recipe", _RECIPES), metavar="NAME", help="quick (default), lecture or best."
)
@click.option("--epochs", type=Whole(1), metavar="N", help="Passes over the data; default: the recipe's.")
@click.option("--batch-size", type=Whole(1), metavar="N", help="Rows per step; default: the recipe's.")
@click.option("--seed", type=Whole(0), metavar="N", help="Of weights, order and noise; default: 0.")
@click.option(
    "--run-dir", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Where the run is kept; default: runs/DATASET-RECIPE-SEED, numbered if that is taken.",
)  # fmt: skip
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in --run-dir, or with the newest of this recipe and seed.",
)
@executor_option
@held_out_option(
    "Train on all but the last sixth of the training rows and judge on that sixth; the test set is not read."
)
@click.option("-q", "--quiet", is_flag=True, help="Only the result.")
@debug_option
@click.pass_context
def train(ctx: click.Context, run_dir: Path | None, resume: bool, quiet: bool, **options: Any) -> None:
    """Train a network on DATASET.

    DATASET is mnist, the network has 784-225-144-10 units.
    """
    from chainrule.cli.training import run
    from chainrule.recipes import RECIPES

    given = {
        name for name in options if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    if resume:
        folder = _to_resume(run_dir, options)
        command = _resumed(folder, {name: options[name] for name in given})
    else:
        command = _asked({name: options[name] for name in given}, RECIPES)
        folder = _new_folder(run_dir, command)
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


# ------------------------------------------------------------------ folders


def _new_folder(run_dir: Path | None, command: TrainCommand) -> Path:
    """The folder that was named, if it is free; else the first free one of the default names."""
    if run_dir is None:
        base = _RUNS / f"{command.dataset}-{command.recipe}-{command.seed}"
        names = (base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 10_000)))
        return next(path for path in names if not path.exists())
    if (run_dir / _CHECKPOINT).exists():
        again = shlex.join(["chainrule", "train", command.dataset, "--run-dir", str(run_dir), "--resume"])
        raise ConfigError(
            f"{run_dir} holds a run already; go on with it by `{again}`, or name another --run-dir"
        )
    if run_dir.is_dir() and not (run_dir / ".lock").exists() and any(run_dir.iterdir()):
        raise ConfigError(
            f"{run_dir} holds other files, which a run might overwrite; "
            "name a new or empty folder with --run-dir"
        )
    return run_dir


def _to_resume(run_dir: Path | None, options: dict[str, Any]) -> Path:
    """The folder that was named, or the newest of the default names."""
    if run_dir is not None:
        return run_dir
    recipe = options["recipe"] or _DEFAULTS["recipe"]
    seed = _DEFAULTS["seed"] if options["seed"] is None else options["seed"]
    base = f"{options['dataset']}-{recipe}-{seed}"
    pattern = re.compile(re.escape(base) + r"(-[2-9]|-[1-9]\d+)?")
    found = [path for path in _RUNS.glob("*") if pattern.fullmatch(path.name) and (path / FILE).is_file()]
    if not found:
        raise DataError(
            f"there is no run {_RUNS / base} to go on with; leave --resume out, or name the folder with "
            "--run-dir"
        )
    return max(found, key=lambda path: int(path.name.removeprefix(base)[1:] or 1))
