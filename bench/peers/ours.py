"""chainrule, as a user calls it: ``Network.fit``."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from bench.accuracy_recipe import EPOCHS, NETWORK, RATE, TARGET, Digits, Trained
from bench.ready import Peer, Ready
from bench.workloads import Array, Recurrence, Workload


def chosen() -> str:
    """The executor: $BENCH_EXECUTOR, else the compiler where there is one."""
    from chainrule.executors import EXECUTORS

    return os.environ.get("BENCH_EXECUTOR") or ("cpu" if "cpu" in EXECUTORS else "reference")


def network(w: Workload, dtype: str = "float32") -> Any:
    import chainrule as cr

    steps: list[Any] = []
    for filters in w.filters:
        steps += [cr.nn.Conv2D(filters, 3), getattr(cr.ops, w.activation)]
    if w.filters:
        steps += [cr.nn.MaxPool(2), cr.nn.Flatten()]
    for width in w.sizes[1:-1]:
        steps.append(cr.nn.Dense(width))
        if w.batch_norm:
            steps.append(cr.nn.BatchNorm())
        steps.append(getattr(cr.ops, w.activation))
        if w.dropout:
            steps.append(cr.nn.Dropout(w.dropout))
    sizes = w.image if w.filters else w.sizes[:1]
    net = cr.Network(*steps, cr.nn.Dense(w.sizes[-1]), dtype=dtype).build(*sizes)
    convolved = len(w.filters)
    for i, (weight, bias) in enumerate(w.weights()):
        path = f"conv2d_{i}" if i < convolved else f"dense_{i - convolved}"
        net[f"{path}/W"], net[f"{path}/b"] = weight, bias
    return net


def recurrent(w: Recurrence) -> Any:
    import chainrule as cr

    net = cr.Network(cr.nn.LSTM(w.sizes[1]), cr.nn.Dense(w.sizes[2])).build(w.length, w.width)
    (net["lstm_0/W"], net["lstm_0/b"]), (net["lstm_0/U"], _), (net["dense_0/W"], net["dense_0/b"]) = (
        w.weights()
    )
    return net


def ready(w: Workload, executor: str | None = None) -> Ready:
    import chainrule as cr

    executor = executor or chosen()
    net, (x, y) = recurrent(w) if isinstance(w, Recurrence) else network(w), w.data()
    x = x.reshape(-1, w.length, w.width) if isinstance(w, Recurrence) else x
    options: dict[str, Any] = {
        "loss": cr.losses.CrossEntropy() if w.loss == "cross_entropy" else cr.losses.MeanSquaredError(),
        "optimizer": w.optimizer,
        "learning_rate": w.learning_rate,
        "batch_size": w.batch,
        "schedule": cr.optim.Constant(),
        "metrics": [],
        "executor": executor,
        "warm_start": True,
        "verbose": 0,
    }

    def checked(epochs: int) -> float:
        return float(net.fit(x, y, epochs=epochs, shuffle=False, **options).rows[-1]["loss"])

    def predict(rows: Array) -> Array:
        found: Array = net.output(rows, executor=executor)
        return found

    return Ready(lambda epochs: net.fit(x, y, epochs=epochs, **options), checked, predict)


def accuracy(digits: Digits, seed: int) -> Trained:
    """One fit; what passes between an epoch's last step and its end is evaluation."""
    import dataclasses

    import chainrule as cr

    reached: Trained = []
    evaluating, last = 0.0, 0.0

    class Clock(cr.train.Callback):
        def chunk(self, chunk: cr.train.Chunk) -> None:
            nonlocal last
            last = time.perf_counter()

        def epoch(self, end: cr.train.EpochEnd) -> bool:
            nonlocal evaluating
            evaluating += time.perf_counter() - last
            found = end.metrics["val_accuracy"]
            reached.append((time.perf_counter() - began - evaluating, found))
            return found >= TARGET

    net = network(dataclasses.replace(NETWORK, seed=seed))
    began = time.perf_counter()
    net.fit(
        digits.x_train, digits.y_train, optimizer="adam", learning_rate=RATE, epochs=EPOCHS,
        batch_size=NETWORK.batch, validation=(digits.x_test, digits.y_test), schedule=cr.optim.Linear(),
        callbacks=[Clock()], executor=chosen(), verbose=0,
    )  # fmt: skip
    return reached


OURS = Peer("chainrule", "chainrule", ("chainrule",), ready, accuracy=accuracy)
REFERENCE = Peer(
    "chainrule reference",
    "chainrule",
    ("chainrule",),
    partial(ready, executor="reference"),
    takes=lambda w: w.sizes == (784, 225, 144, 10),
)
