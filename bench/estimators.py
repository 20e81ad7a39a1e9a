"""Estimators at their defaults on scikit-learn's tables, beside its own: python -m bench.estimators [seeds]

Five folds for each seed, the same for all. The difference is ours − theirs, with its standard error over the
seeds; accuracy of classes, R² of numbers. Linear models see standardised columns; boosting stands beside.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from chainrule.tasks import MLPClassifier, MLPRegressor

TABLES = {
    "iris": datasets.load_iris, "wine": datasets.load_wine, "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits, "diabetes": datasets.load_diabetes, "linnerud": datasets.load_linnerud,
}  # fmt: skip


def models(numbers: bool, several: bool, seed: int) -> dict[str, Any]:
    """Those that are compared, by name."""
    if not numbers:
        return {
            "chainrule": MLPClassifier(random_state=seed),
            "scikit-learn MLP": TheirClassifier(random_state=seed),
            "linear": make_pipeline(StandardScaler(), LogisticRegression()),
            "boosting": HistGradientBoostingClassifier(random_state=seed),
        }
    boosting = HistGradientBoostingRegressor(random_state=seed)
    return {
        "chainrule": MLPRegressor(random_state=seed),
        "scikit-learn MLP": TheirRegressor(random_state=seed),
        "linear": make_pipeline(StandardScaler(), Ridge()),
        "boosting": MultiOutputRegressor(boosting) if several else boosting,
    }


def compared(x: np.ndarray, y: np.ndarray, seeds: int) -> dict[str, tuple[list[float], float]]:
    """Scores by seed, and seconds of all fits, of every model."""
    numbers = y.dtype.kind == "f"
    found: dict[str, tuple[list[float], list[float]]] = {}
    for seed in range(seeds):
        folds = (KFold if numbers else StratifiedKFold)(5, shuffle=True, random_state=seed)
        scores: dict[str, list[float]] = {}
        for train, test in folds.split(x, y):
            for name, model in models(numbers, y.ndim > 1, seed).items():
                began = time.perf_counter()
                model.fit(x[train], y[train])
                found.setdefault(name, ([], []))[1].append(time.perf_counter() - began)
                scores.setdefault(name, []).append(model.score(x[test], y[test]))
        for name, values in scores.items():
            found[name][0].append(float(np.mean(values)))
    return {name: (scores, sum(seconds)) for name, (scores, seconds) in found.items()}


def main(seeds: int) -> None:
    warnings.simplefilter("ignore")
    print("| table | chainrule | scikit-learn MLP | difference | linear | boosting | seconds | of theirs |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, load in TABLES.items():
        data = load()
        found = compared(data.data, np.asarray(data.target), seeds)
        (ours, seconds), (theirs, their_seconds) = found["chainrule"], found["scikit-learn MLP"]
        gap = np.subtract(ours, theirs)
        error = gap.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
        means = [np.mean(found[k][0]) for k in ("chainrule", "scikit-learn MLP", "linear", "boosting")]
        cells = [f"{means[0]:.4f}", f"{means[1]:.4f}", f"{gap.mean():+.4f} ± {error:.4f}"]
        cells += [f"{m:.4f}" for m in means[2:]]
        print(f"| {name} | {' | '.join(cells)} | {seconds:.1f} | {their_seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
