"""Estimators at their defaults beside scikit-learn's: python -m bench.estimators [--seeds 10] [--page]

On the tables that come with scikit-learn, or on a file: --table FILE --target COLUMN. Our defaults were
chosen on other tables. Five folds for each seed, the same for all. The difference is ours − theirs, with its
standard error over the seeds; accuracy of classes, R² of numbers. Linear models see standardised columns;
boosting stands beside. Text of a file is one-hot for scikit-learn's models, its gaps a category or the mean;
ours take the columns as they are.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from bench.page import PAGE, machine, write_section
from chainrule.data import Table, read_table
from chainrule.tasks import MLPClassifier, MLPRegressor

TABLES: dict[str, Callable[[], Any]] = {
    "iris": datasets.load_iris, "wine": datasets.load_wine, "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits, "diabetes": datasets.load_diabetes, "linnerud": datasets.load_linnerud,
}  # fmt: skip
OURS, THEIRS, LINEAR, BOOSTING = "chainrule", "scikit-learn MLP", "linear", "boosting"
FOLDS = 5


@dataclass
class Runs:
    """Of one model on one table: scores by seed, seconds by fit."""

    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        return statistics.mean(self.scores)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def models(x: Any, y: np.ndarray, seed: int) -> dict[str, Any]:
    """Those that are compared, by name."""
    if y.dtype.kind != "f":
        found = {
            OURS: MLPClassifier(random_state=seed),
            THEIRS: TheirClassifier(random_state=seed),
            LINEAR: LogisticRegression(max_iter=1000),
            BOOSTING: HistGradientBoostingClassifier(random_state=seed),
        }
    else:
        boosting = HistGradientBoostingRegressor(random_state=seed)
        found = {
            OURS: MLPRegressor(random_state=seed),
            THEIRS: TheirRegressor(random_state=seed),
            LINEAR: Ridge(),
            BOOSTING: MultiOutputRegressor(boosting) if y.ndim > 1 else boosting,
        }
    if not isinstance(x, Table):
        return found | {LINEAR: make_pipeline(StandardScaler(), found[LINEAR])}
    return {name: m if name == OURS else make_pipeline(_numbers(x), m) for name, m in found.items()}


def _numbers(x: Table) -> Any:
    """What a table is for scikit-learn's models, by the positions of its columns."""
    text = [i for i, name in enumerate(x.names) if x[name].dtype.kind not in "ifb"]
    rest = [i for i in range(len(x.names)) if i not in text]
    category = SimpleImputer(strategy="constant", fill_value="", missing_values=None)
    return make_column_transformer(
        (make_pipeline(category, OneHotEncoder(handle_unknown="ignore", sparse_output=False)), text),
        (make_pipeline(SimpleImputer(), StandardScaler()), rest),
    )


def compared(x: Any, y: np.ndarray, seeds: int) -> dict[str, Runs]:
    """Every model on the folds of every seed."""
    found: dict[str, Runs] = {}
    columns = np.column_stack([x[n].astype(object) for n in x.names]) if isinstance(x, Table) else None
    for seed in range(seeds):
        folds = (KFold if y.dtype.kind == "f" else StratifiedKFold)(FOLDS, shuffle=True, random_state=seed)
        scores: dict[str, list[float]] = {}
        for train, test in folds.split(np.empty((len(y), 0)), y):
            for name, model in models(x, y, seed).items():
                if isinstance(x, Table):
                    seen, unseen = (
                        (x.take(train).columns, x.take(test).columns)
                        if name == OURS
                        else (columns[train], columns[test])
                    )
                else:
                    seen, unseen = x[train], x[test]
                began = time.perf_counter()
                model.fit(seen, y[train])
                found.setdefault(name, Runs()).seconds.append(time.perf_counter() - began)
                scores.setdefault(name, []).append(float(model.score(unseen, y[test])))
        for name, values in scores.items():
            found[name].scores.append(statistics.mean(values))
    return found


def difference(found: dict[str, Runs]) -> tuple[float, float]:
    """Ours − theirs, and its standard error over the seeds."""
    gaps = np.subtract(found[OURS].scores, found[THEIRS].scores)
    return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else np.nan


HEADER = [
    f"| table | {OURS} | {THEIRS} | difference | {LINEAR} | {BOOSTING} | fit | theirs | share |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


def row(name: str, found: dict[str, Runs]) -> str:
    gap, error = difference(found)
    ours, theirs = found[OURS].median, found[THEIRS].median
    cells = [name, f"{found[OURS].score:.4f}", f"{found[THEIRS].score:.4f}", f"{gap:+.4f} ± {error:.4f}"]
    cells += [f"{found[LINEAR].score:.4f}", f"{found[BOOSTING].score:.4f}"]
    cells += [f"{ours * 1e3:.0f} ms", f"{theirs * 1e3:.0f} ms", f"{ours / theirs:.2f}"]
    return f"| {' | '.join(cells)} |"


def words(seeds: int) -> list[str]:
    return [
        "Every model at its defaults; ours were chosen on other tables. Five folds",
        f"for each of {seeds} seeds, the same for all: accuracy of classes, R² of numbers. The difference is",
        "ours − theirs with its standard error over the seeds. The linear models (logistic, ridge) see",
        "standardised columns; gradient boosting is scikit-learn's by histograms. `fit` and `theirs` are",
        "medians over all fits, of which the first of ours compiles; `share` is ours over theirs.",
        f"Command: `python -m bench.estimators --seeds {seeds} --page`.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--table", type=Path, help="a file in place of scikit-learn's tables")
    parser.add_argument("--target", help="its column to predict")
    parser.add_argument("--page", type=Path, nargs="?", const=PAGE, help="write the table there")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    lines, ahead = list(HEADER), []
    print("\n".join(HEADER), flush=True)
    for name, x, y in [_file(asked.table, asked.target)] if asked.table else _bundled():
        found = compared(x, y, asked.seeds)
        ahead.append(found[OURS].score - found[LINEAR].score)
        lines.append(row(name, found))
        print(lines[-1], flush=True)
    print(f"ours − linear, mean over tables: {statistics.mean(ahead):+.4f}")
    if asked.page:
        write_section("Estimators", [*words(asked.seeds), *lines, "", machine()], asked.page)


def _bundled() -> Any:
    for name, load in TABLES.items():
        data = load()
        yield name, data.data, np.asarray(data.target)


def _file(path: Path, target: str) -> tuple[str, Table, np.ndarray]:
    table = read_table(path)
    y = table[target]
    return path.name.partition(".")[0], table.drop(target), y if y.dtype.kind in "ifb" else y.astype(str)


if __name__ == "__main__":
    main()
