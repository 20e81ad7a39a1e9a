"""A file as one gets them, for the tests of the command line on tables; and options that make a run quick."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

__all__ = ["QUICK", "shops"]

QUICK = [
    "--epochs",
    "4",
    "--networks",
    "2",
    "--hidden",
    "8",
    "--learning-rate",
    "0.01",
    "--executor",
    "reference",
]


def shops(path: Path, rows: int = 200, seed: int = 0) -> None:
    """A file as one gets them: semicolons, decimal commas, gaps, an identifier."""
    rng = np.random.default_rng(seed)
    size, kind = rng.normal(5, 2, rows), rng.integers(0, 3, rows)
    sales = 2 * size + np.array([0, 3, -3])[kind] + 0.3 * rng.normal(size=rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["shop id", "size", "kind", "pays", "sales"])
        for i in range(rows):
            cell = "" if rng.random() < 0.1 else f"{size[i]:.2f}".replace(".", ",")
            pays = "yes" if sales[i] > 10 else "no"
            word = ["food", "tools", ""][kind[i]]
            writer.writerow([1000 + i, cell, word, pays, f"{sales[i]:.3f}".replace(".", ",")])
