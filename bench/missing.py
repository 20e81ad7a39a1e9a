"""What missing cells cost: ``python -m bench.missing income.csv.gz --target INCOME``.

A share of all cells is taken away at random, and a classifier is fitted in several ways to what is left, each
with the same network on the same rows. Each seed takes away other cells, holds out other rows, starts afresh.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.page import machine, write_section
from chainrule.data.tables import Table, is_missing, read_table
from chainrule.tasks import Imputer, MLPClassifier

Array = np.ndarray[Any, Any]
Fill = Callable[[Table, Table], tuple[Table, Table]]
"""(training rows, test rows) with gaps → the same without."""

NETWORK: dict[str, Any] = {
    "hidden_layer_sizes": (100,), "dropout": 0.3, "early_stopping": True, "scoring": "loss", "max_iter": 100,
}  # fmt: skip
HIDDEN = 0.3  # of the cells, in training behind which any may be missing
BASE = "mean or mode, then the network"


def with_gaps(table: Table, share: float, rng: np.random.Generator) -> Table:
    """A share of the cells taken away."""
    gap = {"O": None, "f": np.nan}
    columns = {}
    for name, column in table.columns.items():
        column = column if column.dtype == object else column.astype(np.float64)
        columns[name] = np.where(rng.random(len(table)) < share, gap[column.dtype.kind], column)
    return Table(columns, table.levels)


# ------------------------------------------------------------------ ways to fill


def by_mean(train: Table, test: Table) -> tuple[Table, Table]:
    """The mean of numbers, the most frequent category."""
    usual: dict[str, Any] = {}
    for name, column in train.columns.items():
        known = column[~is_missing(column)]
        values, counts = np.unique(known.astype(str) if column.dtype == object else known, return_counts=True)
        usual[name] = str(values[counts.argmax()]) if column.dtype == object else known.mean()
    return tuple(  # type: ignore[return-value]
        Table({n: np.where(is_missing(c), usual[n], c).astype(c.dtype) for n, c in part.columns.items()})
        for part in (train, test)
    )


def by_imputer(seed: int) -> Fill:
    def fill(train: Table, test: Table) -> tuple[Table, Table]:
        model = Imputer(n_iter_no_change=10, random_state=seed).fit(train)
        return model.transform(train), model.transform(test)

    return fill


def by_scikit_learn(imputer: Any, *, one_hot: bool) -> Fill:
    """Of categories, which these cannot take: one-hot columns, of which the highest is taken; or their places
    in the alphabet, rounded. (IterativeImputer cannot learn from one-hot columns: those of a cell follow from
    each other, and all of them are missing together.)"""

    def fill(train: Table, test: Table) -> tuple[Table, Table]:
        known = {n: sorted({v for v in c.tolist() if v is not None}) for n, c in train.columns.items()}

        def coded(part: Table) -> Array:
            blocks = []
            for name, column in part.columns.items():
                hot = (column[:, None] == np.array(known[name], object)).astype(float)
                block = hot if one_hot else hot @ np.arange(len(known[name]))[:, None]
                block[is_missing(column)] = np.nan
                blocks.append(block)
            return np.hstack(blocks)

        imputer.fit(coded(train))
        return tuple(  # type: ignore[return-value]
            decoded(part, imputer.transform(coded(part)), known, one_hot) for part in (train, test)
        )

    return fill


def decoded(part: Table, filled: Array, known: dict[str, list[str]], one_hot: bool) -> Table:
    columns, at = {}, 0
    for name, column in part.columns.items():
        count = len(known[name])
        block = filled[:, at : (at := at + (count if one_hot else 1))]
        place = block.argmax(axis=1) if one_hot else np.rint(block[:, 0]).clip(0, count - 1).astype(int)
        columns[name] = np.where(is_missing(column), np.array(known[name], object)[place], column)
    return Table(columns)


def scikit_learns(seed: int) -> dict[str, Fill]:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer

    return {
        "scikit-learn's KNNImputer": by_scikit_learn(KNNImputer(n_neighbors=10), one_hot=True),
        "scikit-learn's IterativeImputer": by_scikit_learn(
            IterativeImputer(random_state=seed), one_hot=False
        ),
    }


# ------------------------------------------------------------------ one seed


def scores(model: Any, rows: Table, y: Array) -> tuple[float, float]:
    """(log loss, share of wrong classes)"""
    p, codes = model.predict_proba(rows), np.searchsorted(model.classes_, y)
    return float(-np.log(p[np.arange(len(y)), codes]).mean()), float((p.argmax(axis=1) != codes).mean())


def wrong_cells(filled: Table, gaps: Table, whole: Table) -> float:
    """Of the cells that were taken away: how many of a column are wrong, the mean over the columns."""
    found = []
    for name in whole.names:
        taken = is_missing(gaps[name]) & ~is_missing(whole[name])
        found.append((filled[name][taken] != whole[name][taken]).mean())
    return float(np.mean(found))


def one_seed(table: Table, target: str, share: float, seed: int, compare: bool) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    y, whole = table[target].astype(str), table.drop(target)
    gaps = with_gaps(whole, share, rng)
    order = rng.permutation(len(y))
    test, train = np.split(order, [len(y) // 5])
    parts = gaps.take(train), gaps.take(test)
    ways: dict[str, Fill] = {BASE: by_mean, "Imputer, then the network": by_imputer(seed)}
    ways |= scikit_learns(seed) if compare else {}
    found: dict[str, Any] = {"cells": {}, "seconds": {}}
    for name, fill in ways.items():
        began = time.process_time()
        a, b = fill(*parts)
        found["seconds"][name] = time.process_time() - began
        found["cells"][name] = wrong_cells(b, parts[1], whole.take(test))
        found[name] = scores(MLPClassifier(**NETWORK, random_state=seed).fit(a, y[train]), b, y[test])
    for name, hidden in (("gaps marked (as always)", 0.0), (f"hide_inputs={HIDDEN}", HIDDEN)):
        model = MLPClassifier(**NETWORK, hide_inputs=hidden, random_state=seed).fit(parts[0], y[train])
        found[name] = scores(model, parts[1], y[test])
    return found


# ------------------------------------------------------------------ all of them


def measured(values: list[float]) -> str:
    """Mean and its standard error."""
    return f"{np.mean(values):+.4f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.4f}"


def page(results: list[dict[str, Any]]) -> list[str]:
    names = [name for name in results[0] if name not in ("cells", "seconds")]
    lines = [
        "| | seeds | log loss | less than with mean or mode | wrong | wrong cells | seconds to fill |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in names:
        of = [r for r in results if name in r]
        cells = [r["cells"][name] for r in of if name in r["cells"]]
        seconds = [r["seconds"][name] for r in of if name in r["seconds"]]
        cell = [
            name,
            f"{len(of)}",
            f"{np.mean([r[name][0] for r in of]):.4f}",
            "" if name == BASE else measured([r[BASE][0] - r[name][0] for r in of]),
            f"{np.mean([r[name][1] for r in of]):.2%}",
            f"{np.mean(cells):.2%}" if cells else "",
            f"{np.median(seconds):.1f}" if seconds else "",
        ]
        lines.append(f"| {' | '.join(cell)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--share", type=float, default=0.3, help="of the cells that is taken away")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--beside", type=int, default=2, help="seeds with scikit-learn's imputers, too")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    table, results = read_table(asked.data), []
    for seed in range(asked.seeds):
        results.append(one_seed(table, asked.target, asked.share, seed, seed < asked.beside))
        print(seed, results[-1], flush=True)
    lines = page(results)
    print("\n".join(lines))
    write_section(
        "Missing cells",
        [
            f"{asked.data.name}, {len(table):,} rows, target {asked.target}; {asked.share:.0%} of all cells "
            f"taken away, a fifth of the rows held out, {asked.seeds} seeds. After each way",
            "of filling the same network, 100 units with dropout 0.3, stopped early by its loss. Differences",
            "are of the same seed, with the standard error of their mean; wrong cells are those taken from",
            "the rows held out, the mean over the columns. scikit-learn's KNNImputer sees one-hot columns,",
            "its IterativeImputer the places of categories. Seconds of processor time.",
            f"Command: `python -m bench.missing {asked.data.name} --target {asked.target} "
            f"--seeds {asked.seeds}`.",
            "",
            *lines,
            "",
            machine("scikit-learn"),
        ],
    )


if __name__ == "__main__":
    main()
