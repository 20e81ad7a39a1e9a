"""What the examples share, and the gallery page made of them all.

    python examples/xor.py               its figures, and its picture as xor.png beside you
    python examples/xor.py --short       the same in seconds, as the tests run it
    python examples/gallery.py [NAME …]  runs them all (or those named) and writes docs/gallery.md

An example is a page to read: a docstring whose first line is its title, `EXPECTED` (the range in which the
figures of a short run must lie), and `main(short)`, which returns all figures and a picture.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["COLOURS", "names", "picture", "run"]

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "gallery.md"
PICTURES = HERE.parent / "docs" / "images" / "gallery"
MEASURED = PICTURES / "figures.json"

# Okabe and Ito (2008): told apart by everyone.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "image.cmap": "viridis",
        "legend.frameon": False,
        "savefig.dpi": 110,
    }
)


def picture(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (3.4, 3.0), **options: Any
) -> Any:
    """A figure and its axes in the style of the gallery; `size` is that of one of them, in inches."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def names() -> list[str]:
    """The examples, by the names of their files."""
    return sorted(file.stem for file in HERE.glob("*.py") if file.stem != "gallery")


def run(main: Callable[[bool], tuple[dict[str, float], Figure]]) -> None:
    """Run one example as a program: print its figures, write its picture."""
    file = Path(sys.argv[0])
    parser = argparse.ArgumentParser(description=f"{file.stem}: an example of chainrule")
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes, on fewer data")
    parser.add_argument("--picture", type=Path, default=Path(f"{file.stem}.png"), help="where it is drawn")
    asked = parser.parse_args()
    figures, drawn = main(asked.short)
    for name, value in figures.items():
        print(f"{name:48} {value:.4g}")
    drawn.savefig(asked.picture)
    print(f"drawn: {asked.picture}")


def _save(figure: Figure, path: Path) -> None:
    """With 128 colours, which the eye does not miss: a third of the bytes."""
    from PIL import Image  # comes with matplotlib

    plain = io.BytesIO()
    figure.savefig(plain)
    colours = (
        Image.open(plain).convert("RGB").quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    )
    colours.save(path, optimize=True)


def _measure(name: str) -> dict[str, Any]:
    module = importlib.import_module(name)
    began = time.perf_counter()
    figures, drawn = module.main(False)
    seconds = time.perf_counter() - began
    _save(drawn, PICTURES / f"{name}.png")
    print(
        f"{name}, {seconds:.1f} s", *(f"{key}: {value:.4g}" for key, value in figures.items()), sep="\n    "
    )
    return {"figures": {key: float(value) for key, value in figures.items()}, "seconds": round(seconds, 1)}


def _section(name: str, measured: dict[str, Any]) -> str:
    words = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or name
    title, _, text = words.partition("\n")
    lines = [
        f"## {title.rstrip('.')}",
        "",
        text.strip(),
        "",
        f"![{title.rstrip('.')}](images/gallery/{name}.png)",
        "",
        f"[`examples/{name}.py`](../examples/{name}.py) ({measured['seconds']:.0f} s):",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {key} | {value:.4g} |" for key, value in measured["figures"].items()),
        "",
    ]
    return "\n".join(lines)


def _write(measured: dict[str, Any]) -> None:
    head = (
        "# Gallery\n\nEach picture was drawn by the script named under it, each figure measured by it:\n"
        "`python examples/gallery.py` runs them all and writes this page. The tests run each in short.\n"
    )
    sections = [_section(name, measured[name]) for name in names() if name in measured]
    PAGE.write_text("\n".join([head, *sections]), encoding="utf-8")


def _main(asked: list[str]) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    if unknown := sorted(set(asked) - set(names())):
        sys.exit(f"no example is called {', '.join(unknown)}. There are: {', '.join(names())}")
    for name in asked or names():
        entry = _measure(name)
        known = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
        measured = {key: found for key, found in sorted({**known, name: entry}.items()) if key in names()}
        MEASURED.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        _write(measured)


if __name__ == "__main__":
    _main(sys.argv[1:])
