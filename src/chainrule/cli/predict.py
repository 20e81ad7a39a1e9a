"""``chainrule predict``: what a saved model makes of rows of a table, of pictures, of arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.cli.options import debug_option, examples, model_file
from chainrule.errors import DataError

if TYPE_CHECKING:
    from chainrule.data.arrays import Array
    from chainrule.network import Network

__all__ = ["predict"]

_MOST_BYTES = 2**31  # of an unpacked .npz


@click.command(
    epilog=examples(
        "chainrule predict runs/people-income-0 new.csv -o predictions.csv",
        "chainrule predict runs/people-income-0 new.parquet > predictions.csv",
        "chainrule predict runs/mnist-quick-0 digit.png",
        "chainrule predict model.safetensors a.png b.png --json",
        notes=(
            "Of a table every row is written again, with its prediction, and the probability of each class "
            "(of numbers: an interval that holds nine truths in ten). Columns may come in any order; what "
            "training had not seen is counted. Text that a spreadsheet would take for a formula gets "
            "an apostrophe before it.",
            "A picture may have any size, colours and background: the digit in it is found, scaled and "
            "centred as in MNIST. Arrays are taken as they are: rows like those of training, or images of as "
            "many pixels.",
        ),
    )
)
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument(
    "files", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True), metavar="FILE",
    help="Of a table: .csv, .tsv, .parquet, .feather or .xlsx; - is standard output, the default.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Of pictures: a JSON array, one object per image.")
@debug_option
def predict(model: Path, files: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Say what a MODEL makes of FILES.

    MODEL is a model file or a run folder. FILES: of a model of a table one table, of a network PNG pictures,
    .npy or .npz arrays.
    """
    from chainrule.modelfile import load, network_of
    from chainrule.tasks.predictor import Predictor

    found = load(model_file(model))
    if isinstance(found, Predictor):
        from chainrule.cli.predict_table import predict_table

        if as_json:
            raise click.UsageError("--json is of pictures; of a table leave it out, or name a file with -o.")
        predict_table(found, files, output)
        return
    if output is not None:
        raise click.UsageError(f"--output is of tables, but {model} holds a network; leave it out.")
    _predict_images(network_of(found, model), model, files, as_json)


def _predict_images(net: Network, model: Path, images: tuple[Path, ...], as_json: bool) -> None:
    import numpy as np

    rows = [pair for path in images for pair in _rows(path, net)]
    names = [name for name, _ in rows]
    found = np.asarray(net.predict_proba(np.stack([row for _, row in rows])))
    if found.ndim != 2 or found.shape[1] < 2:
        raise DataError(f"{model} gives outputs of shape {found.shape[1:]}, not the probabilities of classes")
    results = [_result(name, p) for name, p in zip(names, found, strict=True)]
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False))
        return
    width = max(map(len, names))
    for r in results:
        certain, second = f"{100 * r['probability']:6.2f} %", f"{100 * r['runner_up_probability']:.2f} %"
        click.echo(f"{r['input']:<{width}}  {r['class']}  {certain}   then {r['runner_up']} ({second})")


def _result(name: str, probabilities: Array) -> dict[str, Any]:
    best, second = (int(k) for k in probabilities.argsort(kind="stable")[::-1][:2])
    return {
        "input": name,
        "class": best,
        "probability": float(probabilities[best]),
        "runner_up": second,
        "runner_up_probability": float(probabilities[second]),
    }


# ------------------------------------------------------------------ what is read


def _rows(path: Path, net: Network) -> list[tuple[str, Array]]:
    """Every image in a file, under a name, as the model takes it."""
    inputs = net.model.inputs if net.model is not None else {}
    if list(inputs) != ["x"]:
        raise DataError(f"this model takes the inputs {sorted(inputs)}; `chainrule predict` gives one array")
    shape = inputs["x"].shape
    if path.suffix.lower() in (".npy", ".npz"):
        return _from_array(path, shape)
    return [(str(path), _from_picture(path, shape))]


def _from_picture(path: Path, shape: tuple[int, ...]) -> Array:
    from chainrule.datasets import digit_from_image
    from chainrule.png import read_png

    if shape != (784,):
        raise DataError(
            f"{path}: pictures become digits of 784 pixels, this model takes rows of shape {shape}; give .npy"
        )
    picture = read_png(path)
    try:
        return digit_from_image(picture)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _from_array(path: Path, shape: tuple[int, ...]) -> list[tuple[str, Array]]:
    """One row or many, each of as many values as the model takes."""
    import math

    values, size = _load(path), math.prod(shape)
    if values.dtype.kind not in "biuf":
        raise DataError(f"{path}: an array of {values.dtype}; give numbers")
    for leading in (0, 1):
        if values.ndim > leading and values.size and math.prod(values.shape[leading:]) == size:
            rows = values.reshape(-1, *shape)
            return (
                [(str(path), rows[0])]
                if not leading
                else [(f"{path}[{k}]", row) for k, row in enumerate(rows)]
            )
    raise DataError(
        f"{path}: an array of shape {values.shape}; this model takes rows of {size} values, give (n, {size})"
    )


def _load(path: Path) -> Array:
    """The array in a .npy file, or the only one (or the one called x) in a .npz file; never a pickle."""
    import zipfile

    import numpy as np

    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with zipfile.ZipFile(path) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > _MOST_BYTES:
                raise DataError(
                    f"{path}: more than {_MOST_BYTES >> 30} GiB unpacked; give fewer rows at once"
                )
        with np.load(path, allow_pickle=False) as arrays:
            names = [name for name in arrays.files if name == "x"] or arrays.files
            if len(names) != 1:
                raise DataError(
                    f"{path}: holds {', '.join(sorted(names)) or 'nothing'}; give one array, or call it x"
                )
            return arrays[names[0]]
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: not an array file that can be read ({error}); save it with numpy.save"
        ) from error
