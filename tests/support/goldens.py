"""Model files of today that every later chainrule must read. ``python tests/support/goldens.py`` writes those
that are not there yet; one that is there is never written again."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import Network, losses, nn, ops, optim
from chainrule.data.tables import Boolean, Category, Date, Ignored, Number, Ordinal, TableEncoder
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.scaling import identity
from chainrule.tasks.targets import Numbers, OneOf

__all__ = ["GOLDENS", "answers", "golden_rows", "golden_table"]

DATA = Path(__file__).parents[1] / "data"


def golden_rows(rows: int = 8) -> dict[str, Any]:
    rng = np.random.Generator(np.random.Philox(7))
    return {"size": rng.integers(-40, 40, (rows, 4)) / np.float32(8), "city": rng.integers(0, 3, (rows, 2))}


def golden_table(rows: int = 24) -> dict[str, Any]:
    rng = np.random.Generator(np.random.Philox(8))
    found = {
        "age": rng.integers(18, 90, rows).astype(float),
        "pay": np.exp(rng.integers(-20, 20, rows) / 8.0),
        "city": np.array(["Bern", "Zürich", "Genève"], object)[rng.integers(0, 3, rows)],
        "shop": np.array(["a", "b"], object)[rng.integers(0, 2, rows)],
        "grade": np.array(["low", "high", None], object)[rng.integers(0, 3, rows)],
        "paid": np.array(["no", "yes"], object)[rng.integers(0, 2, rows)],
        "since": np.datetime64("2020-01-01", "us")
        + rng.integers(0, 10**9, rows) * np.timedelta64(10**5, "us"),
        "id": np.arange(rows),
    }
    found["age"][3] = np.nan
    return found


def network1() -> Any:
    """Every layer, several inputs and outputs, an optimizer with groups and an average."""
    city = nn.sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Dense(3))
    body = nn.sequential(nn.Dense(5), nn.LayerNorm(), nn.PReLU(), nn.Dropout(0.1), nn.GaussianNoise(0.1))
    net = Network(
        nn.parallel(size=nn.sequential(nn.Rescale(0.5), nn.Dense(3)), city=city), nn.BatchNorm(), ops.gelu,
        nn.Residual(body, nn.Dense(5, bias=False)), nn.Shared("block", nn.Dense(5)), ops.tanh,
        nn.Shared("block", nn.Dense(5)), nn.Maxout(4, pieces=3), first=nn.Dense(4, init=nn.Orthogonal(0.5)),
        tied=nn.TiedDense("first"), seed=5,
        head=nn.parallel(join="dict", number=nn.Dense(1), kind=nn.Dense(3)),
    )  # fmt: skip
    x = golden_rows(24)
    rule = optim.AdamW(
        0.01, groups=(optim.Group("head/*", learning_rate=0.02),), clip_norm=1.0, average=optim.EMA(0.9)
    )
    net.fit(
        x, {"number": x["size"][:, :1], "kind": x["city"][:, 0]}, optimizer=rule, epochs=3, batch_size=8,
        verbose=0, loss={"number": losses.Huber(0.5), "kind": losses.CrossEntropy(label_smoothing=0.1)},
        validation=0.25, metrics="accuracy", executor="reference",
    )  # fmt: skip
    return net


def _encoder() -> TableEncoder:
    return TableEncoder((
        Number("age", missing=True, reason="whole numbers"), Number("pay", scaling="quantile"),
        Category("city", categories=("Bern", "Zürich"), rare=True),
        Category("shop", categories=("a", "b"), embedding=2),
        Ordinal("grade", missing=True, categories=("low", "high")), Boolean("paid", values=("no", "yes")),
        Date("since", parts=("year", "season", "weekday", "hour")), Ignored("id", why="identifier"),
    ))  # fmt: skip


def _predictor(target: Any, y: Any, estimator: str) -> Predictor:
    encoder, table = _encoder(), golden_table()
    learned = encoder.fit(table)
    inputs = encoder.encode(table, learned)
    net = Network(
        nn.Columns(encoder.embeddings),
        nn.Dense(6),
        ops.relu,
        nn.Dense(next(iter(target.outputs.values()))),
        seed=3,
    )
    net.fit(inputs, target.encode(y, net.dtype), epochs=3, verbose=0, executor="reference")
    parameters = {"hidden_layer_sizes": [6], "alpha": 0.0001}
    return Predictor(
        estimator,
        parameters,
        encoder.names,
        identity(encoder.width),
        net,
        target,
        ("callbacks",),
        encoder,
        learned,
    )


def classifier1() -> Any:
    labels = np.array(["jeune", "mûr", "vieux"])
    y = labels[np.digitize(np.nan_to_num(golden_table()["age"], nan=50.0), [35, 60])]
    return _predictor(OneOf(labels), y, "MLPClassifier")


def regressor1() -> Any:
    y = golden_table()["pay"]
    return _predictor(Numbers.seen(y, None, losses.MeanSquaredError(), "standard"), y, "MLPRegressor")


GOLDENS = {"network1": network1, "classifier1": classifier1, "regressor1": regressor1}
"""Name → how it was made."""


def answers(name: str, model: Any) -> dict[str, Any]:
    """What a model says of fixed rows, as JSON."""
    if isinstance(model, Network):
        return {key: np.asarray(v).tolist() for key, v in model.output(golden_rows()).items()}
    rows = golden_table(6)
    found = {"predict": model.predict(rows).tolist()}
    return found | (
        {"probabilities": model.predict_proba(rows).tolist()} if name.startswith("classifier") else {}
    )


def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, make in GOLDENS.items():
            target = DATA / f"{name}.safetensors.b64"
            if target.exists():
                continue
            model = make()
            model.save(Path(folder) / name, optimizer=True)
            target.write_bytes(base64.encodebytes((Path(folder) / name).read_bytes()))
            (DATA / f"{name}.json").write_text(
                json.dumps(answers(name, model), ensure_ascii=False, indent=1) + "\n"
            )


if __name__ == "__main__":
    _write()
