"""Keras 3 on JAX: ``Model.fit``, one compiled step per batch (its steps_per_execution gains nothing here)."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from bench.peers.jax_scan import ONE_CORE
from bench.ready import EPSILON, Peer, Ready, in_blocks
from bench.workloads import Array, Workload, perceptron


def network(w: Workload) -> Any:
    import keras
    from keras import layers

    steps: list[Any] = [keras.Input((w.sizes[0],))]
    dense = []
    for width in w.sizes[1:-1]:
        dense.append(layers.Dense(width))
        steps.append(dense[-1])
        if w.batch_norm:
            steps.append(layers.BatchNormalization(momentum=0.9, epsilon=1e-5))
        steps.append(layers.Activation(w.activation))
        if w.dropout:
            steps.append(layers.Dropout(w.dropout))
    dense.append(layers.Dense(w.sizes[-1]))
    model = keras.Sequential([*steps, dense[-1]])
    for layer, pair in zip(dense, w.weights(), strict=True):
        layer.set_weights(pair)
    return model


def ready(w: Workload) -> Ready:
    import keras

    x, y = w.data()
    model = network(w)
    optimizer = (
        keras.optimizers.SGD(w.learning_rate)
        if w.optimizer == "sgd"
        else keras.optimizers.Adam(w.learning_rate, epsilon=EPSILON)
    )
    loss: Any = "mse"
    if w.loss == "cross_entropy":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss)

    def fit(epochs: int, shuffle: bool) -> float:
        done = model.fit(x, y, batch_size=w.batch, epochs=epochs, shuffle=shuffle, verbose=0)
        return float(done.history["loss"][-1])

    def predict(rows: Array) -> Array:
        return np.asarray(model.predict_on_batch(rows))

    return Ready(lambda epochs: fit(epochs, True), lambda epochs: fit(epochs, False), in_blocks(predict))


SETTINGS = {
    "KERAS_BACKEND": "jax",
    "KERAS_HOME": os.path.join(tempfile.gettempdir(), "chainrule-bench-keras"),  # it writes there on import
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
KERAS = Peer(
    "Keras 3 on JAX",
    "keras",
    ("keras",),
    ready,
    takes=lambda w: perceptron(w) and not w.filters,
    one_core={**ONE_CORE, **SETTINGS},
    all_cores=SETTINGS,
)
