"""``chainrule evaluate``: how well a saved model does on unseen rows."""

from __future__ import annotations

import json
from pathlib import Path

import click

from chainrule.cli.options import DATASETS, Name, debug_option, examples, held_out_option, model_file

__all__ = ["evaluate"]


@click.command(
    epilog=examples(
        "chainrule evaluate runs/mnist-quick-0",
        "chainrule evaluate model.safetensors mnist --json",
    )
)
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("dataset", type=Name("data set", DATASETS), default="mnist")
@held_out_option("On the last sixth of the training rows in place of the test set.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@debug_option
def evaluate(model: Path, dataset: str, held_out: bool, as_json: bool) -> None:
    """Test a MODEL on unseen rows.

    MODEL is a model file or a run folder, DATASET is mnist.
    """
    from chainrule.cli.training import load_dataset, parts
    from chainrule.modelfile import load_network
    from chainrule.report import examine
    from chainrule.report.html import percent

    net = load_network(model_file(model))
    data = load_dataset(dataset)
    _, _, part, x, y = parts(data, held_out)
    found = examine(net, data, part, x, y)
    if as_json:
        figures = {"part": part, "rows": len(found), "wrong": found.wrong, "error": found.error}
        click.echo(json.dumps({"dataset": dataset, **figures, "cross_entropy": found.cross_entropy}))
        return
    wrong = f"{part} error {percent(found.error)} ({found.wrong:,} of {len(found):,} wrong)"
    click.echo(f"{wrong}, cross-entropy {found.cross_entropy:.4f}")
    by_class = zip(found.classes, found.class_errors, strict=True)
    click.echo("by class: " + ", ".join(f"{name} {percent(share)}" for name, share in by_class))
