"""Draws docs/images/table-report.svg: six drawings of the report of a made-up table; writes its page too.

python docs/draw_table_report.py [report.html]
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import MLPClassifier
from chainrule.data.tables import Table, as_table
from chainrule.report import TableFindings, table_report
from chainrule.report.table import drawings
from chainrule.svg.markup import Markup, document

TARGET = Path(__file__).parent / "images" / "table-report.svg"
GAP = 14.0


def subscribers(rows: int, seed: int = 0) -> dict[str, Any]:
    """Made-up customers of a magazine, of whom some cancel: columns of every kind, with gaps."""
    rng = np.random.default_rng(seed)
    age = rng.gamma(9.0, 5.0, rows).clip(18, 90).round()
    plan = rng.choice(["monthly", "yearly", "student"], rows, p=[0.55, 0.35, 0.10])
    plan = np.where((plan == "student") & (age > 32), "monthly", plan)
    joined = np.datetime64("2019-01-01") + rng.integers(0, 2000, rows).astype("timedelta64[D]")
    visits = rng.negative_binomial(2, 0.12, rows).astype(float)
    tickets = rng.poisson(np.where(rng.random(rows) < 0.15, 2.5, 0.3))
    price = np.where(plan == "yearly", 7.5, np.where(plan == "student", 4.0, 9.9)) + rng.choice([0, 2], rows)
    years = (np.datetime64("2024-07-01") - joined).astype(int) / 365
    cities = ["Oslo", "Bergen", "Trondheim", "Stavanger", "Tromsø"]
    city = rng.choice(cities, rows, p=[0.4, 0.2, 0.2, 0.15, 0.05])
    z = (
        0.9
        - 1.6 * (plan == "yearly")
        + 1.8 * np.exp(-visits / 5)
        + 0.9 * np.minimum(tickets, 3)
        - 0.5 * years
        + 0.22 * (price - 8)
        - 1.1 * np.exp(-(((age - 52) / 14) ** 2))
        + 0.4 * (city == "Oslo") * (tickets > 0)
    )
    cancels = rng.random(rows) < 1 / (1 + np.exp(-1.3 * z))
    visits[rng.random(rows) < 0.08] = np.nan
    newsletter = np.where(rng.random(rows) < 0.05, None, np.where(rng.random(rows) < 0.6, "yes", "no"))
    return {
        "customer": np.array([f"C{n:06d}" for n in rng.permutation(900_000)[:rows]], object),
        "age": age,
        "plan": plan.astype(object),
        "price": price,
        "visits last month": visits,
        "support tickets": tickets.astype(np.int64),
        "joined": joined.astype("datetime64[us]"),
        "city": city.astype(object),
        "newsletter": newsletter,
        "currency": np.full(rows, "NOK", object),
        "cancels": np.where(cancels, "yes", "no").astype(object),
    }


def fitted(train: Table) -> MLPClassifier:
    """A small network, stopped by rows held out."""
    model = MLPClassifier((32, 16), early_stopping=True, scoring="loss", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the identifier that is left out is named in the report
        return model.fit(_without(train), train["cancels"].astype(str))


def report(path: str | Path) -> tuple[MLPClassifier, TableFindings]:
    """The report of a network on 4,000 unseen of 12,000 made-up customers."""
    table = as_table(subscribers(12_000))
    train, test = table.take(slice(0, 8000)), table.take(slice(8000, None))
    model = fitted(train)
    found = table_report(
        model,
        _without(test),
        test["cancels"],
        path,
        target="cancels",
        train=(_without(train), train["cancels"]),
        command="python docs/draw_table_report.py report.html",
    )
    return model, found


def picture(model: MLPClassifier, found: TableFindings) -> Markup:
    """Two columns of the report's drawings."""
    history = model.network_.history
    if history is None:
        raise SystemExit("the network was not trained")
    by_column = dict(zip((d.column for d in found.dependence), drawings.dependences(found), strict=True))
    left = [drawings.curves(history.rows, history.kept)[0], drawings.importance(found), drawings.roc(found)]
    right = [drawings.calibration(found), by_column["support tickets"], by_column["joined"]]
    parts: list[str] = []
    heights = [_stacked(parts, left, 0.0), _stacked(parts, right, drawings.WIDTH + GAP)]
    return document(2 * drawings.WIDTH + GAP, max(heights) - GAP, "parts of a table's report", parts)


def _stacked(parts: list[str], below: list[Markup], x: float) -> float:
    """Drawings below each other; where the next would begin."""
    y = 0.0
    for drawing in below:
        parts.append(drawing.replace("<svg ", f'<svg x="{x:g}" y="{y:g}" ', 1))
        y += float(drawing.split('viewBox="', 1)[1].split('"', 1)[0].split()[3]) + GAP
    return y


def _without(table: Table) -> Table:
    return table.drop("cancels")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = report(sys.argv[1] if len(sys.argv) > 1 else Path(folder) / "report.html")
    TARGET.write_text(picture(*made) + "\n", encoding="utf-8")
