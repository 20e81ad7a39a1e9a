"""One function per library: it makes the workload's network ready.

Each peer runs in its best configuration: PyTorch with its fused optimizer, JAX with one compiled scan
over the epoch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workloads import Workload

Ready = tuple[Callable[[bool], None], Callable[[], float]]
"""(run one epoch, shuffled or not; the mean loss over all data now)"""


def chainrule(w: Workload, executor: str = "reference") -> Ready:
    import chainrule as cr

    steps: list[Any] = []
    for width in w.sizes[1:-1]:
        steps += [cr.nn.Dense(width), getattr(cr.ops, w.activation)]
    net = cr.Network(*steps, cr.nn.Dense(w.sizes[-1])).build(w.sizes[0])
    for i, (weight, bias) in enumerate(w.weights()):
        net[f"dense_{i}/W"], net[f"dense_{i}/b"] = weight, bias
    x, y = w.data()
    loss = cr.losses.CrossEntropy() if w.loss == "cross_entropy" else cr.losses.MeanSquaredError()
    options = {
        "loss": loss,
        "optimizer": w.optimizer,
        "learning_rate": w.learning_rate,
        "batch_size": w.batch,
        "schedule": cr.optim.Constant(),
        "metrics": [],
        "executor": executor,
        "warm_start": True,
        "verbose": 0,
    }

    def epochs(shuffle: bool, count: int = 1) -> None:
        net.fit(x, y, epochs=count, shuffle=shuffle, **options)

    return epochs, lambda: net.evaluate(x, y)["loss"]


def torch(w: Workload) -> Ready:
    import torch
    from torch import nn

    torch.set_num_threads(_threads())
    x, y = (torch.from_numpy(a) for a in w.data())
    y = y.long() if w.loss == "cross_entropy" else y
    layers: list[nn.Module] = []
    for weight, bias in w.weights():
        linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, nn.ReLU() if w.activation == "relu" else nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    kind = torch.optim.SGD if w.optimizer == "sgd" else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=w.learning_rate, fused=True)
    loss = nn.CrossEntropyLoss() if w.loss == "cross_entropy" else nn.MSELoss()

    def epochs(shuffle: bool, count: int = 1) -> None:
        for _ in range(count):
            order = torch.randperm(w.rows) if shuffle else torch.arange(w.rows)
            for rows in order.split(w.batch):
                optimizer.zero_grad(set_to_none=True)
                loss(model(x[rows]), y[rows]).backward()
                optimizer.step()

    return epochs, lambda: loss(model(x), y).item()


def jax(w: Workload) -> Ready:
    import jax
    import jax.numpy as jnp

    x, y = map(jnp.asarray, w.data())
    parameters = [tuple(map(jnp.asarray, pair)) for pair in w.weights()]
    activation = jax.nn.relu if w.activation == "relu" else jnp.tanh

    def mean_loss(parameters: Any, x: Any, y: Any) -> Any:
        h = x
        for weight, bias in parameters[:-1]:
            h = activation(h @ weight + bias)
        z = h @ parameters[-1][0] + parameters[-1][1]
        if w.loss == "cross_entropy":
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))
        return jnp.mean((z - y) ** 2)

    def step(state: Any, rows: Any) -> tuple[Any, None]:
        θ, m, v, t = state
        g = jax.grad(mean_loss)(θ, x[rows], y[rows])
        each, t = jax.tree.map, t + 1
        if w.optimizer == "sgd":
            return (each(lambda p, d: p - w.learning_rate * d, θ, g), m, v, t), None
        m = each(lambda a, d: 0.9 * a + 0.1 * d, m, g)
        v = each(lambda a, d: 0.999 * a + 0.001 * d * d, v, g)
        c1, c2 = 1 - 0.9**t, 1 - 0.999**t
        θ = each(lambda p, a, b: p - w.learning_rate * (a / c1) / (jnp.sqrt(b / c2) + 1e-8), θ, m, v)
        return (θ, m, v, t), None

    run = jax.jit(lambda state, rows: jax.lax.scan(step, state, rows)[0], donate_argnums=0)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = [(parameters, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.float32(0))]
    generator = np.random.default_rng(2)

    def epochs(shuffle: bool, count: int = 1) -> None:
        for _ in range(count):
            order = generator.permutation(w.rows) if shuffle else np.arange(w.rows)
            state[0] = run(state[0], order.reshape(w.steps, w.batch))
        jax.block_until_ready(state[0])

    return epochs, lambda: float(mean_loss(state[0][0], x, y))


def sklearn(w: Workload) -> Ready:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    warnings.simplefilter("ignore")  # it warns that one epoch is not convergence
    x, y = w.data()
    kind = MLPClassifier if w.loss == "cross_entropy" else MLPRegressor
    model = kind(
        hidden_layer_sizes=w.sizes[1:-1], activation=w.activation, solver=w.optimizer, batch_size=w.batch,
        max_iter=1, alpha=0, warm_start=True, learning_rate_init=w.learning_rate, n_iter_no_change=10**6,
    )  # fmt: skip

    def epochs(shuffle: bool, count: int = 1) -> None:
        model.set_params(max_iter=count, shuffle=shuffle)
        model.fit(x, y.ravel())

    return epochs, lambda: float("nan")  # its initial weights cannot be given, so its loss is not compared


SUBJECTS: dict[str, Callable[[Workload], Ready]] = {
    "chainrule reference": chainrule,
    "PyTorch eager, fused": torch,
    "JAX scan": jax,
    "scikit-learn": sklearn,
}


def _threads() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
