"""``chainrule export``: a saved model for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from chainrule.cli.options import debug_option, examples, model_file
from chainrule.errors import DataError

__all__ = ["export"]


@click.command(
    epilog=examples(
        "chainrule export runs/people-income-0 income.onnx",
        "chainrule export model.safetensors model.onnx",
        notes=(
            "Encoding of the columns, scaling and classes are inside. Needs the package onnx: "
            "pip install 'chainrule[onnx]'.",
        ),
    )
)
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.onnx")
@debug_option
def export(model: Path, out: Path) -> None:
    """Write a MODEL as an ONNX file.

    MODEL is a model file or a run folder.
    """
    from chainrule.modelfile import load

    if out.suffix.lower() != ".onnx":
        raise DataError(f"{out}: models are exported as ONNX; give a name that ends in .onnx")
    load(model_file(model)).export(out)
    click.echo(out)
