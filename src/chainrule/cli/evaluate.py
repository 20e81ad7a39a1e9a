"""``chainrule evaluate``: how well a saved model does on unseen rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chainrule.cli.options import DATASETS, Data, debug_option, examples, held_out_option, model_file
from chainrule.cli.say import say
from chainrule.errors import DataError, nearest

if TYPE_CHECKING:
    from chainrule.network import Network
    from chainrule.tasks.predictor import Predictor

__all__ = ["evaluate"]


@click.command(
    epilog=examples(
        "chainrule evaluate runs/people-income-0 unseen.csv",
        "chainrule evaluate runs/mnist-quick-0",
        "chainrule evaluate model.safetensors mnist --json",
        notes=("The file of a table has the column that was learned among its columns.",),
    )
)
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=Data(), required=False, metavar="DATA")
@click.option("--target", metavar="COL", help="The column with the truth; default: the one that was learned.")
@held_out_option("mnist: on the last sixth of the training rows in place of the test set.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@debug_option
def evaluate(model: Path, data: str | None, target: str | None, held_out: bool, as_json: bool) -> None:
    """Test a MODEL on unseen rows.

    MODEL is a model file or a run folder. DATA is the file of a table; of a network it is mnist.
    """
    from chainrule.modelfile import load, network_of
    from chainrule.tasks.predictor import Predictor

    found = load(model_file(model))
    if isinstance(found, Predictor):
        if data is None or data in DATASETS or held_out:
            raise click.UsageError(f"{model} learned a table: give a FILE of rows with its column.")
        _evaluate_table(found, Path(data), target, as_json)
        return
    if data not in (None, *DATASETS) or target is not None:
        raise click.UsageError(f"{model} holds a network, which is tested on {', '.join(DATASETS)}.")
    _evaluate_mnist(network_of(found, model), data or DATASETS[0], held_out, as_json)


def _evaluate_table(predictor: Predictor, path: Path, target: str | None, as_json: bool) -> None:
    from chainrule.cli.reading import of_file, read_like, target_of
    from chainrule.cli.table_words import score_words
    from chainrule.report import examine_table

    name = target or target_of(predictor)
    table = read_like(path, predictor)
    if name not in table:
        raise DataError(f"{path} has no column {name!r}, the truth; {nearest(name, table.names)}")
    with of_file(path):
        found = examine_table(predictor, table, name, part="given", importance_rows=1, top=0)
    if as_json:
        figures = found.figures()
        click.echo(json.dumps({k: figures[k] for k in ("task", "target", "rows", "scores")}))
        return
    click.echo(f"{len(found):,} rows: {score_words(found.classifies, found.scores)}")
    if found.without_truth:
        say(f"note: {found.without_truth:,} rows without {name!r} are left out")
    if str(found.notes):
        say(f"note: {found.notes}")


def _evaluate_mnist(net: Network, dataset: str, held_out: bool, as_json: bool) -> None:
    from chainrule.cli.training import load_dataset, parts
    from chainrule.report import examine
    from chainrule.report.html import percent

    _, _, part, x, y = parts(data := load_dataset(dataset), held_out)
    found = examine(net, data, part, x, y)
    if as_json:
        figures = {"part": part, "rows": len(found), "wrong": found.wrong, "error": found.error}
        click.echo(json.dumps({"dataset": dataset, **figures, "cross_entropy": found.cross_entropy}))
        return
    wrong = f"{part} error {percent(found.error)} ({found.wrong:,} of {len(found):,} wrong)"
    click.echo(f"{wrong}, cross-entropy {found.cross_entropy:.4f}")
    by_class = zip(found.classes, found.class_errors, strict=True)
    click.echo("by class: " + ", ".join(f"{name} {percent(share)}" for name, share in by_class))
